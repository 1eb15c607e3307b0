"""Nobody is blind: a loop's turn that took too long is said, with its place.

While one thing is done nothing else is looked at: no signal, no keepalive, no other
connection.  Each loop that serves somebody calls start() when it has waited and done(place)
when it has done something; what took long between two such calls is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 0.5  # seconds that may pass between two looks at everything; a slow disk takes longer …
LONG = 5.0  # … and this long is no longer for those only who look for a mistake of ours
AGAIN = 60.0  # seconds until the same place is reported again


class Turns:
    """say: a function (level, text)."""

    def __init__(
        self,
        say: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._say = say
        self._clock, self._cpu = clock, cpu
        self._at = self._used = 0.0
        self._told: dict[
            str, tuple[float, int]
        ] = {}  # place: (when it was reported last, how many times since)

    def start(self) -> None:
        """Something begins."""
        self._at, self._used = self._clock(), self._cpu()

    def done(self, place: str | Callable[[], str]) -> None:
        """It is done, and the next thing begins.  place: what it was, in words, or a function."""
        now = self._clock()
        took, self._at = now - self._at, now
        if took > LIMIT:
            self._tell(place() if callable(place) else place, now, took)

    def _tell(self, place: str, now: float, took: float) -> None:
        before, used, self._used = self._used, self._cpu(), self._cpu()
        at, times = self._told.get(place, (-AGAIN, 0))
        if now < at + AGAIN:
            self._told[place] = at, times + 1
            return
        if len(self._told) > 100:
            self._told.clear()
        self._told[place] = now, 0
        more = f", and {times} times more in the last minute" if times else ""
        self._say(
            "debug" if took < LONG else "warning",
            f"{place}: took {took:.1f} s ({used - before:.1f} s of computing), "
            f"and nothing else was looked at meanwhile{more}",
        )
