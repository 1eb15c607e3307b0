"""A server: listens, forks one child per connection, and keeps order.  And the push pair's.

The parent owns the listening sockets, the configuration and the table of names; a child
owns one connection.  What it does there is a service's business.  A child that dies hurts no other.  When the parent is
gone its children end by themselves, so nobody writes who cannot be told to reopen.
"""

import gc
import hashlib
import os
import select
import signal
import time

from tcppipe.conf import pipes
from tcppipe.drivers.pipe import Pipe
from tcppipe.drivers.store import Store
from tcppipe.errors import ConfigError, LinkLost, Refused, SyncFailed, TcppipeError, reason
from tcppipe.files.syncer import Syncer
from tcppipe.net import peers
from tcppipe.net.link import Link
from tcppipe.process import report
from tcppipe.process.children import Children
from tcppipe.session.sink1 import Undecided
from tcppipe.wire import packing, push1

GONE = getattr(select, "POLLRDHUP", 0)  # Linux tells when the peer has closed its side
HANDSHAKE = 5.0  # seconds that a client has for its request
REFRESH = 60.0  # seconds between two look-ups of the names in the configuration
STOP = 10.0  # seconds that children have to end when the server stops


# --- parent


class Service:
    """What a Server serves.  path: of the configuration file.  names: a peers.Names.

    A subclass has refresh(): a connection comes, read the configuration again if it has
    changed; read(): HUP, read it again, and say in a few words what it holds (both raise
    ConfigError); serve(link, signals, lifeline): in a child, serve one connection and return
    the exit status, or raise a TcppipeError.
    """

    def __init__(self, path):
        self.path = path
        self.names = peers.Names(changed=_say_changed)

    def wanted(self):
        """The host names that are to be looked up now and then."""
        return []

    def link(self, sock, peer):
        """In a child: the Link of its connection."""
        return Link(sock, peer)


class Server:
    """Serves a Service on listening sockets."""

    def __init__(self, service, sockets):
        self.service = service
        self.names = service.names
        self.sockets = {sock.fileno(): sock for sock in sockets}
        self._children = Children()
        self._looking = None  # the descriptor of a look-up under way
        self._look_at = 0.0
        self._lifeline, self._held = None, None

    def run(self, signals):
        """Serve until TERM or INT."""
        self._lifeline, self._held = os.pipe()
        # A page that a child writes to becomes its own: what can be done before, is done here.
        hashlib.sha256(b"").digest()  # the first one makes OpenSSL read its tables
        gc.collect()
        gc.freeze()
        while True:
            self._look_up(time.monotonic())
            poll = select.poll()
            for fd in [*self.sockets, signals.fileno()]:
                poll.register(fd, select.POLLIN)
            if self._looking is not None:
                poll.register(self._looking, select.POLLIN)
            wait = max(0.0, self._look_at - time.monotonic()) if self._looking is None else None
            for fd, _events in poll.poll(None if wait is None else wait * 1000 + 1):
                if fd in self.sockets:
                    self._accept(self.sockets[fd], signals)
                elif fd == self._looking and self.names.collect():
                    self._looking = None
            came = signals.take()
            if signal.SIGCHLD in came:
                self._reap()
            if signal.SIGHUP in came:
                self._reload()
            if signal.SIGTERM in came or signal.SIGINT in came:
                self._stop()
                return

    def _accept(self, listener, signals):
        try:
            sock, address = listener.accept()
        except OSError as error:
            if not isinstance(error, (BlockingIOError, InterruptedError, ConnectionError)):
                report.error(f"cannot accept a connection: {reason(error)}")
            return
        try:
            self.service.refresh()
        except ConfigError as error:
            _say_broken(error)
        try:
            pid = signals.fork()
        except OSError as error:
            report.error(f"{address[0]}: cannot fork: {reason(error)}")
            sock.close()
            return
        if pid:
            sock.close()
            self._children.add(pid, address[0])
            return
        status = 1
        try:
            status = self._child(sock, address[0], signals)
        except BaseException as error:  # a child never returns into the parent's code
            report.critical(f"{address[0]}: bug: {type(error).__name__}: {error}")
        finally:
            os._exit(status)

    def _reap(self):
        for pid, status, note in self._children.reap():
            if note is not None and status < 0:
                report.warning(f"{note}: child {pid} was killed by signal {-status}")

    def _reload(self):
        try:
            holds = self.service.read()
            report.info(f"{self.service.path}: read again, {holds}")
        except ConfigError as error:
            _say_broken(error)
        if self._looking is not None:
            self.names.close()
            self._looking = None
        self._look_at = 0.0
        self._children.signal_all(signal.SIGHUP)

    def _look_up(self, now):
        if self._looking is None and now >= self._look_at:
            self._look_at = now + REFRESH
            wanted = self.service.wanted()
            if wanted:
                self._looking = self.names.start(wanted)

    def _stop(self):
        self._children.signal_all(signal.SIGTERM)
        until = time.monotonic() + STOP
        while len(self._children) and time.monotonic() < until:
            self._children.reap()
            time.sleep(0.01)
        self._children.signal_all(signal.SIGKILL)

    # --- child: from here on in a process of its own

    def _child(self, sock, address, signals):
        """Serve one connection; the exit status."""
        os.close(self._held)
        for listener in self.sockets.values():
            listener.close()
        self.names.close()
        link = self.service.link(sock, peers.plain(address).compressed)
        try:
            return self.service.serve(link, signals, self._lifeline)
        except LinkLost as error:
            report.info(str(error))
        except TcppipeError as error:
            report.critical(str(error))
        return 1


