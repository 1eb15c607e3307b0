"""poll(2), also for a process that has more descriptors open than it may open.

The kernel refuses to poll more of them than RLIMIT_NOFILE says, though they are open and may be
used: whoever is given a smaller limit while he runs (prlimit(1)) could not wait for anything any
more, not even for the signal that is to end him.  select(2) does not care.
"""

from __future__ import annotations

import errno
import select

READABLE = select.POLLIN | select.POLLPRI


class Poll:
    """As select.poll has it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._wanted: dict[int, int] = {}  # descriptor: events

    def register(self, fd: int, events: int) -> None:
        """Wait for these events on a descriptor from now on, and for no others."""
        self._poll.register(fd, events)
        self._wanted[fd] = events

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        """[(descriptor, events)] of what has happened in that time."""
        try:
            return self._poll.poll(milliseconds)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return self._select(milliseconds / 1000)

    def _select(self, seconds: float) -> list[tuple[int, int]]:
        read = [fd for fd, events in self._wanted.items() if events & READABLE or not events]
        write = [fd for fd, events in self._wanted.items() if events & select.POLLOUT]
        # Whoever wants to know of an error alone is told of it as of something to read.
        readable, writable, _ = select.select(read, write, (), seconds)
        happened = dict.fromkeys(readable, select.POLLIN)
        for fd in writable:
            happened[fd] = happened.get(fd, 0) | select.POLLOUT
        return list(happened.items())
