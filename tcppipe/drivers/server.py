"""A server: listens, forks one child per connection, and keeps order.

The parent owns the listening sockets, the configuration and the table of names; a child
owns one connection.  What it does there is a service's business.  A child that dies hurts no other.
When the parent is gone its children end by themselves, so nobody writes who cannot be told to
reopen.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from math import inf

from tcppipe.drivers.lookups import LookUps
from tcppipe.drivers.rereading import Rereading
from tcppipe.drivers.service import WHERE, Service
from tcppipe.errors import (
    ConfigError,
    LinkLost,
    NotNow,
    PeerError,
    TcppipeError,
    reason,
)  # fmt: skip
from tcppipe.net import resolver
from tcppipe.net.poll import Poll
from tcppipe.process import presence, report
from tcppipe.process.children import Children
from tcppipe.process.crowd import Crowd
from tcppipe.process.signals import FAILED, LACKING, TOLD, Signals
from tcppipe.process.trouble import Trouble, counted, duration
from tcppipe.process.turns import Turns

REFRESH = 60.0  # seconds between two words about what was suppressed
PAUSE = 1.0  # seconds until what failed in the parent is tried again
CALM = 60.0  # seconds without such a failure after which it is over
STOP = 10.0  # seconds that children have to end when the server stops
STRANGERS = "strangers"  # whom messages are about that nobody in the configuration is meant by
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, WHERE)


class Server:
    """Serves a Service on listening sockets.

    Whatever fails in the parent is said, and tried again after a pause: a full table of
    processes or descriptors must not end what runs.
    """

    def __init__(self, service: Service, sockets: Iterable[socket.socket]) -> None:
        self.service = service
        self.sockets = {sock.fileno(): sock for sock in sockets}
        self._children = Children()
        self._look_ups = LookUps(service.names, service.path)
        self._accept_at = self._tend_at = 0.0
        self._configuration = Rereading(service.path, service.read)
        self._turns = Turns(report.say)
        self._accepting = Trouble(report.say)
        self._crowd = Crowd()
        self._crowding = Trouble(report.say, "warning", CALM)
        self._serving = Trouble(report.say, "error", CALM)
        self._going = Trouble(report.say, "critical", CALM)
        self._publish_at = inf  # when what could not be told to children is told again
        self._publishing = Trouble(report.say)
        self._stopped = False
        self._lifeline, self._held = os.pipe()
        report.share()
        service.open()

    def run(self, signals: Signals) -> None:
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

    def _turn(self, signals: Signals) -> None:
        """Wait, and do what there is to do."""
        now = time.monotonic()
        self._look_ups.begin(self.service.wanted, now)
        self._tend(now)
        for fd, _events in self._wait(signals, now):
            self._turns.start()
            now = time.monotonic()
            if fd in self.sockets:
                self._accept(self.sockets[fd], signals, now)
            elif fd == self._look_ups.fileno():
                self._collect(now)
            elif fd == self.service.asking:
                self.service.asked()
                self._look_ups.hurry(now)
            self._turns.done(f"{self.service.path}: a connection or a look-up")
        self._answer(signals.take())

    def _wait(self, signals: Signals, now: float) -> list[tuple[int, int]]:
        poll = Poll()
        for fd in (signals.fileno(), self._look_ups.fileno(), self.service.asking):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        times = [self._tend_at, self._publish_at, self._configuration.at]
        if self._look_ups.fileno() is None:
            times.append(self._look_ups.at)
        if now < self._accept_at:
            times.append(self._accept_at)
        else:
            for fd in self.sockets:
                poll.register(fd, select.POLLIN)
        return poll.poll(max(0.0, min(times) - now) * 1000 + 1)

    def _tend(self, now: float) -> None:
        if now >= self._tend_at:
            self._tend_at = now + REFRESH
            self._crowding.over(f"{self.service.path}: strangers are few again", now)
            self._serving.over(f"{self.service.path}: connections are served again", now)
            report.tend()
        presence.look(now)
        if self._configuration.again(now):
            self._tell(now)
        if now >= self._publish_at:
            self._publish(now)
            if self._publish_at == inf:  # they were told of HUP when there was nothing to see
                self._children.signal_all(signal.SIGHUP)

    def _answer(self, came: list[int]) -> None:
        if signal.SIGCHLD in came:
            self._reap()
        if signal.SIGHUP in came:
            presence.hurry()
            self._turns.start()
            self._configuration.now()
            self._tell(time.monotonic())
            self._turns.done(f"{self.service.path}: reading it again")
        if signal.SIGUSR1 in came:
            self._say_where()
        if signal.SIGTERM in came or signal.SIGINT in came:
            self._stopped = True
            self._stop()

    def _accept(self, listener: socket.socket, signals: Signals, now: float) -> None:
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
            status = LACKING + (getattr(error, "errno", None) or errno.ENOMEM)
        except BaseException as error:  # a child never returns into the parent's code
            report.bug(peer, error)
        finally:
            os._exit(status)

    def _hold_back(self, text: str, now: float) -> None:
        """No connection can be served for now: they wait in the kernel."""
        self._accept_at = now + PAUSE
        self._accepting.failed(f"{text}; tries again each second", now)

    def _refresh(self) -> None:
        try:
            if self.service.refresh():
                self._publish(time.monotonic())
            self._configuration.accepted()
        except ConfigError as error:
            self._configuration.refused_again(error)

    def _publish(self, now: float) -> None:
        try:
            self.service.publish()
        except (OSError, MemoryError) as error:
            self._publish_at = now + PAUSE
            text = f"{self.service.path}: cannot tell children what is new: {reason(error)}"
            self._publishing.failed(text, now)
        else:
            self._publish_at = inf
            self._publishing.over(f"{self.service.path}: children know what is new again", now)

    def _reap(self) -> None:
        for pid, status, note in self._children.reap():
            if note is None:
                continue
            if status < 0:
                report.warning(f"{note[0]}: child {pid} was killed by signal {-status}")
            elif status == FAILED:
                report.warning(f"{note[0]}: child {pid} could not begin, or ended by a bug")
            elif status >= LACKING:
                why = os.strerror(status - LACKING)
                text = f"{self.service.path}: connections cannot be served for now: {why}"
                self._serving.failed(text, time.monotonic())

    def _tell(self, now: float) -> None:
        """HUP, for all children."""
        self._publish(now)
        self._look_ups.again(now)
        self._children.signal_all(signal.SIGHUP)

    def _collect(self, now: float) -> None:
        """Answers of the name server have come."""
        self._look_ups.collect(now)
        self._publish(now)

    def _say_where(self) -> None:
        """USR1: what is going on?"""
        now = time.monotonic()
        at_rest = self._look_ups.fileno() is None
        look_up = "at rest" if at_rest else "a look-up of names is under way"
        connections = counted(len(self._children), "connection", "connections")
        report.info(f"{connections}, {look_up}")
        for pid, note in self._children:
            if note is not None:
                report.info(f"child {pid}: {note[0]}, for {duration(now - note[1])}")
        self._children.signal_all(WHERE)

    def _stop(self) -> None:
        self._look_ups.close()
        self._children.signal_all(signal.SIGTERM)
        until = time.monotonic() + STOP
        while len(self._children) and time.monotonic() < until:
            self._children.reap()
            time.sleep(0.01)
        self._children.signal_all(signal.SIGKILL)
        report.tend()

    # --- child: from here on in a process of its own

    def _child(self, sock: socket.socket, peer: str, signals: Signals) -> int:
        """Serve one connection; the exit status."""
        self._children.forget()
        os.close(self._held)
        for listener in self.sockets.values():
            listener.close()
        self._look_ups.close()
        service = self.service
        service.known = service.knows(peer)
        report.about(peer if service.known else STRANGERS)
        try:
            return service.serve(service.link(sock, peer), signals, self._lifeline)
        except TcppipeError as error:
            report.say(_level(error) if service.known else "notice", str(error))
        return TOLD


def _level(error: TcppipeError) -> str:
    """How much it matters that a connection of somebody whom we know ends so."""
    if isinstance(error, (NotNow, PeerError)):
        return "warning"
    return "info" if isinstance(error, LinkLost) else "critical"
