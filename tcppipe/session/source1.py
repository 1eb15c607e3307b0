"""The source's side of version 1: whole lines, a question after each batch, a count as answer.

The sink cannot say what it has, so the status file is the only memory: the witness
stands in for the sink's Have.  A line that is not whole yet is held back, because the
original server would end it with a newline; one that grows too long for that is sent on
as it comes, and the question waits for its end.
"""

from __future__ import annotations

from typing import Any

from tcppipe.cursor import UNKNOWN, Bytes, Cursor
from tcppipe.errors import LinkLost, PeerError
from tcppipe.session import news, states
from tcppipe.session.actions import Action, Save, Say, Search, Send, Settle
from tcppipe.session.agree import agree
from tcppipe.session.contract import SourceSession
from tcppipe.wire import push1
from tcppipe.wire.events import Have, Holding, Why

HELD = 64 * 1024  # bytes of a line without an end that are held back


class LineSource(SourceSession):
    """One connection's source session with an original server."""

    def __init__(self, now: float, witness: Cursor | None = None, resend: bool = False) -> None:
        super().__init__(now)
        self.state = states.AGREEING
        self._witness = witness
        self._resend = resend
        self._agreement: Any = None
        self._encoder = push1.Encoder()
        self._line = b""  # bytes of a line whose end has not come
        self._cursor = Cursor(UNKNOWN, 0)  # behind the last byte that was given to us
        self._asked: tuple[set[int], Cursor | None, int] | None = (
            None  # (the counts that answer the open question, the Cursor to save, generations to settle)
        )
        self._answer = b""
        self._ended = 0  # generations that ended since the last question
        self._unasked = False  # a part of a line was sent, and no question after it

    def open(self) -> list[Action]:
        """The first actions."""
        return [Search(alone=self._witness is None or not self._witness.generation.head_len)]

    @property
    def streaming(self) -> bool:
        """True when news of the origin may be delivered: no question is open."""
        return self.state == states.STREAMING and self._asked is None

    def done(self, _action: Action, result: Any) -> list[Action]:
        """The result of what the agreement asked for -> actions."""
        if self._agreement is None:
            past = result.complete  # what was answered; nobody else can tell
            self._agreement = agree(self._stand_in(), result, self._witness, self._resend, past)
            result = None
        try:
            return [self._agreement.send(result)]
        except StopIteration as stop:
            plan = stop.value
        if plan is None:
            raise LinkLost("the origin has changed or is gone for now")
        self.state = states.STREAMING
        self._cursor = Cursor(plan.candidate.generation, plan.begin.offset)
        lost = [
            Say("critical", f"bytes lost: {gap.reason.decode(errors='replace')}")
            for gap in plan.gaps
        ]
        return [*lost, plan._replace(late=()).start(), Save(*self._cursor)]

    def _stand_in(self) -> Have:
        """What the sink would say of itself if it could, by the status file."""
        witness = self._witness
        if witness is None or not witness.generation.head_len:
            return Have(Holding.NOTHING)
        at = witness.offset
        return Have(Holding.RECORDED, generation=witness.generation, first=at, end=at, mark=at)

    def deliver(self, item: news.News) -> list[Action]:
        """News of the origin -> actions.  Only while streaming."""
        assert self.streaming
        if isinstance(item, news.Piece):
            self._cursor = self._cursor._replace(offset=item.offset + len(item.data))
            return self._lines(self._line + bytes(item.data))
        if isinstance(item, news.Began):
            self._cursor = Cursor(item.generation, 0)
        elif isinstance(item, news.Ended):
            if item.why == Why.REMOVED and not self._line and not self._unasked:
                return [Settle()]  # nothing may follow, and all of it has been answered
            self._ended += 1
        elif isinstance(item, news.Reopened):
            self._cursor = Cursor(item.generation, item.offset)
        elif isinstance(item, news.Note):
            return [Say(item.level, item.text)]
        elif isinstance(item, news.LateBytes):
            text = (
                f"{len(item.data)} bytes, written to a rotated file after it was complete, are "
                "dropped: version 1 cannot send them"
            )
            return [Say("critical", text)]
        elif isinstance(item, news.Lost):
            return [Say("critical", f"bytes lost from offset {item.first} on: {item.reason}")]
        return []

    def _lines(self, data: bytes) -> list[Action]:
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) < HELD:
            self._line = data
            return []
        if not whole:
            self._line = b""
            self._unasked = True
            return [Send(self._encoder.encode(data))]
        self._line = data[whole:]
        sent: list[Action] = [Send(self._encoder.encode(data[:whole]))]
        question, counts = self._encoder.boundary()
        behind = self._cursor.offset - len(self._line)
        # a line that began in the generation before is not to be skipped after a restart
        safe = self._cursor._replace(offset=behind) if behind >= 0 else None
        self._asked = (counts, safe, self._ended)
        self._ended = 0
        self._unasked = False
        return sent + [Send(question)]

    def receive(self, data: Bytes, now: float) -> list[Action]:
        """Bytes from the sink -> actions.  Raises PeerError when the answer is wrong."""
        self.keepalive.heard = now
        self._answer += bytes(data)
        line, newline, rest = self._answer.partition(b"\n")
        if not newline:
            if len(line) > 64:
                raise PeerError("the answer to a batch is not a count")
            return []
        self._answer = rest
        if self._asked is None:
            raise PeerError("an answer that nobody asked for")
        counts, cursor, ended = self._asked
        if push1.parse_count(line + newline) not in counts:
            raise PeerError(f"the answer names {line[1:].decode()} bytes, {min(counts)} were sent")
        self._asked = None
        saved: list[Action] = [Save(*cursor)] if cursor else []
        return saved + [Settle()] * ended

    @property
    def settled(self) -> bool:
        """True when no question is open."""
        return self._asked is None
