"""What lasts is said once an hour, with how long by now: neither never nor all the time."""

from math import inf

from tcppipe.process.trouble import REMIND, duration


class Reminder:
    """Of one state of affairs.  Times are seconds of a monotonic clock."""

    def __init__(self):
        self.since = None  # when it began, or None
        self.due = inf

    def begins(self, now):
        """It begins, or goes on."""
        if self.since is None:
            self.since, self.due = now, now + REMIND

    def lasts(self, now):
        """How long it has lasted, in words, if that is to be said now; else None."""
        if now < self.due:
            return None
        self.due = now + REMIND
        return duration(now - self.since)

    def ends(self):
        """It is over, or never was."""
        self.since, self.due = None, inf
