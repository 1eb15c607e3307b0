"""Which bytes of which generation stand where in a destination.

A file of lines, one record a line: eight hex digits of CRC-32, a blank, a JSON object
with one key that names the record.  A stretch says "from this place in the destination
on stands this generation from this offset on"; the destination's size then tells the
cursor, so the destination is its own journal and nothing is written per append.

A stretch is durable before the first byte that it describes is appended, so after a
crash the ledger may describe bytes that are not there, but never the other way round.
A mark is written after the sync that it speaks of, so it may lag but never lead.

Records are numbered, and a mark says again in which stretch it stands.  So a line that is
damaged, missing, doubled or out of its place is noticed, and costs no more than itself
(files/replay): damaged ones are kept in LEDGER.damaged, and until the next agreement the ledger
is `doubtful`.  A long ledger is rewritten (files/rewritten).

Does not read destinations and does not speak to peers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tcppipe.files import records
from tcppipe.files.fs import FS, REAL, open_new
from tcppipe.files.recorded import RUNS, OutOfOrder, Recorded
from tcppipe.files.replay import Replay
from tcppipe.files.rewritten import matters, older_runs
from tcppipe.files.spelling import Value, mark_value, stretch_value
from tcppipe.files.stretches import Mark, Run, Stretch

COMPACT = 1 << 20  # bytes; a longer ledger is rewritten
KEPT_ASIDE = 1 << 20  # bytes that LEDGER.damaged grows to


class Ledger(Recorded):
    """The ledger in the file `path`, with all that is known by it.  Missing directories are made.

    damage: what was wrong with it when it was read, or "".
    Raises OSError from whatever writes; the same call can be made again.
    """

    def __init__(self, path: str, fs: FS = REAL) -> None:
        super().__init__()
        self.path = path
        self.fs = fs
        self.damage = ""
        self._number = 0  # of the last record
        self._limit = COMPACT
        self._good = 0  # bytes up to the last whole line
        self._unsafe = False  # a sync of the ledger has failed: what stands in it may not last
        self._nameless = True  # whoever made or replaced it may have died before its name lasted
        fs.makedirs(os.path.dirname(path))
        self._fd = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            self._load()
        except OSError:
            self.close()
            raise

    # --- reading

    def _content(self) -> bytes:
        content = bytearray()
        while data := self.fs.pread(self._fd, 1 << 20, len(content)):
            content += data
        return bytes(content)

    def _load(self) -> None:
        content = self._content()
        *lines, rest = content.split(b"\n")
        if rest and records.parse(rest[:-1] + b"\n") is not None:
            lines.append(rest[:-1])  # only its newline is damaged
            rest, self.damage = b"", "its last newline is damaged"
        self._good = len(content) - len(rest)
        bad = self._replay(lines)
        if not self.clean:  # whoever wrote last may have seen a sync fail: this one proves it
            self.fs.rewrite(self._fd, 0, self._good)
            self._sync()
        if bad:
            self._keep_aside(bad)
        if self.damage:
            self._compact()
        elif rest:  # torn by a crash, or cut
            self.fs.ftruncate(self._fd, self._good)
            if self._good and rest.strip(b"\0"):
                self.note("doubtful")

    def _replay(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Take what these lines tell: the damaged ones."""
        aside = self.path + ".damaged"
        try:
            replay = Replay(lines, self, aside)
        except OutOfOrder:  # nobody can tell what came last
            super().__init__()
            self.damage = f"its lines are out of order (kept in {aside})"
            return lines
        self._number = replay.number
        self.damage = replay.faults or self.damage
        return replay.bad

    def _keep_aside(self, lines: Sequence[bytes]) -> None:
        """Bad lines are for people to look at: nobody reads them again here."""
        fd = self.fs.open(self.path + ".damaged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            if self.fs.fstat(fd).st_size < KEPT_ASIDE:
                self.fs.write_all(fd, b"".join(line + b"\n" for line in lines)[:KEPT_ASIDE])
            self.fs.fsync(fd)
        finally:
            self.fs.close(fd)

    def older(self) -> list[Run]:
        """The Runs before those in `runs`, oldest first.  They are not kept in mind, because nobody
        asks for them but who finds a copy that is older than all of `runs`."""
        return older_runs(self._content(), self.runs)

    # --- writing

    def begin(self, stretch: Stretch) -> None:
        """Record a stretch; durable on return."""
        self._write("stretch", stretch_value(stretch), durable=True)

    def note_mark(self, mark: Mark) -> None:
        """Record a mark, after the sync that it speaks of.  Only a stretch's first one is made
        durable: it is what the stretch's file is known by at the least."""
        proofs = self.runs[-1].proofs
        first = not any(stretch is self.stretch and before.offset for stretch, before in proofs)
        self._write("mark", mark_value(self.stretches[-1], mark), durable=first)

    def note_clean(self) -> None:
        """Record that the destination was synced and closed in order; the mark is its end."""
        self._write("clean", {})

    def note_back(self, stretch: Stretch, offset: int, ended: bool) -> None:
        """Record that the destination was found as it was at this offset of this stretch.

        ended: all of the generation is there.  Durable on return.
        """
        if not any(run.has(stretch) for run in self.runs):
            self._bring_back(stretch)
        value = {"in": stretch_value(stretch), "offset": offset, "ended": ended}
        self._write("back", value, durable=True)

    def _bring_back(self, stretch: Stretch) -> None:
        """A generation before those that are kept in mind is the last one now."""
        older, before = self.older(), (self.runs, self._done)
        at = max((n for n, run in enumerate(older) if run.has(stretch)), default=-1) + 1
        self._done = list(self._done)
        for run in reversed([*older[at:], *self.runs]):
            done = self.done(run.generation)
            if done is not None:
                self._done.remove(done)
        kept = max(0, at - RUNS)
        self.runs = older[kept:at] or [Run(stretch)]
        try:
            self._compact(older[:kept])
        except OSError:
            self.runs, self._done = before
            raise

    def note_resume(self, offset: int, boot: str) -> None:
        """Record that a new connection goes on from here; durable on return."""
        value = {"offset": offset, "boot": boot, "in": stretch_value(self.stretches[-1])}
        self._write("resume", value, durable=True)

    def note(self, kind: str, **value: Any) -> None:
        """Record something that happened: "end", "gap", "cut"; durable on return."""
        self._write(kind, value, durable=True)

    def _write(self, kind: str, value: Value, durable: bool = False) -> None:
        if self._unsafe:
            self._compact()
        value = {**value, "n": self._number + 1}
        line = records.render({kind: value})
        if self.fs.fstat(self._fd).st_size != self._good:
            self.fs.ftruncate(self._fd, self._good)  # what a failed write left
        self.fs.write_all(self._fd, line)
        if durable:
            self._sync()
        self._good += len(line)
        self._number += 1
        self.take(kind, value)
        if self._good > self._limit:
            try:
                self._compact()
            except OSError:
                self._limit = self._good + COMPACT // 2  # it was not needed yet; later, then

    def _sync(self) -> None:
        """Make the ledger and its name durable."""
        try:
            self.fs.fdatasync(self._fd)
        except OSError:
            self._unsafe = True  # the next sync would succeed, and prove nothing
            raise
        if self._nameless:
            self.fs.sync_directory(os.path.dirname(self.path))
            self._nameless = False

    def _compact(self, older: Sequence[Run] | None = None) -> None:
        """Rewrite the ledger with what still matters; older: the Runs before those in `runs`."""
        older = self.older() if older is None else older
        lines = [
            records.render({kind: {**value, "n": n}})
            for n, (kind, value) in enumerate(matters(self, older), 1)
        ]
        content = b"".join(lines)
        beside = self.path + ".new"
        fd = open_new(self.fs, beside, 0o640, os.O_APPEND)
        try:
            self.fs.write_all(fd, content)
            self.fs.fsync(fd)
            self.fs.rename(beside, self.path)
        except OSError:
            self.fs.close(fd)
            raise
        self._nameless = True
        old, self._fd = self._fd, fd
        self._good, self._number, self._unsafe = len(content), len(lines), False
        self._limit = max(COMPACT, 2 * self._good)
        self.fs.close(old)
        self._sync()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self.fs.close(fd)
