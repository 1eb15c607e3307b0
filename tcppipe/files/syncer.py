"""Makes files durable beside the stream: a sync may take long, and nobody waits for it.

A thread does it, which lives only as long as there is something to do: a process at rest
has none, and a server that forks never has one.
Does not know what a file holds, nor what its durability allows.  A crash leaves what a
sync that was under way leaves: any part of it.
"""

import _thread
import errno
import os
from collections import deque

BEGIN = 1.0  # seconds in which a thread has to begin: where memory is short, some never do


class Sync:
    """One sync under way.  error: the OSError that it ended with, or None.

    Only what has returned has succeeded: whatever else ends it is an error.
    """

    def __init__(self, work):
        self.error = OSError(errno.EIO, "The sync did not end")
        self._work = work
        self._ended = _thread.allocate_lock()
        self._ended.acquire()

    def do(self):
        """Do it, here and now."""
        try:
            self._work()
            self.error = None
        except OSError as error:
            self.error = error
        except MemoryError:
            pass  # then it did not end
        finally:
            self._ended.release()

    @property
    def done(self):
        """True when it has ended."""
        return not self._ended.locked()

    def wait(self):
        """Wait for its end."""
        self._ended.acquire()
        self._ended.release()


class Syncer:
    """Does syncs, `most` at a time; the others wait for their turn."""

    def __init__(self, most=1):
        self._most = most
        self._threads = 0
        self._waiting = deque()
        self._lock = _thread.allocate_lock()
        self._told, self._tell = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tell, False)

    def fileno(self):
        """The descriptor that is readable when a sync has ended."""
        return self._told

    def start(self, work):
        """Begin `work`, a function that may raise OSError: a Sync."""
        sync = Sync(work)
        self._waiting.append(sync)
        with self._lock:
            begin = self._threads < self._most
            self._threads += begin
        if begin:
            begun = _thread.allocate_lock()
            begun.acquire()
            try:
                _thread.start_new_thread(self._run, (begun,))
                alive = begun.acquire(timeout=BEGIN)
            except (RuntimeError, MemoryError):
                alive = False
            if not alive:  # no thread can be had: then the stream waits this time
                self._run()
        return sync

    def _run(self, begun=None):
        if begun is not None:
            begun.release()
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads = max(0, self._threads - 1)
                    return
                sync = self._waiting.popleft()
            sync.do()
            try:
                os.write(self._tell, b"\0")
            except OSError:  # it is full, so it is readable; or we are closed
                pass

    def drain(self):
        """Forget what was told so far."""
        try:
            while len(os.read(self._told, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass
