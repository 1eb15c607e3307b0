"""The Packer between session and link: what it packs, what it asks of the link, what it says."""

import os

import pytest

from tcppipe.drivers.packer import BATCH, Packer
from tcppipe.session.squeeze import TRIAL_PIECE
from tcppipe.wire.packing import ZLIB, ZSTD, unpack

MIB = 1 << 20
LINE = b"10.0.0.1 - - [14/Nov/2026] GET /index.html 200 1234\n"
TEXT = (LINE * (MIB // len(LINE) + 1))[:MIB]


class Line:
    """A link that is played: what it was asked for, and whether something is pending."""

    def __init__(self):
        self.asked = []
        self.pending = False

    def shallow(self, on):
        """What was asked."""
        self.asked.append(on)


class Clock:
    """Each look at it takes a moment; more passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1e-7
        return self.now


@pytest.fixture
def made():
    """A Packer with a link and a clock, not yet offered anything."""
    line, clock = Line(), Clock()
    packer = Packer(clock)
    packer.attach(line)
    return packer, line, clock


def send(packer, data=TEXT):
    """One piece, as a Feed does it: what was packed, and the limit that was set."""
    limit = packer.limit(MIB)
    packed = packer.pack(data[:limit])
    packer._clock.now += limit * (2e-9 if packed else 0.5e-9)
    packer.sent()
    return packed, limit


def test_nothing_before_an_offer(made):
    """Over a connection of version 1 there is never one: all goes as if there were no Packer."""
    packer, line, _clock = made
    assert send(packer) == (None, MIB)
    packer.rest()
    assert packer.batch(64) == 64 and line.asked == []


@pytest.mark.parametrize("methods, used", [(1, ZLIB), (2, ZSTD), (3, ZSTD), (0xFFFF, ZSTD)])
def test_what_was_offered_is_used(made, methods, used):
    """The better of the methods that both sides have."""
    packer, line, _clock = made
    packer.offered(methods)
    (method, packed), limit = send(packer)
    assert method == used and limit == MIB
    assert unpack(method, packed, MIB) == TEXT
    assert packer.batch(64) == BATCH and line.asked == [True]


@pytest.mark.parametrize("methods", [0, 4, 0x8000])
def test_a_sink_that_cannot(made, methods):
    """Nothing that we know of: nothing is packed."""
    packer, line, _clock = made
    assert packer.offered(methods) == "the other side cannot unpack: nothing is compressed"
    assert send(packer) == (None, MIB) and line.asked == []


def test_it_is_said_once(made):
    """Over many connections a line is said when something has changed."""
    packer, _line, _clock = made
    said = [packer.offered(methods) is not None for methods in (3, 3, 0, 0, 1, 1, 3)]
    assert said == [True, False, True, False, True, False, True]


def test_noise_is_not_packed(made):
    """A sample shows it; then the link is as deep as ever, and pieces are as many as ever."""
    packer, line, _clock = made
    packer.offered(3)
    noise = os.urandom(MIB)
    assert send(packer, noise)[0] is None
    assert send(packer, noise)[0] is None
    assert packer.batch(64) == 64 and line.asked == [True, False]


def test_a_trial_has_small_pieces(made):
    """On a link that never makes us wait plain data is tried, a little at a time, and wins."""
    packer, line, _clock = made
    packer.offered(3)
    limits = [send(packer)[1] for _ in range(40)]
    assert TRIAL_PIECE in limits
    assert limits[-1] == MIB and line.asked == [True, False]
    assert send(packer)[0] is None


def test_a_thin_link_stays_packed(made):
    """One that makes us wait: every piece is packed."""
    packer, line, clock = made
    packer.offered(3)
    line.pending = True
    for _ in range(20):
        assert send(packer)[0] is not None
        clock.now += 0.5
    assert line.asked == [True]


def test_another_connection_begins_anew(made):
    """What was judged of the link before says nothing of the next one."""
    packer, _line, _clock = made
    packer.offered(3)
    for _ in range(40):
        send(packer)
    assert send(packer)[0] is None
    other = Line()
    packer.attach(other)
    packer.offered(3)
    assert send(packer)[0] is not None and other.asked == [True]


def test_a_piece_that_was_lost_is_forgotten(made):
    """A connection that ends while a packed piece is handed to it leaves nothing to the next."""
    packer, line, _clock = made
    packer.offered(3)
    assert packer.pack(TEXT)  # and the link was lost in send()
    packer.attach(line)
    packer.offered(0)
    assert send(packer) == (None, MIB)
