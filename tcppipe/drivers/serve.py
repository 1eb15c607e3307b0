"""A server: listens, forks one child per connection, and keeps order.  And the push pair's.

The parent owns the listening sockets, the configuration and the table of names; a child
owns one connection.  What it does there is a service's business.  A child that dies hurts no other.  When the parent is
gone its children end by themselves, so nobody writes who cannot be told to reopen.
"""

import errno
import gc
import hashlib
import os
import select
import signal
import time
from math import inf

from tcppipe.conf import pipes
from tcppipe.drivers.pipe import Knowledge, Pipe
from tcppipe.drivers.store import Store
from tcppipe.errors import (
    ConfigError,
    LinkLost,
    NotNow,
    PeerError,
    Refused,
    SyncFailed,
    TcppipeError,
    reason,
)  # fmt: skip
from tcppipe.files.workers import Workers
from tcppipe.net import identity, resolver
from tcppipe.net.link import Link
from tcppipe.process import report
from tcppipe.process.children import Children
from tcppipe.process.crowd import Crowd
from tcppipe.process.signals import FAILED
from tcppipe.process.trouble import Trouble, duration
from tcppipe.process.turns import Turns
from tcppipe.session.sink1 import Undecided
from tcppipe.wire import packing, push1

GONE = getattr(select, "POLLRDHUP", 0)  # Linux tells when the peer has closed its side
HANDSHAKE = 5.0  # seconds that a client has for its request
REFRESH = 60.0  # seconds between two look-ups of the names in the configuration …
AGAIN = 2.0  # … and at least, when a child asks for one
PAUSE = 1.0  # seconds until what failed in the parent is tried again
CALM = 60.0  # seconds without such a failure after which it is over
STOP = 10.0  # seconds that children have to end when the server stops
STRANGERS = "strangers"  # whom messages are about that nobody in the configuration is meant by
WHERE = signal.SIGUSR2  # to a child: say where you are
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, WHERE)


# --- parent


class Service:
    """What a Server serves.  path: of the configuration file.  names: a resolver.HostNames.

    A subclass has refresh(): a connection comes, read the configuration again if it has
    changed; read(): HUP, read it again, and say in a few words what it holds (both raise
    ConfigError); publish(): let children know what is known now; knows(address): is that
    somebody in the configuration, as far as is known; serve(link, signals, lifeline): in a
    child, serve one connection and return the exit status, or raise a TcppipeError.
    asking: a descriptor that is readable when a child wants names looked up, or None.
    """

    asking = None

    def __init__(self, path):
        self.path = path
        self.names = resolver.HostNames(changed=_say_changed)

    def open(self):
        """In the parent, before the first child."""

    def wanted(self):
        """The host names that are to be looked up now and then."""
        return []

    def asked(self):
        """Forget who has asked for a look-up."""

    def link(self, sock, peer):
        """In a child: the Link of its connection."""
        return Link(sock, peer)


