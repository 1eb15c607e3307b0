"""Where do two copies last agree, and what comes after?  The source's side of the agreement.

The sink has a row of generations: those that are complete, by length and digest, and at its end
one that it has a part of.  The origin has files: some held open in the order in which they
were written, some found by name, some compressed, some that cannot be read.  The rule:

- The file of the sink's last generation is found by content (session/find).
- What is durable of it, below the mark, is believed; what is not is compared, down to the first
  byte that differs, and what differs is cut off there - or, where the sink says that it came
  to an orderly end, it is somebody else's, stays, and the copy goes on behind it.
- All files are put in a row around what the sink has (session/row): what comes after that
  generation and is no complete one, and no copy of another file, is delivered.
- What cannot be read is waited for as long as that may help.  What is missing then, or cannot be
  read, is a gap that names it.
- Without a ledger the destination's content tells, then the status file (session/begin).

Inodes only tell where to look first, and between files that hold the same.  `agree` is a
generator that asks - yield Measure, Length, Await: of a local candidate; yield Probe: of the
sink; yield Search: for candidates of any name - and returns a Plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tcppipe.cursor import NO_DIGEST, Cursor
from tcppipe.session import compare
from tcppipe.session.actions import Asks, Await, Candidate, Found, Measure, Search
from tcppipe.session.begin import PROOF, adopted, fresh, is_told, witnessed
from tcppipe.session.find import CHANCE, find, without_rests
from tcppipe.session.known import same_inode, size_of
from tcppipe.session.older import passed
from tcppipe.session.plan import IN_DOUBT, Late, Plan, first_of
from tcppipe.session.row import Row, row_of
from tcppipe.session.situation import Situation, is_of
from tcppipe.wire.events import Begin, Complete, Gap, Have, Holding, Probe, Why

MOST_LATE = 8  # complete generations that are watched for late bytes, the youngest
CHECKS = 2  # the minor version from which on a sink knows more than one complete generation
REOPENS = 2  # the minor version from which on a sink knows what is reopened


def agree(
    have: Have,
    found: Found,
    witness: Cursor | None = None,
    resend: bool = False,
    past: Sequence[Complete] = (),
) -> Asks[Plan | None]:
    """Find the place to go on from.

    have: the sink's Have.  found: a Found; its candidates are not all ordered, the live file
    (if there is one) is the last; there is one at least.  witness: the source's own Cursor or
    None.  resend: -n was given.  past: what the sink has to the end, as Complete, oldest first.
    Returns None when a file changed while it was compared, or when there is none to go on
    with: then all has to begin anew, later.
    """
    situation = Situation(have, witness, past)
    yield from situation.take(found)
    agreement = _Agreement(situation)
    plan = (yield from agreement.decide(resend)) if situation.candidates else None
    if plan is None or plan.candidate.trouble:
        return None
    read = (plan.candidate, *plan.later)
    late = tuple(row for row in plan.late if row[0] not in read)
    plan = plan._replace(past=tuple(situation.past), late=late)
    offset = plan.begin.offset
    length = min(offset, PROOF)
    if not length:
        return plan
    (here,) = yield Measure(plan.candidate, ((offset - length, length),))
    if plan.begin.why == Why.RESUMED and offset > have.first:
        common_length = min(length, offset - have.first)
        window = ((offset - common_length, common_length),)
        (local,) = yield Measure(plan.candidate, window)
        (there,) = yield Probe(window)
        if local != there:
            return None
    return plan._replace(proof=(length, here))


class _Agreement:
    """One agreement.  Its methods are generators, as agree is, or compute."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.have = situation.have
        self.witness = situation.witness

    def decide(self, resend: bool) -> Asks[Plan | None]:
        """The Plan, without its proof, or None."""
        have, situation = self.have, self.situation
        plan = yield from self._place()
        if not resend or have.resent or (plan is not None and not plan.candidate.live):
            return plan  # what was rotated comes first; behind it comes the whole file anyway
        last = situation.live or situation.candidates[-1]
        again = yield from self._on_from(last, 0, Why.RESENT)
        return again._replace(gaps=plan.gaps) if plan is not None else again

    def _place(self) -> Asks[Plan | None]:
        have, witness, situation = self.have, self.witness, self.situation
        if have.holding == Holding.RECORDED:
            told = (yield from self._sure()) if have.doubtful else None
            return told or (yield from self._recorded())
        if have.holding == Holding.UNRECORDED:
            there = yield from adopted(situation)
            if there is not None:
                why = Why.WITNESSED if there.whole else Why.ADOPTED
                return self._from(there.candidate, there.offset, why, later=there.later)
            if have.generation.ino:
                return (yield from self._pointed())
        said = (yield from witnessed(situation, witness)) if witness is not None else None
        if said is not None:
            return (yield from self._witnessed(*said))
        start, gaps, later = first_of((yield from fresh(situation)))
        if start is None:
            start, gaps = situation.candidates[-1], []
        return self._from(start, 0, Why.FRESH, gaps, later)

    def _sure(self) -> Asks[Plan | None]:
        """The Plan as the status file says, where the ledger is in doubt; or None.  Only with what is
        behind all that the ledger tells of, and what the destination ends with."""
        if self.witness is None or is_told(self.situation, self.witness):
            return None
        told = yield from witnessed(self.situation, self.witness, sure=True)
        return (yield from self._witnessed(*told)) if told is not None else None

    def _witnessed(self, candidate: Candidate, offset: int, proved: bool) -> Asks[Plan]:
        plan = yield from self._on_from(candidate, offset, Why.WITNESSED)
        return plan if proved else plan._replace(doubt=IN_DOUBT.format(offset))

    def _pointed(self) -> Asks[Plan]:
        """A pointer file names an inode, and the destination is not the beginning of any file.

        All of that file comes once more, and what follows it; of a lost one, the live file.
        """
        for candidate in self.situation.candidates:
            if candidate.generation.ino == self.have.generation.ino and not candidate.trouble:
                return (yield from self._on_from(candidate, 0, Why.FRESH))
        return (yield from self._on_from(self.situation.candidates[-1], 0, Why.LOST))

    def _on_from(self, candidate: Candidate, offset: int, why: Why) -> Asks[Plan]:
        """The Plan that goes on with a candidate, and with all that comes after it."""
        later: list[Candidate] = []
        late: Late = ()
        recorded = self.have.holding == Holding.RECORDED and why == Why.WITNESSED
        if not candidate.live or recorded:
            row = yield from row_of(self.situation, candidate)
            late = (yield from self._late(row)) if recorded else ()
            if not candidate.live:
                candidate, later = row.cursor or candidate, (yield from row.after())
        return self._from(candidate, offset, why, later=later)._replace(late=late)

    def _from(
        self,
        candidate: Candidate,
        offset: int,
        why: Why,
        gaps: Iterable[Gap] = (),
        later: Sequence[Candidate] = (),
    ) -> Plan:
        """The Plan that goes on with a candidate; later: what comes after it."""
        generation = candidate.generation
        if offset < generation.head_len:  # only what was read counts; it may change before
            generation = generation._replace(head_len=0, head=NO_DIGEST)
        return Plan(candidate, Begin(why, generation, offset), tuple(gaps), later=tuple(later))

    # --- the ledger knows the generation

    def _recorded(self) -> Asks[Plan | None]:
        cursor, row = yield from self._find()
        have = self.have
        if cursor is None:
            return (yield from self._lost(row))
        if have.closed and not have.damaged:
            return (yield from self._next(cursor, row))
        low = max(have.first, have.mark)
        if have.damaged or have.end < have.mark:
            low = have.first
        size = yield from size_of(cursor)
        if size is None:
            return None
        agreed = yield from compare.common(cursor, low, min(have.end, size))
        if have.closed and agreed == have.mark:
            return (yield from self._next(cursor, row))
        later = [] if cursor.live else (yield from row.after())
        plan = (yield from self._passed(cursor, size, later)) if agreed == size else None
        if plan is not None:
            return plan
        late = yield from self._late(row)
        if agreed < have.end and have.clean and not have.damaged:
            ours = agreed if agreed - low >= CHANCE else low  # else it is somebody else's that
            return self._from(cursor, ours, Why.FOREIGN, later=later)._replace(late=late)
        return self._from(cursor, agreed, Why.RESUMED, later=later)._replace(late=late)

    def _passed(self, cursor: Candidate, at: int, later: Sequence[Candidate]) -> Asks[Plan | None]:
        """The ledger is older than the copy: the Plan that goes on where that ends; or None."""
        if at >= self.have.end:
            return None
        there = yield from passed(self.have, cursor, at, later, CHANCE)
        if there is None:
            return None
        self.situation.past = [*self.situation.past, *there.whole]
        return self._from(there.candidate, there.offset, Why.WITNESSED, later=there.later)

    def _find(self) -> Asks[tuple[Candidate | None, Row]]:
        """(the file of the sink's generation or None, the Row around it)."""
        situation, searched, awaited = self.situation, False, set()
        while True:
            cursor = yield from find(situation)
            if cursor is None and not searched:
                wanted = (self.have.generation, *(entry.generation for entry in situation.past))
                ours = (self.witness.generation,) if self.witness is not None else ()
                yield from situation.take((yield Search(wanted=wanted, ours=ours)))
                searched = True
                continue
            row = yield from row_of(situation, cursor)
            if cursor is not None and cursor.live:
                return cursor, row
            cursor = row.cursor
            for candidate in row.behind:
                if candidate.trouble and candidate not in awaited:
                    again = yield Await(candidate)
                    awaited.add(again)
                    situation.exchange(candidate, again)
                    break
            else:
                return cursor, row

    def _next(self, cursor: Candidate, row: Row) -> Asks[Plan]:
        """The generation was delivered to its end: begin the one after it."""
        have = self.have
        if cursor.live:
            return self._from(cursor, have.mark, Why.RESUMED)
        later = yield from row.after()
        plan = yield from self._passed(cursor, have.mark, later)
        if plan is not None:
            return plan
        start, gaps, rest = first_of(later)
        if start is None:
            return self._from(cursor, have.mark, Why.RESUMED, later=later)
        return (yield from self._begin(start, Why.NEXT, gaps, rest, row))

    def _begin(
        self, start: Candidate, why: Why, gaps: Iterable[Gap], later: Sequence[Candidate], row: Row
    ) -> Asks[Plan]:
        """The Plan that begins with a candidate: at its beginning, unless it was complete once."""
        entry = (yield from row.known.entry(start, before=row.order)) if start.live else None
        if entry is None:
            late = yield from self._late(row)
            return self._from(start, 0, why, gaps, later)._replace(late=late)
        why = Why.REOPENED if self.have.minor >= REOPENS else Why.WITNESSED
        return self._from(start, entry.length, why, gaps, later)

    def _late(self, row: Row) -> Asks[Late]:
        """(Candidate, length) of the complete generations that may grow yet, or have grown.

        The sink knows the generation by the length at which it ended, the youngest of several;
        an older sink takes all late bytes for the last one's.
        """
        past = self.situation.past
        late: dict[int, Candidate] = {}
        first = 0 if self.have.minor >= CHECKS else max(0, len(past) - 1)
        for place, entry in enumerate(past[first:], first):
            late.pop(entry.length, None)
            for candidate in self.situation.candidates:
                size = candidate.size
                if size is None or candidate.live or not same_inode(candidate, entry):
                    continue
                if place == row.known.place(candidate) and size >= entry.length:
                    if (yield from row.known.entry(candidate)):
                        late[entry.length] = candidate
        return tuple((candidate, length) for length, candidate in late.items())[-MOST_LATE:]

    def _lost(self, row: Row) -> Asks[Plan | None]:
        """The generation is gone: say so, and go on with whatever came after it."""
        told = yield from self._sure()  # it may be long ago that it was the last one
        if told is not None:
            return told
        have = self.have
        left = yield from without_rests(have, (yield from row.after()))
        start, gaps, later = first_of(left)
        if start is None:
            return None
        forked = is_of(start, have.generation)
        if not have.closed:
            reason = (
                b"rewritten or truncated" if forked else b"deleted before it was read to its end"
            )
            sure = max(have.first, have.mark) if have.torn else have.end
            gaps.insert(0, Gap(have.generation, min(sure, have.end), 0, reason))
        why = Why.FORKED if forked else Why.LOST
        return (yield from self._begin(start, why, gaps, later, row))
