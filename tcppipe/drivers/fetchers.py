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
from tcppipe.files import configuration
from tcppipe.files.buffer import Buffer
from tcppipe.files.syncer import Syncer
from tcppipe.net import resolver
from tcppipe.process import report
from tcppipe.process.outlets import Stream
from tcppipe.process.trouble import Trouble
from tcppipe.process.turns import Turns

REFRESH = 60.0  # seconds between two look-ups of the servers' names
PAUSE = 1.0  # seconds until what failed is tried again
CALM = 60.0  # seconds without such a failure after which it is over
GLANCE = 0.2  # seconds between two looks at whether we are to end
SHOW = 0.2  # seconds that a change may wait until SNMP is told
SYNCS = 8  # files that are made durable at the same time
BUFFER = 1 << 18  # bytes read from a link at a time: what the others have to wait for


def read(path):
    """The sources that a configuration file names.  Raises ConfigError."""
    text = configuration.read(path)
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
        self._names = resolver.HostNames()
        self._looking = None
        self._look_at = self._tend_at = 0.0
        self._turns = Turns(lambda level, text: tell(None, level, text))
        self._going = Trouble(lambda level, text: tell(None, level, text), "critical", CALM)
        self._resolving = Trouble(lambda level, text: tell(None, level, text))
        self._unsettled = False  # something failed in between: who waits for what?
        self._came = []  # signals that were not answered yet
        self._glanced = 0.0

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
        if self._names.young(now):
            self._look_at = 0.0  # once more, after this one
        else:
            self._stop_looking()
        self._show_at = now

    def _addresses(self, host):
        try:
            return [resolver.plain(host)]
        except ValueError:
            return sorted(self._names.addresses(host), key=str)

    def run(self, signals):
        """Fetch until TERM or INT."""
        self._poller.want(signals.fileno(), select.POLLIN)
        self._poller.want(self._syncer.fileno(), select.POLLIN)
        over = False
        while not over:
            try:
                over = self._turn(signals)
                self._going.over("fetches again", time.monotonic())
            except (OSError, MemoryError) as error:
                text = f"cannot fetch for now: {reason(error)}"
                self._going.failed(text, time.monotonic())
                self._unsettled = True
                time.sleep(PAUSE)
            except Exception as error:
                report.bug(self.path, error)
                self._unsettled = True
                time.sleep(PAUSE)
        self._names.close()
        for fetch in self._fetches.values():
            fetch.close()

    def _turn(self, signals):
        """Wait, and do what there is to do; True: it is over."""
        now = time.monotonic()
        if self._unsettled:
            self._unsettled = False
            for fetch in self._fetches.values():
                self._settle(fetch, now)
        self._look_up(now)
        for fd, events in self._poller.wait(self._timeout(now)):
            self._turns.start()
            now = time.monotonic()
            if fd in self._by_fd:
                fetch = self._by_fd[fd]
                fetch.ready(events, now)
                self._settle(fetch, now)
                self._turns.done(fetch.place)
            elif fd == self._syncer.fileno():
                self._synced(now)
            elif fd == self._looking:
                self._collect(fd, now)
            if self._ending(signals, now):
                return True
        if self._tend(signals):
            return True
        came, self._came = [*self._came, *signals.take()], []
        return self._answer(came)

    def _ending(self, signals, now):
        """A glance at the signals, however many others there are to be served."""
        if now >= self._glanced + GLANCE:
            self._glanced = now
            self._came += signals.take()
        return signal.SIGTERM in self._came or signal.SIGINT in self._came

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

    def _tend(self, signals):
        """Do what is due; True: it is over."""
        now = time.monotonic()
        ripe = []  # each has one turn, however much it has to do: the others wait
        while self._heap and self._heap[0][0] <= now:
            due, _order, fetch = heapq.heappop(self._heap)
            if self._wake.get(fetch) == due:  # else another time counts
                del self._wake[fetch]
                ripe.append(fetch)
        self._turns.start()
        for fetch in ripe:
            now = time.monotonic()
            if fetch.due(now) <= now:
                fetch.tend(now)
            self._settle(fetch, now)
            self._turns.done(fetch.place)
            if self._ending(signals, now):
                return True
        if now >= self._board.due or (self._show_at is not None and now >= self._show_at):
            self._show_at = None
            self._board.show(self._fetches.values(), now)
            self._turns.done(self._board.directory)
        if now >= self._tend_at:
            self._tend_at = now + REFRESH
            report.tend()
        return False

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
            try:
                self._poller.want(fd, fetch.events())
                self._fds[fetch] = fd, fetch.serial
                self._by_fd[fd] = fetch
            except OSError as error:
                fetch.give_up(error, now)
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
        if not wanted:
            return
        try:
            self._looking = self._names.start(wanted)
            self._poller.want(self._looking, select.POLLIN)
            self._resolving.over("names are looked up again", now)
        except (OSError, MemoryError) as error:
            self._stop_looking()
            self._look_at = now + PAUSE
            self._resolving.failed(f"cannot look up names: {reason(error)}", now)

    def _stop_looking(self):
        """One look-up at a time: the next one begins at once."""
        if self._looking is not None:
            self._poller.forget(self._looking)
        self._names.close()
        self._looking, self._look_at = None, 0.0


def _reap():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def tell_all(source, level, text):
    """A message, about a source or about all."""
    about = f"{source.host} {source.remote} " if source is not None else ""
    report.say(level, f"{about}{text}", source.host if source is not None else None)


def streams():
    """As the original did: errors go to standard error, all else to standard output."""

    def line(_priority, text):
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}"

    out, err = Stream(1, "standard output", line), Stream(2, "standard error", line)
    return lambda priority: err if priority <= report.ERROR else out
