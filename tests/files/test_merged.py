"""Several pipes into one destination: each line whole and once, those of each pipe in order.

A failure of a random life prints its seed; `LIFE_SEED=N` tries that one alone, `LIFE_RUNS=N` more.
"""

import errno
import gzip
import hashlib
import os
import random
import sys
import zlib
from pathlib import Path

import pytest

from tcppipe.cursor import HEAD, NO_DIGEST, Generation
from tcppipe.errors import Blocked, Busy, SyncFailed
from tcppipe.files import records, sharedhistory, sharedledger
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.lock import no_lock
from tcppipe.files.merged import MergedCopy
from tcppipe.files.unmerged import leave
from tcppipe.files.workers import Job
from tcppipe.wire.events import Begin, End, Holding, Why

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sim"))

from simfs import POWER, ProcessDied, SimFS  # noqa: E402

RUNS = int(os.environ.get("LIFE_RUNS", "60"))
SEEDS = [int(os.environ["LIFE_SEED"])] if "LIFE_SEED" in os.environ else list(range(RUNS))
ALL, LEDGER = "/archive/all.log", "/state/all.merge"


class AtOnce:
    """Takes turns here and now."""

    def start(self, work):
        sync = Job(work)
        sync.do()
        return sync


class Pipe:
    """An origin with all its generations, its source's memory, and its copy.

    Delivers as a source would that has agreed with what the copy offers; what it can prove of
    the offer it proves.
    """

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.generations = [b""]
        self.unfinished = False  # the last line has no newline yet
        self.copy = None
        self.at = 0  # the generation that is delivered now
        self.acked = (0, 0)

    # --- the origin

    def write(self, count=1):
        for _ in range(count):
            data = b""
            if not self.unfinished:
                data = b"%d:%d:%d" % (
                    self.number,
                    len(self.generations) - 1,
                    len(self.generations[-1]),
                )
                data += b"." * self.world.rnd.choice((0, 3, 40, 400))
            self.unfinished = self.world.rnd.random() < 0.1
            self.generations[-1] += data + (b"" if self.unfinished else b"\n")

    def rotate(self):
        if self.generations[-1] and not (self.world.joins and self.unfinished):
            self.generations.append(b"")
            self.unfinished = False

    def generation(self, number):
        content = self.generations[number]
        head = content[:HEAD]
        return Generation(1, 100 * self.number + number + 1, 0, number, len(head),
                          hashlib.sha256(head).digest() if head else NO_DIGEST)  # fmt: skip

    # --- source and sink

    def connect(self):
        self.die()
        fs = self.world.fs
        fs.process = self
        copy = self._copy()
        have = until_done(lambda: copy.offer(b"s" * 16))
        self.world.torn = self.world.restored = False
        self.at, offset, why = self._agree(have, copy)
        self.world.meanwhile(self)
        generation = self.generation(self.at)
        if offset < generation.head_len:
            generation = generation._replace(head_len=0, head=NO_DIGEST)
        until_done(lambda: copy.begin(Begin(why, generation, offset), b"s" * 16))
        self.copy, self.todo = copy, []

    def _copy(self):
        fs, name, own = self.world.fs, f"host:/{self.number}", f"/state/{self.number}.ledger"
        where = Destination(ALL, fs=fs)
        if self.world.merged:
            return MergedCopy(where, LEDGER, name, self.say, fs, own, AtOnce(), no_lock)

        def hold():
            leave(Destination(ALL, fs=fs), LEDGER, own, name, self.say, fs)
            return fs.open("/state/lock", os.O_RDWR | os.O_CREAT)

        return Copy(where, own, self.say, fs, hold=hold)

    def _common(self, have, copy, content):
        """How far the copy holds what the origin does, byte by byte."""
        low = have.first if have.damaged or have.end < have.mark else max(have.first, have.mark)
        ranges = tuple((at, 1) for at in range(low, have.end))
        digests = until_done(lambda: copy.prove(ranges)) if ranges else ()
        for (at, _one), digest in zip(ranges, digests):
            if digest != hashlib.sha256(content[at : at + 1]).digest():
                return at
        return have.end

    def _agree(self, have, copy):
        if have.holding == Holding.NOTHING:
            if self.acked != (0, 0) and not self.world.forgotten:
                return (*self.acked, Why.WITNESSED)
            return 0, 0, Why.FRESH
        number = have.generation.ino - 100 * self.number - 1
        content = self.generations[number]
        end = self._common(have, copy, content)
        head = content[: have.generation.head_len]
        if have.generation.head_len:
            assert have.generation.head == hashlib.sha256(head).digest()
        if have.tail_len and not have.damaged:
            tail = content[have.mark - have.tail_len : have.mark]
            assert have.tail == hashlib.sha256(tail).digest()
        if not have.closed:
            return number, end, Why.RESUMED
        if number + 1 < len(self.generations):
            return number + 1, 0, Why.NEXT
        return number, have.end, Why.REOPENED

    def say(self, level, text):
        self.world.said.append((level, text))

    def deliver(self, most=10**9, end=True):
        """Send what there is, a few pieces; and begin the next generation."""
        self.world.fs.process = self
        if self.copy is None:
            return
        while most:
            while self.todo:
                self.todo[0]()
                self.todo.pop(0)
            content = self.generations[self.at]
            data = content[self.copy.end :][: self.world.rnd.choice((7, 60, 5000))]
            if data:
                self.copy.append(self.copy.end, data)
                most -= 1
            elif self.at + 1 < len(self.generations) and end:
                digest = hashlib.sha256(content).digest()
                ended = End(Why.ROTATED, len(content), digest)
                begun = self.generation(self.at + 1)._replace(head_len=0, head=NO_DIGEST)
                self.todo = [
                    lambda ended=ended: self.finish(ended),
                    lambda begun=begun: self.copy.begin(Begin(Why.NEXT, begun, 0), b"s" * 16),
                ]
            else:
                break
        self.put()

    def finish(self, ended):
        length, digest = self.copy.finish(ended)
        assert length == ended.length and digest in (ended.digest, NO_DIGEST)
        self.acked = self.at, length
        self.at += 1

    def put(self):
        self.copy.begin_sync(AtOnce())
        self.copy.synced()
        self.acked = self.at, self.copy.durable

    def die(self, clean=False):
        if clean and self.copy is not None:
            self.copy.close(True)
        self.copy = None
        self.world.fs.end(self)


