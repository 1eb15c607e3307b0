"""What fails again and again for a while: said at first, each hour, and when it is over.

Knows no clock of its own: times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str, str], None]  # (level, text)

REMIND = 3600.0  # seconds


class Trouble:
    """One thing that may fail.  say: a function (level, text).  level: that of a failure.
    calm: seconds without a failure after which it is over; else what fails every other time
    would be said each time."""

    def __init__(self, say: Say, level: str = "error", calm: float = 0.0) -> None:
        self._say = say
        self._level = level
        self._calm = calm
        self._failed_at = 0.0
        self._text: str | None = None  # what was said last; None: nothing is wrong
        self._since = self._remind_at = 0.0
        self._count = 0  # failures so far

    @property
    def present(self) -> bool:
        """True from the first failure until over()."""
        return self._text is not None

    def failed(self, text: str, now: float) -> None:
        """It has failed, for this reason."""
        self._failed_at = now
        if text == self._text and now < self._remind_at:
            self._count += 1
            return
        if self._text is None:
            self._since, self._count, how_long = now, 0, ""
        else:
            how_long = f" (for {duration(now - self._since)}, {self._count} times)"
        self._count += 1
        self._text, self._remind_at = text, now + REMIND
        self._say(self._level, text + how_long)

    def over(self, text: str, now: float) -> None:
        """It works; if it did not, that is said in these words."""
        if self._text is not None and now >= self._failed_at + self._calm:
            self._text = None
            self._say("warning", f"{text} after {duration(now - self._since)}")


def counted(number: int, one: str, many: str) -> str:
    """A number of things in words: 1 entry, 2 entries."""
    return f"{number} {one if number == 1 else many}"


def duration(seconds: float) -> str:
    """A time in words: 12 s, 5 min, 3 h, 2 days."""
    for most, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < most:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
