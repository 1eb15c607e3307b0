"""A follower on a real directory: whatever happens to the file, each byte comes once.

The time is an argument; nobody waits.
"""

import contextlib
import errno
import gzip
import hashlib
import itertools
import os
import resource
import shutil
import time

import pytest

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Generation
from tcppipe.files.chain import Chain
from tcppipe.files.follower import GRACE, LINGER, Follower
from tcppipe.files.fs import REAL
from tcppipe.files.generations import Reader
from tcppipe.files.places import unfinished
from tcppipe.files.wakeup import Wakeup
from tcppipe.rotated import arrange
from tcppipe.session import news
from tcppipe.session.actions import Start
from tcppipe.wire.events import Why


class Log:
    """An origin and its follower.  heard: what was delivered of each generation."""

    def __init__(self, directory):
        self.path = str(directory / "app.log")
        self.tick = 10**18
        self.now = 1000.0
        self.follower = Follower(Chain(self.path))
        self.heard, self.ends, self.lost = [], [], []
        self.began = []
        self.reasons = []  # of what was lost

    # --- what happens to the file

    def write(self, data, path=None, mode="ab"):
        """Append, and close again."""
        with open(path or self.path, mode) as file:
            file.write(data)
        self.touch(path)

    def touch(self, path=None):
        """Each change has its own time."""
        self.tick += 1000
        os.utime(path or self.path, ns=(self.tick, self.tick))

    def rotate(self):
        """Rename app.log to .1, .1 to .2, and so on."""
        self.rotate_names()
        os.rename(self.path, self.path + ".1")

    def rotate_names(self, last=9):
        """Rename .1 to .2, and so on."""
        for n in range(last, 0, -1):
            for suffix in ("", ".gz"):
                if os.path.exists(f"{self.path}.{n}{suffix}"):
                    os.rename(f"{self.path}.{n}{suffix}", f"{self.path}.{n + 1}{suffix}")

    def copytruncate(self):
        """Copy to .1, then cut the original."""
        shutil.copy(self.path, self.path + ".1")
        self.touch(self.path + ".1")
        os.truncate(self.path, 0)
        self.touch()

    def compress(self, name):
        """As gzip does it: the modification time stays."""
        path = f"{self.path}.{name}"
        status = os.stat(path)
        with open(path, "rb") as plain, gzip.open(path + ".gz", "wb") as packed:
            packed.write(plain.read())
        os.utime(path + ".gz", ns=(status.st_mtime_ns, status.st_mtime_ns))
        os.unlink(path)

    # --- what the follower makes of it

    def find(self, alone=False):
        """The candidates of an agreement, by age."""
        found = self.follower.chain.places.find(alone).candidates
        rows = arrange([c for c in found if not c.live], self.path, lambda c: c.turn)
        return rows + [c for c in found if c.live]

    def take(self, item):
        """Note one item of news."""
        if isinstance(item, news.Began):
            self.heard.append(b"")
            self.began.append(item.generation)
        elif isinstance(item, news.LateBytes):
            (at,) = [n for n, g in enumerate(self.began) if g[:4] == item.generation[:4]]
            assert item.offset == len(self.heard[at])
            self.heard[at] += bytes(item.data)
        elif isinstance(item, news.Piece):
            assert item.offset == len(self.heard[-1])
            self.heard[-1] += bytes(item.data)
        elif isinstance(item, news.Ended):
            whole = self.heard[-1]
            assert item.length == len(whole)
            if item.digest != bytes(32):
                assert item.digest == hashlib.sha256(whole).digest()
            self.ends.append(item.why)
        elif isinstance(item, news.Lost):
            self.lost.append((item.first, item.last))
            self.reasons.append(item.reason)
        else:
            assert isinstance(item, news.Note)

    def listen(self, later=0.0, limit=1 << 20):
        """Take all the news that there is `later` seconds from now; what was heard so far."""
        self.now += later
        while (item := self.follower.next(self.now, limit)) is not None:
            self.take(item)
        return self.heard


@pytest.fixture
def log(tmp_path):
    """An origin."""
    log = Log(tmp_path)
    yield log
    log.follower.chain.close()


# --- nothing unusual


def test_follows_appends(log):
    """Byte for byte, in pieces no longer than asked for."""
    log.write(b"abc")
    assert log.listen() == [b"abc"]
    log.write(b"de\0\xff")
    log.write(b"")
    assert log.listen(limit=2) == [b"abcde\0\xff"]
    assert log.listen(5) == [b"abcde\0\xff"] and log.ends == []


def test_limit(log):
    """A piece never is longer."""
    log.write(b"x" * 1000)
    log.take(log.follower.next(0.0, 300))
    assert [len(log.follower.next(0.0, 300).data) for _ in range(4)] == [300, 300, 300, 100]


