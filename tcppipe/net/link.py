"""A TCP connection as the drivers use it: never waits, except in read_line.

What is sent is queued when the kernel takes no more; a driver sends nothing new while
`pending` is true, so the queue stays as small as one answer or one piece.
"""

from __future__ import annotations

import _thread
import select
import socket
import struct
import sys
import time
from collections import deque
from itertools import islice
from math import inf

from tcppipe.cursor import Bytes
from tcppipe.errors import LinkLost, PeerError, reason
from tcppipe.net.poll import Poll

DEAD_AFTER = 45.0  # seconds without an acknowledgement by the peer's kernel
UNANSWERED = 2  # … and of what was sent in vain meanwhile, so many attempts
INFO = struct.Struct("=xxBB52xI")  # of struct tcp_info: retransmits, probes, …, last_ack_recv
AT_ONCE = 64  # queued pieces that the kernel is offered at a time
MOST = 10000  # pieces that may be queued: more are answers to somebody who never reads
SHALLOW = 1 << 17  # unsent bytes that a shallow link leaves to the kernel


class Link:
    """A connected socket.  peer: its other end, in words.

    Methods raise LinkLost when the connection is gone.
    """

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self._sock = sock
        self._out: deque[memoryview] = deque()
        self._unread = b""  # came together with a line
        self._line = b""  # the beginning of a line, for try_line
        sock.setblocking(False)
        _tune(sock)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        """True while something queued waits."""
        return self.full

    @property
    def full(self) -> bool:
        """True while the kernel takes no more: wait until it does, then flush()."""
        return bool(self._out)

    @property
    def piece(self) -> float:
        """Bytes of data that are worth to be sent in one go: what is acknowledged is whole pieces."""
        return inf

    @property
    def silent(self) -> bool:
        """True when the peer's kernel has not answered for too long, as far as this system tells.

        TCP_USER_TIMEOUT would not do: it counts as well while a living peer says that it takes
        nothing for now.
        """
        if not sys.platform.startswith("linux"):
            return False
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO.size)
            retransmits: int
            probes: int
            answered: int
            retransmits, probes, answered = INFO.unpack(info)
        except (OSError, struct.error):
            return False
        return answered >= DEAD_AFTER * 1000 and max(retransmits, probes) >= UNANSWERED

    def due(self) -> float:
        """When flush() has something to do, whatever the kernel says: never."""
        return inf

    def shallow(self, on: bool) -> None:
        """Have the kernel take little at once, so that `pending` tells how fast the link is, or
        as much as it likes."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None:
            try:
                self._sock.setsockopt(socket.IPPROTO_TCP, option, SHALLOW if on else 0)
            except OSError:  # this system knows the name only
                pass

    def receive(self, buffer: memoryview) -> int:
        """Read into `buffer` (a memoryview): the number of bytes, or 0 for nothing yet."""
        if self._unread:
            count = min(len(self._unread), len(buffer))
            buffer[:count] = self._unread[:count]
            self._unread = self._unread[count:]
            return count
        try:
            count = self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise LinkLost(f"{self.peer}: {reason(error)}") from None
        if not count:
            raise LinkLost(f"{self.peer}: closed by the other side")
        return count

    @property
    def unread(self) -> bool:
        """True when receive() has something that no poll will announce."""
        return bool(self._unread)

    def give_back(self, data: Bytes) -> None:
        """Bytes that were received, and that receive() is to give once more before others."""
        self._unread = bytes(data) + self._unread

    def send(self, *parts: Bytes) -> None:
        """Queue bytes and give the kernel what it takes."""
        self._out.extend(map(memoryview, parts))
        self.flush()
        self._bound(len(self._out))

    def _bound(self, queued: int) -> None:
        if queued > MOST:
            raise PeerError(f"{self.peer}: asks for more and more, and does not read it")

    def flush(self) -> None:
        """Give the kernel what it takes of the queue."""
        while self._out:
            try:
                count = self._sock.sendmsg(islice(self._out, AT_ONCE))
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise LinkLost(f"{self.peer}: {reason(error)}") from None
            while self._out and count >= len(self._out[0]):
                count -= len(self._out.popleft())
            if count:
                self._out[0] = self._out[0][count:]

    def drain(self, seconds: float) -> None:
        """Try to send all that is queued, for a limited time; never raises."""
        until = time.monotonic() + seconds
        try:
            self.flush()
            while self._out and self._wait(select.POLLOUT, until):
                self.flush()
        except LinkLost:
            pass

    def read_line(self, limit: int, until: float) -> bytes:
        """The next line with its newline; `until` is a time of the monotonic clock.

        Raises PeerError when it is longer than `limit` bytes, LinkLost when it does not come.
        """
        buffer = memoryview(bytearray(limit + 1))
        line = self._unread
        self._unread = b""
        while b"\n" not in line:
            if len(line) > limit:
                raise PeerError(f"{self.peer}: a first line of more than {limit} bytes")
            if not self._wait(select.POLLIN, until):
                raise LinkLost(f"{self.peer}: said nothing in time")
            line += bytes(buffer[: self.receive(buffer)])
        line, newline, self._unread = line.partition(b"\n")
        return line + newline

    def try_line(self, limit: int) -> bytes | None:
        """The next line with its newline if all of it has come, else None; never waits.

        Raises PeerError when it is longer than `limit` bytes.
        """
        buffer = memoryview(bytearray(limit + 1))
        self._line += bytes(buffer[: self.receive(buffer)])
        line, newline, rest = self._line.partition(b"\n")
        if len(line) >= limit:
            raise PeerError(f"{self.peer}: a first line of more than {limit} bytes")
        if not newline:
            return None
        self._line, self._unread = b"", rest + self._unread
        return line + newline

    def _wait(self, what: int, until: float) -> bool:
        poll = Poll()
        poll.register(self._sock.fileno(), what)
        left = until - time.monotonic()
        return left > 0 and bool(poll.poll(left * 1000))

    def close(self) -> None:
        """Let go of the connection."""
        self._sock.close()
        self._out.clear()


class SharedLink(Link):
    """A Link to which two threads may send: what one of them sends stays together."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        super().__init__(sock, peer)
        self._one = _thread.RLock()

    def send(self, *parts: Bytes) -> None:
        """As in Link."""
        with self._one:
            super().send(*parts)

    def flush(self) -> None:
        """As in Link."""
        with self._one:
            super().flush()

    def close(self) -> None:
        """As in Link."""
        with self._one:
            super().close()


def _tune(sock: socket.socket) -> None:
    """Send at once, and notice a dead peer within a minute."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 20),
        ("TCP_KEEPALIVE", 20),
        ("TCP_KEEPINTVL", 8),
        ("TCP_KEEPCNT", 3),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:  # this system knows the name only
                pass
