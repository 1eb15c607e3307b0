"""Connecting without waiting: one address after the other, for a loop that has more to do."""

import errno
import os
import socket

from tcppipe.errors import LinkLost, reason
from tcppipe.net.link import Link

CONNECT = 10.0  # seconds that one address may take


class Connecting:
    """Tries addresses (of ipaddress) in turn.  peer: the other end, in words.

    until: when tend() has to be called.  sockets: how many were made so far; a new one may
    have the descriptor of the last.  Methods raise LinkLost when no address is left.
    """

    def __init__(self, addresses, port, peer, now):
        self.until = 0.0
        self.sockets = 0
        self._left = list(addresses)
        self._port = port
        self._peer = peer
        self._sock = None
        self._next("no address", now)

    def fileno(self):
        """The descriptor, which becomes writable."""
        return self._sock.fileno()

    def _next(self, why_not, now):
        self.close()
        while self._left:
            address = self._left.pop(0)
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            try:
                self._sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                why_not = reason(error)
                continue
            self._sock.setblocking(False)
            self.sockets += 1
            self.until = now + CONNECT
            code = self._sock.connect_ex((str(address), self._port))
            if code in (0, errno.EINPROGRESS, errno.EINTR):
                return
            why_not = os.strerror(code)
            self.close()
        raise LinkLost(f"cannot connect to {self._peer}: {why_not}")

    def ready(self, now):
        """The descriptor is: a Link, or None when another address is tried."""
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._next(os.strerror(code), now)
            return None
        sock, self._sock = self._sock, None
        return Link(sock, self._peer)

    def tend(self, now):
        """Give up an address that has taken too long."""
        if now >= self.until:
            self._next("no answer", now)

    def close(self):
        """Let go of the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