def test_an_empty_file(log):
    """Is a generation, and stays one."""
    log.write(b"")
    assert log.listen() == [b""]
    assert log.listen(10) == [b""]
    log.write(b"a")
    assert log.listen() == [b"a"] and log.ends == []


def test_a_missing_file(log):
    """Is waited for."""
    assert log.listen() == [] and log.listen(10) == []
    log.write(b"abc")
    assert log.listen() == [b"abc"]


def test_nothing_is_kept_of_what_was_said(log):
    """rest() makes the digest in quiet moments; the end has it."""
    log.write(b"abc" * 1000)
    log.listen()
    log.follower.rest(1000)
    assert log.follower.behind == 2000
    log.follower.rest(1 << 20)
    assert log.follower.behind == 0
    log.rotate()
    log.write(b"n")
    log.listen()
    assert log.ends == [Why.ROTATED]


# --- rotation by rename


def test_renamed(log):
    """The old file to its end, then the new one."""
    log.write(b"one")
    log.listen()
    log.write(b" more")
    log.rotate()
    log.write(b"two")
    assert log.listen() == [b"one more", b"two"]
    assert log.ends == [Why.ROTATED] and log.lost == []


def test_renamed_and_not_made_again(log):
    """The old one ends when nobody writes to it; the new one is waited for."""
    log.write(b"one")
    log.listen()
    log.rotate()
    assert log.listen(GRACE + 1) == [b"one"]
    assert log.ends == [Why.REMOVED]
    assert log.listen(100) == [b"one"]
    log.write(b"two")
    assert log.listen() == [b"one", b"two"]


def test_several_renames_between_two_looks(log):
    """What came and went meanwhile is found by name, in order."""
    log.write(b"one")
    log.listen()
    for name in (b"two", b"three", b"four"):
        log.write(b" end")
        log.rotate()
        log.write(name)
    assert log.listen() == [b"one end", b"two end", b"three end", b"four"]


def test_several_renames_with_dates(log):
    """By their dates."""
    log.write(b"one")
    log.listen()
    for day, name in (20, b"two"), (21, b"three"):
        os.rename(log.path, f"{log.path}-202611{day}")
        log.write(name)
    assert log.listen() == [b"one", b"two", b"three"]


def test_renamed_and_compressed_between_two_looks(log):
    """Read through decompression."""
    log.write(b"one")
    log.listen()
    for name in (b"two", b"three"):
        log.rotate()
        log.write(name)
    log.compress(1)
    log.compress(2)
    assert log.listen() == [b"one", b"two", b"three"]
    assert log.listen(60) == [b"one", b"two", b"three"]


def test_compressed_while_it_is_read(log):
    """The old file is held open: its compressed form brings nothing again."""
    log.write(b"one" * 100)
    log.listen(limit=10)
    log.rotate()
    log.compress(1)
    log.write(b"two")
    assert log.listen() == [b"one" * 100, b"two"]
    log.rotate()
    log.compress(1)
    log.write(b"three")
    assert log.listen(60) == [b"one" * 100, b"two", b"three"]


def test_what_cannot_be_decompressed_is_not_delivered_as_it_is(log):
    """A rotated file in a format that cannot be read here is no generation of raw bytes."""
    log.write(b"one")
    log.listen()
    log.rotate()
    log.write(b"two")
    log.rotate()
    log.write(b"three")
    os.rename(log.path + ".1", log.path + ".1.zst")
    try:
        log.listen()
    except OSError:
        pass  # says so, and waits
    assert b"two" not in log.heard


def test_held_while_nobody_listens(log):
    """look() is enough: then even what is deleted is delivered."""
    log.write(b"one")
    log.listen()
    for name in (b"two", b"three", b"four"):
        os.unlink(log.path)
        log.write(name)
        log.follower.chain.look()
    assert log.listen() == [b"one", b"two", b"three", b"four"]
    assert log.ends == [Why.ROTATED] * 3


def test_a_writer_that_holds_on(log):
    """The old file is followed while its writer writes, and ends when the writer goes."""
    log.write(b"")
    with open(log.path, "ab", buffering=0) as writer:
        writer.write(b"one")
        log.listen()
        log.rotate()
        assert log.listen() == [b"one"]
        assert log.listen(100) == [b"one"] and log.ends == []
        log.write(b"two")
        writer.write(b" late")
        assert log.listen(LINGER / 2) == [b"one late"]
        writer.write(b" later")
        assert log.listen(LINGER / 2) == [b"one late later"]
    assert log.listen() == [b"one late later", b"two"]


