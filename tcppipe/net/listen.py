"""Listening sockets, for IPv4 and IPv6."""

from __future__ import annotations

import errno
import socket

from tcppipe.errors import ConfigError, reason

BACKLOG = 512


def listen(port: int, address: str | None = None) -> list[socket.socket]:
    """Sockets that listen on a TCP port: one for each family, or one for one address.

    Raises ConfigError when the port cannot be had.  A host without IPv6 is no error.
    """
    if address:
        wanted = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]
    else:
        wanted = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    sockets: list[socket.socket] = []
    for family, host in wanted:
        try:
            sockets.append(_listen(family, host, port))
        except OSError as error:
            missing = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
            if missing and not address and (sockets or family == socket.AF_INET):
                continue
            for sock in sockets:
                sock.close()
            where = f"{address} port {port}" if address else f"port {port}"
            raise ConfigError(f"{where}: cannot listen: {reason(error)}") from None
    if not sockets:
        raise ConfigError(f"port {port}: cannot listen: no address to listen on")
    return sockets


def _listen(family: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
