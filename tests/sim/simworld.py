"""A whole pipe in memory: writer, rotation, source, network, sink, and what befalls them.

Everything above the system calls is the real code; disks, clocks, processes and the
network are played.  One seed decides all of it.

The world is as unkind as the real one.  What it destroys before anybody could read it may be
missing in the copy, if a gap says so; nothing else may, and no gap may say what is not so.
"""

import errno
import os
import random
import re
import time
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

from simcopy import COPY, LEDGER, Archive
from simfs import ProcessDied, SimFS
from simnet import connection
from simnews import NFS
from simorigin import BANNER, ORIGIN, PATTERNS, SOURCE, Generation, Origin

from tcppipe.drivers.feed import Feed
from tcppipe.drivers.packer import Packer
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost, Refused, SyncFailed
from tcppipe.files.chain import Chain
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.follower import Follower
from tcppipe.files.status import StatusFile
from tcppipe.files.wakeup import Wakeup
from tcppipe.files.workers import Job
from tcppipe.net.link import Link
from tcppipe.net.paced import Bucket, Paced
from tcppipe.session.sink import Sink
from tcppipe.session.source import Source
from tcppipe.wire import packing

__all__ = ["BANNER", "COPY", "LEDGER", "ORIGIN", "Generation", "World", "live", "run"]

STATUS = "/run/log.pipe"
TORN = re.compile(rb"<[a-z]*( \d*)?>?\Z")
MARKED = re.compile(rb"<(late|foreign) (\d{6})>\n")
REAL_STRFTIME = time.strftime
LONG = (8.0, 15.0, 30.0, 100.0, 400.0)  # seconds for which a process is stopped

# what programs say, and what that reaches
SAID = {
    "torn tail healed": "torn, goes on from",
    "waited": "waiting:",
    "went on": ": goes on",
    "somebody else had written": "somebody else has written here",
    "ledger lost": "the ledger is lost",
    "damaged below the mark": "damaged below",
    "sent once more": "is sent once more",
    "altered bytes noticed": "are not those that were read",
}


class SimSync(Job):
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


