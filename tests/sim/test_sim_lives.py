"""Random lives of a whole pipe in memory, and proof that they would notice.

A seed decides everything; a failure prints it: scripts/torture --seed N repeats it.
"""

import pytest
import simworld
from simworld import ALWAYS, EVENTS, NOT_YET, live

from tcppipe.files import buffer, destination, generations
from tcppipe.files import copy as files_copy
from tcppipe.session import agree, compare
from tcppipe.session.actions import Measure
from tcppipe.wire.events import Probe

CHUNK, LIVES = 25, 500


# Lives that still go wrong, by faults of ours that are to be mended: scripts/torture --seed N
# tells them.  This set is to be empty.
KNOWN_WRONG = set()


@pytest.mark.parametrize("first", range(0, LIVES, CHUNK))
def test_lives(first):
    """Writing, rotation, copytruncate, kills, cuts, faults, power cuts, reboots: after every
    step the destination is a prefix of what was written and keeps what was acknowledged; at
    rest it is equal."""
    for seed in set(range(first, first + CHUNK)) - KNOWN_WRONG:
        live(seed)


@pytest.mark.parametrize("first", range(0, 100, CHUNK))
def test_lives_with_a_peer_of_minor_version_1(first, monkeypatch):
    """Nothing is lost or doubled by what befell lives before there was more to say; nothing is
    compared, and nobody knows more of complete generations than the last one."""
    monkeypatch.setattr("tcppipe.session.sink.MINOR", 1)
    monkeypatch.setattr("tcppipe.session.source.MINOR", 1)
    for seed in range(first, first + CHUNK):
        live(seed, do=menu_of(BEFORE))


BEFORE = (
    "banner", "rotate", "rotate_twice", "copytruncate", "cut", "half_open", "kill_source",
    "kill_sink", "archive_power_cut", "origin_reboot", "disk_trouble", "one_fault",
    "source_fault", "rotate_destination", "mirror", "slow pace", "stop_sink",
)  # fmt: skip


def test_everything_is_reached():
    """The lives above really meet each trouble and each way out of it, and not only once."""
    reached = {}
    said = set()
    for seed in range(60):
        world = live(seed)
        for what, count in world.reached.items():
            reached[what] = reached.get(what, 0) + count
        said.update(words for _level, text in world.said for words in WAYS_OUT if words in text)
    for what in (
        "acknowledged", "rotated", "rotated twice", "compressed", "copytruncate",
        "connection reset", "half open", "older child fenced", "source killed", "sink killed",
        "archive power cut", "origin reboot", "disk trouble", "one call fails",
        "a call of the source's fails", "destination rotated",
    ):  # fmt: skip
        assert reached.get(what, 0) > 3, what
    assert said == set(WAYS_OUT)


WAYS_OUT = ("torn, goes on from", "goes on", "waiting:")


# --- ablations: without any one of these the promise breaks, and the lives must notice


def no_sync(monkeypatch):
    """An acknowledgement without a sync before it."""
    monkeypatch.setattr(destination.Destination, "sync", lambda self: None)


def no_tail_comparison(monkeypatch):
    """What is not durable is believed."""

    def believe(candidate, low, high):
        return high
        yield

    monkeypatch.setattr(compare, "common", believe)


def whole_blocks(monkeypatch):
    """A torn tail is cut where the block with the first difference begins."""

    def blocks(candidate, low, high):
        ranges = tuple((at, min(64, high - at)) for at in range(high - high % 64, -1, -64))[::-1]
        for first, length in ranges:
            if length > 0 and first + length > low:
                here = yield Measure(candidate, ((first, length),))
                there = yield Probe(((first, length),))
                if here != there:
                    return first
        return high

    monkeypatch.setattr(compare, "common", blocks)
    monkeypatch.setattr(simworld.Sink, "_check_start", lambda self, begin: None)


def no_siblings(monkeypatch):
    """Rotated files are not looked for."""
    monkeypatch.setattr(generations, "siblings", lambda *args, **kw: [])
    for user in ("chain", "places"):
        monkeypatch.setattr(f"tcppipe.files.{user}.beside", lambda *args, **kw: [])


def identity_by_inode(monkeypatch):
    """The file with the inode is the generation, whatever it holds."""

    def by_inode(situation):
        for candidate in situation.candidates:
            if candidate.generation.ino == situation.have.generation.ino:
                return candidate
        return None
        yield

    monkeypatch.setattr(agree, "find", by_inode)


def no_draining(monkeypatch):
    """A renamed file is left at once, whoever still writes to it."""
    monkeypatch.setattr(simworld.SimFS, "has_writer", lambda self, fd: False)


def ledger_not_durable(monkeypatch):
    """The record of a stretch is not synced before its first byte."""
    monkeypatch.setattr(simworld.SimFS, "fdatasync", _only_destination)


def _only_destination(self, fd):
    inode = self._fds[fd][0]
    if not bytes(inode.data).count(b'"stretch"'):
        inode.sync()


def buffer_given_back(monkeypatch):
    """Memory is given back to the system while a link still looks into it."""

    def release(self):
        if self._memory is not None:
            self._memory[:] = bytes(self.size)  # as MADV_DONTNEED has it

    monkeypatch.setattr(buffer.Buffer, "release", release)
    monkeypatch.setattr(buffer, "_in_use", lambda memory: False)


def buffer_used_again(monkeypatch):
    """The next piece is read into memory that a link still looks into."""
    monkeypatch.setattr(buffer, "_in_use", lambda memory: False)
    monkeypatch.setattr(simworld.Link, "pending", False)


def not_compared(monkeypatch):
    """What is acknowledged was not compared with what was read at the origin."""
    monkeypatch.setattr(files_copy.Copy, "_compared", lambda self, check: check[0])


ABLATIONS = {  # what has to befall a life for it to be noticed; (): what befalls all
    buffer_given_back: (), buffer_used_again: (), not_compared: ("alter",),
    no_sync: (), no_tail_comparison: (), whole_blocks: (),
    no_siblings: (), identity_by_inode: (), no_draining: (), ledger_not_durable: (),
}  # fmt: skip
SEEDS = 300


def menu_of(events):
    """The weights of these events, and of those that befall all lives; None: the usual ones."""
    return {name: EVENTS[name] for name in EVENTS if name in {*events, *ALWAYS}} if events else None


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.__name__)
def test_ablation_is_noticed(ablation, monkeypatch):
    """Without it a life goes wrong within some hundred seeds."""
    events = ABLATIONS[ablation]
    if NOT_YET.keys() & events:
        pytest.skip("it goes wrong in any case")
    ablation(monkeypatch)
    _goes_wrong(lambda seed: live(seed, do=menu_of(events)))


def test_missing_fence_is_noticed():
    """An old child that is not stopped before offsets are computed goes on writing."""
    _goes_wrong(lambda seed: live(seed, knobs=["no fence"]))


def _goes_wrong(one_life):
    for seed in range(SEEDS):
        try:
            one_life(seed)
        except AssertionError:
            return
    pytest.fail(f"{SEEDS} lives, and nobody noticed")
