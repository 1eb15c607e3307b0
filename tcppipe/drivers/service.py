"""What a server serves: the part that the push and the pull pair's servers do not share."""

from __future__ import annotations

import select
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Collection

from tcppipe.net import resolver
from tcppipe.net.connect import Address
from tcppipe.net.link import Link
from tcppipe.process import report
from tcppipe.process.signals import Signals

GONE = getattr(select, "POLLRDHUP", 0)  # Linux tells when the peer has closed its side
HANDSHAKE = 5.0  # seconds that a client has for its request
WHERE = signal.SIGUSR2  # to a child: say where you are


class Service(ABC):
    """What a Server serves.  path: of the configuration file.  names: a resolver.HostNames.

    asking: a descriptor that is readable when a child wants names looked up, or None.
    known: in a child, its peer is somebody in the configuration.
    """

    asking: int | None = None
    known = False

    def __init__(self, path: str) -> None:
        self.path = path
        self.names = resolver.HostNames(changed=_say_changed)

    @abstractmethod
    def open(self) -> None:
        """In the parent, before the first child, and after detaching: make what children learn from."""

    def wanted(self) -> Collection[str]:
        """The host names that are to be looked up now and then."""
        return []

    @abstractmethod
    def asked(self) -> None:
        """Forget who has asked for a look-up."""

    def link(self, sock: socket.socket, peer: str) -> Link:
        """In a child: the Link of its connection."""
        return Link(sock, peer)

    @abstractmethod
    def read(self) -> str:
        """HUP: read the configuration again, and say in a few words what it holds.

        Raises ConfigError.
        """

    @abstractmethod
    def refresh(self) -> bool:
        """A connection comes: read the configuration again if it has changed; True: it was read.

        Raises ConfigError, once for each change.
        """

    @abstractmethod
    def publish(self) -> None:
        """Let children know what is known now.  Raises OSError."""

    @abstractmethod
    def knows(self, address: str) -> bool:
        """Is that somebody in the configuration, as far as is known?"""

    @abstractmethod
    def serve(self, link: Link, signals: Signals, lifeline: int) -> int:
        """In a child: serve one connection; the exit status.  Raises a TcppipeError.

        lifeline: becomes readable when the parent is gone.
        """


def _say_changed(name: str, old: frozenset[Address], new: frozenset[Address]) -> None:
    before, after = (" ".join(sorted(map(str, group))) for group in (old, new))
    report.warning(f"{name}: its addresses have changed from {before} to {after}")
