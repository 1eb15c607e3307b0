"""Which files at the origin hold generations that are complete at the sink already.

A complete generation is known by its content, its length and SHA-256, whatever name, time or
inode it turns up under.  Several may be equal: then the inode tells them apart.  First bytes
are enough to see an order; what is left out because it was delivered is compared in full.
The functions are generators that ask for what they need of a candidate, cheap things first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tcppipe.cursor import HEAD, NO_DIGEST
from tcppipe.rotated import family
from tcppipe.session.actions import Asks, Candidate, Length, Measure
from tcppipe.session.compare import digest_of
from tcppipe.wire.events import Complete, Have, Holding
from tcppipe.wire.frames import MAX_RANGES


class Known:
    """What candidates show of complete generations by their first bytes and their inodes.

    past: complete generations, oldest first, as Complete.  path: of the origin.

    One complete generation is one file, and perhaps copies of that under names of another kind.
    Another file that holds the same is another generation.
    """

    def __init__(
        self, past: Sequence[Complete], places: dict[Candidate, list[int]], path: str
    ) -> None:
        self.past = past
        self._places = places  # {candidate: places in `past` that begin like it}
        self._path = path
        self._taken: set[tuple[int, str]] = set()  # (place, kind of names)
        self._asked: set[Candidate] = set()  # candidates

    def place(self, candidate: Candidate) -> int | None:
        """The place of the generation that a candidate seems to hold, or None."""
        places = self._places.get(candidate, [])
        same = [place for place in places if same_inode(candidate, self.past[place])]
        if same:
            return same[-1]
        places = [place for place in places if self.past[place].length]  # any empty file is empty
        if len(places) != 1:
            return None
        (place,) = places
        claims = [other for other, others in self._places.items() if place in others]
        if self.past[place].length >= HEAD:
            claims = [other for other in claims if self._kind(other) == self._kind(candidate)]
        return place if len(claims) == 1 else None

    def _kind(self, candidate: Candidate) -> str:
        return family(candidate.name, self._path)

    def resembles(self, candidate: Candidate) -> bool:
        """True when a candidate may hold one of the generations, though nobody knows which."""
        return bool(self._places.get(candidate))

    def entry(
        self, candidate: Candidate, short: bool = False, before: Sequence[Candidate] = ()
    ) -> Asks[Complete | None]:
        """The complete generation that a candidate holds, or None.

        short: a short one with another inode counts, too.  It may be another of the same content.
        before: the files that come before it, oldest first: what they hold, it does not.
        """
        places = self._places.get(candidate, [])
        places = sorted(places, key=lambda place: not same_inode(candidate, self.past[place]))
        for place in places:
            entry = self.past[place]
            same = same_inode(candidate, entry)
            if not same and entry.length < HEAD:  # it may be another that holds the same
                taken = any(place == one for one, _kind in self._taken)
                if not short or taken or self._is_elsewhere(place, candidate):
                    continue
            if not (yield from holds(candidate, entry)):
                continue
            if same or not (yield from self._is_taken(place, candidate, before)):
                self._taken.add((place, self._kind(candidate)))
                return entry
        return None

    def _is_taken(
        self, place: int, candidate: Candidate, before: Sequence[Candidate]
    ) -> Asks[bool]:
        """True when other files with names of its kind hold all generations with this content."""
        kind = self._kind(candidate)
        theirs = [other for other in self._places if same_inode(other, self.past[place])]
        for other in [*theirs, *before]:
            if (
                other is candidate
                or other in self._asked
                or place not in self._places.get(other, ())
            ):
                continue
            if candidate.live or self._kind(other) == kind:
                self._asked.add(other)
                yield from self.entry(other)
        return any(one == place and (candidate.live or k == kind) for one, k in self._taken)

    def _is_elsewhere(self, place: int, candidate: Candidate) -> bool:
        """True when the file that the generation was in is another candidate."""
        return any(
            place in places and other is not candidate and same_inode(other, self.past[place])
            for other, places in self._places.items()
        )


def recognise(past: Sequence[Complete], candidates: Iterable[Candidate], path: str) -> Asks[Known]:
    """See which complete generations the candidates of the origin at `path` may hold -> Known.

    Their first bytes are compared, and that a short one is not longer: many begin alike.
    """
    asked: dict[
        tuple[int, int], list[tuple[int, bytes]]
    ] = {}  # {range: what it is of a file that holds a generation, and of which}
    for place, entry in enumerate(past):
        length, head = _head_of(entry)
        if length:
            asked.setdefault((0, length), []).append((place, head))
        if length == entry.length < HEAD:
            asked.setdefault((0, length + 1), []).append((place, NO_DIGEST))
    found: dict[Candidate, list[int]] = {}
    for candidate in candidates:
        same = {place for place, entry in enumerate(past) if same_inode(candidate, entry)}
        if candidate.trouble:  # nothing but its inode tells
            found.update({candidate: sorted(same)} if same else {})
            continue
        wrong = {n for n, entry in enumerate(past) if not _may_hold(candidate, entry, n in same)}
        ranges = [r for r in sorted(asked) if not wrong.issuperset(n for n, _ in asked[r])]
        for at in range(0, len(ranges), MAX_RANGES):
            some = tuple(ranges[at : at + MAX_RANGES])
            digests = yield Measure(candidate, some)
            for here, digest in zip(some, digests):
                for place, wanted in asked[here]:
                    if digest != wanted and not (wanted == NO_DIGEST and place in same):
                        wrong.add(place)
        mine = sorted(set(range(len(past))) - wrong)
        found.update({candidate: mine} if mine else {})
    shown = {n for candidate in found if not candidate.trouble for n in found[candidate]}
    shown = {place for place in shown if past[place].length}
    for candidate in found:
        if candidate.trouble:  # it has the inode of one whose content stands elsewhere: a new file
            found[candidate] = [place for place in found[candidate] if place not in shown]
    found = {candidate: places for candidate, places in found.items() if places}
    return Known(past, found, path)


def _head_of(entry: Complete) -> tuple[int, bytes]:
    """(length, digest) of the first bytes of a complete generation: of a short one it is all."""
    if entry.length < HEAD and entry.digest != NO_DIGEST:
        return entry.length, entry.digest
    return entry.generation.head_len, entry.generation.head


def _may_hold(candidate: Candidate, entry: Complete, same: bool) -> bool:
    """False when a candidate's size alone tells that it does not hold a complete generation."""
    if not entry.length:
        return not candidate.generation.head_len
    if candidate.size is None:
        return bool(candidate.generation.head_len)
    return candidate.size == entry.length or (same and candidate.size > entry.length)


