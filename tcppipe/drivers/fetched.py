"""The store of one fetched source: what a Store does, and what its Fetch wants to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from tcppipe.conf.fetch import Source
from tcppipe.cursor import Generation
from tcppipe.drivers.gate import Gate
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost
from tcppipe.files.buffer import Buffer
from tcppipe.files.copy import Copy
from tcppipe.files.workers import Workers
from tcppipe.net.connect import Address
from tcppipe.net.link import Link
from tcppipe.session import actions as act
from tcppipe.session.contract import SinkSession
from tcppipe.session.sink import Sink
from tcppipe.wire import events as ev


class Client(Protocol):
    """Who fetches the source: drivers/fetch."""

    def say(self, level: str, text: str) -> None:
        """Tell people."""

    def began(self, begin: ev.Begin | None, version2: bool) -> None:
        """Bytes may come; begin is None when nobody said of which generation."""


class Means(NamedTuple):
    """What all sources of a process use.  addresses: gives a host's, as far as they are known.

    tell: a function (source, level, text).  syncer: makes files durable.  buffer: what links are
    read into.  gate: lets so many ask a server at a time.
    """

    addresses: Callable[[str], Iterable[Address]]
    state_dir: str
    tell: Callable[[Source, str, str], None]
    syncer: Workers
    buffer: Buffer
    gate: Gate


class Fetched(Store[Copy]):
    """Serves the source of one connection that we have made.

    asked: inode and offset in our request.
    """

    def __init__(
        self,
        link: Link,
        session: SinkSession,
        copy: Copy,
        client: Client,
        means: Means,
        asked: tuple[int, int],
    ) -> None:
        super().__init__(link, session, copy, _nobody_else, client.say, means.syncer)
        self.pump.buffer = means.buffer
        self._client = client
        self._asked = asked
        self._version2 = isinstance(session, Sink)

    def _on_offer(self, action: act.Offer) -> tuple[ev.Have, list[ev.Complete]]:
        have, past = super()._on_offer(action)
        if have.holding == ev.Holding.UNRECORDED:
            have = have._replace(generation=Generation(ino=self._asked[0]))
        return have, past

    def _on_open(self, action: act.Open) -> None:
        self.copy.open()
        super()._on_open(action)
        self._client.began(action.begin, self._version2)

    def _on_open_lines(self, action: act.OpenLines) -> None:
        self.copy.open()
        if self.copy.destination.size() != self._asked[1]:
            raise LinkLost(f"{self.copy.destination.path}: has changed meanwhile")
        super()._on_open_lines(action)
        self._client.began(None, self._version2)


def _nobody_else(_sender: bytes | None, _about: str) -> None:
    """A destination that is fetched is held by its lock alone."""