class Server:
    """Serves a Service on listening sockets.

    Whatever fails in the parent is said, and tried again after a pause: a full table of
    processes or descriptors must not end what runs.
    """

    def __init__(self, service, sockets):
        self.service = service
        self.names = service.names
        self.sockets = {sock.fileno(): sock for sock in sockets}
        self._children = Children()
        self._looking = None  # the descriptor of a look-up under way
        self._look_at = self._accept_at = self._tend_at = 0.0
        self._lifeline, self._held = None, None
        self._turns = Turns(report.say)
        self._accepting = Trouble(report.say)
        self._crowd = Crowd()
        self._crowding = Trouble(report.say, "warning", CALM)
        self._resolving = Trouble(report.say)
        self._going = Trouble(report.say, "critical", CALM)
        self._nameless = {}  # a Trouble for each name that had no answer
        self._broken = None  # what was said of the configuration last
        self._publish_at = inf  # when what could not be told to children is told again
        self._publishing = Trouble(report.say)
        self._stopped = False
        self._lifeline, self._held = os.pipe()
        report.share()
        service.open()

    def run(self, signals):
        """Serve until TERM or INT."""
        self._publish(time.monotonic())
        # A page that a child writes to becomes its own: what can be done before, is done here.
        hashlib.sha256(b"").digest()  # the first one makes OpenSSL read its tables
        gc.collect()
        gc.freeze()
        while not self._stopped:
            try:
                self._turn(signals)
                self._going.over(f"{self.service.path}: serves again", time.monotonic())
            except (OSError, MemoryError) as error:
                text = f"{self.service.path}: cannot serve for now: {reason(error)}"
                self._going.failed(text, time.monotonic())
                time.sleep(PAUSE)
            except Exception as error:
                report.bug(self.service.path, error)
                time.sleep(PAUSE)

    def _turn(self, signals):
        """Wait, and do what there is to do."""
        now = time.monotonic()
        self._look_up(now)
        self._tend(now)
        for fd, _events in self._wait(signals, now):
            self._turns.start()
            now = time.monotonic()
            if fd in self.sockets:
                self._accept(self.sockets[fd], signals, now)
            elif fd == self._looking:
                self._collect(now)
            elif fd == self.service.asking:
                self.service.asked()
                self._look_at = min(self._look_at, max(now, self.names.began + AGAIN))
            self._turns.done(f"{self.service.path}: a connection or a look-up")
        self._answer(signals.take())

    def _wait(self, signals, now):
        poll = select.poll()
        for fd in (signals.fileno(), self._looking, self.service.asking):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        times = [self._tend_at, self._publish_at]
        if self._looking is None:
            times.append(self._look_at)
        if now < self._accept_at:
            times.append(self._accept_at)
        else:
            for fd in self.sockets:
                poll.register(fd, select.POLLIN)
        return poll.poll(max(0.0, min(times) - now) * 1000 + 1)

    def _tend(self, now):
        if now >= self._tend_at:
            self._tend_at = now + REFRESH
            self._crowding.over(f"{self.service.path}: strangers are few again", now)
            report.tend()
        if now >= self._publish_at:
            self._publish(now)
            if self._publish_at == inf:  # they were told of HUP when there was nothing to see
                self._children.signal_all(signal.SIGHUP)

    def _answer(self, came):
        if signal.SIGCHLD in came:
            self._reap()
        if signal.SIGHUP in came:
            self._turns.start()
            self._reload()
            self._turns.done(f"{self.service.path}: reading it again")
        if signal.SIGUSR1 in came:
            self._say_where()
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._stopped = True
            self._stop()

    def _accept(self, listener, signals, now):
        try:
            sock, address = listener.accept()
        except OSError as error:
            passing = (errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPROTO)
            if error.errno not in passing:
                self._hold_back(f"cannot accept a connection: {reason(error)}", now)
            return
        self._refresh()
        peer = resolver.plain(address[0]).compressed
        if not self.service.knows(peer) and not self._crowd.admits(peer, now):
            sock.close()
            text = "too many strangers connect at once; more of them are turned away"
            self._crowding.failed(f"{self.service.path}: {text}", now)
            return
        try:
            pid = signals.fork()
        except (OSError, MemoryError) as error:
            sock.close()
            self._hold_back(f"cannot fork for a connection: {reason(error)}", now)
            return
        if pid:
            sock.close()
            self._children.add(pid, (peer, now))
            self._accepting.over("connections are accepted again", now)
            return
        status = FAILED
        try:
            status = self._child(sock, peer, signals)
        except (OSError, MemoryError) as error:
            report.error(f"{peer}: ends: {reason(error)}")
        except BaseException as error:  # a child never returns into the parent's code
            report.bug(peer, error)
        finally:
            os._exit(status)

    def _hold_back(self, text, now):
        """No connection can be served for now: they wait in the kernel."""
        self._accept_at = now + PAUSE
        self._accepting.failed(f"{text}; tries again each second", now)

    def _refresh(self):
        try:
            if self.service.refresh():
                self._publish(time.monotonic())
            self._broken = None
        except ConfigError as error:
            if str(error) != self._broken:
                self._broken = str(error)
                _say_broken(error)

    def _publish(self, now):
        try:
            self.service.publish()
        except (OSError, MemoryError) as error:
            self._publish_at = now + PAUSE
            text = f"{self.service.path}: cannot tell children what is new: {reason(error)}"
            self._publishing.failed(text, now)
        else:
            self._publish_at = inf
            self._publishing.over(f"{self.service.path}: children know what is new again", now)

    def _reap(self):
        for pid, status, note in self._children.reap():
            if note is None:
                continue
            if status < 0:
                report.warning(f"{note[0]}: child {pid} was killed by signal {-status}")
            elif status == FAILED:
                report.warning(f"{note[0]}: child {pid} could not begin, or ended by a bug")

    def _reload(self):
        try:
            holds = self.service.read()
            report.info(f"{self.service.path}: read again, {holds}")
            self._broken = None
        except ConfigError as error:
            _say_broken(error)
        now = time.monotonic()
        self._publish(now)
        if not self.names.young(now):  # one look-up at a time, and each has time for its answers
            self.names.close()
            self._looking = None
        self._look_at = 0.0
        self._children.signal_all(signal.SIGHUP)

    def _look_up(self, now):
        if self._looking is not None or now < self._look_at:
            return
        self._look_at = now + REFRESH
        wanted = self.service.wanted()
        if not wanted:
            return
        try:
            self._looking = self.names.start(wanted)
            self._resolving.over("names are looked up again", now)
        except (OSError, MemoryError) as error:
            self._look_at = now + AGAIN
            self._resolving.failed(f"cannot look up names: {reason(error)}", now)

    def _collect(self, now):
        """Answers of the name server have come."""
        if self.names.collect():
            self._looking = None
            self._say_nameless(now)
        self._publish(now)

    def _say_nameless(self, now):
        """Names without an answer: said once, and each hour."""

        def say(level, text):
            report.say(level, text, "names")

        failures = self.names.failures
        for name in [name for name in self._nameless if name not in failures]:
            trouble = self._nameless.pop(name)
            if self.names.addresses(name):  # else nobody wants it any more
                trouble.over(f"{name}: has an address again", now)
        for name, why in failures.items():
            if self.names.addresses(name):
                what = "no answer now, its last addresses stay"
            else:
                what = "no address, so what may be its own is refused for now"
            self._nameless.setdefault(name, Trouble(say, "warning")).failed(
                f"{self.service.path}: {name}: {what}: {why}", now
            )

    def _say_where(self):
        """USR1: what is going on?"""
        now = time.monotonic()
        look_up = "a look-up of names is under way" if self._looking is not None else "at rest"
        report.info(f"{len(self._children)} connections, {look_up}")
        for pid, note in self._children:
            if note is not None:
                report.info(f"child {pid}: {note[0]}, for {duration(now - note[1])}")
        self._children.signal_all(WHERE)

    def _stop(self):
        self.names.close()
        self._children.signal_all(signal.SIGTERM)
        until = time.monotonic() + STOP
        while len(self._children) and time.monotonic() < until:
            self._children.reap()
            time.sleep(0.01)
        self._children.signal_all(signal.SIGKILL)
        report.tend()

    # --- child: from here on in a process of its own

    def _child(self, sock, peer, signals):
        """Serve one connection; the exit status."""
        self._children.forget()
        os.close(self._held)
        for listener in self.sockets.values():
            listener.close()
        self.names.close()
        service = self.service
        service.known = service.knows(peer)
        report.about(peer if service.known else STRANGERS)
        try:
            return service.serve(service.link(sock, peer), signals, self._lifeline)
        except TcppipeError as error:
            report.say(_level(error) if service.known else "notice", str(error))
        return 1


