"""The sink holds more than its ledger tells: the ledger is older than the copy.

It was restored from a backup, and tells of a generation that was under way then.  Behind that
one the copy goes on with those that came since: they are compared with the origin's files, one
after the other, and what is theirs does not come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tcppipe.session.actions import Asks, Candidate, Measure
from tcppipe.session.compare import common
from tcppipe.session.known import size_of
from tcppipe.wire.events import Complete, Have


class Passed(NamedTuple):
    """How far the sink has got: in which file, up to where, what comes after that one, which
    generations are there to their end, as Complete, and at which of its offsets that is."""

    candidate: Candidate
    offset: int
    later: Sequence[Candidate]
    whole: list[Complete]
    end: int


def passed(
    have: Have, cursor: Candidate, at: int, later: Sequence[Candidate], chance: int
) -> Asks[Passed | None]:
    """A Passed, or None when what the sink has behind the cursor's file is nothing that we know.

    at: the length of that file, all of which is there.  later: the Candidates that follow, oldest
    first.  chance: so many equal bytes are no chance.
    """
    found: Passed | None = None
    whole: list[Complete] = []
    before = cursor
    for number, candidate in enumerate(later):
        size = None if candidate.trouble else (yield from size_of(candidate))
        if size is None or at >= have.end:
            break
        high = min(size, have.end - at)
        agreed = yield from common(candidate, 0, high, at)
        if agreed < min(high, chance):
            break
        if agreed:
            complete = yield from _complete(before)
            if complete is None:
                break
            whole.append(complete)
            found = Passed(candidate, agreed, later[number + 1 :], whole, at + agreed)
            before = candidate
        if agreed < size:
            break
        at += size
    return found


def _complete(candidate: Candidate) -> Asks[Complete | None]:
    """All of a candidate; None: it has broken meanwhile."""
    size = yield from size_of(candidate)
    if size is None:
        return None
    (digest,) = yield Measure(candidate, ((0, size),))
    return Complete(candidate.generation, size, digest)
