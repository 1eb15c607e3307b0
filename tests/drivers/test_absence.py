"""An origin whose name leads nowhere: neither silence nor a word about each rotation."""

import os

import pytest

from tcppipe.drivers.absence import LASTS
from tcppipe.drivers.feed import Feed
from tcppipe.files.chain import Chain
from tcppipe.files.follower import Follower
from tcppipe.files.status import StatusFile
from tcppipe.session.source import Source
from tcppipe.wire import events as ev
from tcppipe.wire.frames import MINOR, Reader, encode

MISSING = "no such file, waiting for it"


class Wire:
    """A Link to a sink that has nothing and acknowledges nothing."""

    peer, pending, piece = "archive", False, float("inf")

    def __init__(self):
        self.came = bytearray(encode(ev.Have(ev.Holding.NOTHING, minor=MINOR)))
        self.sent = bytearray()

    def receive(self, view):
        """What the sink says."""
        count = len(self.came)
        view[:count], self.came = self.came, bytearray()
        return count

    def send(self, *parts):
        """What the source says."""
        for part in parts:
            self.sent += part


class Fed:
    """A Feed of a real file, in a time of its own."""

    def __init__(self, directory):
        self.origin = directory / "app.log"
        self.origin.write_bytes(b"one\n")
        self.said = []
        self.now = 1000.0
        self.link = Wire()
        source = Source(b"s" * 16, "test", self.now)
        status = StatusFile(str(directory / "status"))
        follower = Follower(Chain(str(self.origin)))
        self.feed = Feed(self.link, source, follower, status, self.say)
        self.feed.open(self.now)
        self.feed.hear(self.now)

    def say(self, level, text):
        """Note it."""
        self.said.append((level, text.removeprefix(f"{self.origin}: ")))

    def goes_on(self, seconds=1.0):
        """So much time passes, in steps."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            self.feed.pump.session.keepalive.heard = self.now  # the sink lives
            self.feed.tend(self.now)
            while self.feed.ready and self.feed.deliver(self.now):
                pass

    def waits(self):
        """What the sink was told."""
        return [e.reason for e in Reader().feed(bytes(self.link.sent)) if isinstance(e, ev.Wait)]


@pytest.fixture
def fed(tmp_path):
    """A Feed that has delivered its file."""
    fed = Fed(tmp_path)
    fed.goes_on()
    yield fed
    fed.feed.follower.chain.close()


def test_a_rotation_is_nothing_to_speak_of(fed):
    """The next file comes somewhat later."""
    os.rename(fed.origin, f"{fed.origin}.1")
    fed.goes_on(LASTS - 5.0)
    fed.origin.write_bytes(b"two\n")
    fed.goes_on(LASTS)
    assert (fed.said, fed.waits()) == ([], [])


def test_a_file_that_does_not_come_again_is_said_on_both_sides(fed):
    """Once, and that it is over; the sink is told the same."""
    fed.origin.unlink()
    fed.goes_on(2 * LASTS)
    assert fed.said == [("warning", MISSING)]
    assert fed.feed.waits_for == f"better times: {MISSING}"
    fed.origin.write_bytes(b"two\n")
    fed.goes_on(5.0)
    assert fed.said == [("warning", MISSING), ("info", "can be read again")]
    assert fed.waits() == [MISSING.encode(), b""]
