"""What a ledger's records have told by now, and what follows from it.

Changed by files/recorded alone.  Reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence

from tcppipe.cursor import UNKNOWN, Generation
from tcppipe.files.spelling import Value
from tcppipe.files.stretches import Done, Mark, Run, Stretch
from tcppipe.wire.events import Complete, Why

NOTES = 100  # records for people that are kept


class Chronicle:
    """What is known by now.

    runs: the last generations, oldest first; the present one is the last.  clean: the destination
    was closed in order.  doubtful: something is damaged or missing, and no agreement was made since.
    unsynced: a sync has failed, and no agreement was made since.  boot: the system's start during
    which was written last.  resent_by: the source whose request to send all again was begun.
    late: a record of late bytes behind which no stretch was begun yet.  pieces: (device, inode, size,
    mtime) of compressed files: their "piece" records.  counts: records for people, by kind.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.clean = False
        self.doubtful = False
        self.unsynced = False
        self.boot = ""
        self.resent_by = b""
        self.late: Value | None = None
        self.pieces: dict[tuple[int, ...], Value] = {}
        self.counts: Counter[str] = Counter()
        self.notes: deque[tuple[str, Value]] = deque(maxlen=NOTES)  # for people
        self.resume: Value | None = None
        self._done: list[Done] = []
        self._lates: Counter[int] = Counter()  # places of late bytes: how many stand there
        self._whole = True  # it was not rewritten
        self._placed = True  # no line is missing since the last stretch

    @property
    def files(self) -> list[tuple[int, ...]]:
        """The destination's files that are known from the last generations, each as device, inode
        and its generation number, the oldest first."""
        found: dict[tuple[int, ...], None] = {}
        for run in self.runs:
            for stretch in run.stretches:
                for file in (stretch.beside, (stretch.dev, stretch.ino, stretch.igen)):
                    if file:
                        found.setdefault(file)
        return list(found)

    @property
    def stretches(self) -> list[Stretch]:
        """The stretches of the current generation, oldest first."""
        return self.runs[-1].stretches if self.runs else []

    @property
    def stretch(self) -> Stretch | None:
        """The last Stretch, or None."""
        return self.runs[-1].stretches[-1] if self.runs else None

    @property
    def mark(self) -> Mark:
        """The last Mark of the current generation."""
        return self.runs[-1].mark if self.runs else Mark()

    @property
    def closed(self) -> bool:
        """True when the current generation is complete."""
        return bool(self.runs) and self.runs[-1].ended is not None

    @property
    def complete(self) -> list[Complete]:
        """The complete generations, oldest first."""
        return [done.complete for done in self._done]

    @property
    def previous(self) -> Complete:
        """The complete generation before the current one, or UNKNOWN: a Complete."""
        before = self._done[:-1] if self.closed else self._done
        return before[-1].complete if before else Complete(UNKNOWN, 0)

    def done(self, generation: Generation) -> Done | None:
        """The Done of a complete generation, by its numbers; or None."""
        return self._done_of(generation.key)

    def _done_of(self, key: Sequence[int]) -> Done | None:
        for done in reversed(self._done):
            if done.complete.generation.key == tuple(key):
                return done
        return None

    def dones(self) -> list[Done]:
        """All of them, oldest first."""
        return list(self._done)

    def untold(self) -> Iterator[tuple[int, int, int, bool]]:
        """The first and the last place of bytes of which no record tells, where those begin that are
        still nobody's, and whether all of them are of one kind: a line may be missing, of late bytes
        above all, or the ledger was older than the copy.

        Nobody knows in a ledger that was rewritten.
        """
        last = self.stretch
        if last is None or not self._whole:
            return
        runs = self.runs[-1:] if self.stretches[0].why != Why.WITNESSED else self.runs[-2:]
        rows = [(run, one) for run in runs for one in run.stretches if one.file == last.file]
        for (run, before), (_run, after) in zip(rows, rows[1:]):
            known = run.mark.offset if after.why == Why.WITNESSED else after.first
            first = before.at + known - before.first
            if after.why in (Why.RESUMED, Why.WITNESSED):
                yield first, after.at, first + self._lates[first], after.why == Why.RESUMED
