"""Whose turn it is: each source of fetch_logs has its turns in threads, one after the other.

A turn may wait for a disk as long as it likes: the loop goes on with the others meanwhile, and
lets the server know that we live.  What happens to a source while it has a turn waits for its
next one, so a source never meets itself.
Each source has its place in a heap of due times and at most one descriptor in the system's poll;
nothing is done for those that have neither news nor anything due.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, Protocol, TypeVar

from tcppipe.conf.fetch import Source
from tcppipe.drivers.poller import Poller
from tcppipe.files.workers import Job, Workers
from tcppipe.net.poll import Poll
from tcppipe.process.trouble import Say, Trouble, duration

IDLE = 10.0  # seconds that a thread without work stays
SYNCS = 8  # files that are made durable at the same time
HELD = 10.0  # seconds after which it is said, and said again, that a turn takes long
LOOK = 1.0  # seconds between two looks for such turns
CALM = 60.0  # seconds without want of a thread after which it is over
STOP = 10.0  # seconds that we wait at our end for a disk that does not answer


Step = Callable[[float], object]  # a function of the time


def _nothing(_now: float) -> None:
    pass


class Turned(Protocol):
    """Who has turns: drivers/fetch."""

    @property
    def source(self) -> Source:
        """The line that it is of."""

    @property
    def syncing(self) -> bool:
        """True when it waits for the syncer."""

    def fileno(self) -> int:
        """The descriptor to wait on, or -1."""

    def events(self) -> int:
        """What to wait for on it."""

    def due(self, now: float) -> float:
        """When tend() has something to do at the latest."""

    def ready(self, events: int, now: float) -> None:
        """Something happened to the descriptor."""

    def tend(self, now: float) -> None:
        """Something is due."""

    def give_up(self, error: OSError, now: float) -> None:
        """It cannot be waited for."""

    def held(self, why: str) -> None:
        """A turn takes long, for this reason."""

    def turned(self, took: float, now: float) -> None:
        """A turn is over that took so many seconds."""

    def close(self, now: float, /) -> None:
        """Let go of everything."""


F = TypeVar("F", bound=Turned)


class Taken:
    """A turn that somebody has taken.  later: what is to be done in the next one."""

    __slots__ = ("held_at", "job", "later", "since")

    def __init__(self, job: Job, now: float) -> None:
        self.job = job
        self.since = now
        self.held_at = now + HELD
        self.later: list[Step] = []


class Rota(Generic[F]):
    """The turns of Fetches.  poller: the loop's.  say: a function (level, text).

    changed: a function (fetch, now), called after each turn.
    syncer: the Workers that make files durable, beside the turns.
    """

    def __init__(self, poller: Poller, say: Say, changed: Callable[[F, float], None]) -> None:
        self._poller = poller
        self._changed = changed
        self._workers = Workers(1, IDLE)
        self.syncer = Workers(SYNCS)
        self._turns: dict[F, Taken] = {}  # of those who have one
        self._over: deque[F] = deque()  # whose turn has ended
        self._next: deque[Step] = deque()  # what follows other jobs that have ended
        self.leaving: dict[F, Step] = {}  # who will have no other turn, and what follows
        self._by_fd: dict[int, F] = {}
        self._fds: dict[F, int] = {}  # the descriptor of each that is in the poll
        self._syncing: set[F] = set()  # those that wait for the syncer
        self._heap: list[tuple[float, int, F]] = []
        self._wake: dict[F, float] = {}  # the time that counts of those in the heap
        self._order = itertools.count()
        self._look_at = 0.0
        self._threadless = Trouble(say, "error", CALM)
        for pool in (self._workers, self.syncer):
            poller.want(pool.fileno(), select.POLLIN)

    # --- turns

    def let(self, fetch: F, step: Step) -> None:
        """Let it do `step`, a function of the time, in its next turn."""
        turn = self._turns.get(fetch)
        if turn is None:
            self._begin(fetch, [step])
        elif step not in turn.later:
            turn.later.append(step)

    def tell(self, fetch: F, step: Step, now: float) -> None:
        """The same with a step that waits for nothing: at once, unless it has a turn."""
        if fetch in self._turns:
            self.let(fetch, step)
        else:
            step(now)
            self.settle(fetch, now)

    def leave(self, fetch: F, then: Step = _nothing) -> None:
        """This is its last turn; then (in the loop) then(now)."""
        self.leaving[fetch] = then
        self.let(fetch, fetch.close)

    def beside(self, work: Callable[[], None], then: Step) -> None:
        """Do something else that may wait for a disk, then (in the loop) then(now)."""

        def job() -> None:
            try:
                work()
            finally:
                self._next.append(then)

        self._workers.start(job)

    def _begin(self, fetch: F, steps: list[Step]) -> None:
        self._wake.pop(fetch, None)
        self._syncing.discard(fetch)
        fd = self._fds.pop(fetch, None)
        if fd is not None:
            del self._by_fd[fd]
            self._poller.forget(fd)

        def work() -> None:
            try:
                for step in steps:
                    step(time.monotonic())
            finally:
                self._over.append(fetch)

        self._turns[fetch] = Taken(self._workers.start(work), time.monotonic())

    def _ended(self, now: float) -> None:
        self._workers.drain()
        while self._over:
            fetch = self._over.popleft()
            turn = self._turns.pop(fetch)
            fetch.turned(now - turn.since, now)
            if turn.later:
                self._begin(fetch, turn.later)
            elif fetch in self.leaving:
                self.leaving.pop(fetch)(now)
            else:
                self.settle(fetch, now)
                self._changed(fetch, now)
        while self._next:
            self._next.popleft()(now)

    # --- who waits for what

    def settle(self, fetch: F, now: float) -> None:
        """What a source waits for now, if it has no turn."""
        if fetch in self._turns:
            return
        fd = fetch.fileno()
        if fd >= 0:
            try:
                self._poller.want(fd, fetch.events())
            except OSError as error:
                self.let(fetch, partial(fetch.give_up, error))
                return
            self._fds[fetch] = fd
            self._by_fd[fd] = fetch
        if fetch.syncing:
            self._syncing.add(fetch)
        due = fetch.due(now)
        if self._wake.get(fetch, due + 1.0) > due:
            self._wake[fetch] = due
            heapq.heappush(self._heap, (due, next(self._order), fetch))

    def happened(self, fd: int, events: int, now: float) -> None:
        """Something happened to a descriptor, if it is one of ours."""
        if fd in self._by_fd:
            fetch = self._by_fd[fd]
            self.let(fetch, partial(fetch.ready, events))
        elif fd == self.syncer.fileno():
            self.syncer.drain()
            for fetch in list(self._syncing):
                if fetch.due(now) <= now:
                    self.let(fetch, fetch.tend)

    def due(self, now: float) -> float:
        """When tend() has something to do at the latest."""
        times = [self._workers.due(now), self.syncer.due(now)]
        if self._turns:
            times.append(self._look_at)
        if self._heap:
            times.append(self._heap[0][0])
        return min(times)

    def tend(self, now: float) -> None:
        """Do what is due; then those whose turn is over wait for the next, for which what
        happened on their links meanwhile comes before what is due."""
        ripe = []
        while self._heap and self._heap[0][0] <= now:
            due, _order, fetch = heapq.heappop(self._heap)
            if self._wake.get(fetch) == due:  # else another time counts
                del self._wake[fetch]
                ripe.append(fetch)
        for fetch in ripe:
            if fetch.due(now) <= now:
                self.let(fetch, fetch.tend)
            else:
                self.settle(fetch, now)
        self._tend_threads(now)
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._look(now)
        self._ended(now)

    def _tend_threads(self, now: float) -> None:
        if all([pool.tend(now) for pool in (self._workers, self.syncer)]):
            self._threadless.over("threads can be had again", now)
        else:
            self._threadless.failed("no thread can be had: a slow disk makes all files wait", now)

    def _look(self, now: float) -> None:
        """A turn that takes long is said: to people, and to the server, lest it take us for dead."""
        for fetch, turn in self._turns.items():
            if now >= turn.held_at:
                turn.held_at = now + HELD
                what = "a disk has not answered"
                if turn.job.began is None:
                    what = "no thread could be had"
                fetch.held(f"{what} for {duration(now - turn.since)}")
                self._changed(fetch, now)

    # --- the end

    def close(self, fetches: Iterable[F], say: Callable[[Source, str, str], None]) -> None:
        """Let all of them go, and wait for that, but not for a disk that does not answer."""
        poll = Poll()
        for pool in (self._workers, self.syncer):
            poll.register(pool.fileno(), select.POLLIN)
        for fetch in fetches:
            self.leave(fetch)
        until = time.monotonic() + STOP
        while self._turns and (now := time.monotonic()) < until:
            pools = min(self._workers.due(now), self.syncer.due(now), until)
            poll.poll(max(0.0, pools - now) * 1000 + 0.5)
            now = time.monotonic()
            if self._over or self._next:
                until = now + STOP
            self.syncer.drain()
            self._tend_threads(now)
            self._ended(now)
        for fetch in self._turns:
            say(fetch.source, "error", "a disk does not answer: ends without it")
