"""What source and sink have in common: events by a table, and signs of life."""

from __future__ import annotations

from tcppipe.cursor import Bytes
from tcppipe.errors import LinkLost
from tcppipe.session import states
from tcppipe.session.actions import Action, GiveBack, Say, Send
from tcppipe.session.contract import Session
from tcppipe.wire import events as ev
from tcppipe.wire.brief import brief
from tcppipe.wire.frames import Reader, encode


def reason_of(failure: ev.Failure) -> str:
    """Why the other side closes, in its words."""
    return failure.reason.decode(errors="replace").strip() or "closed, no reason given"


class Peer(Session):
    """One side of a version 2 connection.  table: which event may come in which state.
    waits, goes_on: what the other side does, in words.

    A subclass has a method _on_NAME(event) -> actions for each event of its table.
    """

    table: states.Table
    waits: str
    goes_on: str

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._reader = Reader()

    @property
    def calm(self) -> bool:
        """True when no answer of the other side is waited for."""
        return True

    def receive(self, data: Bytes, now: float) -> list[Action]:
        """Bytes from the other side -> actions.  Raises PeerError, LinkLost or Refused."""
        self.keepalive.heard = now
        actions: list[Action] = []
        for event in self._reader.feed(data):
            if self.trace is not None:
                self.trace(f"{self.state} < {brief(event)}")
            self.state = states.follow(self.table, self.state, event)
            actions += getattr(self, "_on_" + type(event).__name__.lower())(event)
        surplus = self._reader.surplus()
        return [*actions, GiveBack(surplus)] if surplus else actions

    def tick(self, now: float, deaf: bool = False) -> list[Action]:
        """Time passes -> actions.  deaf: the driver does not read from the link for now.

        Raises LinkLost when the other side has been silent for too long.
        """
        self.keepalive.at(now, self.calm and not deaf)
        if deaf:
            self.keepalive.heard = now
        if self.keepalive.dead(now):
            raise LinkLost("no sign of life from the other side")
        if self.keepalive.due(now):
            self.keepalive.sent = now
            # Who does not read wants no answer: days of them would pile up at the other side.
            return [Send(encode(ev.Pong(0) if deaf else ev.Ping(0)))]
        return []

    def due(self) -> float:
        """When tick() has something to do."""
        return self.keepalive.next()

    def _on_ping(self, ping: ev.Ping) -> list[Action]:
        return [Send(encode(ev.Pong(ping.token)))]

    def _on_pong(self, _pong: ev.Pong) -> list[Action]:
        return []

    def _on_wait(self, wait: ev.Wait) -> list[Action]:
        self.waiting = wait.reason.decode(errors="replace")
        if self.waiting:
            return [Say("warning", f"{self.waits}: {self.waiting}")]
        return [Say("info", self.goes_on)]

    def _on_bye(self, _bye: ev.Bye) -> list[Action]:
        raise LinkLost("closed by the other side")
