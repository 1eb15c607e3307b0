"""Random lives of a log file, against a list of what was written in each generation.

A failure prints its seed; `LIFE_SEED=N` tries that one alone, `LIFE_RUNS=N` tries more.
"""

import gzip
import hashlib
import os
import random
import shutil

import pytest

from tcppipe.files.chain import Chain
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.follower import GRACE, Follower
from tcppipe.files.wakeup import Wakeup
from tcppipe.session import news
from tcppipe.session.actions import Length, Measure, Search
from tcppipe.session.agree import agree
from tcppipe.wire.events import Begin, End, Gap, Holding, Why

RUNS = int(os.environ.get("LIFE_RUNS", "60"))
WRONG_ONCE = {165, 169, 199, 211, 219, 251}
SEEDS = sorted({*range(RUNS), *WRONG_ONCE})
if "LIFE_SEED" in os.environ:
    SEEDS = [int(os.environ["LIFE_SEED"])]
ME = b"s" * 16
KEPT = 40  # rotated files; more than any life has, so none is deleted unread


class Life:
    """What an application, logrotate and an administrator do to a log file.

    generations: what was written in each, oldest first; the last one is live if `path` exists.
    """

    def __init__(self, directory, rng):
        self.path = str(directory / "app.log")
        self.rng = rng
        self.generations = []
        self.tick = 10**18
        self.dated = rng.random() < 0.3
        self.rotations = 0

    def append(self):
        """Write some lines, which tell where they belong; make the file if there is none."""
        if not os.path.exists(self.path):
            self.generations.append(b"")
        data = b""
        for _ in range(self.rng.choice([0, 1, 1, 2, 30])):
            size = len(self.generations[-1]) + len(data)
            dots = b"." * self.rng.randint(0, 60)
            data += b"%04d:%d%s\n" % (len(self.generations) - 1, size, dots)
        if self.rng.random() < 0.2:
            data = data[:-1]
        with open(self.path, "ab") as file:
            file.write(data)
        self.generations[-1] += data
        self.touch(self.path)

    def touch(self, path):
        """Every change has its own time, as it has where lives are slower."""
        self.tick += 10**6
        os.utime(path, ns=(self.tick, self.tick))

    def rotate(self):
        """Rename the file away; make an empty one half of the time."""
        if not os.path.exists(self.path):
            return
        os.rename(self.path, self._rotated())
        if self.rng.random() < 0.5:
            self.generations.append(b"")
            with open(self.path, "w"):
                pass
            self.touch(self.path)

    def _rotated(self):
        self.rotations += 1
        if self.dated:
            return f"{self.path}-202611{self.rotations:02}"
        for n in range(KEPT, 0, -1):
            for suffix in ("", ".gz"):
                if os.path.exists(f"{self.path}.{n}{suffix}"):
                    os.rename(f"{self.path}.{n}{suffix}", f"{self.path}.{n + 1}{suffix}")
        return self.path + ".1"

    def compress(self):
        """Compress a rotated file, as logrotate does: its time stays."""
        names = os.listdir(os.path.dirname(self.path))
        names = [n for n in names if n.startswith("app.log") and n != "app.log" and ".gz" not in n]
        if names:
            path = os.path.join(os.path.dirname(self.path), self.rng.choice(sorted(names)))
            status = os.stat(path)
            with open(path, "rb") as plain, gzip.open(path + ".gz", "wb", 1) as packed:
                packed.write(plain.read())
            os.utime(path + ".gz", ns=(status.st_mtime_ns, status.st_mtime_ns))
            os.unlink(path)

    def remove(self):
        """Delete the live file."""
        if os.path.exists(self.path):
            os.unlink(self.path)

    def truncate(self, copy=False):
        """Cut it to nothing, with or without a copy before; it may grow at once."""
        if not os.path.exists(self.path):
            return
        if copy:
            name = self._rotated()
            shutil.copy(self.path, name)
            self.touch(name)
        os.truncate(self.path, 0)
        self.touch(self.path)
        self.generations.append(b"")
        while self.rng.random() < 0.5:
            self.append()


