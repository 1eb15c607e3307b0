"""Where do two copies last agree?  The source's side of the agreement.

The sink has said what it has (Have, and Past).  Here is decided in which file its generation
is found, up to which byte both are the same, and what comes after: `agree` is a generator
that asks - yield Measure, Length, Await: of a local candidate; yield Probe: of the sink; yield
Search: for candidates of any name - and returns a Plan.

Content decides, then inodes, then the list of complete generations; times are asked last.
What is durable at the sink (below its mark) is only spot-checked: the generation's
head and the bytes just below the mark.  What is not is compared in full, by digests of
ever smaller ranges down to the first byte that differs.
"""

from typing import NamedTuple

from tcppipe.cursor import HEAD, NO_DIGEST, UNKNOWN
from tcppipe.rotated import FOREIGN, arrange, family, split
from tcppipe.session.actions import Await, Candidate, Measure, Search, Start
from tcppipe.session.compare import common
from tcppipe.session.known import begins_with, merged, recognise, size_of
from tcppipe.session.older import passed
from tcppipe.session.strangers import without_strangers
from tcppipe.wire.events import Begin, Complete, Gap, Holding, Probe, Why
from tcppipe.wire.frames import MAX_RANGES

CHANCE = 256  # bytes that somebody else's do not have in common with ours by chance
PROOF = 1024  # bytes below the place to go on from that are compared last of all
REACH = 1 << 16  # bytes behind a witnessed offset that are searched for the true end
REOPENS = 2  # the minor version from which on a sink knows what is reopened


class Plan(NamedTuple):
    """How to go on: where to start reading, and what to tell the sink.

    proof: length and SHA-256 of the bytes just below the offset, for the reader to check.
    late: (Candidate, length) of the generation before when it has grown since it ended.
    later: the Candidates that come after the one to start with, oldest first.
    """

    candidate: Candidate
    begin: Begin
    gaps: tuple = ()
    proof: tuple = (0, NO_DIGEST)
    late: tuple | None = None
    later: tuple = ()
    past: tuple = ()

    def start(self):
        """The Start that carries it out."""
        return Start(
            self.candidate, self.begin.offset, self.proof, self.late, self.later, self.past
        )