def test_a_writer_that_holds_on_for_ever(log):
    """When the new file grows and the old one is quiet, the new one has its turn."""
    log.write(b"")
    with open(log.path, "ab", buffering=0) as writer:
        writer.write(b"one")
        log.listen()
        log.rotate()
        log.write(b"two")
        log.listen()
        assert log.listen(LINGER / 2) == [b"one"]
        assert log.listen(LINGER) == [b"one", b"two"]


def test_bytes_that_come_later_still(log):
    """The old descriptor stays watched: late bytes are delivered, as their generation's."""
    log.write(b"")
    with open(log.path, "ab", buffering=0) as writer:
        writer.write(b"one")
        log.listen()
        log.rotate()
        log.write(b"two")
        log.listen()
        log.listen(LINGER + 1)
        assert log.heard[:2] == [b"one", b"two"]
        writer.write(b"too late")
        for _ in range(5):
            log.listen(GRACE)
    assert log.heard[:2] == [b"onetoo late", b"two"]


def test_what_has_ended_is_held_in_its_order(log):
    """Also where only a younger one is watched for late bytes: what a new agreement takes for the
    older one is delivered first, and what comes after it is not passed over."""
    chain = log.follower.chain
    for data in b"one", b"two", b"three":
        log.write(data)
        chain.look()
        log.rotate()
    one, two, three = chain.readers
    chain.done()
    chain.done()
    chain.watched.append(two)
    assert chain.held() == [one, two, three]


def test_renamed_back(log):
    """The same file under its name again is the same generation."""
    log.write(b"one")
    log.listen()
    with open(log.path, "ab"):
        os.rename(log.path, log.path + ".x")
        log.listen(0.1)
        os.rename(log.path + ".x", log.path)
        log.write(b" on")
        log.listen(0.1)
    assert log.listen(60) == [b"one on"] and log.ends == []


def test_a_copy_beside_brings_nothing_again(log):
    """Somebody has made a backup of the live file, before it is rotated."""
    log.write(b"one")
    log.listen()
    log.write(b"one", log.path + ".bak")
    log.rotate()
    log.write(b"two")
    assert log.listen(60) == [b"one", b"two"]


# --- replaced, removed, truncated


def test_replaced(log):
    """Another file was renamed over it: the old one to its end, then the other."""
    log.write(b"one")
    log.listen()
    log.write(b" end")
    log.write(b"other", log.path + "~")
    os.replace(log.path + "~", log.path)
    assert log.listen() == [b"one end", b"other"]


def test_removed_and_made_again(log):
    """Even when the inode number is the same."""
    log.write(b"one")
    log.listen()
    for data in (b"two", b"three"):
        log.write(b"!")
        os.unlink(log.path)
        log.listen(GRACE + 1)
        log.write(data)
        log.listen()
    assert log.heard == [b"one!", b"two!", b"three"]


def test_made_again_and_rotated_between_two_looks(log):
    """The inode number of a file that is done with may belong to the very next one, which has
    left its name already when somebody looks: that one is not skipped."""
    log.write(b"one")
    log.listen()
    os.unlink(log.path)
    log.listen(GRACE + 1)
    log.follower.chain.settle()
    log.write(b"two")
    log.rotate()
    log.write(b"three")
    assert log.listen() == [b"one", b"two", b"three"]


def test_truncated(log):
    """What follows is another generation; what was read is complete."""
    log.write(b"one")
    log.listen()
    os.truncate(log.path, 0)
    log.touch()
    assert log.listen() == [b"one", b""]
    log.write(b"two")
    assert log.listen() == [b"one", b"two"]
    assert log.ends == [Why.TRUNCATED] and log.lost == []
    assert log.began[0].same_inode(log.began[1])


def test_truncated_to_a_part(log):
    """What is left stands at the beginning of a new generation."""
    log.write(b"one two")
    log.listen()
    os.truncate(log.path, 3)
    log.touch()
    assert log.listen() == [b"one two", b"one"]


@pytest.mark.parametrize("size", [6, 7, 5000])
def test_truncated_and_grown_past_the_old_size(log, size):
    """Seen by the bytes below the offset."""
    log.write(b"one...")
    log.listen()
    log.write(b"T" * size, mode="wb")
    assert log.listen() == [b"one...", b"T" * size]


def test_rewritten_with_the_same_beginning(log):
    """The bytes just below the offset tell, not the first ones."""
    head = b"banner\n" * 300
    log.write(head + b"one\n" * 100)
    log.listen()
    log.write(head + b"two\n" * 200, mode="wb")
    assert log.listen() == [head + b"one\n" * 100, head + b"two\n" * 200]


