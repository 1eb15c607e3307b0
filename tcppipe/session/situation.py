"""What both sides have, as an agreement finds it."""

from __future__ import annotations

from collections.abc import Sequence

from tcppipe.cursor import Cursor, Generation
from tcppipe.session.actions import Asks, Candidate, Found
from tcppipe.session.known import merged
from tcppipe.session.strangers import without_strangers
from tcppipe.wire.events import Complete, Have


class Situation:
    """have: the sink's Have.  past: its complete generations, oldest first, and ours.
    witness: the status file's Cursor or None.  path: of the origin.  candidates: the files that
    are of any concern.  live: that of them which stands under the origin's name, or None."""

    def __init__(self, have: Have, witness: Cursor | None, past: Sequence[Complete]) -> None:
        self.have = have
        self.witness = witness
        if have.previous_len and all(p.generation.key != have.previous.key for p in past):
            before = Complete(have.previous, have.previous_len, have.previous_digest)
            past = [*past, before]
        self._past = past

    def take(self, found: Found) -> Asks[None]:
        """These are the files now, as Found."""
        self.path = found.path
        self.past = merged(self._past, found.complete, self.have)
        self.candidates = yield from without_strangers(
            self.have, found.candidates, self.witness, self.past
        )
        self._see()

    def _see(self) -> None:
        self.live = next((c for c in self.candidates if c.live), None)

    def exchange(self, candidate: Candidate, again: Candidate) -> None:
        """Something else has become of a candidate."""
        self.candidates = [again if c is candidate else c for c in self.candidates]
        self._see()

    def is_nameless(self, candidate: Candidate | None) -> bool:
        """True when no name leads to a candidate any more."""
        return candidate is not None and candidate.name == self.path and not candidate.live


def is_of(candidate: Candidate, generation: Generation) -> bool:
    """True when a candidate is the very file that a generation was in."""
    return bool(candidate.generation.ino) and candidate.generation.same_inode(generation)


def is_held(candidate: Candidate) -> bool:
    """True when it has been held since it stood under the origin's name."""
    return turn_of(candidate) is not None


def turn_of(candidate: Candidate) -> int | None:
    """The place of what is held among all that was; of others None."""
    return None if candidate.turn == -1 else candidate.turn
