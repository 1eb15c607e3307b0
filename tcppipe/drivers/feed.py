"""One connection's source: a link, a session and a follower brought together.

The origin is the only buffer: it is read when the link takes more, so memory does not
grow however far behind a pipe is.
Does not wait and does not know the clock: whoever has the loop calls hear() when the link
is readable, deliver() when there may be news, tend() when due() says so.
A crash leaves a status file that may lag; the sink knows better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from tcppipe.cursor import Cursor
from tcppipe.drivers.absence import Absence
from tcppipe.drivers.leisure import STEP, Leisure
from tcppipe.drivers.packer import Packer
from tcppipe.drivers.pump import Pump
from tcppipe.drivers.reminder import Complaint, Reminder
from tcppipe.errors import Blocked, ConfigError, LinkLost, reason
from tcppipe.files.buffer import Buffer
from tcppipe.files.follower import PIECE, Follower
from tcppipe.net.link import Link
from tcppipe.process.trouble import Say
from tcppipe.session import actions as act
from tcppipe.session import states
from tcppipe.session.contract import SourceSession
from tcppipe.session.news import News

BATCH = 64  # pieces handed to the link between two looks at the clock
BUFFER = 1 << 16  # bytes read from the link at a time
QUIET = 10.0  # seconds without news after which memory is given back


A = TypeVar("A")
R = TypeVar("R")


class Status(Protocol):
    """Where is noted how far the sink has got: files/status, or nowhere."""

    path: str

    def read(self) -> tuple[Cursor | None, bool]:
        """(the Cursor or None, whether the whole origin is to be sent again)."""

    def save(self, cursor: Cursor, about: str = "") -> None:
        """Everything below is durable at the sink.  Raises OSError."""


class Feed:
    """Feeds one sink from a follower.

    acknowledged: the sink has made something durable, up to the offset acknowledged_to;
    whoever has the loop forgets the first.  packer: the session's Packer, or None.
    Methods raise LinkLost, PeerError or Refused when it is over.
    """

    def __init__(
        self,
        link: Link,
        session: SourceSession,
        follower: Follower,
        status: Status,
        say: Say,
        packer: Packer | None = None,
    ) -> None:
        self.follower = follower
        self.acknowledged = False
        self.acknowledged_to: int | None = None
        self._status = status
        self._say = say
        self._packer = packer
        if packer is not None:
            packer.attach(link)
        self._complaint = Complaint(say)
        self._unread = ""  # why the origin cannot be read for now
        self._absence = Absence(follower.chain)
        self._unread_told = ""  # what was told of both
        self._waiting = Reminder()  # the other side waits, or we do
        self._status_failed = False
        self._leisure = Leisure()
        self._moved = 0.0  # when news were delivered last
        self.pump = Pump(link, session, {
            act.Search: self._on_search,
            act.Measure: lambda action: self._reading(self._measure, action),
            act.Length: lambda action: self._reading(self._length, action),
            act.Await: lambda action: self._reading(self._wait, action),
            act.Start: lambda action: self._reading(self._start, action),
            act.Save: self._on_save,
            act.Settle: lambda _action: self.follower.chain.settle(),
            act.Say: lambda action: self._say(action.level, f"{self.path}: {action.text}"),
        }, Buffer(BUFFER))  # fmt: skip

    @property
    def link(self) -> Link:
        """The connection."""
        return self.pump.link

    @property
    def path(self) -> str:
        """The origin's."""
        return self.follower.chain.path

    @property
    def greeting(self) -> bool:
        """True until the sink has said what it has, or that it has to wait."""
        return self.pump.session.state == states.GREETING and not self.pump.session.waiting

    @property
    def settled(self) -> bool:
        """True when everything that was sent is acknowledged."""
        return self.pump.session.settled and not self.link.pending

    # --- what the session asks for

    def _reading(self, what: Callable[[A], R], action: A) -> R:
        try:
            return what(action)
        except OSError as error:
            raise Blocked(f"{self.path}: cannot read, waiting: {reason(error)}") from error

    def _on_search(self, action: act.Search) -> act.Found:
        places = self.follower.chain.places
        found = self._reading(lambda act: places.find(*act), action)
        if not found.candidates:
            raise Blocked(f"{self.path}: no such file, waiting for it")
        return found

    def _measure(self, action: act.Measure) -> tuple[bytes, ...]:
        return self.follower.chain.places.measure(action.candidate, action.ranges)

    def _length(self, action: act.Length) -> int:
        return self.follower.chain.places.length(action.candidate)

    def _wait(self, action: act.Await) -> act.Candidate:
        return self.follower.chain.places.wait(action.candidate)

    def _start(self, action: act.Start) -> None:
        if not self.follower.start(action):
            raise LinkLost("the origin changed while both sides were compared")

    def _on_save(self, action: act.Save) -> None:
        generation = action.generation
        current = self.follower.generation
        if current is not None and current.key == generation.key:
            generation = current  # the same one, with a longer head by now
        self.acknowledged, self.acknowledged_to = True, action.offset
        try:
            self._status.save(Cursor(generation, action.offset), self.path)
            self._status_failed = False
        except OSError as error:
            if not self._status_failed:
                self._status_failed = True
                self._say("warning", f"{self._status.path}: cannot write: {reason(error)}")

    # --- what the loop calls

    def open(self, now: float) -> None:
        """The session's first words."""
        self.pump.take(self.pump.session.open(), now)

    def hear(self, now: float) -> None:
        """The link is readable."""
        self.pump.hear(now)
        self._report(now)

    def tend(self, now: float) -> None:
        """Do what is due: a retry, a word to the sink, a step of the digest, a reminder."""
        self.pump.tend(now)
        if now > self._moved and now >= self._leisure.due(self.follower.behind):
            self._leisure.took(now)
            self._rest()
        if now >= self._moved + QUIET:
            self.follower.release()
        self._report(now)

    def due(self) -> float:
        """When tend() has something to do at the latest."""
        leisure = self._leisure.due(self.follower.behind)
        return min(self.pump.due(), leisure, self._waiting.due)

    @property
    def waits_for(self) -> str:
        """What it waits for, in words."""
        if self._why:
            return f"better times: {self._why}"
        if self.link.pending:
            return "the line to take more"
        if self.greeting:
            return "what the other side has"
        return "news" if self.settled else "an acknowledgement"

    def deliver(self, now: float, limit: int = PIECE) -> bool:
        """Hand news of the origin to the session while the link takes it.

        limit: bytes in a piece at most.  Returns True when there may be more at once: call
        again, when the link takes it.
        """
        packer = self._packer
        limit = int(min(limit, self.link.piece))
        for _ in range(BATCH if packer is None else packer.batch(BATCH)):
            if not self.ready:
                return True  # nobody has asked the follower yet
            item = None  # nobody looks into the last piece any more, once it is sent
            item = self._next(now, limit if packer is None else packer.limit(limit))
            if item is None:
                if packer is not None:
                    packer.rest()
                return self.follower.ending
            self._complaint.over(now)
            self._moved = now
            self.pump.take(self.pump.session.deliver(item), now)
            if packer is not None:
                packer.sent()
        return True

    @property
    def ready(self) -> bool:
        """True when the link and the session would take news."""
        return self.pump.idle and self.pump.session.streaming and not self.link.pending

    def _next(self, now: float, limit: int) -> News | None:
        try:
            item = self.follower.next(now, limit)
            self._unread = ""
            if item is None:
                self._absence.look(now)
            return item
        except OSError as error:
            self._unread = f"cannot read, waiting: {reason(error)}"
            self._complaint.of(f"{self.path}: {self._unread}", now)
        except ConfigError as error:
            self._unread = str(error)
            self._complaint.of(f"{error}, waiting", now)
        return None

    def _rest(self) -> None:
        try:
            self.follower.rest(STEP)
        except OSError:
            pass  # the next read says what is wrong

    def bye(self, now: float) -> None:
        """An orderly end, in words."""
        self.pump.say(self.pump.session.bye(), now)

    def _report(self, now: float) -> None:
        """Say what holds us up, when it begins and once an hour."""
        if self.pump.trouble is not None:
            self._complaint.of(str(self.pump.trouble), now)
        unread = self._trouble or self._unread or self._absence.text
        if unread != self._unread_told:
            if unread == self._absence.text:
                level = "warning" if unread else "info"
                self._say(level, f"{self.path}: {unread or 'can be read again'}")
            self._unread_told = unread
            self.pump.say(self.pump.session.wait(unread), now)
        why = self._why
        if not why:
            self._waiting.ends()
            return
        self._waiting.begins(now)
        lasts = self._waiting.lasts(now)
        if lasts:
            self._say("warning", f"{self.path}: has waited for {lasts}: {why}")

    @property
    def _why(self) -> str:
        """Why nothing can go on for now, or an empty text."""
        if self._trouble:
            return self._trouble
        waiting = self.pump.session.waiting
        unread = self._unread or self._absence.text
        return f"the other side waits: {waiting}" if waiting else unread

    @property
    def _trouble(self) -> str:
        """What keeps us from carrying out what the session asks for, or an empty text."""
        trouble = self.pump.trouble
        return "" if trouble is None else str(trouble).removeprefix(f"{self.path}: ")
