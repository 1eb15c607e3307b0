"""When there is time for a digest: in small steps beside the stream.

A generation's digest is needed when the generation ends.  Made in the stream it would
hold the bytes up, and made at the end it would hold up the next generation.
"""

from __future__ import annotations

from math import inf

STEP = 1 << 20  # bytes that one step takes: half a millisecond
PAUSE = 0.02  # seconds between two steps


class Leisure:
    """The clock of one digest.  Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self, behind: int) -> float:
        """When the next step is due.  behind: bytes that are to be taken."""
        return self._next if behind >= STEP else inf  # less can wait for the end

    def took(self, now: float) -> None:
        """A step was taken."""
        self._next = now + PAUSE
