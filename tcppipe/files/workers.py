"""Does beside a loop what may wait for a disk: nobody else waits for it.

Threads do it, which live only as long as there is something to do, or little longer: a process
at rest has none, and a server that forks never has one.  One that has worked on the same thing
for long counts no more: whoever has the loop gets others in its place by tend(), so however many
disks do not answer, there is always somebody for the rest.
Does not know what the work is.  A crash leaves what work under way leaves: any part of it.
"""

from __future__ import annotations

import _thread
import errno
import os
import time
from _queue import Empty, SimpleQueue  # of the module queue, which loads much more
from _thread import LockType
from collections.abc import Callable
from math import inf

from tcppipe.process import report

BEGIN = 0.4  # seconds in which a thread has to begin: where memory is short, some never do
STUCK = 0.05  # seconds after which a thread does not count any more
MORE = 2  # threads for each that does not: many disks may have stopped at the same time
PAUSE = 1.0  # seconds until a thread that could not be had is asked for again


class Job:
    """Something under way.  error: the OSError that it ended with, or None.

    Only what has returned has succeeded: whatever else ends it is an error.  What is no OSError
    is a bug, and said.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self.error: OSError | None = OSError(errno.EIO, "The sync did not end")
        self.began: float | None = None  # when a thread began with it
        self._work = work
        self._ended = _thread.allocate_lock()
        self._ended.acquire()

    def do(self) -> None:
        """Do it, here and now."""
        try:
            self._work()
            self.error = None
        except OSError as error:
            self.error = error
        except MemoryError:
            pass  # then it did not end
        except Exception as error:  # a bug in one thing is not the end of all others
            report.bug("a thread", error)
        finally:
            self._ended.release()

    @property
    def done(self) -> bool:
        """True when it has ended."""
        return not self._ended.locked()

    def wait(self) -> None:
        """Wait for its end."""
        self._ended.acquire()
        self._ended.release()


class Workers:
    """Do jobs, `most` at a time; the others wait for their turn.

    idle: seconds that a thread without work stays.
    """

    def __init__(self, most: int = 1, idle: float = 0.0) -> None:
        self._most = most
        self._idle = idle
        self._threads = 0
        self._waiting: SimpleQueue[Job] = SimpleQueue()
        self._under_way: set[Job] = set()
        self._lock = _thread.allocate_lock()  # for the numbers of the threads and what they do
        self._retry_at = 0.0
        self._told, self._tell = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tell, False)

    def fileno(self) -> int:
        """The descriptor that is readable when a job has ended."""
        return self._told

    def start(self, work: Callable[[], object]) -> Job:
        """Begin `work`, a function that may raise OSError: a Job."""
        job = Job(work)
        with self._lock:
            self._waiting.put(job)
            wanted = self._waiting.qsize() + len(self._under_way)
            begin = self._threads < min(self._most, wanted)
        if begin:
            self._begin()
        return job

    def _begin(self) -> bool:
        """Begin a thread; False when none can be had."""
        begun = _thread.allocate_lock()
        begun.acquire()
        try:
            _thread.start_new_thread(self._run, (begun,))
            alive = begun.acquire(timeout=BEGIN)
        except (RuntimeError, MemoryError):
            alive = False
        if not alive and not self._threads:
            self._run()  # then the loop waits this time
        return alive

    def due(self, now: float) -> float:
        """When tend() has something to do."""
        if self._waiting.empty():
            return inf
        with self._lock:
            free = self._threads - self._stuck(now)
            ripe = [at for began in self._begun if (at := began + STUCK) > now]
        return max(self._retry_at, min(ripe, default=now + STUCK) if free > 0 else now)

    def tend(self, now: float) -> bool:
        """Get threads in the place of those that do not come back.  False: there are none."""
        if self._waiting.empty() or now < self._retry_at:
            return True
        with self._lock:
            stuck = self._stuck(now)
            more = min(self._most + MORE * stuck - self._threads, self._waiting.qsize())
            if self._threads - stuck >= self._most:
                more = 0
        for _ in range(more):
            if not self._begin():
                self._retry_at = now + PAUSE
                return False
        return True

    def _stuck(self, now: float) -> int:
        """How many threads do not count for now.  With the lock held."""
        return sum(now >= began + STUCK for began in self._begun)

    @property
    def _begun(self) -> list[float]:
        """When what is under way was begun."""
        return [job.began for job in self._under_way if job.began is not None]

    def _run(self, begun: LockType | None = None) -> None:
        with self._lock:
            self._threads += 1
        if begun is not None:
            begun.release()
        # Without a thread it is the loop that works, which has no time for what may come later.
        idle = self._idle if begun is not None else 0.0
        try:
            while job := self._next(idle):
                self._do(job)
        except BaseException:
            with self._lock:  # it ends, and counts no more: others come in its place
                self._threads -= 1
            raise

    def _do(self, job: Job) -> None:
        try:
            job.began = time.monotonic()
            with self._lock:
                self._under_way.add(job)
        except MemoryError:
            pass  # it is done all the same
        try:
            job.do()
        finally:
            with self._lock:
                self._under_way.discard(job)
            try:
                os.write(self._tell, b"\0")
            except OSError:  # it is full, so it is readable; or we are closed
                pass

    def _next(self, idle: float) -> Job | None:
        """What is to be done next; None: nothing for long, and the thread is not counted."""
        while True:
            with self._lock:
                enough = self._threads - self._stuck(time.monotonic()) > self._most
            try:
                return self._waiting.get(timeout=0.0 if enough else idle)
            except Empty:
                with self._lock:
                    if self._waiting.empty():
                        self._threads -= 1
                        return None

    def drain(self) -> None:
        """Forget what was told so far."""
        try:
            while len(os.read(self._told, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass
