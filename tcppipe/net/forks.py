"""A process for a question that cannot be interrupted: it has nothing of its parent's open.

It ends at once by any signal, and its parent can be started again while it still hangs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

DESCRIPTORS = 65536


def fork(work: Callable[[int], None]) -> tuple[int, int]:
    """Fork a process that calls work(writing) and ends: (a descriptor to read from, its pid).

    The descriptor never blocks.  Whoever forks reaps.  Raises OSError.
    """
    reading, writing = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be(work, writing)
        os.set_blocking(reading, False)
        return reading, pid
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _be(work: Callable[[int], None], writing: int) -> None:
    """The process.  Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.closerange(3, writing)
        os.closerange(writing + 1, DESCRIPTORS)
        work(writing)
    finally:
        os._exit(0)
