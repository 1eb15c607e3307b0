"""fetch_logs' loop: one process for all sources, thousands of them.

Each source has its place in a heap of due times and at most one descriptor in the
system's poll; nothing is done for those that have neither news nor anything due.
"""

import heapq
import itertools
import os
import select
import signal
import time
from collections import Counter

from tcppipe.conf import fetch as conf
from tcppipe.drivers.board import Board
from tcppipe.drivers.fetch import Fetch
from tcppipe.errors import ConfigError, reason
from tcppipe.files.buffer import Buffer
from tcppipe.files.syncer import Syncer
from tcppipe.net import peers
from tcppipe.process import report

REFRESH = 60.0  # seconds between two look-ups of the servers' names
SHOW = 0.2  # seconds that a change may wait until SNMP is told
SYNCS = 8  # files that are made durable at the same time
BUFFER = 1 << 18  # bytes read from a link at a time: what the others have to wait for


def read(path):
    """The sources that a configuration file names.  Raises ConfigError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read: {reason(error)}") from None
    return conf.parse(text, path)


class Poller:
    """The system's poll: epoll where there is one.  Events are those of poll."""

    def __init__(self):
        self._epoll = hasattr(select, "epoll")
        self._poll = select.epoll() if self._epoll else select.poll()
        self._known = {}  # descriptor: events

    def want(self, fd, events):
        """Wait for these events on a descriptor from now on."""
        known = self._known.get(fd)
        if known is None:
            self._poll.register(fd, events)
        elif known != events:
            self._poll.modify(fd, events)
        self._known[fd] = events

    def forget(self, fd):
        """Wait no more for a descriptor, which may be closed already."""
        if self._known.pop(fd, None) is not None:
            try:
                self._poll.unregister(fd)
            except (OSError, KeyError):
                pass

    def wait(self, seconds):
        """[(descriptor, events)]."""
        return self._poll.poll(seconds if self._epoll else seconds * 1000)


