"""Connecting without waiting: one address after the other, for a loop that has more to do."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from tcppipe.errors import LinkLost, reason
from tcppipe.net.link import Link

Address = IPv4Address | IPv6Address
Target = tuple[int, Any]  # (family, socket address)
MakeLink = Callable[[socket.socket, str], Link]  # of a socket and the peer in words

CONNECT = 10.0  # seconds that one address may take
NOT_HERE = os.strerror(errno.EAFNOSUPPORT)  # says nothing of the other end


def targets(addresses: Iterable[Address], port: int) -> list[Target]:
    """What a Connecting tries, for addresses of ipaddress: (family, socket address) of each."""
    return [
        (socket.AF_INET6 if address.version == 6 else socket.AF_INET, (str(address), port))
        for address in addresses
    ]


class Connecting:
    """Tries targets, each a (family, socket address), in turn.  peer: the other end, in words.

    until: when tend() has to be called.  sockets: how many were made so far; a new one may
    have the descriptor of the last.  link: makes a Link of a socket and the peer.
    Methods raise LinkLost when no target is left.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        peer: str,
        now: float,
        link: MakeLink = Link,
        says: str = "cannot connect to {}: {}",
    ) -> None:
        self.until = 0.0
        self.sockets = 0
        self._left = list(targets)
        self._peer = peer
        self._link = link
        self._says = says
        self._why_not: str | None = None
        self._sock: socket.socket | None = None
        self._next(None, now)

    def fileno(self) -> int:
        """The descriptor, which becomes writable."""
        assert self._sock is not None
        return self._sock.fileno()

    def _next(self, why_not: str | None, now: float) -> None:
        self._failed(why_not)
        while self._left:
            family, address = self._left.pop(0)
            try:
                self._sock = socket.socket(family, socket.SOCK_STREAM)
                self._sock.setblocking(False)
                self.sockets += 1
                self.until = now + CONNECT
                code = self._sock.connect_ex(address)
            except OSError as error:
                self._failed(reason(error))
                continue
            if code in (0, errno.EINPROGRESS, errno.EINTR):
                return
            self._failed(os.strerror(code))
        raise LinkLost(self._says.format(self._peer, self._why_not or "no address"))

    def _failed(self, why: str | None) -> None:
        """The present address is out.  A kind of address that this host does not have is the
        reason only if there is no other."""
        self.close()
        if self._why_not is None or why != NOT_HERE:
            self._why_not = why

    def ready(self, now: float) -> Link | None:
        """The descriptor is: a Link, or None when another address is tried."""
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._next(os.strerror(code), now)
            return None
        sock, self._sock = self._sock, None
        try:
            return self._link(sock, self._peer)
        except OSError as error:  # reset by now
            sock.close()
            self._next(reason(error), now)
            return None

    def tend(self, now: float) -> None:
        """Give up an address that has taken too long."""
        if now >= self.until:
            self._next("no answer", now)

    def close(self) -> None:
        """Let go of the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
