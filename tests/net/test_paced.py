"""A limit on what is sent: the bucket with a clock that is played, the link with a real socket."""

import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcppipe.errors import ConfigError
from tcppipe.net.paced import BURST, LEAST, Bucket, Paced
from tcppipe.programs.options import rate


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@settings(deadline=None, database=None)
@given(
    st.floats(1, 1e10),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1 << 20)), min_size=1, max_size=40),
)
def test_never_more_than_the_rate(speed, asked):
    """In any stretch of time: no more than rate times its length, and one burst."""
    clock = Clock()
    bucket = Bucket(speed, clock)
    taken = [(clock.now, 0)]
    for pause, wanted in asked:
        clock.now += pause
        granted = bucket.take(wanted)
        assert 0 <= granted <= wanted
        taken.append((clock.now, granted))
    for first in range(len(taken)):
        length = taken[-1][0] - taken[first][0]
        total = sum(granted for _when, granted in taken[first + 1 :])
        assert total <= speed * length + bucket.burst + speed * 1e-6 + 1


@pytest.mark.parametrize("speed", [1, 100, 5000.5, 1 << 20, 1e9])
def test_all_of_it_goes_in_time(speed):
    """Who asks again when it is due gets it all, at the rate, in steps that are neither tiny nor
    long."""
    clock = Clock()
    bucket = Bucket(speed, clock)
    bucket.take(1 << 40)
    left, turns = int(max(speed * 3, 10)), 0
    begun = clock.now
    total = left
    while left:
        due = bucket.due(left)
        assert clock.now <= due <= clock.now + max(0.06, 1.1 / speed)
        clock.now = max(due, clock.now) + 1e-6
        left -= bucket.take(left)
        turns += 1
    assert total / speed <= clock.now - begun + 0.01 <= total / speed * 1.02 + 1.2 / speed + 0.02
    assert turns <= max(70, total + 2)


def test_a_burst_is_small():
    """An eighth of a second's worth, or half a KiB."""
    assert Bucket(1e6).burst == 1e6 * BURST == 125000
    assert Bucket(10).burst == LEAST == 512


def test_what_waits_is_pending_and_due():
    """More than a burst is held back, is not the kernel's, and goes when its time has come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        sock, _address = listener.accept()
    clock = Clock()
    link = Paced(sock, "peer", Bucket(8000, clock))
    with there:
        data = bytes(range(256)) * 10
        link.send(data[:1500])
        link.send(data[1500:])
        assert link.pending and not link.full
        got = there.recv(1 << 20)
        assert got == data[:1000]
        assert clock.now < link.due() <= clock.now + 0.06
        link.flush()
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)
        there.setblocking(True)
        while link.pending:
            clock.now = link.due()
            link.flush()
            got += there.recv(1 << 20)
        assert got == data
        assert link.due() == float("inf")
        link.close()


def test_time_that_passes_while_sending():
    """A clock that goes on with every look at it: a large piece goes in many small steps."""

    class Hasty(Clock):
        def __call__(self):
            self.now += 0.001
            return self.now

    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        sock, _address = listener.accept()
    link = Paced(sock, "peer", Bucket(20000, Hasty()))
    with there:
        link.send(bytes(60000))
        assert not link.pending
        link.close()
        total = 0
        while data := there.recv(1 << 20):
            total += len(data)
        assert total == 60000


def test_drain_waits_for_what_may_go():
    """The last words are sent, as far as there is time for them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        sock, _address = listener.accept()
    link = Paced(sock, "peer", Bucket(20000))
    with there:
        link.send(bytes(3500))
        begun = time.monotonic()
        link.drain(60)
        assert not link.pending and time.monotonic() - begun > 0.03
        link.send(bytes(1 << 20))
        link.drain(0.05)
        assert link.pending
        link.close()
        total = 0
        while data := there.recv(1 << 20):
            total += len(data)
        assert 3500 <= total <= 20000 * (time.monotonic() - begun) + 2501


@pytest.mark.parametrize(
    "text, value",
    [("1", 1), ("500", 500), ("1k", 1024), ("64K", 65536), ("1.5M", 1572864), (".5g", 1 << 29),
     ("2.", 2), ("3m", 3 << 20), ("0.001M", 1048.576)],
)  # fmt: skip
def test_rates(text, value):
    """A number, a fraction allowed, and K, M or G."""
    assert rate("--limit", text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "0.0", "-5", "+5", "k", ".", "1e3", "1_0", "5X", "5KB", "K5", " 5", "5 ", "nan",
     "inf", "0.5", "1.2.3", "٣", "9" * 400, "9" * 30 + "G"],
)  # fmt: skip
def test_no_rates(text):
    """What is no rate, or less than a byte a second, is refused with the option's name."""
    with pytest.raises(ConfigError) as refused:
        rate("--limit", text)
    assert str(refused.value) == f"--limit {text}: not a number of bytes a second"
