"""Which bytes of which generation stand where in a destination.

A file of lines, one record a line: eight hex digits of CRC-32, a blank, a JSON object
with one key that names the record.  A stretch says "from this place in the destination
on stands this generation from this offset on"; the destination's size then tells the
cursor, so the destination is its own journal and nothing is written per append.

A stretch is durable before the first byte that it describes is appended, so after a
crash the ledger may describe bytes that are not there, but never the other way round.
A mark is written after the sync that it speaks of, so it may lag but never lead.  A line
that a crash has torn ends the ledger: it and what follows is dropped.

Does not read destinations and does not speak to peers.
"""

import os
from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Generation
from tcppipe.files import records
from tcppipe.files.fs import REAL
from tcppipe.wire.events import Complete, Why

REMEMBERED = 1000  # complete generations
COMPACT = 1 << 20  # bytes; a longer ledger is rewritten to half of that: without the old marks …
# … and, where that is not enough, without all but the last two generations


class Stretch(NamedTuple):
    """The destination's bytes from `at` on are the generation's from `first` on."""

    generation: Generation
    first: int
    at: int
    dev: int  # the destination file …
    ino: int  # … that it stands in
    why: int = Why.FRESH
    sender: bytes = b""  # the key of the source that it was begun with
    boot: str = ""  # the system's start during which it was begun
    igen: int = 0  # the inode's generation number; 0 where the system has none


class Mark(NamedTuple):
    """The generation is durable below `offset`; what stood there proves it later."""

    offset: int = 0
    head_len: int = 0
    head: bytes = NO_DIGEST
    tail_len: int = 0
    tail: bytes = NO_DIGEST


