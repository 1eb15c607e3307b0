"""What the records of a ledger tell, one after the other.

Each kind of record has a method that says what is known from then on.  One that contradicts what
is known is another one's, before which a line is missing: ValueError.  Reads and writes nothing.
"""

from __future__ import annotations

import hashlib

from tcppipe.cursor import HEAD, NO_DIGEST, UNKNOWN, Generation
from tcppipe.files.chronicle import Chronicle
from tcppipe.files.spelling import Value, complete_of, mark_of, stretch_of
from tcppipe.files.stretches import Done, Run, Stretch
from tcppipe.wire.events import Complete, Why

REMEMBERED = 1000  # complete generations
RUNS = 4  # generations that are known in full, the present one among them
PIECES = 64  # compressed files of which is known what they hold
COUNTED = ("gap", "cut", "aside", "late")  # for ever …
FOR_PEOPLE = COUNTED[:-1]  # … and the last of these are kept


class OutOfOrder(Exception):
    """Lines without numbers stand in another order than they were written in."""


class Recorded(Chronicle):
    """Takes what is recorded."""

    def take(self, kind: str | None, value: Value) -> None:
        """A record.  Raises KeyError, TypeError, ValueError or IndexError when it is none, or
        contradicts what is known; and OutOfOrder."""
        if kind is None:
            raise ValueError("not a record")
        if kind in COUNTED:
            self.counts[kind] += 1
        if kind in FOR_PEOPLE:
            self.notes.append((kind, value))
        if kind not in ("mark", "piece"):
            self.clean = kind == "clean" and not self.doubtful
        take = getattr(self, "_take_" + kind, None)
        if take is not None:
            take(value)

    def doubt(self) -> None:
        """A line is damaged or missing here."""
        self.doubtful, self.clean, self._placed = True, False, False

    # --- stretches and marks

    def _take_stretch(self, value: Value) -> None:
        stretch, last = stretch_of(value), self.stretch
        if "n" not in value and stretch.why == Why.FRESH and last is not None:
            if UNKNOWN not in (stretch.generation, last.generation):
                raise OutOfOrder("the first one of its pipe")
        self._begin(stretch, value.get("new", False), "n" in value)

    def _begin(self, stretch: Stretch, new: bool = False, numbered: bool = True) -> None:
        """A stretch begins."""
        if new or not self._continues(stretch):
            if stretch.why == Why.NEXT and self.doubtful:
                self._end_missed()
            if stretch.why == Why.REOPENED:
                self._reopen(stretch.generation)
            self.runs.append(Run(stretch))
            del self.runs[:-RUNS]
            self.doubtful = False
        else:
            self.runs[-1].add(stretch)
            self.runs[-1].ended = None
        if numbered:
            self.doubtful = False
        self._placed = True
        self._late_is_there()
        self.unsynced = False
        self.boot = stretch.boot
        if stretch.why == Why.RESENT:
            self.resent_by = stretch.sender

    def _continues(self, stretch: Stretch) -> bool:
        """True when a new stretch goes on with the generation of the last one."""
        last = self.stretch
        if last is None or stretch.first < last.first:
            return False
        if stretch.why == Why.RESUMED:  # under other numbers, too: the origin was moved
            return stretch.generation.key == last.generation.key or stretch.same_place(last)
        return stretch.why == Why.FOREIGN

    def _stands_in(self, value: Value) -> None:
        """It says in which stretch it stands; that one's own line may be missing."""
        stretch = stretch_of(value["in"])
        if self.stretch is None or not stretch.same(self.stretch):
            self._begin(stretch)
        self.doubtful = False

    def _take_mark(self, value: Value) -> None:
        mark = mark_of(value)
        if "in" in value:
            self._stands_in(value)
        elif self.clean or not self._placed or not self.runs or not self.runs[-1].may_have(mark):
            raise ValueError("of a stretch whose line is missing")
        self.runs[-1].prove(mark)

    def _take_resume(self, value: Value) -> None:
        if "in" in value:
            self._stands_in(value)
        self.boot = value.get("boot", "")
        self.unsynced = False
        self.resume = value

    def _take_back(self, value: Value) -> None:
        """The destination was found as it was at this offset of this stretch."""
        stretch = stretch_of(value["in"])
        for at, run in enumerate(self.runs):
            for number, known in enumerate(run.stretches):
                if known.same(stretch):
                    for later in self.runs[at + 1 if value["ended"] else at :]:
                        self._reopen(later.generation)
                    del self.runs[at + 1 :], run.stretches[number + 1 :]
                    run.proofs = [
                        (where, mark) for where, mark in run.proofs
                        if mark.offset <= value["offset"] and where in run.stretches
                    ]  # fmt: skip
                    return
        raise ValueError("no such stretch")

    # --- complete generations

    def _take_end(self, value: Value) -> None:
        run = self.runs[-1]
        if not run.may_end(value["length"]):
            raise ValueError("of a generation whose stretch is missing")
        if "n" not in value and value["length"] != run.mark.offset:
            self.doubtful = True  # it was marked before, or that is another one's
        computed = bytes.fromhex(value["sha256"]) or NO_DIGEST
        digest = computed if computed != NO_DIGEST else bytes.fromhex(value.get("said", ""))
        ended, run.ended = run.ended, (value["length"], digest or NO_DIGEST)
        if value.get("again"):
            return
        if ended is not None:
            self._done.pop()
        complete = Complete(run.generation, *run.ended)
        last = run.stretches[-1]
        self._remember(Done(complete, *last.file, computed != NO_DIGEST, last.place))

    def _end_missed(self) -> None:
        """The next generation begins where the record of the last one's end is damaged: it ended at
        its last mark, which is written right before."""
        run = self.runs[-1] if self.runs else None
        if run is None or run.ended is not None or not (run.mark.offset or run.untouched):
            return
        mark, last = run.mark, run.stretches[-1]
        digest = mark.head if mark.offset == mark.head_len else NO_DIGEST
        run.ended = mark.offset, digest if mark.offset else hashlib.sha256().digest()
        complete = Complete(run.generation, *run.ended)
        self._remember(Done(complete, *last.file, False, last.place))

    def _remember(self, done: Done) -> None:
        self._done.append(done)
        del self._done[:-REMEMBERED]

    def _take_complete(self, value: Value) -> None:
        self._remember(complete_of(value))

    def _take_reopened(self, _value: Value) -> None:
        self._reopen(self.stretches[-1].generation)

    def _reopen(self, generation: Generation) -> None:
        """A generation that was complete goes on."""
        done = self.done(generation)
        if done is not None:
            self._done.remove(done)
        for run in self.runs:
            if run.generation.key == generation.key:
                run.ended = None

    # --- late bytes

    def _take_late(self, value: Value) -> None:
        done = self._done_of(value["of"])
        if done is not None and done.complete.length > value["offset"]:
            raise ValueError("of bytes that are there already")
        self._late_is_there()
        place = value["there"] if "there" in value else value["at"]
        self._lates[place] += value["bytes"]
        if value["at"] >= 0:
            self.late = value
        else:
            self._lengthen(value)

    def _late_is_there(self) -> None:
        """The stream has gone on behind late bytes, so all of them are there."""
        late, self.late = self.late, None
        if late is not None:
            self._lengthen(late)

    def _lengthen(self, late: Value) -> None:
        for at, done in enumerate(self._done):
            generation = done.complete.generation
            if generation.key == tuple(late["of"]):
                digest = bytes.fromhex(late.get("sha256", "")) or NO_DIGEST
                length = late["offset"] + late["bytes"]
                if digest != NO_DIGEST and not generation.head_len and length <= HEAD:
                    generation = generation._replace(head_len=length, head=digest)
                complete = Complete(generation, length, digest)
                dev, ino = late.get("file", (done.dev, done.ino))  # it may have other numbers now
                self._done[at] = done._replace(complete=complete, dev=dev, ino=ino, computed=True)

    def _take_late_undone(self, _value: Value) -> None:
        self.late = None

    # --- all else

    def _take_unsynced(self, _value: Value) -> None:
        self.unsynced = True

    def _take_doubtful(self, _value: Value) -> None:
        self.doubtful = True

    def _take_piece(self, value: Value) -> None:
        key = tuple(value["file"])
        self.pieces.pop(key, None)
        self.pieces[key] = value
        while len(self.pieces) > PIECES:
            del self.pieces[next(iter(self.pieces))]

    def _take_summary(self, value: Value) -> None:
        self._whole = False
        self.counts.update(value["counts"])
        self.resent_by = bytes.fromhex(value["resent_by"])