def size_of(candidate: Candidate) -> Asks[int | None]:
    """A candidate's size: that of a compressed one has to be asked for.  None: it is broken."""
    if candidate.size is not None:
        return candidate.size
    size: int = yield Length(candidate)
    return None if size < 0 else size


def same_inode(candidate: Candidate, entry: Complete) -> bool:
    """True when a candidate has the inode of a complete generation.  A device may have another
    number than it had, so that proves nothing; whoever asks compares content."""
    here = candidate.generation
    return bool(here.ino) and here._replace(dev=entry.generation.dev).same_inode(entry.generation)


def holds(candidate: Candidate, entry: Complete) -> Asks[bool]:
    """True when a candidate has the content of a complete generation.

    The very file may have grown since; any other has exactly that length.
    """
    same = same_inode(candidate, entry)
    if candidate.trouble:
        return False
    if not entry.length:
        return same and candidate.size == 0
    size = yield from size_of(candidate)
    if size is None or size < entry.length or (size > entry.length and not same):
        return False
    if entry.digest == NO_DIGEST:
        return bool(entry.generation.head_len)
    digest = yield from digest_of(candidate, 0, entry.length)
    return digest == entry.digest


def begins_with(longer: Candidate, candidate: Candidate) -> Asks[bool]:
    """True when all that a candidate holds is the beginning of what another one holds."""
    head = candidate.generation
    if longer.trouble or candidate.trouble or not head.head_len:
        return False
    digest = yield from digest_of(longer, 0, head.head_len)
    if digest != head.head:
        return False
    size = yield from size_of(candidate)
    other = yield from size_of(longer)
    if not size or other is None or other < size:
        return False
    mine = yield from digest_of(candidate, 0, size)
    theirs = yield from digest_of(longer, 0, size)
    return mine == theirs


def same_content(one: Candidate, other: Candidate) -> Asks[bool]:
    """True when two candidates hold the same.  Of two that hold nothing the times have to tell."""
    if not (one.generation.head_len or other.generation.head_len or one.trouble or other.trouble):
        empty = (yield from size_of(one)) == (yield from size_of(other)) == 0
        return empty and one.mtime // 10**9 == other.mtime // 10**9  # some keep whole seconds only
    return (yield from begins_with(one, other)) and (yield from begins_with(other, one))


def merged(
    past: Sequence[Complete], own: Sequence[Complete], have: Have | None = None
) -> list[Complete]:
    """The sink's list of complete generations, and ours, as one.  Ours is newer where both know, but
    of late bytes only the sink knows whether they have come.

    have: what the sink says of itself.  Then what we delivered behind the last that it knows does
    not count: its copy and its ledger were restored, and do not have it any more.
    """
    rows = list(past)
    at = len(rows)
    present = have.generation if have is not None and have.closed else None
    gone = have is not None and have.holding == Holding.RECORDED
    for entry in reversed(own):
        same = [n for n, row in enumerate(rows[:at]) if row.generation.key == entry.generation.key]
        if same:
            at = same[-1]
            if entry.length == rows[at].length:
                rows[at] = entry
        elif not gone or (present is not None and present.key == entry.generation.key):
            rows.insert(at, entry)
        else:
            continue
        gone = False
    return rows