class Heard:
    """What a follower delivered of each generation."""

    def __init__(self, follower):
        self.follower = follower
        self.generations = []
        self.lost = []
        self.now = 0.0

    def listen(self, most=10**9, limit=1 << 20):
        """Take up to so many items of news."""
        while most and (item := self.follower.next(self.now, limit)) is not None:
            most -= 1
            if isinstance(item, news.Began):
                self.generations.append(b"")
            elif isinstance(item, news.Piece):
                assert item.offset == len(self.generations[-1])
                self.generations[-1] += bytes(item.data)
            elif isinstance(item, news.Ended):
                whole = self.generations[-1]
                assert item.length == len(whole)
                if item.why != Why.TRUNCATED:
                    assert item.digest == hashlib.sha256(whole).digest()
                if self.now % 2:
                    self.follower.chain.settle()
            elif isinstance(item, news.Lost):
                self.lost.append(item.reason)

    def finish(self):
        """Listen until there is nothing more, however long one waits."""
        for _ in range(120):
            self.now += GRACE + 1
            self.listen()


def some(generations):
    """Generations that have content; an empty one may go unnoticed."""
    return [data for data in generations if data]


@pytest.mark.parametrize("seed", SEEDS)
def test_renamed_compressed_and_removed(tmp_path, seed):
    """Rotations by rename, at any time and several between two looks; removals of what was
    looked at.  Every generation is delivered exactly, in order, once."""
    print("seed", seed, end=": ")
    rng = random.Random(seed)
    life, heard = Life(tmp_path, rng), Heard(Follower(Chain(str(tmp_path / "app.log"))))
    wakeup = Wakeup(life.path, lambda *_said: None)
    heard.follower.chain.told = wakeup
    life.append()
    heard.follower.chain.look()
    for _ in range(rng.randint(5, 60)):
        step = rng.choice("aaaarrczxlnnN")
        print(step, end="")
        if step == "a":
            life.append()
        elif step == "r":
            life.rotate()
        elif step == "c" and rng.random() < 0.5:
            heard.follower.chain.look()
            life.compress()
        elif step == "z":
            heard.now += rng.choice([0.1, 1.0, 5.0])
        elif step == "x":
            heard.follower.chain.look()
            life.remove()
        elif step == "l":
            heard.follower.chain.look()
        elif step == "n":
            heard.listen(rng.randint(1, 4), rng.choice([5, 50, 1 << 20]))
        elif step == "N":
            heard.listen()
    heard.finish()
    heard.follower.chain.close()
    wakeup.close()
    assert heard.lost == []
    assert some(heard.generations) == some(life.generations), seed


@pytest.mark.parametrize("seed", SEEDS)
def test_truncated_as_well(tmp_path, seed):
    """With truncation what was not read in time is gone: of each generation a prefix is
    delivered, in order, none twice; and the last one whole."""
    print("seed", seed, end=": ")
    rng = random.Random(seed)
    life, heard = Life(tmp_path, rng), Heard(Follower(Chain(str(tmp_path / "app.log"))))
    life.append()
    heard.follower.chain.look()
    for _ in range(rng.randint(5, 60)):
        step = rng.choice("aaaarttyylnnN")
        print(step, end="")
        if step == "a":
            life.append()
        elif step == "r":
            life.rotate()
        elif step == "t":
            life.truncate()
        elif step == "y":
            life.truncate(copy=True)
        elif step == "l":
            heard.follower.chain.look()
        elif step == "n":
            heard.listen(rng.randint(1, 4), rng.choice([5, 50, 1 << 20]))
        elif step == "N":
            heard.listen()
    life.append()
    heard.finish()
    heard.follower.chain.close()
    at = -1
    for data in some(heard.generations):
        number = int(data[:4])
        assert number > at, (seed, "delivered twice, or out of order")
        assert life.generations[number].startswith(data), (seed, number)
        at = number
    assert not some(life.generations)[-1:] or heard.generations[-1] == life.generations[-1], seed


