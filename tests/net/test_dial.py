"""Dialling: names, addresses and the handshake, none of which holds up who looks at the origin."""

import os
import select
import signal
import socket
import time

import pytest

from tcppipe.errors import LinkLost, NotNow, PeerError, Refused
from tcppipe.net import lookup
from tcppipe.net.connect import Connecting
from tcppipe.net.dial import HANDSHAKE, RESOLVE, Dialler, Diallers
from tcppipe.net.lookup import LookUp
from tcppipe.process.children import Children


@pytest.fixture
def listener():
    """Listens on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(10)
        yield sock


@pytest.fixture
def resolver(monkeypatch):
    """The answers of the system's resolver, by host; a host without one hangs."""
    answers = {}

    def look_up(host, port, flags=0):
        if flags & socket.AI_NUMERICHOST or host == "localhost":
            return real(host, port, flags)
        while host not in answers:
            time.sleep(60)
        if isinstance(answers[host], Exception):
            raise answers[host]
        return [(int(socket.AF_INET), (address, port)) for address in answers[host]]

    real = lookup._look_up
    monkeypatch.setattr(lookup, "_look_up", look_up)
    return answers


def ready(thing, events=select.POLLIN):
    """Wait until something is ready; what poll says."""
    poll = select.poll()
    poll.register(thing.fileno(), events)
    return dict(poll.poll(10_000)).get(thing.fileno(), 0)


def go(dialling, now=0.0):
    """Go on until it is over: True.  Or until it waits for a name."""
    while not dialling.go(ready(dialling, dialling.events()), now):
        pass
    return True


def answered(listener, answer, path=b"/a"):
    """A Dialling whose server has answered so."""
    dialling = Dialler("127.0.0.1", listener.getsockname()[1]).dial(path, 0.0)
    assert not dialling.go(ready(dialling, dialling.events()), 0.0)
    sock, _ = listener.accept()
    assert sock.recv(100) == b"$" + path + b"\n"
    sock.sendall(answer)
    return dialling, sock


def test_a_yes(listener):
    """Version 2 is accepted, and what follows the answer is not lost."""
    dialling, sock = answered(listener, b"$ready tcppipe/2\nmore")
    assert go(dialling) and dialling.version2
    assert sock.recv(100) == b"$tcppipe/2\n"
    assert dialling.link.unread
    dialling.close()
    sock.close()


def test_a_yes_in_pieces(listener):
    """An original server's answer that comes byte by byte."""
    dialling, sock = answered(listener, b"$rea")
    assert not dialling.go(ready(dialling), 0.0)
    sock.sendall(b"dy\n")
    assert go(dialling) and not dialling.version2
    dialling.close()
    sock.close()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"$refuse\n", Refused, "refused: no reason given"),
        (b"$refuse no entry\n", Refused, "refused: no entry"),
        (b"$refuse for now: no answer for web1\n", NotNow, "refused: for now: no answer"),
        (b"HTTP/1.0 400\n", PeerError, "no tcppiped"),
        (b"x" * 2000, PeerError, "a first line of more than"),
    ],
)
def test_a_no(listener, answer, error, words):
    """The peer is named, and the kind of the no is told."""
    dialling, sock = answered(listener, answer)
    with pytest.raises(error, match=f"^127.0.0.1:[0-9]+: {words}") as caught:
        go(dialling)
    assert type(caught.value) is error
    dialling.close()
    sock.close()


def test_a_server_that_says_nothing(listener):
    """It has its time, and nobody waits for it in the meantime."""
    dialling, sock = answered(listener, b"")
    assert dialling.due() == HANDSHAKE
    assert not dialling.go(0, HANDSHAKE - 0.1)
    with pytest.raises(LinkLost, match="said nothing in time"):
        dialling.go(0, HANDSHAKE)
    dialling.close()
    sock.close()


def test_an_address_of_a_kind_that_this_host_has_not(listener):
    """The others are tried, and the reason is theirs."""
    unknown = (9999, ("x", 1))
    here = (socket.AF_INET, listener.getsockname())
    Connecting([unknown, here], "h", 0.0).close()
    closed = (socket.AF_INET, ("127.0.0.2", listener.getsockname()[1]))
    for targets in ([unknown, closed], [closed, unknown]):
        with pytest.raises(LinkLost, match="Connection refused"):
            connecting = Connecting(targets, "h", 0.0)
            while connecting.ready(0.0) is None:
                ready(connecting, select.POLLOUT)
    with pytest.raises(LinkLost, match="not supported"):
        Connecting([unknown], "h", 0.0)


