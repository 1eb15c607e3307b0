"""How long to wait before it is tried again: longer each time, and never in step with others."""

from __future__ import annotations

import os

Bounds = tuple[float, float]

LOST = (0.25, 30.0)  # seconds: the first pause and the longest, when a connection is lost …
FOR_NOW = (1.0, 60.0)  # … when the other side refused for now …
REFUSED = (5.0, 300.0)  # … and for good …
BUG = (2.0, 300.0)  # … or when the fault is ours


def spread(low: float, high: float) -> float:
    """A random number between both.  (The module random is seeded anew in each forked child.)"""
    return low + (high - low) * int.from_bytes(os.urandom(4), "big") / 2**32


class Backoff:
    """Growing pauses with jitter."""

    def __init__(self) -> None:
        self._bounds: Bounds | None = None
        self._failures = 0

    def pause(self, bounds: Bounds = LOST) -> float:
        """Seconds to wait now; after another failure with the same bounds twice as long."""
        if bounds is not self._bounds:
            self._bounds, self._failures = bounds, 0
        first, longest = bounds
        pause = min(longest, first * 2.0 ** min(self._failures, 20)) * spread(0.5, 1.0)
        self._failures += 1
        return pause

    def reset(self) -> None:
        """It worked: begin with the shortest pause next time."""
        self._failures = 0
