"""The push pair's client: one origin, one connection at a time, made again for ever.

While there is no connection the origin is still looked at, so that files which rotation
renames or deletes are held open in time.
"""

import os
import select
import signal
import time

from tcppipe.drivers.feed import Feed
from tcppipe.drivers.pace import Pace
from tcppipe.errors import ConfigError, LinkLost, Refused, reason
from tcppipe.files.generations import Reader

LOOK = 1.0  # seconds between two looks at the origin, whatever notification says …
CALM_LOOK = 20.0  # … and while nothing can happen to it that would not be told
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds before connecting again
GREETING = 25.0  # seconds that the sink may take to say what it has
FAREWELL = 2.0  # seconds that the last acknowledgements may take when we are told to end


def spread(low, high):
    """A random number between both.  (The module random is seeded anew in each forked child.)"""
    return low + (high - low) * int.from_bytes(os.urandom(4), "big") / 2**32


class Backoff:
    """Growing pauses with jitter."""

    def __init__(self):
        self._next = FIRST_PAUSE

    def pause(self):
        """Seconds to wait now; the next pause is twice as long."""
        pause = self._next * spread(0.5, 1.0)
        self._next = min(LONGEST_PAUSE, self._next * 2)
        return pause

    def reset(self):
        """It worked: begin with the shortest pause next time."""
        self._next = FIRST_PAUSE


