"""A whole pipe in memory: writer, rotation, source, network, sink, and what befalls them.

Everything above the system calls is the real code; disks, clock, processes and the
network are played.  One seed decides all of it.
"""

import errno
import gzip
import os
import random
import time
from contextlib import contextmanager

from simfs import ProcessDied, SimFS

from tcppipe.drivers.feed import Feed
from tcppipe.drivers.packer import Packer
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost, Refused, SyncFailed
from tcppipe.files.chain import Chain
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.follower import Follower
from tcppipe.files.status import StatusFile
from tcppipe.files.syncer import Sync
from tcppipe.session.sink import Sink
from tcppipe.session.source import Source
from tcppipe.wire import packing

ORIGIN, STATUS = "/o/log", "/run/log.pipe"
COPY, LEDGER = "/a/log", "/state/log.ledger"
BANNER = b"== the same banner in every file, as many programs write it ==\n"
REAL_STRFTIME = time.strftime
SOURCE = "source"  # the name of the source's process

# what programs say, and what that reaches
SAID = {
    "torn tail healed": "torn, goes on from",
    "waited": "waiting:",
    "went on": ": goes on",
    "somebody else had written": "somebody else has written here",
    "ledger lost": "the ledger is lost",
    "gap recorded": "are lost at the origin",
    "damaged below the mark": "damaged below",
    "sent once more": "is sent once more",
}


class SimLink:
    """One end of a connection; the other end is `peer_end`."""

    def __init__(self, rnd, name):
        self.rnd = rnd
        self.peer = name
        self.peer_end = None
        self.inbox = bytearray()
        self.cut = False  # nothing more arrives, nothing more is sent
        self.closed = False
        self.room = 1 << 20

    @property
    def pending(self):
        return len(self.peer_end.inbox) > self.room

    unread = False

    def send(self, *parts):
        if self.closed:
            raise LinkLost(f"{self.peer}: closed")
        if not self.cut and not self.peer_end.closed:
            for part in parts:
                self.peer_end.inbox += bytes(part)

    def shallow(self, on):
        pass

    def give_back(self, data):
        self.inbox[:0] = data

    def flush(self):
        pass

    def drain(self, seconds):
        pass

    def receive(self, buffer):
        if self.inbox:
            count = self.rnd.randint(1, min(len(self.inbox), len(buffer)))
            buffer[:count] = self.inbox[:count]
            del self.inbox[:count]
            return count
        if self.peer_end.closed and not self.cut:
            raise LinkLost(f"{self.peer}: closed by the other side")
        return 0

    def close(self):
        self.closed = True


def connection(rnd):
    """Two ends of a new connection."""
    here, there = SimLink(rnd, "archive"), SimLink(rnd, "origin")
    here.peer_end, there.peer_end = there, here
    return here, there


class SimSync(Sync):
    """A sync that makes durable what was there when it began, and ends some time later."""

    def __init__(self, rnd, work):
        super().__init__(work)
        self.rnd = rnd

    @property
    def done(self):
        return self.rnd.random() < 0.5


class SimSyncer:
    """In a process of the simulation nothing happens beside it."""

    def __init__(self, rnd):
        self.rnd = rnd

    def start(self, work):
        sync = SimSync(self.rnd, work)
        sync.do()
        return sync


class Eager(Packer):
    """Packs every piece that gets smaller, without looking at a clock."""

    def pack(self, data):
        small = packing.pack(packing.ZLIB, data)
        return (packing.ZLIB, small) if len(small) < len(data) else None


class Generation:
    """What a writer wrote into one incarnation of the origin."""

    def __init__(self):
        self.data = bytearray()


