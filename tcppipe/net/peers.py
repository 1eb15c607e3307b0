"""Who is at the other end, by its address.

A resolver can block for ten seconds and cannot be interrupted, so a daemon that
serves others never asks one itself.  It forks a child that asks about all names
at once and writes each answer to a pipe as it comes.  The child of a single
connection asks itself only what its parent cannot know: which names an address has.
A look-up that fails changes nothing: the last good answer stays.  What nobody can
answer for now is no "no" (Unknown).
Does not decide what a peer may send.  A crash leaves nothing behind: a look-up ends with
the process that began it.
"""

import ipaddress
import os
import select
import signal
import socket
import time

from tcppipe.conf import grammar
from tcppipe.errors import TcppipeError, reason

THREADS = 32
YOUNG = 5.0  # seconds that a look-up is not ended in favour of another one
SECONDS = 60
CLAIMS = 8
DESCRIPTORS = 65536
STACK = 1 << 20  # bytes for each thread of a look-up
LOOPBACK = frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1")))


class Unknown(TcppipeError):
    """Nobody can say for now whether a peer is a host."""


def plain(address):
    """An address as ipaddress has it: no interface, and IPv4 in IPv6 is IPv4."""
    address = ipaddress.ip_address(str(address).partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def forward(name):
    """All addresses of a name, from the system's resolver."""
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return frozenset(plain(answer[4][0]) for answer in answers)


def reverse(address):
    """All names of an address, from the system's resolver.  They prove nothing."""
    name, aliases, _ = socket.gethostbyaddr(str(address))
    return [name, *aliases]


class Names:
    """The addresses of host names, as far as they are known.

    forward(name) and reverse(address) ask a resolver and may block.  changed(name,
    old, new), if given, is told when a name's addresses are no longer what they were.
    failures: why names had no answer when they were asked last.  asked: when the last look-up
    began that has ended (seconds of the monotonic clock; 0: there was none yet).
    """

    def __init__(self, forward=forward, reverse=reverse, changed=None):
        self.forward = forward
        self.reverse = reverse
        self.pid = None
        self.failures = {}
        self.asked = 0.0
        self.began = 0.0  # when the last look-up began
        self._changed = changed
        self._table = {"localhost": LOOPBACK}
        self._fd = None
        self._rest = b""

    def addresses(self, name):
        """The last good answer for a name; empty when there never was one."""
        return self._table.get(name.lower(), frozenset())

    def update(self, name, addresses):
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

    def known(self):
        """All that is known, in plain types, for learn()."""
        table = {name: list(map(str, found)) for name, found in self._table.items()}
        return table, self.failures, self.asked

    def learn(self, known):
        """Know what another Names knew."""
        table, self.failures, self.asked = known
        self._table = {name: frozenset(map(plain, found)) for name, found in table.items()}

    # --- parent

    def start(self, names, seconds=SECONDS):
        """Fork a child that looks the names up; a descriptor to poll for reading.

        The child's pid is in self.pid, to be reaped by the caller.  It ends after the given
        time at the latest, and when it is no longer listened to.  To begin anew before that,
        close() first.  Raises OSError.
        """
        assert self._fd is None, "a look-up is already under way"
        # Known names first: whatever cannot be resolved then queues behind them.
        names = sorted({n.lower() for n in names}, key=lambda n: (n not in self._table, n))
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _child(names, writing, self.forward, seconds)
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._fd, self._rest = reading, b""
        self.began = time.monotonic()
        self.failures = {name: "the name server does not answer" for name in names}
        return reading

    def young(self, now):
        """True when a look-up is under way that has to have some more time for its answers:
        whoever wants another one often would never get any."""
        return self._fd is not None and now < self.began + YOUNG

    def collect(self):
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

    def _take(self, line):
        name, *addresses = line.split()
        if addresses[:1] == ["!"]:
            self.failures[name] = line.partition(" ! ")[2]
        else:
            self.update(name, addresses)

    def close(self):
        """Take no more answers: the look-up ends.  For a forked child too, which has no use
        for them."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


# --- child


def _child(names, writing, forward, seconds):
    status = 1
    try:
        _forget_parent(writing, seconds)
        _look_up_all(names, writing, forward, seconds)
        status = 0
    finally:
        os._exit(status)


def _forget_parent(keep, seconds):
    """Signals end this process at once.  It holds none of the parent's sockets and
    locks open, so that the parent can be started again while a look-up still hangs."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)  # even if nobody can look at the clock
    os.closerange(3, keep)
    os.closerange(keep + 1, DESCRIPTORS)


def _look_up_all(names, writing, forward, seconds):
    import queue  # here, so that those who only fork need not load threading:
    import threading  # it would touch a hundred pages in every child

    waiting = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    turn = threading.Lock()
    ended, end = os.pipe()
    left = len(names)

    def work():
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

    threading.stack_size(STACK)
    started = 0
    try:
        for _ in names[:THREADS]:
            threading.Thread(target=work, daemon=True).start()
            started += 1
    except (RuntimeError, MemoryError):
        if not started:
            work()  # one after the other
    if names:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(writing, 0)  # an error, when nobody listens any more
        poll.poll(seconds * 1000)


def _answer(forward, name):
    """What a resolver says of a name, as a line of our pipe has it."""
    try:
        return " ".join(map(str, forward(name))) or "! no address"
    except (OSError, UnicodeError, MemoryError) as error:
        return "! " + " ".join(reason(error).encode("ascii", "replace").decode().split())


def _write(fd, line):
    data = line.encode("ascii")
    while data:
        data = data[os.write(fd, data) :]


# --- the child of one connection


def matches(entry, address, names, patience):
    """Is the peer with this address the entry's host?  What %h then stands for, or None.

    May wait, but not longer than `patience` seconds, for a *.domain pattern, which fits a peer
    at any depth below the domain if one of its names leads back to its address.  Raises
    Unknown.
    """
    peer = plain(address)
    if entry.network is not None:
        return str(peer) if peer in entry.network else None
    if entry.name is not None:
        known = names.addresses(entry.name)
        if not known:
            why = names.failures.get(entry.name.lower(), "not looked up yet")
            raise Unknown(f"{entry.name} has no address: {why}")
        return entry.name if peer in known else None
    domain = entry.pattern[1:].lower().removesuffix(".")
    answer = _wait(patience, _confirmed, peer, domain, names)
    if isinstance(answer, Unknown):
        raise answer
    return answer


class Known:
    """The addresses of those in a table's entries, as far as they are known without asking."""

    def __init__(self, entries, names):
        networks = {entry.network for entry in entries if entry.network is not None}
        self._networks = [network for network in networks if network.num_addresses > 1]
        self._addresses = {n.network_address for n in networks if n.num_addresses == 1}
        for name in {entry.name for entry in entries if entry.name is not None}:
            self._addresses |= names.addresses(name)

    def __contains__(self, address):
        peer = plain(address)
        return peer in self._addresses or any(peer in network for network in self._networks)


def _confirmed(peer, domain, names):
    """A name of the peer that ends in `domain` and has the peer's address, or None.

    The first one in the order of the alphabet: a name server gives several in any order.
    Returns an Unknown when that cannot be said.
    """
    try:
        claimed = {name.lower().removesuffix(".") for name in names.reverse(peer)}
    except (OSError, UnicodeError) as error:
        return None if _is_no(error) else Unknown(f"{peer}: its name: {reason(error)}")
    inside = sorted(name for name in claimed if name.endswith(domain) and grammar.is_name(name))
    for name in inside[:CLAIMS]:
        try:
            if peer in map(plain, names.forward(name)):
                return name
        except (OSError, UnicodeError) as error:
            if not _is_no(error):
                return Unknown(f"{name}: {reason(error)}")
    return None


def _is_no(error):
    """True when a resolver says that there is no such thing, and not that it cannot say."""
    code = error.args[0] if error.args else None
    if isinstance(error, socket.gaierror):
        return code in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
    if isinstance(error, socket.herror):
        return code in (1, 4)  # HOST_NOT_FOUND, NO_DATA
    return isinstance(error, UnicodeError)


def _wait(patience, ask, *about):
    """What ask(*about) returns, or an Unknown when that does not come in time.

    The thread is left behind then.
    """
    import threading

    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(*about)), daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        return Unknown(f"{about[0]}: its name cannot be asked for: no thread can be had")
    thread.join(max(0.0, patience))
    return answers[0] if answers else Unknown(f"{about[0]}: the name server does not answer")
