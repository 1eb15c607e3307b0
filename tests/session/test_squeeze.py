"""Pack or not: the judgement, with a link and a processor that are played."""

from typing import NamedTuple

import pytest

from tcppipe.session.squeeze import PACK, PLAIN, SAMPLE, SAMPLED, SMALL, TRIAL_PIECE, Squeeze

MIB = 1 << 20
PIECE = MIB
SHALLOW, DEEP = 128 << 10, 4 << 20  # bytes that the link swallows before it makes anybody wait


class Text(NamedTuple):
    """Data that gets so much smaller; quick and hard: bytes a second that packing manages."""

    ratio: float = 7.0
    hard_ratio: float = 8.0
    quick: float = 600e6
    hard: float = 160e6


TEXT = Text()
ZLIB = Text(5.0, 6.3, 260e6, 100e6)
NOISE = Text(1.0, 1.0, 100e6, 100e6)


class Played:
    """A source with a Squeeze, a link of `rate` bytes a second, and `cost` seconds a byte else."""

    def __init__(self, rate, text=TEXT, cost=0.4e-9, sink=2e9):
        self.rate, self.text, self.cost, self.sink = rate, text, cost, sink
        self.squeeze = Squeeze()
        self.may = True  # pack
        self.now = 0.0
        self.free_at = 0.0  # when the link will have sent all that it has
        self.wire = self.raw = self.packed = 0

    def send(self, total, size=PIECE, pause=0.0):
        """Send so many bytes; pause: seconds without anything to send before each piece."""
        until = self.raw + total
        begun = self.now
        while self.raw < until:
            if pause:
                self.squeeze.rest(self.now)
                self.now += pause
            self.piece(size)
        return (self.now - begun) or 1e-9

    def piece(self, size):
        """Send one."""
        self.squeeze.ready(self.now)
        if self.squeeze.trying_plain:
            size = min(size, TRIAL_PIECE)
        self.now += size * self.cost
        what = self.squeeze.choose(size) if self.may else PLAIN
        seconds, wire = 0.0, size
        if what == SAMPLE:
            seconds += SAMPLED / self.text.quick
            what = PACK if self.squeeze.sampled(SAMPLED, SAMPLED / self.text.ratio) else PLAIN
        if what == PACK:
            hard = self.squeeze.hard
            seconds += size / (self.text.hard if hard else self.text.quick)
            wire = int(size / (self.text.hard_ratio if hard else self.text.ratio))
            self.packed += size
        self.now += seconds
        self.raw += size
        self.wire += wire
        takes = max(wire / self.rate, size / self.sink)
        self.free_at = max(self.free_at, self.now) + takes
        buffer = SHALLOW if self.squeeze.working else DEEP
        wait = self.free_at - self.now - buffer * takes / wire
        self.squeeze.sent(self.now, size, wire, seconds, wait > 0)
        self.now += max(wait, 0.0)


def plain(rate):
    """The same without packing."""
    played = Played(rate)
    played.may = False
    return played


def share(played, total, **how):
    """The share of so many more bytes that is sent packed."""
    before, raw = played.packed, played.raw
    played.send(total, **how)
    return (played.packed - before) / (played.raw - raw)


@pytest.mark.parametrize("text", [TEXT, ZLIB])
@pytest.mark.parametrize("rate", [8e3, 125e3, 1.25e6, 5e6])
def test_a_thin_link(rate, text):
    """All goes packed, and hard, after a MiB or two: four times faster and more."""
    played = Played(rate, text)
    seconds = played.send(20 * MIB)
    assert played.packed >= 0.98 * played.raw and played.squeeze.hard
    assert seconds < played.raw / rate / 4
    assert share(played, 20 * MIB) == 1.0


@pytest.mark.parametrize("text", [TEXT, ZLIB])
@pytest.mark.parametrize("rate", [2e9, 1e9])
def test_a_fast_link(rate, text):
    """Nearly all goes plain, and a GiB takes as long as without, within two in a hundred."""
    played = Played(rate, text)
    seconds = played.send(1024 * MIB)
    without = plain(rate)
    for _ in range(1024):
        without.piece(PIECE)
    assert played.packed < 0.02 * played.raw
    assert seconds < 1.02 * without.now


