"""One origin and the loop that feeds it over a connection, until that or we are told to end.

Whatever it waits for, it waits in one place, where signals are answered at once, and the origin is
looked at every second.
A crash leaves what the feed leaves, a status file.
"""

from __future__ import annotations

import select
import signal
import time
from math import inf
from typing import NamedTuple

from tcppipe.drivers.feed import Feed, Status
from tcppipe.drivers.lookout import Lookout
from tcppipe.drivers.packer import Packer
from tcppipe.errors import LinkLost
from tcppipe.files.follower import Follower
from tcppipe.net.link import Link
from tcppipe.net.poll import Poll
from tcppipe.process import presence, report
from tcppipe.process.signals import Signals
from tcppipe.process.trouble import Say
from tcppipe.process.turns import Turns
from tcppipe.session.contract import SourceSession

FAREWELL = 2.0  # seconds that the last acknowledgements may take when we are told to end

FEEDING = "is connected"


class Manner(NamedTuple):
    """How an origin is fed.  interval: seconds between updates (-t), or None: at once.

    resend: -n was given.  packer: the Packer (-z) of its sessions, or None.
    """

    interval: float | None = None
    resend: bool = False
    packer: Packer | None = None


AT_ONCE = Manner()


class Follow:
    """Feeds a follower over one link at a time."""

    def __init__(self, follower: Follower, status: Status, say: Say, manner: Manner) -> None:
        self.follower = follower
        self._status = status
        self._say = say
        self._manner = manner
        self._feed: Feed | None = None
        self._greeted = False  # the sink has said what it has, over this connection
        self._signals: Signals | None = None
        self._lifeline: int | None = None  # readable when our parent is gone
        self._lookout = Lookout(follower, manner.interval is None)
        self._turns = Turns(say)
        self._acknowledged_to: int | None = None  # the offset
        self._deliver_at = 0.0
        self._more = True  # there may be news, whatever notification says
        self._ending = self._over = False
        self._end_at = inf

    @property
    def path(self) -> str:
        """The origin's."""
        path: str = self.follower.chain.path
        return path

    # --- the loop

    def _turn(self) -> None:
        """Wait until something happens or is due, and do what follows.

        Raises what ends the present connection or attempt.
        """
        ready = self._wait()
        now = time.monotonic()
        self._turns.start()
        if not ready and self._feed is not None and self._at_rest(self._feed, now):
            self._lookout.looked = now
            self._lookout.wakeup.tend(now)
            report.tend()
            presence.look(now)
            return
        if self._lifeline in ready:
            self._abandoned()
            return
        if self._signals is not None and self._signals.fileno() in ready:
            self._answer(self._signals.take(), now)
        woken = self._heed(ready, now)
        if self._feed is not None:
            self._go_on_feeding(self._feed, ready, woken, now)
        else:
            self._go_on_without(ready, now)
        if now >= self._look_at:
            self._lookout.looked = now
            self._look()
            if self._feed is not None and self._feed.link.silent:
                raise LinkLost(f"{self._feed.link.peer}: no sign of life from the other side")
            self._lookout.wakeup.tend(now)
            report.tend()
        presence.look(now)
        self._tend(now)
        self._turns.done(self._place)

    def _place(self) -> str:
        """What was done last, for people."""
        what = self._feed.pump.last if self._feed is not None else self._state
        return f"{self.path}: {what}"

    @property
    def _state(self) -> str:
        """What it does, in words."""
        return FEEDING

    def _wait(self) -> dict[int, int]:
        """Wait; {descriptor: events} of what has happened."""
        poll, now = Poll(), time.monotonic()
        if self._signals is not None:
            poll.register(self._signals.fileno(), select.POLLIN)
        if self._lifeline is not None:
            poll.register(self._lifeline, select.POLLIN)
        due = min(self._look_at, self._lookout.wait(poll, now))
        if self._feed is not None:
            link = self._feed.link
            poll.register(link.fileno(), select.POLLIN | (select.POLLOUT if link.full else 0))
            due = min(due, self._feeding_due(self._feed, now))
        due = min(due, self._due(poll))
        return dict(poll.poll(max(0.0, due - now) * 1000 + 0.5 if due > now else 0))

    @property
    def _look_at(self) -> float:
        """When the next look at the origin is due."""
        return self._lookout.due(self._feed is not None)

    def _heed(self, ready: dict[int, int], now: float) -> bool:
        """Take what notification tells, and look at once when a name has come or gone: what came
        may not stay.  True when anything was told."""
        if not self._lookout.heard(ready):
            return False
        if self._lookout.wakeup.drain():
            self._look()
        self._lookout.rest(now, self._feed is not None)
        return True

    def _look(self) -> None:
        self._lookout.look()

    # --- what else there may be to wait for

    def _due(self, poll: Poll) -> float:
        """When something else is due; what is to be waited for is registered."""
        return inf

    def _go_on_without(self, ready: dict[int, int], now: float) -> None:
        """There is no connection."""
        self._over = True

    def _tend(self, now: float) -> None:
        """A turn is over."""

    # --- signals

    def _abandoned(self) -> None:
        """Our parent is gone."""
        self._over = True

    def _answer(self, came: list[int], now: float) -> None:
        """Do what these signals tell."""
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._ending = True
        if signal.SIGHUP in came:
            presence.hurry()
            self._hup(now)
        if signal.SIGUSR1 in came:
            self._say("info", f"{self.path}: {self._where(now)}")

    def _hup(self, now: float) -> None:
        self._look()
        self._deliver_at = 0.0

    def _where(self, now: float) -> str:
        """Where it is and what it waits for, in words."""
        words = [self._state]
        if self._feed is not None:
            words = [
                f"{self._state} to {self._feed.link.peer}",
                f"waits for {self._feed.waits_for}",
            ]
        words.append(f"has read to offset {self.follower.offset}")
        if self._acknowledged_to is not None:
            words.append(f"acknowledged to {self._acknowledged_to}")
        return ", ".join(words)

    # --- with a connection

    def _begin_feeding(self, link: Link, session: SourceSession) -> None:
        packer = self._manner.packer
        self._feed = Feed(link, session, self.follower, self._status, self._say, packer)
        self._more, self._greeted = True, False
        self._feed.open(time.monotonic())

    def _at_rest(self, feed: Feed, now: float) -> bool:
        """True when a glance is enough: nothing is due but a look, and there is no news."""
        return (
            now >= self._look_at
            and now < feed.due()
            and feed.settled
            and not self._ending
            and self.follower.unchanged()
        )

    def _go_on_feeding(self, feed: Feed, ready: dict[int, int], woken: bool, now: float) -> None:
        link = feed.link
        happened = ready.get(link.fileno(), 0)
        if happened & select.POLLOUT or now >= link.due():
            link.flush()
        if link.unread or happened & ~select.POLLOUT:
            feed.hear(now)
        if not self._greeted and not feed.greeting:
            self._greeted = True
            if self._signals is not None:  # else it is established, and not yet ready to be said
                self._connected(f"connected to {link.peer}", now)
        if self._ending:
            self._end_at = min(self._end_at, now + FAREWELL)
            if feed.settled or now >= self._end_at:
                feed.bye(now)
                link.drain(0.5)
                self._over = True
                return
        elif self._more or now >= self._lookout.listen_at or woken:
            self._more = self._deliver(feed, now)
        if feed.acknowledged:
            feed.acknowledged = False
            self._works(feed)
        feed.tend(now)

    def _connected(self, text: str, now: float) -> None:
        """The sink has said what it has."""
        self._say("info", f"{self.path}: {text}")

    def _works(self, feed: Feed) -> None:
        """The sink has made something durable."""
        self._acknowledged_to = feed.acknowledged_to

    def _feeding_due(self, feed: Feed, now: float) -> float:
        """When something is due."""
        if self._more and feed.ready and now >= self._deliver_at and not self._ending:
            return now
        times = [feed.due(), feed.link.due(), self._end_at]
        if self._manner.interval is not None and feed.ready and not self._ending:
            times.append(self._deliver_at)
        return min(times)

    def _deliver(self, feed: Feed, now: float) -> bool:
        """Deliver what there is, at once or every so many seconds; True: there may be more."""
        if not feed.ready:
            return True  # as soon as it is
        if now < self._deliver_at:
            return False
        more = feed.deliver(now)
        if not more and self._manner.interval is not None and feed.ready:
            self._deliver_at = now + self._manner.interval
        return self._lookout.watch() or more
