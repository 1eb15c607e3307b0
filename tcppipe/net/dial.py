"""Connecting, as a client: names, addresses, and the push pair's handshake."""

import marshal
import os
import select
import signal
import socket
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
    """

    def __init__(self, host, port):
        self.host = host
        self.port = port
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

    def look_ahead(self, patience):
        """Look the host up for children that will be forked; without an answer dial() does it.

        In a process of its own: a thread would cost each of them memory.
        """
        try:
            self._addresses = _look_up(self.host, self.port, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._addresses = _ask_aside(self.host, self.port, patience) or self._addresses

    def dial(self, link=Link):
        """A Link to the first address that answers.  Raises LinkLost.

        link: makes it of a socket and the peer in words.
        """
        if self._dialled or not self._addresses:
            try:
                self.resolve(RESOLVE)
            except ConfigError as error:
                raise LinkLost(str(error)) from None
        self._dialled = True
        failure = None
        for family, address in self._addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(CONNECT)
            try:
                sock.connect(address)
                return link(sock, f"{self.host}:{self.port}")
            except OSError as error:
                failure = failure or error
                sock.close()
        raise LinkLost(f"{self.host}:{self.port}: cannot connect: {reason(failure)}")


def _ask(host, port, patience):
    """[(family, address)] or an exception, or None when nothing came in time."""
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        pass  # not an address: a name
    import threading  # costs every forked child memory, so it is not loaded for an address

    answer = []

    def look_up():
        try:
            answer.append(_look_up(host, port))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(patience)
    return answer[0] if answer else None


def _ask_aside(host, port, patience):
    """[(family, address)], or None when nothing came in time."""
    read, write = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, marshal.dumps(_look_up(host, port)))
            except BaseException:
                pass  # no answer says it
            finally:
                os._exit(0)
    finally:
        os.close(write)
    try:
        poll = select.poll()
        poll.register(read, select.POLLIN)
        answer = os.read(read, 1 << 16) if poll.poll(patience * 1000) else b""
        return marshal.loads(answer) if answer else None
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _look_up(host, port, flags=0):
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, _t, _p, _n, address in found]


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
