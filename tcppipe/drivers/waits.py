"""That and why a sink waits, and that it goes on: said once, to people and to its source."""

from __future__ import annotations

from tcppipe.drivers.pump import Pump
from tcppipe.errors import Blocked, Busy
from tcppipe.process.trouble import Say
from tcppipe.session.contract import SinkSession

LONG_STEP = 2.0  # seconds of work after which the source is told


class Waits:
    """What is said of the copy at `path`.  told: what was said last, or ""."""

    def __init__(self, pump: Pump[SinkSession], path: str, say: Say) -> None:
        self.told = ""
        self._pump = pump
        self._path = path
        self._say = say
        self._busy_since: float | None = None  # a long step takes its time

    def report(self, trouble: Blocked | None, now: float) -> None:
        """trouble: what people should know of, or None."""
        error = trouble or self._long_step(now)
        if error is not None and str(error) != self.told:
            self.told = str(error)
            self._say("info" if isinstance(error, Busy) else "critical", self.told)
            self._pump.say(self._pump.session.wait(self.told), now)
        elif error is None and self.told and self._pump.blocked is None:
            self.told = ""  # what was begun anew (HUP) and has still to be tried does not count
            self._say("warning", f"{self._path}: goes on")
            self._pump.say(self._pump.session.wait(""), now)

    def _long_step(self, now: float) -> Busy | None:
        """The Busy that the source has to know of, lest it take us for dead."""
        blocked = self._pump.blocked
        busy = blocked if isinstance(blocked, Busy) and blocked.long else None
        if busy is None:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = now
        elif now >= self._busy_since + LONG_STEP:
            return busy
        return None