class World:
    """One life of a pipe.  `do` names the things that may befall it, with their weights."""

    def __init__(self, seed, do=None, knobs=()):
        self.seed = seed
        self.rnd = random.Random(seed)
        self.knobs = set(knobs)
        self.o, self.a = SimFS(self.rnd), SimFS(self.rnd)
        self.now = 100.0
        self.lines = 0
        self.history = [Generation()]
        self.log = []
        self.said = []
        self.reached = {}
        self.feed = self.store = None
        self.orphans = []  # sinks whose source is gone, and who do not know it yet
        self._holder = None  # the sink that holds the pipe's lock, if it is still alive
        self.follower = self.status = None
        self.rotated = 0
        self.dest_rotated = 0
        self.acked = 0  # bytes of the destination that were acknowledged
        self.resend = False
        self.packer = Eager(lambda: self.now) if seed % 3 == 0 else None  # -z
        self._writer = None
        self._open_writer()
        self.events = do or EVENTS
        names = [name for name in self.events if self.rnd.random() < 0.6 or name in ALWAYS]
        self.menu = [name for name in names for _ in range(self.events[name])]

    # --- the writer and logrotate

    def _open_writer(self):
        if self._writer is not None:
            self.o.close(self._writer)
        self._writer = self.o.open(ORIGIN, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self):
        for _ in range(self.rnd.randint(1, 6)):
            self.lines += 1
            length = self.rnd.randint(0, 40)
            body = bytes(self.rnd.choice(b"ab\n\0\x07\xff\r") for _ in range(length))
            line = b"%06d %s" % (self.lines, body) + self.rnd.choice((b"\n", b"\n", b""))
            self._put(line)

    def banner(self):
        """Many logs begin with the same line."""
        if not self.history[-1].data:
            self._put(BANNER)

    def _put(self, data):
        self.o.write_all(self._writer, data)
        self.history[-1].data += data

    def rotate(self):
        self.reach("rotated")
        self._rotate()

    def _rotate(self):
        """logrotate: rename, create, the writer reopens; sometimes it was slow, or compresses."""
        self._shift()
        self.o.rename(ORIGIN, ORIGIN + ".1")
        if self.rnd.random() < 0.3:
            self.o.spared = False
            self.step_source()
            self.o.spared = True
        if self.rnd.random() < 0.4:  # the writer has not been told yet
            self._put(b"late %06d\n" % self.lines)
        self.history.append(Generation())
        self._open_writer()
        if self.rnd.random() < 0.4:
            self.compress()

    def rotate_twice(self):
        self.reach("rotated twice")
        self.rotate()
        self.write()
        self.rotate()

    def _shift(self):
        numbers = [n for n in range(40, 0, -1)]
        for number in numbers:
            for extension in ("", ".gz"):
                name = f"{ORIGIN}.{number}{extension}"
                if self.o.content(name) or name in self.o.paths(name):
                    self.o.rename(name, f"{ORIGIN}.{number + 1}{extension}")

    def compress(self):
        self.reach("compressed")
        name = f"{ORIGIN}.1"
        if name in self.o.paths(name):
            mtime = self.o.stat(name).st_mtime_ns
            data = gzip.compress(self.o.content(name), 1, mtime=0)
            self.o.put(name + ".gz", data, mtime)
            self.o.unlink(name)

    def copytruncate(self):
        """logrotate's copytruncate; the writer keeps its descriptor.

        Only when the sink has some of this generation: one that came and went unseen is
        not promised.  Nor one of which the source has read only what many files begin with:
        when the next one has grown past that by its next look, nobody can tell.
        """
        before = sum(len(generation.data) for generation in self.history[:-1])
        if len(self.copied()) <= before or self.durable() <= before:
            return
        common = len(BANNER) if self.history[-1].data.startswith(BANNER) else len("000001")
        if self.follower is not None and 0 < self.follower.offset <= common:
            return
        self.reach("copytruncate")
        self._shift()
        self.o.put(ORIGIN + ".1", self.o.content(ORIGIN))
        fd = self.o.open(ORIGIN, os.O_WRONLY)
        self.o.ftruncate(fd, 0)
        self.o.close(fd)
        self.history.append(Generation())
        if self.rnd.random() < 0.5:
            self.write()

    # --- the source

    def start_source(self):
        self.sender = bytes(self.rnd.randrange(256) for _ in range(16))
        self.follower = Follower(Chain(ORIGIN, fs=self.o))
        self.status = StatusFile(STATUS, fs=self.o)

    def connect(self):
        if self.follower is None:
            self.start_source()
        here, there = connection(self.rnd)
        witness, again = self.status.read()
        session = Source(self.sender, "sim", self.now, witness, self.resend or again, self.packer)
        self.feed = Feed(here, session, self.follower, self.status, self._say, self.packer)
        self._start_sink(there)
        self.feed.open(self.now)

    @contextmanager
    def _as(self, fs, process):
        """The calls in this block are made by a process on a machine."""
        before, fs.process = fs.process, process
        try:
            yield
        finally:
            fs.process = before

    def step_source(self):
        """Let the source do a bit of its work."""
        with self._as(self.o, SOURCE):
            self._step_source()

    def _step_source(self):
        if self.follower is not None:
            try:
                self.follower.chain.look()
            except OSError:
                pass
            except ProcessDied:
                self.kill_source()
        if self.feed is None:
            return
        try:
            for _ in range(self.rnd.randint(1, 4)):
                self.feed.hear(self.now)
                self.feed.deliver(self.now, self.rnd.choice((5, 64, 1 << 20)))
                self.feed.tend(self.now)
        except LinkLost as error:
            self.log.append(f"source: {error}")
            self.hang_up()
        except ProcessDied:
            self.kill_source()

    def hang_up(self):
        if self.feed:
            self.feed.link.close()
            self.feed = None

    def kill_source(self):
        self.reach("source killed")
        self.hang_up()
        self.o.end(SOURCE)
        self.follower = self.status = None

    # --- the sink

    def _start_sink(self, link):
        if self.store is not None:
            self.orphans.append(self.store)
        copy = Copy(Destination(COPY, fs=self.a), LEDGER, self._say, fs=self.a)
        session, syncer = Sink(self.now), SimSyncer(self.rnd)
        store = Store(link, session, copy, lambda *_: self._claim(store), self._say, syncer)
        self.store = store
        session.durable = self._watched(session.durable, copy)

    def _watched(self, durable, copy):
        """Note how much of the destination is promised whenever an acknowledgement leaves."""

        def promise(serial, offset):
            self.acked = max(self.acked, len(self.copied()) - (copy.end - offset))
            self.reach("acknowledged")
            return durable(serial, offset)

        return promise

    def _claim(self, store):
        """The fence: whoever held the pipe has ended before any offset is computed."""
        if "no fence" in self.knobs:
            return
        holder, self._holder = self._holder, store
        if holder is self.store and holder is not store:
            self.store = None
        elif holder in self.orphans and holder is not store:
            self.orphans.remove(holder)
        else:
            return
        self.reach("older child fenced")
        self._end_sink(holder, clean=True)
        holder.link.close()

    def _end_sink(self, store, clean):
        """A child ends in order, as far as it can."""
        with self._as(self.a, store):
            try:
                store.close(clean)
            except ProcessDied:
                pass
        self.a.end(store)

    def step_sink(self):
        """Let the sink, and those that do not know yet, do a bit of their work."""
        for store in list(self.orphans):
            if store not in self.orphans:
                continue
            try:
                with self._as(self.a, store):
                    if not store.deaf:
                        store.hear(self.now)
                    store.tend(self.now)
            except (LinkLost, SyncFailed, Refused) as error:
                self.orphans.remove(store)
                self._end_sink(store, clean=not isinstance(error, SyncFailed))
            except ProcessDied:
                self.orphans.remove(store)
                self.a.end(store)
        if self.store is None:
            return
        try:
            with self._as(self.a, self.store):
                for _ in range(self.rnd.randint(1, 4)):
                    if not self.store.deaf:
                        self.store.hear(self.now)
                    self.store.tend(self.now)
        except (LinkLost, SyncFailed, Refused) as error:
            self.log.append(f"sink: {error}")
            for action in self.store.pump.session.fail(error):
                self.store.link.send(action.data)
            self.store.link.close()
            self._end_sink(self.store, clean=not isinstance(error, SyncFailed))
            self.store = None
        except ProcessDied:
            self.kill_sink()

    def kill_sink(self):
        """kill -9 of the child: the kernel closes its descriptors, the page cache stays."""
        if self.store is not None:
            self.reach("sink killed")
            self.store.link.close()
            self.a.end(self.store)
            self.store = None
            for store in self.orphans:
                store.link.close()
                self.a.end(store)
            self.orphans = []

    def _say(self, level, text):
        self.said.append((level, text))
        self.log.append(f"    {level}: {text}")
        for what, words in SAID.items():
            if words in text:
                self.reach(what)

    def reach(self, what):
        self.reached[what] = self.reached.get(what, 0) + 1

    # --- what befalls them

    def cut(self):
        if self.feed:
            self.reach("connection reset")
            self.feed.link.close()
            self.feed = None

    def half_open(self):
        """The source has noticed, the sink has not; some bytes are still under way."""
        if self.feed and self.store:
            self.reach("half open")
            self.feed.link.cut = self.store.link.cut = True
            self.feed.link.closed = True
            self.feed = None

    def archive_power_cut(self):
        self.reach("archive power cut")
        self.orphans = []
        if self.store is not None:
            self.store.link.close()
            self.store = None
        self.a.power_cut()

    def origin_reboot(self):
        """The origin restarts with an empty run directory; its files are as they were."""
        self.reach("origin reboot")
        self.kill_source()
        for path in self.o.paths("/run/"):
            self.o.unlink(path)

    def disk_trouble(self):
        self.reach("disk trouble")
        code = self.rnd.choice((errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO))
        calls = self.rnd.choice((("write",), ("write", "open"), ("fdatasync",), ("fsync",)))
        self.a.failing = {call: code for call in calls}

    def disk_well(self):
        self.a.failing = {}

    def one_fault(self):
        """One call of the archive's fails, or is the last of its process."""
        self.reach("one call fails")
        what = self.rnd.choice((errno.EIO, errno.ENOSPC, errno.EINTR, ProcessDied))
        self.a.plan = (self.a.calls + self.rnd.randint(1, 12), what, self.rnd.random() < 0.5)

    def source_fault(self):
        what = self.rnd.choice((errno.EIO, errno.EINTR, ProcessDied))
        self.reach("a call of the source's fails")
        self.o.plan = (self.o.calls + self.rnd.randint(1, 12), what)

    def rotate_destination(self):
        """The archive's logrotate, with HUP."""
        if COPY in self.a.paths(COPY):
            self.reach("destination rotated")
            self.dest_rotated += 1
            self.a.rename(COPY, f"{COPY}.{10000 - self.dest_rotated}")
            self.a.put(COPY, b"")
            self.a.settle_names()
            if self.rnd.random() < 0.8:
                self.hup()

    def hup(self):
        """The archive's server gets HUP, and passes it on."""
        if self.store is None:
            return
        try:
            with self._as(self.a, self.store):
                self.store.reopen(self.now)
        except (LinkLost, SyncFailed) as error:
            self.log.append(f"sink: {error}")
            self._end_sink(self.store, clean=False)
            self.store.link.close()
            self.store = None
        except ProcessDied:
            self.kill_sink()

    def ledger_lost(self):
        """Somebody deletes the ledger while nothing runs."""
        self.kill_sink()
        for path in self.a.paths("/state/"):
            self.a.unlink(path)
        self.a.sync_directory("/state")

    def time_passes(self):
        self.now += self.rnd.choice((0.01, 0.2, 1.5, 5.0))

    @contextmanager
    def clock(self):
        """In this block dates are the world's, so that a seed tells everything."""

        def strftime(layout, moment=None):
            return REAL_STRFTIME(layout, moment or time.gmtime(1_700_000_000 + self.now))

        time.strftime = strftime
        try:
            yield
        finally:
            time.strftime = REAL_STRFTIME

    # --- a life

    def step(self):
        """One thing happens; the pipe does some work."""
        name = self.rnd.choice(self.menu)
        self.log.append(name)
        with self.others():
            getattr(self, name)()
        if self.feed is None and self.rnd.random() < 0.5:
            self.try_connect()
        for _ in range(self.rnd.randint(0, 3)):
            self.time_passes()
            self.step_source()
            self.step_sink()
        self.check_prefix()

    @contextmanager
    def others(self):
        """The calls in this block are not ours: they do not fail, and do not count."""
        before = self.o.spared, self.a.spared
        self.o.spared = self.a.spared = True
        try:
            yield
        finally:
            self.o.spared, self.a.spared = before

    def try_connect(self):
        try:
            with self._as(self.o, SOURCE):
                self.connect()
        except LinkLost:
            self.hang_up()
        except ProcessDied:
            self.kill_source()

    def settle(self, most=600):
        """No more trouble: the pipe has to come to rest with everything delivered."""
        self.o.forget_faults()
        self.a.forget_faults()
        self.log.append("settle")
        for _ in range(most):
            if self.feed is None:
                self.try_connect()
            self.time_passes()
            self.step_source()
            self.step_sink()
            if self.at_rest:
                break
        self.now += 2
        self.step_sink()

    @property
    def at_rest(self):
        """True when everything was delivered and acknowledged."""
        streaming = self.feed is not None and self.feed.pump.session.streaming
        return streaming and self.feed.settled and len(self.copied()) >= len(self.written())

    def written(self):
        """Everything that the writer wrote, in order."""
        return b"".join(bytes(generation.data) for generation in self.history)

    def copied(self):
        """Everything that the destination holds: its rotated pieces, oldest first, then itself."""
        pieces = [path for path in self.a.paths(COPY + ".9")] + [
            path for path in self.a.paths(COPY + ".1") if path[-5:].isdigit()
        ]
        pieces.sort(key=lambda path: -int(path.rsplit(".", 1)[1]))
        return b"".join(self.a.content(path) for path in [*pieces, COPY])

    def durable(self):
        """How many bytes of the destination would outlive a power cut."""
        copies = [path for path in self.a.paths(COPY) if "cut" not in path]
        return sum(len(self.a._names[path].durable) for path in copies)

    def check_prefix(self):
        """What was acknowledged stands as it was written, whatever happened; all that was
        delivered is a prefix of what was written, while nothing is torn."""
        copied, written = self.copied(), self.written()
        if copied[: self.acked] != written[: self.acked]:
            raise AssertionError(self.story(f"withdrawn {differ(copied, written[: self.acked])}"))
        if self.store is None or not self.store._open:
            return
        if not written.startswith(copied):
            raise AssertionError(self.story(f"not a prefix {differ(copied, written)}"))

    def check_end(self):
        copied, written = self.copied(), self.written()
        if copied != written:
            raise AssertionError(self.story(f"not equal {differ(copied, written)}"))

    def check_descriptors(self):
        """Processes that have come to rest hold the files that they use, and no others."""
        if self.follower is not None:
            chain = self.follower.chain
            readers = {*chain.watched, *chain._done, *chain.readers}
            self._check_open(self.o, SOURCE, [self.status._fd, *(reader.fd for reader in readers)])
        if self.store is not None:
            copy = self.store.copy
            self._check_open(self.a, self.store, [copy.destination.fd, copy._ledger._fd])

    def _check_open(self, fs, process, wanted):
        held = [fd for fd in fs.descriptors(process) if fd not in wanted]
        if held:
            paths = [p for fd in held for p, i in fs._names.items() if i is fs._fds[fd][0]]
            raise AssertionError(self.story(f"descriptors left open: {held} {paths}"))

    def story(self, what):
        return "\n".join([f"seed {self.seed}: {what}", *map(str, self.log[-60:])])


