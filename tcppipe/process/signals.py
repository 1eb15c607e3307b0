"""Signals as something to read.

A handler does nothing; the kernel's interruption leaves one byte, the number of
the signal, in a pipe that the one loop selects on.  So nothing ever happens
between two instructions that did not expect it.
Does not decide what a signal means.  A crash leaves nothing.
"""

import os
import signal


class Signals:
    """The signals of this process that its loop answers.  One such object at a time."""

    def __init__(self, signums):
        """From now on these signals are read here.  SIGPIPE is ignored."""
        self._read = self._write = None
        self._open()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._before = {signum: signal.signal(signum, self._nothing) for signum in signums}

    def fileno(self):
        """The descriptor that is readable when there is something to take."""
        return self._read

    def take(self):
        """The signals that came since the last time, each once, the first first.  Never waits."""
        came = b""
        while True:
            try:
                came += os.read(self._read, 4096)
            except BlockingIOError:
                return [signum for signum in dict.fromkeys(came) if signum in self._before]

    def fork(self):
        """os.fork() for a child that goes on with these signals, in a pipe of its own.

        A signal for the child is never read by the parent, not even the first instant.
        """
        pids, number = self.fork_many(1)
        return pids[0] if number is None else 0

    def fork_many(self, count):
        """Fork children as fork() does: (their pids, None) in the parent, (None, number) in a child.

        Between two forks the parent does next to nothing: what it writes to in between would
        be shared by nobody.  Raises OSError when there is not even one; there may be fewer.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
        pids = []
        try:
            for number in range(count):
                pid = os.fork()
                if pid == 0:
                    self._open()
                    return None, number
                pids.append(pid)
        except OSError:
            if not pids:
                raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pids, None

    def close(self):
        """Give the signals back to whoever handled them before."""
        for signum, handler in self._before.items():
            if signal.getsignal(signum) == self._nothing:
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        self._close()

    def _open(self):
        self._close()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def _close(self):
        if self._read is None:
            return
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._write):
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        os.close(self._read)
        os.close(self._write)
        self._read = self._write = None

    def _nothing(self, signum, frame):
        pass
