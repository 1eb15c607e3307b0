"""A host's addresses, asked for beside a loop that has more to do.

The system's resolver can block for half a minute and cannot be interrupted; a process can be
ended.  It ends with its parent, too.  A thread would stay, and cost every forked child memory.
A crash leaves nothing behind.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys
from functools import partial

from tcppipe.errors import reason
from tcppipe.net.connect import Target
from tcppipe.net.forks import fork
from tcppipe.net.poll import Poll
from tcppipe.process.children import Children

DEATHSIG = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def numeric(host: str, port: int) -> list[Target]:
    """The targets of a host that is an address, or an empty list: it is a name."""
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except (OSError, ValueError, LookupError):
        return []


def _look_up(host: str, port: int, flags: int = 0) -> list[Target]:
    # as text Python loads what international names need
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, _t, _p, _n, address in found]


class LookUp:
    """The resolver is asked for a host's targets, each a (family, socket address).

    until: when tend() has to be called.  targets: the answer, or empty.  why_not: why there is
    none, in words.  children: the Children whose owner reaps the process; None: it is reaped here.
    Raises OSError when no process can be had for now.
    """

    def __init__(
        self, host: str, port: int, until: float, children: Children | None = None
    ) -> None:
        self.until = until
        self.targets: list[Target] = []
        self.why_not = "the name server does not answer"
        self._children = children
        self._answer = b""
        self._fd: int | None
        self._fd, self._pid = fork(partial(_answer, host, port, os.getpid()))
        if children is not None:
            children.add(self._pid)

    def fileno(self) -> int:
        """The descriptor, which becomes readable."""
        assert self._fd is not None
        return self._fd

    def tend(self, now: float) -> bool:
        """Take what has come.  True: it is over, by an answer or for want of one."""
        try:
            while data := os.read(self.fileno(), 65536):
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

    def close(self) -> None:
        """End it."""
        if self._fd is not None and self._alive(self._fd):
            os.kill(self._pid, signal.SIGKILL)
        self._let_go()

    def _alive(self, fd: int) -> bool:
        # While the pipe has a writer the process cannot have been reaped, so the number is its.
        poll = Poll()
        poll.register(fd, 0)
        return not poll.poll(0)

    def _let_go(self) -> None:
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        if self._children is None:
            os.waitpid(self._pid, 0)

    def forget(self) -> None:
        """In a child just forked: it is the parent's."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _answer(host: str, port: int, parent: int, writing: int) -> None:
    """The process."""
    _end_with(parent)
    answer: list[Target] | str
    try:
        answer = _look_up(host, port)
    except (OSError, ValueError, LookupError, MemoryError) as error:
        answer = reason(error)
    os.write(writing, marshal.dumps(answer))


def _end_with(parent: int) -> None:
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(DEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)  # it died before
