"""A pipe that a keeper keeps: it ends by itself when its origin is gone for good.

A name is missing for a moment in every rotation, and a file that was deleted still grows
while its writer has it open.  So the name has to be missing for some seconds, and everything
that was read or can still be read has to be delivered and acknowledged, before it ends.
The keeper can say as well that the origin is no longer wanted: then it ends when that has
been quiet.  A crash before that is a crash of any pipe.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from tcppipe.cursor import Generation
from tcppipe.drivers.feed import Feed, Status
from tcppipe.drivers.follow import Manner
from tcppipe.drivers.lookout import LOOK
from tcppipe.drivers.outages import Teller
from tcppipe.drivers.push import Push, Route
from tcppipe.files.follower import Follower
from tcppipe.files.notifiers import Nothing
from tcppipe.files.wakeup import Wakeup
from tcppipe.process.signals import Signals
from tcppipe.process.trouble import Say

GONE = 5.0  # seconds that the name has to be missing
QUIET = 10.0  # seconds without news after which an unwanted origin is left
# The keeper's word, which nobody sends by habit: no longer wanted.
LEAVE = getattr(signal, "SIGRTMIN", signal.SIGUSR2)


class Strings(NamedTuple):
    """Descriptors between a keeper and a child.

    lifeline: readable when the keeper is gone.  tell: on which the keeper hears of connections,
    and says what is to be said of them.
    """

    lifeline: int
    tell: int


class Kept(Push):
    """A Push with a keeper."""

    def __init__(
        self,
        follower: Follower,
        route: Route,
        status: Status,
        say: Say,
        manner: Manner,
        keeper: Strings,
    ) -> None:
        super().__init__(follower, route, status, say, manner)
        self._lifeline = keeper.lifeline
        self._outages = Teller(keeper.tell)
        self._missing_since: float | None = None
        self._unwanted = False
        # (offset and generation, since when) of an unwanted origin
        self._quiet: tuple[tuple[int, Generation | None], float] | None = None

    def run(self, signals: Signals, wakeup: Wakeup | Nothing) -> None:
        """Feed until told to end, or until the origin is gone and all of it delivered."""
        super()._look()  # hold the file before anything can become of it
        super().run(signals, wakeup)

    def cannot_start(self, why: str) -> None:
        """Tell the keeper, which will try again."""
        text = f"cannot start, tries again: {why}"
        self._outages.lost(self.path, text, time.monotonic(), "error")

    def _abandoned(self) -> None:
        super()._abandoned()
        self._say("warning", f"{self.path}: ends: tcppipe -c is gone")

    def _answer(self, came: list[int], now: float) -> None:
        super()._answer(came, now)
        if LEAVE in came:
            self._unwanted = True

    def _look(self) -> None:
        super()._look()
        now = time.monotonic()
        missing = self._is_missing_since(now)
        if missing is not None:
            self._deliver_at = 0.0  # whatever -t says: it must not be open for longer than needed
            if now - missing >= GONE and self._delivered():
                self._leave("gone, and delivered to its end")
        elif self._unwanted and self._is_quiet(now):
            self._leave("no longer listed, and delivered")

    @property
    def _look_at(self) -> float:
        return self._lookout.looked + LOOK if self._unwanted else super()._look_at

    def _at_rest(self, feed: Feed, now: float) -> bool:
        return not self._unwanted and super()._at_rest(feed, now)

    def _is_missing_since(self, now: float) -> float | None:
        if self.follower.chain.live is not None or os.path.lexists(self.path):
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        return self._missing_since

    def _delivered(self) -> bool:
        """True when the sink has everything, and nothing more can come."""
        if self._feed is None or not self.follower.spent:
            return False
        if self._feed.pump.session.streaming:
            return self._feed.ready and self._feed.settled
        return self._feed.pump.blocked is not None  # it searches, and finds nothing

    def _is_quiet(self, now: float) -> bool:
        if self._feed is None or not (self._feed.ready and self._feed.settled):
            self._quiet = None
            return False
        here = self.follower.offset, self.follower.generation
        if self._quiet is None or self._quiet[0] != here:
            self._quiet = here, now
        return now - self._quiet[1] >= QUIET

    def _leave(self, why: str) -> None:
        self._say("info", f"{self.path}: {why}")
        self._ending = True
