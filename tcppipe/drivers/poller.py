"""The system's poll for thousands of descriptors, most of which have nothing to tell."""

from __future__ import annotations

import select


class Poller:
    """The system's poll: epoll where there is one.  Events are those of poll."""

    def __init__(self) -> None:
        self._epoll = hasattr(select, "epoll")
        self._poll = select.epoll() if self._epoll else select.poll()
        self._known: dict[int, int] = {}  # events of each descriptor

    def want(self, fd: int, events: int) -> None:
        """Wait for these events on a descriptor from now on."""
        known = self._known.get(fd)
        if known is None:
            self._poll.register(fd, events)
        elif known != events:
            self._poll.modify(fd, events)
        self._known[fd] = events

    def forget(self, fd: int) -> None:
        """Wait no more for a descriptor, which may be closed already."""
        if self._known.pop(fd, None) is not None:
            try:
                self._poll.unregister(fd)
            except (OSError, KeyError):
                pass

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """[(descriptor, events)]."""
        return self._poll.poll(seconds if self._epoll else seconds * 1000)
