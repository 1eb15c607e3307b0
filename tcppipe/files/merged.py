"""One pipe's share of a destination that several pipes are merged into.

Only whole lines are appended, under a lock on the destination's own ledger.  What is to be
appended is recorded there first, durably, with its place and a checksum; so after a crash
the last record is either proved by what stands in the destination, or what stands there of
it is cut off again and comes anew.  The pipe's cursor is its last proved record: bytes in
the destination belong to nobody by themselves.

The end of a line that has not come yet is held back, and is not acknowledged.
"""

import errno
import fcntl
import hashlib
import os
import time
import zlib

from tcppipe.cursor import HEAD, NO_DIGEST, UNKNOWN, Generation
from tcppipe.errors import ConfigError, SyncFailed, reason
from tcppipe.files import records
from tcppipe.files.blocked import blocked
from tcppipe.files.destination import Destination
from tcppipe.files.fs import REAL
from tcppipe.wire.events import Have, Holding, Why

COMPACT = 1 << 20  # bytes; a longer shared ledger is rewritten to each pipe's last record
LONGEST = 8 << 20  # bytes of one line that are held back; a longer one goes in pieces
PATIENCE = 5.0  # seconds to wait for the others
WINDOW = 1024  # bytes below the cursor whose digest proves the origin later


class Shared:
    """The ledger of a merged destination: who has appended what, last of all.

    Records are lines as in files/ledger: a checksum, a blank, JSON.  Used only while the lock
    is held.  Raises OSError.
    """

    def __init__(self, path, fs=REAL):
        self.path = path
        self.fs = fs
        self.pipes = {}  # key of a pipe: its last record
        self.last = None  # the last record of all
        self._fd = -1
        self._good = 0
        self._file = None

    def __enter__(self):
        self._lock = lock(self.path + ".lock", PATIENCE)
        try:
            self._catch_up()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *_):
        os.close(self._lock)

    def _catch_up(self):
        """Read what the others have recorded since."""
        try:
            status = self.fs.stat(self.path)
        except FileNotFoundError:
            status = None
        if self._fd < 0 or status is None or (status.st_dev, status.st_ino) != self._file:
            self.close()
            self._fd = self.fs.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            status = self.fs.fstat(self._fd)
            self._file, self._good = (status.st_dev, status.st_ino), 0
            self.pipes, self.last = {}, None
            self.fs.sync_directory(os.path.dirname(self.path))
        rest = b""
        while data := self.fs.pread(self._fd, 1 << 20, self._good + len(rest)):
            rest += data
        for line in rest.splitlines(keepends=True):
            record = records.parse(line)
            if record is None:
                self.fs.ftruncate(self._fd, self._good)
                break
            self._take(record)
            self._good += len(line)

    def _take(self, record):
        self.last = record
        self.pipes[record["pipe"]] = record

    def write(self, record, durable=True):
        """Add a record."""
        line = records.render(record)
        if self.fs.fstat(self._fd).st_size != self._good:
            self.fs.ftruncate(self._fd, self._good)
        self.fs.write_all(self._fd, line)
        if durable:
            self.fs.fdatasync(self._fd)
        self._take(record)
        self._good += len(line)
        if self._good > COMPACT:
            self._compact()

    def _compact(self):
        lines = [
            records.render(record) for record in self.pipes.values() if record is not self.last
        ]
        lines.append(records.render(self.last))
        beside = self.path + ".new"
        fd = self.fs.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            self.fs.write_all(fd, b"".join(lines))
            self.fs.fsync(fd)
            self.fs.rename(beside, self.path)
            self.fs.sync_directory(os.path.dirname(self.path))
        finally:
            self.fs.close(fd)
        self._catch_up()

    def close(self):
        """Let go of the file."""
        if self._fd >= 0:
            self.fs.close(self._fd)
            self._fd = -1


