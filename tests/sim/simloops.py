"""The same world with the real loops: drivers/push in one process, a child of drivers/serve for
each connection in others, and virtual time that passes where they wait.

Each process is a greenlet.  It runs until it polls or sleeps; then another one does, or time goes
on to when the next thing is due.  kill -9 is an exception inside.  `select`, `time` and the rest
of the system that the loops use are played; one seed decides all of it.
"""

import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import ExitStack, contextmanager
from math import inf
from types import SimpleNamespace
from unittest import mock

import simnet
import simworld
from greenlet import getcurrent, greenlet
from simfs import ProcessDied
from simorigin import SOURCE
from simworld import STATUS, World

from tcppipe.drivers import follow, push, serve
from tcppipe.drivers.claim import Asking
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost, NotNow, SyncFailed, TcppipeError
from tcppipe.files.follower import Follower
from tcppipe.files.status import StatusFile
from tcppipe.files.workers import Job
from tcppipe.net import connect
from tcppipe.net.dial import Dialler
from tcppipe.net.link import Link
from tcppipe.net.paced import Bucket, Paced
from tcppipe.process.turns import Turns
from tcppipe.session.sink import Sink
from tcppipe.session.sink1 import Undecided
from tcppipe.session.source import Source
from tcppipe.wire import push1

SPINS = 4000  # turns in one go of the world, after which somebody turns in a circle
LATER = 100 * (0.0, 0.003, 0.05, 2.0) + (
    70.0,
)  # seconds; a disk may be silent for longer than a link
REFUSED, UNDER_WAY = 111, 115  # errors of connect
MODULES = ("tcppipe.drivers.", "tcppipe.net.", "tcppipe.process.", "tcppipe.files.")


class Task:
    """A process: a greenlet, what it waits for, and on whose machine it runs."""

    def __init__(self, world, name, body, machine, process=None):
        self.name = name
        self.machine = machine
        self.process = process or self
        self.wanted = {}  # what it polls: {descriptor: events}
        self.until = 0.0
        self.stopped = 0.0  # until when it is stopped
        self.alive = True
        self.signals = Signals(world.hub)
        self.store = None
        self.greenlet = greenlet(lambda: self._run(world, body))

    def _run(self, world, body):
        try:
            body(self)
        except ProcessDied:
            world.reach(f"{self.name} died")
        finally:
            self.alive = False

    def __repr__(self):
        return f"<{self.name}>"


class File:
    """Something to poll."""

    def __init__(self, hub):
        self.fd = hub.take(self)

    def fileno(self):
        """Its descriptor."""
        return self.fd

    def events(self):
        """Nothing has happened."""
        return 0

    def next(self):
        """When something will have, if it is known."""
        return None


class Signals(File):
    """A process's signals."""

    def __init__(self, hub):
        super().__init__(hub)
        self.came = []

    def events(self):
        """Readable when there is one."""
        return simnet.IN if self.came else 0

    def take(self):
        """As process.signals has it."""
        came, self.came = list(dict.fromkeys(self.came)), []
        return came


class LaterJob(Job):
    """It ends some time after it began; what it makes durable is what was there then."""

    def __init__(self, world, work):
        super().__init__(work)
        self._clock = lambda: world.now
        self.at = world.now + world.rnd.choice(LATER)

    @property
    def done(self):
        """True when it has ended."""
        return self._clock() >= self.at


class LaterWorkers(File):
    """As files.workers has it, in virtual time."""

    def __init__(self, world):
        super().__init__(world.hub)
        self._world = world
        self._syncs = []

    def start(self, work):
        """Begin a sync."""
        sync = LaterJob(self._world, work)
        sync.do()
        self._syncs.append(sync)
        return sync

    def events(self):
        """Readable when one has ended."""
        return simnet.IN if any(sync.done for sync in self._syncs) else 0

    def drain(self):
        """Forget those."""
        self._syncs = [sync for sync in self._syncs if not sync.done]

    def next(self):
        """When the next one ends."""
        return min((sync.at for sync in self._syncs), default=None)

    def due(self, _now):
        """There are threads enough."""
        return inf

    def tend(self, _now):
        """There are."""
        return True


