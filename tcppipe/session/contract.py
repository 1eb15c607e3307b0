"""What a driver may count on: every session of either half has all of this.

What a version cannot say, or need not do, is answered here once: by doing nothing.  A session
is without I/O: bytes from the link, the time, and results of actions in; actions out.  Each
method that returns actions may raise LinkLost, PeerError or Refused: then it is over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Any

from tcppipe.cursor import Bytes
from tcppipe.errors import LinkLost
from tcppipe.session import states
from tcppipe.session.actions import Action
from tcppipe.session.keepalive import Keepalive
from tcppipe.session.news import News


class Session(ABC):
    """One connection, seen from one side.  `now` is always seconds of a monotonic clock.

    waiting: why the other side cannot read or write its file, in its own words, or "".
    trace: a function that is told of each event, for people who look for a mistake, or None.
    """

    waiting = ""
    trace: Callable[[str], None] | None = None

    def __init__(self, now: float) -> None:
        self.state = states.GREETING
        self.keepalive = Keepalive(now)

    def open(self) -> list[Action]:
        """The first actions."""
        return []

    @abstractmethod
    def receive(self, data: Bytes, now: float) -> list[Action]:
        """Bytes from the other side -> actions."""

    def done(self, action: Action, result: Any) -> list[Action]:
        """An action was carried out, with this result -> more actions."""
        return []

    def tick(self, now: float, deaf: bool = False) -> list[Action]:
        """Time passes -> actions.  deaf: the driver does not read from the link for now.

        Where a version has no signs of life of its own, the kernel's probes find a dead peer.
        """
        return []

    def due(self) -> float:
        """When tick() has something to do."""
        return inf

    def wait(self, reason: str) -> list[Action]:
        """Our file cannot be read or written (reason), or can be again ("") -> actions."""
        return []


class SourceSession(Session):
    """The half that has the origin."""

    @property
    def settled(self) -> bool:
        """True when everything that was sent is acknowledged."""
        return True

    @property
    def streaming(self) -> bool:
        """True when news of the origin may be delivered."""
        return self.state == states.STREAMING

    @abstractmethod
    def deliver(self, item: News) -> list[Action]:
        """News of the origin -> actions.  Only while streaming."""

    def bye(self) -> list[Action]:
        """An orderly end -> actions."""
        self.state = states.CLOSED
        return []


class SinkSession(Session):
    """The half that has the copy."""

    def durable(self, serial: int, offset: int) -> list[Action]:
        """Everything below `offset` of the serial-th generation is durable -> actions."""
        return []

    def ask(self) -> list[Action]:
        """Ask whether the source lives, now -> actions."""
        raise LinkLost("an original client gives way to another connection")

    def fail(self, error: Exception) -> list[Action]:
        """Tell the source why the connection ends -> actions."""
        return []
