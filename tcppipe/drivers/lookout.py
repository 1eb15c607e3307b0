"""When to look at an origin: as often as it may change unheard, and whenever it is told to have.

Files that rotation renames or deletes are held open in time only if somebody looks.  A look finds
out what happened; notification is a hint, and is not listened to more often than makes sense.
"""

from __future__ import annotations

import select
from math import inf

from tcppipe.drivers.pace import Pace
from tcppipe.errors import ConfigError
from tcppipe.files.follower import Follower
from tcppipe.files.notifiers import Nothing
from tcppipe.files.wakeup import Wakeup
from tcppipe.net.poll import Poll

LOOK = 1.0  # seconds between two looks at the origin, whatever notification says …
CALM_LOOK = 20.0  # … and while nothing can happen to it that would not be told
GLANCE = 0.1  # seconds between two times that names are asked for while nothing is delivered


class Lookout:
    """Of a follower's origin.  at_once: news are wanted when they come, and not at intervals.

    looked: when was the last look.  listen_at: until then notification is not listened to.
    """

    def __init__(self, follower: Follower, at_once: bool) -> None:
        self.wakeup: Wakeup | Nothing = Nothing()
        self.looked = self.listen_at = 0.0
        self._follower = follower
        self._at_once = at_once
        self._pace = Pace()
        self._watched: int | None = None  # how many files had appeared when they were last watched

    def listen(self, wakeup: Wakeup | Nothing) -> None:
        """Be told by this notification."""
        self.wakeup = self._follower.chain.told = wakeup

    def look(self) -> None:
        """Hold what has appeared, before anything can become of it."""
        try:
            self._follower.chain.look()
        except (OSError, ConfigError):
            pass  # the next read says what is wrong

    def due(self, connected: bool) -> float:
        """When the next look is due."""
        listening = self._at_once and self.wakeup.fileno() >= 0
        calm = listening and self.wakeup.complete and not self._follower.restless
        return self.looked + (CALM_LOOK if calm and connected else LOOK)

    def wait(self, poll: Poll, now: float) -> float:
        """Register what is listened to; when heard() may have something, whatever the poll says."""
        fd = self.wakeup.fileno()
        if fd >= 0 and now >= self.listen_at:
            poll.register(fd, select.POLLIN)
            return self.listen_at if self.wakeup.pending else inf
        return self.listen_at if fd >= 0 or self.wakeup.pending else inf

    def heard(self, ready: dict[int, int]) -> bool:
        """True when something was told."""
        return self.wakeup.fileno() in ready or self.wakeup.pending

    def rest(self, now: float, connected: bool) -> None:
        """What was told is taken: when it is listened again."""
        delivers = connected and self._at_once
        self.listen_at = self._pace.next(now) if delivers else now + GLANCE

    def watch(self) -> bool:
        """Watch the files that have appeared, if there are new ones; True then."""
        if self._follower.chain.appeared == self._watched:
            return False
        self._watched = self._follower.chain.appeared
        self.wakeup.watch()
        return True
