"""Several pipes, from as many hosts, that are merged into one destination.

Each host is a World of its own; the archive is one for all.  Each pipe's lines have to stand in
the copy whole, in their order, once.
"""

import random

import simworld
from simcopy import COPY
from simfs import SimFS
from simworld import SimSyncer, World

from tcppipe.files.destination import Destination
from tcppipe.files.lock import no_lock
from tcppipe.files.merged import MergedCopy

SHARED = "/state/log.merge"
HOSTS = 3
# what has no place among others' lines
WITHOUT = {"mirror", "begin_equal", "begin_longer"}


def share(world, key):
    """A pipe's share of the copy.  Only one process runs at a time, so nobody waits for a lock."""
    return MergedCopy(
        Destination(COPY, fs=world.a), SHARED, key, world._say, world.a,
        worker=SimSyncer(world.rnd), hold=no_lock,
    )  # fmt: skip


class Host(World):
    """One of the pipes."""

    ledger = SHARED

    def __init__(self, whole, number, do):
        self.whole = whole
        self.number = number
        self.first_late = number * 100000
        super().__init__(whole.rnd.randrange(1 << 30), do)
        self.a = whole.a

    @property
    def now(self):
        """Seconds; the same for all."""
        return self.whole.now

    @now.setter
    def now(self, now):
        self.whole.now = max(now, self.whole.now)

    def open_copy(self):
        return share(self, f"host{self.number}:/o/app.log")

    @property
    def _mine(self):
        return b"%d: " % self.number

    def write(self):
        for _ in range(self.rnd.randint(1, 6)):
            self.lines += 1
            body = bytes(self.rnd.choice(b"ab\0\x07\xff\r") for _ in range(self.rnd.randint(0, 40)))
            line = b"%s%06d %s\n" % (self._mine, self.lines, body)
            at = self.rnd.choice((0, 0, self.rnd.randint(1, len(line) - 1)))
            self._put(line[:at])
            if at and self.rnd.random() < 0.5:
                self.all_work()
            self._put(line[at:])

    def banner(self):
        if not self.history[-1].data:
            self._put(self._mine + simworld.BANNER)

    def _rotate(self, keep=False):
        name = self._next_name()
        self.o.rename(simworld.ORIGIN, name)
        self.aside.insert(0, name)
        if self.rnd.random() < 0.3:
            self.meanwhile()
        self._begin_generation(keep)

    def pieces(self):
        return self.whole.pieces()

    def ours(self):
        lines = self.copied().split(b"\n")
        mine = [line + b"\n" for line in lines[:-1] if line.startswith(self._mine)]
        return b"".join(mine)

    def _stored(self):
        names = self.a._names
        paths = [path for path in [*self.pieces(), COPY] if path in names]
        lines = b"".join(names[path].durable for path in paths).split(b"\n")
        return b"".join(line + b"\n" for line in lines[:-1] if line.startswith(self._mine))

    def marked(self):
        return len(self.ours()) - sum(len(one.data) for one in self.history[:-1])

    def is_complete(self):
        if any(generation.gone for generation in self.history):
            return self.gaps_in(self.ours(), whole=True) is not None
        return len(self.ours()) >= len(self.written())

    def check_descriptors(self):
        """Whatever."""

    # --- what befalls all of them

    def _next_piece(self, base):
        return self.whole._next_piece(base)

    def end_sinks(self):
        for host in self.whole.hosts:
            host.kill_sink()

    def forget_acknowledged(self):
        for host in self.whole.hosts:
            World.forget_acknowledged(host)

    def hup(self):
        for host in self.whole.hosts:
            World.hup(host)

    def archive_power_cut(self):
        self.end_sinks()
        World.archive_power_cut(self)

    def restore(self):
        World.restore(self)
        for host in self.whole.hosts:
            host.marks_lost = host.marks_lost or self.marks_lost


class MergeWorld(World):
    """Some hosts, and their archive.  It has no pipe of its own."""

    def __init__(self, seed, do=None):
        self.seed = seed
        self.rnd = random.Random(seed)
        self.a = SimFS(self.rnd)
        self.now = 100.0
        self.begin_archive()
        menu = simworld.MENU if do is None else do
        menu = {name: weight for name, weight in menu.items() if name not in WITHOUT}
        self.hosts = [Host(self, number, menu) for number in range(1, HOSTS + 1)]
        self.a.forgets = self.hosts[0].a.forgets

    def step(self):
        """One thing happens to one of them."""
        self.rnd.choice(self.hosts).step()
        for host in self.hosts:
            host.check_prefix()

    def begin_names(self):
        """Each host has its rotator."""
        for host in self.hosts:
            host.begin_names()

    def settle(self):
        """All come to rest."""
        for host in self.hosts:
            host.settle()

    def check_end(self):
        """All is there, and nothing else."""
        for host in self.hosts:
            host.check_end()
        copied = self.copied()
        for line in copied.split(b"\n"):
            known = (b"<late ", b"<foreign ", *(host._mine for host in self.hosts))
            if line and not line.startswith(known):
                raise AssertionError(
                    self.hosts[0].story(f"seed {self.seed}: a strange line {line}")
                )

    def check_descriptors(self):
        """Whatever."""

    @property
    def reached(self):
        """What all have reached."""
        reached = {}
        for host in self.hosts:
            for what, count in host.reached.items():
                reached[what] = reached.get(what, 0) + count
        return reached

    @property
    def happened(self):
        """What has befallen any of them."""
        return set().union(*(host.happened for host in self.hosts))

    @property
    def log(self):
        """What has happened to all of them, one after the other."""
        return [line for host in self.hosts for line in [f"--- host {host.number}", *host.log]]

    @property
    def menu(self):
        """What may befall any of them."""
        return [name for host in self.hosts for name in host.menu]

    @property
    def traits(self):
        """What any of them is like."""
        return set().union(*(host.traits for host in self.hosts))

    def written(self):
        return b"".join(host.written() for host in self.hosts)

    def clock(self):
        return self.hosts[0].clock()