def differ(copied, written):
    same = min(len(copied), len(written))
    at = next((i for i in range(same) if copied[i] != written[i]), same)
    return (
        f"at {at} of {len(written)} (copied {len(copied)}): "
        f"copied {copied[at - 20 : at + 30]!r} written {written[at - 20 : at + 30]!r}"
    )


EVENTS = {
    "write": 30, "banner": 4, "rotate": 4, "rotate_twice": 2, "copytruncate": 3, "cut": 3,
    "half_open": 3, "kill_source": 3, "kill_sink": 3, "archive_power_cut": 2, "origin_reboot": 1,
    "disk_trouble": 2, "disk_well": 4, "one_fault": 3, "source_fault": 2,
    "rotate_destination": 2, "time_passes": 5,
}  # fmt: skip
ALWAYS = {"write", "time_passes", "disk_well"}


def live(seed, steps=60, do=None, knobs=()):
    """One life from its seed; raises AssertionError with its story when a promise is broken."""
    return run(World(seed, do, knobs), steps)


def run(world, steps=60):
    """Live it: begin, so many steps, come to rest."""
    with world.clock():
        world.settle()  # a new pipe begins with the live file; what was rotated before is not its
        for _ in range(steps):
            world.step()
        world.settle()
        world.check_end()
    return world