def test_bytes_that_a_truncation_destroyed_are_said(log):
    """Nobody can read them any more; how many were seen is known."""
    log.write(b"x" * 100)
    log.take(log.follower.next(0.0, 30))
    log.take(log.follower.next(0.0, 30))
    os.truncate(log.path, 0)
    log.touch()
    log.listen()
    assert log.lost == [(30, 100)] and log.heard == [b"x" * 30, b""]


def test_copytruncate(log):
    """Read to its end before it was cut: nothing is lost, nothing comes twice."""
    for n in range(4):
        log.write(b"generation %d" % n)
        log.listen()
        log.rotate_names()
        log.copytruncate()
        log.listen(0.1)
    assert log.listen(60) == [b"generation %d" % n for n in range(4)] + [b""]
    assert log.lost == []


def test_copytruncate_with_the_rest_taken_from_the_copy(log):
    """What was not read before the cut is read from the copy."""
    log.write(b"one")
    log.listen()
    log.write(b" and the rest")
    log.copytruncate()
    log.write(b"two")
    assert log.listen() == [b"one and the rest", b"two"]
    assert log.lost == []


def test_copytruncate_with_a_compressed_copy(log):
    """Also through decompression."""
    log.write(b"one")
    log.listen()
    log.write(b" and the rest")
    log.copytruncate()
    log.compress(1)
    log.write(b"two")
    assert log.listen() == [b"one and the rest", b"two"]


def test_copytruncate_and_then_a_rename(log):
    """The kinds may follow each other between two looks."""
    log.write(b"one")
    log.listen()
    log.write(b" rest")
    log.copytruncate()
    log.write(b"two")
    log.rotate()
    log.write(b"three")
    assert log.listen() == [b"one rest", b"two", b"three"]


def test_copytruncate_and_a_rename_and_a_copytruncate(log):
    """The generations still come in their order."""
    log.write(b"one")
    log.listen()
    log.copytruncate()
    log.write(b"two")
    log.rotate()
    log.write(b"three")
    log.rotate_names()
    log.copytruncate()
    log.write(b"four")
    assert log.listen() == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize("name", ["bak", "7"])
def test_what_somebody_copied_before_is_not_the_rest(log, name):
    """Between two looks somebody copies the log as far as it was read; it grows, and is copied and
    truncated: the rest stands in the later copy, whatever the names are."""
    line = b"a line that is long enough to be told from others, number %04d\n"
    data = [line % number for number in range(60)]
    log.write(b"".join(data[:20]))
    log.listen()
    shutil.copy(log.path, f"{log.path}.{name}")
    log.write(b"".join(data[20:]))
    log.copytruncate()
    log.write(b"new\n")
    log.listen(5.0)
    assert log.heard == [b"".join(data), b"new\n"] and not log.lost


def test_an_older_copy_is_not_taken_for_the_rest(log):
    """A sibling that ends before what was read holds nothing of the rest."""
    log.write(b"one")
    log.write(b"one", log.path + ".1")
    log.listen()
    log.write(b" more")
    log.listen()
    os.truncate(log.path, 0)
    log.touch()
    log.write(b"two")
    assert log.listen() == [b"one more", b"two"]


# --- a new connection


def again(log, index, offset):
    """Start from a candidate, as after an agreement; all candidates."""
    candidates = log.find()
    candidate, *later = candidates[index:] if index else candidates
    assert log.follower.start(Start(candidate, offset, (0, NO_DIGEST), later=tuple(later)))
    return candidates


def test_candidates_are_in_order_and_the_live_one_is_last(log):
    """With their sizes."""
    for data in (b"one", b"second", b""):
        if data != b"one":
            log.rotate()
        log.write(data)
    log.compress(2)
    rows = log.find()
    assert [(os.path.basename(c.name), c.size, c.live) for c in rows] == [
        ("app.log.2.gz", None, False), ("app.log.1", 6, False), ("app.log", 0, True),
    ]  # fmt: skip


def test_the_origin_alone(log):
    """Siblings need no look where nothing is known of them."""
    log.write(b"one")
    log.rotate()
    log.write(b"two")
    assert [c.live for c in log.find(alone=True)] == [True]


def test_start_in_a_rotated_file(log):
    """From there through all later ones."""
    for data in (b"one", b"two", b"three"):
        if data != b"one":
            log.rotate()
        log.write(data)
    again(log, 0, 1)
    log.heard = [b"o"]
    assert log.listen() == [b"one", b"two", b"three"]


def test_a_broken_compressed_sibling_is_a_candidate_with_a_trouble(log):
    """It is complete later, or never."""
    log.write(b"one")
    log.write(b"\x1f\x8b broken", log.path + ".1.gz")
    assert [(c.live, bool(c.trouble)) for c in log.find()] == [(False, True), (True, False)]


