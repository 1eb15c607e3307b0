"""Where do two copies last agree?  The source's side of the agreement.

The sink has said what it has (Have).  Here is decided in which file its generation
is found, up to which byte both are the same, and how to go on: `agree` is a generator
that asks for digests - yield Measure: of a local candidate; yield Probe: of the same
ranges at the sink - and returns a Plan.

What is durable at the sink (below its mark) is only spot-checked: the generation's
head and the bytes just below the mark.  What is not is compared in full, by digests of
ever smaller ranges down to the first byte that differs.
"""

from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, TAIL, UNKNOWN
from tcppipe.session.actions import Candidate, Measure
from tcppipe.session.strangers import without_strangers
from tcppipe.wire.events import Begin, Gap, Holding, Probe, Why
from tcppipe.wire.frames import MAX_RANGES

STEP = 256 << 20  # bytes that one Probe covers at most
PROOF = 1024  # bytes below the place to go on from that are compared last of all
TICK = 20_000_000  # nanoseconds by which two files' times may be out of order
REACH = 1 << 16  # bytes behind a witnessed offset that are searched for the true end


class Plan(NamedTuple):
    """How to go on: where to start reading, and what to tell the sink.

    proof: length and SHA-256 of the bytes just below the offset, for the reader to check.
    late: (Candidate, length) of the generation before when it has grown since it ended.
    """

    candidate: Candidate
    begin: Begin
    gap: Gap | None = None
    proof: tuple = (0, NO_DIGEST)
    late: tuple | None = None


def agree(have, candidates, witness=None, resend=False, past=()):
    """Find the place to go on from.

    have: the sink's Have.  candidates: oldest first, the live file (if there is one)
    last; not empty.  witness: the source's own Cursor or None.  resend: -n was given.
    past: what the sink has to the end, as Complete, oldest first.
    Returns None when a file changed while it was compared, or when there is none to go on
    with: then all has to begin anew, later.
    """
    candidates = yield from without_strangers(have, candidates, witness)
    plan = (yield from _decide(have, candidates, witness, resend)) if candidates else None
    if plan is None:
        return None
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


def _decide(have, candidates, witness, resend):
    if resend and not have.resent:
        return _from(candidates[-1], 0, Why.RESENT)
    if have.holding == Holding.RECORDED:
        return (yield from _recorded(have, candidates))
    plan = None
    if have.holding == Holding.UNRECORDED:
        plan = yield from _adopt(have, candidates)
        if plan is None and have.generation.ino:
            plan = _pointed(have, candidates)
    if plan is None and witness is not None:
        plan = yield from _witnessed(have, candidates, witness)
    return plan or _fresh(candidates, witness)


def _from(candidate, offset, why, gap=None):
    generation = candidate.generation
    if offset < generation.head_len:  # only what was read counts; the file may change before
        generation = generation._replace(head_len=0, head=NO_DIGEST)
    return Plan(candidate, Begin(why, generation, offset), gap)


# --- the ledger knows the generation


def _recorded(have, candidates):
    late, candidates = yield from _not_done(have, candidates)
    plan = yield from _among(have, candidates)
    return plan._replace(late=plan.late or late) if plan else None


def _among(have, candidates):
    if have.generation.head_len:
        found = yield from _find(have, candidates)
    else:
        found = yield from _find_undurable(have, candidates)
    if found is None:
        return _lost(have, candidates)
    if have.closed and not have.damaged:
        plan = _next(have, found, candidates)
        grown = found.size > have.mark and plan.begin.why == Why.NEXT
        return plan._replace(late=(found, have.mark)) if grown else plan
    low = max(have.first, have.mark)
    if have.damaged or have.end < have.mark:
        low = have.first
    high = min(have.end, found.size)
    agreed = yield from common(found, low, high)
    if have.closed and agreed == have.mark:
        return _next(have, found, candidates)
    if agreed < have.end and have.clean and not have.damaged:
        return _from(found, low, Why.FOREIGN)
    return _from(found, agreed, Why.RESUMED)


def _not_done(have, candidates):
    """The candidates without the generation before, and what is older than that.

    Returns ((candidate, length) of that generation if it has grown, or None; the others).
    It may have been changed last in the very tick that the present one was begun in, or
    later by a writer that held on to it.
    """
    length = have.previous_len
    born = have.generation.born
    before, about = [], []  # places of what may be it by time, the likeliest first
    for at, candidate in enumerate(candidates):
        if candidate.live or candidate.size < length or not length:
            continue
        if candidate.mtime <= born or (
            candidate.generation.ino and candidate.generation.same_inode(have.previous)
        ):
            before.insert(0, at)
        elif candidate.mtime <= born + TICK and candidate.size == length:
            about.append(at)
    for at in before + about:
        (digest,) = yield Measure(candidates[at], ((0, length),))
        if digest == have.previous_digest:
            late = (candidates[at], length) if candidates[at].size > length else None
            return late, candidates[at + 1 :]
    return None, candidates


def _find(have, candidates):
    """The candidate that holds what the sink recorded, or None: by content, not by inode.

    The oldest of them: a copy that copytruncate made is older than what has the inode still.
    """
    for candidate in candidates:
        if candidate.mtime >= have.generation.born and (yield from _proves(have, candidate)):
            return candidate
    return None