@pytest.mark.parametrize("rate", [20e6, 60e6, 117e6])
def test_a_link_in_the_middle(rate):
    """Packing is the bottleneck and still the faster way: trials of the other one cost little."""
    played = Played(rate)
    seconds = played.send(1024 * MIB)
    assert played.packed > 0.97 * played.raw
    work = played.raw * (1 / TEXT.quick + played.cost)
    assert seconds < 1.1 * max(played.raw / rate / TEXT.ratio, work)


@pytest.mark.parametrize("rate", [1.25e6, 117e6, 2e9])
def test_data_that_does_not_get_smaller(rate):
    """It costs a sample now and then, on any link."""
    played = Played(rate, NOISE)
    seconds = played.send(512 * MIB)
    assert played.packed == 0
    assert seconds < 1.01 * max(played.raw / rate, played.raw * (played.cost + 1 / 2e9))


def test_data_changes():
    """Noise in the middle of text goes plain at once; the text behind it is packed again, after
    a few seconds or MiB."""
    played = Played(1.25e6)
    played.send(8 * MIB)
    played.text = NOISE
    assert share(played, 30 * MIB) <= 2 / 30
    played.text = TEXT
    assert share(played, 16 * MIB) > 0.5
    assert share(played, 16 * MIB) == 1.0


def test_a_link_becomes_thin():
    """What was plain on a fast link is packed some seconds after it is one no more: the kernel has
    swallowed four MiB by then."""
    played = Played(2e9)
    played.send(256 * MIB)
    assert not played.squeeze.packing
    played.rate = 1.25e6
    before = played.now
    while not (played.squeeze.packing and played.squeeze.hard):
        played.piece(PIECE)
    assert played.now - before < 12


def test_a_link_becomes_fast():
    """What was packed on a thin link goes plain, but for the trials."""
    played = Played(1.25e6)
    played.send(20 * MIB)
    played.rate = 2e9
    played.send(300 * MIB)
    assert share(played, 300 * MIB) == 0.0


def test_a_link_that_keeps_changing():
    """Whatever it does, it is not slower than plain by more than a few parts in a hundred."""
    played, without = Played(2e9), plain(2e9)
    rates = [2e9, 1.25e6, 20e6, 2e9, 125e3, 117e6, 2e9, 5e6] * 2
    for rate in rates:
        played.rate = without.rate = rate
        total = min(64 * MIB, int(rate * 8) // PIECE * PIECE or PIECE)
        played.send(total)
        for _ in range(total // PIECE):
            without.piece(PIECE)
    assert played.now < 1.03 * without.now


def test_a_slow_sink():
    """Where the other side's disk is the bottleneck nothing is lost either way."""
    played = Played(2e9, sink=100e6)
    seconds = played.send(512 * MIB)
    assert seconds < 1.03 * played.raw / 100e6


@pytest.mark.parametrize("rate", [1.25e6, 2e9])
def test_a_trickle(rate):
    """Now and then some lines: packed on any link, for there is time; tiny ones go plain."""
    played = Played(rate)
    assert share(played, 4 * MIB, size=3000, pause=0.1) == 1.0
    assert share(played, MIB // 4, size=SMALL - 1, pause=0.01) == 0.0
    assert share(played, MIB // 4, size=3000, pause=0.1) == 1.0


def test_a_small_piece_tells_nothing():
    """Lines too short to get smaller do not switch packing off for what follows."""
    played = Played(1.25e6, NOISE)
    played.send(MIB // 8, size=1000, pause=0.01)
    played.text = TEXT
    assert share(played, 4 * MIB) == 1.0


def test_a_moment_of_trouble():
    """A fast link that stands still for 50 ms now and then stays plain."""
    played = Played(2e9)
    played.send(64 * MIB)
    for _ in range(20):
        played.free_at += 0.05
        assert share(played, 400 * MIB) == 0.0
