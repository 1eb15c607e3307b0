"""Version 1 of the push pair: the handshake lines, and data as escaped text lines.

The handshake is the beginning of version 2 as well: a server of ours offers it
behind the word `ready`, where the original client does not look, and a client of
ours accepts with a line that no original client can send.

The originals read at most 1023 bytes as one line and treat each piece of a longer
line as a line of its own.  Encoder looks at the stream as the original server
reads it, Decoder as the original client writes it; they are not each other's
inverse for longer lines, and need not be.
Facts from the originals' behaviour; see tcppipe(7).
"""

from __future__ import annotations

from tcppipe.errors import NotNow, PeerError, Refused
from tcppipe.wire.frames import OFFER

PIECE = 1023  # bytes that the originals read as one line
MAX_LINE = 4096 + 16  # a request holds a path; PATH_MAX is 4096
MAX_ANSWER = 1024  # bytes of a yes or no
BOUNDARY = b"\n$\n"
SHOWN = 60  # bytes that are told of an answer that is none
FOR_NOW = "for now: "  # before the reason of a no that may be a yes later
ESCAPED = b"#$\n"
_START, _BODY, _COMMAND, _ASKED = range(4)  # where a Decoder stands


def request(path: bytes) -> bytes:
    """The client's first line: the absolute path of the origin, as bytes."""
    return b"$" + path + b"\n"


def parse_request(line: bytes) -> bytes:
    """The path in a client's first line.  Raises PeerError when it is not one."""
    if line[:1] == b"\x16":
        raise PeerError("this looks like TLS (syslog over TLS uses port 6514 too)")
    if line[:1] != b"$" or not line.endswith(b"\n"):
        raise PeerError("the first line is not a tcppipe request")
    path = line[1:-1].rstrip(b" \t\r")
    if not path.startswith(b"/") or b"\0" in path:
        raise PeerError("the request names no absolute path")
    return path


def ready() -> bytes:
    """The server's yes, with the offer of version 2."""
    return f"$ready {OFFER}\n".encode()


def refuse(reason: str, for_now: bool = False) -> bytes:
    """The server's no, with a reason that the original client does not read.

    for_now: it is worth to ask again.
    """
    text = (FOR_NOW if for_now else "") + reason.replace("\n", " ")
    return b"$refuse " + text.encode(errors="replace")[:900] + b"\n"


def parse_answer(line: bytes) -> bool:
    """True when a server's yes offers version 2, False when it does not.

    Raises Refused or NotNow with the server's reason, or PeerError.
    """
    if line.startswith(b"$refuse"):
        said = line[len(b"$refuse") :].strip().decode(errors="replace")
        kind = NotNow if said.startswith(FOR_NOW) else Refused
        raise kind(f"refused: {said or 'no reason given'}")
    if not line.startswith(b"$ready"):
        raise PeerError(f"it says {line[:SHOWN].decode(errors='replace').strip()!r}")
    return OFFER.encode() in line.split()[1:]


def accept() -> bytes:
    """What a client says to an offer of version 2; frames follow."""
    return f"${OFFER}\n".encode()


def accepts(line: bytes) -> bool:
    """True when a client's line accepts version 2."""
    return line.startswith(f"${OFFER}".encode()) and line.endswith(b"\n")


class Encoder:
    """Data to the lines that an original server copies unaltered.

    One encoder serves one connection.  A boundary may be sent only where a line ends.
    """

    def __init__(self) -> None:
        self._sent = 0
        self._full = 0  # pieces that filled the original's buffer without a newline
        self._piece = 0  # bytes that the original has of the piece that it reads now

    def encode(self, data: bytes) -> bytes:
        """Escape what the original would take for a command, an escape or an empty line."""
        out = bytearray()
        at = 0
        while at < len(data):
            if not self._piece and data[at] in ESCAPED:
                out += b"#"
                self._piece = 1
            space = PIECE - self._piece
            newline = data.find(b"\n", at, at + space)
            end = newline + 1 if newline >= 0 else min(len(data), at + space)
            self._piece += end - at
            if newline >= 0 or self._piece == PIECE:
                self._full += newline < 0
                self._piece = 0
            out += data[at:end]
            at = end
        self._sent += len(out)
        return bytes(out)

    def boundary(self) -> tuple[bytes, set[int]]:
        """The bytes that ask for an answer, and the set of counts that it may name.

        The original counts one byte too many for each piece that filled its buffer.
        """
        assert not self._piece
        sent, full = self._sent + len(BOUNDARY), self._full
        self._sent = self._full = 0
        return BOUNDARY, {sent, sent + full}


class Decoder:
    """Lines from an original client to data and questions.

    feed() returns a list of bytes (data to append) and ints (the count to answer:
    all bytes received since the last question).
    """

    def __init__(self) -> None:
        self._state = _START
        self._piece = 0  # data bytes of the current piece so far
        self._count = 0

    def feed(self, data: bytes) -> list[bytes | int]:
        """Parse what arrived; pieces are handed on as they come."""
        out: list[bytes | int] = []
        kept = bytearray()
        at = 0
        while at < len(data):
            begin = at
            if self._state == _START:
                at = self._start(data, at)
            elif self._state == _BODY:
                at = self._body(data, at)
                kept += data[begin:at]
            else:
                at = self._command(data, at)
            self._count += at - begin
            if self._state == _ASKED:
                if kept:
                    out.append(bytes(kept))
                    kept.clear()
                out.append(self._count)
                self._count, self._state = 0, _START
        if kept:
            out.append(bytes(kept))
        return out

    def _start(self, data: bytes, at: int) -> int:
        """A piece's first byte: an escape, a command, an empty line, or data."""
        first = data[at : at + 1]
        self._piece = 0
        if first == b"\n":
            return at + 1
        self._state = _COMMAND if first == b"$" else _BODY
        return at + (first == b"#")

    def _body(self, data: bytes, at: int) -> int:
        space = PIECE - self._piece
        newline = data.find(b"\n", at, at + space)
        end = newline + 1 if newline >= 0 else min(len(data), at + space)
        self._piece += end - at
        if newline >= 0 or self._piece == PIECE:
            self._state = _START
        return end

    def _command(self, data: bytes, at: int) -> int:
        newline = data.find(b"\n", at)
        if newline < 0:
            return len(data)
        self._state = _ASKED
        return newline + 1


def answer(count: int) -> bytes:
    """The server's answer to a question."""
    return b"$%d\n" % count


def parse_count(line: bytes) -> int:
    """The count in a server's answer.  Raises PeerError."""
    digits = line[1:].strip()
    if not line.startswith(b"$") or not digits.isdigit() or len(digits) > 20:
        raise PeerError("the answer to a batch is not a count")
    return int(digits)
