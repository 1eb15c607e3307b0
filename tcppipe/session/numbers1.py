"""The source's side of the pull pair's version 1: an answer, then the bytes of one generation.

The client says which inode it has and how many bytes of it.  It cannot be told that a
generation has ended, only by closing; it comes back then, and gets the one after it.
Bytes 0x07 are signs of life, and go out as 0xff.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import inf
from typing import Any

from tcppipe.cursor import NO_DIGEST, Bytes
from tcppipe.errors import LinkLost
from tcppipe.rotated import arrange
from tcppipe.session import news, states
from tcppipe.session.actions import Action, Candidate, Found, Say, Search, Send, Start
from tcppipe.session.contract import SourceSession
from tcppipe.session.known import size_of
from tcppipe.wire import pull1

QUIET = 60.0  # seconds without data after which a sign of life is sent


# What a pick asks for and is told, and the result: (is the asked-for one known, the Candidate to
# serve, from where on, what follows).
Picking = Generator[Any, Any, tuple[bool, Candidate, int, list[Candidate]]]


class ByteSource(SourceSession):
    """One connection's source session with an original client.

    number: a function that gives the inode number of a Candidate, of a compressed one too.
    """

    def __init__(
        self, inode: int, offset: int, number: Callable[[Candidate], int], now: float
    ) -> None:
        super().__init__(now)
        self.state = states.AGREEING
        self._inode = inode
        self._offset = offset
        self._number = number
        self._picking: Picking | None = None
        self._passed: list[tuple[Candidate, int]] = []  # what cannot be read, from where on

    def open(self) -> list[Action]:
        """The first actions."""
        return [Search()]

    def done(self, action: Action, result: Any) -> list[Action]:
        """The result of a Search or a Length -> actions.  Raises LinkLost when there is no
        answer."""
        if isinstance(action, Search):
            self._picking = self._pick(result)
            result = None
        try:
            assert self._picking is not None
            return [self._picking.send(result)]
        except StopIteration as stop:
            found, candidate, offset, later = stop.value
        size = candidate.size
        if size is not None and offset > size:
            raise LinkLost(f"{candidate.name}: asked for from {offset}, has {size} bytes")
        self.state = states.STREAMING
        answer = pull1.answer(found, self._number(candidate))
        quiet = pull1.ALIVE if offset == size else b""
        start = Start(candidate, offset, (0, NO_DIGEST), later=tuple(later))
        lost = [
            Say("critical", f"bytes lost from offset {first} on: {c.name}: {c.trouble}")
            for c, first in self._passed
        ]
        return [start, *lost, Send(answer + quiet)]

    def _pick(self, found: Found) -> Picking:
        """(is the asked-for one known, the Candidate to serve, from where on, what follows)."""
        candidates = [c for c in found.candidates if c.live or c.rotated]
        if not candidates:
            raise LinkLost("no such file for now")
        live = candidates[-1]
        if not self._inode:
            return True, live, self._offset, []
        mine = [c for c in candidates if self._number(c) == self._inode]
        candidate = next((c for c in mine if not c.trouble), None)
        if candidate is None:
            self._passed = [(c, self._offset) for c in mine]
            return False, live, 0, []
        if candidate.live:
            return True, candidate, self._offset, []
        rotated = [c for c in candidates if not c.live]
        later = self._behind(arrange(rotated, found.path, None, candidate), candidate)
        later += [live] if live.live else []
        size = yield from size_of(candidate)
        if later and size == self._offset:
            return True, later[0], 0, later[1:]
        return True, candidate, self._offset, later

    def _behind(self, row: list[Candidate], candidate: Candidate) -> list[Candidate]:
        """What follows it in a row, as far as it can be read: its client cannot be told to wait."""
        later = row[row.index(candidate) + 1 :]
        self._passed = [(c, 0) for c in later if c.trouble]
        return [c for c in later if not c.trouble]

    def deliver(self, item: news.News) -> list[Action]:
        """News of the origin -> actions.  Raises LinkLost when the generation has ended."""
        if isinstance(item, news.Piece):
            return [Send(pull1.outgoing(bytes(item.data)))]
        if isinstance(item, news.Ended):
            raise LinkLost("the generation has ended")
        if isinstance(item, news.Note):
            return [Say(item.level, item.text)]
        if isinstance(item, news.LateBytes):
            text = (
                f"{len(item.data)} bytes, written to a rotated file after it was complete, are "
                "dropped: version 1 cannot send them"
            )
            return [Say("critical", text)]
        if isinstance(item, news.Lost):
            return [Say("critical", f"bytes lost from offset {item.first} on: {item.reason}")]
        return []

    def receive(self, _data: Bytes, _now: float) -> list[Action]:
        """An original client has nothing more to say."""
        return []

    def tick(self, now: float, deaf: bool = False) -> list[Action]:
        """Time passes -> actions."""
        if self.streaming and now >= self.due():
            self.keepalive.sent = now
            return [Send(pull1.ALIVE)]
        return []

    def due(self) -> float:
        """When tick() has something to do."""
        return self.keepalive.sent + QUIET if self.streaming else inf
