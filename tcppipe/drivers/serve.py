"""The push pair's server, in the child of one connection: a service, and its loop."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection

from tcppipe.conf import pipes
from tcppipe.drivers.admission import Admission
from tcppipe.drivers.pipe import Pipe
from tcppipe.drivers.service import GONE, HANDSHAKE, WHERE, Service
from tcppipe.drivers.store import Store
from tcppipe.drivers.syncing import AnyCopy
from tcppipe.drivers.table import Knowledge, Table
from tcppipe.errors import (
    LinkLost,
    NotNow,
    Refused,
    SyncFailed,
    TcppipeError,
)  # fmt: skip
from tcppipe.files.workers import Workers
from tcppipe.net import identity
from tcppipe.net.link import Link
from tcppipe.net.poll import Poll
from tcppipe.process import report
from tcppipe.process.signals import Signals
from tcppipe.process.trouble import counted, duration
from tcppipe.process.turns import Turns
from tcppipe.session.sink1 import Undecided
from tcppipe.wire import packing, push1


class Pipes(Service):
    """Takes what the pipes of a Table send."""

    def __init__(self, table: Table, state_dir: str) -> None:
        super().__init__(table.path)
        self.table = table
        self.state_dir = state_dir
        self.knowledge = Knowledge(table, self.names)
        self.asking = self.knowledge.asking
        self._known: identity.KnownPeers | None = None
        packing.able()  # loads now what a child would load

    def open(self) -> None:
        """It was made with us."""

    def publish(self) -> None:
        """The table and its names."""
        self._known = None
        self.knowledge.publish()

    def asked(self) -> None:
        """Who asked will see the answer."""
        self.knowledge.asked()

    def wanted(self) -> Collection[str]:
        """The names in the table."""
        return pipes.names(self.table.entries)

    def refresh(self) -> bool:
        """New entries are valid for new connections."""
        return self.table.refresh()

    def read(self) -> str:
        """Read the table."""
        self.table.read()
        return counted(len(self.table.entries), "entry", "entries")

    def knows(self, address: str) -> bool:
        """Is there any entry for this address?"""
        if self._known is None:
            self._known = identity.KnownPeers(self.table.entries, self.names)
        return address in self._known

    def serve(self, link: Link, signals: Signals, lifeline: int) -> int:
        """Serve one pipe."""
        line = link.read_line(push1.MAX_LINE, time.monotonic() + HANDSHAKE)
        try:
            path = os.fsdecode(push1.parse_request(line))
        except TcppipeError as error:
            raise type(error)(f"{link.peer}: {error}") from None
        name = f"{link.peer}:{report.name(path)}"
        admission = Admission(self.knowledge, link.peer, path, name)
        try:
            pipe = Pipe(self.knowledge, admission, admission.wait(), self.state_dir)
            name = pipe.name
            copy = pipe.open()
        except TcppipeError as error:
            for_now = isinstance(error, NotNow)
            link.send(push1.refuse(str(error), for_now))
            link.drain(1.0)
            kind, how = (NotNow, "refused for now") if for_now else (Refused, "refused")
            raise kind(f"{name}: {how}: {error}") from None
        self.known = True
        report.about(pipe.name, link.peer)
        link.send(push1.ready())
        syncer = Workers()
        store = Store(link, Undecided(time.monotonic()), copy, pipe.claim, report.say, syncer)
        try:
            attend(store, syncer, signals, lifeline, pipe)
        except TcppipeError as error:
            try:
                store.close(clean=not isinstance(error, SyncFailed))
            finally:
                farewell(store, error)
            raise type(error)(f"{pipe.name}: {error}") from None
        return 0


def attend(
    store: Store[AnyCopy], syncer: Workers, signals: Signals, lifeline: int, pipe: Pipe
) -> None:
    """A child's loop: serve one connection until it ends by an error, which is raised.

    lifeline: becomes readable when the parent is gone.  pipe: the Pipe; its check() raises what
    ends it when it is no longer configured, its keep() when it is no longer ours.
    """
    link, began = store.link, time.monotonic()
    turns = Turns(report.say)
    poll = Poll()
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


def _answer(came: list[int], store: Store[AnyCopy], pipe: Pipe, began: float, now: float) -> None:
    """What a child does about signals."""
    if signal.SIGTERM in came or signal.SIGINT in came:
        raise LinkLost("the server stops")
    if signal.SIGHUP in came:
        pipe.check()
        store.reopen(now)
    if signal.SIGUSR1 in came:
        pipe.asked()
        store.prove(now)
    if WHERE in came:
        what = "waits for a disk or a lock" if store.deaf else "up to date"
        report.info(
            f"{pipe.name}: to {store.copy.destination.path}, {store.copy.end} bytes of the "
            f"present generation, {store.copy.durable} on the disk; {what}; "
            f"connected for {duration(now - began)}"
        )


def farewell(store: Store[AnyCopy], error: TcppipeError) -> None:
    """Tell the source why the connection ends, and wait a moment for that."""
    store.farewell(error)
    store.link.drain(1.0)
