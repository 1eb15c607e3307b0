"""The store of one fetched source: what a Store does, and what its Fetch wants to know of it."""

from tcppipe.cursor import Generation
from tcppipe.drivers.store import Store
from tcppipe.errors import LinkLost
from tcppipe.session.sink import Sink
from tcppipe.wire.events import Holding


class Fetched(Store):
    """Serves the source of one connection that we have made.

    asked: inode and offset in our request.  began: a function (begin, version2), called when
    bytes may come; begin is None when nobody said of which generation.
    """

    def __init__(self, link, session, copy, say, syncer, buffer, asked, began):
        super().__init__(link, session, copy, lambda _sender, _about: None, say, syncer, buffer)
        self._asked = asked
        self._began = began
        self._version2 = isinstance(session, Sink)

    def _on_offer(self, action):
        have, past = super()._on_offer(action)
        if have.holding == Holding.UNRECORDED:
            have = have._replace(generation=Generation(ino=self._asked[0]))
        return have, past

    def _on_open(self, action):
        self.copy.open()
        super()._on_open(action)
        self._began(action.begin, self._version2)

    def _on_open_lines(self, action):
        self.copy.open()
        if self.copy.destination.size() != self._asked[1]:
            raise LinkLost(f"{self.copy.destination.path}: has changed meanwhile")
        super()._on_open_lines(action)
        self._began(None, self._version2)
