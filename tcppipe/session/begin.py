"""Where to begin when no ledger tells: by the destination's content, by the status file, or anew."""

from __future__ import annotations

from collections.abc import Sequence

from tcppipe.cursor import UNKNOWN, Cursor
from tcppipe.session import compare
from tcppipe.session.actions import Asks, Candidate, Measure
from tcppipe.session.find import CHANCE
from tcppipe.session.known import holds, recognise, size_of
from tcppipe.session.older import Passed, passed
from tcppipe.session.row import row_of
from tcppipe.session.situation import Situation, is_held, is_of
from tcppipe.wire.events import Have, Holding, Probe
from tcppipe.wire.frames import MAX_RANGES

PROOF = 1024  # bytes below a place that are compared
REACH = 1 << 16  # bytes behind a witnessed offset that are searched for the true end


def fresh(situation: Situation) -> Asks[list[Candidate]]:
    """The files to deliver, from what was the live one when we came, or after a lost witness."""
    born = situation.witness.generation.born if situation.witness is not None else 0
    row = yield from row_of(situation, None)
    later = yield from row.after()
    return [c for c in later if c.live or c.mtime > born or is_held(c)]


def adopted(situation: Situation) -> Asks[Passed | None]:
    """A Passed: the destination holds the beginning of a file here, or several, one behind the
    other, up to some place in the last.  None: something else."""
    have = situation.have
    likely = list(reversed(situation.candidates))
    if have.generation.ino:
        likely.sort(key=lambda candidate: candidate.generation.ino != have.generation.ino)
    for candidate in likely:
        size = None if candidate.trouble else (yield from size_of(candidate))
        high = min(size or 0, have.end)
        if size is None or not (high or high == have.end):
            continue
        if (yield from compare.common(candidate, 0, high)) == high:
            there = yield from _adopt(situation, candidate, high)
            if there.end == have.end:
                situation.past += there.whole
                return there
    return None


def _adopt(situation: Situation, candidate: Candidate, high: int) -> Asks[Passed]:
    """A Passed, as far as it goes: all of the candidate stands in the destination, or the
    destination ends there, at `high`.

    What we have delivered from this generation on does not count: the destination was restored
    from a backup that may not have it.
    """
    past = situation.past
    place = (yield from recognise(past, [candidate], situation.path)).place(candidate)
    situation.past = past[:place]
    later: Sequence[Candidate] = ()
    if not candidate.live:
        row = yield from row_of(situation, candidate)
        candidate, later = row.cursor or candidate, (yield from row.after())
    there = Passed(candidate, high, later, [], high)
    if high < situation.have.end:
        there = (yield from passed(situation.have, candidate, high, later, CHANCE)) or there
    if there.end < situation.have.end:
        situation.past = past
    return there


def witnessed(
    situation: Situation, witness: Cursor, sure: bool = False
) -> Asks[tuple[Candidate, int, bool] | None]:
    """(the file, the offset) that the status file says, and whether the destination ends so; or
    None.  The sink may have got further.

    sure: only when the destination ends with what the candidate has there.
    """
    have = situation.have
    likely = sorted(situation.candidates, key=lambda c: not is_of(c, witness.generation))
    for candidate in likely:
        if candidate.trouble or not (yield from _is_witnessed(candidate, witness)):
            continue
        offset: int | None = witness.offset
        if have.holding != Holding.NOTHING:
            offset = yield from _end_of(have, candidate, witness.offset)
        if sure and not (offset and witness.offset and have.end > have.first):
            continue
        if sure and (yield from _is_complete(situation, candidate)):
            continue  # the ledger knows more of it
        return candidate, witness.offset if offset is None else offset, offset is not None
    return None


def _is_complete(situation: Situation, candidate: Candidate) -> Asks[bool]:
    for entry in situation.past:
        if entry.length and (yield from holds(candidate, entry)):
            return True
    return False


def is_told(situation: Situation, witness: Cursor) -> bool:
    """True when the ledger tells of all that the status file does."""
    wanted, have = witness.generation, situation.have
    present = [have.generation] if witness.offset < max(have.first, have.mark) else []
    for told in (*present, *(entry.generation for entry in situation.past)):
        head = told.head_len > 0 and (told.head_len, told.head) == (wanted.head_len, wanted.head)
        if head or told.same_inode(wanted):
            return True
    return False


def _is_witnessed(candidate: Candidate, witness: Cursor) -> Asks[bool]:
    generation = witness.generation
    size = yield from size_of(candidate)
    if size is None or size < witness.offset:
        return False
    if generation == UNKNOWN:  # an original's status file: an offset, and no more
        return candidate.live
    if not generation.head_len:
        return candidate.generation.same_inode(generation)
    head = yield from compare.digest_of(candidate, 0, generation.head_len)
    return head == generation.head


def _end_of(have: Have, candidate: Candidate, offset: int) -> Asks[int | None]:
    """The offset, at or shortly behind a witnessed one, that the destination ends with.

    The destination's last bytes are looked for in the candidate.  None when they are not found:
    then somebody else has written there.
    """
    window = min(offset, have.end - have.first, PROOF)
    if not window:
        return offset
    (wanted,) = yield Probe(((have.end - window, window),))
    size = yield from size_of(candidate)
    last = min(size or 0, offset + REACH)
    for base in range(offset, last + 1, MAX_RANGES):
        ends = range(base, min(base + MAX_RANGES, last + 1))
        digests = yield Measure(candidate, tuple((end - window, window) for end in ends))
        for end, digest in zip(ends, digests):
            if digest == wanted:
                return end
    return None
