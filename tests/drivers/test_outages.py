"""What is said of pipes that have no connection, and what lasts."""

import os
from math import inf

import pytest

from tcppipe.drivers.backoff import FOR_NOW, LOST, REFUSED, Backoff
from tcppipe.drivers.outages import Hearer, Outages, Teller
from tcppipe.drivers.reminder import Reminder
from tcppipe.process.trouble import REMIND

WHY = "h:1: cannot connect: Connection refused; connects again"


@pytest.fixture
def said():
    """What was said."""
    return []


@pytest.fixture
def one(said):
    """Outages of one pipe, said at once."""
    return Outages(lambda level, text: said.append(text))


@pytest.fixture
def many(said):
    """Outages of many, gathered for a second."""
    return Outages(lambda level, text: said.append(text), 1.0, path_of=lambda key: key[1])


def test_the_same_reason_is_said_once(one, said):
    """However often it is tried again; and another reason is said, too."""
    for now in range(100):
        one.lost("/a", WHY, now)
    one.lost("/a", "another", 100.0)
    assert said == [f"/a: {WHY}", "/a: another"]


def test_reasons_that_take_turns(one, said):
    """Two reasons in turn are said once each, and of many that never come again only some; the
    reminder has the last one."""
    for now in range(0, 600, 2):
        one.lost("/a", WHY, now)
        one.lost("/a", "h:1: said nothing in time", now + 1)
    assert said == [f"/a: {WHY}", "/a: h:1: said nothing in time"]
    for now in range(600, 1600):
        one.lost("/a", f"bad bytes at {now}", now)
    assert len(said) < 10
    del said[:]
    one.tend(REMIND)
    assert said == ["/a: not connected for 60 min: bad bytes at 1599"]


def test_it_comes_back(one, said):
    """That is said, and after more than a minute how long it took."""
    one.lost("/a", WHY, 0.0)
    one.connected("/a", "connected to h:1", 7.0)
    one.works("/a")
    one.lost("/a", WHY, 100.0)
    one.connected("/a", "connected to h:1", 100.0 + 3 * 3600 + 120)
    assert said[1::2] == ["/a: connected to h:1", "/a: connected to h:1, after 3 h"]


def test_what_comes_and_goes_is_said_once(one, said):
    """A connection that is lost for the same reason before anything became durable."""
    for now in range(100):
        one.lost("/a", WHY, now)
        one.connected("/a", "connected to h:1", now)
    assert said == [f"/a: {WHY}", "/a: connected to h:1"]


def test_an_hour_without_a_connection(one, said):
    """A reminder each hour, until it works."""
    one.lost("/a", WHY, 0.0)
    assert one.due() == REMIND
    one.tend(REMIND - 61)
    one.tend(REMIND)
    one.tend(REMIND + 1)
    one.tend(one.due())
    assert said[1:] == [
        f"/a: not connected for {how_long}: {WHY}" for how_long in ("60 min", "2 h")
    ]
    one.connected("/a", "connected", 2.5 * REMIND)
    one.works("/a")
    assert one.due() == inf


def test_two_hundred_pipes_share_a_line(many, said):
    """When the archive goes, once an hour, and when it comes back."""
    keys = [("h", f"/log/{n}") for n in range(200)]
    for n, key in enumerate(keys):
        many.lost(key, WHY, n / 1000)
    many.tend(many.due())
    many.tend(many.due())
    many.tend(many.due())
    assert many.down == 200
    for n, key in enumerate(keys):
        many.connected(key, "connected to h:1", REMIND + 60 + n / 1000)
    many.tend(many.due())
    assert said == [
        f"/log/0 and 199 more: {WHY}",
        f"/log/0 and 199 more: not connected for 60 min: {WHY}",
        "/log/0 and 199 more: connected to h:1, after 61 min",
    ]


def test_reasons_that_differ_in_the_path_alone_are_one(many, said):
    """Two pipes without an entry share a line; a third one's reason is another."""
    for path in ("/a", "/b"):
        many.lost(("h", path), f"h:1: refused: no entry for 1.2.3.4:{path}", 0.0)
    many.lost(("h", "/c"), WHY, 0.0)
    many.flush()
    assert said == ["/a and 1 more: h:1: refused: no entry for 1.2.3.4:FILE", f"/c: {WHY}"]


def test_a_child_tells_its_parent(many, said):
    """A loss, a connection and that it works arrive under the child's own key."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    teller, hearer = Teller(writing), Hearer(reading, many)
    key = ("h", "/a \udcff")
    teller.lost("/a \udcff", f"h:1: /a \udcff:\n{WHY}", 0.0, "critical")
    hearer.hear({os.getpid(): key}, 0.0)
    assert many.down == 1
    teller.connected("/a \udcff", "connected to h:1", 0.0)
    teller.works("/a \udcff")
    teller.works("/a \udcff")
    hearer.hear({os.getpid(): key}, 0.0)
    many.flush()
    assert said == [f"/a \udcff: h:1: /a \udcff: {WHY}", "/a \udcff: connected to h:1"]
    assert many.down == 0
    os.close(reading)
    teller.lost("/a", WHY, 0.0)  # nobody is there to be told
    os.close(writing)


def test_a_parent_that_does_not_listen_blocks_no_child(many):
    """What does not fit into the pipe is told later; the last word counts."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    teller, hearer = Teller(writing), Hearer(reading, many)
    for number in range(1000):
        teller.lost("/a", f"reason {number} {'x' * 500}", 0.0)
    teller.connected("/a", f"connected to h:1 {'x' * 600}", 0.0)
    key = ("h", "/a")
    hearer.hear({os.getpid(): key}, 0.0)
    assert many.down == 1
    teller.tend(1.0)
    hearer.hear({os.getpid(): key}, 1.0)
    assert many.down == 0
    os.close(reading)
    os.close(writing)


def test_a_reminder():
    """Once an hour, from the beginning on."""
    reminder = Reminder()
    assert reminder.due == inf
    reminder.begins(10.0)
    reminder.begins(20.0)
    assert reminder.lasts(REMIND) is None
    assert reminder.lasts(REMIND + 10) == "60 min"
    assert reminder.lasts(REMIND + 11) is None
    reminder.ends()
    assert reminder.due == inf


@pytest.mark.parametrize("bounds", [LOST, FOR_NOW, REFUSED])
def test_pauses_grow_within_their_bounds(bounds):
    """From the first to the longest, each shortened by up to a half."""
    backoff = Backoff()
    first, longest = bounds
    for n in range(2000):
        assert min(longest, first * 2 ** min(n, 30)) / 2 <= backoff.pause(bounds)
        if n > 1:
            assert backoff.pause(bounds) <= longest
    backoff.reset()
    assert backoff.pause(bounds) <= first


def test_another_kind_of_failure_begins_anew():
    """A server that was away for an hour and then refuses is not asked in five minutes only."""
    backoff = Backoff()
    for _ in range(20):
        backoff.pause(LOST)
    assert backoff.pause(REFUSED) <= REFUSED[0]
