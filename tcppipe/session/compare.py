"""How far a file at the origin and what the sink offers are the same: the first byte that differs.

A generator, as all that is asked of both sides: digests of ever smaller ranges.
"""

from __future__ import annotations

from tcppipe.cursor import TAIL
from tcppipe.session.actions import Asks, Candidate, Measure
from tcppipe.wire.events import Probe
from tcppipe.wire.frames import MAX_RANGES

FEW = 8  # one of so many places may differ
STEP = 256 << 20  # bytes that one Probe covers at most


def digest_of(candidate: Candidate, first: int, length: int) -> Asks[bytes]:
    """The SHA-256 of one range of a candidate."""
    digests: tuple[bytes, ...] = yield Measure(candidate, ((first, length),))
    return digests[0]


def common(candidate: Candidate, low: int, high: int, shift: int = 0) -> Asks[int]:
    """How far [low, high) of a candidate and of the sink are the same, from low on.

    shift: how far behind these offsets the sink has it.
    Yields Measure and Probe for the same ranges; returns an offset in [low, high].
    """
    while low < high:
        ranges = _split(low, min(high, low + STEP))
        here = yield Measure(candidate, ranges)
        there = yield Probe(tuple((first + shift, length) for first, length in ranges))
        for (first, length), mine, theirs in zip(ranges, here, there):
            if mine != theirs:
                if length == 1:
                    return first
                low, high = first, first + length
                break
        else:
            low = ranges[-1][0] + ranges[-1][1]
    return high


def damaged(candidate: Candidate, low: int, high: int) -> Asks[bool]:
    """True when [low, high) of a candidate and of the sink differ in few places only.

    A byte that turned over on its way, or a torn block, leaves nearly all as it was; of a file that
    was rewritten nearly nothing is the same.
    """
    ranges = _split(low, high)
    here = yield Measure(candidate, ranges)
    there = yield Probe(ranges)
    differ = sum(mine != theirs for mine, theirs in zip(here, there))
    return bool(ranges) and differ <= max(1, len(ranges) // FEW)


def _split(low: int, high: int) -> tuple[tuple[int, int], ...]:
    """At most MAX_RANGES ranges of about the same length that cover [low, high)."""
    length = max(1, -(-(high - low) // MAX_RANGES))
    if length > 1 and high - low > TAIL:
        length = -(-length // 4096) * 4096
    return tuple((at, min(length, high - at)) for at in range(low, high, length))
