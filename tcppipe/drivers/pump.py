"""Carries out a session's actions, in their order, over one link.

An action that is Blocked stays at the head and is tried again after a pause; until then
nothing is read from the link, so the other side is held back by TCP alone and nothing
piles up here.

One call does a bounded amount of work, whatever a read has brought: one step that may touch
a disk, or so many that do not.  The rest waits in the same way, as something that is Busy:
whoever has the loop looks at everything else first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from tcppipe.drivers.trace import tracer
from tcppipe.errors import Blocked, Busy, TcppipeError
from tcppipe.files.buffer import Buffer
from tcppipe.net.link import Link
from tcppipe.session.actions import (
    Action,
    Append,
    Become,
    Compare,
    GiveBack,
    Save,
    Say,
    Send,
    Settle,
)
from tcppipe.session.contract import Session

LIGHT = (Append, Become, Compare, GiveBack, Save, Say, Send, Settle)
AT_ONCE = 1024  # of those that are done in one go


S = TypeVar("S", bound=Session)
# What carries an action of one type out; both its own type and its result are the action's.
Hands = Mapping[type[Action], Callable[[Any], Any]]


class More(Busy):
    """The next action has its turn when everything else has been looked at."""

    long = False


class Pump(Generic[S]):
    """One session and its link.  `now` is always seconds of a monotonic clock.

    hands: a function for each type of action that the pump does not carry out itself; its
    result, if it is not None, goes back into the session.  buffer: the Buffer to read into.
    blocked: the Blocked that holds us up, or None.
    last: the name of the action that was carried out last, for people.
    """

    def __init__(self, link: Link, session: S, hands: Hands, buffer: Buffer) -> None:
        self.link = link
        self.session = session
        self.hands = hands
        self.blocked: Blocked | None = None
        self.retry_at = 0.0
        self.last = "nothing"
        self._trace = tracer(link.peer, lambda: self.session)
        if self._trace is not None:
            session.trace = self._trace.say
        self._todo: deque[Action] = deque()
        self.buffer = buffer

    @property
    def trouble(self) -> Blocked | None:
        """The Blocked that people should know of, or None."""
        return None if isinstance(self.blocked, Busy) else self.blocked

    @property
    def idle(self) -> bool:
        """True when every action so far was carried out."""
        return not self._todo

    def take(self, actions: Iterable[Action], now: float) -> None:
        """Carry out these actions after those that wait already."""
        self._todo.extend(actions)
        if self.blocked is None:
            self.work(now)

    def first(self, action: Action, now: float) -> None:
        """Carry out this action before those that wait."""
        self._todo.appendleft(action)
        self.work(now)

    def hear(self, now: float) -> int:
        """Read from the link once, and carry out what follows; the number of bytes."""
        view = self.buffer.view()
        count = self.link.receive(view)
        if count:
            if self._trace is not None:
                self._trace.heard(count)
            try:
                actions = self.session.receive(view[:count], now)
            except TcppipeError as error:
                raise self._about_peer(error) from None
            self.take(actions, now)
        return count

    def work(self, now: float) -> None:
        """Carry out what waits, as far as it goes."""
        left = AT_ONCE
        while self._todo:
            action = self._todo[0]
            try:
                if not left:
                    raise More("more than is done in one go")
                more = self._perform(action, now)
            except Blocked as error:
                self.blocked = error
                self.retry_at = now + error.pause
                self._todo = deque(map(_kept, self._todo))
                return
            left = left - 1 if isinstance(action, LIGHT) else 0
            self._todo.popleft()
            self._todo.extendleft(reversed(more))
        self.blocked = None

    def tend(self, now: float) -> None:
        """Try a blocked action again when it is time, and let the session know the time."""
        if self.blocked is not None and now >= self.retry_at:
            self.work(now)
        try:
            actions = self.session.tick(now, deaf=bool(self._todo))
        except TcppipeError as error:
            raise self._about_peer(error) from None
        if actions and not self.link.pending:  # what waits there already is a sign of life, too
            self.say(actions, now)

    def _about_peer(self, error: TcppipeError) -> TcppipeError:
        """A session's errors do not know whom they are about."""
        return type(error)(f"{self.link.peer}: {error}")

    def say(self, actions: Iterable[Action], now: float) -> None:
        """Send at once, whatever waits: for a session's words that need no hands."""
        for action in actions:
            assert isinstance(action, Send)
            self._perform(action, now)

    def due(self) -> float:
        """When tend() has something to do at the latest."""
        due = self.session.due()
        return due if self.blocked is None else min(due, self.retry_at)

    def _perform(self, action: Action, now: float) -> list[Action]:
        self.last = type(action).__name__
        if isinstance(action, Send):
            self.session.keepalive.sent = now
            if self._trace is not None:
                self._trace.sent(action)
            self.link.send(*action)
            return []
        if isinstance(action, GiveBack):
            self.link.give_back(action.data)
            return []
        if isinstance(action, Become):
            self.session = action.session
            return []
        result = self.hands[type(action)](action)
        return [] if result is None else self.session.done(action, result)


def _kept(action: Action) -> Action:
    """An action that waits keeps its own few bytes, and not the whole buffer."""
    if isinstance(action, Append) and isinstance(action.data, memoryview):
        return action._replace(data=bytes(action.data))
    return action
