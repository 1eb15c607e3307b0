"""The push pair's client: one origin, one connection at a time, made again for ever.

One loop.  Whatever it waits for - a pause, a name server, a connection, an answer, news - it
waits in one place, where signals are answered at once, and the origin is looked at every second,
so that files which rotation renames or deletes are held open in time.
Nothing but being told to ends it once it runs: not a refusal, not a resource that is used up,
not a bug of ours.
A crash leaves what the feed leaves, a status file.
"""

import select
import signal
import time
from math import inf

from tcppipe.drivers.backoff import BUG, FOR_NOW, LOST, REFUSED, Backoff
from tcppipe.drivers.feed import Feed
from tcppipe.drivers.outages import Outages
from tcppipe.drivers.pace import Pace
from tcppipe.errors import ConfigError, LinkLost, NotNow, Refused, place, reason
from tcppipe.files.generations import Reader
from tcppipe.files.wakeup import Nothing
from tcppipe.net.poll import Poll
from tcppipe.process import report
from tcppipe.process.turns import Turns

LOOK = 1.0  # seconds between two looks at the origin, whatever notification says …
CALM_LOOK = 20.0  # … and while nothing can happen to it that would not be told
GLANCE = 0.1  # seconds between two times that names are asked for while nothing is delivered
GREETING = 25.0  # seconds that the sink may take to say what it has, at the first start
FAREWELL = 2.0  # seconds that the last acknowledgements may take when we are told to end

# What it does.
PAUSED = "waits to connect again"
DIALLING = "connects"
FEEDING = "is connected"


