"""The sink's side of version 1, and how a server finds out which version a client speaks.

An original client says nothing of offsets or generations: what it sends is appended,
and its question is answered when all of it is durable.
"""

from math import inf

from tcppipe.errors import LinkLost, PeerError
from tcppipe.session.actions import Append, Become, Flush, OpenLines, Send
from tcppipe.session.keepalive import Keepalive
from tcppipe.session.sink import Sink
from tcppipe.wire import push1
from tcppipe.wire.frames import OFFER

ACCEPT = f"${OFFER}".encode()
MAX_ACCEPT = 256  # bytes in the line that accepts version 2


class LineSink:
    """One connection's sink session with an original client."""

    def __init__(self, now):
        self.keepalive = Keepalive(now)
        self._decoder = push1.Decoder()
        self._offset = 0

    def receive(self, data, now):
        """Bytes from the source -> actions."""
        self.keepalive.heard = now
        actions = []
        for item in self._decoder.feed(bytes(data)):
            if isinstance(item, int):
                actions.append(Flush(item))
            else:
                actions.append(Append(self._offset, item))
                self._offset += len(item)
        return actions

    def done(self, action, _result):
        """All of a batch is durable -> the answer."""
        assert isinstance(action, Flush)
        return [Send(push1.answer(action.count))]

    def durable(self, _serial, _offset):
        """Only questions are answered."""
        return []

    def wait(self, _reason):
        """An original client cannot be told."""
        return []

    def tick(self, _now, deaf=False):
        """Version 1 has no keepalive of its own; the kernel's probes find a dead peer."""
        return []

    def fail(self, _error):
        """An original client cannot be told."""
        return []

    def due(self):
        """Never."""
        return inf

    def ask(self):
        """An original client cannot be asked whether it lives: another one takes its place."""
        raise LinkLost("an original client gives way to another connection")


class Undecided:
    """A sink session until the first line shows which version the client speaks."""

    def __init__(self, now):
        self.keepalive = Keepalive(now)
        self._first = b""

    def receive(self, data, now):
        """Bytes from the source -> Become and the actions of the session that it becomes."""
        self._first += bytes(data)
        if not ACCEPT.startswith(self._first[: len(ACCEPT)]):
            session = LineSink(now)
            return [Become(session), OpenLines(), *session.receive(self._first, now)]
        line, newline, rest = self._first.partition(b"\n")
        if newline:
            session = Sink(now)
            return [Become(session), *session.receive(rest, now)]
        if len(line) > MAX_ACCEPT:
            raise PeerError("the acceptance of version 2 has no end")
        return []

    def tick(self, _now, deaf=False):
        """An original client may say nothing for hours."""
        return []

    def due(self):
        """Never."""
        return inf

    def ask(self):
        """Nothing is claimed yet."""
        return []

    def fail(self, _error):
        """Nobody knows yet in which words."""
        return []
