"""The sink's side of version 1, and how a server finds out which version a client speaks.

An original client says nothing of offsets or generations: what it sends is appended,
and its question is answered when all of it is durable.
"""

from __future__ import annotations

from typing import Any

from tcppipe.cursor import Bytes
from tcppipe.errors import PeerError
from tcppipe.session.actions import Action, Append, Become, Flush, OpenLines, Send
from tcppipe.session.contract import SinkSession
from tcppipe.session.sink import Sink
from tcppipe.wire import push1
from tcppipe.wire.frames import OFFER

ACCEPT = f"${OFFER}".encode()
MAX_ACCEPT = 256  # bytes in the line that accepts version 2


class LineSink(SinkSession):
    """One connection's sink session with an original client."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._decoder = push1.Decoder()
        self._offset = 0

    def receive(self, data: Bytes, now: float) -> list[Action]:
        """Bytes from the source -> actions."""
        self.keepalive.heard = now
        actions: list[Action] = []
        for item in self._decoder.feed(bytes(data)):
            if isinstance(item, int):
                actions.append(Flush(item))
            else:
                actions.append(Append(self._offset, item))
                self._offset += len(item)
        return actions

    def done(self, action: Action, _result: Any) -> list[Action]:
        """All of a batch is durable -> the answer."""
        assert isinstance(action, Flush)
        return [Send(push1.answer(action.received))]


class Undecided(SinkSession):
    """A sink session until the first line shows which version the client speaks.

    An original client may say nothing for hours, and nobody knows yet in which words to speak.
    """

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._first = b""

    def receive(self, data: Bytes, now: float) -> list[Action]:
        """Bytes from the source -> Become and the actions of the session that it becomes."""
        self._first += bytes(data)
        if not ACCEPT.startswith(self._first[: len(ACCEPT)]):
            session = LineSink(now)
            return [Become(session), OpenLines(), *session.receive(self._first, now)]
        line, newline, rest = self._first.partition(b"\n")
        if newline:
            sink = Sink(now)
            sink.trace = self.trace
            return [Become(sink), *sink.receive(rest, now)]
        if len(line) > MAX_ACCEPT:
            raise PeerError("the acceptance of version 2 has no end")
        return []

    def ask(self) -> list[Action]:
        """Nothing is claimed yet."""
        return []
