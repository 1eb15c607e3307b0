"""What is said of pipes that have no connection: when that begins, once an hour, and its end.

An archive that is away leaves all pipes of a host without a connection, for days perhaps.  So
pipes of which the same is to be said within a moment share a line.
Does not wait and does not know the clock: whoever has the loop calls tend() when due() has come.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from math import inf
from typing import Generic, Protocol, TypeVar

from tcppipe.process.trouble import REMIND, Say, duration

TOGETHER = 60.0  # seconds that a reminder may come earlier, so that it shares a line
REASONS = 5  # that are said between two reminders
LONGEST = 1000  # bytes that a child tells at once: a write of so few is never torn
WORTH = 60.0  # seconds that an outage has to last for its length to be of interest


P = TypeVar("P")
Line = tuple[str, str]


class Listener(Protocol):
    """What wants to hear of the connections of one pipe, a path.  See Outages."""

    def lost(self, pipe: str, text: str, now: float, level: str = "warning", /) -> None:
        """It has no connection, and why."""

    def connected(self, pipe: str, text: str, now: float, /) -> None:
        """It has one."""

    def works(self, pipe: str, /) -> None:
        """It has more than a connection."""

    def due(self) -> float:
        """When tend() has something to do."""

    def tend(self, now: float, /) -> None:
        """Say what is due."""


class _Outage:
    """One pipe's.  It is over when the pipe works, not when it is connected."""

    __slots__ = ("down", "open", "remind_at", "said", "since", "text")

    def __init__(self, now: float) -> None:
        self.since = now
        self.remind_at = now + REMIND
        self.text = ""  # why there is none
        self.said: set[str] = set()  # what was said since the last reminder
        self.down = True  # there is no connection
        self.open = False  # a loss was said, and no end of it


class Outages(Generic[P]):
    """say: a function (level, text).  gather: seconds in which others may join a line.

    A pipe is a path, or whatever path_of() makes a path of.  Times are seconds of a monotonic clock.
    """

    def __init__(self, say: Say, gather: float = 0.0, path_of: Callable[[P], str] = str) -> None:
        self._say = say
        self._gather = gather
        self._path_of = path_of
        self._outages: dict[P, _Outage] = {}
        self._lines: dict[
            Line, list[Line]
        ] = {}  # (level, text with FILE in it): [(path, text)] that share it
        self._say_at = self._remind_at = inf

    def lost(self, pipe: P, text: str, now: float, level: str = "warning") -> None:
        """A pipe has no connection, and why.  The same is not said twice, nor are many reasons
        that take turns."""
        outage = self._outages.get(pipe)
        if outage is None:
            outage = self._outages[pipe] = _Outage(now)
            self._remind_at = min(self._remind_at, outage.remind_at)
        outage.down = True
        outage.text = text
        if text not in outage.said and len(outage.said) < REASONS:
            outage.said.add(text)
            outage.open = True
            self._add(level, pipe, text, now)

    def connected(self, pipe: P, text: str, now: float) -> None:
        """A pipe has a connection: once more, or for the first time."""
        outage = self._outages.get(pipe)
        lasted = ""
        if outage is not None:
            outage.down = False
            if not outage.open:
                return  # it comes and goes
            outage.open = False
            if now - outage.since >= WORTH:
                lasted = f", after {duration(now - outage.since)}"
        self._add("info", pipe, text + lasted, now)

    def works(self, pipe: P) -> None:
        """A pipe has more than a connection: the other side has made something durable.  Or it
        is a pipe no more."""
        self._outages.pop(pipe, None)
        if not self._outages:
            self._remind_at = inf

    @property
    def down(self) -> int:
        """How many pipes have no connection."""
        return sum(outage.down for outage in self._outages.values())

    def due(self) -> float:
        """When tend() has something to do."""
        return min(self._say_at, self._remind_at)

    def tend(self, now: float) -> None:
        """Say what is due."""
        if now >= self._remind_at:
            self._remind(now)
        if now >= self._say_at:
            self.flush()

    def _remind(self, now: float) -> None:
        for pipe, outage in self._outages.items():
            if now >= outage.remind_at - TOGETHER:
                outage.remind_at = now + REMIND
                outage.said = {outage.text}
                if outage.down:
                    lasts = duration(now - outage.since)
                    self._add("warning", pipe, f"not connected for {lasts}: {outage.text}", now)
        left = (outage.remind_at for outage in self._outages.values())
        self._remind_at = min(left, default=inf)

    def _add(self, level: str, pipe: P, text: str, now: float) -> None:
        path = self._path_of(pipe)
        line = level, text.replace(path, "FILE")
        if (path, text) in self._lines.get(line, ()):
            self.flush()  # twice is not two pipes
        self._lines.setdefault(line, []).append((path, text))
        self._say_at = min(self._say_at, now + self._gather)
        if not self._gather:
            self.flush()

    def flush(self) -> None:
        """Say what has been gathered."""
        lines, self._lines, self._say_at = self._lines, {}, inf
        for (level, common), pipes in lines.items():
            path, text = pipes[0]
            if len(pipes) > 1:
                path, text = f"{path} and {len(pipes) - 1} more", common
            self._say(level, f"{path}: {text}")


class Teller:
    """In a child: tells its parent, which has the Outages of all, what they would be told.

    fd: the writing end of a pipe that never blocks.  What does not fit in is told later; only the
    last word counts.  See hear().
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._down = True  # our parent may have tried for long to start us
        self._untold = b""

    def lost(self, _pipe: str, text: str, now: float, level: str = "warning") -> None:
        """As in Outages."""
        self._down = True
        self._tell("lost", level, text)

    def connected(self, _pipe: str, text: str, now: float) -> None:
        """As in Outages."""
        self._tell("connected", "info", text)

    def works(self, _pipe: str) -> None:
        """As in Outages."""
        if self._down:
            self._down = False
            self._tell("works", "info", "")

    def _tell(self, *words: str) -> None:
        line = " ".join([str(os.getpid()), *words]).replace("\n", " ")
        self._untold = line.encode(errors="surrogateescape")[:LONGEST] + b"\n"
        self.tend(0.0)

    def due(self) -> float:
        """As in Outages: a turn now and then is enough."""
        return inf

    def tend(self, _now: float) -> None:
        """Tell what could not be told."""
        if self._untold:
            try:
                os.write(self._fd, self._untold)
            except BlockingIOError:
                return
            except OSError:
                pass  # the parent is gone
            self._untold = b""


class Hearer(Generic[P]):
    """In the parent: what the Tellers of its children say.  fd: the reading end of their pipe."""

    def __init__(self, fd: int, outages: Outages[P]) -> None:
        self._fd = fd
        self._outages = outages
        self._rest = b""

    def hear(self, pipes: Mapping[int, P], now: float) -> None:
        """Take what was told.  pipes: {pid: pipe} of the children that live."""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                pid, what, level, text = line.decode(errors="surrogateescape").split(" ", 3)
                pipe = pipes.get(int(pid))
                if pipe is not None:
                    self._take(pipe, what, level, text, now)

    def _take(self, pipe: P, what: str, level: str, text: str, now: float) -> None:
        if what == "lost":
            self._outages.lost(pipe, text, now, level)
        elif what == "connected":
            self._outages.connected(pipe, text, now)
        else:
            self._outages.works(pipe)
