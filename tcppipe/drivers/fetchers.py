"""fetch_logs' loop: one process for all sources, thousands of them.

Nothing in it waits: what may, for a disk, is a turn of the rota.
A crash leaves what each source leaves, and status files that grow old.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from math import inf

from tcppipe.conf import fetch as conf
from tcppipe.conf.fetch import Source
from tcppipe.drivers.board import Board
from tcppipe.drivers.fetch import Fetch
from tcppipe.drivers.fetched import Means
from tcppipe.drivers.gate import Gate
from tcppipe.drivers.poller import Poller
from tcppipe.drivers.rota import Rota
from tcppipe.errors import ConfigError, Unreadable, reason
from tcppipe.files import configuration
from tcppipe.files.buffer import Buffer
from tcppipe.net import resolver
from tcppipe.net.connect import Address
from tcppipe.process import presence, report
from tcppipe.process.signals import Signals
from tcppipe.process.trouble import Trouble, counted
from tcppipe.process.turns import Turns

REFRESH = 60.0  # seconds between two look-ups of the servers' names
PAUSE = 1.0  # seconds until what failed is tried again
CALM = 60.0  # seconds without such a failure after which it is over
SHOW = 0.2  # seconds that a change may wait until SNMP is told
BUFFER = 1 << 18  # bytes read from a link at a time: what the others have to wait for


def read(path: str) -> list[Source]:
    """The sources that a configuration file names.  Raises ConfigError."""
    text = configuration.read(path)
    return conf.parse(text, path)


Tell = Callable[[Source | None, str, str], None]


class Buffers(_thread._local, Buffer):
    """A Buffer for each thread."""


class Fetchers:
    """All sources of the configuration file `path`, with the status files in `snmp_dir`.

    tell: a function (source or None, level, text).
    """

    def __init__(self, path: str, snmp_dir: str, state_dir: str, tell: Tell) -> None:
        self.path = path
        self._tell = tell
        self._poller = Poller()
        self._rota = Rota(self._poller, self._say, self._changed)
        self._means = Means(
            self._addresses, state_dir, tell, self._rota.syncer, Buffers(BUFFER), Gate()
        )
        self._wanted: dict[Source, Source] = {}  # by all that a source is but its line
        self._fetches: dict[Source, Fetch] = {}  # the same
        self._states: dict[
            Fetch, tuple[str | None, bool]
        ] = {}  # what SNMP was told, or will be, of each
        self._show_at: float | None = None
        self._board = Board(snmp_dir, self._say)
        self._showing = False
        self._read_at = inf  # when it is tried again, because it could not be read
        self._unreadable: str | None = None  # what was said of that
        self._asked = 0  # how often we were to read the configuration again
        self._names = resolver.HostNames()
        self._looking: int | None = None
        self._look_at = self._tend_at = 0.0
        self._turns = Turns(self._say)
        self._going = Trouble(self._say, "critical", CALM)
        self._resolving = Trouble(self._say)
        self._unsettled = False  # something failed in between: who waits for what?

    def _say(self, level: str, text: str) -> None:
        self._tell(None, level, text)

    def take(self, sources: list[Source], now: float) -> None:
        """From now on these are the sources."""
        self._wanted = {source._replace(line=0): source for source in sources}
        for key in set(self._fetches) - set(self._wanted):
            self._rota.leave(self._fetches.pop(key), self._begin)
        self._begin(now)
        for fetch in self._fetches.values():
            self._rota.tell(fetch, fetch.hurry, now)
        if self._names.young(now):
            self._look_at = 0.0  # once more, after this one
        else:
            self._stop_looking()
        self._show_at = now

    def _begin(self, now: float) -> None:
        """Fetch what is wanted, and is not: each once whoever had its files lets go of them."""
        busy = {p for f in self._rota.leaving for p in (f.source.local, f.source.pointer)}
        for key, source in self._wanted.items():
            if key not in self._fetches and busy.isdisjoint((source.local, source.pointer)):
                fetch = self._fetches[key] = Fetch(source, self._means)
                self._rota.settle(fetch, now)
        there = {*self._fetches.values(), *self._rota.leaving}
        self._states = {fetch: state for fetch, state in self._states.items() if fetch in there}
        self._show_at = now

    def _addresses(self, host: str) -> list[Address]:
        try:
            return [resolver.plain(host)]
        except ValueError:
            return sorted(self._names.addresses(host), key=str)

    def run(self, signals: Signals) -> None:
        """Fetch until TERM or INT."""
        self._poller.want(signals.fileno(), select.POLLIN)
        over = False
        while not over:
            try:
                over = self._turn(signals)
                self._going.over("fetches again", time.monotonic())
            except (OSError, MemoryError) as error:
                text = f"cannot fetch for now: {reason(error)}"
                self._going.failed(text, time.monotonic())
                self._unsettled = True
                time.sleep(PAUSE)
            except Exception as error:
                report.bug(self.path, error)
                self._unsettled = True
                time.sleep(PAUSE)
        self._names.close()
        self._wanted = {}
        self._rota.close(self._fetches.values(), self._tell)

    def _turn(self, signals: Signals) -> bool:
        """Wait, and do what there is to do; True: it is over."""
        now = time.monotonic()
        if self._unsettled:
            self._unsettled = False
            for fetch in self._fetches.values():
                self._rota.settle(fetch, now)
        self._look_up(now)
        happened = self._poller.wait(self._timeout(now))
        self._turns.start()
        over = self._answer(signals.take())  # before what may end a connection that they are about
        self._turns.done(f"{self.path}: signals")
        for fd, events in happened:
            self._turns.start()
            now = time.monotonic()
            if fd == self._looking:
                self._collect(fd, now)
            else:
                self._rota.happened(fd, events, now)
            self._turns.done(f"{self.path}: news of a source, or names")
        self._turns.start()
        self._tend(time.monotonic())
        self._turns.done(f"{self.path}: what is due")
        return over

    def _answer(self, came: list[int]) -> bool:
        """Do what signals ask for; True: it is over."""
        if signal.SIGCHLD in came:
            _reap()
        if signal.SIGHUP in came or time.monotonic() >= self._read_at:
            presence.hurry()
            self._read_again()
        if signal.SIGUSR1 in came:
            for fetch in self._fetches.values():
                self._rota.let(fetch, fetch.reopen)
        return signal.SIGTERM in came or signal.SIGINT in came

    def _read_again(self) -> None:
        """Read the configuration; what cannot be read for now, once more after a pause."""
        found: list[list[Source]] = []
        unread: list[str] = []
        self._read_at = inf
        self._asked += 1
        asked = self._asked

        def work() -> None:
            try:
                found.append(read(self.path))
            except ConfigError as error:
                if isinstance(error, Unreadable):
                    unread.append(str(error))
                for line in str(error).splitlines() if unread != [self._unreadable] else ():
                    self._say("critical", f"{line} (the old configuration stays in force)")

        def then(now: float) -> None:
            if asked == self._asked:
                self._unreadable = unread[0] if unread else None
                self._read_at = now + PAUSE if unread else inf
            if found and asked == self._asked:
                self.take(found[0], now)
                holds = counted(len(self._wanted), "source", "sources")
                self._say("info", f"{self.path}: read again, {holds}")

        self._rota.beside(work, then)

    def _tend(self, now: float) -> None:
        """Do what is due."""
        self._rota.tend(now)
        due = now >= self._board.due or (self._show_at is not None and now >= self._show_at)
        if due and not self._showing:
            self._show_at, self._showing = None, True
            show = partial(self._board.show, [*self._fetches.values(), *self._rota.leaving], now)
            self._rota.beside(show, self._shown)
        if now >= self._tend_at:
            self._tend_at = now + REFRESH
            report.tend()
        presence.look(now)

    def _shown(self, _now: float) -> None:
        self._showing = False

    def _changed(self, fetch: Fetch, now: float) -> None:
        """A source may have something new for SNMP."""
        state = (fetch.error, fetch.tried)
        if self._states.get(fetch) != state:
            self._states[fetch] = state
            self._show_at = self._show_at or now + SHOW

    def _timeout(self, now: float) -> float:
        times = [self._rota.due(now), self._read_at]
        times.append(self._look_at if self._looking is None else now + REFRESH)
        if not self._showing:
            times.append(self._board.due)
            if self._show_at is not None:
                times.append(self._show_at)
        return max(0.0, min(times) - now) + 0.0005

    def _collect(self, fd: int, now: float) -> None:
        """Answers of the name server have come."""
        if self._names.collect():
            self._poller.forget(fd)
            self._looking = None
        for fetch in self._fetches.values():
            if fetch.source.is_name:
                self._rota.tell(fetch, fetch.named, now)

    def _look_up(self, now: float) -> None:
        if self._looking is not None or now < self._look_at:
            return
        self._look_at = now + REFRESH
        wanted = sorted({source.host for source in self._wanted.values() if source.is_name})
        if not wanted:
            return
        try:
            self._looking = self._names.start(wanted)
            self._poller.want(self._looking, select.POLLIN)
            self._resolving.over("names are looked up again", now)
        except (OSError, MemoryError) as error:
            self._stop_looking()
            self._look_at = now + PAUSE
            self._resolving.failed(f"cannot look up names: {reason(error)}", now)

    def _stop_looking(self) -> None:
        """One look-up at a time: the next one begins at once."""
        if self._looking is not None:
            self._poller.forget(self._looking)
        self._names.close()
        self._looking, self._look_at = None, 0.0


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def tell_all(source: Source | None, level: str, text: str) -> None:
    """A message, about a source or about all."""
    about = f"{source.host} {source.remote} " if source is not None else ""
    report.say(level, f"{about}{text}", source.host if source is not None else None)