def agree(have, found, witness=None, resend=False, past=()):
    """Find the place to go on from.

    have: the sink's Have.  found: a Found; its candidates are not all ordered, the live file
    (if there is one) is the last; there is one at least.  witness: the source's own Cursor or
    None.  resend: -n was given.  past: what the sink has to the end, as Complete, oldest first.
    Returns None when a file changed while it was compared, or when there is none to go on
    with: then all has to begin anew, later.
    """
    agreement = _Agreement(have, witness, past)
    yield from agreement.take(found)
    plan = (yield from agreement.decide(resend)) if agreement.candidates else None
    if plan is None:
        return None
    plan = plan._replace(past=tuple(agreement.past))
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

    def __init__(self, have, witness, past):
        self.have = have
        self.witness = witness
        if have.previous_len and all(p.generation[:4] != have.previous[:4] for p in past):
            before = Complete(have.previous, have.previous_len, have.previous_digest)
            past = [*past, before]
        self._past = past

    def take(self, found):
        """These are the candidates now."""
        self.found = found
        self.past = merged(self._past, found.complete, self.have)
        self.candidates = yield from without_strangers(
            self.have, found.candidates, self.witness, self.past
        )
        self.live = next((c for c in self.candidates if c.live), None)

    def decide(self, resend):
        """The Plan, without its proof, or None."""
        have = self.have
        plan = yield from self._place()
        if not resend or have.resent or (plan is not None and not plan.candidate.live):
            return plan  # what was rotated comes first; behind it comes the whole file anyway
        return self._from(self.live or self.candidates[-1], 0, Why.RESENT)

    def _place(self):
        have, witness = self.have, self.witness
        plan = None
        if have.holding == Holding.RECORDED:
            if have.doubtful and witness is not None and not self._knows(witness):
                plan = yield from self._witnessed(sure=True)
            return plan or (yield from self._recorded())
        if have.holding == Holding.UNRECORDED:
            plan = yield from self._adopt()
            if plan is None and have.generation.ino:
                plan = self._pointed()
        if plan is None and witness is not None:
            plan = yield from self._witnessed()
        return plan or self._fresh()

    def _knows(self, witness):
        """True when the ledger tells of the generation that the status file was written for."""
        told = [self.have.generation, *(entry.generation for entry in self.past)]
        head = witness.generation[4:]
        return any(one.same_inode(witness.generation) or head == one[4:] != (0, NO_DIGEST)
                   for one in told)  # fmt: skip

    def _from(self, candidate, offset, why, gaps=(), later=None):
        """The Plan that goes on with a candidate; later: what comes after it."""
        generation = candidate.generation
        if offset < generation.head_len:  # only what was read counts; it may change before
            generation = generation._replace(head_len=0, head=NO_DIGEST)
        if later is None:
            later = self._behind(candidate)
        return Plan(candidate, Begin(why, generation, offset), tuple(gaps), later=tuple(later))

    # --- the ledger knows the generation

    def _recorded(self):
        have = self.have
        cursor = yield from self._find()
        if cursor is None:
            wanted = (have.generation, *(entry.generation for entry in self.past))
            ours = (self.witness.generation,) if self.witness is not None else ()
            yield from self.take((yield Search(wanted=wanted, ours=ours)))
            cursor = yield from self._find()
        if cursor is None:
            return (yield from self._lost())
        if have.closed and not have.damaged:
            return (yield from self._next(cursor))
        low = max(have.first, have.mark)
        if have.damaged or have.end < have.mark:
            low = have.first
        size = yield from size_of(cursor)
        if size is None:
            return None
        agreed = yield from common(cursor, low, min(have.end, size))
        if have.closed and agreed == have.mark:
            return (yield from self._next(cursor))
        return (yield from self._goes_on(cursor, low, agreed, size))

    def _goes_on(self, cursor, low, agreed, size):
        """The Plan when its file and the sink are the same up to `agreed`, compared from `low` on."""
        have = self.have
        later, known = yield from self._after(cursor)
        plan = (yield from self._passed(cursor, size, later)) if agreed == size else None
        if plan is not None:
            return plan
        late = yield from self._late(known)
        if agreed < have.end and have.clean and not have.damaged:
            ours = agreed if agreed - low >= CHANCE else low  # else it is somebody else's that
            return self._from(cursor, ours, Why.FOREIGN, later=later)._replace(late=late)
        return self._from(cursor, agreed, Why.RESUMED, later=later)._replace(late=late)

    def _passed(self, cursor, at, later):
        """The ledger is older than the copy: the Plan that goes on where that ends; or None."""
        if at >= self.have.end:
            return None
        there = yield from passed(self.have, cursor, at, later, CHANCE)
        if there is None:
            return None
        self.past = [*self.past, *there.whole]
        return self._from(there.candidate, there.offset, Why.WITNESSED, later=there.later)

    def _find(self):
        """The candidate that holds what the sink recorded, or None: by content, then by inode."""
        have = self.have
        if not have.generation.head_len:
            return (yield from self._find_undurable())
        proved = []
        for candidate in self._likeliest_first():
            if (yield from self._proves(candidate)):
                if _is_of(candidate, have.generation):
                    return candidate
                proved.append(candidate)
        if len(proved) > 1:
            proved = yield from self._without_complete(proved)
        return proved[0] if proved else None

    def _likeliest_first(self):
        """Those with the inode first, then by their order."""
        generation = self.have.generation
        rotated = arrange([c for c in self.candidates if not c.live], self.found.path)
        order = [*rotated, self.live] if self.live else rotated
        return sorted(order, key=lambda candidate: not _is_of(candidate, generation))

    def _without_complete(self, proved):
        """Those of several with the same content so far that are no complete generation.

        Each complete one takes one away, the oldest first.  Where all are taken the older
        ones are gone, and the time when ours was begun has to tell.
        """
        generation = self.have.generation
        past = [entry for entry in self.past if entry.generation[:4] != generation[:4]]
        left = list(proved)
        for entry in past:
            for candidate in sorted(left, key=lambda c: not _is_of(c, entry.generation)):
                size = yield from size_of(candidate)
                if size != entry.length or entry.digest == NO_DIGEST:
                    continue
                (digest,) = yield Measure(candidate, ((0, size),))
                if digest == entry.digest:
                    left.remove(candidate)
                    break
        later = [candidate for candidate in proved if candidate.mtime >= generation.born]
        return left or later or proved[-1:]

    def _find_undurable(self):
        """The same when nothing is known to be durable: by all that was delivered.

        When it may not differ it is what was sent, and a file that differs has been rewritten.
        """
        have = self.have
        if have.end == have.first:
            return (yield from self._find_empty())
        best, most, equal = [], -1, []
        for candidate in self._likeliest_first():
            size = None if candidate.trouble else (yield from size_of(candidate))
            if size is None:
                continue
            agreed = yield from common(candidate, have.first, min(have.end, size))
            if agreed == have.end:
                if _is_of(candidate, have.generation):
                    return candidate
                equal.append(candidate)
            if agreed > most:
                best, most = [], agreed
            if agreed == most:
                best.append(candidate)
        if len(equal) > 1:
            equal = yield from self._without_complete(equal)
        if equal:
            return equal[0]
        if len(best) > 1:
            best = yield from self._without_complete(best)
        return best[0] if best and self._may_differ(best[0], most) else None

    def _may_differ(self, candidate, agreed):
        """True when what stands at the sink may be another's, or lost, from `agreed` on.

        A file that was rotated is not rewritten; of one that was, hardly anything is the same.
        """
        have = self.have
        if have.torn:
            return True
        here = candidate.generation._replace(dev=have.generation.dev)  # that may be another now
        same = not have.clean and here.ino and here.same_inode(have.generation)
        return same and (not candidate.live or 2 * (agreed - have.first) > have.end - have.first)

    def _find_empty(self):
        """Nothing was delivered of the generation: the file with its inode, but for a copy that
        may have been made of it before it was truncated."""
        generation = self.have.generation
        same = [c for c in self.candidates if _is_of(c, generation)]
        if not generation.ino:  # it was compressed: its time is all that it was called by
            same = [c for c in self.candidates if c.generation[:4] == generation[:4]]
        if self.have.closed or (same and not same[-1].live):
            return same[-1] if same else None
        known = yield from recognise(self.past, self.candidates)
        rotated = [c for c in self.candidates if c.rotated and not c.live and not c.trouble]
        for candidate in arrange(rotated, self.found.path):
            here = candidate.generation
            if _is_held(candidate) and here.ino and here.dev == generation.dev:
                continue  # its own inode would tell; a compressed file's does not
            if candidate.size != 0 and candidate.mtime >= generation.born:
                done = yield from known.entry(candidate, short=True)
                if done is None and not (yield from self._is_made_of_held(candidate)):
                    return candidate
        if self.live is not None and self.live.generation.dev != generation.dev:
            return self.live  # its inode has another number now
        return same[-1] if same else None

    def _proves(self, candidate):
        """True when a candidate's content is what the sink recorded of its generation."""
        have, generation = self.have, self.have.generation
        if candidate.trouble:
            return False
        least = max(have.mark, generation.head_len)
        if candidate.size is not None and candidate.size < least:
            return False
        same = _is_of(candidate, generation)
        if have.closed and candidate.live and not same:
            return False  # a closed generation is complete, and the live file never is
        (head,) = yield Measure(candidate, ((0, generation.head_len),))
        if head != generation.head:
            return False
        size = yield from size_of(candidate)
        if size is None or size < least or (have.closed and size != have.mark and not same):
            return False
        if not have.tail_len:
            return True
        (tail,) = yield Measure(candidate, ((have.mark - have.tail_len, have.tail_len),))
        return tail == have.tail

    # --- what comes after

    def _behind(self, candidate):
        """What comes after a candidate by name, where nothing else is known."""
        if candidate.live:
            return []
        rotated = [c for c in self.candidates if c.rotated and not c.live or c is candidate]
        order = arrange(rotated, self.found.path, _seen(rotated), candidate)
        return order[order.index(candidate) + 1 :] + ([self.live] if self.live else [])

    def _after(self, cursor):
        """(the candidates after the cursor that were not delivered, the Known of all of them).

        cursor: None when it is not found: then what comes after all that is known.
        """
        if cursor is not None and cursor.live:
            return [], None
        known = yield from recognise(self.past, self.candidates)
        rotated = [c for c in self.candidates if not c.live and (c.rotated or c is cursor)]
        same = [c for c in self.candidates if _is_of(c, self.have.generation)]
        if any(_is_held(c) for c in (same if cursor is None else [cursor])):  # others are older
            rotated = [candidate for candidate in rotated if candidate.turn != -1]
        rank = self._ranks(known, cursor)
        order = yield from self._arrange(rotated, rank, cursor)
        if cursor is not None:
            order = order[order.index(cursor) + 1 :]
        else:
            places = [at for at, c in enumerate(order) if known.place(c) is not None]
            born = self.have.generation.born
            later = [c for c in order if c.mtime > born or _is_held(c)]
            order = order[places[-1] + 1 :] if places else later
        gone = self._nameless(cursor) or (cursor is None and self.have.closed)
        if gone and order and split(order[0].name)[1] in FOREIGN:
            order = order[1:]  # what became of the cursor's file, as far as anybody can tell
        later = []
        for candidate in order:
            done = yield from known.entry(candidate, short=cursor is None)
            if done is None and not (yield from self._is_copy(candidate, cursor)):
                later.append(candidate)
        return later + ([self.live] if self.live else []), known

    def _nameless(self, candidate):
        """True when no name leads to a candidate any more."""
        return candidate is not None and candidate.name == self.found.path and not candidate.live

    def _arrange(self, rotated, rank, cursor):
        """They in their order.  What is held and has no name any more has the place of the
        compressed file that was made of it, if there is one."""
        twins = {}
        for held in rotated:
            if held.name != self.found.path:
                continue
            for packed in rotated:
                if packed.size is None and packed not in twins and not _is_held(packed):
                    if (yield from _same_content(held, packed)):
                        twins[packed] = held
                        break
        rows = [candidate for candidate in rotated if candidate not in twins.values()]
        place = next((twin for twin, held in twins.items() if held is cursor), cursor)
        order = arrange(rows, self.found.path, lambda c: rank(twins.get(c, c)), place)
        return [c if c is cursor else twins.get(c, c) for c in order]

    def _ranks(self, known, cursor):
        """A function: the place of a candidate in the order as far as it is known."""
        here = len(known.past)
        turn = cursor.turn if cursor is not None and _is_held(cursor) else None
        held = [candidate for candidate in self.candidates if _is_held(candidate)]
        same = [c for c in held if _is_of(c, self.have.generation)]

        def rank(candidate):
            if candidate is cursor and turn is None:
                if same:  # it was copied, and its file truncated: what is there now is younger
                    return here + same[0].turn - 0.5
                return None if any(not c.live for c in held) else here
            if _is_held(candidate):
                return here + candidate.turn - (turn or 0)
            return here if candidate is cursor else known.place(candidate)

        return rank

    def _is_made_of_held(self, candidate):
        """True for a compressed file that holds what a file holds that is held open."""
        if candidate.size is not None or _is_held(candidate):
            return False
        for held in self.candidates:
            if self._nameless(held) or _is_held(held):
                if (yield from _same_content(held, candidate)):
                    return True
        return False

    def _is_copy(self, candidate, cursor):
        """True for a copy of the live file, or of the cursor's under a name of another kind."""
        if _is_held(candidate):
            return False
        if (yield from self._is_made_of_held(candidate)):
            return True
        originals = [self.live] if self.live else []
        path = self.found.path
        if cursor is not None and family(candidate.name, path) != family(cursor.name, path):
            originals.append(cursor)
        for original in originals:
            alike = yield from begins_with(original, candidate)
            other = original is cursor or family(candidate.name, path) != self._usual(candidate)
            if alike and (other or candidate.generation.head_len >= HEAD):
                return True
        return False

    def _usual(self, candidate):
        """The family of names that the other rotated files have, or the candidate's own."""
        path = self.found.path
        others = {family(c.name, path) for c in self.candidates if c.rotated and not c.live}
        own = family(candidate.name, path)
        return own if len(others) < 2 else next(iter(others - {own}))

    def _next(self, cursor):
        """The generation was delivered to its end: begin the one after it."""
        have = self.have
        if cursor.live:
            return self._from(cursor, have.mark, Why.RESUMED, later=[])
        later, known = yield from self._after(cursor)
        plan = yield from self._passed(cursor, have.mark, later)
        if plan is not None:
            return plan
        start, gaps, later = yield from self._first(later)
        grown = (cursor, have.mark) if cursor.size is not None and cursor.size > have.mark else None
        if start is None:
            return self._from(cursor, have.mark, Why.RESUMED, later=[])
        plan = yield from self._begin(start, Why.NEXT, gaps, later, known)
        return plan._replace(late=grown if plan.begin.why == Why.NEXT else None)

    def _first(self, later):
        """(the first that can be read or None, Gaps of those before it, what comes after)."""
        gaps = []
        for at, candidate in enumerate(later):
            if candidate.trouble:
                candidate = yield Await(candidate)
            if not candidate.trouble:
                return candidate, gaps, later[at + 1 :]
            reason = f"{candidate.name}: {candidate.trouble}"
            gaps.append(Gap(candidate.generation, 0, 0, reason.encode(errors="replace")))
        return None, gaps, []

    def _begin(self, start, why, gaps, later, known):
        """The Plan that begins with a candidate: at its beginning, unless it was complete once."""
        entry = (yield from known.entry(start)) if start.live and known is not None else None
        if entry is None:
            return self._from(start, 0, why, gaps, later)
        why = Why.REOPENED if self.have.minor >= REOPENS else Why.WITNESSED
        return self._from(start, entry.length, why, gaps, later)

    def _late(self, known):
        """(Candidate, length) of the generation before when it has grown since, or None."""
        previous = self.have.previous
        if known is None:
            known = yield from recognise(self.past, self.candidates)
        for candidate in self.candidates:
            place = known.place(candidate)
            if candidate.live or place is None or candidate.size is None:
                continue
            entry = known.past[place]
            if entry.generation[:4] == previous[:4] and _is_of(candidate, previous):
                if candidate.size > entry.length and (yield from known.entry(candidate)):
                    return candidate, entry.length
        return None

    def _lost(self):
        """The generation is gone: say so, and go on with whatever came after it."""
        have = self.have
        later, known = yield from self._after(None)
        later = yield from self._without_rests(later)
        start, gaps, later = yield from self._first(later)
        if start is None:
            return None
        forked = _is_of(start, have.generation)
        if not have.closed:
            reason = (
                b"rewritten or truncated" if forked else b"deleted before it was read to its end"
            )
            gaps.insert(0, Gap(have.generation, have.end, 0, reason))
        return (
            yield from self._begin(start, Why.FORKED if forked else Why.LOST, gaps, later, known)
        )

    def _without_rests(self, later):
        """Without what holds but the beginning of the lost generation: a copy of it."""
        have, left = self.have, []
        for candidate in later:
            size = None if candidate.trouble or candidate.live else (yield from size_of(candidate))
            if not have.first and size and HEAD <= size <= have.end:
                if (yield from common(candidate, 0, size)) == size:
                    continue
            left.append(candidate)
        return left

    # --- the ledger is lost, or never was

    def _fresh(self):
        """From the beginning of what was the live file when we came, or after a lost witness."""
        born = self.witness.generation.born if self.witness is not None else 0
        order = arrange(
            [c for c in self.candidates if not c.live], self.found.path, _seen(self.candidates)
        )
        later = [
            c
            for c in order
            if c.rotated and not c.trouble and (c.mtime > born or c.turn is not None)
        ]
        later += [self.live] if self.live else []
        start = later[0] if later else self.candidates[-1]
        return self._from(start, 0, Why.FRESH, later=later[1:])

    def _adopt(self):
        """A destination whose whole content is the beginning of a file here."""
        have = self.have
        likely = list(reversed(self.candidates))
        if have.generation.ino:
            likely.sort(key=lambda candidate: candidate.generation.ino != have.generation.ino)
        for candidate in likely:
            size = None if candidate.trouble else (yield from size_of(candidate))
            if size is None or size < have.end:
                continue
            agreed = yield from common(candidate, 0, have.end)
            if agreed == have.end:
                return self._from(candidate, agreed, Why.ADOPTED)
        return None

    def _pointed(self):
        """A pointer file names an inode, and the destination is not the beginning of any file.

        All of that file comes once more, and what follows it; of a lost one, the live file.
        """
        for candidate in self.candidates:
            if candidate.generation.ino == self.have.generation.ino and not candidate.trouble:
                return self._from(candidate, 0, Why.FRESH)
        return self._from(self.candidates[-1], 0, Why.LOST)

    def _witnessed(self, sure=False):
        """The status file says how far the sink once was.  It may have got further.

        sure: only when the destination ends with what the candidate has there.
        """
        have, witness = self.have, self.witness
        for candidate in self.candidates:
            if candidate.trouble or not (yield from _is_witnessed(candidate, witness)):
                continue
            offset = witness.offset
            if have.holding != Holding.NOTHING:
                offset = yield from _end_of(have, candidate, witness.offset)
            if sure and not (offset and witness.offset):
                continue
            offset = witness.offset if offset is None else offset
            return self._from(candidate, offset, Why.WITNESSED)
        return None


def _is_of(candidate, generation):
    """True when a candidate is the very file that a generation was in."""
    return bool(candidate.generation.ino) and candidate.generation.same_inode(generation)


def _same_content(one, other):
    return (yield from begins_with(one, other)) and (yield from begins_with(other, one))


def _is_held(candidate):
    """True when it has been held since it stood under the origin's name."""
    return candidate.turn not in (None, -1)


def _seen(candidates):
    """A function: the place of a candidate in the order that was seen."""
    turns = {candidate: candidate.turn for candidate in candidates}
    return turns.get


def _is_witnessed(candidate, witness):
    generation = witness.generation
    size = yield from size_of(candidate)
    if size is None or size < witness.offset:
        return False
    if generation == UNKNOWN:  # an original's status file: an offset, and no more
        return candidate.live
    if not generation.head_len:
        return candidate.generation.same_inode(generation)
    (head,) = yield Measure(candidate, ((0, generation.head_len),))
    return head == generation.head


def _end_of(have, candidate, offset):
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
