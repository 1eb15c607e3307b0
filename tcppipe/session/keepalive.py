"""When to ask whether the peer is alive, and when to believe that it is not."""

PING_AFTER = 15.0  # seconds without a word sent
DEAD_AFTER = 45.0  # seconds without a word heard: under a minute, pauses included


class Keepalive:
    """Two clocks.  Times are seconds of a monotonic clock, given by the caller."""

    def __init__(self, now):
        self.sent = self.heard = now

    def due(self, now):
        """True when a Ping should be sent."""
        return now - self.sent >= PING_AFTER

    def dead(self, now):
        """True when the peer has been silent for too long."""
        return now - self.heard >= DEAD_AFTER

    def next(self):
        """The time of the next look."""
        return min(self.sent + PING_AFTER, self.heard + DEAD_AFTER)
