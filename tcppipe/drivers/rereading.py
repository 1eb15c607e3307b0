"""A configuration that is read again while we run: at HUP, and whenever it has changed.

A broken one is said, and the old one stays in force.  One that cannot be read, perhaps for want of
a descriptor, is tried again after a pause, and said once: nobody sends that HUP another time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from tcppipe.errors import ConfigError, Unreadable
from tcppipe.process import report

PAUSE = 1.0  # seconds


class Rereading:
    """path: of the file.  read: a function that reads it, and says in words what it holds; raises
    ConfigError.  what: the file is, for people.  at: when again() has something to do.
    """

    def __init__(self, path: str, read: Callable[[], str], what: str = "configuration") -> None:
        self.at = inf
        self._path = path
        self._read = read
        self._what = what
        self._broken: str | None = None  # what was said of it last

    def now(self, told: str | None = None) -> bool:
        """Read it; False when that is to be tried again.  told: what need not be said."""
        self.at = inf
        try:
            holds = self._read()
        except ConfigError as error:
            passing = isinstance(error, Unreadable)
            self.refused(error, told if passing else None)
            if passing:
                self.at = time.monotonic() + PAUSE
            return not passing
        report.info(f"{self._path}: read again, {holds}")
        self.accepted()
        return True

    def again(self, now: float) -> bool:
        """Try it again, if it is time; True when it was read now."""
        return now >= self.at and self.now(self._broken)

    def refused(self, error: ConfigError, told: str | None = None) -> None:
        """It cannot be taken; said unless this was said last."""
        self._broken = str(error)
        if self._broken != told:
            for line in self._broken.splitlines():
                report.error(f"{line} (the old {self._what} stays in force)")

    def refused_again(self, error: ConfigError) -> None:
        """The same of one that nobody has asked for; said once."""
        self.refused(error, self._broken)

    def accepted(self) -> None:
        """It was taken."""
        self._broken = None