@pytest.mark.parametrize("age, waited_for", [(0, True), (3600, False), (-3600, False)])
def test_a_broken_compressed_file_of_the_future_is_not_waited_for(log, age, waited_for):
    """It is complete soon, if it is being made just now. What a clock that was set back, or
    somebody's touch(1), has put into the future would hold up the pipe until then."""
    log.write(b"one")
    log.write(b"\x1f\x8b broken", log.path + ".1.gz")
    os.utime(log.path + ".1.gz", (time.time() - age,) * 2)
    reader = Reader(log.path + ".1.gz")
    assert unfinished(reader) is waited_for
    reader.close()


@pytest.mark.parametrize("proof, fits", [(b"two", True), (b"twO", False), (b"", True)])
def test_start_checks_what_was_agreed(log, proof, fits):
    """The file may have been cut and have grown since it was looked at."""
    log.write(b"one two three")
    (found,) = log.find(alone=True)
    digest = hashlib.sha256(proof).digest()
    assert log.follower.start(Start(found, 7, (len(proof), digest))) is fits


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("rounds", [1, 3])
def test_candidates_come_once(log, rounds, settled):
    """However often they are asked for, and whatever is held already.  (The agreement finds out
    what a compressed one is a copy of.)"""
    for data in (b"one", b"two", b"three", b"four"):
        if data != b"one":
            log.rotate()
        log.write(data)
        log.listen(10)
        if settled:
            log.follower.chain.settle()
    log.compress(3)
    for _ in range(rounds):
        rows = again(log, 0, 1)
        sizes = [c.size for c in rows]  # in no order, but that the live file is the last
        assert sizes.count(None) == 1 and sizes[-1] == 4
        assert sorted(size for size in sizes if size) == [*([] if settled else [3]), 3, 4, 5]
        assert bytes(log.follower.next(0.0).data) == b"ne"


def test_a_truncated_file_is_one_candidate(log):
    """The connection is lost before the sink has confirmed the end of the old generation: the
    file counts once, as what it is now."""
    log.write(b"one")
    log.listen()
    os.truncate(log.path, 0)
    log.touch()
    log.write(b"second")
    log.listen()
    rows = log.find()
    assert [(c.size, c.live) for c in rows] == [(6, True)]
    assert rows[0].generation.born != log.began[0].born


def test_what_is_held_is_a_candidate_without_a_name(log):
    """Deleted files that were not read to their end."""
    log.write(b"one")
    log.listen()
    os.unlink(log.path)
    log.write(b"two")
    log.follower.chain.look()
    rows = log.find(alone=True)
    assert [(c.size, c.live) for c in rows] == [(3, False), (3, True)]
    log.follower.start(Start(rows[0], 3, (0, NO_DIGEST), later=(rows[1],)))
    log.heard = [b"one"]
    assert log.listen() == [b"one", b"two"]


def test_no_descriptor_is_left(log):
    """After any number of rotations and reconnections, closing lets go of all."""
    before = len(os.listdir("/dev/fd"))
    for n in range(6):
        log.write(b"%d" % n)
        log.listen(1)
        log.rotate()
        log.write(b"x")
        if n % 2:
            log.compress(1)
        log.listen(1)
        log.copytruncate()
        log.listen(1)
        again(log, -1, 0)
        log.heard.append(b"")
        log.listen(1)
    log.follower.chain.close()
    assert len(os.listdir("/dev/fd")) == before


# --- a glance


def test_a_glance_at_a_file_at_rest(log):
    """Nothing has happened: nothing else has to be done."""
    log.write(b"abc")
    log.listen()
    assert log.follower.unchanged() and log.follower.unchanged()


def _rewrite(log):
    with open(log.path, "r+b") as file:
        file.write(b"xyz")
    log.touch()


@pytest.mark.parametrize(
    "happening",
    [
        lambda log: log.write(b"more"),
        lambda log: os.truncate(log.path, 0),
        lambda log: log.rotate(),
        lambda log: os.unlink(log.path),
        _rewrite,
    ],
    ids=["append", "truncate", "rename", "delete", "rewrite"],
)
def test_a_glance_sees_that_something_has_happened(log, happening):
    """What it was is then found out by next()."""
    log.write(b"abc")
    log.listen()
    happening(log)
    assert not log.follower.unchanged()


def test_a_glance_is_not_enough_while_something_is_awaited(log):
    """A file that has left its name: nobody tells when its writer lets go of it."""
    log.write(b"abc")
    log.listen()
    with open(log.path, "ab"):
        log.rotate()
        log.write(b"new")
        log.listen()
        assert not log.follower.unchanged()


# --- known by content


