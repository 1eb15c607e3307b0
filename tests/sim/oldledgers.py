"""What an earlier version left (tests/files/ledgers), and today's pipe that goes on with it in memory."""

import gzip
import os
import random
import time
from contextlib import contextmanager
from unittest import mock

from oldcases import HOST, ROOT
from simfs import SimFS
from simnet import connection
from simworld import SimSyncer

from tcppipe.drivers.feed import Feed
from tcppipe.drivers.fetched import Fetched, Means
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost, Refused, SyncFailed
from tcppipe.files.buffer import Buffer
from tcppipe.files.chain import Chain
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.follower import Follower
from tcppipe.files.lock import no_lock
from tcppipe.files.merged import MergedCopy
from tcppipe.files.pointer import Pointer
from tcppipe.files.status import StatusFile
from tcppipe.net.link import Link
from tcppipe.process import paths
from tcppipe.session.sink import Sink
from tcppipe.session.source import Source

COPY = ROOT + "archive/messages"
STRFTIME = time.strftime
BUFFER = Buffer(1 << 16)


class Pipe:
    """One origin of the case, with both halves of today's program."""

    def __init__(self, world, name):
        self.world = world
        self.origin = f"{ROOT}var/{name}"
        self.key = f"{HOST}:{self.origin}"
        base = paths.pipe_base(HOST, world.case.port, self.origin)
        original = paths.original_base(HOST, world.case.port, self.origin)
        run = [None if world.case.pull else f"{ROOT}run/{one}.pipe" for one in (base, original)]
        self.status = StatusFile(*run, fs=world.o) if run[0] else Nothing()
        self.follower = Follower(Chain(self.origin, fs=world.o))
        self.feed = self.store = None

    def connect(self):
        """A new connection, and the first words."""
        world = self.world
        here, there = connection(world.rnd, lambda: world.now)
        here.slow = there.slow = False
        witness, again = self.status.read()
        session = Source(b"new source's key", "new", world.now, witness, again)
        self.feed = Feed(Link(here, "archive"), session, self.follower, self.status, world.say)
        self.store = self._store(Link(there, "origin"))
        self.feed.open(world.now)

    def _store(self, link):
        world, session = self.world, Sink(self.world.now)
        copy, syncer = self._copy(), SimSyncer(world.rnd)
        if not world.case.pull:
            return Store(link, session, copy, lambda *_: None, world.say, syncer)
        pointer = Pointer(f"{ROOT}archive/.messages", world.a)
        size = len(world.a.content(COPY))
        asked = (pointer.read(size), size)
        return Fetched(
            link, session, copy, self, Means(None, "", None, syncer, BUFFER, None), asked
        )

    def began(self, *_):
        """Bytes may come."""

    def say(self, level, text):
        """What people are told of it."""
        self.world.say(level, text)

    def _copy(self):
        world, case = self.world, self.world.case
        base, host = paths.ledger_base(HOST, self.origin), Destination(COPY, fs=world.a)
        if case.merged:
            shared = f"{ROOT}state/{paths.file_name(COPY)}.merge"
            own = f"{ROOT}state/{base}.ledger"
            return MergedCopy(host, shared, self.key, world.say, world.a, own=own,
                              worker=SimSyncer(world.rnd), hold=no_lock)  # fmt: skip
        name = paths.file_name(COPY) if case.pull else base
        return Copy(host, f"{ROOT}state/{name}.ledger", world.say, world.a, case.mirror)

    def step(self):
        """Both halves do some of their work."""
        if self.feed is None:
            self.connect()
        now = self.world.now
        try:
            for _ in range(3):
                self.feed.link.flush()
                self.feed.hear(now)
                self.feed.deliver(now)
                self.feed.tend(now)
                self.store.link.flush()
                if not self.store.deaf:
                    self.store.hear(now)
                self.store.tend(now)
        except (LinkLost, SyncFailed, Refused) as error:
            self.world.log.append(str(error))
            self.hang_up(clean=not isinstance(error, SyncFailed))

    def hang_up(self, clean):
        """The connection is over."""
        self.store.close(clean)
        for half in (self.feed, self.store):
            half.link.close()
        self.feed = self.store = None

    @property
    def at_rest(self):
        """True when all was delivered and acknowledged."""
        streaming = self.feed is not None and self.feed.pump.session.streaming
        return streaming and self.feed.settled and not self.store.trouble


class Nothing:
    """gen_numbers keeps no status file."""

    path = "none"

    def read(self):
        """Nothing is remembered."""
        return None, False

    def save(self, *_):
        """Nor kept."""


