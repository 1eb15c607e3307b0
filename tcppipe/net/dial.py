"""Connecting, as a client: names, addresses, and the push pair's handshake."""

import socket
import threading
import time

from tcppipe.errors import ConfigError, LinkLost, PeerError, Refused, reason
from tcppipe.net.link import Link
from tcppipe.wire import push1

HANDSHAKE = 5.0  # seconds that the other side has for its answer
RESOLVE = 5.0  # seconds for the name server, when there is an older answer to fall back on
CONNECT = 10.0  # seconds for one address


class Dialler:
    """Connects to a host and port, whatever becomes of the name server in between.

    The last good answer of the name server is kept and used when it gives none.
    link: makes a Link of a socket and the peer in words.
    """

    def __init__(self, host, port, link=Link):
        self.host = host
        self.port = port
        self._link = link
        self._addresses = []
        self._dialled = False  # the addresses were used already

    def resolve(self, patience=None):
        """Look the host up, `patience` seconds at most.

        Raises ConfigError when there never was an answer.
        """
        answer = _ask(self.host, self.port, patience)
        if isinstance(answer, list):
            self._addresses = answer
        if not self._addresses:
            why = reason(answer) if answer else "the name server does not answer"
            raise ConfigError(f"{self.host}: unknown host: {why}")

    def dial(self):
        """A Link to the first address that answers.  Raises LinkLost."""
        if self._dialled:
            self.resolve(RESOLVE)
        self._dialled = True
        failure = None
        for family, address in self._addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(CONNECT)
            try:
                sock.connect(address)
                return self._link(sock, f"{self.host}:{self.port}")
            except OSError as error:
                failure = failure or error
                sock.close()
        raise LinkLost(f"{self.host}:{self.port}: cannot connect: {reason(failure)}")


def _ask(host, port, patience):
    """[(family, address)] or an exception, or None when nothing came in time."""
    answer = []

    def look_up():
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.append([(family, address) for family, _t, _p, _n, address in found])
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(patience)
    return answer[0] if answer else None


def greet(link, path):
    """Ask for the pipe of `path` (bytes): True when the server speaks version 2.

    Raises Refused with the server's reason, LinkLost or PeerError.
    """
    link.send(push1.request(path))
    try:
        line = link.read_line(1024, time.monotonic() + HANDSHAKE)
        version2 = push1.parse_answer(line)
    except Refused as error:
        raise Refused(f"{link.peer}: refused: {error}") from None
    except PeerError as error:
        raise PeerError(f"{link.peer}: no tcppiped: {error}") from None
    if version2:
        link.send(push1.accept())
    return version2