# --- names


def test_a_name(listener):
    """It is asked for beside, in a process that is gone afterwards."""
    dialling = Dialler("localhost", listener.getsockname()[1]).dial(b"/a", 0.0)
    assert dialling.events() == select.POLLIN
    while dialling.events() == select.POLLIN:
        assert not dialling.go(ready(dialling), 0.0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    dialling.close()


def test_an_unknown_name(resolver):
    """The resolver's words are told."""
    resolver["nowhere"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(LinkLost, match="^nowhere: unknown host: Name or service not known$"):
        go(Dialler("nowhere", 1).dial(b"/a", 0.0))


def test_a_silent_resolver(resolver, listener):
    """The last good answer is used when there is none in time; without one that is said."""
    port = listener.getsockname()[1]
    dialler = Dialler("silent", port)
    dialler.known([(socket.AF_INET, ("127.0.0.1", port))])
    dialler.dial(b"/a", 0.0).close()  # uses the answer for the first time
    dialling = dialler.dial(b"/a", 0.0)
    assert dialling.events() == select.POLLIN and dialling.due() == RESOLVE
    assert not dialling.go(0, RESOLVE - 0.1)
    assert not dialling.go(0, RESOLVE)
    assert dialling.events() == select.POLLOUT
    dialling.close()
    dialling = Dialler("silent", port).dial(b"/a", 0.0)
    with pytest.raises(LinkLost, match="silent: unknown host: the name server does not answer"):
        dialling.go(0, dialling.due())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_look_up_that_is_given_up(resolver):
    """Its process is ended at once."""
    look_up = LookUp("silent", 1, 10.0)
    pid = look_up._pid
    look_up.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_look_up_that_is_killed(resolver):
    """By somebody: then there is no answer."""
    look_up = LookUp("silent", 1, 10.0)
    os.kill(look_up._pid, signal.SIGTERM)
    ready(look_up)
    assert look_up.tend(0.0) and not look_up.targets


def test_a_look_up_ends_with_its_parent(resolver):
    """Also when that is killed, while the resolver hangs."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"%d\n" % LookUp("silent", 1, 1e9)._pid)
        signal.pause()
    os.close(writing)
    child = int(os.read(reading, 100))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    def state():
        try:
            with open(f"/proc/{child}/stat") as file:
                return file.read().rpartition(")")[2].split()[0]
        except OSError:
            return "X"

    until = time.monotonic() + 15
    while state() not in "XZ":
        assert time.monotonic() < until
        time.sleep(0.01)
    os.close(reading)


def test_no_process_for_a_look_up(resolver, monkeypatch, listener):
    """The older answer has to do; without one the reason is told."""
    port = listener.getsockname()[1]
    dialler = Dialler("silent", port)
    dialler.known([(socket.AF_INET, ("127.0.0.1", port))])
    dialler.dial(b"/a", 0.0).close()

    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(lookup, "fork", lambda work: fork())
    dialling = dialler.dial(b"/a", 0.0)
    assert dialling.events() == select.POLLOUT
    dialling.close()
    with pytest.raises(LinkLost, match="cannot ask: Resource temporarily unavailable"):
        Dialler("silent", port).dial(b"/a", 0.0)


def test_names_are_asked_for_side_by_side(resolver):
    """A pipe whose host is an address may start at once, one with a name when its answer is there;
    a dead name holds nobody up but its own pipes, and them for a moment."""
    resolver["alive"] = ["127.0.0.1"]
    children = Children()
    diallers = Diallers(children)
    for number in range(15):
        assert diallers.ready_at(f"dead{number}", 1, 0.0) > 0.0
    assert diallers.ready_at("127.0.0.1", 1, 0.0) == 0.0
    assert diallers.ready_at("alive", 1, 0.0) > 0.0
    poll = select.poll()
    for fd in diallers.descriptors():
        poll.register(fd, select.POLLIN)
    while not diallers.tend(0.5):
        assert poll.poll(10_000)
    assert diallers.ready_at("alive", 1, 0.5) == 0.5
    assert diallers.of("alive", 1).fresh
    assert diallers.ready_at("dead0", 1, 0.5) == diallers.ready_at("dead0", 1, 0.0) < 10.0
    assert len(children) == 16
    diallers.close()
    while len(children):
        children.reap()