class Poll:
    """select.poll, whose waiting lets others run."""

    def __init__(self, hub):
        self._hub = hub
        self._wanted = {}

    def register(self, fd, events=simnet.IN | simnet.OUT):
        """Wait for these events on it."""
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = events

    modify = register

    def unregister(self, fd):
        """Wait for it no more."""
        del self._wanted[fd if isinstance(fd, int) else fd.fileno()]

    def poll(self, milliseconds=None):
        """Wait."""
        seconds = inf if milliseconds is None or milliseconds < 0 else milliseconds / 1000
        return self._hub.wait(self._wanted, seconds)


class Socket(simnet.SimSocket):
    """A client's socket: it connects first."""

    def __init__(self, world):
        super().__init__(world.rnd, lambda: world.now, world.rnd.choice(simnet.ROOMS), world.rate())
        self._world = world
        self.fd = world.hub.take(self)
        self._connected_at = inf

    def connect_ex(self, _address):
        """Begin."""
        self._connected_at = self._world.now + self._world.rnd.choice((0.0, 0.001, 0.1, 11.0))
        return UNDER_WAY

    def getsockopt(self, _level, option, *_):
        """How it went."""
        if option != socket.SO_ERROR:
            return super().getsockopt()
        return 0 if self._world.accept(self) else REFUSED

    def events(self):
        """Writable when it is known how it went."""
        if self.other is None:
            return simnet.OUT if self._world.now >= self._connected_at else 0
        return super().events()

    def next(self):
        """When that will be."""
        return self._connected_at if self.other is None else super().next()

    def fileno(self):
        """Its descriptor; none when it is closed, as Python has it."""
        return -1 if self.closed else self.fd

    def close(self):
        """Let go of it."""
        if not self.closed:
            self._world.hub.free(self.fd)
        super().close()


class Hub:
    """Lets the processes run, and time pass."""

    def __init__(self, world):
        self.world = world
        self.tasks = []
        self.files = {}
        self._main = getcurrent()

    # --- descriptors

    def take(self, file):
        """The lowest free descriptor; it is this file's from now on."""
        fd = next(fd for fd in range(3, 10000) if fd not in self.files)
        self.files[fd] = file
        return fd

    def free(self, fd):
        """Nobody's any more."""
        del self.files[fd]

    # --- in a process

    @property
    def current(self):
        """The process that runs."""
        return next((task for task in self.tasks if task.greenlet is getcurrent()), None)

    def wait(self, wanted, seconds):
        """Let others run until something happens: [(descriptor, events)]."""
        task = self.current
        assert task is not None, "only processes wait"
        task.wanted, task.until = dict(wanted), self.world.now + max(0.0, seconds)
        self._main.switch()
        return self._happened(task)

    def _happened(self, task):
        found = []
        for fd, wanted in task.wanted.items():
            file = self.files.get(fd)
            events = simnet.NO_FD if file is None else file.events()
            events &= wanted | simnet.ERROR | simnet.HUP | simnet.NO_FD
            if events:
                found.append((fd, events))
        return found

    # --- in the world

    def spawn(self, name, body, machine, process=None):
        """A new process."""
        task = Task(self.world, name, body, machine, process)
        self.tasks.append(task)
        return task

    def run(self, seconds):
        """Let the processes work for so long."""
        world = self.world
        end, turns = world.now + seconds, 0
        self._main = getcurrent()
        while True:
            able = [task for task in self.tasks if self._is_able(task)]
            if able:
                self.switch(world.rnd.choice(able))
                world.pass_time(world.rnd.choice((1e-5, 1e-4, 1e-3)))
                turns += 1
                if turns > SPINS:
                    raise AssertionError(world.story(f"{able} turns in a circle"))
                if world.now >= end:
                    return
                continue
            due = min((self._due(task) for task in self.tasks), default=inf)
            if due >= end:
                world.pass_time(max(0.0, end - world.now))
                return
            world.pass_time(max(0.0005, due - world.now))

    def _is_able(self, task):
        now = self.world.now
        return now >= task.stopped and (now >= task.until or bool(self._happened(task)))

    def _due(self, task):
        times = [task.until]
        for fd, wanted in task.wanted.items():
            at = self.files[fd].next() if fd in self.files else None
            if at is not None and wanted & (simnet.IN | simnet.OUT):
                times.append(at)
        return max(task.stopped, min(times))

    def switch(self, task, *kill):
        """Let it run until it waits, or throw something into it."""
        machine = task.machine
        before, machine.process = machine.process, task.process
        try:
            if kill:
                task.greenlet.throw(*kill)
            else:
                task.greenlet.switch()
        finally:
            machine.process = before
            if not task.alive:
                self._bury(task)

    def _bury(self, task):
        if task in self.tasks:
            self.tasks.remove(task)
            task.machine.end(task.process)
            self.free(task.signals.fd)
            self.world.ended(task)

    def kill(self, task):
        """kill -9."""
        if task.greenlet:  # it has begun
            self.switch(task, ProcessDied)
        else:
            task.alive = False
            self._bury(task)


