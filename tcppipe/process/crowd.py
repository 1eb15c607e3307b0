"""How many of those whom nobody knows may come at once.

A connection costs a process for some seconds before it has said a word.  So whoever can reach
the port could use up memory and processes, and the time of those who have a right to them.
A crash leaves nothing.
"""

from __future__ import annotations

from collections import Counter, deque

EACH, ALL = 100, 400  # connections of one address, and of all …
SECONDS = 5.0  # … that may come in this time


class Crowd:
    """Counts connections.  Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, str]] = deque()
        self._of: Counter[str] = Counter()

    def admits(self, address: str, now: float) -> bool:
        """True, and it counts, when one more of this address is not too many."""
        while self._came and self._came[0][0] <= now - SECONDS:
            _time, gone = self._came.popleft()
            self._of[gone] -= 1
            if not self._of[gone]:
                del self._of[gone]
        if len(self._came) >= ALL or self._of[address] >= EACH:
            return False
        self._came.append((now, address))
        self._of[address] += 1
        return True
