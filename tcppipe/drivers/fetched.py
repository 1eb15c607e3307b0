"""The store of one fetched source: what a Store does, and what its Fetch wants to know of it."""

from __future__ import annotations

from collections.abc import Callable

from tcppipe.cursor import Generation
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost
from tcppipe.files.buffer import Buffer
from tcppipe.files.copy import Copy
from tcppipe.files.workers import Workers
from tcppipe.net.link import Link
from tcppipe.process.trouble import Say
from tcppipe.session import actions as act
from tcppipe.session.contract import SinkSession
from tcppipe.session.sink import Sink
from tcppipe.wire import events as ev

Began = Callable[[ev.Begin | None, bool], None]


class Fetched(Store):
    """Serves the source of one connection that we have made.

    asked: inode and offset in our request.  began: a function (begin, version2), called when
    bytes may come; begin is None when nobody said of which generation.
    """

    def __init__(
        self,
        link: Link,
        session: SinkSession,
        copy: Copy,
        say: Say,
        syncer: Workers,
        buffer: Buffer,
        asked: tuple[int, int],
        began: Began,
    ) -> None:
        super().__init__(link, session, copy, lambda _sender, _about: None, say, syncer)
        self.pump.buffer = buffer
        self._asked = asked
        self._began = began
        self._version2 = isinstance(session, Sink)

    def _on_offer(self, action: act.Offer) -> tuple[ev.Have, list[ev.Complete]]:
        have, past = super()._on_offer(action)
        if have.holding == ev.Holding.UNRECORDED:
            have = have._replace(generation=Generation(ino=self._asked[0]))
        return have, past

    def _on_open(self, action: act.Open) -> None:
        self.copy.open()
        super()._on_open(action)
        self._began(action.begin, self._version2)

    def _on_open_lines(self, action: act.OpenLines) -> None:
        self.copy.open()
        if self.copy.destination.size() != self._asked[1]:
            raise LinkLost(f"{self.copy.destination.path}: has changed meanwhile")
        super()._on_open_lines(action)
        self._began(None, self._version2)
