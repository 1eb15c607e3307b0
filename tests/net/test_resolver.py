"""Who is at the other end: addresses against entries, and look-ups that never come back."""

import os
import select
import signal
import socket
import threading
import time

import pytest

from tcppipe.conf import pipes
from tcppipe.net import identity, resolver

LONG = 30


def entry(host):
    """The entry of a line for this host."""
    (result,) = pipes.parse(f"{host}:/a | /b", "x")
    return result


def addresses(*texts):
    """A set of addresses as the table holds it."""
    return frozenset(map(resolver.plain, texts))


def no_lookup(_):
    """A resolver that must not be asked."""
    raise AssertionError("asked a resolver")


def dead(_):
    """A resolver that says no."""
    raise socket.gaierror(socket.EAI_AGAIN, "no")


@pytest.fixture
def hang():
    """A look-up that blocks until the test is over."""
    event = threading.Event()

    def lookup(_):
        event.wait()
        return ["192.0.2.1"]

    yield lookup
    event.set()


@pytest.fixture
def children():
    """Pids of children to end and to reap."""
    pids = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def wait_readable(fd):
    assert select.select([fd], [], [], LONG)[0], "nothing came"


def collect_all(names, fd):
    """Wait until the background look-up has ended."""
    while True:
        wait_readable(fd)
        if names.collect():
            return


@pytest.mark.parametrize("given, wanted", [
    ("10.1.2.3", "10.1.2.3"),
    ("::ffff:10.1.2.3", "10.1.2.3"),
    ("fe80::1%eth0", "fe80::1"),
    ("2001:DB8:0::1", "2001:db8::1"),
])  # fmt: skip
def test_plain_address(given, wanted):
    """IPv4 in IPv6 counts as IPv4; the interface does not count."""
    assert str(resolver.plain(given)) == wanted


@pytest.mark.parametrize("host, peer, label", [
    ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
    ("10.1.2.3", "10.1.2.4", None),
    ("10.1.0.0/16", "10.1.200.7", "10.1.200.7"),
    ("10.1.0.0/16", "::ffff:10.1.200.7", "10.1.200.7"),
    ("10.1.0.0/16", "10.2.0.1", None),
    ("10.1.0.0/16", "2001:db8::1", None),
    ("[::ffff:10.1.0.0]/112", "10.1.200.7", "10.1.200.7"),
    ("[2001:db8::]/32", "2001:db8:1::1", "2001:db8:1::1"),
    ("[2001:db8::]/32", "2001:db9::1", None),
    ("[::]/0", "10.1.2.3", None),
])  # fmt: skip
def test_network(host, peer, label):
    """A network holds the peer's address or it doesn't; no resolver is asked."""
    names = resolver.HostNames(forward=no_lookup, reverse=no_lookup)
    assert identity.matches(entry(host), peer, names, LONG) == label


