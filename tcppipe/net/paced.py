"""A connection that sends no faster than it may (--limit).

What is sent too fast waits here, not in the kernel: a little goes at a time, so the loop stays
free, and a signal or an acknowledgement never waits for a slow rate.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable

from tcppipe.cursor import Bytes
from tcppipe.errors import LinkLost
from tcppipe.net.link import Link

BURST = 0.125  # seconds' worth that may go at once …
LEAST = 512  # … and bytes that may in any case
STEP = 0.05  # seconds' worth that is waited for
PIECE = 4.0  # seconds' worth that is sent in one go, and acknowledged together


class Bucket:
    """What may be sent: `rate` bytes a second, and `burst` bytes at once.

    Times are seconds of a clock that does not jump.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst = max(rate * BURST, LEAST)
        self.piece = max(int(rate * PIECE), LEAST)
        self._rate = rate
        self._clock = clock
        self._tokens = self.burst
        self._filled = clock()

    def take(self, wanted: int) -> int:
        """How many of the wanted bytes may go now; they are taken for gone."""
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        granted = max(0, min(wanted, int(self._tokens)))
        self._tokens -= granted
        return granted

    def due(self, wanted: int) -> float:
        """When some of the wanted bytes may go: it makes sense to ask again."""
        step = min(wanted, max(1.0, self._rate * STEP))
        return self._filled + max(0.0, step - self._tokens) / self._rate


class Paced(Link):
    """A Link that takes what it sends from a Bucket."""

    def __init__(self, sock: socket.socket, peer: str, bucket: Bucket) -> None:
        super().__init__(sock, peer)
        self._bucket = bucket
        self._held: deque[memoryview] = deque()  # what may not go yet

    @property
    def piece(self) -> float:
        """As in Link: what may go in some seconds."""
        return self._bucket.piece

    @property
    def pending(self) -> bool:
        """True while something waits, for the kernel or for its time."""
        return bool(self._held) or super().pending

    def due(self) -> float:
        """When flush() has something to do, whatever the kernel says."""
        if not self._held or self.full:
            return super().due()
        return self._bucket.due(len(self._held[0]))

    def send(self, *parts: Bytes) -> None:
        """Queue bytes, and send what may go."""
        self._held.extend(memoryview(part).cast("B") for part in parts if part)
        self._release()
        self._bound(len(self._held) + len(self._out))

    def flush(self) -> None:
        """Send what may go by now."""
        super().flush()
        self._release()

    def _release(self) -> None:
        while self._held and not self.full:
            count = self._bucket.take(len(self._held[0]))
            if not count:
                return
            data = self._held.popleft()
            if count < len(data):
                self._held.appendleft(data[count:])
            self._out.append(data[:count])
            super().flush()

    def drain(self, seconds: float) -> None:
        """Try to send all that is queued, for a limited time; never raises."""
        until = time.monotonic() + seconds
        super().drain(seconds)
        try:
            while self._held and self._pause(until):
                self.flush()
                super().drain(until - time.monotonic())
        except LinkLost:
            pass

    def _pause(self, until: float) -> bool:
        """Wait until more may go; False when that is too late."""
        now = time.monotonic()
        if now >= until:
            return False
        time.sleep(max(0.0, min(self.due(), until) - now))
        return True

    def read_line(self, limit: int, until: float) -> bytes:
        """The next line, once all is sent that it answers."""
        self.drain(until - time.monotonic())
        return super().read_line(limit, until)

    def close(self) -> None:
        """Let go of the connection."""
        super().close()
        self._held.clear()
