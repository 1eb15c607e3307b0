"""The push pair's server: listens, forks one child per connection, and keeps order.

The parent owns the listening sockets, the configuration and the table of names; a child
owns one connection and one copy.  A child that dies hurts no other.  When the parent is
gone its children end by themselves, so nobody writes who cannot be told to reopen.
"""

import os
import select
import signal
import time

from tcppipe.conf import pipes
from tcppipe.drivers.store import Store
from tcppipe.errors import ConfigError, LinkLost, Refused, SyncFailed, TcppipeError, reason
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination, look_up_owner
from tcppipe.net import peers
from tcppipe.net.link import Link
from tcppipe.process import report, rundir
from tcppipe.process.children import Children
from tcppipe.session.sink1 import Undecided
from tcppipe.wire import push1

GONE = getattr(select, "POLLRDHUP", 0)  # Linux tells when the peer has closed its side
HANDSHAKE = 5.0  # seconds that a client has for its request
NAMES = 4.0  # seconds of them that a name server may take
REFRESH = 60.0  # seconds between two look-ups of the names in the configuration
CLAIM = 4.0  # seconds that another source has to prove that it lives
TAKEOVER = 15.0  # seconds that a child has to end when its own source comes back
STOP = 10.0  # seconds that children have to end when the server stops


class Table:
    """The configuration as it stands in its file, read again when that changes."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        self._seen = None

    def read(self):
        """Read the file.  Raises ConfigError, and keeps the old entries then."""
        try:
            status = os.stat(self.path)
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                text = file.read()
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot read: {reason(error)}") from None
        self._seen = _signature(status)
        entries = pipes.parse(text, self.path)
        for entry in entries:
            if entry.owner:
                try:
                    look_up_owner(entry.owner)
                except ConfigError as error:
                    raise ConfigError(f"{self.path}:{entry.line}: {error}") from None
        self.entries = entries

    def refresh(self):
        """Read the file again if it has changed.  Raises ConfigError, once for each change."""
        try:
            seen = _signature(os.stat(self.path))
        except OSError:
            return  # what was read is still in force
        if seen != self._seen:
            self.read()


def _signature(status):
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


# --- parent


class Server:
    """Serves the pipes in a Table on listening sockets."""

    def __init__(self, table, sockets, state_dir):
        self.table = table
        self.sockets = {sock.fileno(): sock for sock in sockets}
        self.state_dir = state_dir
        self.names = peers.Names(changed=_say_changed)
        self._children = Children()
        self._looking = None  # the descriptor of a look-up under way
        self._look_at = 0.0
        self._lifeline, self._held = None, None

    def run(self, signals):
        """Serve until TERM or INT."""
        self._lifeline, self._held = os.pipe()
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
            self.table.refresh()
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
            self.table.read()
            report.info(f"{self.table.path}: read again, {len(self.table.entries)} entries")
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
            wanted = pipes.names(self.table.entries)
            if wanted:
                self._looking = self.names.start(wanted)

    def _stop(self):
        self._children.signal_all(signal.SIGTERM)
        until = time.monotonic() + STOP
        while len(self._children) and time.monotonic() < until:
            self._children.reap()
            time.sleep(0.01)
        self._children.signal_all(signal.SIGKILL)

    # --- child

    def _child(self, sock, address, signals):
        """Serve one connection; the exit status."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._held)
        for listener in self.sockets.values():
            listener.close()
        self.names.close()
        link = Link(sock, peers.plain(address).compressed)
        try:
            return self._serve(link, address, signals)
        except LinkLost as error:
            report.info(str(error))
        except TcppipeError as error:
            report.critical(str(error))
        return 1

    def _serve(self, link, address, signals):
        line = link.read_line(push1.MAX_LINE, time.monotonic() + HANDSHAKE)
        try:
            path = os.fsdecode(push1.parse_request(line))
        except TcppipeError as error:
            raise type(error)(f"{link.peer}: {error}") from None
        pipe = Pipe(self.table, self.names, address, path, self.state_dir)
        try:
            copy = pipe.open()
        except TcppipeError as error:
            link.send(push1.refuse(str(error)))
            link.drain(1.0)
            raise Refused(f"{link.peer}:{path}: refused: {error}") from None
        link.send(push1.ready())
        report.info(f"{pipe.name}: established, to {copy.destination.path}")
        store = Store(link, Undecided(time.monotonic()), copy, pipe.claim, _say)
        try:
            attend(store, signals, self._lifeline, pipe.check)
        except TcppipeError as error:
            store.close(clean=not isinstance(error, SyncFailed))
            farewell(store, error)
            raise type(error)(f"{pipe.name}: {error}") from None
        return 0


