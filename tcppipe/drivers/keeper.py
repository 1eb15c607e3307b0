"""Keeps a child for each pipe of a list: the parent of `tcppipe -c`.

Starts a child when a file is there, again when it crashed, and forgets it when it ended
because its file is gone, which the child decides.  What a child does is the business of whoever
made the Keeper.  A child that dies hurts no other.  Nothing that a child waits for holds us up:
names are looked up beside, and what cannot be had for now (a process, a descriptor, memory) is
asked for again.  When the parent is gone its children end by themselves, so that another parent
can start them.
"""

import gc
import os
import select
import signal
import time

from tcppipe.drivers.backoff import spread
from tcppipe.drivers.kept import LEAVE
from tcppipe.drivers.outages import Hearer, Outages
from tcppipe.drivers.rereading import Rereading
from tcppipe.errors import place, reason
from tcppipe.files import wakeup
from tcppipe.net.dial import Diallers
from tcppipe.net.poll import Poll
from tcppipe.process import report
from tcppipe.process.children import Children
from tcppipe.process.owner import owner
from tcppipe.process.signals import FAILED, TOLD
from tcppipe.process.trouble import Trouble, counted
from tcppipe.process.turns import Turns

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, LEAVE)
LOOK = 5.0  # seconds between two looks at the directories, whatever notification says
SOON = 0.1  # seconds from a notification to the look
SHARE = 20  # a look is followed by a pause of so many times the time that it took
AT_ONCE = 25  # children that are started in one go
PAUSE = 0.05  # seconds from one go to the next
STOP = 10.0  # seconds that children have to end when we end
# How long to wait before a child is started again, in seconds: at first, and at most.
CRASHED = (0.5, 60.0)
BUSY = (2.0, 60.0)
STEADY = 60.0  # seconds after which a child that crashes is one that crashes for the first time
CALM = 60.0  # seconds without a failure of ours after which it is over
GATHER = 1.0  # seconds in which pipes without a connection join one line of the log


class Child:
    """What the parent knows of one pipe.  pid: None while it waits to be started."""

    __slots__ = ("failures", "line", "pid", "pipe", "since", "start_at", "told")

    def __init__(self, line, pipe):
        self.line, self.pipe = line, pipe
        self.pid = None
        self.since = self.start_at = 0.0
        self.failures = 0
        self.told = None  # what was sent to it: it is to end

    def is_of(self, line):
        """Does this line still list the pipe, whether its file is there or not?"""
        mine = self.line
        return line.pattern == mine.pattern and all(
            line.options.get(key) == mine.options.get(key) for key in "hp"
        )

    def pause(self, now, bounds):
        """Put off the start, for longer each time; the seconds until then."""
        first, most = bounds
        seconds = min(most, first * 2 ** min(self.failures, 20)) * spread(0.6, 1.0)
        self.failures += 1
        self.start_at = now + seconds
        return seconds