class Carried:
    """The machines of a case, with its pipes.  ledger: what stands in its place, or None.

    anew: the machine was started anew since.
    """

    def __init__(self, case, ledger=..., anew=False):
        self.case = case
        self.rnd = random.Random(1)
        self.now = 100.0
        self.said, self.log = [], []
        self.o, self.a = SimFS(self.rnd), SimFS(self.rnd)
        latest = max(one["mtime"] for one in case.numbers.values())
        for fs in (self.o, self.a):
            fs.now, fs._numbers = latest + 10**9, 10**9
            fs.boots = "another" if anew else case.boot
            fs.device = next(iter(case.numbers.values()))["dev"]
        for path, content in case.files.items():
            if path == case.ledger:
                content = content if ledger is ... else ledger
            if content is not None:
                self._put(path, content)
        names = ["messages", "other"] if case.merged else ["messages"]
        with self.clock():
            self.pipes = [Pipe(self, name) for name in names]
        self.written = [case.written, case.other][: len(names)]
        self.lines = 0

    def _put(self, path, content):
        fs = self.a if path.startswith(("archive/", "state/")) else self.o
        numbers = self.case.numbers[path]
        inode = fs.put(ROOT + path, content, numbers["mtime"])
        inode.number, inode.generation = numbers["ino"], numbers["igen"]

    def say(self, level, text):
        """What people are told."""
        self.said.append((level, text))

    @contextmanager
    def clock(self):
        """In this block dates are ours."""

        def strftime(layout, moment=None):
            return STRFTIME(layout, moment or time.gmtime(self.a.now // 10**9))

        with (
            mock.patch.object(time, "strftime", strftime),
            mock.patch("tcppipe.files.places.time.time", lambda: self.o.now / 1e9),
        ):
            yield

    def settle(self):
        """Until all is there and nothing moves."""
        with self.clock():
            quiet = 0
            for _ in range(400):
                self.now += 0.4
                for fs in (self.o, self.a):
                    fs.now += 4 * 10**8
                for pipe in self.pipes:
                    pipe.follower.chain.look()
                    pipe.step()
                quiet = quiet + 1 if all(pipe.at_rest for pipe in self.pipes) else 0
                if quiet == 8:
                    return

    # --- what goes on

    def write(self, count=3):
        """The applications write some lines."""
        for at, pipe in enumerate(self.pipes):
            text = b""
            for _ in range(count):
                self.lines += 1
                text += b"%snew %06d\n" % (b"other " if at else b"", self.lines)
            fd = self.o.open(pipe.origin, os.O_WRONLY | os.O_APPEND)
            self.o.write_all(fd, text)
            self.o.close(fd)
            self.written[at] += text

    def rotate(self):
        """logrotate, without compression."""
        for pipe in self.pipes:
            for number in range(9, 0, -1):
                for end in ("", ".gz"):
                    if f"{pipe.origin}.{number}{end}" in self.o.paths(pipe.origin):
                        new = f"{pipe.origin}.{number + 1}{end}"
                        self.o.rename(f"{pipe.origin}.{number}{end}", new)
            self.o.rename(pipe.origin, f"{pipe.origin}.1")
            self.o.put(pipe.origin, b"")

    def go_on(self):
        """They come to rest, the origin is written to and rotated, and they come to rest."""
        self.settle()
        self.write()
        self.settle()
        self.rotate()
        self.write()
        self.settle()
        for pipe in self.pipes:
            if pipe.store is not None:
                pipe.hang_up(clean=True)

    def pieces(self):
        """The paths of the copy's pieces, oldest first."""
        found = [path for path in self.a.paths(COPY) if path != COPY and ".cut." not in path]
        plain = [path.removesuffix(".gz") for path in found]
        order = [[int(n) for n in path[len(COPY) + 1 :].split(".")] for path in plain]
        return [path for _, path in sorted(zip(order, found))]

    def copied(self):
        """All that is in the copy."""
        return read([self.a.content(path) for path in [*self.pieces(), COPY]])

    def missing(self):
        """What is wrong in the copy, or ""."""
        copied = self.copied()
        for at, wanted in enumerate(self.written):
            there = copied
            if self.case.merged:
                lines = copied.splitlines(keepends=True)
                there = b"".join(one for one in lines if one.startswith(b"other") == bool(at))
            if there != wanted:
                return differ(there, wanted)
        return ""


def read(contents):
    """What these files hold, compressed or not."""
    return b"".join(gzip.decompress(c) if c[:2] == b"\x1f\x8b" else c for c in contents)


def differ(there, wanted):
    """Where two contents differ, in words."""
    at = next((n for n, (a, b) in enumerate(zip(there, wanted)) if a != b), None)
    at = min(len(there), len(wanted)) if at is None else at
    found, missing = there[at : at + 30], wanted[at : at + 30]
    return f"{len(there)} of {len(wanted)} bytes, at {at} {found!r} instead of {missing!r}"
