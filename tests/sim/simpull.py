"""The pull pair in the same world: fetch_logs' loop on the archive, and a child of gen_numbers
on the origin for each connection that it makes.
"""

import os
import signal
from functools import partial
from types import SimpleNamespace

import simworld
from simcopy import COPY
from simloops import LaterWorkers, LoopWorld
from simorigin import ORIGIN

from tcppipe.conf.fetch import Source as Line
from tcppipe.drivers import asking, fetch, fetchers, numbers, rota
from tcppipe.errors import TcppipeError
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.follower import Follower
from tcppipe.files.pointer import Pointer
from tcppipe.net.link import Link
from tcppipe.net.paced import Bucket, Paced
from tcppipe.process import paths
from tcppipe.session.source import Source
from tcppipe.wire import pull1

POINTER = "/p/log.pointer"


class PullWorld(LoopWorld):
    """A LoopWorld in which the archive fetches."""

    ledger = f"/state/{paths.file_name(COPY)}.ledger"

    def __init__(self, seed, do=None, knobs=()):
        self.fetcher = None  # its Task
        self.fetchers = None
        self.answers = {}  # the Answer of each child
        super().__init__(seed, do, knobs)
        self.mirror = True

    @property
    def feed(self):
        """The Feed of the newest connection, or None."""
        feeds = [answer._feed for answer in self.answers.values() if answer._feed is not None]
        return feeds[-1] if feeds else None

    @feed.setter
    def feed(self, _nothing):
        pass

    @property
    def store(self):
        """The Store of the connection, or None."""
        if self.fetchers is None:
            return None
        return next((one._store for one in self.fetchers._fetches.values()), None)

    @store.setter
    def store(self, _nothing):
        pass

    def promising(self):
        return self.store.copy

    # --- the archive

    def try_connect(self):
        if self.fetcher is None:
            self.fetcher = self.hub.spawn("fetch_logs", self._fetch, self.a)

    def _fetch(self, task):
        self.fetchers = fetchers.Fetchers(
            "conf", "/snmp", "/state", lambda _s, *say: self._say(*say)
        )
        line = Line(1, "127.0.0.1", 6514, ORIGIN, COPY, POINTER)
        self.fetchers.take([line], self.now)
        self.fetchers.run(task.signals)

    def hup(self):
        if self.fetcher is not None:
            self.fetcher.signals.came.append(signal.SIGUSR1)

    def kill_sink(self):
        self.reach("sink killed")
        if self.fetcher is not None:
            self.hub.kill(self.fetcher)

    def term_source(self):
        """fetch_logs is told to end, and started again later."""
        if self.fetcher is not None:
            self.reach("told to end")
            self.fetcher.signals.came.append(signal.SIGTERM)

    def archive_power_cut(self):
        self.reach("archive power cut")
        if self.fetcher is not None:
            self.hub.kill(self.fetcher)
        self.a.power_cut()

    def stop_sink(self):
        if self.fetcher is not None:
            self.reach("sink stopped")
            self.fetcher.stopped = self.now + self.rnd.choice(simworld.LONG)

    @property
    def sink_is_stopped(self):
        return self.fetcher is not None and self.now < self.fetcher.stopped

    # --- the origin

    def accept(self, sock):
        if self.now < self.refuses_until:
            return False
        self._accept(sock, self.o)
        return True

    def _serve(self, task):
        link = Link(task.sock, "archive")
        if self.limit:
            link = Paced(task.sock, "archive", Bucket(self.limit, lambda: self.now))
        try:
            line = link.read_line(pull1.MAX_REQUEST, self.now + 5.0)
            pull1.parse_request(line)
            sender = os.urandom(16)
            follower = Follower(self.chain())
            session = Source(sender, "sim", self.now, packer=self.packer)
            inode = self.o._names[ORIGIN].number if ORIGIN in self.o._names else 0
            link.send(pull1.answer(True, inode, v2=True))
            answer = numbers.Answer(
                follower, link, self.lifeline.fd, lambda: None, self._say, self.packer
            )
            self.answers[task] = answer
            self.follower = follower
            answer.converse(session, task.signals)
        except TcppipeError as error:
            self.log.append(f"child: {error}")
        finally:
            link.close()

    def followers(self):
        return [answer.follower for answer in self.answers.values()]

    def kill_source(self):
        self.reach("source killed")
        for task in self.children():
            self.hub.kill(task)

    def stop_source(self):
        self.reach("source stopped")
        seconds = self.rnd.choice(simworld.LONG)
        for task in self.children():
            task.stopped = self.now + seconds

    def hup_source(self):
        self.reach("source got HUP")
        for task in self.children():
            task.signals.came.append(signal.SIGHUP)

    def alter(self):
        for sock in self._socks():
            self.reach("altered on its way")
            sock.altered += 1
            self.altered = True

    def ended(self, task):
        if task is self.fetcher:
            self.fetcher = self.fetchers = None
            self._close_sockets()
        else:
            answer = self.answers.pop(task, None)
            task.sock.close()
            if answer is not None and answer.follower is self.follower:
                self.follower = None
            self.note_seen()
            self.mourn()

    # --- how it goes on

    def check_descriptors(self):
        for task, answer in self.answers.items():
            chain = answer.follower.chain
            # one whose connection hangs may still be in its agreement, which uses candidates
            asked = chain.places._readers.values()
            readers = {*chain.watched, *chain._done, *chain.readers, *asked}
            self._check_open(self.o, task, [reader.fd for reader in readers])

    def _make_copy(self, destination, ledger, say, mirror, hold):
        copy = Copy(destination, ledger, say, self.a, mirror, hold)
        copy.gap = self._noted(copy)
        return copy

    def _play_more(self, play, say):
        board = SimpleNamespace(due=float("inf"), directory="/snmp", show=lambda *_: None)
        for module in (fetch, fetchers, numbers):
            play(module, "report", say)
        play(fetch, "Copy", self._make_copy)
        play(fetch, "Destination", partial(Destination, fs=self.a))
        play(fetch, "Pointer", partial(Pointer, fs=self.a))
        play(fetch, "lock", lambda path, **_: self.a.open(path, os.O_RDWR | os.O_CREAT))
        played = {name: getattr(os, name) for name in ("path", "fsencode", "fsdecode")}
        play(fetch, "os", SimpleNamespace(stat=self.a.stat, **played))
        for module in (fetch, asking):
            play(module, "random", self.rnd)
        play(fetchers, "Board", lambda *_: board)
        play(rota, "Workers", lambda *_: LaterWorkers(self))
        play(fetchers, "Turns", self.turns)
        play(numbers, "Wakeup", lambda *_: self.wakeup())