class Report:
    """process.report, as far as loops use it."""

    def __init__(self, say):
        self.say = say

    def __getattr__(self, level):
        return lambda *text: self.say(level, *text) if text else None

    def bug(self, where, error):
        """Nothing of the kind is right."""
        story = "".join(traceback.format_exception(error))
        self.say("critical", f"{where}: bug: {story}")

    def about(self, _name):
        """Whom this process is about."""

    def tend(self):
        """Nothing waits to be said."""


class LoopWorld(World):
    """A World in which the processes are the real loops."""

    meanwhile_is_long = True

    def __init__(self, seed, do=None, knobs=()):
        self.hub = Hub(self)
        self.source = None  # its Task
        self.holder = None  # the child that has the pipe
        self.refuses_until = 0.0
        self.push = self.bug = None
        super().__init__(seed, simworld.MENU | LOOP_EVENTS if do is None else do, knobs)
        self.o.take_fd, self.o.free_fd = self.hub.take, self.hub.free
        self.lifeline = File(self.hub)
        self.interval = self.rnd.choice((None, None, None, 0.5, 7.0))  # -t

    @property
    def feed(self):
        """The source's Feed, or None."""
        return self.push._feed if self.push is not None and self.source is not None else None

    @feed.setter
    def feed(self, _nothing):
        pass

    @property
    def store(self):
        """The Store of the child that has the pipe, or None."""
        return self.holder.store if self.holder is not None else None

    @store.setter
    def store(self, _nothing):
        pass

    def rate(self):
        """How fast a line is."""
        return self.rnd.choice(simnet.RATES)

    # --- the source

    def try_connect(self):
        """The source is started, if it does not run."""
        if self.source is None:
            self.source = self.hub.spawn("source", self._source, self.o, SOURCE)

    def _source(self, task):
        sender = bytes(self.rnd.randrange(256) for _ in range(16))
        self.follower = Follower(self.chain())
        self.status = StatusFile(STATUS, fs=self.o)
        dialler, limit = Dialler("127.0.0.1", 6514), self.limit
        bucket = limit and Bucket(limit, lambda: self.now)
        link = (lambda sock, peer: Paced(sock, peer, bucket)) if limit else Link

        def greet(_dialling, witness, resend):
            return Source(sender, "sim", self.now, witness, resend, self.packer)

        self.push = push.Push(
            self.follower,
            push.Route(lambda now: dialler.dial(b"/o/app.log", now, link), greet),
            self.status, self._say, follow.Manner(self.interval, self.resend, self.packer),
        )  # fmt: skip
        self.push.run(task.signals, self.wakeup())

    def sleep(self, seconds):
        self.hub.wait({}, seconds)

    def ended(self, task):
        """A process has ended, of itself or not."""
        if task is self.source:
            self.source = self.push = self.follower = self.status = None
            self._close_sockets()
            self.mourn()
        elif task is self.holder:
            self.holder = None
        if task.store is not None:
            task.store.link.close()

    def _close_sockets(self):
        """Whoever connected is no more."""
        for file in list(self.hub.files.values()):
            if isinstance(file, Socket):
                file.close()

    def promising(self):
        """The Copy of the process that runs."""
        return self.hub.current.store.copy

    def kill_source(self):
        self.reach("source killed")
        if self.source is not None:
            self.hub.kill(self.source)

    def term_source(self):
        """It is told to end, and started again later."""
        if self.source is not None:
            self.reach("told to end")
            self.source.signals.came.append(signal.SIGTERM)

    def hup_source(self):
        """logrotate tells it that it has rotated, or somebody without a reason."""
        if self.source is not None:
            self.reach("source got HUP")
            self.source.signals.came.append(signal.SIGHUP)

    def ask_source(self):
        """Somebody wants to know where it is."""
        for task in self.hub.tasks:
            task.signals.came.append(signal.SIGUSR1)

    # --- the server and its children

    def accept(self, sock):
        """A connection comes: True when it is taken."""
        if self.now < self.refuses_until:
            return False
        self._accept(sock, self.a)
        return True

    def _accept(self, sock, machine):
        there = Served(self, sock)
        sock.other, there.other = there, sock
        child = self.hub.spawn("child", self._serve, machine)
        child.sock = there

    def _serve(self, task):
        link = Link(task.sock, "origin")
        try:
            push1.parse_request(link.read_line(push1.MAX_LINE, self.now + serve.HANDSHAKE))
            copy = self.open_copy()
            copy.gap = self._noted(copy)
            link.send(push1.ready())
            syncer = LaterWorkers(self)
            session = Undecided(self.now)
            pipe = ServedPipe(self, task)
            store = Store(link, session, copy, pipe.claim, self._say, syncer)
            task.store = store
            try:
                serve.attend(store, syncer, task.signals, self.lifeline.fd, pipe)
            except TcppipeError as error:
                self.log.append(f"child: {error}")
                store.close(clean=not isinstance(error, SyncFailed))
                serve.farewell(store, error)
            finally:
                self.hub.free(syncer.fd)
        except LinkLost as error:
            self.log.append(f"child: {error}")
        finally:
            link.close()

    def children(self):
        """The processes that serve connections."""
        return [task for task in self.hub.tasks if task.name == "child"]

    def kill_sink(self):
        self.reach("sink killed")
        for task in self.children():
            self.hub.kill(task)

    def server_restarts(self):
        """tcppiped is stopped, and started again some time later."""
        self.reach("server restarted")
        for task in self.children():
            task.signals.came.append(signal.SIGTERM)
        self.refuses_until = self.now + self.rnd.choice((0.1, 5.0, 60.0))

    def hup(self):
        for task in self.children():
            task.signals.came.append(signal.SIGHUP)

    def archive_power_cut(self):
        self.reach("archive power cut")
        for task in self.children():
            self.hub.kill(task)
        self.a.power_cut()

    # --- the line

    def _socks(self):
        return [task.sock for task in self.children()]

    def cut(self):
        """All connections are reset."""
        for sock in self._socks():
            self.reach("connection reset")
            sock.broken = sock.other.broken = True

    def half_open(self):
        """The source has noticed, the sink has not."""
        for sock in self._socks():
            self.reach("half open")
            sock.cut = sock.other.cut = sock.other.broken = True

    def half_dead(self):
        for sock in self._socks():
            self.reach("black hole")
            sock.cut = sock.other.cut = True

    def alter(self):
        for sock in self._socks():
            self.reach("altered on its way")
            sock.other.altered += 1
            self.altered = True

    def stop_sink(self):
        self.reach("sink stopped")
        seconds = self.rnd.choice(simworld.LONG)
        for task in self.children():
            task.stopped = self.now + seconds

    @property
    def sink_is_stopped(self):
        return any(self.now < task.stopped for task in self.children())

    def stop_source(self):
        if self.source is not None:
            self.reach("source stopped")
            self.source.stopped = self.now + self.rnd.choice(simworld.LONG)

    # --- how it goes on

    def turns(self, say):
        """process.turns.Turns, in virtual time."""
        return Turns(say, lambda: self.now, lambda: self.now)

    def _play_more(self, play, say):
        """What else is played: play(module, name, what stands there instead)."""

    def pass_time(self, seconds):
        """Virtual time goes on."""
        self._pass(seconds)

    def step_source(self):
        self.hub.run(self.rnd.choice((0.001, 0.3, 1.2)))

    def step_sink(self):
        pass

    def all_work(self):
        before = self.o.spared, self.a.spared
        self.o.spared = self.a.spared = False
        self.hub.run(self.rnd.choice((0.01, 0.2, 1.5, 5.0)))
        self.o.spared, self.a.spared = before

    def meanwhile(self):
        self.all_work()

    def settle(self, most=600):
        self.refuses_until = 0.0
        for task in self.hub.tasks:
            task.stopped = 0.0
        self.try_connect()
        super().settle(most)

    def _hasten(self):
        for sock in self._socks():
            for end in (sock, sock.other):
                end.slow, end.altered = False, 0
        bucket = getattr(self.feed.link, "_bucket", None)
        if bucket is not None:
            bucket._rate = bucket.burst = 1e9

    def check_descriptors(self):
        if self.follower is not None:
            chain = self.follower.chain
            readers = {*chain.watched, *chain._done, *chain.readers}
            self._check_open(self.o, SOURCE, [self.status._fd, *(reader.fd for reader in readers)])
        for task in self.children():
            copy = task.store and task.store.copy
            held = [copy.destination.fd, copy._ledger and copy._ledger._fd] if copy else []
            self._check_open(self.a, task.process, held)

    def _say(self, level, text):
        super()._say(level, text)
        if "bug" in text:
            self.bug = text

    def check_prefix(self):
        if self.bug is not None:
            raise AssertionError(self.story(self.bug))
        super().check_prefix()

    @contextmanager
    def clock(self):
        played_time = SimpleNamespace(
            monotonic=lambda: self.now, perf_counter=lambda: self.now,
            process_time=lambda: self.now, time=lambda: self.a.now / 1e9,
            sleep=lambda seconds: self.hub.wait({}, seconds),
            strftime=lambda *args: time.strftime(*args), gmtime=time.gmtime,
        )  # fmt: skip
        names = [name for name in dir(select) if name.startswith("POLL")]
        played_select = SimpleNamespace(**{name: getattr(select, name) for name in names})
        played_select.poll = lambda: Poll(self.hub)
        durable = Sink.durable

        def promise(session, serial, offset):
            say = self._watched(lambda *said: durable(session, *said), self.promising())
            return say(serial, offset)

        chance = random.Random(self.seed)
        say = Report(self._say)
        sockets = SimpleNamespace(
            AF_INET=socket.AF_INET, AF_INET6=socket.AF_INET6, SOCK_STREAM=socket.SOCK_STREAM,
            SOL_SOCKET=socket.SOL_SOCKET, SO_ERROR=socket.SO_ERROR,
            socket=lambda *_: Socket(self),
        )  # fmt: skip
        with super().clock(), ExitStack() as stack:

            def play(where, name, instead):
                stack.enter_context(mock.patch.object(where, name, instead))

            self._play_more(play, say)

            for name, module in list(sys.modules.items()):
                if name.startswith(MODULES) and name != __name__:
                    if getattr(module, "time", None) is time:
                        play(module, "time", played_time)
                    if getattr(module, "select", None) is select:
                        play(module, "select", played_select)
            play(connect, "socket", sockets)
            for module in (follow, serve):
                play(module, "report", say)
                play(module, "Turns", self.turns)
            play(os, "urandom", lambda count: bytes(chance.randrange(256) for _ in range(count)))
            play(Sink, "durable", promise)
            try:
                yield
            finally:
                for task in list(self.hub.tasks):
                    self.hub.kill(task)