class Ledger:
    """The ledger in the file `path` (str).  Missing directories are made.

    stretches: those of the current generation, oldest first.  mark: its last Mark.
    previous: the generation before, its length and digest, as far as they are known.
    clean: the destination was closed in order.  closed: the
    generation is complete.  Raises OSError from whatever writes; the same call can be
    made again.
    """

    def __init__(self, path, fs=REAL):
        self.path = path
        self.fs = fs
        self.stretches = []
        self.mark = Mark()
        self.clean = False
        self.closed = False
        self.boot = ""  # the system's start during which was written last
        self.resent_by = b""  # the source whose request to send all again was begun
        self.previous = (UNKNOWN, 0, NO_DIGEST)
        self.lengths = {}  # of the generations that are complete, by their first four numbers
        self.places = {}  # device and inode of the destination that each of them ends in
        self.late = None  # a record of late bytes behind which no stretch was begun yet
        self.complete = []  # the generations that are complete, as Complete, oldest first
        self._ended = None  # length and digest of the generation that is complete
        self._kept = []  # the lines that a rewrite keeps: no marks
        self._starts = [0, 0]  # where in them the previous and the present generation begin
        self._last_mark = self._last_resume = b""
        fs.makedirs(os.path.dirname(path))
        self._fd = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        self._good = 0  # bytes up to the last whole line
        try:
            self._load()
        except OSError:
            self.close()
            raise

    @property
    def stretch(self):
        """The last Stretch, or None."""
        return self.stretches[-1] if self.stretches else None

    def _load(self):
        content = bytearray()
        while data := self.fs.pread(self._fd, 1 << 20, len(content)):
            content += data
        for line in bytes(content).splitlines(keepends=True):
            record = records.parse(line)
            if record is None or len(record) != 1:
                break
            ((kind, value),) = record.items()
            self._apply(kind, value)
            self._keep(kind, line)
            self._good += len(line)
        if self._good < len(content):
            self.fs.ftruncate(self._fd, self._good)
        if not self._good:
            self.fs.sync_directory(os.path.dirname(self.path))

    def _keep(self, kind, line):
        if kind == "mark":
            self._last_mark = line
        elif kind == "resume":
            self._last_resume = line
        elif kind != "clean":
            self._kept.append(line)
            if kind == "stretch":
                self._last_resume = b""
                self._last_mark = self._last_mark if self.mark.offset else b""

    def _apply(self, kind, value):
        if kind != "mark":
            self.clean = kind == "clean"
        if kind == "stretch":
            generation = Generation(*value["generation"][:5], bytes.fromhex(value["head"]))
            numbers = (int(value[key]) for key in ("first", "at", "dev", "ino", "why"))
            sender = bytes.fromhex(value["sender"])
            more = (value.get("boot", ""), int(value.get("igen", 0)))
            stretch = Stretch(generation, *numbers, sender, *more)
            self.boot = stretch.boot
            if not self._continues(stretch):
                if self._ended is not None:
                    self.previous = (self.stretch.generation, *self._ended)
                self.stretches, self.mark, self._ended = [], Mark(), None
                self._starts = [self._starts[1], len(self._kept)]
            self.closed, self.late = False, None
            self.stretches.append(stretch)
            if stretch.why == Why.RESENT:
                self.resent_by = stretch.sender
        elif kind == "mark":
            head, tail = bytes.fromhex(value["head"]), bytes.fromhex(value["tail"])
            self.mark = Mark(value["offset"], value["head_len"], head, value["tail_len"], tail)
        elif kind == "resume":
            self.boot = value.get("boot", "")
        elif kind == "late":
            self.late = value if value["at"] >= 0 else None
            self.lengths[tuple(value["of"])] = value["offset"] + value["bytes"]
        elif kind == "late_undone":
            self.lengths[tuple(self.late["of"])] = self.late["offset"]
            self.late = None
        elif kind == "end":
            self.closed = True
            self.lengths[self.stretch.generation[:4]] = value["length"]
            self.places[self.stretch.generation[:4]] = (self.stretch.dev, self.stretch.ino)
            self._ended = (value["length"], bytes.fromhex(value["sha256"]))
            self._complete(*self._ended)

    def _complete(self, length, digest):
        generation = self.stretch.generation
        if self.mark.head_len > generation.head_len:
            generation = generation._replace(head_len=self.mark.head_len, head=self.mark.head)
        self.complete.append(Complete(generation, length, digest))
        del self.complete[:-REMEMBERED]

    def _continues(self, stretch):
        """True when a new stretch goes on with the generation of the last one."""
        last = self.stretch
        return (
            last is not None
            and stretch.first >= last.first
            and stretch.why in (Why.RESUMED, Why.FOREIGN)
        )

    # --- writing

    def begin(self, stretch):
        """Record a stretch; durable on return."""
        value = {
            "generation": list(stretch.generation[:5]),
            "head": stretch.generation.head.hex(),
            "first": stretch.first,
            "at": stretch.at,
            "dev": stretch.dev,
            "ino": stretch.ino,
            "why": int(stretch.why),
            "sender": stretch.sender.hex(),
            "boot": stretch.boot,
            "igen": stretch.igen,
        }
        self._write("stretch", value, durable=True)

    def note_mark(self, mark):
        """Record a mark, after the sync that it speaks of.  Not made durable by itself."""
        value = mark._asdict()
        value["head"], value["tail"] = mark.head.hex(), mark.tail.hex()
        self._write("mark", value)
        if self._good > COMPACT:
            self._compact()

    def note_clean(self):
        """Record that the destination was synced and closed in order; the mark is its end."""
        self._write("clean", {})

    def note(self, kind, **value):
        """Record something for people and audits: "end", "gap", "cut"; durable on return."""
        self._write(kind, value, durable=True)

    def _write(self, kind, value, durable=False):
        line = records.render({kind: value})
        if self.fs.fstat(self._fd).st_size != self._good:
            self.fs.ftruncate(self._fd, self._good)  # what a failed write left
        self.fs.write_all(self._fd, line)
        if durable:
            self.fs.fdatasync(self._fd)
        self._good += len(line)
        self._apply(kind, value)
        self._keep(kind, line)

    def _compact(self):
        """Rewrite the ledger without the marks that later ones have replaced."""
        old = self._starts[0]
        if sum(map(len, self._kept)) > COMPACT // 2:
            del self._kept[:old]
            self._starts = [start - old for start in self._starts]
        lines = b"".join([*self._kept, self._last_resume, self._last_mark])
        beside = self.path + ".new"
        fd = self.fs.open(beside, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            self.fs.write_all(fd, lines)
            self.fs.fsync(fd)
            self.fs.rename(beside, self.path)
        except OSError:
            self.fs.close(fd)
            raise
        self.fs.close(self._fd)
        self._fd, self._good = fd, len(lines)
        self.fs.sync_directory(os.path.dirname(self.path))

    def close(self):
        """Let go of the file."""
        if self._fd >= 0:
            self.fs.close(self._fd)
            self._fd = -1
