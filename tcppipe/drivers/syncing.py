"""When a copy is made durable, and when that is noted in its ledger.

Bytes are synced in groups: when the stream pauses, or after so many bytes or milliseconds.  Only
then are they acknowledged.  The stream waits for neither: a sync is made beside it, and goes on
without a mark where none can be written.
Neither knows the clock: times are seconds of a monotonic clock, given by whoever has the loop.
"""

from __future__ import annotations

from math import inf

from tcppipe.errors import Blocked, Busy
from tcppipe.files.copy import Copy
from tcppipe.files.merged import MergedCopy
from tcppipe.files.workers import Workers
from tcppipe.process.trouble import Say

PAUSE = 0.01  # seconds without data after which the stream has paused
GROUP = 0.1  # seconds that a byte waits for its sync at most, while more arrive …
GROUP_BYTES = 8 << 20  # … and how many bytes wait together at most
MARK = 0.2  # seconds between two marks in the ledger

AnyCopy = Copy | MergedCopy


class Syncs:
    """The syncs of one copy, made by `syncer`.  blocked: the Blocked that the last one ended with."""

    def __init__(self, copy: AnyCopy, syncer: Workers) -> None:
        self.blocked: Blocked | None = None
        self._copy = copy
        self._syncer = syncer
        # when the first byte came that no sync was begun for
        self._since: float | None = None
        self._again = 0.0  # when a blocked one is tried again

    @property
    def trouble(self) -> Blocked | None:
        """The Blocked that people should know of, or None."""
        return None if isinstance(self.blocked, Busy) else self.blocked

    def wanted(self, now: float) -> None:
        """There is something to be synced and acknowledged, of now or of before."""
        if self._since is None:
            self._since = now

    def renewed(self, now: float) -> None:
        """There is something to be acknowledged that begins now, whatever was before."""
        self._since = now

    def over(self) -> None:
        """All that came is durable."""
        self._since = self.blocked = None

    def tend(self, now: float, heard: float) -> None:
        """Begin what is due.  Has the sync ended that was begun?  One that was blocked is begun
        again."""
        try:
            if self._copy.synced():
                self.blocked = None
        except Blocked as error:
            self.blocked = error
            self._again = now + error.pause
            self.wanted(now)
        if now >= self.due(now, heard):
            self._since = None
            self._copy.begin_sync(self._syncer)

    def due(self, now: float, heard: float) -> float:
        """When the next one is to begin.  heard: when data came last."""
        if self._since is None or self._copy.syncing:
            return inf
        if self.blocked is not None:
            return self._again
        if self._copy.end - self._copy.durable >= GROUP_BYTES:
            return now
        return min(heard + PAUSE, self._since + GROUP)


class Marks:
    """The marks in the ledger of one copy.  due: when the next one may be made."""

    def __init__(self, copy: AnyCopy, say: Say) -> None:
        self.due = MARK
        self._copy = copy
        self._say = say
        self._failed = False  # one could not be written, and this was said

    def make(self, now: float) -> None:
        """Note what is durable."""
        self.due = now + MARK
        try:
            self._copy.mark()
            self._failed = False
        except Blocked as error:
            if not self._failed:  # nothing waits for it: the stream goes on without marks
                self._failed = True
                text = str(error).replace(", waiting: ", "; goes on without marks: ")
                self._say("warning", text)