def pack(log, name, to, keep=False):
    """As docker and a Python rotator do it: the time is not kept."""
    with open(f"{log.path}{name}", "rb") as plain, gzip.open(f"{log.path}{to}", "wb") as packed:
        packed.write(plain.read())
    log.touch(f"{log.path}{to}")
    if not keep:
        os.unlink(f"{log.path}{name}")


@pytest.mark.parametrize("moment", ["before a look", "after a look"])
def test_compressed_at_a_later_time(log, moment):
    """Renamed, compressed, unlinked, in each rotation: nothing comes twice."""
    for n in range(6):
        log.write(b"generation %d\n" % n * 200)
        log.listen(0.1)
        for k in range(n, 0, -1):
            os.rename(f"{log.path}.{k}.gz", f"{log.path}.{k + 1}.gz")
        os.rename(log.path, log.path + ".1")
        if moment == "after a look":
            log.write(b"")
            log.listen(0.1)
        pack(log, ".1", ".1.gz")
    log.write(b"last\n")
    assert log.listen(60) == [b"generation %d\n" % n * 200 for n in range(6)] + [b"last\n"]


def test_missed_and_compressed_at_a_later_time(log):
    """Those that nobody saw are delivered, those that somebody saw are not delivered again."""
    log.write(b"seen\n" * 300)
    log.listen()
    for n in range(3):
        for k in range(n, 0, -1):
            os.rename(f"{log.path}.{k}.gz", f"{log.path}.{k + 1}.gz")
        os.rename(log.path, log.path + ".1")
        pack(log, ".1", ".1.gz")
        log.write(b"missed %d\n" % n)
    expected = [b"seen\n" * 300, *(b"missed %d\n" % n for n in range(3))]
    assert log.listen(60) == expected and log.listen(60) == expected


class Packing(type(REAL)):
    """An FS in which something happens to the files in the moment in which they are listed."""

    def __init__(self, log):
        self.todo = None
        self.log = log

    def listdir(self, path):
        """os.listdir, and then the world goes on."""
        names = super().listdir(path)
        if self.todo is not None:
            todo, self.todo = self.todo, None
            todo()
        return names


def test_compressed_under_an_unknown_name_while_it_is_looked_for(log):
    """app.log becomes app-TIME.log and app-TIME.log.gz at once, as Go's lumberjack does it, several times
    between two looks: the shape of the names is learned from what is packed now."""
    fs = Packing(log)
    log.follower.chain.fs = fs
    log.write(b"generation 0\n" * 200)
    log.listen()

    def rotate(number, then_pack=True):
        name = os.path.dirname(log.path) + f"/app-2026-11-25T07-33-0{number}.125.log"
        os.rename(log.path, name)
        if then_pack:
            with open(name, "rb") as plain, gzip.open(f"{name}.gz", "wb") as packed:
                packed.write(plain.read())
            os.unlink(name)
        return name

    name = rotate(1, then_pack=False)
    for number in (1, 2):
        log.write(b"generation %d\n" % number * 200)
        rotate(number + 1)
    log.write(b"generation 3\n" * 200)

    def finish():
        with open(name, "rb") as plain, gzip.open(f"{name}.gz", "wb") as packed:
            packed.write(plain.read())
        os.unlink(name)

    fs.todo = finish
    assert log.listen(60) == [b"generation %d\n" % n * 200 for n in range(4)]


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("at", ["the listing", "the opening"])
def test_rotated_during_a_look(log, dated, at):
    """Names change between the moments in which they are listed and opened: the look is made again,
    and holds every generation in its order."""
    fs = Packing(log)
    log.follower.chain.fs = fs
    count = 0

    def rotate():
        nonlocal count
        if dated:
            os.rename(log.path, f"{log.path}-2026112{count}")
        else:
            log.rotate()
        count += 1
        log.write(b"generation %d\n" % count * 200)

    log.write(b"generation 0\n" * 200)
    log.listen()
    rotate()
    rotate()
    if at == "the listing":
        fs.todo = lambda: (rotate(), rotate())
    else:
        real = fs.open

        def opened(path, flags, mode=0o600):
            fs.open = real
            rotate()
            return real(path, flags, mode)

        fs.open = opened
    wanted = 5 if at == "the listing" else 4
    assert log.listen(60) == [b"generation %d\n" % n * 200 for n in range(wanted)]


def test_equal_generations_are_each_delivered(log):
    """A day's log may be the same as that of the day before."""
    for _ in range(3):
        log.write(b"ok\n")
        log.listen()
        log.rotate()
        log.write(b"ok\n")
        log.rotate()
        log.write(b"")
        log.listen(60)
    assert b"".join(log.heard) == b"ok\n" * 6


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_steps(log, hours):
    """A rotated file's time, and the live one's, tell nothing."""
    for data in (b"one", b"two", b"three", b"four"):
        if data != b"one":
            log.rotate()
        log.write(data)
        log.tick += hours * 3600 * 10**9
        log.touch()
        if data == b"one":
            log.listen()
    assert log.listen(60) == [b"one", b"two", b"three", b"four"]