class Push:
    """Follows one origin and feeds it to one host.

    follower: of the origin.  dial(): a connected Link.  greet(link, witness, resend): a
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
        self._feed = None
        self._signals = self._wakeup = None
        self._lifeline = None  # becomes readable when our parent is gone: then we end, too
        self._backoff = Backoff()
        self._looked = self._deliver_at = 0.0
        self._pace = Pace()
        self._listening = False  # notification tells when to deliver
        self._listen_at = 0.0  # until then it is not listened to
        self._watched = None  # how many files had appeared when they were last watched
        self._told = None
        self._ending = False

    # --- the first connection, in the foreground

    def establish(self):
        """Connect, and go on until the sink has said what it has.

        Raises LinkLost, PeerError, Refused, ConfigError.
        """
        self._connect()
        link = self._feed.link
        until = time.monotonic() + GREETING
        poll = select.poll()
        poll.register(link.fileno(), select.POLLIN)
        while self._feed.greeting:
            left = until - time.monotonic()
            if left <= 0:
                raise LinkLost(f"{link.peer}: does not answer")
            if link.unread or poll.poll(left * 1000):
                self._feed.hear(time.monotonic())
        self._status.close()  # a detaching closes its descriptor, whose number another gets

    def descriptors(self):
        """What must stay open over a detaching."""
        return [*self.follower.chain.descriptors(), self._feed.link.fileno()]

    def _connect(self):
        link = self._dial()
        try:
            witness, again = self._status.read()
            self._resend = self._resend or again
            session = self._greet(link, witness, self._resend)
            self._feed = self._make_feed(link, session)
            link.drain(GREETING)
        except Exception:
            link.close()
            self._feed = None
            raise

    def _make_feed(self, link, session):
        feed = Feed(link, session, self.follower, self._status, self._say, self._packer)
        feed.open(time.monotonic())
        return feed

    # --- the loop

    def run(self, signals, wakeup):
        """Feed until told to end (then it returns), or until Refused or ConfigError is raised."""
        self._signals, self._wakeup = signals, wakeup
        try:
            while not self._ending:
                try:
                    if self._feed is None:
                        self._connect()
                        self._say("info", f"{self.path}: connected to {self._feed.link.peer}")
                    self._converse()
                except LinkLost as error:
                    self._lost(error)
                except Refused as error:
                    raise Refused(f"{self.path}: ends: {error}") from None
        finally:
            self._hang_up()

    def _lost(self, error):
        self._hang_up()
        if self._ending:
            return
        text = f"{self.path}: {error}"
        if text != self._told:
            self._say("warning", f"{text}; connects again")
            self._told = text
        self._pause(time.monotonic() + self._backoff.pause())

    def _hang_up(self):
        if self._feed is not None:
            self._feed.link.close()
            self._feed = None

    def _pause(self, until):
        """Wait without a connection; the origin is looked at, and signals are answered."""
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        if self._lifeline is not None:
            poll.register(self._lifeline, select.POLLIN)
        while not self._ending and time.monotonic() < until:
            ready = poll.poll(min(LOOK, max(0.0, until - time.monotonic())) * 1000 + 1)
            if self._lifeline in dict(ready):
                self._abandoned()
                return
            self._answer(self._signals.take())
            self._look()

    def _abandoned(self):
        """Our parent is gone."""
        self._ending = True

    def _answer(self, came):
        """Do what these signals tell."""
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._ending = True
        if signal.SIGHUP in came:
            self._hup()

    def _hup(self):
        self._look()
        self._deliver_at = 0.0

    def _look(self):
        try:
            self.follower.chain.look()
        except (OSError, ConfigError):
            pass  # the next read says what is wrong

    def _converse(self):
        """Feed over the present connection until it is lost, or we are told to end."""
        feed, link = self._feed, self._feed.link
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        self._listening = self._wakeup.fileno() >= 0 and self._interval is None
        if self._lifeline is not None:
            poll.register(self._lifeline, select.POLLIN)
        end_at = None
        more = True
        while True:
            poll.register(link.fileno(), select.POLLIN | (select.POLLOUT if link.full else 0))
            if self._listening:
                held = time.monotonic() < self._listen_at
                poll.register(self._wakeup.fileno(), 0 if held else select.POLLIN)
            ready = dict(poll.poll(self._timeout(more and feed.ready, end_at) * 1000))
            now = time.monotonic()
            if not ready and now >= self._look_at and now < feed.due() and self._no_news(feed):
                self._looked = now
                continue
            if self._lifeline in ready:
                self._abandoned()
                raise LinkLost("the server is gone")
            if self._signals.fileno() in ready:
                self._answer(self._signals.take())
            if self._wakeup.fileno() in ready:
                self._wakeup.drain()
                self._listen_at = self._pace.next(now)
            if ready.get(link.fileno(), 0) & select.POLLOUT or now >= link.due():
                link.flush()
            if link.unread or ready.get(link.fileno(), 0) & ~select.POLLOUT:
                feed.hear(now)
            self._acknowledged(feed)
            if now >= self._look_at:
                self._looked = now
                self._look()
            if self._ending:
                end_at = end_at or now + FAREWELL
                if feed.settled or now >= end_at:
                    feed.bye(now)
                    link.drain(0.5)
                    return
            elif more or now >= self._listen_at or self._wakeup.fileno() in ready:
                more = self._deliver(now)
            feed.tend(now)

    def _no_news(self, feed):
        """A glance is enough for a pipe at rest."""
        return feed.settled and not self._ending and self.follower.unchanged()

    def _acknowledged(self, feed):
        if feed.acknowledged:
            self._resend = False
            self._backoff.reset()
            self._told = None

    @property
    def _look_at(self):
        """When the next look at the origin is due."""
        calm = self._listening and self._wakeup.complete and not self.follower.restless
        return self._looked + (CALM_LOOK if calm else LOOK)

    def _timeout(self, more, end_at):
        """Seconds until something is due."""
        now = time.monotonic()
        if more and now >= self._deliver_at and not self._ending:
            return 0.0
        times = [self._look_at, self._feed.due(), self._feed.link.due()]
        if self._listen_at > now:
            times.append(self._listen_at)
        if self._interval is not None and self._feed.ready:
            times.append(self._deliver_at)
        if end_at is not None:
            times.append(end_at)
        return max(0.0, min(times) - now) + 0.0005

    def _deliver(self, now):
        """Deliver what there is, at once or every so many seconds; True: there may be more."""
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


def check_origin(path):
    """Raise ConfigError when `path` (str) cannot be an origin: missing, unreadable, no file."""
    try:
        Reader(path).close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot open: {reason(error)}") from None