class World(Origin, Archive):
    """One life of a pipe.  `do` names the things that may befall it, with their weights."""

    def __init__(self, seed, do=None, knobs=()):
        self.seed = seed
        self.rnd = random.Random(seed)
        self.knobs = set(knobs)
        self.o, self.a = SimFS(self.rnd), SimFS(self.rnd)
        self.now = 100.0
        self.log = []
        self.said = []
        self.gaps = set()  # those that were recorded
        self.torn = set()  # (where a gap begins, how many bytes stand behind that)
        self.reached = {}
        self.happened = set()  # of EVENTS, those that have reached something
        self._event = None
        self.feed = self.store = None
        self.orphans = []  # sinks whose source is gone, and who do not know it yet
        self._holder = None  # the sink that holds the pipe's lock, if it is still alive
        self.follower = self.status = None
        self.acked = 0  # bytes of ours that were acknowledged
        self.marks_lost = False  # late bytes were thrown away with a copy
        self.altered = False  # bytes were altered on their way, and may stand there for now
        self.stopped = {"source": 0.0, "sink": 0.0}  # until when
        self.resend = False
        self.packer = Eager(lambda: self.now) if seed % 3 == 0 else None  # -z
        self.events = do or MENU
        names = [name for name in self.events if self.rnd.random() < 0.6 or name in ALWAYS]
        either = self.rnd.choice((COPIES, EQUALS))
        names = [name for name in names if name not in either]
        if EQUALS & set(names):
            names = [name for name in names if name != "delete_oldest"]
        if "link_beside" in names:  # the file that is replaced has a name still
            names = [name for name in names if name != "replace"]
        schemes = [name[7:] for name in names if name.startswith("scheme ")]
        scheme = self.rnd.choice(sorted(schemes) or ["numbers"])
        names = [name for name in names if scheme != "up" or name not in TIMELESS]
        self.menu = [name for name in names for _ in range(self.events[name])]
        self.traits = {name for name in self.menu if name in TRAITS}
        self.menu = [name for name in self.menu if name not in TRAITS]
        self.limit = self.rnd.choice((200, 5000)) if "slow pace" in self.traits else None
        self.mirror = "mirror" in self.traits
        self.o.leases = "no leases" not in self.traits
        self.o.tells_generations = "no inode generations" not in self.traits
        self.a.tells_generations = "no inode generations there" not in self.traits
        self.a.forgets = "failed syncs forget" in self.traits
        self.settles_names = "names are not synced" not in self.traits
        self.o.granularity = 10**9 if "coarse times" in self.traits else 1
        self._begin_telling(random.Random(f"told {seed}"))
        for trait in sorted(self.traits):
            self.reach(trait)
        self.happened |= self.traits
        self.begin_archive()
        self.begin_origin(scheme)

    def _begin_telling(self, chance):
        """What the origin's directory tells: all in most lives, so that this is lived with."""
        self.o.chance = chance
        kinds = {"no notification", "notification overflows", "others write there"} & self.traits
        for kind in sorted(kinds):
            if chance.random() > 0.3:
                self.traits.remove(kind)
        if "no notification" in self.traits:
            self.o.watches = chance.choice((0, 0, 1, 2))
        if "notification overflows" in self.traits:
            self.o.most_events = chance.randrange(1, 30)
        if "others write there" in self.traits:
            self.o.kind_of_disk = NFS

    # --- the source

    def start_source(self):
        self.sender = bytes(self.rnd.randrange(256) for _ in range(16))
        self.follower = Follower(self.chain())
        self.follower.chain.told = self.wakeup()
        self.status = StatusFile(STATUS, fs=self.o)

    def wakeup(self):
        """What tells of the origin."""
        return Wakeup(ORIGIN, self._say, {"/o"}, self.o)

    def chain(self):
        """The origin's Chain, as the source's options have it."""
        return Chain(ORIGIN, fs=self.o, patterns=PATTERNS.get(self.scheme, ()))

    def connect(self):
        if self.follower is None:
            self.start_source()
        here, there = connection(self.rnd, lambda: self.now)
        if self.limit is None:
            link = Link(here, "archive")
        else:
            link = Paced(here, "archive", Bucket(self.limit, lambda: self.now))
        witness, again = self.status.read()
        session = Source(self.sender, "sim", self.now, witness, self.resend or again, self.packer)
        self.feed = Feed(link, session, self.follower, self.status, self._say, self.packer)
        self._start_sink(Link(there, "origin"))
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
        if self.now >= self.stopped["source"]:
            with self._as(self.o, SOURCE):
                self._step_source()

    def _step_source(self):
        if self.follower is not None:
            told = self.follower.chain.told
            try:
                told.drain()
                told.tend(self.now)
                self.follower.chain.look()
            except OSError:
                pass
            except ProcessDied:
                self.kill_source()
        if self.feed is None:
            return
        try:
            for _ in range(self.rnd.randint(1, 4)):
                self.feed.link.flush()
                self.feed.hear(self.now)
                self.feed.deliver(self.now, self.rnd.choice((5, 64, 1 << 20)))
                self.feed.tend(self.now)
        except LinkLost as error:
            self.log.append(f"source: {error}")
            self.hang_up()
        except ProcessDied:
            self.kill_source()
        self.note_seen()

    def holding(self):
        """The inodes of the generations that the source holds.  What it has open only to see
        whether it is one, while both sides are compared, it may close again."""
        chains = [follower.chain for follower in self.followers()]
        fds = {reader.fd for chain in chains for reader in chain.held()}
        return [entry[0] for fd, entry in self.o._fds.items() if fd in fds]

    def followers(self):
        """Those of all sources that run."""
        return [self.follower] if self.follower is not None else []

    def hang_up(self):
        if self.feed:
            self.feed.link.close()
            self.feed = None

    def kill_source(self):
        self.reach("source killed")
        self.hang_up()
        self.o.end(SOURCE)
        self.follower = self.status = None
        self.mourn()

    # --- the sink

    def _start_sink(self, link):
        if self.store is not None:
            self.orphans.append(self.store)
        copy = self.open_copy()
        session, syncer = Sink(self.now), SimSyncer(self.rnd)
        store = Store(link, session, copy, lambda *_: self._claim(store), self._say, syncer)
        self.store = store
        session.durable = self._watched(session.durable, copy)
        copy.gap = self._noted(copy)

    def open_copy(self):
        """The sink's copy."""
        return Copy(Destination(COPY, fs=self.a), LEDGER, self._say, self.a, self.mirror)

    def _watched(self, durable, copy):
        """Note how much of the destination is promised whenever an acknowledgement leaves."""

        def promise(serial, offset):
            there = len(self.ours()) - self.doubled
            self.acked = max(self.acked, there - max(0, copy.end - offset))
            self.reach("acknowledged")
            return durable(serial, offset)

        return promise

    def _noted(self, copy):
        """Note which gaps are recorded."""
        gap = copy.gap

        def note(lost):
            gap(lost)
            if lost.first < copy.end:  # nothing can prove any more what stands there, torn or not
                self.torn.add((lost.first, copy.end - lost.first))
            self.reach("gap recorded")
            # one that is told again is the same, and so is what more of it is lost since
            named = lost.generation.key if lost.generation.ino else lost.reason
            self.gaps.add(named if b" made and deleted " not in lost.reason else len(self.gaps))

        return note

    def forget_acknowledged(self):
        """Somebody has taken away what was acknowledged: what is left of it has to stay."""
        self.acked = min(self.acked, len(self.ours()))
        self.mourn()

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
        if self.sink_is_stopped:
            return
        for store in list(self.orphans):
            if store not in self.orphans:
                continue
            try:
                with self._as(self.a, store):
                    self._work(store)
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
                    self._work(self.store)
        except (LinkLost, SyncFailed, Refused) as error:
            self.log.append(f"sink: {error}")
            self._farewell(self.store, error)
            self._end_sink(self.store, clean=not isinstance(error, SyncFailed))
            self.store = None
        except ProcessDied:
            self.kill_sink()

    def _work(self, store):
        store.link.flush()
        if not store.deaf:
            store.hear(self.now)
        store.tend(self.now)

    def _farewell(self, store, error):
        try:
            for action in store.pump.session.fail(error):
                store.link.send(action.data)
        except LinkLost:
            pass
        store.link.close()

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
        """Note that something was reached, and that what befalls us now is not in vain."""
        self.reached[what] = self.reached.get(what, 0) + 1
        if self._event is not None:
            self.happened.add(self._event)

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
            self._sock(self.feed).cut = self._sock(self.store).cut = True
            self.feed.link.close()
            self.feed = None

    def half_dead(self):
        """Nothing goes through any more, and nobody has noticed."""
        if self.feed and self.store:
            self.reach("black hole")
            self._sock(self.feed).cut = self._sock(self.store).cut = True

    @staticmethod
    def _sock(end):
        return end.link._sock

    def stop_sink(self):
        """It is stopped for a while, and reads nothing: what is sent to it queues up."""
        self.reach("sink stopped")
        self.stopped["sink"] = self.now + self.rnd.choice(LONG)

    @property
    def sink_is_stopped(self):
        """True while it is."""
        return self.now < self.stopped["sink"]

    def stop_source(self):
        """It is stopped for a while."""
        self.reach("source stopped")
        self.stopped["source"] = self.now + self.rnd.choice(LONG)

    def alter(self):
        """Bits turn over on the way, and every checksum below us is right."""
        if self.feed and self.store:
            self.reach("altered on its way")
            self._sock(self.feed).altered += 1
            self.altered = True

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

    def one_fault(self):
        """One call of the archive's fails, or is the last of its process."""
        self.reach("one call fails")
        what = self.rnd.choice((errno.EIO, errno.ENOSPC, errno.EINTR, ProcessDied))
        self.a.plan = (self.a.calls + self.rnd.randint(1, 12), what, self.rnd.random() < 0.5)

    def source_fault(self):
        what = self.rnd.choice((errno.EIO, errno.EINTR, ProcessDied))
        self.reach("a call of the source's fails")
        self.o.plan = (self.o.calls + self.rnd.randint(1, 12), what)

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
        self._pass(self.rnd.choice((0.01, 0.2, 1.5, 5.0)))

    def _pass(self, seconds):
        self.now += seconds
        self.o.now += int(seconds * 1e9)
        self.a.now += int(seconds * 1e9)

    def sleep(self, seconds):
        """The process that runs waits."""
        self._pass(seconds)

    @contextmanager
    def clock(self):
        """In this block dates are the world's, so that a seed tells everything."""
        played_time = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)

        def strftime(layout, moment=None):
            return REAL_STRFTIME(layout, moment or time.gmtime(self.a.now // 10**9))

        with (
            mock.patch.object(time, "strftime", strftime),
            mock.patch("tcppipe.files.places.time.time", lambda: self.o.now / 1e9),
            mock.patch("tcppipe.files.wakeup.time", played_time),
            mock.patch("tcppipe.files.notifiers.time", played_time),
        ):
            yield

    # --- a life

    def step(self):
        """One thing happens; the pipe does some work."""
        name = self.rnd.choice(self.menu)
        self.log.append(name)
        self._event = name
        with self.others():
            getattr(self, name)()
        self._event = None
        if self.feed is None and self.rnd.random() < 0.5:
            self.try_connect()
        for _ in range(self.rnd.randint(0, 3)):
            self.all_work()
        self.tire()
        self.check_prefix()

    def all_work(self):
        """Some time passes, and the pipe does some work."""
        self.time_passes()
        before = self.o.spared, self.a.spared
        self.o.spared = self.a.spared = False
        self.step_source()
        self.step_sink()
        self.o.spared, self.a.spared = before

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
        if self.now < self.stopped["source"]:
            return
        try:
            with self._as(self.o, SOURCE):
                self.connect()
        except LinkLost:
            self.hang_up()
        except ProcessDied:
            self.kill_source()

    def begin_names(self):
        """Where numbers go up, this is seen before anything befalls."""
        for _ in range(2 if self.scheme == "up" else 0):
            with self.others():
                self.write()
                self._rotate()
            self.settle()

    def settle(self, most=600):
        """No more trouble: the pipe has to come to rest with everything delivered."""
        self.o.forget_faults()
        self.a.forget_faults()
        self.readable()
        self.limit = None
        self.stopped = {"source": 0.0, "sink": 0.0}
        self.log.append("settle")
        for _ in range(most):
            if self.feed is None:
                self.try_connect()
            if self.feed is not None:
                self._hasten()
            self.all_work()
            if self.at_rest:
                break
        self._pass(2)
        self.step_sink()

    def _hasten(self):
        """Lines are as fast as they are asked."""
        sock, bucket = self._sock(self.feed), getattr(self.feed.link, "_bucket", None)
        for end in (sock, sock.other):
            end.slow, end.altered = False, 0
        if bucket is not None:
            bucket._rate = 1e9
            bucket.burst = 1e9

    @property
    def at_rest(self):
        """True when everything was delivered and acknowledged."""
        streaming = self.feed is not None and self.feed.pump.session.streaming
        return streaming and self.feed.settled and self.is_complete()

    def is_complete(self):
        """True when nothing is missing that may not be missing."""
        if any(generation.gone for generation in self.history):
            ours = self.ours()
            gaps = self.gaps_in(ours, whole=True)
            told = gaps is not None and gaps <= len(self.gaps)
            return told and self._lates_missing() == 0
        return len(self.copied()) >= len(self.written()) and self._lates_missing() == 0

    def _lates_missing(self):
        if self.marks_lost or not self.lates:
            return 0
        numbers = range(self.first_late + 1, self.first_late + self.lates + 1)
        found = {int(number) for kind, number in MARKED.findall(self.copied()) if kind == b"late"}
        return len(set(numbers) - found)

    # --- what must be so

    def written(self):
        """Everything that the writer wrote, in order."""
        return b"".join(bytes(generation.data) for generation in self.history)

    def copied(self):
        """Everything that the destination holds: its rotated pieces, oldest first, then itself."""
        return b"".join(self.a.content(path) for path in [*self.pieces(), COPY])

    def ours(self):
        """The same without late bytes and those of others, which stand anywhere."""
        paths = [*self.pieces(), COPY]
        return b"".join(_unmarked(self.a.content(path)) for path in paths)

    def durable(self):
        """How many bytes of the destination would outlive a power cut."""
        return len(self._stored())

    def _stored(self):
        names = self.a._names
        paths = [path for path in [*self.pieces(), COPY] if path in names]
        return b"".join(_unmarked(names[path].durable) for path in paths)

    def gaps_in(self, ours, whole):
        """With how many gaps at least these bytes are what was written, or its beginning.

        None: they are not, whatever gaps there may be.
        """
        spots = {(0, False): 0}  # (place in `ours`, whether a gap ends there): gaps before
        best = None

        def reach(at, gap, gaps):
            after[at, gap] = min(gaps, after.get((at, gap), gaps))

        for generation in self.history:
            data = bytes(generation.data)
            untold = generation.untold or (self.deleted and self.spoiled)
            after = {}
            for (at, gap), gaps in spots.items():
                if ours.startswith(data, at):
                    reach(at + len(data), False, gaps)
                elif not whole and data.startswith(ours[at:]):
                    best = gaps if best is None else min(best, gaps)
                if generation.gone:
                    same = len(os.path.commonprefix([data, ours[at : at + len(data)]]))
                    free = gap or not generation.seen  # one gap stands for all that follows it
                    reach(at, True, gaps if free or untold else gaps + 1)
                    for end in range(at + 1, at + same + 1):
                        reach(end, True, gaps if untold else gaps + 1)
                    for first, length in self.torn:
                        if first <= same:
                            reach(at + first + length, True, gaps + 1)
            spots = after
        ends = [gaps for (at, _gap), gaps in spots.items() if at == len(ours)]
        return min(ends) if ends else best

    def check_prefix(self):
        """What was acknowledged stands as it was written, whatever happened, on the disk as well;
        all that was delivered is a prefix of what was written, while nothing is torn."""
        ours = self.ours()
        self._check_acknowledged("withdrawn", ours)
        self._check_acknowledged("acknowledged and not durable", self._stored())
        self._check_marks()
        if self.store is None or not self.store._open or self.altered:
            return
        if self.gaps_in(ours, whole=False) is None:
            raise AssertionError(self.story(f"not a prefix {differ(ours, self.written())}"))

    def _check_acknowledged(self, what, there):
        if len(there) >= self.acked and self.gaps_in(there[: self.acked], whole=False) is not None:
            return
        raise AssertionError(self.story(f"{what} {differ(there[: self.acked], self.written())}"))

    def _check_marks(self):
        copied = self.copied()
        if b"<" in copied:
            found = MARKED.findall(copied)
            twice = {mark for mark in found if found.count(mark) > 1}
            if twice:
                raise AssertionError(self.story(f"there twice: {sorted(twice)}"))

    def check_end(self):
        ours, written = self.ours(), self.written()
        gaps = self.gaps_in(ours, whole=True)
        if gaps is None:
            raise AssertionError(self.story(f"not equal {differ(ours, written)}"))
        if gaps > len(self.gaps):
            raise AssertionError(self.story(f"{gaps} gaps, {len(self.gaps)} recorded: {self.gaps}"))
        # what cannot be read shows nothing: that it was delivered already, not everybody can know
        lost = sum(generation.gone for generation in self.history) + len(self.spoiled)
        if len(self.gaps) > lost:
            raise AssertionError(self.story(f"a gap that was none: {self.gaps}"))
        if self._lates_missing():
            raise AssertionError(self.story(f"{self._lates_missing()} late lines missing"))
        self._check_marks()
        self._check_foreign()

    def _check_foreign(self):
        """What others wrote is not ours to throw away."""
        if self.foreigns and not self.marks_lost:
            kept = b"".join(self.a.content(path) for path in self.a.paths(COPY))
            kept += self.copied()
            for number in range(self.first_late + 1, self.first_late + self.foreigns + 1):
                if b"<foreign %06d>\n" % number not in kept:
                    raise AssertionError(self.story(f"foreign line {number} is gone"))

    def check_descriptors(self):
        """Processes that have come to rest hold the files that they use, and no others."""
        if self.follower is not None:
            chain = self.follower.chain
            readers = {*chain.watched, *chain._done, *chain.readers}
            self._check_open(self.o, SOURCE, [self.status._fd, *(reader.fd for reader in readers)])
        if self.store is not None:
            copy = self.store.copy
            records = getattr(copy, "_ledger", None) or copy._shared
            self._check_open(self.a, self.store, [copy.destination.fd, records._fd])

    def _check_open(self, fs, process, wanted):
        held = [fd for fd in fs.descriptors(process) if fd not in wanted]
        if held:
            paths = [p for fd in held for p, i in fs._names.items() if i is fs._fds[fd][0]]
            raise AssertionError(self.story(f"descriptors left open: {held} {paths}"))

    def story(self, what):
        return "\n".join([f"seed {self.seed}: {what}", *map(str, self.log[-60:])])


def _unmarked(data):
    """A file's content without late lines and others', of which the last may not be whole yet."""
    return TORN.sub(b"", MARKED.sub(b"", data)) if b"<" in data else data


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
    # the line
    "write_much": 1, "half_dead": 1, "stop_sink": 2, "stop_source": 1, "alter": 1,
    # the disks
    "write_back_fails": 2, "memory_short": 2, "ledger_bit": 1, "device_changes": 1,
    "archive_moves": 1, "origin_moves": 1,
    # the clocks
    "clock_steps": 2, "archive_clock_steps": 1, "touch": 2, "touch_copy": 1,
    # the origin
    "rotate_and_keep": 2, "late": 4, "compress_otherwise": 2, "compress_badly": 1, "compress_strangely": 1, "link_beside": 1,
    "rotate_zipping": 2, "truncate": 1, "rotate_by_link": 1, "rotate_back": 1, "replace": 1,
    "begin_equal": 1, "begin_longer": 1, "stray": 1, "copy_beside": 1, "copy_as_rotated": 1,
    "delete_oldest": 2, "unreadable": 1, "readable": 4,
    "watches_end": 1,
    # the copy
    "copytruncate_copy": 1, "copytruncate_twice": 1, "copy_moved_away": 1, "foreign": 1,
    "backup_copy": 2, "backup_ledger": 2, "restore": 1,
    # what a life is like from its beginning on
    "mirror": 1, "slow pace": 1, "no leases": 1, "no inode generations": 1,
    "no inode generations there": 1, "failed syncs forget": 1, "scheme dates": 1,
    "no notification": 1, "notification overflows": 1, "others write there": 1,
    "names are not synced": 1, "coarse times": 1, "scheme index": 1, "scheme up": 1, "scheme inside": 1, "scheme tai64n": 1,
}  # fmt: skip
TRAITS = {name for name in EVENTS if not name.isidentifier() or name == "mirror"}
# Nobody can tell a copy of a file from another file that holds the same: a life has only one kind.
# Nor which of two files is left that begin alike.
COPIES = {"replace", "copy_beside", "copy_as_rotated", "link_beside"}
EQUALS = {"begin_equal", "begin_longer"}
# Nothing but times tells that numbers go up, until some of these files are known; and what cannot
# be read, or is deleted, shows nothing.
TIMELESS = {
    "touch", "clock_steps", "coarse times", "compress_otherwise", "compress_badly",
    "compress_strangely", "unreadable", "delete_oldest",
}  # fmt: skip
QUIET = {"write", "banner", "time_passes", "disk_well", "readable", "backup_copy", "backup_ledger"}
ALWAYS = {"write", "time_passes", "disk_well", "readable"}
NOT_YET = {  # what is not lived through yet, and why; --events NAMES lives with it all the same
    # with all of these together, one or two lives in a hundred go wrong
    **dict.fromkeys((
        "ledger_bit", "device_changes", "restore", "clock_steps", "touch", "truncate",
        "archive_moves", "alter", "rotate_and_keep", "late",
    ), "one or two lives in a hundred, together"),
    "copytruncate_copy": "somebody else writes to it before we are back: a few lives in a thousand",
    "copytruncate_twice": "the same",
}  # fmt: skip
MENU = {name: weight for name, weight in EVENTS.items() if name not in NOT_YET}


def live(seed, steps=60, do=None, knobs=()):
    """One life from its seed; raises AssertionError with its story when a promise is broken."""
    return run(World(seed, do, knobs), steps)


def run(world, steps=60):
    """Live it: begin, so many steps, come to rest."""
    with world.clock():
        world.settle()  # a new pipe begins with the live file; what was rotated before is not its
        world.begin_names()
        for _ in range(steps):
            world.step()
        world.settle()
        world.check_end()
        world.check_descriptors()
    return world