def test_a_time_before_1970(log):
    """Is a time like any other."""
    log.write(b"one")
    os.utime(log.path, ns=(-(10**18), -(10**18)))
    assert log.listen() == [b"one"] and log.began[0].born == 0


@pytest.mark.parametrize("stray", [".bak", "-notes", ".1.orig", ".save.gz"])
def test_a_stray_is_never_delivered(log, stray):
    """A file that rotation did not name, between generations that nobody saw."""
    log.write(b"one")
    log.listen()
    log.rotate()
    log.write(b"two")
    log.write(b"stray", log.path + stray)
    log.rotate()
    log.write(b"three")
    assert log.listen(60) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("more", [b"", b"and more\n"], ids=["equal", "longer"])
def test_replaced_by_a_copy_of_itself(log, more, times):
    """cp -a and mv, rsync, sed -i: the old file is gone, the new one begins with all of it.  Several
    times while the archive is away, and somebody looks."""
    content = b"line\n" * 400
    log.write(content)
    log.listen()
    for turn in range(times):
        shutil.copy2(log.path, log.path + "~")
        log.write(b"" if turn else more, log.path + "~")
        os.replace(log.path + "~", log.path)
        log.follower.chain.look()
    assert log.listen(60) == [content + more] and log.ends == []
    log.write(b"on\n")
    assert log.listen(60) == [content + more + b"on\n"]


def test_replaced_by_one_that_begins_in_the_same_way(log):
    """While the old file still stands there under another name it is another generation."""
    content = b"line\n" * 400
    log.write(content)
    log.listen()
    log.rotate()
    log.write(content + b"more\n")
    assert log.listen(60) == [content, content + b"more\n"]


def test_equal_generations_that_nobody_told_of(log):
    """Two were rotated between two looks."""
    content = b"line\n" * 400
    log.write(content)
    log.listen()
    for _ in range(3):
        log.rotate()
        log.write(content)
    assert log.listen(60) == [content] * 4


def found_by_content(log, data, *names):
    """The names of files of whatever name that are found for a generation with this content."""
    log.write(b"x")
    head = data[:1024]
    wanted = Generation(1, 99, 0, 0, len(head), hashlib.sha256(head).digest())
    for name in names:
        log.write(gzip.compress(data), os.path.join(os.path.dirname(log.path), name))
    found = log.follower.chain.places.find(wanted=(UNKNOWN, wanted)).candidates
    return sorted(os.path.basename(candidate.name) for candidate in found if not candidate.live)


@pytest.mark.parametrize("length", [2, 30, 500, 5000])
def test_found_by_a_complete_generation_that_is_compressed(log, length):
    """What is under way is empty yet, and shows nothing: an older one tells what names are like.
    All of a short file is enough."""
    data = (b"a line\n" * 1000)[:length]
    names = ["app-20261124.log.gz", "app-20261125.log.gz"]
    assert found_by_content(log, data, *names) == names


@pytest.mark.parametrize("length", [2, 30])
def test_a_few_equal_bytes_do_not_make_a_strange_file_ours(log, length):
    """Many files hold `1`, or a date."""
    assert found_by_content(log, b"x" * length, "other-1.gz") == []


@pytest.mark.parametrize("order", range(6))
def test_what_is_found_by_content_is_a_rotated_file_as_those_of_its_shape(log, order):
    """Names that rotation does not give; several begin as what the status file tells of."""
    log.write(b"x")
    line = b"a line that is long enough to tell\n"
    ours = Generation(1, 99, 0, 0, len(line), hashlib.sha256(line).digest())
    rows = list(itertools.permutations([line * 9, line * 3, b"another\n"]))[order]
    for day, data in enumerate(rows):
        path = log.path.replace(".log", f"-2026112{day}.log.gz")
        log.write(gzip.compress(data), path)
    found = log.follower.chain.places.find(wanted=(UNKNOWN,), ours=(ours,)).candidates
    assert len(found) == 4 and all(candidate.rotated for candidate in found)