def _level(error):
    """How much it matters that a connection of somebody whom we know ends so."""
    if isinstance(error, (NotNow, PeerError)):
        return "warning"
    return "info" if isinstance(error, LinkLost) else "critical"


# --- the push pair's service


class Pipes(Service):
    """Takes what the pipes of a Table send."""

    def __init__(self, table, state_dir):
        super().__init__(table.path)
        self.table = table
        self.state_dir = state_dir
        self.knowledge = None
        self._known = None
        packing.able()  # loads now what a child would load

    def open(self):
        """What children learn from."""
        self.knowledge = Knowledge(self.table, self.names)
        self.asking = self.knowledge.asking

    def publish(self):
        """The table and its names."""
        self._known = None
        self.knowledge.publish()

    def asked(self):
        """Who asked will see the answer."""
        self.knowledge.asked()

    def wanted(self):
        """The names in the table."""
        return pipes.names(self.table.entries)

    def refresh(self):
        """New entries are valid for new connections."""
        return self.table.refresh()

    def read(self):
        """Read the table."""
        self.table.read()
        return f"{len(self.table.entries)} entries"

    def knows(self, address):
        """Is there any entry for this address?"""
        if self._known is None:
            self._known = identity.KnownPeers(self.table.entries, self.names)
        return address in self._known

    def serve(self, link, signals, lifeline):
        """Serve one pipe."""
        line = link.read_line(push1.MAX_LINE, time.monotonic() + HANDSHAKE)
        try:
            path = os.fsdecode(push1.parse_request(line))
        except TcppipeError as error:
            raise type(error)(f"{link.peer}: {error}") from None
        pipe = Pipe(self.knowledge, link.peer, path, self.state_dir)
        try:
            copy = pipe.open()
        except TcppipeError as error:
            for_now = isinstance(error, NotNow)
            link.send(push1.refuse(str(error), for_now))
            link.drain(1.0)
            kind, how = (NotNow, "refused for now") if for_now else (Refused, "refused")
            raise kind(f"{pipe.name}: {how}: {error}") from None
        self.known = True
        report.about(pipe.name)
        link.send(push1.ready())
        syncer = Workers()
        store = Store(link, Undecided(time.monotonic()), copy, pipe.claim, report.say, syncer)
        try:
            attend(store, syncer, signals, lifeline, pipe)
        except TcppipeError as error:
            store.close(clean=not isinstance(error, SyncFailed))
            farewell(store, error)
            raise type(error)(f"{pipe.name}: {error}") from None
        return 0