class Fetchers:
    """All sources of the configuration file `path`, with the status files in `snmp_dir`.

    tell: a function (source or None, level, text).
    """

    def __init__(self, path, snmp_dir, state_dir, tell):
        self.path = path
        self._state_dir = state_dir
        self._tell = tell
        self._buffer = Buffer(BUFFER)
        self._syncer = Syncer(SYNCS)
        self._poller = Poller()
        self._crowd = Counter()
        self._fetches = {}  # by all that a source is
        self._by_fd = {}
        self._fds = {}  # the descriptor of each that is in the poll
        self._syncing = set()  # those that wait for the syncer
        self._heap = []
        self._wake = {}  # the time that counts of those in the heap
        self._states = {}  # what SNMP was told, or will be, of each
        self._order = itertools.count()
        self._show_at = None
        self._board = Board(snmp_dir, lambda level, text: tell(None, level, text))
        self._names = peers.Names()
        self._looking = None
        self._look_at = 0.0

    def take(self, sources, now):
        """From now on these are the sources."""
        wanted = {source[1:]: source for source in sources}
        for key in set(self._fetches) - set(wanted):
            fetch = self._fetches.pop(key)
            fetch.close()
            self._settle(fetch, now, over=True)
        for key, source in wanted.items():
            if key not in self._fetches:
                self._fetches[key] = Fetch(
                    source,
                    self._addresses,
                    self._state_dir,
                    self._tell,
                    self._syncer,
                    self._buffer,
                    self._crowd,
                )
            self._fetches[key].hurry(now)
            self._settle(self._fetches[key], now)
        self._look_at = 0.0
        self._show_at = now

    def _addresses(self, host):
        try:
            return [peers.plain(host)]
        except ValueError:
            return sorted(self._names.addresses(host), key=str)

    def run(self, signals):
        """Fetch until TERM or INT."""
        self._poller.want(signals.fileno(), select.POLLIN)
        self._poller.want(self._syncer.fileno(), select.POLLIN)
        while True:
            now = time.monotonic()
            self._look_up(now)
            for fd, events in self._poller.wait(self._timeout(now)):
                now = time.monotonic()
                if fd in self._by_fd:
                    fetch = self._by_fd[fd]
                    fetch.ready(events, now)
                    self._settle(fetch, now)
                elif fd == self._syncer.fileno():
                    self._synced(now)
                elif fd == self._looking:
                    self._collect(fd, now)
            self._tend(time.monotonic())
            if self._answer(signals.take()):
                break
        for fetch in self._fetches.values():
            fetch.close()

    def _answer(self, came):
        """Do what signals ask for; True: it is over."""
        now = time.monotonic()
        if signal.SIGCHLD in came:
            _reap()
        if signal.SIGHUP in came:
            try:
                self.take(read(self.path), now)
                self._tell(None, "info", f"{self.path}: read again, {len(self._fetches)} sources")
            except ConfigError as error:
                for line in str(error).splitlines():
                    self._tell(None, "critical", f"{line} (the old configuration stays in force)")
        if signal.SIGUSR1 in came:
            for fetch in self._fetches.values():
                fetch.reopen(now)
                self._settle(fetch, now)
        return signal.SIGTERM in came or signal.SIGINT in came

    def _synced(self, now):
        """A sync has ended, perhaps more than one."""
        self._syncer.drain()
        for fetch in list(self._syncing):
            fetch.tend(now)
            self._settle(fetch, now)

    def _tend(self, now):
        ripe = []  # each has one turn, however much it has to do: the others wait
        while self._heap and self._heap[0][0] <= now:
            due, _order, fetch = heapq.heappop(self._heap)
            if self._wake.get(fetch) == due:  # else another time counts
                del self._wake[fetch]
                ripe.append(fetch)
        for fetch in ripe:
            if fetch.due(now) <= now:
                fetch.tend(now)
            self._settle(fetch, now)
        if now >= self._board.due or (self._show_at is not None and now >= self._show_at):
            self._show_at = None
            self._board.show(self._fetches.values(), now)

    def _settle(self, fetch, now, over=False):
        """After anything was done with a source: what it waits for now."""
        fd = fetch.fileno()
        old, serial = self._fds.get(fetch, (-1, None))
        if old >= 0 and (old, serial) != (fd, fetch.serial):
            del self._fds[fetch]
            if self._by_fd.get(old) is fetch:
                del self._by_fd[old]
                self._poller.forget(old)
        if fetch.syncing:
            self._syncing.add(fetch)
        else:
            self._syncing.discard(fetch)
        if over:
            self._wake.pop(fetch, None)
            self._states.pop(fetch, None)
            return
        if fd >= 0:
            self._fds[fetch] = fd, fetch.serial
            self._by_fd[fd] = fetch
            self._poller.want(fd, fetch.events())
        due = fetch.due(now)
        if self._wake.get(fetch, due + 1.0) > due:
            self._wake[fetch] = due
            heapq.heappush(self._heap, (due, next(self._order), fetch))
        state = (fetch.error, fetch.tried)
        if self._states.get(fetch) != state:
            self._states[fetch] = state
            self._show_at = self._show_at or now + SHOW

    def _timeout(self, now):
        times = [self._board.due, self._look_at if self._looking is None else now + REFRESH]
        if self._show_at is not None:
            times.append(self._show_at)
        if self._heap:
            times.append(self._heap[0][0])
        return max(0.0, min(times) - now) + 0.0005

    def _collect(self, fd, now):
        """Answers of the name server have come."""
        if self._names.collect():
            self._poller.forget(fd)
            self._looking = None
        for fetch in self._fetches.values():
            if fetch.source.is_name:
                fetch.named(now)
                self._settle(fetch, now)

    def _look_up(self, now):
        if self._looking is not None or now < self._look_at:
            return
        self._look_at = now + REFRESH
        wanted = sorted({f.source.host for f in self._fetches.values() if f.source.is_name})
        if wanted:
            self._looking = self._names.start(wanted)
            self._poller.want(self._looking, select.POLLIN)


def _reap():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def tell_all(source, level, text):
    """To syslog, and as the original did: errors to standard error, all else to standard output."""
    import sys

    text = report.one_line(text)
    about = f"{source.host} {source.remote} " if source is not None else ""
    report.say(level, f"{about}{text}")
    stream = sys.stderr if level in ("critical", "error") else sys.stdout
    try:
        stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {about}{text}\n")
        stream.flush()
    except (OSError, ValueError):
        pass  # a terminal that is gone is not our end