def attend(store, signals, lifeline, check):
    """A child's loop: serve one connection until it ends by an error, which is raised.

    lifeline: becomes readable when the parent is gone.  check(): raises what ends the pipe
    when it is no longer configured.
    """
    link = store.link
    poll = select.poll()
    poll.register(signals.fileno(), select.POLLIN)
    poll.register(lifeline, select.POLLIN)
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


class Pipe:
    """What the configuration says of one client's file."""

    def __init__(self, table, names, address, path, state_dir):
        self.path = path
        self.name = f"{address}:{path}"
        self._table = table
        self._names = names
        self._address = address
        self._state_dir = state_dir
        self._entry = self._host = self._destination = self._lock = None

    def open(self):
        """Authorize, and try to open the destination: a Copy.

        Raises Refused or ConfigError.  A destination that was in use before and cannot be
        opened for now is no reason to refuse: the pipe waits for it.
        """
        self._entry, self._host = self._find()
        if self._entry is None:
            raise Refused(f"no entry for {self._address}:{self.path}")
        self.name = f"{self._host}:{self.path}"
        self._destination = self._entry.destination(self._host, self.path)
        base = os.path.join(self._state_dir, rundir.ledger_base(self._host, self.path))
        self._lock = rundir.PidFile(base + ".lock")
        destination = Destination(self._destination, self._entry.mode, self._entry.owner)
        try:
            destination.open()
        except OSError as error:
            if not os.path.exists(base + ".ledger"):
                text = f"{self._destination}: cannot open: {reason(error)}"
                raise Refused(text) from None
        return Copy(destination, base + ".ledger", lambda level, text: _say(level, text))

    def _find(self):
        """(the entry that allows this pipe, the host's name in it), or (None, None)."""
        until = time.monotonic() + NAMES
        label = []

        def is_host(entry):
            patience = until - time.monotonic()
            label[:] = [peers.matches(entry, self._address, self._names, patience)]
            return label[0] is not None

        entry = pipes.find(self._table.entries, self.path, is_host)
        return (entry, label[0]) if entry is not None else (None, None)

    def claim(self, sender, about):
        """Become the only writer of this pipe; sender: the source's key, or None.

        An older connection of the same source gives way.  Another source keeps the pipe if
        it proves that it lives.  Raises Refused or LinkLost.
        """
        from lockfile import AlreadyLocked, LockFailed

        asked = None
        until = time.monotonic() + CLAIM
        while not self._lock.i_am_locking():
            try:
                self._lock.acquire()
            except AlreadyLocked:
                holder, who = self._holder()
                if asked is None:
                    ours = sender is None or holder == sender.hex()
                    asked = signal.SIGTERM if ours else signal.SIGUSR1
                    until += TAKEOVER if ours else 0
                    rundir.send(self._lock.path, asked)
                elif time.monotonic() > until:
                    if asked == signal.SIGTERM:
                        raise LinkLost("the connection before this one has not ended yet") from None
                    raise Refused(f"another source sends this pipe: {who}") from None
                time.sleep(0.02)
            except LockFailed as error:
                raise LinkLost(str(error)) from None
        self._lock.annotate(f"{sender.hex() if sender else '-'}\n{about}\n")

    def _holder(self):
        """(key, description) of the source whose child holds the pipe now."""
        try:
            with open(self._lock.path, errors="replace") as file:
                _pid, key, about = (file.read(4096) + "\n\n\n").split("\n")[:3]
        except OSError:
            return "", "unknown"
        return key, about

    def check(self):
        """After HUP: is this pipe still configured?  Raises Refused, or LinkLost to begin anew."""
        try:
            self._table.read()
        except ConfigError:
            return  # the parent has said so; the old entries stay in force
        if any(entry.text == self._entry.text for entry in self._table.entries):
            return
        entry, host = self._find()
        if entry is None:
            raise Refused("no longer configured")
        if (entry.destination(host, self.path), host) != (self._destination, self._host):
            raise LinkLost("configured otherwise; connect again")
        self._entry = entry


def _say_broken(error):
    for line in str(error).splitlines():
        report.error(f"{line} (the old configuration stays in force)")


def _say(level, text):
    getattr(report, level)(text)


def _say_changed(name, old, new):
    before, after = (" ".join(sorted(map(str, group))) for group in (old, new))
    report.warning(f"{name}: its addresses have changed from {before} to {after}")