class Keeper:
    """Keeps the pipes of a Wanted that was read.

    prepare(pipe, resend, dialler, lifeline, tell): what a child needs for one pipe; made in the
    parent, because whatever runs in a child unshares memory.  lifeline is readable when the parent
    is gone; tell is for a Teller.  feed(prepared, signals): in a child, feed the pipe, and
    return its exit status.
    """

    def __init__(self, wanted, prepare, feed):
        self.wanted = wanted
        self._prepare = prepare
        self._feed = feed
        self._pipes = {}  # key: Child
        self._waiting = set()  # keys of those without a process
        self._children = Children()
        self._diallers = Diallers(self._children)
        self._outages = Outages(report.say, GATHER, path_of=lambda key: key[2])
        self._hearer = None
        self._signals = self._watcher = None
        self._lifeline = self._held = self._ear = self._mouth = None
        self._pid = os.getpid()
        self._turns = Turns(report.say)
        self._look_at = self._not_before = 0.0
        self._list = Rereading(wanted.path, self._read, "list")
        self._news = False  # something came or went since the last look
        self._resent = set()  # keys of pipes that were started with -n once
        self._stopping = False
        self._said = set()  # errors of files, said once
        self._troubles = {
            level: Trouble(report.say, level, CALM) for level in ("error", "critical")
        }

    # --- parent

    def run(self, signals):
        """Keep the pipes until TERM or INT."""
        self._signals = signals
        self._pid = os.getpid()
        self._lifeline, self._held = os.pipe()
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)
        self._hearer = Hearer(self._ear, self._outages)
        self._watcher = wakeup.NoDirectories()
        self._turns.start()
        self._guarded(self._begin)
        self._turns.start()
        while not self._stopping:
            self._guarded(self._turn)
        self._stop()

    def _begin(self):
        self._look(time.monotonic())
        for line in self.wanted.lines:
            if not any(source is line for source, _pipe in self.wanted.pipes.values()):
                report.info(f"{self.wanted.path}:{line.line}: no such file yet: {line.pattern}")
        gc.collect()
        gc.freeze()  # else a collection in a child would write to all that it shares with us

    def _guarded(self, step):
        """Whatever goes wrong with us, the pipes go on."""
        try:
            step()
            for trouble in self._troubles.values():
                trouble.over(f"{self.wanted.path}: goes on without trouble", time.monotonic())
        except Exception as error:
            passing = isinstance(error, (OSError, MemoryError))
            what = reason(error) if passing else f"bug: {type(error).__name__}: {error}"
            text = f"{self.wanted.path}: {what} ({place(error)}); goes on"
            if os.getpid() != self._pid:  # a child never does
                report.critical(text)
                os._exit(FAILED)
            self._troubles["error" if passing else "critical"].failed(text, time.monotonic())
            time.sleep(1.0)  # it may be the waiting that fails

    def _turn(self):
        """Wait until something happens or is due, and do what follows."""
        now = time.monotonic()
        if self._list.again(now):
            self._begin_anew()
        if now >= self._look_at:
            self._look_again(now)
            self._turns.done(f"{self.wanted.path}: a look at the directories")
        due = min(self._start_due(now), self._look_at, self._list.at, self._outages.due())
        self._turns.done(f"{self.wanted.path}: starting pipes")
        self._wait(due - now)

    def _wait(self, seconds):
        poll = Poll()
        for fd in (self._signals.fileno(), self._ear, *self._diallers.descriptors()):
            poll.register(fd, select.POLLIN)
        if self._watcher.fileno() >= 0 and not self._news:
            poll.register(self._watcher.fileno(), select.POLLIN)
        ready = dict(poll.poll(max(0.0, seconds) * 1000 + 1))
        self._turns.start()
        now = time.monotonic()
        if self._watcher.fileno() in ready:
            self._news = True
            soon = max(now + SOON, self._not_before)
            self._look_at = min(self._look_at, soon)
        if self._ear in ready:
            living = {child.pid: key for key, child in self._pipes.items()}
            self._hearer.hear(living, now)
        self._diallers.tend(now)
        came = self._signals.take()
        if signal.SIGCHLD in came:
            self._reap()
        if signal.SIGHUP in came:
            self._hup()
        if signal.SIGUSR1 in came:
            report.info(f"{self.wanted.path}: {self._where()}")
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._stopping = True
        self._outages.tend(now)
        report.tend()
        self._turns.done(f"{self.wanted.path}: signals and news of pipes")

    def _where(self):
        """How things stand, in words."""
        words = [
            self.wanted.holds,
            counted(len(self._pipes), "pipe", "pipes"),
        ]
        if self._waiting:
            words.append(f"{len(self._waiting)} wait to be started")
        if self._outages.down:
            words.append(f"{self._outages.down} not connected")
        return ", ".join(words)

    def _look_again(self, now):
        if not self._news and self.wanted.unchanged(now):
            self._look_at = now + LOOK
        else:
            self._look(now)

    def _look(self, now):
        """See what is wanted, and have it: new pipes are started soon, others are told."""
        self._news = False
        self._look_at = now + LOOK
        if self._watcher.fileno() < 0:
            self._watcher = self._directories()
        self._watcher.drain()
        try:
            self.wanted.look(now, self._pipes)
        except OSError as error:
            self._say_once(f"{self.wanted.path}: cannot look for files: {reason(error)}")
            return
        self._watcher.keep(self.wanted.directories)
        for key, (line, pipe) in self.wanted.pipes.items():
            child = self._pipes.get(key)
            if child is None:
                self._pipes[key] = Child(line, pipe)
                self._waiting.add(key)
            else:
                self._renew(key, child, line, pipe)
        for key in self._pipes.keys() - self.wanted.pipes.keys():
            self._unwanted(key)
        for error in self.wanted.errors:
            self._say_once(error)
        took = time.monotonic() - now
        self._not_before = now + SHARE * took
        self._look_at = now + LOOK

    def _renew(self, key, child, line, pipe):
        """A pipe goes on, or with other options it is started again."""
        before, after = _options(child.line), _options(line)
        resend = "n" in line.options and "n" not in child.line.options
        child.line = line
        if before == after and not resend:
            return
        child.pipe = pipe
        self._resent.discard(key)
        if child.pid is not None:
            self._tell(child, signal.SIGTERM)

    def _unwanted(self, key):
        child = self._pipes[key]
        if child.pid is None:
            del self._pipes[key]
            self._waiting.discard(key)
            self._outages.works(key)
        elif not any(map(child.is_of, self.wanted.lines)):
            self._tell(child, signal.SIGTERM)
        elif os.path.lexists(key[2]):
            self._tell(child, LEAVE)

    def _tell(self, child, signum):
        if child.told not in (signum, signal.SIGTERM):
            child.told = signum
            os.kill(child.pid, signum)

    def _say_once(self, text):
        if text not in self._said:
            self._said.add(text)
            report.error(text)

    def _directories(self):
        try:
            return wakeup.directories()
        except (OSError, ImportError) as error:
            why = reason(error)
            self._say_once(f"{self.wanted.path}: no notification, looks every few seconds: {why}")
            return wakeup.NoDirectories()

    # --- parent: starting

    def _start_due(self, now):
        """Start some of those that are due; the time when there is something to start next."""
        due = [key for key in self._waiting if self._start_at(key, now) <= now]
        self._start([key for key in due[:AT_ONCE] if self._is_free(key, now)], now)
        if len(due) > AT_ONCE:
            return now + PAUSE
        return min((self._start_at(key, now) for key in self._waiting), default=float("inf"))

    def _start_at(self, key, now):
        """When a pipe is to be started: after its pause, and after its host's name is known."""
        start_at = self._pipes[key].start_at
        return start_at if start_at > now else self._diallers.ready_at(key[0], key[1], now)

    def _is_free(self, key, now):
        """True unless somebody else runs this pipe; then it is asked for again later."""
        child = self._pipes[key]
        try:
            pid = owner(child.pipe.pidfile)
        except OSError as error:
            return self._cannot(key, now, error)
        if pid is None:
            return True
        if not child.failures:
            report.warning(f"{key[2]}: tcppipe runs already for this file and host, pid {pid}")
        child.pause(now, BUSY)
        return False

    def _cannot(self, key, now, error):
        self._outages.lost(key, f"cannot start, tries again: {reason(error)}", now, "error")
        self._pipes[key].pause(now, CRASHED)
        return False

    def _start(self, keys, now):
        prepared = [self._prepared(key) for key in keys]
        try:
            pids, number = self._signals.fork_many(len(keys))
        except OSError as error:
            for key in keys:
                self._cannot(key, now, error)
            return
        if number is not None:
            self._be(keys[number][2], prepared[number])
        for key, pid in zip(keys, pids):
            child = self._pipes[key]
            child.pid, child.since, child.told = pid, now, None
            self._waiting.discard(key)
            self._children.add(pid, key)
            if child.pipe.resend:
                self._resent.add(key)

    def _prepared(self, key):
        pipe = self._pipes[key].pipe
        resend = pipe.resend and key not in self._resent
        dialler = self._diallers.of(pipe.host, pipe.port)
        return self._prepare(pipe, resend, dialler, self._lifeline, self._mouth)

    # --- parent: what becomes of children

    def _reap(self):
        now = time.monotonic()
        for pid, status, key in self._children.reap():
            if key is None:
                continue
            if status != TOLD:
                self._outages.works(key)  # what comes next is another's business
            child = self._pipes[key]
            told, child.pid, child.told = child.told, None, None
            self._waiting.add(key)
            if told is not None and key in self.wanted.pipes:
                child.start_at = child.failures = 0
            elif told is not None or status == 0:
                del self._pipes[key]  # until the name matches again
                self._waiting.discard(key)
                self._look_at = min(self._look_at, now + 1.0)
                self.wanted.doubt()
            else:
                self._failed(key, child, pid, status, now)

    def _failed(self, key, child, pid, status, now):
        if status == TOLD:
            child.pause(now, CRASHED)
            return
        if now - child.since > STEADY:
            child.failures = 0
        seconds = child.pause(now, CRASHED)
        if status < 0:
            what = f"was killed by signal {-status}; starts again in {seconds:.1f} s"
        else:
            what = f"has crashed ({status}); starts again in {seconds:.1f} s"
        report.warning(f"{key[2]}: process {pid} {what}")

    def _hup(self):
        self._said = set()
        self._list.now()
        self._begin_anew()

    def _read(self):
        self.wanted.read()
        return self.wanted.holds

    def _begin_anew(self):
        """After HUP: whoever waits waits no longer."""
        for key in self._waiting:
            self._pipes[key].start_at = self._pipes[key].failures = 0
        self._look(time.monotonic())
        self._children.signal_all(signal.SIGHUP)

    def _stop(self):
        self._diallers.close()
        self._children.signal_all(signal.SIGTERM)
        self._outages.flush()
        poll = Poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        until = time.monotonic() + STOP
        while len(self._children) and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._signals.take()
            self._children.reap()
        self._children.signal_all(signal.SIGKILL)

    # --- child: from here on in a process of its own

    def _be(self, path, prepared):
        """Feed this pipe.  Never returns."""
        status = 3
        try:
            gc.freeze()
            os.close(self._held)
            os.close(self._ear)
            self._watcher.close()
            self._diallers.forget()
            self._children.forget()
            status = self._feed(prepared, self._signals)
        except BaseException as error:  # a child never returns into the parent's code
            what = f"{type(error).__name__}: {error} ({place(error)})"
            report.critical(f"{path}: bug: {what}")
        finally:
            os._exit(status)


def _options(line):
    """What makes a pipe another one: not how its file was found, and not -n."""
    return {key: value for key, value in line.options.items() if key not in "fn"}
