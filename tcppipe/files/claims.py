"""Lines that come again, among bytes of the destination that no record tells of.

When the shared ledger is lost, or is older than the destination, a pipe sends again what stands
there already.  Its next lines are looked for, in their order, among what was found; those that are
there are the pipe's, and nobody else's, and the first one that is not there ends the search.
"""

from __future__ import annotations

from collections.abc import Iterable

from tcppipe.files import pieces
from tcppipe.files.destination import Destination
from tcppipe.files.rolling import Read
from tcppipe.files.sharedledger import SharedLedger
from tcppipe.files.spelling import Value

WINDOW = 16 << 20  # bytes that are searched at a time


Claimed = list[int]  # number of a record, place, length


class Claims:
    """What a pipe may claim.  Used in a turn; methods raise OSError."""

    def __init__(self, destination: Destination, ledger: SharedLedger) -> None:
        self._destination = destination
        self._ledger = ledger
        # records of bytes that were found, and the place to look from in each
        self._seek: list[tuple[Value, int]] = []

    def begin(self, record: Value | None) -> None:
        """The pipe's last record, or None: lines may be in what was found behind it."""
        number, place = (record or {}).get("claimed") or (0, 0)
        self._seek = [
            (row, place if row["n"] == number else row["at"])
            for row in self._ledger.found
            if row["claim"] and row["n"] > self._ledger.appended and row["n"] >= number
        ]

    def end(self) -> None:
        """The pipe has appended something: what comes now comes for the first time."""
        self._seek = []

    def take(self, text: bytes, piece: int) -> tuple[int, Value]:
        """How many bytes of `text` stand there; what to record of it.

        piece: the number of the destination's present file.
        """
        done, note = 0, Value()
        claims: list[Claimed] = []
        while self._seek and done < len(text):
            row, at = self._seek[0]
            end = row["at"] + row["bytes"]
            with pieces.opened(self._destination, row) as (path, read):
                if read is not None:
                    taken = [
                        (at, size) for number, at, size in self._ledger.claims if number == row["n"]
                    ]
                    lines = Lines(read, row["at"], end, taken)
                    done, at = _claim(row, lines, text, done, at, claims)
                if read is not None and done < len(text) and self._is_end(row, end):
                    begun = _begun(read, at, end, text[done:])
                    if begun:
                        claims.append([row["n"], end - begun, begun])
                        done, at, note["open"] = done + begun, end, [piece, end]
            note["claimed"] = [row["n"], at]
            if done < len(text):
                del self._seek[0]
            else:
                self._seek[0] = row, at
        return done, {"claims": claims, **note} if claims else {}

    def _is_end(self, row: Value, end: int) -> bool:
        """True when the destination ends with what was found."""
        where = self._destination
        here = (row["dev"], row["ino"]) == (where.dev, where.ino)
        return here and not row.get("path") and where.size() == end


def _begun(read: Read, at: int, end: int, text: bytes) -> int:
    """How many bytes at the end are the beginning of the line that `text` begins with."""
    length = min(end - at, text.find(b"\n") if b"\n" in text else len(text) - 1)
    if length <= 0:
        return 0
    before = read(1, end - length - 1) if end - length > at else b"\n"
    tail = (before + read(length, end - length)).rpartition(b"\n")
    return len(tail[2]) if tail[1] and text.startswith(tail[2]) else 0


def _claim(
    row: Value, lines: Lines, text: bytes, done: int, at: int, claims: list[Claimed]
) -> tuple[int, int]:
    """Claim lines of text[done:] that stand behind `at`: (done, at) behind the last of them."""
    while done < len(text):
        line = text[done : text.find(b"\n", done) + 1 or len(text)]
        place = lines.find(line, at)
        if place is None:
            break
        at, done = place + len(line), done + len(line)
        if claims and claims[-1][0] == row["n"] and sum(claims[-1][1:]) == place:
            claims[-1][2] += len(line)
        else:
            claims.append([row["n"], place, len(line)])
    return done, at


class Lines:
    """The lines in [at, end) of what `read` reads, to be found again in their order.

    taken: (place, length) of those that are somebody's already.
    """

    def __init__(self, read: Read, at: int, end: int, taken: Iterable[tuple[int, int]]) -> None:
        self._read = read
        self._end = end
        self._taken = sorted(taken)
        self._first = self._at = at
        self._text = b""

    def find(self, line: bytes, at: int) -> int | None:
        """Where the line stands from `at` on, or None."""
        while at < self._end:
            self._load(at, len(line))
            place = self._text.find(line, at - self._at)
            while place >= 0:
                whole = self._begins(place) and self._ends(place, line)
                if whole and self._free(self._at + place, len(line)):
                    return self._at + place
                place = self._text.find(line, place + 1)
            at = max(at, self._at + len(self._text) - len(line) - 1) + 1
        return None

    def _load(self, at: int, length: int) -> None:
        """Have in memory what stands at `at`, and as much behind it."""
        last = self._at + len(self._text)
        if self._text and self._at < at and (at + length < last or last >= self._end):
            return
        if at > self._first:
            at -= 1  # to see whether a line begins there
        text = bytearray()
        while len(text) < WINDOW + length + 1 and at + len(text) < self._end:
            wanted = min(WINDOW, self._end - at - len(text))
            data = self._read(wanted, at + len(text))
            if not data:
                self._end = at + len(text)
                break
            text += data
        self._at, self._text = at, bytes(text)

    def _begins(self, place: int) -> bool:
        if not place:
            return self._at == self._first
        return self._text[place - 1] == 0x0A

    def _ends(self, place: int, line: bytes) -> bool:
        """A line without its newline is not the beginning of a longer one."""
        return line.endswith(b"\n") or self._text[place + len(line) :][:1] in (b"", b"\n")

    def _free(self, at: int, length: int) -> bool:
        return all(at + length <= place or at >= place + size for place, size in self._taken)
