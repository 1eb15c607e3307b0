"""What lasts is said once an hour, with how long by now: neither never nor all the time."""

from __future__ import annotations

from math import inf

from tcppipe.process.trouble import REMIND, Say, duration

CALM = 60.0  # seconds without a failure after which the next one is another


class Complaint:
    """An error that is not said twice in a row, nor again and again when it comes and goes.

    say: a function (level, text).  Times are seconds of a monotonic clock.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told: str | None = None
        self._failed_at = 0.0

    def of(self, text: str, now: float) -> None:
        """There is reason to say this."""
        self._failed_at = now
        if text != self._told:
            self._told = text
            self._say("error", text)

    def over(self, now: float) -> None:
        """It works now."""
        if now >= self._failed_at + CALM:
            self._told = None


class Reminder:
    """Of one state of affairs.  Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.since: float | None = None  # when it began, or None
        self.due = inf

    def begins(self, now: float) -> None:
        """It begins, or goes on."""
        if self.since is None:
            self.since, self.due = now, now + REMIND

    def lasts(self, now: float) -> str | None:
        """How long it has lasted, in words, if that is to be said now; else None."""
        if self.since is None or now < self.due:
            return None
        self.due = now + REMIND
        return duration(now - self.since)

    def ends(self) -> None:
        """It is over, or never was."""
        self.since, self.due = None, inf
