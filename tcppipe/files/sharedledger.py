"""The ledger of a merged destination: who has appended what, and where.

A file of lines as files/records has them, used only while the destination's lock is held, by
one process for each pipe.  Records are numbered.  The kinds:

    {"pipe": KEY, ...}   a pipe's state: generation, offset, digests; `bytes` not 0: with so many
                         bytes, of this CRC-32, at `at` in a file of the destination.  It is
                         durable before they are appended.
    {"ok": N}            the bytes of record N are durable.  A word to the next one, no more: if it
                         is missing he looks for himself.
    {"found": ...}       so many bytes stand there that no record tells of; with `hole` between others.
    {"rewind": N}        what was recorded behind record N is not there: all pipes go back.
    {"done": KEY, ...}   a pipe's generation is complete.
    {"gap": KEY, ...}    bytes that nobody can read any more.

A pipe may go back, so more is kept than its last record: the last ones in full, and the older ones
the farther apart the older they are.  The length is bounded by that and by the number of pipes.
A crash leaves a torn last line, which is dropped, or the rewritten ledger beside this one, which
is made anew the next time.  A damaged line costs no more than itself: it is kept in
LEDGER.damaged, and the bytes that it told of are found again.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tcppipe.cursor import Generation
from tcppipe.files import records
from tcppipe.files import sharedhistory as history
from tcppipe.files.fs import FS, REAL, open_new
from tcppipe.files.lock import lock
from tcppipe.files.sharedlines import SharedLines
from tcppipe.files.sharedrecords import others
from tcppipe.files.spelling import Value
from tcppipe.process.trouble import Say
from tcppipe.wire.events import Complete

COMPACT = 2 << 20  # bytes; a longer ledger is rewritten, if that may make it half as long


Hold = Callable[[str, float | None], int | None]  # of a path and how long to wait: a descriptor


class SharedLedger:
    """The ledger in the file `path`, as the pipe `key` (text) uses it.

    state: that pipe's last record, or None.  last: the last record of all that tells of bytes in
    the destination, or None.  found: the records of bytes that nobody told of, oldest first.
    claims: (number of such a record, place, length) of what was found again to be some pipe's.
    complete: our pipe's complete generations, as Complete, oldest first.  lengths: how long each
    of them is by now, by its four numbers.  Raises OSError.
    """

    def __init__(self, path: str, key: str, say: Say, fs: FS = REAL, hold: Hold = lock) -> None:
        self.path = path
        self.fs = fs
        self._key = key
        self._own = records.body({"pipe": key})[:-1] + b","
        self._say = say
        self._hold = hold
        self.lock_path = path + ".lock"
        self._lock: int | None = None
        self._fd, self._limit = -1, COMPACT
        self._file: tuple[int, int] | None = None
        self._nameless = True  # whoever made or replaced it may have died before its name lasted
        self._forget()

    def _forget(self) -> None:
        self._good = self.number = self.synced = 0
        self.state: Value | None = None
        self.appended = 0  # the number of our pipe's last record that tells of bytes
        self.lacks = False  # lines are damaged or missing
        self.found: list[Value] = []
        self.claims: list[tuple[int, int, int]] = []
        self.complete: list[Complete] = []
        self.lengths: dict[tuple[int, ...], int] = {}
        # a record, or its number and its body that nobody has looked into yet
        self._last: Value | tuple[int, bytes] | None = None

    def hold(self, patience: float | None = None) -> SharedLedger:
        """Take the lock, and read what the others have recorded since; a context."""
        self._lock = self._hold(self.lock_path, patience)
        try:
            self._catch_up()
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Hand on the lock."""
        fd, self._lock = self._lock, None
        if fd is not None:
            self.fs.close(fd)

    def __enter__(self) -> SharedLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def last(self) -> Value | None:
        """The last record that tells of bytes in the destination, or None."""
        if isinstance(self._last, tuple):
            number, body = self._last
            self._last = {"n": number, **records.parse_body(body)}
        return self._last

    # --- reading

    def _catch_up(self) -> None:
        try:
            status = self.fs.stat(self.path)
        except FileNotFoundError:
            status = None
        if self._fd < 0 or status is None or (status.st_dev, status.st_ino) != self._file:
            self._open()
        self._read()

    def _open(self) -> None:
        self.close()
        self._forget()
        self._fd = self.fs.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        status = self.fs.fstat(self._fd)
        self._file = status.st_dev, status.st_ino
        self._nameless = True

    def _content(self, offset: int) -> bytes:
        rest = bytearray()
        while data := self.fs.pread(self._fd, 1 << 20, offset + len(rest)):
            rest += data
        return bytes(rest)

    def _read(self) -> None:
        """Take the lines that were written since."""
        new = self._content(self._good)
        *lines, torn = new.split(b"\n")
        bodies = [records.checked(line) for line in lines]
        if torn:
            self.fs.ftruncate(self._fd, self._good + len(new) - len(torn))
        bad = [line for line, body in zip(lines, bodies) if body is None]
        if bad:
            self._keep_aside(bad)
        if bad or any(history.goes_back(body) for body in bodies if body is not None):
            self._again()
            return
        for body in bodies:
            if body is not None:
                self._glance(body)
        self._good += len(new) - len(torn)
        self.number = max([self.number, *map(history.number, bodies[-1:])])

    def _again(self) -> None:
        """Read all of it: what was recorded behind some record does not count any more."""
        self._forget()
        content = self._content(0)
        lines = SharedLines(content)
        self.lacks = bool(lines.holes)
        for record in lines.rows:
            self._take(record)
        self._good = content.rfind(b"\n") + 1
        bodies = map(records.checked, content[: self._good].split(b"\n"))
        self.number = max([self.number, *map(history.number, bodies)])

    def _glance(self, body: bytes) -> None:
        """Take a record; what other pipes record in every turn is not looked into."""
        others = body.startswith(b'{"pipe":') and not body.startswith(self._own)
        if others and b'"n":' in body and b'"claims":' not in body:
            self.number += 1
            if b'"bytes":0,' not in body:
                self._last = self.number, body
            return
        record = records.parse_body(body)
        self._take({"n": self.number + 1, **record})

    def _take(self, record: Value) -> None:
        number = self.number = record["n"]
        if "pipe" in record:
            if record["pipe"] == self._key:
                self.state = record
            if record["bytes"]:
                self._last = record
                self.appended = number if record["pipe"] == self._key else self.appended
            for claim in record.get("claims", ()):
                self.claims.append(tuple(claim))
            late = record.get("late")
            if late and record["pipe"] == self._key:
                self.lengths[tuple(late["of"])] = late["to"]
        elif "ok" in record:
            self.synced = record["ok"]
        elif "found" in record:
            self.found.append(record)
            if "hole" not in record:
                self._last = record
        elif record.get("done") == self._key:
            generation = Generation(*record["generation"][:5])
            generation = generation._replace(head=bytes.fromhex(record["head"]))
            digest = bytes.fromhex(record["digest"])
            self.complete = others(self.complete, generation, record["length"])
            self.complete.append(Complete(generation, record["length"], digest))
            self.lengths[generation.key] = record["length"]
            for old in self.complete[: -history.REMEMBERED]:
                self.lengths.pop(old.generation.key, None)
            del self.complete[: -history.REMEMBERED]

    def history(self) -> list[Value]:
        """All records that count, as dictionaries with their numbers, oldest first."""
        return SharedLines(self._content(0)).rows

    def untold(self) -> list[Value]:
        """Records of bytes whose own lines are damaged or missing, and that were not found yet."""
        return list(SharedLines(self._content(0)).untold()) if self.lacks else []

    def _keep_aside(self, lines: list[bytes]) -> None:
        kept = self.path + ".damaged"
        self._say("critical", f"{self.path}: {len(lines)} damaged lines, kept in {kept}")
        fd = self.fs.open(kept, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            if self.fs.fstat(fd).st_size < COMPACT:
                self.fs.write_all(fd, b"".join(line + b"\n" for line in lines))
        finally:
            self.fs.close(fd)

    # --- writing

    def write(self, record: Value, durable: bool = True) -> None:
        """Add a record, which gets its number here.  What cannot be written changes nothing."""
        record = {**record, "n": self.number + 1}
        line = records.render(record)
        if self.fs.fstat(self._fd).st_size != self._good:
            self.fs.ftruncate(self._fd, self._good)
        try:
            self.fs.write_all(self._fd, line)
            if durable:
                self.fs.fdatasync(self._fd)
                self._sync_name()
        except OSError:
            try:
                self.fs.ftruncate(self._fd, self._good)
            except OSError:
                pass  # whoever reads it finds that what it tells of is not there
            raise
        if "rewind" in record:
            self._again()
        else:
            self._take(record)
            self._good += len(line)
        if self._good > self._limit:
            self._compact()

    def _sync_name(self) -> None:
        if self._nameless:
            self.fs.sync_directory(os.path.dirname(self.path))
            self._nameless = False

    def proved(self) -> None:
        """The last record's bytes are durable."""
        last = self.last
        if last is not None and self.synced < last["n"]:
            try:
                self.write({"ok": last["n"]}, durable=False)
            except OSError:
                pass  # the next one looks for himself
            self.synced = self.last["n"] if self.last is not None else 0

    def _compact(self) -> None:
        """Rewrite the ledger without what nobody goes back to; if that fails, another time."""
        self._limit = self._good + COMPACT // 2
        try:
            lines = b"".join(map(records.render, history.thinned(self.history(), self.synced)))
            self._replace(lines)
            self._limit = max(COMPACT, 2 * self._good)
            self._sync_name()
        except OSError:
            pass  # either of the two is whole, and tells the same

    def _replace(self, lines: bytes) -> None:
        """Put a new file in the place of the ledger; the others notice by its number."""
        beside = self.path + ".new"
        fd = open_new(self.fs, beside, 0o640, os.O_APPEND)
        try:
            self.fs.write_all(fd, lines)
            self.fs.fsync(fd)
            status = self.fs.fstat(fd)
            self.fs.rename(beside, self.path)
        except OSError:
            self.fs.close(fd)
            raise
        old, self._fd = self._fd, fd
        self._file, self._good = (status.st_dev, status.st_ino), len(lines)
        self._nameless = True
        self.fs.close(old)

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self.fs.close(fd)