def attend(store, syncer, signals, lifeline, pipe):
    """A child's loop: serve one connection until it ends by an error, which is raised.

    lifeline: becomes readable when the parent is gone.  pipe: the Pipe; its check() raises what
    ends it when it is no longer configured, its keep() when it is no longer ours.
    """
    link, began = store.link, time.monotonic()
    turns = Turns(report.say)
    poll = select.poll()
    poll.register(signals.fileno(), select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    poll.register(syncer.fileno(), select.POLLIN)
    while True:
        events = GONE if store.deaf else select.POLLIN
        poll.register(link.fileno(), events | (select.POLLOUT if link.pending else 0))
        now = time.monotonic()
        wait = 0.0 if link.unread and not store.deaf else max(0.0, store.due(now) - now)
        ready = dict(poll.poll(wait * 1000))
        turns.start()
        now = time.monotonic()
        if lifeline in ready:
            raise LinkLost("the server is gone")
        pipe.keep()
        if signals.fileno() in ready:
            _answer(signals.take(), store, pipe, began, now)
        if syncer.fileno() in ready:
            syncer.drain()
        happened = ready.get(link.fileno(), 0)
        if happened & select.POLLOUT:
            link.flush()
        if not store.deaf and (link.unread or happened & ~select.POLLOUT):
            store.hear(now)
        elif happened & (GONE | select.POLLHUP | select.POLLERR):
            raise LinkLost(f"{link.peer}: closed by the other side")
        store.tend(now)
        turns.done(lambda: f"{pipe.name}: {store.pump.last}")


def _answer(came, store, pipe, began, now):
    """What a child does about signals."""
    if signal.SIGTERM in came or signal.SIGINT in came:
        raise LinkLost("the server stops")
    if signal.SIGHUP in came:
        pipe.check()
        store.reopen(now)
    if signal.SIGUSR1 in came:
        store.prove(now)
    if WHERE in came:
        what = "waits for a disk or a lock" if store.deaf else "up to date"
        report.info(
            f"{pipe.name}: to {store.copy.destination.path}, {store.copy.end} bytes of the "
            f"present generation, {store.copy.durable} on the disk; {what}; "
            f"connected for {duration(now - began)}"
        )


def farewell(store, error):
    """Tell the source why the connection ends, as far as it can be told."""
    try:
        for action in store.pump.session.fail(error):
            store.link.send(action.data)
        store.link.drain(1.0)
    except LinkLost:
        pass


def _say_broken(error):
    for line in str(error).splitlines():
        report.error(f"{line} (the old configuration stays in force)")


def _say_changed(name, old, new):
    before, after = (" ".join(sorted(map(str, group))) for group in (old, new))
    report.warning(f"{name}: its addresses have changed from {before} to {after}")
