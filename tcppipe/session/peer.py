"""What source and sink have in common: events by a table, and signs of life."""

from tcppipe.errors import LinkLost
from tcppipe.session import states
from tcppipe.session.actions import GiveBack, Send
from tcppipe.session.keepalive import Keepalive
from tcppipe.wire import events as ev
from tcppipe.wire.frames import Reader, encode


class Peer:
    """One side of a version 2 connection.  table: which event may come in which state.

    A subclass has a method _on_NAME(event) -> actions for each event of its table.
    calm: nothing is waited for from the other side.
    """

    table: dict
    calm = True

    def __init__(self, now):
        self.state = states.GREETING
        self.keepalive = Keepalive(now)
        self._reader = Reader()

    def receive(self, data, now):
        """Bytes from the other side -> actions.  Raises PeerError, LinkLost or Refused."""
        self.keepalive.heard = now
        actions = []
        for event in self._reader.feed(data):
            self.state = states.follow(self.table, self.state, event)
            actions += getattr(self, "_on_" + type(event).__name__.lower())(event)
        surplus = self._reader.surplus()
        return [*actions, GiveBack(surplus)] if surplus else actions

    def tick(self, now, deaf=False):
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

    def due(self):
        """When tick() has something to do."""
        return self.keepalive.next()

    def _on_ping(self, ping):
        return [Send(encode(ev.Pong(ping.token)))]

    def _on_pong(self, _pong):
        return []

    def _on_bye(self, _bye):
        raise LinkLost("closed by the other side")
