"""When to ask whether the peer is alive, and when to believe that it is not.

Who waits for something asks soon.  At rest a dead peer does no harm until there is news,
and thousands of pipes at rest would do nothing but ask.
"""

from __future__ import annotations

PING_AFTER, DEAD_AFTER = 15.0, 45.0  # seconds without a word sent; without a word heard
CALM_PING_AFTER, CALM_DEAD_AFTER = 60.0, 150.0  # the same at rest


class Keepalive:
    """Two clocks.  Times are seconds of a monotonic clock, given by the caller.

    calm: nothing is waited for.
    """

    def __init__(self, now: float) -> None:
        self.sent = self.heard = self._since = now
        self.calm = False

    def at(self, now: float, calm: bool) -> None:
        """From now on something is waited for, or nothing."""
        if self.calm and not calm:
            self._since = now
        self.calm = calm

    def due(self, now: float) -> bool:
        """True when a Ping should be sent."""
        return now - self.sent >= (CALM_PING_AFTER if self.calm else PING_AFTER)

    def dead(self, now: float) -> bool:
        """True when the peer has been silent for too long."""
        return now >= self._dead_at

    @property
    def _dead_at(self) -> float:
        if self.calm:
            return self.heard + CALM_DEAD_AFTER
        return max(self.heard, self._since) + DEAD_AFTER

    def next(self) -> float:
        """The time of the next look."""
        return min(self.sent + (CALM_PING_AFTER if self.calm else PING_AFTER), self._dead_at)