class Push:
    """Follows one origin and feeds it to one host.

    follower: of the origin.  dial(now): a Dialling.  greet(dialling, witness, resend): a
    source session for it.  status: the StatusFile.  say: a function (level, text).
    interval: seconds between updates (-t), or None: at once.  resend: -n was given.  packer:
    the Packer (-z) that greet gives to its sessions, or None.
    """

    def __init__(
        self, follower, dial, greet, status, say, interval=None, resend=False, packer=None
    ):
        self.follower = follower
        self.path = follower.chain.path
        self._dial = dial
        self._greet = greet
        self._status = status
        self._say = say
        self._interval = interval
        self._resend = resend
        self._packer = packer
        self._state = PAUSED
        self._until = 0.0  # when a pause is over
        self._dialling = self._feed = None
        self._greeted = False  # the sink has said what it has, over this connection
        self._signals = self._lifeline = None  # lifeline: readable when our parent is gone
        self._wakeup = Nothing()
        self._backoff = Backoff()
        self._outages = Outages(say)
        self._turns = Turns(say)
        self._bugs = 0
        self._acknowledged_to = None  # the offset
        self._looked = self._deliver_at = 0.0
        self._pace = Pace()
        self._listen_at = 0.0  # until then notification is not listened to
        self._more = True  # there may be news, whatever notification says
        self._watched = None  # how many files had appeared when they were last watched
        self._ending = self._over = False
        self._end_at = inf

    # --- the first connection, in the foreground

    def establish(self, caller=None):
        """Connect, and go on until the sink has said what it has.

        caller: a descriptor that tells when nobody waits for that any more.
        Raises LinkLost, PeerError, Refused.
        """
        self._lifeline = caller
        self._look()  # hold the file before anything can become of it
        until = time.monotonic() + GREETING
        while self._feed is None or self._feed.greeting:
            self._turn()
            now = time.monotonic()
            if self._over:
                raise LinkLost(f"{self.path}: interrupted")
            if self._feed is None:
                until = now + GREETING
            elif now >= until:
                raise LinkLost(f"{self._feed.link.peer}: does not answer")
        self._lifeline = None

    # --- the loop

    def run(self, signals, wakeup):
        """Feed until told to end."""
        self._signals, self._wakeup = signals, wakeup
        self.follower.chain.told = wakeup
        try:
            while not self._over:
                self._guarded_turn()
        finally:
            self._hang_up()

    def _guarded_turn(self):
        try:
            self._turn()
        except NotNow as error:
            self._lost(f"{error}; tries again", FOR_NOW)
        except Refused as error:
            self._lost(f"{error}; tries again, at HUP at once", REFUSED, "critical")
        except LinkLost as error:
            self._lost(f"{error}; connects again", LOST)
        except Exception as error:  # whatever is wrong with us, the origin grows on
            passing = isinstance(error, (OSError, MemoryError))
            what = reason(error) if passing else f"bug: {type(error).__name__}: {error}"
            self._bugs += not passing
            text = f"{what} ({place(error)}); connects again"
            self._lost(text, BUG, "error" if passing else "critical")
            time.sleep(LOOK)  # it may be the waiting that fails

    def _turn(self):
        """Wait until something happens or is due, and do what follows.

        Raises what ends the present connection or attempt.
        """
        ready = self._wait()
        now = time.monotonic()
        self._turns.start()
        if not ready and self._state == FEEDING and self._at_rest(now):
            self._looked = now
            self._wakeup.tend(now)
            report.tend()
            return
        if self._lifeline in ready:
            self._abandoned()
            return
        if self._signals is not None and self._signals.fileno() in ready:
            self._answer(self._signals.take(), now)
        woken = self._heed(ready, now)
        if self._state == FEEDING:
            self._go_on_feeding(ready, woken, now)
        elif self._ending:
            self._over = True
        elif self._state == DIALLING:
            self._go_on_dialling(ready, now)
        elif now >= self._until:
            self._dialling, self._state = self._dial(now), DIALLING
        if now >= self._look_at:
            self._looked = now
            self._look()
            if self._state == FEEDING and self._feed.link.silent:
                peer = self._feed.link.peer
                raise LinkLost(f"{peer}: no sign of life from the other side")
            self._wakeup.tend(now)
            report.tend()
        self._outages.tend(now)
        self._turns.done(self._place)

    def _place(self):
        """What was done last, for people."""
        what = self._feed.pump.last if self._feed is not None else self._state
        return f"{self.path}: {what}"

    def _wait(self):
        """Wait; {descriptor: events} of what has happened."""
        poll, now = Poll(), time.monotonic()
        if self._signals is not None:
            poll.register(self._signals.fileno(), select.POLLIN)
        if self._lifeline is not None:
            poll.register(self._lifeline, select.POLLIN)
        due = min(self._look_at, self._outages.due())
        if self._wakeup.fileno() >= 0 and now >= self._listen_at:
            poll.register(self._wakeup.fileno(), select.POLLIN)
        elif self._wakeup.fileno() >= 0:
            due = min(due, self._listen_at)
        if self._wakeup.pending:
            due = min(due, self._listen_at)
        if self._state == FEEDING:
            link = self._feed.link
            poll.register(link.fileno(), select.POLLIN | (select.POLLOUT if link.full else 0))
            due = min(due, self._feeding_due(now))
        elif self._state == DIALLING:
            poll.register(self._dialling.fileno(), self._dialling.events())
            due = min(due, self._dialling.due())
        else:
            due = min(due, self._until)
        return dict(poll.poll(max(0.0, due - now) * 1000 + 0.5 if due > now else 0))

    @property
    def _look_at(self):
        """When the next look at the origin is due."""
        calm = self._listening and self._wakeup.complete and not self.follower.restless
        return self._looked + (CALM_LOOK if calm and self._state == FEEDING else LOOK)

    @property
    def _listening(self):
        """True when notification tells when to deliver."""
        return self._interval is None and self._wakeup.fileno() >= 0

    def _heed(self, ready, now):
        """Take what notification tells, and look at once when a name has come or gone: what came
        may not stay.  True when anything was told."""
        if self._wakeup.fileno() not in ready and not self._wakeup.pending:
            return False
        if self._wakeup.drain():
            self._look()
        delivers = self._state == FEEDING and self._interval is None
        self._listen_at = self._pace.next(now) if delivers else now + GLANCE
        return True

    def _look(self):
        try:
            self.follower.chain.look()
        except (OSError, ConfigError):
            pass  # the next read says what is wrong

    # --- signals

    def _abandoned(self):
        """Our parent is gone."""
        self._over = True

    def _answer(self, came, now):
        """Do what these signals tell."""
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._ending = True
        if signal.SIGHUP in came:
            self._hup(now)
        if signal.SIGUSR1 in came:
            self._say("info", f"{self.path}: {self._where(now)}")

    def _hup(self, now):
        self._look()
        self._deliver_at = 0.0
        if self._state == PAUSED:
            self._backoff.reset()
            self._until = now

    def _where(self, now):
        """Where it is and what it waits for, in words."""
        words = [self._state]
        if self._state == PAUSED:
            words[0] += f" in {max(0.0, self._until - now):.0f} s"
        elif self._state == FEEDING:
            words = [
                f"{self._state} to {self._feed.link.peer}",
                f"waits for {self._feed.waits_for}",
            ]
        words.append(f"has read to offset {self.follower.offset}")
        if self._acknowledged_to is not None:
            words.append(f"acknowledged to {self._acknowledged_to}")
        if self._bugs:
            words.append(f"bugs so far: {self._bugs}")
        return ", ".join(words)

    # --- without a connection

    def _lost(self, text, bounds, level="warning"):
        """There is no connection: another one is tried after a pause."""
        self._hang_up()
        if self._ending:
            self._over = True
            return
        now = time.monotonic()
        self._until = now + self._backoff.pause(bounds)
        self._outages.lost(self.path, text, now, level)

    def _hang_up(self):
        self._state = PAUSED
        for thing in (self._dialling, self._feed and self._feed.link):
            if thing is not None:
                thing.close()
        self._dialling = self._feed = None

    def _go_on_dialling(self, ready, now):
        dialling = self._dialling
        if not dialling.go(ready.get(dialling.fileno(), 0), now):
            return
        witness, again = self._status.read()
        self._resend = self._resend or again
        self._begin_feeding(dialling.link, self._greet(dialling, witness, self._resend))
        self._dialling = None

    # --- with a connection

    def _begin_feeding(self, link, session):
        self._feed = Feed(link, session, self.follower, self._status, self._say, self._packer)
        self._state, self._more = FEEDING, True
        self._greeted = False
        self._feed.open(time.monotonic())

    def _at_rest(self, now):
        """True when a glance is enough: nothing is due but a look, and there is no news."""
        return (
            now >= self._look_at
            and now < self._feed.due()
            and self._feed.settled
            and not self._ending
            and self.follower.unchanged()
        )

    def _go_on_feeding(self, ready, woken, now):
        feed, link = self._feed, self._feed.link
        happened = ready.get(link.fileno(), 0)
        if happened & select.POLLOUT or now >= link.due():
            link.flush()
        if link.unread or happened & ~select.POLLOUT:
            feed.hear(now)
        if not self._greeted and not feed.greeting:
            self._greeted = True
            if self._signals is not None:  # else it is established, and not yet ready to be said
                self._outages.connected(self.path, f"connected to {link.peer}", now)
        if self._ending:
            self._end_at = min(self._end_at, now + FAREWELL)
            if feed.settled or now >= self._end_at:
                feed.bye(now)
                link.drain(0.5)
                self._over = True
                return
        elif self._more or now >= self._listen_at or woken:
            self._more = self._deliver(now)
        if feed.acknowledged:
            self._works(feed)
        feed.tend(now)

    def _works(self, feed):
        """The sink has made something durable."""
        feed.acknowledged = False
        self._acknowledged_to = feed.acknowledged_to
        self._resend = False
        self._backoff.reset()
        self._outages.works(self.path)

    def _feeding_due(self, now):
        """When something is due."""
        feed = self._feed
        if self._more and feed.ready and now >= self._deliver_at and not self._ending:
            return now
        times = [feed.due(), feed.link.due(), self._end_at]
        if self._interval is not None and feed.ready and not self._ending:
            times.append(self._deliver_at)
        return min(times)

    def _deliver(self, now):
        """Deliver what there is, at once or every so many seconds; True: there may be more."""
        if not self._feed.ready:
            return True  # as soon as it is
        if now < self._deliver_at:
            return False
        more = self._feed.deliver(now)
        if not more and self._interval is not None and self._feed.ready:
            self._deliver_at = now + self._interval
        if self.follower.chain.appeared != self._watched:
            self._watched = self.follower.chain.appeared
            self._wakeup.watch()
            return True
        return more


def check_origin(path, fs):
    """Raise ConfigError when `path` (str) cannot be an origin: missing, unreadable, no file."""
    try:
        Reader(path, fs).close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot open: {reason(error)}") from None