# --- the push pair's service


class Pipes(Service):
    """Takes what the pipes of a Table send."""

    def __init__(self, table, state_dir):
        super().__init__(table.path)
        self.table = table
        self.state_dir = state_dir
        packing.able()  # loads now what a child would load

    def wanted(self):
        """The names in the table."""
        return pipes.names(self.table.entries)

    def refresh(self):
        """New entries are valid for new connections."""
        self.table.refresh()

    def read(self):
        """Read the table."""
        self.table.read()
        return f"{len(self.table.entries)} entries"

    def serve(self, link, signals, lifeline):
        """Serve one pipe."""
        line = link.read_line(push1.MAX_LINE, time.monotonic() + HANDSHAKE)
        try:
            path = os.fsdecode(push1.parse_request(line))
        except TcppipeError as error:
            raise type(error)(f"{link.peer}: {error}") from None
        pipe = Pipe(self.table, self.names, link.peer, path, self.state_dir)
        try:
            copy = pipe.open()
        except TcppipeError as error:
            link.send(push1.refuse(str(error)))
            link.drain(1.0)
            raise Refused(f"{link.peer}:{path}: refused: {error}") from None
        link.send(push1.ready())
        report.info(f"{pipe.name}: established, to {copy.destination.path}")
        syncer = Syncer()
        store = Store(link, Undecided(time.monotonic()), copy, pipe.claim, report.say, syncer)
        try:
            attend(store, syncer, signals, lifeline, pipe.check)
        except TcppipeError as error:
            store.close(clean=not isinstance(error, SyncFailed))
            farewell(store, error)
            raise type(error)(f"{pipe.name}: {error}") from None
        return 0


def attend(store, syncer, signals, lifeline, check):
    """A child's loop: serve one connection until it ends by an error, which is raised.

    lifeline: becomes readable when the parent is gone.  check(): raises what ends the pipe
    when it is no longer configured.
    """
    link = store.link
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
        now = time.monotonic()
        if lifeline in ready:
            raise LinkLost("the server is gone")
        if signals.fileno() in ready:
            _answer(signals.take(), store, check, now)
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


def _answer(came, store, check, now):
    """What a child does about signals."""
    if signal.SIGTERM in came or signal.SIGINT in came:
        raise LinkLost("the server stops")
    if signal.SIGHUP in came:
        check()
        store.reopen(now)
    if signal.SIGUSR1 in came:
        store.prove(now)


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