def lock(path, patience=0.0):
    """Hold the lock of a destination: a descriptor to close.

    A pipe that is not merged holds it for as long as it writes, merged ones for each append.
    Raises OSError when it cannot be had within `patience` seconds.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            if time.monotonic() >= until:
                os.close(fd)
                raise OSError(errno.EBUSY, "another pipe writes to it") from None
        time.sleep(0.002)


class MergedCopy:
    """Has the methods of files.copy.Copy, for the pipe `key` (text) of a merged destination.

    destination: a Destination.  shared: the path of the destination's own ledger.
    """

    def __init__(self, destination, shared, key, say, fs=REAL):
        self.destination = destination
        self.end = 0  # of the generation, bytes held back included
        self.durable = 0
        self.unmarked = False  # each record is its own mark
        self.marked = True
        self.behind = 0  # no digest is made of a share
        self.syncing = False  # what was appended is durable
        self._say = say
        self._key = key
        self._shared = Shared(shared, fs)
        self._held = b""  # the beginning of a line whose end has not come
        self._record = None  # our last one
        self._begun = False
        self._lines = False  # version 1
        self._before = b""  # bytes of the generation below the cursor, for the proof
        self._checked = False  # the source says what it has read: nothing else is appended
        self._unchecked = b""  # what it has not said yet
        self._crc = 0  # CRC-32 of what came since the Begin
        self._head = b""

    @property
    def dirty(self):
        """True when a record says more than was told."""
        return self._record is not None and self._record["to"] > self.durable

    @property
    def generation(self):
        """The present generation, as it was recorded."""
        return _generation(self._record)

    @property
    def previous(self):
        """Nothing is kept of the generation before."""
        return UNKNOWN

    past = ()

    def open(self):
        """Open the destination.  Raises Blocked or ConfigError."""
        if self.destination.fd < 0:
            with blocked(self.destination.path, "cannot open"):
                self.destination.open()

    def offer(self, sender):
        """What was recorded of this pipe, as a Have.  Raises Blocked."""
        self.open()
        self._begun, self._held = False, b""
        with blocked(self.destination.path, "cannot read"), self._shared:
            self._prove_last()
            self._record = record = self._shared.pipes.get(self._key)
        if record is None:
            self.end = self.durable = 0
            return Have(Holding.NOTHING)
        self.end = self.durable = at = record["to"]
        generation = _generation(record)._replace(
            head_len=record["head_len"], head=bytes.fromhex(record["head"])
        )
        return Have(
            Holding.RECORDED, True, False, record["closed"],
            record["resent"] == sender.hex() and bool(sender), False,
            generation, at, at, at, record["tail_len"], bytes.fromhex(record["tail"]),
        )  # fmt: skip

    def prove(self, ranges):
        """Nothing is offered, so nothing can be asked about."""
        return tuple(NO_DIGEST for _ in ranges)

    def _prove_last(self):
        """The last record of all must be proved by what stands in the destination.

        Whoever takes the lock does this first.  What is not proved was never acknowledged.
        """
        record = self._shared.last
        if record is None or not record["bytes"]:
            return
        where = self.destination
        if (record["dev"], record["ino"]) != (where.dev, where.ino):  # rotated since
            where = Destination(where.path, fs=where.fs)
            if not where.open_rotated(record["dev"], record["ino"]):
                return
        try:
            if where.size() >= record["at"]:  # else emptied by somebody since
                self._prove(record, where)
        finally:
            if where is not self.destination:
                where.close()

    def _prove(self, record, where):
        stands = where.read(record["bytes"], record["at"])
        if len(stands) != record["bytes"] or zlib.crc32(stands) != record["crc"]:
            self._undo(record, where)

    def _undo(self, record, where):
        """What was to be appended is not there as it should be: it comes again."""
        if where.size() > record["at"]:
            kept = where.cut(record["at"])
            self._say("warning", f"{where.path}: torn, cut off and kept as {kept}")
        self._shared.write({**record["before"], "bytes": 0, "before": None})

    def begin(self, begin, sender=b"", checked=False):
        """Make ready for a generation's bytes from begin.offset on.  Raises Blocked.

        checked: compare() will be called behind them, and nothing is appended before that.
        """
        if begin.why == Why.ADOPTED:
            raise ConfigError(f"{self.destination.path}: merged, nothing can be adopted")
        with blocked(self.destination.path, "cannot begin"), self._shared:
            self._prove_last()
            record = self._shared.pipes.get(self._key)
            if begin.why != Why.RESUMED or record is None:
                resent = sender.hex() if begin.why == Why.RESENT else (record or {}).get("resent")
                record = _empty(self._key, begin.generation, begin.offset, resent or "")
                self._shared.write(record)
                self._head, self._before = b"", b""
            else:
                self._head, self._before = None, b""  # known by the digests of the record
            self._record = record
        self.end = self.durable = begin.offset
        self._held, self._begun = b"", True
        self._checked, self._unchecked, self._crc = checked, b"", 0

    def append(self, offset, data):
        """Take bytes of the generation; whole lines are appended.  Raises Blocked."""
        data = bytes(data)[self.end + len(self._unchecked) - offset :]
        if self._checked:
            self._unchecked += data
        else:
            self._take(data)

    def compare(self, offset, crc):
        """The source has read bytes with this CRC-32 from the Begin up to `offset`.

        Raises SyncFailed when they are not those that came, and Blocked.
        """
        crc_here = zlib.crc32(self._unchecked, self._crc)
        if crc_here != crc:
            raise SyncFailed(
                f"{self.destination.path}: bytes below offset {offset} are not those that were read "
                "at the origin; they are sent again (check memory and network)"
            )
        self._take(self._unchecked)
        self._unchecked, self._crc = b"", crc_here

    def _take(self, data):
        if data:
            lines = self._held + data
            whole = lines.rfind(b"\n") + 1
            if not whole and len(lines) > LONGEST:
                whole = len(lines)
            self._put(lines[:whole], lines[whole:])
            self.end += len(data)

    def _put(self, lines, held, closed=False):
        """Append whole lines, and remember what is held back behind them."""
        if lines or closed:
            with blocked(self.destination.path, "cannot append"), self._shared:
                if self.destination.moved():
                    self.destination.open()
                self._prove_last()
                if self._lines:
                    self._write(lines)
                else:
                    self._append(lines, closed)
        self._held = held

    def _append(self, lines, closed):
        before = self._shared.pipes[self._key]
        lines = lines[before["to"] - self._record["to"] :]  # some may have been proved by now
        head = None if self._head is None else (self._head + lines)[:HEAD]
        tail = (self._before + lines)[-WINDOW:]
        record = self._next(before, lines, closed, head, tail)
        self._shared.write(record)
        try:
            self._write(lines)
        except SyncFailed:
            self._undo(record, self.destination)
            raise
        self._record = {**record, "bytes": 0, "before": None}
        self._shared.write(self._record, durable=False)  # proved: saves the next one the look
        self._head, self._before = head, tail

    def _write(self, lines):
        rest = memoryview(lines)
        while rest:
            rest = rest[self.destination.append(rest)[1] :]
        try:
            self.destination.sync()
        except OSError as error:
            raise SyncFailed(f"{self.destination.path}: cannot sync: {reason(error)}") from None

    def _next(self, before, lines, closed, head, tail):
        """The record of these lines behind another one."""
        record = {
            **before, "to": before["to"] + len(lines), "at": self.destination.size(),
            "bytes": len(lines), "crc": zlib.crc32(lines), "closed": closed,
            "dev": self.destination.dev, "ino": self.destination.ino,
            "before": {key: value for key, value in before.items() if key != "before"},
        }  # fmt: skip
        if head:
            record["head_len"], record["head"] = len(head), hashlib.sha256(head).hexdigest()
        if lines:
            record["tail_len"], record["tail"] = len(tail), hashlib.sha256(tail).hexdigest()
        return record

    def append_late(self, generation, offset, data):
        """Late bytes of an ended generation have no place among others' lines."""
        self._say("critical", f"{self.destination.path}: {len(data)} late bytes have no place")

    def look(self):
        """Each append looks for itself."""

    def sync(self):
        """What was appended is durable already; the offset below which it is."""
        if self._record is not None:
            self.durable = self._record["to"]
        return self.durable

    def mark(self):
        """Each record is its own mark."""

    def begin_sync(self, _syncer):
        """Nothing to begin."""
        self.sync()

    def synced(self):
        """Nothing is under way."""
        return False

    def rest(self, limit):
        """No digest is made of a share."""

    def finish(self, end):
        """The generation is complete: its last line is appended as it is."""
        self._put(self._held, b"", closed=True)
        return self.sync(), NO_DIGEST

    def gap(self, gap):
        """Say that bytes are lost; the pipe's own ledger does not exist."""
        why = gap.reason.decode(errors="replace")
        last = gap.last or "unknown"
        text = f"{self.destination.path}: bytes {gap.first} to {last} are lost at the origin: {why}"
        self._say("critical", text)

    def reopen(self):
        """Open the destination by its name again.  Raises Blocked."""
        with blocked(self.destination.path, "cannot reopen"):
            if self._begun and self.destination.moved():
                with self._shared:
                    self._prove_last()
                    self.destination.open()

    def begin_lines(self):
        """Make ready for version 1, which tells no offsets: whole lines, without a record."""
        self.open()
        self._lines, self._begun = True, True

    def close(self, clean):
        """Let go of everything; what was held back was never acknowledged."""
        self.destination.close()
        self._shared.close()


def _empty(key, generation, offset, resent):
    return {
        "pipe": key, "generation": list(generation[:4]), "to": offset, "head_len": 0,
        "head": NO_DIGEST.hex(), "tail_len": 0, "tail": NO_DIGEST.hex(), "at": 0, "bytes": 0,
        "crc": 0, "closed": False, "dev": 0, "ino": 0, "resent": resent, "before": None,
    }  # fmt: skip


def _generation(record):
    return Generation(*record["generation"]) if record else UNKNOWN
