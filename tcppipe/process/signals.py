"""Signals as something to read.

A handler does nothing; the kernel's interruption leaves one byte, the number of
the signal, in a pipe that the one loop selects on.  So nothing ever happens
between two instructions that did not expect it.  A signal that nobody asked for and
that would end the process without a word (somebody's USR1 to see a progress report, a
broken lease's SIGIO) is ignored.
Does not decide what a signal means.  A crash leaves nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

STRAY = ("SIGALRM", "SIGIO", "SIGPIPE", "SIGPROF", "SIGPWR", "SIGSTKFLT", "SIGUSR1", "SIGUSR2",
         "SIGVTALRM")  # fmt: skip
TOLD = 1  # the status of a child that has said why it ends
FAILED = 3  # … that could not even begin
LACKING = 64  # plus an errno: … that ends for want of something, which its parent says


def hold() -> None:
    """From now on HUP and strays wait until there are Signals: nobody is to end by one that came
    before he was ready, nor to miss it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, *_strays()})


def let_go() -> None:
    """For a process that will have no Signals: what has waited is forgotten, and HUP ends it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


class Signals:
    """The signals of this process that its loop answers.  One such object at a time."""

    def __init__(self, signums: Iterable[int]) -> None:
        """From now on these signals are read here, and strays ignored."""
        self._pair: tuple[int, int] | None = None  # (to read, to write)
        self._use(_pair())
        self._before: dict[int, Any] = {
            signum: signal.signal(signum, self._nothing) for signum in signums
        }
        for signum in _strays():
            if signal.getsignal(signum) == signal.SIG_DFL:
                signal.signal(signum, signal.SIG_IGN)  # what is held is forgotten by that
        # also what whoever started us had blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*self._before, *_strays()})

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to take."""
        assert self._pair is not None
        return self._pair[0]

    def take(self) -> list[int]:
        """The signals that came since the last time, each once, the first first.  Never waits."""
        came = b""
        while True:
            try:
                came += os.read(self.fileno(), 4096)
            except BlockingIOError:
                return [signum for signum in dict.fromkeys(came) if signum in self._before]

    def fork(self) -> int:
        """os.fork() for a child that goes on with these signals, in a pipe of its own.

        A signal for the child is never read by the parent, not even the first instant.
        """
        pids, number = self.fork_many(1)
        return pids[0] if number is None else 0

    def fork_many(self, count: int) -> tuple[list[int], int | None]:
        """Fork children as fork() does: (their pids, None) in the parent, ([], number) in a child.

        Between two forks the parent does next to nothing: what it writes to in between would
        be shared by nobody.  Raises OSError when there is not even one; there may be fewer.
        What can fail is done before the fork, so that an error is never the child's.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
        pids = []
        try:
            for number in range(count):
                pair = _pair()
                try:
                    pid = os.fork()
                except OSError:
                    _close(pair)
                    raise
                if pid == 0:
                    self._begin(pair)
                    return [], number
                _close(pair)
                pids.append(pid)
        except OSError:
            if not pids:
                raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pids, None

    def close(self) -> None:
        """Give the signals back to whoever handled them before."""
        for signum, handler in self._before.items():
            if signal.getsignal(signum) == self._nothing:
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        self._close()

    def _begin(self, pair: tuple[int, int]) -> None:
        """In a child just forked: it ends here rather than go on as its parent."""
        try:
            self._use(pair)
        except BaseException:
            os._exit(FAILED)

    def _use(self, pair: tuple[int, int]) -> None:
        self._close()
        self._pair = pair
        signal.set_wakeup_fd(pair[1], warn_on_full_buffer=False)

    def _close(self) -> None:
        if self._pair is None:
            return
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._pair[1]):
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        _close(self._pair)
        self._pair = None

    def _nothing(self, signum: int, frame: object) -> None:
        pass


def _strays() -> set[int]:
    """The signals that would end us and that nobody means so, as far as this system has them."""
    first = getattr(signal, "SIGRTMIN", None)
    named = {getattr(signal, name) for name in STRAY if hasattr(signal, name)}
    return named | {n for n in signal.valid_signals() if first is not None and n >= first}


def _pair() -> tuple[int, int]:
    """A pipe whose ends never block."""
    pair = os.pipe()
    for fd in pair:
        os.set_blocking(fd, False)
    return pair


def _close(pair: tuple[int, int]) -> None:
    for fd in pair:
        os.close(fd)
