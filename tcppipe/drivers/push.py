"""The push pair's client: one origin, one connection at a time, made again for ever.

One loop, see follow.py: a pause, a name server, a connection, an answer are waited for where news
are.  Nothing but being told to ends it once it runs: not a refusal, not a resource that is used up,
not a bug of ours.
A crash leaves what the feed leaves, a status file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from tcppipe.cursor import Cursor
from tcppipe.drivers.backoff import BUG, FOR_NOW, LOST, REFUSED, Backoff, Bounds
from tcppipe.drivers.feed import Feed, Status
from tcppipe.drivers.follow import AT_ONCE, FEEDING, Follow, Manner
from tcppipe.drivers.outages import Listener, Outages
from tcppipe.errors import ConfigError, LinkLost, NotNow, Refused, place, reason
from tcppipe.files.follower import Follower
from tcppipe.files.fs import FS
from tcppipe.files.notifiers import Nothing
from tcppipe.files.reader import Reader
from tcppipe.files.wakeup import Wakeup
from tcppipe.net.dial import Dialling
from tcppipe.net.poll import Poll
from tcppipe.process.signals import Signals
from tcppipe.process.trouble import Say
from tcppipe.session.contract import SourceSession

GREETING = 25.0  # seconds that the sink may take to say what it has, at the first start
CALM = 1.0  # seconds of rest after what nobody has foreseen: it may be the waiting that fails

# What it does without a connection.
PAUSED = "waits to connect again"
DIALLING = "connects"


Greet = Callable[[Dialling, Cursor | None, bool], SourceSession]


class Route(NamedTuple):
    """How a host is reached.  dial(now): begins an attempt.

    greet(dialling, witness, resend): a source session for one that has succeeded; witness: the
    status file's Cursor or None.
    """

    dial: Callable[[float], Dialling]
    greet: Greet


class Push(Follow):
    """Follows one origin and feeds it to one host."""

    def __init__(
        self,
        follower: Follower,
        route: Route,
        status: Status,
        say: Say,
        manner: Manner = AT_ONCE,
    ) -> None:
        super().__init__(follower, status, say, manner)
        self._route = route
        self._resend = manner.resend
        self._until = 0.0  # when a pause is over
        self._dialling: Dialling | None = None
        self._backoff = Backoff()
        self._outages: Listener = Outages(say)
        self._bugs = 0

    # --- the first connection, in the foreground

    def establish(self, caller: int | None = None) -> None:
        """Connect, and go on until the sink has said what it has.

        caller: a descriptor that tells when nobody waits for that any more.
        Raises LinkLost, PeerError, Refused.
        """
        self._lifeline = caller
        self._look()  # hold the file before anything can become of it
        until = time.monotonic() + GREETING
        while self._feed is None or self._feed.greeting:
            self._turn()
            now = time.monotonic()
            if self._over:
                raise LinkLost(f"{self.path}: interrupted")
            if self._feed is None:
                until = now + GREETING
            elif now >= until:
                raise LinkLost(f"{self._feed.link.peer}: does not answer")
        self._lifeline = None

    # --- the loop

    def run(self, signals: Signals, wakeup: Wakeup | Nothing) -> None:
        """Feed until told to end."""
        self._signals = signals
        self._lookout.listen(wakeup)
        try:
            while not self._over:
                self._guarded_turn()
        finally:
            self._hang_up()

    def _guarded_turn(self) -> None:
        try:
            self._turn()
        except NotNow as error:
            self._lost(f"{error}; tries again", FOR_NOW)
        except Refused as error:
            self._lost(f"{error}; tries again, at HUP at once", REFUSED, "critical")
        except LinkLost as error:
            self._lost(f"{error}; connects again", LOST)
        except Exception as error:  # whatever is wrong with us, the origin grows on
            passing = isinstance(error, (OSError, MemoryError))
            what = reason(error) if passing else f"bug: {type(error).__name__}: {error}"
            self._bugs += not passing
            text = f"{what} ({place(error)}); connects again"
            self._lost(text, BUG, "error" if passing else "critical")
            time.sleep(CALM)

    @property
    def _state(self) -> str:
        if self._feed is not None:
            return FEEDING
        return PAUSED if self._dialling is None else DIALLING

    def _due(self, poll: Poll) -> float:
        due = self._outages.due()
        if self._dialling is not None:
            poll.register(self._dialling.fileno(), self._dialling.events())
            return min(due, self._dialling.due())
        return due if self._feed is not None else min(due, self._until)

    def _go_on_without(self, ready: dict[int, int], now: float) -> None:
        if self._ending:
            self._over = True
        elif self._dialling is not None:
            self._go_on_dialling(self._dialling, ready, now)
        elif now >= self._until:
            self._dialling = self._route.dial(now)

    def _tend(self, now: float) -> None:
        self._outages.tend(now)

    def _hup(self, now: float) -> None:
        super()._hup(now)
        if self._feed is None and self._dialling is None:
            self._backoff.reset()
            self._until = now

    def _where(self, now: float) -> str:
        where = super()._where(now)
        if self._state == PAUSED:
            where = where.replace(PAUSED, f"{PAUSED} in {max(0.0, self._until - now):.0f} s", 1)
        return f"{where}, bugs so far: {self._bugs}" if self._bugs else where

    # --- without a connection

    def _lost(self, text: str, bounds: Bounds, level: str = "warning") -> None:
        """There is no connection: another one is tried after a pause."""
        self._hang_up()
        if self._ending:
            self._over = True
            return
        now = time.monotonic()
        self._until = now + self._backoff.pause(bounds)
        self._outages.lost(self.path, text, now, level)

    def _hang_up(self) -> None:
        if self._dialling is not None:
            self._dialling.close()
        if self._feed is not None:
            self._feed.link.close()
        self._dialling = self._feed = None

    def _go_on_dialling(self, dialling: Dialling, ready: dict[int, int], now: float) -> None:
        if not dialling.go(ready.get(dialling.fileno(), 0), now):
            return
        assert dialling.link is not None
        witness, again = self._status.read()
        self._resend = self._resend or again
        session = self._route.greet(dialling, witness, self._resend)
        self._begin_feeding(dialling.link, session)
        self._dialling = None

    # --- with a connection

    def _connected(self, text: str, now: float) -> None:
        self._outages.connected(self.path, text, now)

    def _works(self, feed: Feed) -> None:
        super()._works(feed)
        self._resend = False
        self._backoff.reset()
        self._outages.works(self.path)


def check_origin(path: str, fs: FS) -> None:
    """Raise ConfigError when `path` (str) cannot be an origin: missing, unreadable, no file."""
    try:
        Reader(path, fs).close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot open: {reason(error)}") from None
