"""Who is at the other end, by its address.

A resolver can block for ten seconds and cannot be interrupted, so a daemon that
serves others never asks one itself.  It forks a child that asks about all names
at once and writes each answer to a pipe as it comes.  The child of a single
connection may ask for itself, in a thread, for as long as it has patience.
A look-up that fails changes nothing: the last good answer stays.
Does not decide what a peer may send.  A crash leaves nothing behind.
"""

import ipaddress
import os
import signal
import socket

from tcppipe.conf import pipes

THREADS = 32
SECONDS = 60
CLAIMS = 8
DESCRIPTORS = 65536
LOOPBACK = frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1")))


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
    """

    def __init__(self, forward=forward, reverse=reverse, changed=None):
        self.forward = forward
        self.reverse = reverse
        self.pid = None
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
        old = self._table.get(name)
        if not new or new == old or name == "localhost":
            return
        self._table[name] = new
        if old and self._changed:
            self._changed(name, old, new)

    # --- parent

    def start(self, names, seconds=SECONDS):
        """Fork a child that looks the names up; a descriptor to poll for reading.

        The child's pid is in self.pid, to be reaped by the caller.  It ends after
        the given time at the latest.  To begin anew before that, close() first.
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
        return reading

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
                name, *addresses = line.decode("ascii").split()
                self.update(name, addresses)
            if not data:
                self.close()
        return True

    def close(self):
        """Take no more answers.  For a forked child too, which has no use for them."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


# --- child


def _child(names, writing, forward, seconds):
    status = 1
    try:
        _forget_parent(writing)
        _look_up_all(names, writing, forward, seconds)
        status = 0
    finally:
        os._exit(status)


def _forget_parent(keep):
    """Signals end this process at once.  It holds none of the parent's sockets and
    locks open, so that the parent can be started again while a look-up still hangs."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.closerange(3, keep)
    os.closerange(keep + 1, DESCRIPTORS)


def _look_up_all(names, writing, forward, seconds):
    import queue  # here, so that those who only fork need not load threading:
    import threading  # it would touch a hundred pages in every child

    waiting = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    turn = threading.Lock()
    left = min(THREADS, len(names))
    done = threading.Event()

    def work():
        nonlocal left
        try:
            while True:
                name = waiting.get_nowait()
                addresses = _ask(forward, name)
                if addresses:
                    with turn:
                        _write(writing, " ".join([name, *map(str, addresses)]) + "\n")
        except (queue.Empty, BrokenPipeError):
            pass
        finally:
            with turn:
                left -= 1
                if not left:
                    done.set()

    for _ in names[:THREADS]:
        threading.Thread(target=work, daemon=True).start()
    if names:
        done.wait(seconds)


def _write(fd, line):
    data = line.encode("ascii")
    while data:
        data = data[os.write(fd, data) :]


# --- the child of one connection


def matches(entry, address, names, patience):
    """Is the peer with this address the entry's host?  What %h then stands for, or None.

    May wait, but not longer than `patience` seconds: for a name without any answer
    yet, and for a *.domain pattern, which fits a peer at any depth below the domain
    if one of its names leads back to its address.
    """
    peer = plain(address)
    if entry.network is not None:
        return str(peer) if peer in entry.network else None
    if entry.name is not None:
        if not names.addresses(entry.name):
            names.update(entry.name, _wait(patience, names.forward, entry.name) or ())
        return entry.name if peer in names.addresses(entry.name) else None
    domain = entry.pattern[1:].lower().removesuffix(".")
    return _wait(patience, lambda peer: _confirmed(peer, domain, names), peer) or None


def _confirmed(peer, domain, names):
    """A name of the peer that ends in `domain` and has the peer's address, or None."""
    claimed = (name.lower().removesuffix(".") for name in names.reverse(peer))
    inside = [name for name in claimed if name.endswith(domain) and pipes.is_name(name)]
    for name in inside[:CLAIMS]:
        if peer in map(plain, _ask(names.forward, name)):
            return name
    return None


def _wait(patience, ask, about):
    """The answer of _ask; None when it does not come in time.  The thread is left behind."""
    if patience <= 0:
        return None
    import threading

    answers = []
    thread = threading.Thread(target=lambda: answers.append(_ask(ask, about)), daemon=True)
    thread.start()
    thread.join(patience)
    return answers[0] if answers else None


def _ask(ask, about):
    """What a resolver says; nothing when it says no.  UnicodeError: the name can't be asked."""
    try:
        return ask(about)
    except (OSError, UnicodeError):
        return ()
