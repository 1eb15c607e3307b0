"""Keeps a child for each pipe of a list: the parent of `tcppipe -c`.

Looks which files are there, and has a child for each, see nursery.py.  What a child does is the
business of whoever made the Keeper.
A crash leaves children that end by themselves, so that another parent can start them.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Generic

from tcppipe.drivers.kept import LEAVE, Strings
from tcppipe.drivers.nursery import Nursery, P, Prepared
from tcppipe.drivers.outages import Outages
from tcppipe.drivers.rereading import Rereading
from tcppipe.drivers.wanted import Key, Wanted
from tcppipe.errors import place, reason
from tcppipe.files.directories import NoDirectories, directories
from tcppipe.net.dial import Dialler
from tcppipe.net.poll import Poll
from tcppipe.process import presence, report
from tcppipe.process.signals import FAILED, Signals
from tcppipe.process.trouble import Trouble, counted
from tcppipe.process.turns import Turns

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, LEAVE)
LOOK = 5.0  # seconds between two looks at the directories, whatever notification says
SOON = 0.1  # seconds from a notification to the look
SHARE = 20  # a look is followed by a pause of so many times the time that it took
STOP = 10.0  # seconds that children have to end when we end
CALM = 60.0  # seconds without a failure of ours after which it is over
GATHER = 1.0  # seconds in which pipes without a connection join one line of the log


class Keeper(Generic[P, Prepared]):
    """Keeps the pipes of a Wanted that was read.  prepare, feed: see Nursery."""

    def __init__(
        self,
        wanted: Wanted[P],
        signals: Signals,
        prepare: Callable[[P, bool, Dialler, Strings], Prepared],
        feed: Callable[[Prepared, Signals], int],
    ) -> None:
        self.wanted = wanted
        self._signals = signals
        self._outages: Outages[Key] = Outages(report.say, GATHER, path_of=lambda key: key[2])
        self._nursery = Nursery(
            self._outages, signals, prepare, feed, lambda: self._watcher.close()
        )
        self._watcher = NoDirectories()
        self._pid = os.getpid()
        self._turns = Turns(report.say)
        self._look_at = self._not_before = 0.0
        self._list = Rereading(wanted.path, self._read, "list")
        self._news = False  # something came or went since the last look
        self._stopping = False
        self._said: set[str] = set()  # errors of files, said once
        self._troubles = {
            level: Trouble(report.say, level, CALM) for level in ("error", "critical")
        }

    def run(self) -> None:
        """Keep the pipes until TERM or INT."""
        self._turns.start()
        self._guarded(self._begin)
        self._turns.start()
        while not self._stopping:
            self._guarded(self._turn)
        self._stop()

    def _begin(self) -> None:
        self._look(time.monotonic())
        for line in self.wanted.lines:
            if not any(source is line for source, _pipe in self.wanted.pipes.values()):
                report.info(f"{self.wanted.path}:{line.line}: no such file yet: {line.pattern}")
        gc.collect()
        gc.freeze()  # else a collection in a child would write to all that it shares with us

    def _guarded(self, step: Callable[[], None]) -> None:
        """Whatever goes wrong with us, the pipes go on."""
        try:
            step()
            for trouble in self._troubles.values():
                trouble.over(f"{self.wanted.path}: goes on without trouble", time.monotonic())
        except Exception as error:
            passing = isinstance(error, (OSError, MemoryError))
            what = reason(error) if passing else f"bug: {type(error).__name__}: {error}"
            text = f"{self.wanted.path}: {what} ({place(error)}); goes on"
            if os.getpid() != self._pid:  # a child never does
                report.critical(text)
                os._exit(FAILED)
            self._troubles["error" if passing else "critical"].failed(text, time.monotonic())
            time.sleep(1.0)  # it may be the waiting that fails

    def _turn(self) -> None:
        """Wait until something happens or is due, and do what follows."""
        now = time.monotonic()
        if self._list.again(now):
            self._begin_anew()
        if now >= self._look_at:
            self._look_again(now)
            self._turns.done(f"{self.wanted.path}: a look at the directories")
        start_at = self._nursery.start_due(now)
        due = min(start_at, self._look_at, self._list.at, self._outages.due())
        self._turns.done(f"{self.wanted.path}: starting pipes")
        self._wait(due - now)

    def _wait(self, seconds: float) -> None:
        poll, nursery = Poll(), self._nursery
        for fd in (self._signals.fileno(), nursery.ear, *nursery.diallers.descriptors()):
            poll.register(fd, select.POLLIN)
        if self._watcher.fileno() >= 0 and not self._news:
            poll.register(self._watcher.fileno(), select.POLLIN)
        ready = dict(poll.poll(max(0.0, seconds) * 1000 + 1))
        self._turns.start()
        now = time.monotonic()
        if self._watcher.fileno() in ready:
            self._news = True
            soon = max(now + SOON, self._not_before)
            self._look_at = min(self._look_at, soon)
        if nursery.ear in ready:
            nursery.hear(now)
        nursery.diallers.tend(now)
        self._answer(self._signals.take())
        self._outages.tend(now)
        report.tend()
        presence.look(now)
        self._turns.done(f"{self.wanted.path}: signals and news of pipes")

    def _answer(self, came: list[int]) -> None:
        if signal.SIGCHLD in came:
            self._reap()
        if signal.SIGHUP in came:
            presence.hurry()
            self._hup()
        if signal.SIGUSR1 in came:
            report.info(f"{self.wanted.path}: {self._where()}")
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._stopping = True

    def _where(self) -> str:
        """How things stand, in words."""
        words = [
            self.wanted.holds,
            counted(len(self._nursery.pipes), "pipe", "pipes"),
        ]
        if self._nursery.waiting:
            words.append(f"{len(self._nursery.waiting)} wait to be started")
        if self._outages.down:
            words.append(f"{self._outages.down} not connected")
        return ", ".join(words)

    # --- what is wanted

    def _look_again(self, now: float) -> None:
        if not self._news and self.wanted.unchanged(now):
            self._look_at = now + LOOK
        else:
            self._look(now)

    def _look(self, now: float) -> None:
        """See what is wanted, and have it: new pipes are started soon, others are told."""
        self._news = False
        self._look_at = now + LOOK
        if self._watcher.fileno() < 0:
            self._watcher = self._directories()
        self._watcher.drain()
        nursery, wanted = self._nursery, self.wanted
        try:
            wanted.look(now, nursery.pipes)
        except OSError as error:
            self._say_once(f"{wanted.path}: cannot look for files: {reason(error)}")
            return
        self._watcher.keep(wanted.directories)
        for key, (line, pipe) in wanted.pipes.items():
            nursery.want(key, line, pipe)
        for key in nursery.pipes.keys() - wanted.pipes.keys():
            nursery.unwanted(key, wanted.lines)
        for text in wanted.errors:
            self._say_once(text)
        took = time.monotonic() - now
        self._not_before = now + SHARE * took
        self._look_at = now + LOOK

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            report.error(text)

    def _directories(self) -> NoDirectories:
        try:
            return directories()
        except (OSError, ImportError) as error:
            why = reason(error)
            self._say_once(f"{self.wanted.path}: no notification, looks every few seconds: {why}")
            return NoDirectories()

    # --- what signals tell

    def _reap(self) -> None:
        now = time.monotonic()
        if self._nursery.reap(self.wanted.pipes, now):
            self._look_at = min(self._look_at, now + 1.0)
            self.wanted.doubt()

    def _hup(self) -> None:
        self._said = set()
        self._list.now()
        self._begin_anew()

    def _read(self) -> str:
        self.wanted.read()
        return self.wanted.holds

    def _begin_anew(self) -> None:
        """After HUP: whoever waits waits no longer."""
        self._nursery.hurry()
        self._look(time.monotonic())
        self._nursery.children.signal_all(signal.SIGHUP)

    def _stop(self) -> None:
        children = self._nursery.children
        self._nursery.diallers.close()
        children.signal_all(signal.SIGTERM)
        self._outages.flush()
        poll = Poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        until = time.monotonic() + STOP
        while len(children) and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._signals.take()
            children.reap()
        children.signal_all(signal.SIGKILL)
