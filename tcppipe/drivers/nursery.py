"""The children of a keeper: one for each pipe, started when its time has come, and reaped.

A child is started again when it crashed, later each time, and forgotten when it ended because its
file is gone, which the child decides.  Nothing that a child waits for holds its parent up: names
are looked up beside, and what cannot be had for now (a process, memory) is asked for again.
A child that dies hurts no other.  When the parent is gone its children end by themselves.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from tcppipe.conf.pipelist import Line
from tcppipe.drivers.backoff import Bounds, spread
from tcppipe.drivers.kept import LEAVE, Strings
from tcppipe.drivers.outages import Hearer, Outages
from tcppipe.drivers.wanted import Key, Listed, Options
from tcppipe.errors import place, reason
from tcppipe.net.dial import Dialler, Diallers
from tcppipe.process import report
from tcppipe.process.children import Children
from tcppipe.process.owner import owner
from tcppipe.process.signals import FAILED, TOLD, Signals

AT_ONCE = 25  # children that are started in one go
PAUSE = 0.05  # seconds from one go to the next
# How long to wait before a child is started again, in seconds: at first, and at most.
CRASHED = (0.5, 60.0)
BUSY = (2.0, 60.0)
STEADY = 60.0  # seconds after which a child that crashes is one that crashes for the first time

P = TypeVar("P", bound=Listed)
Prepared = TypeVar("Prepared")


class Child(Generic[P]):
    """What the parent knows of one pipe.  pid: None while it waits to be started."""

    __slots__ = ("failures", "line", "pid", "pipe", "since", "start_at", "told")

    def __init__(self, line: Line, pipe: P) -> None:
        self.line, self.pipe = line, pipe
        self.pid: int | None = None
        self.since = self.start_at = 0.0
        self.failures = 0
        self.told: int | None = None  # what was sent to it: it is to end

    def is_of(self, line: Line) -> bool:
        """Does this line still list the pipe, whether its file is there or not?"""
        mine = self.line
        return line.pattern == mine.pattern and all(
            line.options.get(key) == mine.options.get(key) for key in "hp"
        )

    def pause(self, now: float, bounds: Bounds) -> float:
        """Put off the start, for longer each time; the seconds until then."""
        first, most = bounds
        seconds = min(most, first * 2.0 ** min(self.failures, 20)) * spread(0.6, 1.0)
        self.failures += 1
        self.start_at = now + seconds
        return seconds

    def tell(self, signum: int) -> None:
        """Send it a signal that ends it, once."""
        if self.pid is not None and self.told not in (signum, signal.SIGTERM):
            self.told = signum
            os.kill(self.pid, signum)


class Nursery(Generic[P, Prepared]):
    """prepare(pipe, resend, dialler, lines): what a child needs for one pipe; made in the parent,
    because whatever runs in a child unshares memory.  feed(prepared, signals): in a child, feed the
    pipe, and return its exit status.

    pipes: the Child of each.  waiting: those without a process.  forget: called in a child.
    """

    def __init__(
        self,
        outages: Outages[Key],
        signals: Signals,
        prepare: Callable[[P, bool, Dialler, Strings], Prepared],
        feed: Callable[[Prepared, Signals], int],
        forget: Callable[[], None],
    ) -> None:
        self.pipes: dict[Key, Child[P]] = {}
        self.waiting: set[Key] = set()
        self.children = Children()
        self.diallers = Diallers(self.children)
        self._outages = outages
        self._signals = signals
        self._prepare = prepare
        self._feed = feed
        self._forget = forget
        lifeline, self._held = os.pipe()
        self.ear, mouth = os.pipe()
        os.set_blocking(self.ear, False)
        os.set_blocking(mouth, False)
        self._lines = Strings(lifeline, mouth)
        self._hearer = Hearer(self.ear, outages)
        self._resent: set[Key] = set()  # pipes that were started with -n once

    def hear(self, now: float) -> None:
        """Children have told something."""
        living = {child.pid: key for key, child in self.pipes.items() if child.pid is not None}
        self._hearer.hear(living, now)

    # --- what is wanted

    def want(self, key: Key, line: Line, pipe: P) -> None:
        """A pipe goes on, or is started soon; with other options it is started again."""
        child = self.pipes.get(key)
        if child is None:
            self.pipes[key] = Child(line, pipe)
            self.waiting.add(key)
            return
        before, after = _options(child.line), _options(line)
        resend = "n" in line.options and "n" not in child.line.options
        child.line = line
        if before == after and not resend:
            return
        child.pipe = pipe
        self._resent.discard(key)
        child.tell(signal.SIGTERM)

    def unwanted(self, key: Key, lines: Iterable[Line]) -> None:
        """A pipe has no file now, or is not among these lines any more."""
        child = self.pipes[key]
        if child.pid is None:
            self._drop(key)
            self._outages.works(key)
        elif not any(map(child.is_of, lines)):
            child.tell(signal.SIGTERM)
        elif os.path.lexists(key[2]):
            child.tell(LEAVE)

    def _drop(self, key: Key) -> None:
        del self.pipes[key]
        self.waiting.discard(key)

    def hurry(self) -> None:
        """Whoever waits waits no longer."""
        for key in self.waiting:
            self.pipes[key].start_at = self.pipes[key].failures = 0

    # --- starting

    def start_due(self, now: float) -> float:
        """Start some of those that are due; the time when there is something to start next."""
        due = [key for key in self.waiting if self._start_at(key, now) <= now]
        self._start([key for key in due[:AT_ONCE] if self._is_free(key, now)], now)
        if len(due) > AT_ONCE:
            return now + PAUSE
        return min((self._start_at(key, now) for key in self.waiting), default=float("inf"))

    def _start_at(self, key: Key, now: float) -> float:
        """When a pipe is to be started: after its pause, and after its host's name is known."""
        start_at = self.pipes[key].start_at
        return start_at if start_at > now else self.diallers.ready_at(key[0], key[1], now)

    def _is_free(self, key: Key, now: float) -> bool:
        """True unless somebody else runs this pipe; then it is asked for again later."""
        child = self.pipes[key]
        try:
            pid = owner(child.pipe.pidfile)
        except OSError as error:
            self._cannot(key, now, error)
            return False
        if pid is None:
            return True
        if not child.failures:
            report.warning(f"{key[2]}: tcppipe runs already for this file and host, pid {pid}")
        child.pause(now, BUSY)
        return False

    def _cannot(self, key: Key, now: float, error: OSError) -> None:
        self._outages.lost(key, f"cannot start, tries again: {reason(error)}", now, "error")
        self.pipes[key].pause(now, CRASHED)

    def _start(self, keys: list[Key], now: float) -> None:
        prepared = [self._prepared(key) for key in keys]
        try:
            pids, number = self._signals.fork_many(len(keys))
        except OSError as error:
            for key in keys:
                self._cannot(key, now, error)
            return
        if number is not None:
            self._be(keys[number][2], prepared[number])
        for key, pid in zip(keys, pids):
            child = self.pipes[key]
            child.pid, child.since, child.told = pid, now, None
            self.waiting.discard(key)
            self.children.add(pid, key)
            if child.pipe.resend:
                self._resent.add(key)

    def _prepared(self, key: Key) -> Prepared:
        pipe = self.pipes[key].pipe
        resend = pipe.resend and key not in self._resent
        dialler = self.diallers.of(pipe.host, pipe.port)
        return self._prepare(pipe, resend, dialler, self._lines)

    # --- what becomes of them

    def reap(self, wanted: Iterable[Key], now: float) -> bool:
        """Take leave of those that have ended; True: of a pipe that is no longer one."""
        gone = False
        for pid, status, key in self.children.reap():
            if key is None:
                continue
            if status != TOLD:
                self._outages.works(key)  # what comes next is another's business
            child = self.pipes[key]
            told, child.pid, child.told = child.told, None, None
            self.waiting.add(key)
            if told is not None and key in wanted:
                child.start_at = child.failures = 0
            elif told is not None or status == 0:
                self._drop(key)  # until the name matches again
                gone = True
            else:
                self._failed(key, child, pid, status, now)
        return gone

    def _failed(self, key: Key, child: Child[P], pid: int, status: int, now: float) -> None:
        if status == TOLD:
            child.pause(now, CRASHED)
            return
        if now - child.since > STEADY:
            child.failures = 0
        seconds = child.pause(now, CRASHED)
        if status < 0:
            what = f"was killed by signal {-status}; starts again in {seconds:.1f} s"
        else:
            what = f"has crashed ({status}); starts again in {seconds:.1f} s"
        report.warning(f"{key[2]}: process {pid} {what}")

    # --- child: from here on in a process of its own

    def _be(self, path: str, prepared: Prepared) -> None:
        """Feed this pipe.  Never returns."""
        status = FAILED
        try:
            gc.freeze()
            os.close(self._held)
            os.close(self.ear)
            self._forget()
            self.diallers.forget()
            self.children.forget()
            status = self._feed(prepared, self._signals)
        except BaseException as error:  # a child never returns into the parent's code
            what = f"{type(error).__name__}: {error} ({place(error)})"
            report.critical(f"{path}: bug: {what}")
        finally:
            os._exit(status)


def _options(line: Line) -> Options:
    """What makes a pipe another one: not how its file was found, and not -n."""
    return {key: value for key, value in line.options.items() if key not in "fn"}
