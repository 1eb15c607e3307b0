"""What names mean: the addresses of a server's table of names.

A resolver can block for ten seconds and cannot be interrupted, so a daemon that
serves others never asks one itself.  It forks a child that asks about all names
at once and writes each answer to a pipe as it comes.
A look-up that fails changes nothing: the last good answer stays.
A crash leaves nothing behind: a look-up ends with the process that began it.
"""

from __future__ import annotations

import ipaddress
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial

from tcppipe.errors import reason
from tcppipe.net.connect import Address
from tcppipe.net.forks import fork
from tcppipe.net.poll import Poll

Forward = Callable[[str], Iterable[object]]  # the addresses of a name; may block
Facts = tuple[dict[str, list[str]], dict[str, str], float]

THREADS = 32
YOUNG = 5.0  # seconds that a look-up is not ended in favour of another one
SECONDS = 60
STACK = 1 << 20  # bytes for each thread of a look-up
LOOPBACK = frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1")))


def plain(address: object) -> Address:
    """An address as ipaddress has it: no interface, and IPv4 in IPv6 is IPv4."""
    found = ipaddress.ip_address(str(address).partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def forward(name: str) -> frozenset[Address]:
    """All addresses of a name, from the system's resolver."""
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return frozenset(plain(answer[4][0]) for answer in answers)


def reverse(address: object) -> list[str]:
    """All names of an address, from the system's resolver.  They prove nothing."""
    name, aliases, _ = socket.gethostbyaddr(str(address))
    return [name, *aliases]


class HostNames:
    """The addresses of host names, as far as they are known.

    forward(name) and reverse(address) ask a resolver and may block.  changed(name,
    old, new), if given, is told when a name's addresses are no longer what they were.
    failures: why names had no answer when they were asked last.  asked: when the last look-up
    began that has ended (seconds of the monotonic clock; 0: there was none yet).
    """

    def __init__(
        self,
        forward: Forward = forward,
        reverse: Callable[[Address], list[str]] = reverse,
        changed: Callable[[str, frozenset[Address], frozenset[Address]], None] | None = None,
    ) -> None:
        self.forward = forward
        self.reverse = reverse
        self.pid: int | None = None
        self.failures: dict[str, str] = {}
        self.asked = 0.0
        self.began = 0.0  # when the last look-up began
        self._changed = changed
        self._table: dict[str, frozenset[Address]] = {"localhost": LOOPBACK}
        self._fd: int | None = None
        self._rest = b""

    def addresses(self, name: str) -> frozenset[Address]:
        """The last good answer for a name; empty when there never was one."""
        return self._table.get(name.lower(), frozenset())

    def update(self, name: str, addresses: Iterable[object]) -> None:
        """Take an answer.  An empty one is no answer, and localhost needs none."""
        name, new = name.lower(), frozenset(map(plain, addresses))
        if new:
            self.failures.pop(name, None)
        old = self._table.get(name)
        if not new or new == old or name == "localhost":
            return
        self._table[name] = new
        if old and self._changed:
            self._changed(name, old, new)

    def known(self) -> Facts:
        """All that is known, in plain types, for learn()."""
        table = {name: list(map(str, found)) for name, found in self._table.items()}
        return table, self.failures, self.asked

    def learn(self, known: Facts) -> None:
        """Know what another one knew."""
        table, self.failures, self.asked = known
        self._table = {name: frozenset(map(plain, found)) for name, found in table.items()}

    # --- parent

    def start(self, names: Iterable[str], seconds: float = SECONDS) -> int:
        """Fork a child that looks the names up; a descriptor to poll for reading.

        The child's pid is in self.pid, to be reaped by the caller.  It ends after the given
        time at the latest, and when it is no longer listened to.  To begin anew before that,
        close() first.  Raises OSError.
        """
        assert self._fd is None, "a look-up is already under way"
        # Facts names first: whatever cannot be resolved then queues behind them.
        row = sorted({n.lower() for n in names}, key=lambda n: (n not in self._table, n))
        self._fd, self.pid = fork(partial(_look_up_all, row, self.forward, seconds))
        self._rest = b""
        self.began = time.monotonic()
        self.failures = {name: "the name server does not answer" for name in row}
        return self._fd

    def young(self, now: float) -> bool:
        """True when a look-up is under way that has to have some more time for its answers:
        whoever wants another one often would never get any."""
        return self._fd is not None and now < self.began + YOUNG

    def collect(self) -> bool:
        """Take the answers that are there, without waiting.  True: no more will come,
        and the descriptor is closed."""
        while self._fd is not None:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(line.decode("ascii"))
            if not data:
                self.asked = self.began
                self.close()
        return True

    def _take(self, line: str) -> None:
        name, *addresses = line.split()
        if addresses[:1] == ["!"]:
            self.failures[name] = line.partition(" ! ")[2]
        else:
            self.update(name, addresses)

    def close(self) -> None:
        """Take no more answers: the look-up ends.  For a forked child too, which has no use
        for them."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


# --- child


def _look_up_all(names: list[str], forward: Forward, seconds: float, writing: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)  # even if nobody can look at the clock
    import queue  # here, so that those who only fork need not load threading:
    import threading  # it would touch a hundred pages in every child

    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    turn = threading.Lock()
    ended, end = os.pipe()
    left = len(names)

    def work() -> None:
        nonlocal left
        try:
            while True:
                name = waiting.get_nowait()
                line = _answer(forward, name)
                with turn:
                    _write(writing, f"{name} {line}\n")
                    left -= 1
                    if not left:
                        os.write(end, b"x")
        except (queue.Empty, BrokenPipeError):
            pass

    _spread(work, len(names[:THREADS]))
    if names:
        poll = Poll()
        poll.register(ended, select.POLLIN)
        poll.register(writing, 0)  # an error, when nobody listens any more
        poll.poll(seconds * 1000)


def _spread(work: Callable[[], None], count: int) -> None:
    """Have it done by so many threads, or as many as there can be."""
    import threading

    threading.stack_size(STACK)
    started = 0
    try:
        for _ in range(count):
            threading.Thread(target=work, daemon=True).start()
            started += 1
    except (RuntimeError, MemoryError):
        if not started:
            work()  # one after the other


def _answer(forward: Forward, name: str) -> str:
    """What a resolver says of a name, as a line of our pipe has it."""
    try:
        return " ".join(map(str, forward(name))) or "! no address"
    except (OSError, ValueError, MemoryError) as error:
        return "! " + " ".join(reason(error).encode("ascii", "replace").decode().split())


def _write(fd: int, line: str) -> None:
    data = line.encode("ascii")
    while data:
        data = data[os.write(fd, data) :]
