"""What two sides say to each other, for people who look for a mistake: TCPPIPE_TRACE=1.

Frames in both directions with their numbers, and the state they come in; no content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tcppipe.cursor import Bytes
from tcppipe.errors import PeerError
from tcppipe.process import report
from tcppipe.session.contract import Session
from tcppipe.session.peer import Peer
from tcppipe.wire.brief import brief
from tcppipe.wire.frames import Reader


class Trace:
    """Of one link.  session(): the present session."""

    def __init__(self, peer: str, session: Callable[[], Session]) -> None:
        self._peer = peer
        self._session = session

    def say(self, text: str) -> None:
        """Something happened."""
        report.trace(f"{self._peer}: {text}")

    def sent(self, parts: Iterable[Bytes]) -> None:
        """These bytes go to the link."""
        session = self._session()
        state = session.state
        if isinstance(session, Peer):
            try:
                for event in Reader().feed(b"".join(map(bytes, parts))):
                    self.say(f"{state} > {brief(event)}")
                return
            except PeerError:
                pass  # a reader of another mind: the bytes are counted
        self.say(f"{state} > {sum(map(len, parts))} bytes")

    def heard(self, count: int) -> None:
        """So many bytes came, of a version without frames."""
        session = self._session()
        if not isinstance(session, Peer):
            self.say(f"{session.state} < {count} bytes")


def tracer(peer: str, session: Callable[[], Session]) -> Trace | None:
    """A Trace if somebody wants one, else None."""
    return Trace(peer, session) if report.TRACING else None