@pytest.mark.parametrize("between", [b"", b"between\n"])
def test_an_undone_rotation(log, between):
    """The old file, which had ended, stands under the name again: it goes on where it was."""
    log.write(b"one\n")
    log.listen()
    os.rename(log.path, log.path + ".20261125")
    if between:
        log.write(between)
    log.listen(60)
    if between:
        os.unlink(log.path)
    os.rename(log.path + ".20261125", log.path)
    log.write(b"on\n")
    came = []
    while (item := log.follower.next(log.now + 60)) is not None:
        came.append(item)
    reopened, *pieces = [n for n in came if isinstance(n, (news.Reopened, news.Piece))]
    assert reopened.offset == 4 and [bytes(p.data) for p in pieces] == [b"on\n"]


def test_what_cannot_be_read_is_a_gap_that_names_it(log):
    """Unknown compression and damage between generations that nobody saw: said in their place."""
    log.write(b"one")
    log.listen()
    for data in (b"two", b"three", b"four"):
        log.rotate()
        log.write(data)
    os.rename(log.path + ".2", log.path + ".2.lz4")
    os.rename(log.path + ".1", log.path + ".1.gz")
    os.utime(log.path + ".1.gz", ns=(10**17, 10**17))
    assert log.listen(60) == [b"one", b"four"]
    first, second = log.reasons
    assert ".2.lz4: compressed as .lz4" in first and ".1.gz: cannot be decompressed" in second


def test_few_descriptors(log):
    """More was missed than can be held: it has its turn when what comes before is done with."""
    log.write(b"0")
    log.listen()
    for n in range(1, 40):
        log.rotate_names(last=n)
        os.rename(log.path, log.path + ".1")
        log.write(b"%d" % n)
    here = len(os.listdir("/dev/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 8, hard))
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                log.listen(2)
            log.follower.chain.settle()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert log.heard == [b"%d" % n for n in range(40)]


@pytest.mark.parametrize("at", range(1, 12))
def test_a_look_that_fails_half_way_loses_nothing(log, at, monkeypatch):
    """Some call of a look, or of a search, fails: the next one finds everything."""
    log.write(b"one")
    log.listen()
    for data in (b"two", b"three"):
        log.rotate()
        log.write(data)
    calls = []

    def failing(real):
        def call(*args, **more):
            calls.append(args)
            if len(calls) == at:
                raise OSError(errno.EIO, "Input/output error")
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        for name in ("open", "fstat", "stat", "listdir", "pread"):
            patch.setattr(log.follower.chain.fs, name, failing(getattr(REAL, name)))
        for search in (log.follower.chain.look, log.find, log.follower.chain.look):
            with contextlib.suppress(OSError):
                search()
    (held, *more) = log.find()
    assert held.size == 3 and log.follower.start(Start(held, 3, (0, NO_DIGEST), later=tuple(more)))
    log.heard = [b"one"]
    assert log.listen(60) == [b"one", b"two", b"three"]


# --- what nobody has seen


@pytest.fixture
def told(log):
    """An origin whose directory tells of names that come and go."""
    wakeup = Wakeup(log.path, lambda *_said: None)
    if wakeup.fileno() < 0:
        pytest.skip("no notification on this system")
    log.follower.chain.told = wakeup
    log.write(b"one")
    log.listen()
    log.follower.chain.look()
    yield log
    wakeup.close()


def test_what_was_made_and_deleted_unseen_is_a_gap(told):
    """Nobody can have it, but that it was there is known: said before what comes after it."""
    for data in (b"two", b"three", b"four"):
        os.rename(told.path, told.path + ".1")
        told.write(data)
    assert told.listen(60) == [b"one", b"three", b"four"]
    (reason,) = told.reasons
    assert "app.log: a generation was made and deleted before anybody could look" in reason


def test_several_that_nobody_has_seen(told):
    """Deleted, replaced, and gone at last."""
    for data in (b"two", b"three", b"four"):
        told.write(data, told.path + "~")
        os.replace(told.path + "~", told.path)
    os.unlink(told.path)
    assert told.listen(60) == [b"one"]
    (reason,) = told.reasons
    assert "3 generations were made and deleted" in reason


def test_what_was_seen_is_no_gap(told):
    """Rotated in every way, moved away and back, compressed, copied and truncated."""
    os.rename(told.path, told.path + ".x")
    os.rename(told.path + ".x", told.path)
    told.listen(1)
    told.rotate()
    told.write(b"two")
    told.listen(60)
    told.compress(1)
    told.rotate()
    told.write(b"three")
    told.rotate()
    told.write(b"four")
    told.listen(60)
    os.link(told.path, told.path + ".9")
    os.unlink(told.path)
    told.write(b"five")
    told.listen(60)
    told.copytruncate()
    told.listen(60)
    told.write(b"six", told.path + "~")
    os.replace(told.path + "~", told.path)
    assert told.listen(60)[:5] == [b"one", b"two", b"three", b"four", b"five"]
    told.find()
    told.follower.chain.look()
    assert told.lost == []
