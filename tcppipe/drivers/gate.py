"""So many sources ask a server at a time: all of a thousand at once would only wait."""

from __future__ import annotations

import _thread
from collections import Counter

Server = tuple[str, int]  # its host and port

AT_ONCE = 32  # connections that one server is asked to answer at a time


class Gate:
    """Counts by server those that wait for its answer; for any thread."""

    def __init__(self) -> None:
        self._waiting: Counter[Server] = Counter()
        self._lock = _thread.allocate_lock()

    def enter(self, server: Server) -> bool:
        """One more; False: these are enough for now."""
        with self._lock:
            free = self._waiting[server] < AT_ONCE
            self._waiting[server] += free
            return free

    def leave(self, server: Server) -> None:
        """One less."""
        with self._lock:
            self._waiting[server] -= 1
