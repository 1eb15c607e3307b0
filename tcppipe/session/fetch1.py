"""The sink's side of the pull pair's version 1: bytes, and nothing about them.

Which generation they are of was said in the answer; that it has ended is said by closing.
"""

from __future__ import annotations

from tcppipe.cursor import UNKNOWN, Bytes
from tcppipe.errors import LinkLost
from tcppipe.session.actions import Action, Append, Open, OpenLines
from tcppipe.session.contract import SinkSession
from tcppipe.wire import pull1
from tcppipe.wire.events import Begin, Why

SILENCE = 120.0  # seconds without a byte after which the server is taken for dead


class ByteSink(SinkSession):
    """One connection's sink session with an original server.

    fresh: another generation begins than the one that the local file holds.
    """

    def __init__(self, fresh: bool, now: float) -> None:
        super().__init__(now)
        self._fresh = fresh
        self._offset = 0

    def open(self) -> list[Action]:
        """The first actions."""
        return [Open(Begin(Why.FRESH, UNKNOWN, 0)) if self._fresh else OpenLines()]

    def receive(self, data: Bytes, now: float) -> list[Action]:
        """Bytes from the source -> actions."""
        self.keepalive.heard = now
        data = pull1.incoming(bytes(data))
        if not data:
            return []
        self._offset += len(data)
        return [Append(self._offset - len(data), data)]

    def tick(self, now: float, deaf: bool = False) -> list[Action]:
        """Time passes.  Raises LinkLost when the server has been silent for too long."""
        if deaf:
            self.keepalive.heard = now
        if now >= self.due():
            raise LinkLost(f"silent for {SILENCE:.0f} seconds")
        return []

    def due(self) -> float:
        """When tick() has something to do."""
        return self.keepalive.heard + SILENCE
