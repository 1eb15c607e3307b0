"""In which order the files of an origin were written, and which are still to be delivered.

What the sink has to its end, the generation that it has a part of, and what we have held open
since it stood under the origin's name: these are one row, and its order is known.  A file that
shows by its content or its inode that it is one of the row has that place.  Names put the
others between them, in the direction that fits the row; times only where names say nothing.

A file that cannot be read shows nothing.  It takes the place of one of the row for which no
file is there, if its name puts it where that was; else it is a generation of its own, and lost.
"""

from __future__ import annotations

from collections.abc import Callable

from tcppipe.cursor import HEAD
from tcppipe.rotated import arrange, family
from tcppipe.session.actions import Asks, Candidate
from tcppipe.session.known import Known, begins_with, holds, recognise, same_content
from tcppipe.session.situation import Situation, is_held, is_of, turn_of
from tcppipe.wire.events import Holding


class Row:
    """cursor: the file of the generation that the sink has a part of, or None when it is not
    found.  known: the Known of all candidates.  order: the files that are not live, oldest first.
    behind: what comes after the cursor; without one, after all that is known of the row.
    taken: those that cannot be read, and the place in the row that each stands for."""

    def __init__(self, situation: Situation, cursor: Candidate | None, known: Known) -> None:
        self.situation = situation
        self.cursor = cursor
        self.known = known
        self.order: list[Candidate] = []
        self.behind: list[Candidate] = []
        self.taken: dict[Candidate, float] = {}
        files = situation.candidates
        self._files = [c for c in files if not c.live and (c.rotated or c is cursor)]
        # {file: the nameless one that is held, and that it was made of}
        self._twins: dict[Candidate, Candidate] = {}

    def rank(self, candidate: Candidate) -> float | None:
        """The place of a candidate in the row, as far as it is known."""
        if candidate is self.cursor:
            return self._here
        place, turn = self.known.place(candidate), turn_of(candidate)
        if turn is not None and (place is None or self.anchored):
            return self._here + turn - self._base
        if place is not None:
            return place
        if candidate.turn == -1 and self.anchored and not self.known.resembles(candidate):
            return -0.5  # it was there before, and is nothing that the sink remembers
        if self.situation.is_nameless(candidate):  # it was found when the one before was held
            files = self._files[: self._files.index(candidate)]
            before = (self.rank(c) for c in reversed(files) if is_held(c))
            return next((rank + 0.25 for rank in before if rank is not None), self._here)
        return None

    def _count(self) -> None:
        """What is known of the row is numbered."""
        generation = self.situation.have.generation
        self._same = [c for c in self.situation.candidates if is_of(c, generation)]
        self._here = len(self.situation.past)
        # what is held is counted from the cursor on, or from what its file holds by now
        turn = turn_of(self.cursor) if self.cursor is not None else None
        turns = [turn for turn in map(turn_of, self._same) if turn is not None]
        self._base = -1.0
        if turn is not None:
            self._base = turn
        elif self.cursor is not None and turns:
            self._base = turns[0] - 0.5
        # others that were there when it was first seen are older
        self.anchored = turn is not None

    def find_order(self) -> Asks[None]:
        """Find the order.  A generator, as those below."""
        nameless = [c for c in self._files if self.situation.is_nameless(c)]
        named = [c for c in self._files if c not in nameless]
        yield from self._find_twins(nameless, named)
        twins = self._twins
        if self.cursor is not None:
            self.cursor = twins.get(self.cursor, self.cursor)
        self._count()

        def rank(candidate: Candidate) -> float | None:
            return self.rank(twins.get(candidate, candidate))

        place = self.cursor
        if place in nameless:
            place = next((twin for twin, held in twins.items() if held is place), None)
        order = arrange(named, self.situation.path, rank, place)
        ranks = {c: self.rank(c) for c in nameless if c not in twins.values()}
        alone = {at: c for c, at in ranks.items() if at is not None}
        self._take_places(order, rank, alone)
        self.order = [twins.get(c, c) for c in order]
        for held in nameless:
            if held not in twins.values():
                self.order.insert(self._place_of(held), held)
        self.behind = yield from self._find_behind()

    def _place_of(self, held: Candidate) -> int:
        """Where in the order one belongs that has no name: behind what is known to be older, and
        of the next ones, of which nothing is known, behind those that were written earlier."""
        at = self.rank(held)
        ranks = [self.rank(c) for c in self.order]
        older = [n for n, r in enumerate(ranks) if _is_less(r, at)]
        place = older[-1] + 1 if older else 0
        while place < len(ranks) and ranks[place] is None and self.order[place].mtime < held.mtime:
            place += 1
        return place

    def _find_twins(self, nameless: list[Candidate], named: list[Candidate]) -> Asks[None]:
        for held in nameless:
            for packed in named:
                free = packed.size is None and packed not in self._twins and not is_held(packed)
                if free and (yield from same_content(held, packed)):
                    self._twins[packed] = held
                    break

    def _take_places(
        self,
        order: list[Candidate],
        rank: Callable[[Candidate], float | None],
        alone: dict[float, Candidate],
    ) -> None:
        """What cannot be read takes places of the row for which there is no file; alone: what is
        held without a name, by its rank."""
        filled = {rank(c) for c in order if not c.trouble} | {self.known.place(c) for c in order}
        free = {place for place in range(self._here) if place not in filled} | set(alone)
        have = self.situation.have
        if self.cursor is None and have.holding == Holding.RECORDED and not have.closed:
            free.add(self._here)
        if have.closed and self.cursor is not None:
            free.discard(self._here - 1)  # the cursor's
        ranks = [None if c.trouble else rank(c) for c in order]
        for at, candidate in reversed(list(enumerate(order))):  # the oldest are deleted first
            if not candidate.trouble or is_held(candidate):
                continue
            place = self.known.place(candidate)
            if place is not None:
                self.taken[candidate] = place
                continue
            low = max((r for r in ranks[:at] if r is not None), default=-1)
            high = min((r for r in ranks[at:] if r is not None), default=None)
            fits = [r for r in free if r > low and (high is None or r < high)]
            if fits:
                last = max(fits)
                ranks[at] = self.taken[candidate] = last
                free.remove(last)
                if last in alone:
                    self._twins[candidate] = alone[last]

    @property
    def is_taken(self) -> bool:
        """True when a file that cannot be read stands for the generation that is looked for."""
        return self._here in self.taken.values()

    def is_taken_before(self, candidate: Candidate) -> bool:
        """True when such a file comes before a candidate in the row."""
        order = self.order
        before = order[: order.index(candidate)] if candidate in order else order
        return any(self.taken.get(other) == self._here for other in before)

    def _find_behind(self) -> Asks[list[Candidate]]:
        order = self.order
        if self.cursor is not None:
            at = order.index(self.cursor) if self.cursor in order else len(order)  # it is live
            order = order[at + 1 :]
        else:
            last = yield from self._last_known()
            born = self.situation.have.generation.born
            later = [at for at, c in enumerate(order) if c.mtime >= born or is_held(c)]
            if last is not None:
                order = order[last + 1 :]
            elif later or self._same:  # there is nothing that tells but times
                order = order[min(later, default=len(order)) :]
        return [c for c in order if c.trouble or not (self.anchored and c.turn == -1)]

    def _last_known(self) -> Asks[int | None]:
        """Where in the order the last file of a complete generation is; or None.  First bytes are
        no proof: many files begin alike."""
        for at, candidate in reversed(list(enumerate(self.order))):
            place = self.known.place(candidate)
            if place is not None:
                entry = self.situation.past[place]
                if candidate.trouble or (yield from holds(candidate, entry)):
                    return at
        return None

    def after(self) -> Asks[list[Candidate]]:
        """The files that come after the cursor and were not delivered, the live one last."""
        later: list[Candidate] = []
        copies: set[Candidate] = set()
        proved = [
            c
            for c in self.order
            if c is self.cursor or is_held(c) or self.known.place(c) is not None
        ]
        proved += self._twins
        self._proved = {family(c.name, self.situation.path) for c in proved}  # not those of copies
        before = [candidate for candidate in self.order if candidate not in self.behind]
        for candidate in self.behind:
            if candidate in self.taken:
                continue
            done = yield from self.known.entry(candidate, self.cursor is None, before)
            if done is None and not (yield from self._is_copy(candidate, copies)):
                later.append(candidate)
        live = self.situation.live
        return later + ([live] if live else [])

    # --- copies

    def is_made_of_held(self, candidate: Candidate) -> Asks[bool]:
        """True for a compressed file that holds what a file holds that is held open.

        What is shorter than HEAD bytes may be another's: it is a copy if that one has no name now.
        """
        if candidate.size is not None:
            return False
        long = candidate.generation.head_len >= HEAD
        if is_held(candidate) and not (long and self.situation.is_nameless(candidate)):
            return False  # else it was met when nobody knew what it was, and is gone
        for held in self.situation.candidates:
            nameless = self.situation.is_nameless(held)
            if held is candidate or nameless and held in self._twins.values():
                continue  # it was made to another one
            if not held.live and (nameless or (is_held(held) and long)):
                if (yield from same_content(held, candidate)):
                    return True
        return False

    def _is_copy(self, candidate: Candidate, copies: set[Candidate]) -> Asks[bool]:
        """True for a copy of another file, under a name of another kind or of the live one.

        Of what is shorter than HEAD bytes only names tell.  copies: those that were found.
        """
        if (yield from self.is_made_of_held(candidate)):
            return True
        if is_held(candidate):
            return False
        live = self.situation.live
        for original in [*([live] if live else []), *self.order]:
            if self._may_be_original(original, candidate) and original not in copies:
                if (yield from begins_with(original, candidate)):
                    copies.add(candidate)
                    return True
        return False

    def _may_be_original(self, original: Candidate, candidate: Candidate) -> bool:
        """True when their names allow that one was copied from the other."""
        path = self.situation.path
        own = family(candidate.name, path)
        long = candidate.generation.head_len >= HEAD
        if original.live:
            return own not in self._proved and (long or len(self._kinds()) > 1)
        other = original is not candidate and family(original.name, path) != own
        return other and (long or original is self.cursor) and not self._is_nameless(original)

    def _kinds(self) -> set[str]:
        """The families of names that rotated files have."""
        named = [c for c in self._files if c.rotated and not self._is_nameless(c)]
        return {family(candidate.name, self.situation.path) for candidate in named}

    def _is_nameless(self, candidate: Candidate) -> bool:
        return self.situation.is_nameless(candidate)


def _is_less(one: float | None, other: float | None) -> bool:
    """True when both are known, and so."""
    return one is not None and other is not None and one < other


def row_of(situation: Situation, cursor: Candidate | None) -> Asks[Row]:
    """The Row.  Yields what it asks of candidates."""
    known = yield from recognise(situation.past, situation.candidates, situation.path)
    row = Row(situation, cursor, known)
    yield from row.find_order()
    return row
