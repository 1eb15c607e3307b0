"""Whether a merged destination holds what its shared ledger tells, and where the next lines go.

Used in a turn, with the lock held.  The last append is proved by what stands there, or completed,
or what stands there of it is cut off, and kept.  The destination may have been rotated, copied and
truncated, compressed, moved, or restored from a backup; it is known by its content.  When it holds
less than was recorded, all pipes go back to what it holds; what it holds besides is recorded as
found.
"""

from __future__ import annotations

import errno
import os
import zlib
from typing import Protocol

from tcppipe.errors import Busy, SyncFailed, reason
from tcppipe.files import pieces
from tcppipe.files.destination import Destination
from tcppipe.files.pieces import Place
from tcppipe.files.rolling import Read
from tcppipe.files.sharedledger import SharedLedger
from tcppipe.files.spelling import Value

TRIES = 5  # looks at a destination that somebody changes


class Remark(Protocol):
    """Says something about the destination, or another file."""

    def __call__(self, level: str, text: str, path: str | None = None, /) -> None: ...


class Footing:
    """The destination and its ledger as a pipe finds them.

    note: a function (level, text, path or None).  piece: the number of the destination's present
    file among those that it has had.  Methods raise OSError and SyncFailed.
    """

    def __init__(
        self, destination: Destination, ledger: SharedLedger, key: str, note: Remark
    ) -> None:
        self.destination = destination
        self.ledger = ledger
        self.fs = destination.fs
        self.piece = 1
        self._key = key
        self.note = note
        self._size = 0  # of the destination, when it was looked at
        self._failed = b""  # what the last append that failed was about
        self._open: list[int] | None = (
            None  # [piece, place] behind an unfinished line that we have appended
        )

    def be_ready(self, whole: bool = False) -> None:
        """See that the next lines go where they belong.

        whole: ask for the bytes of the last record, too, and look for lines that no record tells of.
        """
        if self.destination.fd < 0 or self.destination.moved():
            self.destination.open()
        self.settle()
        for _try in range(TRIES):
            self._size = self.destination.size()
            self._find(whole)
            if self.destination.size() == self._size:
                return
        raise self._changing()

    def _changing(self) -> Busy:
        return Busy(f"{self.destination.path}: is truncated or written to by somebody just now")

    # --- appending

    def write(self, new: Value, lines: bytes, closed: bool = False) -> None:
        """Record what is to be appended, and append it."""
        if not lines:
            self.ledger.write({**new, "bytes": 0})
            return
        where, state = self.destination, self.ledger.state or {}
        at = where.size()
        if at != self._size:
            raise self._changing()
        ours = [self.piece, at] in (state.get("open"), self._open)
        if at and not ours and where.read(1, at - 1) != b"\n":
            lines = b"\n" + lines
            new["pad"] = 1
        unfinished = not closed and not lines.endswith(b"\n")
        new.update(at=at, bytes=len(lines), crc=zlib.crc32(lines), dev=where.dev, ino=where.ino,
                   piece=self.piece, open=[self.piece, at + len(lines)] if unfinished else None)  # fmt: skip
        self._failed, self._open = lines, new["open"]
        self.ledger.write(new)
        stands = self._write_all(lines)
        assert stands is not None
        self._make_durable(at)
        if stands != at:
            self._undo(where, stands)
            raise self._changing()
        self.ledger.proved()

    def _write_all(self, lines: bytes) -> int | None:
        """Where the lines came to stand."""
        rest = memoryview(lines)
        stands: int | None = None
        while rest:
            at, count = self.destination.append(rest)
            stands = at if stands is None else stands
            rest = rest[count:]
        return stands

    def _make_durable(self, at: int) -> None:
        try:
            self.destination.sync()
        except OSError as error:
            try:
                self._undo(self.destination, at)
            except OSError:
                pass  # the next one finds it unproved, and writes it again
            raise SyncFailed(f"{self.destination.path}: cannot sync: {reason(error)}") from None

    # --- what was to be appended last

    def settle(self) -> None:
        """Prove the last append, complete it, or undo it.  Whoever has the lock does this first."""
        last = self.ledger.last
        if last is None or "crc" not in last or last["n"] <= self.ledger.synced:
            return
        with pieces.opened(self.destination, last) as (path, read):
            if path is not None and read is not None and pieces.holds(read, last):
                self._write_again(path, read, last)
                self.ledger.proved()
                return
        if path == self.destination.path:
            if not self._complete(last):
                moved = pieces.holds(self.destination.read, last, 0)  # by a truncation
                self._undo(self.destination, 0 if moved else last["at"])
        elif pieces.find(self.destination, [last]) is not None:  # in a copy of that file
            self.ledger.proved()
        elif path is None:
            self.ledger.write({"rewind": last["n"] - 1})
        else:
            where = Destination(path, fs=self.fs)
            where.open()
            try:
                self._undo(where, last["at"])
            finally:
                where.close()

    def _write_again(self, path: str, read: Read, last: Value) -> None:
        """What stands there may not be durable, and a sync that has failed before never says so
        again; what is written again is."""
        if not self.destination.durable:
            return
        fd = self.fs.open(path, os.O_WRONLY)
        try:
            status = self.fs.fstat(fd)
            if (status.st_dev, status.st_ino) != (last["dev"], last["ino"]):
                raise OSError(errno.ESTALE, "was renamed just now")
            at, end = last["at"], last["at"] + last["bytes"]
            while at < end:
                at += self.fs.pwrite(fd, read(min(1 << 20, end - at), at), at)
            self.fs.fdatasync(fd)
        finally:
            self.fs.close(fd)

    def _complete(self, last: Value) -> bool:
        """Append the rest of what we failed to append; False when it was not ours."""
        size, at = self.destination.size(), last["at"]
        text = self._failed
        ours = last.get("pipe") == self._key and zlib.crc32(text) == last["crc"]
        if not ours or len(text) != last["bytes"] or not at <= size < at + len(text):
            return False
        if self.destination.read(size - at, at) != text[: size - at]:
            return False
        self._write_all(text[size - at :])
        self._make_durable(at)
        self.ledger.proved()
        return True

    def _undo(self, where: Destination, at: int) -> None:
        """What was to be appended is not there as it should be: it comes again."""
        if where.size() > at:
            kept = where.cut(at)
            self.note("warning", f"torn, cut off and kept as {kept}")
        last = self.ledger.last
        assert last is not None
        self.ledger.write({"rewind": last["n"] - 1})

    # --- what stands in the destination

    def _find(self, whole: bool) -> None:
        """See that the destination holds what was recorded, and where the next lines go.

        whole: ask the bytes of the last record, too, and look for the lines that come among what
        no record tells of.
        """
        where, last = self.destination, self.ledger.last
        size = where.size()
        for hole in self.ledger.untold() if whole else ():
            self._say_found(hole["bytes"], where.path)
            self.ledger.write(hole)
        if last is None:
            self._find_first(size, whole)
            return
        self.piece, end = last.get("piece", 0), last["at"] + last["bytes"]
        same = (where.dev, where.ino) == (last["dev"], last["ino"])
        if same and size >= end and not (whole and not self._stands(last)):
            if size > end:
                self._found(end, size, whole)
        elif not same and not size and not whole:
            self.piece += 1  # rotated
        else:
            self._look_for_pieces(last, whole)

    def _find_first(self, size: int, whole: bool) -> None:
        """No record tells of bytes: whatever stands here was found."""
        self.piece = 1
        before = pieces.newest(self.destination) if whole and not size else None
        if before is not None:  # it was rotated since, if it was ours
            path, length, dev, ino = before
            self._found(0, length, True, (path, dev, ino))
            self.piece = 2
        if size or before is not None:
            self._found(0, size, True)

    def _stands(self, last: Value) -> bool:
        if "crc" not in last:
            return True
        if self.destination.durable:
            return pieces.holds(self.destination.read, last)
        rows = self._rows(last.get("piece", 0))  # any of them may be torn
        return pieces.proved(self.destination.read, rows) == len(rows)

    def _rows(self, piece: int) -> list[Value]:
        rows = self.ledger.history()
        return [
            row for row in rows if "crc" in row and row["bytes"] and row.get("piece", 0) == piece
        ]

    def _found(
        self, at: int, size: int, claim: bool, file: tuple[str, int, int] | None = None
    ) -> None:
        """Bytes that no record tells of; file: (path, device, inode) of a rotated one."""
        path, dev, ino = file or ("", self.destination.dev, self.destination.ino)
        name = path or self.destination.path
        if size == at:
            pass  # another file begins
        elif claim:
            self._say_found(size - at, name)
        else:
            self.note("warning", "somebody else has written here; goes on from there")
        self.ledger.write({"found": True, "claim": claim, "piece": self.piece, "path": path,
                            "dev": dev, "ino": ino, "at": at, "bytes": size - at})  # fmt: skip

    def _say_found(self, count: int, name: str) -> None:
        text = f"{count} bytes stand in no record; lines that come again are looked for there"
        self.note("warning", text, name)

    def _found_since(self, path: str, end: int) -> None:
        """The ledger may be older than what was rotated: what stands behind `end` in the rotated
        file `path`, in those that came after it, and in the destination."""
        known: dict[int, Value] = {}  # the first record that there is of each older file
        for row in self.ledger.history():
            if "crc" in row and row["bytes"] and row.get("piece", 0) < self.piece:
                known.setdefault(row.get("piece", 0), row)
        for name, size, dev, ino in pieces.since(self.destination, path, known.values()):
            if size > end:
                self._found(end, size, True, (name, dev, ino))
            end = 0
            self.piece += 1
        self._found(0, self.destination.size(), True)

    def _look_for_pieces(self, last: Value, whole: bool) -> None:
        """The destination is another file than it was, or has less in it."""
        where = self.destination
        rows = self._rows(self.piece)
        place = pieces.find(where, rows) if rows else None
        if place is None:
            self._look_for_older(last, whole)
        elif place.path:
            if place.proved < len(rows):
                self.piece += 1
                self._set_back(place, rows)
            elif whole:
                self._found_since(place.path, last["at"] + last["bytes"])
            elif where.size() and (where.dev, where.ino) != (last["dev"], last["ino"]):
                self.piece += 1
                self._found(0, where.size(), False)
            else:
                self.piece += 1
        elif place.proved < len(rows):
            self._set_back(place, rows)
        else:
            end = last["at"] + last["bytes"]
            if where.size() > end:
                self._found(end, where.size(), whole)
            elif where.size() < end:  # what was there besides the pipes' lines
                self.piece = last.get("piece", 0)

    def _look_for_older(self, last: Value, whole: bool) -> None:
        """Nothing is left of the present piece; the destination may be an older one again."""
        where = self.destination
        size, piece = where.size(), self.piece
        while piece > 0:
            piece -= 1
            rows = self._rows(piece)
            place = pieces.find(where, rows) if rows else None
            if place is not None and (not place.path or place.proved < len(rows)):
                self.piece = piece + bool(place.path)
                self._set_back(place, rows)
                return
            if place is not None:
                break  # whole: what came behind it is elsewhere
        self.piece += 1
        if (where.dev, where.ino) == (last["dev"], last["ino"]):
            self.note(
                "critical", "was emptied by somebody, and no copy of what stood there is here"
            )
        elif whole:
            self.note("warning", "what was recorded last is not here, nor in a file beside it; it is "
                                  "taken for moved away")  # fmt: skip
        if size or whole:
            self._found(0, size, whole)

    def _set_back(self, place: Place, rows: list[Value]) -> None:
        """Of what was recorded only a part is there: all pipes go back to that."""
        known = [row for row in rows[: place.proved] if "part" not in row]  # of all pipes
        rest = rows[rows.index(known[-1]) + 1 :] if known else rows
        number = known[-1]["n"] if known else rows[0]["n"] - 1
        end = known[-1]["at"] + known[-1]["bytes"] if known else rows[0]["at"]
        torn = (
            bool(rest)
            and rest[:1] == rows[place.proved : place.proved + 1]
            and rest[0]["at"] == end
        )
        name = place.path or self.destination.path
        self.note("critical", "holds less than was recorded (restored, truncated or damaged?); what is "
                   "missing is sent again", name)  # fmt: skip
        if place.size > end and (torn or not place.path):
            keep = end if torn else self._last_line(end)
            if keep < place.size:
                self._cut(place, keep)
        self.ledger.write({"rewind": number})
        size = self.destination.size()
        if place.path and place.size > end and not torn:
            self._found(end, place.size, True, (place.path, place.dev, place.ino))
        elif not place.path and size > end:
            self._found(end, size, True)

    def _last_line(self, end: int) -> int:
        """Where the last whole line of the destination ends; it is not before `end`."""
        at = self.destination.size()
        while at > end:
            first = max(end, at - (1 << 16))
            found = self.destination.read(at - first, first).rfind(b"\n")
            if found >= 0:
                return first + found + 1
            at = first
        return end

    def _cut(self, place: Place, end: int) -> None:
        """What stands behind `end` is a part of what comes again."""
        path = place.path
        if not place.plain:
            self.note("critical", "ends with a part of lines that come again", path)
            return
        where = Destination(path, fs=self.fs) if path else self.destination
        if path:
            where.open()
        try:
            kept = where.cut(end)
            self.note("warning", f"torn, cut off and kept as {kept}", where.path)
        finally:
            if path:
                where.close()
