"""A host's addresses, asked for beside a loop that has more to do.

The system's resolver can block for half a minute and cannot be interrupted; a process can be
ended.  It ends with its parent, too.  A thread would stay, and cost every forked child memory.
A crash leaves nothing behind.
"""

import marshal
import os
import select
import signal
import socket
import sys

from tcppipe.errors import reason

DESCRIPTORS = 65536
DEATHSIG = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def numeric(host, port):
    """The targets of a host that is an address, or an empty list: it is a name."""
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except (OSError, ValueError, LookupError):
        return []


def _look_up(host, port, flags=0):
    if host.isascii():
        host = host.encode()  # else Python loads what international names need
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, _t, _p, _n, address in found]


class LookUp:
    """The resolver is asked for a host's targets, each a (family, socket address).

    until: when tend() has to be called.  targets: the answer, or empty.  why_not: why there is
    none, in words.  children: the Children whose owner reaps the process; None: it is reaped here.
    Raises OSError when no process can be had for now.
    """

    def __init__(self, host, port, until, children=None):
        self.until = until
        self.targets = []
        self.why_not = "the name server does not answer"
        self._children = children
        self._answer = b""
        self._fd, self._pid = _fork(host, port)
        if children is not None:
            children.add(self._pid)

    def fileno(self):
        """The descriptor, which becomes readable."""
        return self._fd

    def tend(self, now):
        """Take what has come.  True: it is over, by an answer or for want of one."""
        try:
            while data := os.read(self._fd, 65536):
                self._answer += data
        except BlockingIOError:
            if now < self.until:
                return False
            self.close()
            return True
        try:
            answer = marshal.loads(self._answer)
        except (EOFError, ValueError, TypeError):
            answer = "the look-up was killed"
        if isinstance(answer, list):
            self.targets = answer
        else:
            self.why_not = answer
        self._let_go()
        return True

    def close(self):
        """End it."""
        if self._fd is not None and self._alive():
            os.kill(self._pid, signal.SIGKILL)
        self._let_go()

    def _alive(self):
        # While the pipe has a writer the process cannot have been reaped, so the number is its.
        poll = select.poll()
        poll.register(self._fd, 0)
        return not poll.poll(0)

    def _let_go(self):
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        if self._children is None:
            os.waitpid(self._pid, 0)

    def forget(self):
        """In a child just forked: it is the parent's."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _fork(host, port):
    reading, writing = os.pipe()
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be(host, port, writing, parent)
        os.set_blocking(reading, False)
        return reading, pid
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _be(host, port, writing, parent):
    """The process.  Signals end it, and it holds nothing of its parent's open."""
    try:
        signal.set_wakeup_fd(-1)
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.closerange(3, writing)
        os.closerange(writing + 1, DESCRIPTORS)
        _end_with(parent)
        try:
            answer = _look_up(host, port)
        except (OSError, ValueError, LookupError, MemoryError) as error:
            answer = reason(error)
        os.write(writing, marshal.dumps(answer))
    finally:
        os._exit(0)


def _end_with(parent):
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(DEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)  # it died before
