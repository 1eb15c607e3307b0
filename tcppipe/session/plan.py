"""What an agreement ends with: where to go on, and what is to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST
from tcppipe.session.actions import Candidate, Start
from tcppipe.wire.events import Begin, Complete, Gap

IN_DOUBT = (
    "no ledger, and the destination does not end with what was delivered: restored, or somebody else "
    "wrote there; goes on at offset {} all the same: compare the two, or send all once more (-n)"
)

Late = tuple[tuple[Candidate, int], ...]
# the first that can be read or None, Gaps of those before it, what comes after
First = tuple[Candidate | None, list[Gap], Sequence[Candidate]]


class Plan(NamedTuple):
    """How to go on: where to start reading, and what to tell the sink.

    proof: length and SHA-256 of the bytes just below the offset, for the reader to check.
    late: of (Candidate, length): complete generations that may have grown since.
    later: the Candidates that come after the one to start with, oldest first.  doubt: what is
    not certain, for people.
    """

    candidate: Candidate
    begin: Begin
    gaps: tuple[Gap, ...] = ()
    proof: tuple[int, bytes] = (0, NO_DIGEST)
    late: Late = ()
    later: tuple[Candidate, ...] = ()
    past: tuple[Complete, ...] = ()
    doubt: str = ""

    def start(self) -> Start:
        """The Start that carries it out."""
        return Start(
            self.candidate, self.begin.offset, self.proof, self.late, self.later, self.past
        )


def first_of(later: Sequence[Candidate]) -> First:
    """(the first that can be read or None, Gaps of those before it, what comes after)."""
    gaps: list[Gap] = []
    for at, candidate in enumerate(later):
        if not candidate.trouble:
            return candidate, gaps, later[at + 1 :]
        reason = f"{candidate.name}: {candidate.trouble}"
        gaps.append(Gap(candidate.generation, 0, 0, reason.encode(errors="replace")))
    return None, gaps, []