def test_known_name():
    """Any of a name's addresses fits, whatever the case, without a look-up."""
    names = resolver.HostNames(forward=no_lookup)
    names.update("Foo.Com", ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1"])
    for peer in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1"):
        assert identity.matches(entry("fOO.com"), peer, names, LONG) == "fOO.com"
    assert identity.matches(entry("foo.com"), "192.0.2.3", names, LONG) is None


def test_localhost_needs_no_resolver():
    """localhost is the loopback addresses, and no answer can make it more than that."""
    names = resolver.HostNames(forward=no_lookup)
    names.update("localhost", ["192.0.2.1"])
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert identity.matches(entry("LocalHost"), peer, names, LONG) == "LocalHost"
    assert identity.matches(entry("localhost"), "192.0.2.1", names, LONG) is None


def test_last_good_answer_is_kept():
    """An empty answer changes nothing; a new answer replaces the old one and is told."""
    told = []
    names = resolver.HostNames(changed=lambda *change: told.append(change))
    names.update("foo", ["192.0.2.1"])
    names.update("foo", [])
    names.update("foo", ["192.0.2.1"])
    assert names.addresses("FOO") == addresses("192.0.2.1")
    assert told == []
    names.update("Foo", ["192.0.2.2"])
    assert names.addresses("foo") == addresses("192.0.2.2")
    assert told == [("foo", addresses("192.0.2.1"), addresses("192.0.2.2"))]


def test_name_without_an_answer_is_not_a_no():
    """As long as a name never had an answer, nobody can say that a peer is not that host."""
    names = resolver.HostNames(forward=no_lookup)
    with pytest.raises(identity.Unknown, match="foo has no address: not looked up yet"):
        identity.matches(entry("foo"), "192.0.2.1", names, LONG)
    names.update("foo", ["192.0.2.1"])
    assert identity.matches(entry("foo"), "192.0.2.1", names, LONG) == "foo"
    assert identity.matches(entry("foo"), "192.0.2.2", names, LONG) is None


def test_patience_ends(hang):
    """A resolver that does not answer costs the patience and no more, and nobody can say."""
    names = resolver.HostNames(forward=hang, reverse=hang)
    before = time.monotonic()
    with pytest.raises(identity.Unknown, match="does not answer"):
        identity.matches(entry("*.foo"), "192.0.2.1", names, 0.05)
    assert time.monotonic() - before < LONG


@pytest.mark.parametrize("forward, reverse", [
    (no_lookup, dead),
    (dead, lambda _: ["a.foo"]),
    (dead, lambda _: ["b.foo", "a.foo"]),
])  # fmt: skip
def test_resolver_cannot_say(forward, reverse):
    """A look-up that failed for now is no "no"."""
    names = resolver.HostNames(forward=forward, reverse=reverse)
    with pytest.raises(identity.Unknown):
        identity.matches(entry("*.foo"), "192.0.2.1", names, LONG)


def test_resolver_says_no():
    """An address that has no name fits no pattern."""

    def nobody(_):
        raise socket.herror(1, "Unknown host")

    names = resolver.HostNames(forward=no_lookup, reverse=nobody)
    assert identity.matches(entry("*.foo"), "192.0.2.1", names, LONG) is None


def test_no_thread_is_no_answer(monkeypatch):
    """When no thread can be had to ask in, nobody can say for now."""

    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(identity.Unknown, match="no thread"):
        identity.matches(
            entry("*.foo"), "192.0.2.1", resolver.HostNames(no_lookup, no_lookup), LONG
        )


@pytest.mark.parametrize("turn", [1, -1])
def test_peer_with_two_names_has_one(turn):
    """Whatever order a name server gives a peer's names in, the same one counts."""
    names = resolver.HostNames(
        lambda _: ["192.0.2.1"], lambda _: ["a.foo.com", "b.foo.com"][::turn]
    )
    assert identity.matches(entry("*.foo.com"), "192.0.2.1", names, LONG) == "a.foo.com"


@pytest.mark.parametrize("claimed, label", [
    (["a.foo.com"], "a.foo.com"),
    (["A.B.Foo.COM."], "a.b.foo.com"),
    (["elsewhere.net", "a.foo.com"], "a.foo.com"),
    (["liar.foo.com"], None),
    (["liar.foo.com", "a.foo.com"], "a.foo.com"),
    (["foo.com"], None),
    ([".foo.com"], None),
    (["afoo.com"], None),
    (["../../x.foo.com"], None),
    (["a\n.foo.com"], None),
    (["unknown.foo.com"], None),
    ([], None),
])  # fmt: skip
def test_pattern(claimed, label):
    """A name of the peer below the domain fits if it leads back to the peer's address."""
    table = {"liar.foo.com": ["192.0.2.9"], "unknown.foo.com": []}
    names = resolver.HostNames(
        forward=lambda name: table.get(name, ["192.0.2.8", "::ffff:192.0.2.1"]),
        reverse=lambda address: claimed,
    )
    assert identity.matches(entry("*.fOO.com"), "192.0.2.1", names, LONG) == label


def test_pattern_bounds_the_claims_it_checks():
    """A peer with thousands of names does not make us ask for thousands of addresses."""
    asked = []

    def lookup(name):
        asked.append(name)
        return []

    names = resolver.HostNames(lookup, lambda address: [f"x{n}.foo.com" for n in range(5000)])
    assert identity.matches(entry("*.foo.com"), "192.0.2.1", names, LONG) is None
    assert len(asked) == identity.CLAIMS


def test_real_resolver():
    """The system's resolver knows localhost and literal addresses."""
    assert resolver.forward("localhost") & resolver.LOOPBACK
    assert resolver.forward("127.0.0.1") == addresses("127.0.0.1")
    assert resolver.forward("::ffff:192.0.2.1") == addresses("192.0.2.1")


@pytest.mark.parametrize("name", ["a" * 64, "x" + ".x" * 130])
def test_name_that_cannot_be_asked(name):
    """A name that the resolver's library refuses fits nobody."""
    names = resolver.HostNames(lambda _: resolver.forward(name), lambda _: ["a.foo"])
    assert identity.matches(entry("*.foo"), "192.0.2.1", names, LONG) is None


def test_background_look_up_with_the_real_resolver(children):
    """Answers reach the table; a name that does not resolve leaves its old answer alone."""
    names = resolver.HostNames()
    names.update("nowhere.invalid", ["192.0.2.7"])
    fd = names.start({"127.0.0.1", "LOCALHOST", "nowhere.invalid"})
    children.append(names.pid)
    collect_all(names, fd)
    assert names.addresses("127.0.0.1") == addresses("127.0.0.1")
    assert names.addresses("nowhere.invalid") == addresses("192.0.2.7")
    assert names.collect() is True


def test_one_dead_name_delays_nobody_else(children, hang):
    """The others' answers come while one look-up hangs; collect() does not wait for it."""
    names = resolver.HostNames(forward=lambda name: hang(name) if name == "dead" else ["192.0.2.3"])
    fd = names.start(["dead", "Alive", "well"])
    children.append(names.pid)
    while not (names.addresses("alive") and names.addresses("well")):
        wait_readable(fd)
        assert names.collect() is False
    assert names.addresses("alive") == addresses("192.0.2.3")
    assert names.collect() is False
    names.close()


def test_background_look_up_is_bounded(hang):
    """The child leaves when its time is over, whatever still hangs, with status 0."""
    names = resolver.HostNames(forward=hang)
    fd = names.start(["dead"], seconds=0.05)
    collect_all(names, fd)
    assert os.waitpid(names.pid, 0)[1] == 0


def test_more_names_than_threads(children):
    """Every name gets its answer, and no line is torn or mixed with another, however long."""
    many = [f"192.0.2.{n}" for n in range(1, 200)]
    names = resolver.HostNames(
        forward=lambda name: [name] + [f"2001:db8::{n:x}" for n in range(999)]
    )
    fd = names.start(many)
    children.append(names.pid)
    collect_all(names, fd)
    for name in many:
        assert len(names.addresses(name)) == 1000
        assert resolver.plain(name) in names.addresses(name)


def test_nothing_to_look_up(children):
    """No names, no answers, no wait."""
    names = resolver.HostNames(forward=no_lookup)
    fd = names.start([])
    children.append(names.pid)
    collect_all(names, fd)


def test_why_there_is_no_answer(children):
    """Why a name has no answer is known as well, until it has one."""
    names = resolver.HostNames(forward=dead)
    fd = names.start(["foo"])
    children.append(names.pid)
    assert names.asked == 0.0
    collect_all(names, fd)
    assert names.failures == {"foo": "no"}
    assert 0.0 < names.asked <= time.monotonic()
    names.update("foo", ["192.0.2.1"])
    assert names.failures == {}


@pytest.mark.parametrize("answer", ["1.2.3.4.5", "", "::g"])
def test_an_answer_that_is_no_address(children, capfd, answer):
    """Whatever a library gives back, the other names have their answers, and it is said of this."""

    def forward(name):
        return [resolver.plain(answer if name == "bad" else "192.0.2.1")]

    names = resolver.HostNames(forward=forward)
    fd = names.start(["bad", "good"])
    children.append(names.pid)
    collect_all(names, fd)
    assert list(names.failures) == ["bad"] and "not appear to be" in names.failures["bad"]
    assert names.addresses("good")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("end", ["close", "die"])
def test_look_up_ends_with_whoever_began_it(end, hang):
    """A look-up that hangs ends at once when its parent listens no more, or is gone."""
    names = resolver.HostNames(forward=hang)
    if end == "close":
        names.start(["dead"])
        pid = names.pid
        handle = os.pidfd_open(pid)
        names.close()
    else:
        told, tell = os.pipe()
        parent = os.fork()
        if parent == 0:
            names.start(["dead"])
            os.write(tell, b"%d" % names.pid)
            signal.pause()
        handle = os.pidfd_open(int(os.read(told, 20)))
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        os.close(told)
        os.close(tell)
    wait_readable(handle)
    os.close(handle)
    if end == "close":
        os.waitpid(pid, 0)


def test_look_up_without_threads(children):
    """When no thread can be had, the names are asked about one after the other."""
    names = resolver.HostNames(forward=lambda name: ["192.0.2.3"])
    with pytest.MonkeyPatch.context() as patch:

        def start(_):
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", start)
        fd = names.start(["a", "b", "c"])
        children.append(names.pid)
    collect_all(names, fd)
    assert all(names.addresses(name) for name in "abc")


def test_child_killed(children, hang):
    """A killed child ends the look-up; the table stays and the next one can start."""
    names = resolver.HostNames(forward=lambda name: hang(name) if name == "dead" else ["192.0.2.3"])
    fd = names.start(["dead", "alive"])
    while not names.addresses("alive"):
        wait_readable(fd)
        names.collect()
    os.kill(names.pid, signal.SIGTERM)
    collect_all(names, fd)
    assert os.WTERMSIG(os.waitpid(names.pid, 0)[1]) == signal.SIGTERM
    assert names.addresses("alive") == addresses("192.0.2.3")
    fd = names.start(["alive"])
    children.append(names.pid)
    collect_all(names, fd)


def test_child_holds_nothing_of_the_parent(hang):
    """While a look-up hangs, the parent's connections close when the parent closes them,
    and a signal to the child does not reach the parent's handler."""
    ours, theirs = socket.socketpair()
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    names = resolver.HostNames(forward=lambda name: hang(name) if name == "dead" else ["192.0.2.3"])
    try:
        fd = names.start(["dead", "alive"])
        wait_readable(fd)
        theirs.close()
        wait_readable(ours)
        assert ours.recv(1) == b""
        os.kill(names.pid, signal.SIGUSR1)
        collect_all(names, fd)
        assert os.WTERMSIG(os.waitpid(names.pid, 0)[1]) == signal.SIGUSR1
        assert caught == []
    finally:
        signal.signal(signal.SIGUSR1, before)
        ours.close()


def test_parent_keeps_its_signal_mask(children):
    """Starting a look-up leaves the parent's blocked signals as they were."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
    try:
        names = resolver.HostNames(forward=lambda name: [])
        fd = names.start(["foo"])
        children.append(names.pid)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    collect_all(names, fd)
