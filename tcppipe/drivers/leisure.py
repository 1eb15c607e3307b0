"""When there is time for a digest: in small steps beside the stream.

A generation's digest is needed when the generation ends.  Made in the stream it would
hold the bytes up, and made at the end it would hold up the next generation.
"""

from math import inf

STEP = 1 << 20  # bytes that one step takes: half a millisecond
PAUSE = 0.02  # seconds between two steps


class Leisure:
    """The clock of one digest.  Times are seconds of a monotonic clock."""

    def __init__(self):
        self._next = 0.0

    def due(self, behind):
        """When the next step is due.  behind: bytes that are to be taken."""
        return self._next if behind >= STEP else inf  # less can wait for the end

    def took(self, now):
        """A step was taken."""
        self._next = now + PAUSE