def until_done(step):
    """The result of something that is asked for again while it is Busy."""
    while True:
        try:
            return step()
        except Busy:
            pass


class World:
    """A disk, pipes, and what befalls them."""

    def __init__(self, seed, joins=False):
        self.joins = joins  # the first pipe is merged with others, and is alone, in turn
        self.merged = not joins
        self.joined = False  # the first pipe, whose last line may be unfinished, has connected
        self.rnd = random.Random(seed)
        self.fs = SimFS(self.rnd)
        self.pipes = [Pipe(self, n) for n in range(self.rnd.choice((1, 2, 3)))]
        self.said = []
        self.forgotten = False  # the sources have lost their status files
        self.rotations = 0
        self.foreign = 0
        self.kept = None  # a backup
        self.restored = False  # nobody has looked after that yet
        self.torn = False  # nobody has looked after the last death yet

    def attempt(self, pipe, work):
        """Let a pipe do something, which may fail or end it."""
        try:
            work()
            return True
        except Blocked:
            return True
        except SyncFailed:
            pipe.die()
        except ProcessDied:
            self.torn = True  # by an append that was under way
            if self.fs.out:
                self.power()
            else:
                pipe.die()
        return False

    def power(self):
        for pipe in self.pipes:
            pipe.die()
        self.fs.power_cut()

    def spared(self, work, *args):
        self.fs.spared, self.fs.process = True, "somebody"
        work(*args)
        self.fs.end("somebody")
        self.fs.spared = False

    def join(self):
        """The configuration is changed, and all connect again."""
        if self.joins:
            for pipe in self.pipes:
                pipe.die(clean=self.rnd.random() < 0.5)
            self.merged, self.joined = not self.merged, False

    def connect(self, pipe):
        first = pipe is self.pipes[0]
        if pipe.copy is None and (first or not self.joins or (self.merged and self.joined)):
            self.attempt(pipe, pipe.connect)
            self.joined = self.joined or (first and pipe.copy is not None)

    def meanwhile(self, pipe):
        """A pipe agrees where to go on when it has become merged; others append at that time."""
        whole = self.fs.content(ALL).endswith(b"\n")  # else they would stand in a line of its own
        if self.fs.spared or not (self.joins and self.merged and whole) or self.rnd.random() < 0.5:
            return
        self.fs.spared = True
        for other in self.pipes:
            if other is not pipe:
                other.write()
                if other.copy is None:
                    other.connect()
                other.deliver()
        self.fs.process, self.fs.spared = pipe, False

    def rotate(self, compress=False, copy=False):
        """The archive's logrotate."""
        content = self.fs.content(ALL)
        if not content or self.restored or (self.torn and (compress or copy)):
            return
        self.rotations += 1
        name = f"{ALL}.{2000 - self.rotations:04}"
        if compress:
            self.fs.put(name + ".gz", gzip.compress(content, mtime=0))
        elif copy:
            self.fs.put(name, content)
        else:
            self.fs.rename(ALL, name)
            return
        if copy:
            fd = self.fs.open(ALL, os.O_RDWR)
            self.fs.ftruncate(fd, 0)
            self.fs.fsync(fd)
            self.fs.close(fd)
        else:
            self.fs.unlink(ALL)

    def write_foreign(self):
        if self.torn or not self.fs.content(ALL).endswith(b"\n"):
            return  # who glues his line to another's is not ours to mend
        self.foreign += 1
        fd = self.fs.open(ALL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self.fs.write_all(fd, b"foreign %d\n" % self.foreign)
        self.fs.fsync(fd)
        self.fs.close(fd)

    def backup(self):
        if self.torn or not self.fs.content(ALL) or self.kept == {}:
            return
        self.kept = {path: self.fs.content(path) for path in self.fs.paths() if ".cut." not in path}

    def restore(self, what):
        """Copies or ledgers come back as they were; nobody runs meanwhile."""
        if not self.kept or self.torn:
            return
        for pipe in self.pipes:
            pipe.die()
        for path in self.fs.paths():
            if path.startswith(what) and ".cut." not in path:
                self.fs.unlink(path)
        self.fs.settle_names()
        for path, content in self.kept.items():
            if path.startswith(what):
                self.fs.put(path, content)
        self.kept, self.restored = {}, True

    def finish(self):
        self.fs.forget_faults()
        if not self.merged:
            self.attempt(self.pipes[0], self.join)
        for _turn in range(20):
            for pipe in self.pipes:
                self.connect(pipe)
                self.attempt(pipe, pipe.deliver)

    def lines(self):
        """All lines of the destination, its oldest piece first."""
        content = []
        names = [p for p in self.fs.paths(ALL) if ".cut." not in p]
        for path in sorted(
            names, key=lambda p: (p == ALL, [-ord(c) for c in p.removesuffix(".gz")])
        ):
            data = self.fs.content(path)
            content += (gzip.decompress(data) if path.endswith(".gz") else data).split(b"\n")
        return [line for line in content if line]

    def check(self, seed):
        lines = self.lines()
        known = {b"%d" % n: [] for n in range(len(self.pipes))}
        for line in lines:
            known.setdefault(line.partition(b":")[0], []).append(line)
        for pipe in self.pipes:
            there = known.pop(b"%d" % pipe.number)
            wanted = []
            for number, content in enumerate(pipe.generations):
                rows = content.split(b"\n")
                if number + 1 == len(pipe.generations):
                    rows = rows[:-1]  # the end of the last line has not come
                wanted += [row for row in rows if row]
            assert there == wanted, (seed, pipe.number, _differs(there, wanted), self.said[-8:])
        foreign = sum(map(len, known.values()))
        assert foreign == self.foreign, (seed, known, self.said)


def _differs(there, wanted):
    for at, (one, other) in enumerate(zip(there, wanted)):
        if one != other:
            return at, one[:40], other[:40], len(there), len(wanted)
    return len(there), len(wanted)


def merged(world, name="a", say=None):
    """A merged copy for a pipe without a world's origin."""
    fs = world.fs
    return MergedCopy(Destination(ALL, fs=fs), LEDGER, name, say or world.pipes[0].say, fs,
                      worker=AtOnce(), hold=no_lock)  # fmt: skip


def put(copy, data):
    """Append, and take a turn."""
    copy.append(copy.end, data)
    copy.begin_sync(AtOnce())
    copy.synced()


OLD = {"pipe": "a", "generation": [1, 7, 0, 3], "to": 0, "head_len": 0, "head": "00" * 32,
       "tail_len": 0, "tail": "00" * 32, "at": 0, "bytes": 0, "crc": 0, "closed": False, "dev": 1,
       "ino": 0, "resent": "", "before": None}  # fmt: skip


@pytest.mark.parametrize("last", ["proved", "unproved", "torn", "undone"])
def test_a_ledger_of_the_first_version(last):
    """What 51998aa wrote is read: where each pipe is, and whether its last lines are there."""
    world = World(1)
    text = b"one\ntwo\n"
    inode = world.fs.put(ALL, text[: 4 if last == "undone" else 6 if last == "torn" else 8])
    one = {**OLD, "to": 4, "bytes": 4, "crc": zlib.crc32(text[:4]), "ino": inode.number}
    said = {**one, "bytes": 0, "before": None}
    before = {key: value for key, value in said.items() if key != "before"}
    two = {**one, "to": 8, "at": 4, "bytes": 4, "crc": zlib.crc32(text[4:]), "before": before}
    rows = [OLD, one, said, two]
    rows += {"proved": [{**two, "bytes": 0, "before": None}], "undone": [said]}.get(last, [])
    world.fs.put(LEDGER, b"".join(map(records.render, rows)))
    copy = merged(world)
    have = copy.offer(b"")
    assert (have.holding, have.end) == (Holding.RECORDED, 4 if last in ("torn", "undone") else 8)
    copy.begin(Begin(Why.RESUMED, have.generation, have.end))
    put(copy, (text + b"three\n")[have.end :])
    assert world.fs.content(ALL) == text + b"three\n"
    assert merged(world).offer(b"").end == 14


def test_a_close_that_fails_leaves_nothing_open(monkeypatch):
    """As on NFS: the descriptor is gone all the same, and what was acknowledged had been synced."""
    world = World(1)
    copy = merged(world)
    have = copy.offer(b"")
    copy.begin(Begin(Why.FRESH, have.generation, 0))
    put(copy, b"one\n")
    close = world.fs.close

    def fails(fd):
        close(fd)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(world.fs, "close", fails)
        copy.close(True)
    assert not world.fs._fds
    assert merged(world).offer(b"").end == 4


@pytest.mark.parametrize("other", [b"", b"two\n"], ids=["alone", "among others"])
def test_what_an_original_client_is_answered_is_there(other):
    """Its piece of 1023 bytes may be the beginning of a line: it is there before the answer, since
    nobody sends it again. The rest comes right behind it, if nobody else was there before."""
    world = World(1)
    first, second = merged(world), merged(world, "b")
    for copy in (first, second):
        copy.begin_lines()
    first.append(0, b"x" * 1023)
    assert first.sync() == 1023
    assert world.fs.content(ALL) == b"x" * 1023
    put(second, other)
    first.append(1023, b"end\n")
    first.sync()
    assert world.fs.content(ALL) == b"x" * 1023 + (b"\n" + other if other else b"") + b"end\n"


@pytest.mark.parametrize("second", ["under way", "complete", "complete, told again"])
def test_two_compressed_files_with_equal_times_are_two_generations(second):
    """Nothing but a time tells them apart: what is complete of both is told, and nothing else."""
    world = World(1)
    copy = merged(world)
    copy.offer(b"")
    for why, text in (Why.FRESH, b"one\n" * 5), (Why.NEXT, b"two\n" * 9):
        copy.begin(Begin(why, Generation(0, 0, 0, 20), 0))
        put(copy, text)
        if why == Why.FRESH or second != "under way":
            copy.finish(End(Why.ROTATED, len(text)))
    if second == "complete, told again":
        rows = world.fs.content(LEDGER).split(b"\n")
        world.fs.put(LEDGER, b"\n".join([*rows[:-1], rows[-2], b""]))
    copy = merged(world)
    have = copy.offer(b"")
    assert (have.end, have.closed, have.previous_len) == (36, second != "under way", 20)
    assert [one.length for one in copy.past] == ([20] if second == "under way" else [20, 36])


def test_a_late_line_without_an_end_does_not_pile_up(monkeypatch):
    """Its beginning is held back, and what is too long for that goes in lines of its own."""
    monkeypatch.setattr("tcppipe.files.merged.LONGEST_LATE", 20)
    world = World(1)
    copy = merged(world)
    copy.offer(b"")
    first, second = Generation(1, 7, 0, 3), Generation(1, 8, 0, 4)
    copy.begin(Begin(Why.FRESH, first, 0))
    put(copy, b"one\n")
    copy.finish(End(Why.ROTATED, 4, NO_DIGEST))
    copy.begin(Begin(Why.NEXT, second, 0))
    for at in range(0, 30, 5):
        copy.append_late(first, 4 + at, b"late ")
    put(copy, b"two\n")
    assert world.fs.content(ALL) == b"one\n" + 4 * b"late " + b"\ntwo\n"


def test_a_long_ledger_is_rewritten(monkeypatch):
    """Its length is bounded, and a copy from any older time is still found in it."""
    monkeypatch.setattr(sharedledger, "COMPACT", 1 << 14)
    monkeypatch.setattr(sharedhistory, "DENSE", 20)
    world = World(1)
    names = "abc"
    copies = {name: merged(world, name) for name in names}
    for number, copy in enumerate(copies.values()):
        copy.offer(b"")
        copy.begin(Begin(Why.FRESH, Generation(1, number + 1, 0, 3), 0))
    rows = []
    for turn in range(900):
        name = names[turn % 3]
        rows.append(b"%s %06d\n" % (name.encode(), turn))
        put(copies[name], rows[-1])
        assert len(world.fs.content(LEDGER)) < 1 << 16
    older = rows[:500]
    world.fs.put(ALL, b"".join(older))
    for name in names:
        copy = merged(world, name)
        have = copy.offer(b"")
        assert 0 < have.end <= 500 // 3 * 9 + 9
        copy.begin(Begin(Why.RESUMED, have.generation, have.end))
        mine = [row for row in rows if row[:1] == name.encode()]
        put(copy, b"".join(mine)[have.end :])
    there = world.fs.content(ALL).splitlines(keepends=True)
    for name in names:
        mine = [row for row in rows if row[:1] == name.encode()]
        assert [row for row in there if row[:1] == name.encode()] == mine


@pytest.mark.parametrize("what", [errno.ENOSPC, errno.EIO])
def test_any_one_call_fails(what):
    """Whichever call of a connection and two turns fails: lines are there once after it."""
    number = 0
    while True:
        world = World(1)
        world.fs.plan = (number, what)
        copy = merged(world)
        text = b"one\ntwo\n"
        while world.fs.content(ALL) != text or copy.durable < len(text):
            try:
                have = copy.offer(b"")
                why = Why.RESUMED if have.holding == Holding.RECORDED else Why.FRESH
                copy.begin(Begin(why, Generation(1, 7, 0, 3), have.end))
                put(copy, text[have.end :][:4])
                put(copy, text[copy.end :])
            except (Blocked, SyncFailed):
                copy = merged(world)
        world.fs.forget_faults()
        assert merged(world).offer(b"").end == len(text)
        if not world.fs.reached:
            return
        number += 1


def live(seed, monkeypatch, steps, faults):
    """One life; `faults` are the letters of what may befall it besides writing and reading."""
    if seed % 2:  # a ledger that is rewritten again and again
        monkeypatch.setattr(sharedledger, "COMPACT", 5000)
        monkeypatch.setattr(sharedhistory, "DENSE", 8)
    world = World(seed, "j" in faults)
    rnd, fs = world.rnd, world.fs
    for pipe in world.pipes:
        pipe.write()
        world.connect(pipe)
    log = []
    for _ in range(steps):
        step = rnd.choice("wwwwddddDDg" + faults)
        pipe = rnd.choice(world.pipes)
        if "LIFE_SEED" in os.environ:
            sizes = [(path, len(fs.content(path))) for path in fs.paths(ALL)]
            print(
                step,
                pipe.number,
                [(p.at, p.copy and p.copy.durable) for p in world.pipes],
                sizes,
                world.said[-1:],
            )
        log.append(f"{step}{pipe.number}")
        if step == "w":
            pipe.write(rnd.choice((1, 1, 5)))
        elif step == "g":
            pipe.rotate()
        elif step in "dD":
            world.connect(pipe)
            world.attempt(
                pipe, lambda p=pipe, s=step: p.deliver(rnd.randint(1, 5) if s == "d" else 99)
            )
        elif step == "k":  # killed, at any call from now on
            fs.plan = (fs.calls + rnd.randint(1, 60), ProcessDied, True)
        elif step == "p":
            fs.plan = (fs.calls + rnd.randint(1, 60), POWER, True)
        elif step == "e":  # a call fails once
            fs.plan = (fs.calls + rnd.randint(1, 60), rnd.choice((errno.EIO, errno.ENOSPC)), True)
        elif step == "f":  # the disk is full for a while
            fs.failing = {} if fs.failing else {"write": errno.ENOSPC}
        elif step == "r":
            world.spared(world.rotate)
        elif step == "z":
            world.spared(world.rotate, True)
        elif step == "c":
            world.spared(world.rotate, False, True)
        elif step == "o":
            world.spared(world.write_foreign)
        elif step == "j":
            world.attempt(world.pipes[0], world.join)
        elif step == "b":
            world.backup()
        elif step == "A":
            world.spared(world.restore, "/archive/")
        elif step == "L":
            world.spared(world.restore, "/state/")
    world.finish()
    print("".join(log))
    world.check(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_call(monkeypatch, seed):
    """Processes are killed and the machine loses its power, at any call; calls fail, the disk
    is full; the destination is rotated."""
    live(seed, monkeypatch, 80, "kkpeefr")


@pytest.mark.parametrize("seed", SEEDS)
def test_rotated_copied_and_compressed(monkeypatch, seed):
    """The destination is renamed, copied and truncated, compressed in place, and somebody else
    writes to it; processes are killed."""
    live(seed, monkeypatch, 60, "krzco")


@pytest.mark.parametrize("seed", SEEDS)
def test_joins_and_leaves(monkeypatch, seed):
    """A pipe is merged with others and is alone again, in turn; processes are killed, calls fail."""
    live(seed, monkeypatch, 60, "jjjke")


@pytest.mark.parametrize("seed", SEEDS)
def test_restored(monkeypatch, seed):
    """The destination, or the ledger, comes back from an older backup."""
    live(seed, monkeypatch, 60, "kbrAL")