class Served(simnet.SimSocket):
    """The server's end of a connection."""

    def __init__(self, world, client):
        super().__init__(world.rnd, lambda: world.now, client._room, client._rate)
        self._hub = world.hub
        self.fd = world.hub.take(self)

    def fileno(self):
        """Its descriptor; none when it is closed, as Python has it."""
        return -1 if self.closed else self.fd

    def close(self):
        """Let go of it."""
        if not self.closed:
            self._hub.free(self.fd)
        super().close()


class ServedPipe:
    """drivers.pipe.Pipe, as far as a child's loop uses it."""

    name = "origin:/o/app.log"

    def __init__(self, world, task):
        self._world, self._task = world, task
        self._asked = self._until = None

    def check(self):
        """It is still configured."""

    def asked(self):
        """Another one asks."""

    def keep(self):
        """Nobody removes a lock here."""

    def claim(self, sender, _about):
        """Become the pipe's only writer; whoever has it is asked, or told to end."""
        world, holder = self._world, self._world.holder
        if holder is None or holder is self._task:
            world.holder, self._task.sender = self._task, sender
        elif self._asked is not holder:
            ours = sender is None or sender == holder.sender
            holder.signals.came.append(signal.SIGTERM if ours else signal.SIGUSR1)
            world.reach("older child fenced")
            self._asked, self._until = holder, world.now + (19.0 if ours else 4.0)
            raise Asking("asks whoever has it")
        elif world.now > self._until:
            raise NotNow("another source sends this pipe")
        else:
            raise Asking("asks whoever has it")


LOOP_EVENTS = {"term_source": 1, "hup_source": 2, "ask_source": 1, "server_restarts": 1}
