"""Version 1 of the pull pair: one line each, then data; and the client's pointer file.

The two lines are the beginning of version 2 as well: a client of ours offers it in a
field that the original server does not look at, and a server of ours accepts in its
answer, but only if asked, since the original client takes all of the answer for an inode.

Blanks separate the fields of a request, as the original server reads it.  A path that
holds one cannot be said, in either version: it needs a link with a plainer name.
Facts from the originals' behaviour; see tcppipe(7).
"""

from __future__ import annotations

import re

from tcppipe.errors import ConfigError, PeerError
from tcppipe.wire.frames import MAX_OFFSET, OFFER

ALIVE = b"\x07"  # sent when there is nothing else to send
SUBSTITUTE = b"\xff"  # sent for that byte in the data
MAX_INODE = (1 << 64) - 1
MAX_REQUEST = 4096 + 256  # a path is at most 4096 bytes long; some space for later fields
MAX_ANSWER = 256
MAX_POINTER = 64  # bytes of a pointer file that are worth reading

_BLANK = re.compile(rb"[\0 \t\n\r\f\v]")


def request(path: bytes, inode: int = 0, offset: int = 0) -> bytes:
    """The client's line: an absolute path as bytes, and from where; 0 is "whatever is there".

    It offers version 2.  Raises ConfigError for a path that cannot be said.
    """
    assert 0 <= inode <= MAX_INODE and 0 <= offset <= MAX_OFFSET
    if not path.startswith(b"/") or _BLANK.search(path) or len(path) > 4096:
        raise ConfigError(f"{path.decode(errors='replace')!r}: a name that no request can carry")
    return b"%s %d %d %s\n" % (path, inode, offset, OFFER.encode())


def parse_request(line: bytes) -> tuple[bytes, int, int, bool]:
    """(path, inode, offset, True if version 2 is offered) of a client's line, or PeerError."""
    if not line.endswith(b"\n") or len(line) > MAX_REQUEST:
        raise PeerError("the request is not a line, or too long")
    if not line.startswith(b"/") or b"\0" in line:
        raise PeerError("the request names no absolute path")
    fields = line.split()
    path, inode, offset, *more = fields + [b"0"] * (3 - len(fields))
    return (
        path,
        _number(inode, MAX_INODE, "the inode in the request"),
        _number(offset, MAX_OFFSET, "the offset in the request"),
        OFFER.encode() in more,
    )


def answer(found: bool, inode: int, v2: bool = False) -> bytes:
    """The server's line: is the asked-for inode found, and which one is served."""
    assert 0 <= inode <= MAX_INODE
    offer = f" {OFFER}" if v2 else ""
    return f"{'O' if found else 'L'} {inode}{offer}\n".encode()


def parse_answer(line: bytes) -> tuple[bool, int, bool]:
    """(True if the asked-for inode is lost, inode, True if version 2 follows), or PeerError."""
    if not line.endswith(b"\n") or len(line) > MAX_ANSWER:
        raise PeerError("the answer is not a line, or too long")
    if line[:2] not in (b"O ", b"L ") or line[2:3].isspace():
        raise PeerError("the answer is neither O nor L with an inode")
    status, digits, *more = line.split()
    inode = _number(digits, MAX_INODE, "the inode in the answer")
    v2 = OFFER.encode() in more
    if not inode and not v2:
        # it would be asked for as "whatever is there", and come as a whole each time
        raise PeerError("the inode in the answer is 0")
    return status == b"L", inode, v2


def outgoing(data: bytes) -> bytes:
    """Data as a server sends it: no byte in it may look like a sign of life."""
    return data.replace(ALIVE, SUBSTITUTE)


def incoming(data: bytes) -> bytes:
    """What a client keeps of what it received."""
    return data.replace(ALIVE, b"")


def parse_pointer(data: bytes) -> int:
    """The inode in a pointer file's bytes; 0, "whatever is there", if it holds none."""
    word = b"".join(data[:MAX_POINTER].split(None, 1)[:1])
    inode = int(word) if word.isdigit() and len(word) <= 20 else 0
    return inode if inode <= MAX_INODE else 0


def render_pointer(inode: int) -> bytes:
    """A pointer file's bytes."""
    assert 0 <= inode <= MAX_INODE
    return b"%d\n" % inode


def _number(digits: bytes, most: int, what: str) -> int:
    if not digits.isdigit() or len(digits) > 20 or int(digits) > most:
        raise PeerError(f"{what} is not a number, or too large")
    return int(digits)