def _find_undurable(have, candidates):
    """The same when nothing is known to be durable: by all that was delivered.

    When it is not torn it is what was sent, and a file that differs has been rewritten.
    """
    best, most = None, -1
    for candidate in candidates:
        if candidate.mtime < have.generation.born:
            continue
        agreed = yield from common(candidate, have.first, min(have.end, candidate.size))
        if agreed == have.end:
            return candidate
        if agreed > most:
            best, most = candidate, agreed
    return best if have.torn else None


def _proves(have, candidate):
    """True when a candidate's content is what the sink recorded of its generation."""
    generation = have.generation
    if candidate.size < max(have.mark, generation.head_len):
        return False
    if have.closed and candidate.live:
        return False  # a closed generation is complete, and the live file never is
    if have.closed and candidate.size != have.mark:
        if not candidate.generation.ino or not candidate.generation.same_inode(generation):
            return False
    ranges = ((0, generation.head_len), (have.mark - have.tail_len, have.tail_len))
    head, tail = yield Measure(candidate, ranges)
    return head == generation.head and (tail == have.tail or not have.tail_len)


def _lost(have, candidates):
    """The generation is gone: say so, and go on with whatever came after it."""
    born = have.generation.born
    later = [c for c in candidates if c.live or (c.rotated and c.mtime > born)]
    if not later:
        return None
    start = later[0]
    forked = start.generation.same_inode(have.generation)
    gap = None
    if not have.closed:
        reason = b"rewritten or truncated" if forked else b"deleted before it was read to its end"
        gap = Gap(have.generation, have.end, 0, reason)
    return _from(start, 0, Why.FORKED if forked else Why.LOST, gap)


def _next(have, found, candidates):
    """The generation was delivered to its end: begin the one after it."""
    at = candidates.index(found) + 1
    later = [c for c in candidates[at:] if c.live or c.rotated]
    if later:
        return _from(later[0], 0, Why.NEXT)
    return Plan(found, Begin(Why.RESUMED, found.generation, have.mark))


# --- the ledger is lost, or never was


def _fresh(candidates, witness):
    """From the beginning of what was the live file when we came, or after a lost witness."""
    born = witness.generation.born if witness is not None else 0
    later = [c for c in candidates if c.live or (c.rotated and c.mtime > born)]
    return _from(later[0] if later else candidates[-1], 0, Why.FRESH)


def _adopt(have, candidates):
    """A destination whose whole content is the beginning of a file here."""
    likely = list(reversed(candidates))
    if have.generation.ino:
        likely.sort(key=lambda candidate: candidate.generation.ino != have.generation.ino)
    for candidate in likely:
        if candidate.size < have.end:
            continue
        agreed = yield from common(candidate, 0, have.end)
        if agreed == have.end:
            return _from(candidate, agreed, Why.ADOPTED)
    return None


def _pointed(have, candidates):
    """A pointer file names an inode, and the destination is not the beginning of any file.

    All of that file comes once more, and what follows it; of a lost one, the live file.
    """
    for candidate in candidates:
        if candidate.generation.ino == have.generation.ino:
            return _from(candidate, 0, Why.FRESH)
    return _from(candidates[-1], 0, Why.LOST)


def _witnessed(have, candidates, witness):
    """The status file says how far the sink once was.  It may have got further."""
    for candidate in candidates:
        if not (yield from _is_witnessed(candidate, witness)):
            continue
        if have.holding == Holding.NOTHING:
            return _from(candidate, witness.offset, Why.WITNESSED)
        offset = yield from _end_of(have, candidate, witness.offset)
        return _from(candidate, offset, Why.WITNESSED)
    return None


def _is_witnessed(candidate, witness):
    if candidate.size < witness.offset:
        return False
    generation = witness.generation
    if generation == UNKNOWN:  # an original's status file: an offset, and no more
        return candidate.live
    if not generation.head_len:
        return candidate.generation.same_inode(generation)
    (head,) = yield Measure(candidate, ((0, generation.head_len),))
    return head == generation.head


def _end_of(have, candidate, offset):
    """The offset, at or shortly behind a witnessed one, that the destination ends with.

    The destination's last bytes are looked for in the candidate.  The witnessed offset
    itself when they are not found: then somebody else has written there.
    """
    window = min(offset, have.end, PROOF)
    if not window:
        return offset
    (wanted,) = yield Probe(((have.end - window, window),))
    last = min(candidate.size, offset + REACH)
    for base in range(offset, last + 1, MAX_RANGES):
        ends = range(base, min(base + MAX_RANGES, last + 1))
        digests = yield Measure(candidate, tuple((end - window, window) for end in ends))
        for end, digest in zip(ends, digests):
            if digest == wanted:
                return end
    return offset


# --- the first byte that differs


def common(candidate, low, high):
    """How far [low, high) of a candidate and of the sink are the same, from low on.

    Yields Measure and Probe for the same ranges; returns an offset in [low, high].
    """
    while low < high:
        ranges = _split(low, min(high, low + STEP))
        here = yield Measure(candidate, ranges)
        there = yield Probe(ranges)
        for (first, length), mine, theirs in zip(ranges, here, there):
            if mine != theirs:
                if length == 1:
                    return first
                low, high = first, first + length
                break
        else:
            low = ranges[-1][0] + ranges[-1][1]
    return high


def _split(low, high):
    """At most MAX_RANGES ranges of about the same length that cover [low, high)."""
    length = max(1, -(-(high - low) // MAX_RANGES))
    if length > 1 and high - low > TAIL:
        length = -(-length // 4096) * 4096
    return tuple((at, min(length, high - at)) for at in range(low, high, length))