@pytest.mark.parametrize("seed", SEEDS)
def test_copytruncate_of_what_was_read(tmp_path, seed):
    """copytruncate, where each generation was begun to be read and no write falls between copy
    and cut: nothing is lost, nothing comes twice."""
    print("seed", seed, end=": ")
    rng = random.Random(seed)
    life, heard = Life(tmp_path, rng), Heard(Follower(Chain(str(tmp_path / "app.log"))))
    for _ in range(rng.randint(3, 25)):
        life.append()
        while not life.generations[-1]:
            life.append()
        heard.listen()
        if rng.random() < 0.5:
            life.append()
            life.truncate(copy=True)
        elif rng.random() < 0.5:
            life.rotate()
    heard.finish()
    heard.follower.chain.close()
    assert some(heard.generations) == some(life.generations), seed


# --- with a copy at the other end, and connections that are lost


class Pipe:
    """A follower that feeds a real copy, as the sessions would have it, without a link.

    connect() is a new connection, with or without a new source process; it may be lost at any
    time by just not going on.  Nothing is said, and all that was appended is in the page cache.
    """

    def __init__(self, directory, origin, rng, gaps=False):
        self.origin, self.rng, self.gaps = origin, rng, gaps
        self.destination = str(directory / "copy" / "app.log")
        self.ledger = str(directory / "copy" / "ledger")
        self.follower = Follower(Chain(origin))
        self.copy = None
        self.connected = False
        self.now = 0.0
        self.whys = []

    def connect(self, restart=False):
        """Agree where to go on; the copy's process is new in any case."""
        if restart:
            self.follower.chain.close()
            self.follower = Follower(Chain(self.origin))
        self.connected = False
        self.copy = Copy(Destination(self.destination), self.ledger, lambda *_said: None)
        have = self.copy.offer(ME)
        found = self.follower.chain.places.find(alone=have.holding != Holding.RECORDED)
        if not found.candidates:
            return
        plan = self._agree(agree(have, found, past=self.copy.past))
        if plan is None:
            return
        assert not plan.gaps or self.gaps, plan
        if self.rng.random() < 0.1:
            return  # lost during the agreement
        assert self.follower.start(plan.start())
        self.copy.begin(plan.begin, ME)
        self.whys.append(plan.begin.why.name)
        self.connected = True

    def _agree(self, generator):
        digests = None
        places = self.follower.chain.places
        while True:
            try:
                asked = generator.send(digests)
            except StopIteration as stop:
                return stop.value
            if isinstance(asked, Search):
                digests = places.find(asked.alone, asked.wanted)
            elif isinstance(asked, Length):
                digests = places.length(asked.candidate)
            elif isinstance(asked, Measure):
                digests = places.measure(asked.candidate, asked.ranges)
            else:
                digests = self.copy.prove(asked.ranges)

    def feed(self, most=10**9):
        """Deliver up to so many items of news."""
        while self.connected and most:
            item = self.follower.next(self.now, self.rng.choice([20, 1 << 20]))
            if item is None:
                break
            most -= 1
            if isinstance(item, news.Piece):
                self.copy.append(item.offset, item.data)
            elif isinstance(item, news.Began):
                self.copy.begin(Begin(Why.NEXT, item.generation, 0), ME)
            elif isinstance(item, news.Ended):
                length, digest = self.copy.finish(End(item.why, item.length, item.digest))
                assert length == item.length
                if bytes(32) not in (digest, item.digest):
                    assert digest == item.digest
                if self.rng.random() < 0.7:
                    self.follower.chain.settle()
            else:
                assert isinstance(item, news.Lost)
                self.copy.gap(Gap(item.generation, item.first, item.last, b""))
            if self.rng.random() < 0.1:
                self.copy.sync()
                self.copy.mark()

    def finish(self):
        """Connect, and feed until there is nothing more."""
        self.connect()
        for _ in range(30):
            if not self.connected:
                self.connect()
        for _ in range(80):
            self.now += GRACE + 1
            self.feed()

    def content(self):
        """The destination."""
        try:
            with open(self.destination, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pipe_that_is_cut_again_and_again(tmp_path, seed):
    """Rotations by rename and compression; connections lost, both processes killed, at any
    time.  The copy is a prefix of all that was written, always, and equal at last."""
    print("seed", seed, end=": ")
    rng = random.Random(seed)
    life = Life(tmp_path, rng)
    pipe = Pipe(tmp_path, life.path, rng)
    life.append()
    pipe.connect()
    while not pipe.connected:
        pipe.connect()
    for _ in range(rng.randint(5, 50)):
        step = rng.choice("aaaarrcfffFkKz")
        print(step, end="")
        if step == "a":
            life.append()
        elif step == "r":
            life.rotate()
        elif step == "c":
            life.compress()
        elif step == "f":
            pipe.feed(rng.randint(1, 5))
        elif step == "F":
            pipe.feed()
        elif step in "kK":
            pipe.connect(restart=step == "K")
        elif step == "z":
            pipe.now += rng.choice([0.1, 1.0, 5.0])
        assert b"".join(life.generations).startswith(pipe.content()), (seed, pipe.whys)
    if not os.path.exists(life.path):
        life.append()
    pipe.finish()
    pipe.follower.chain.close()
    assert pipe.content() == b"".join(life.generations), (seed, pipe.whys)


def explained(copy, generations, after=-1):
    """True when a copy is made of one beginning each of some generations, in their order."""
    if not copy:
        return True
    for number in range(after + 1, len(generations)):  # a beginning that tells no number
        for n in range(1, 5):
            short = len(copy) > n and generations[number].startswith(copy[:n])
            if short and copy[n : n + 4].isdigit() and copy[n + 4 : n + 5] == b":":
                if explained(copy[n:], generations, number):
                    return True
    if not copy[:4].isdigit() or copy[4:5] != b":":
        return False
    number = int(copy[:4])
    if not after < number < len(generations):
        return False
    whole = generations[number]
    longest = len(os.path.commonprefix([copy, whole]))
    shortest = max(longest - 6, 0)  # a new line and a new generation begin with the same digits
    return any(explained(copy[n:], generations, number) for n in range(longest, shortest, -1))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pipe_with_truncation(tmp_path, seed):
    """Truncated, copied and truncated, renamed; the copy's process is killed again and again.
    What could not be read is missing; nothing comes twice or out of order, and the last
    generation is whole."""
    print("seed", seed, end=": ")
    rng = random.Random(seed)
    life = Life(tmp_path, rng)
    pipe = Pipe(tmp_path, life.path, rng, gaps=True)
    life.append()
    pipe.connect()
    while not pipe.connected:
        pipe.connect()
    for _ in range(rng.randint(5, 40)):
        step = rng.choice("aaaatyrfffFkz")
        print(step, end="")
        if step == "a":
            life.append()
        elif step == "t":
            life.truncate()
        elif step == "y":
            life.truncate(copy=True)
        elif step == "r":
            life.rotate()
        elif step == "f":
            pipe.feed(rng.randint(1, 5))
        elif step == "F":
            pipe.feed()
        elif step == "k":
            pipe.connect()
        elif step == "z":
            pipe.now += rng.choice([0.1, 1.0, 5.0])
    life.append()
    pipe.finish()
    pipe.follower.chain.close()
    assert explained(pipe.content(), life.generations), (seed, pipe.whys)
    assert pipe.content().endswith(life.generations[-1]), (seed, pipe.whys)


def test_truncated_between_the_agreement_and_the_first_read(tmp_path):
    """The generation that begins is told by what is read of it, not by what stood there when it
    was found: after the next connection nothing comes twice."""
    path = str(tmp_path / "app.log")
    pipe = Pipe(tmp_path, path, random.Random(2), gaps=True)
    for n, data in enumerate((b"old line\n" * 9, b"a new line\n" * 20)):
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, ns=(n, n))
        if not n:
            pipe.connect()
            assert pipe.connected
    pipe.feed(3)
    pipe.finish()
    assert pipe.content() == b"a new line\n" * 20, pipe.whys
