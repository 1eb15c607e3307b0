"""The sink's side of version 2: say what is here, prove it, take bytes, acknowledge.

Without I/O: bytes from the link in, actions out.  The sink is the one that knows, so
whatever the source proposes is checked against what was offered: a cut never goes
below what is durable unless that is damaged, and bytes come without a hole.
"""

from __future__ import annotations

from typing import Any

from tcppipe.errors import LinkLost, NotNow, PeerError, Refused
from tcppipe.session import states
from tcppipe.session.actions import (
    Action,
    Append,
    AppendLate,
    Compare,
    Finish,
    Note,
    Offer,
    Open,
    Prove,
    Send,
)
from tcppipe.session.contract import SinkSession
from tcppipe.session.peer import Peer, reason_of
from tcppipe.wire import events as ev
from tcppipe.wire import packing
from tcppipe.wire.frames import MAX_COMPLETE, MAX_DATA, MINOR, encode

MAX_PROVED = 1 << 30  # bytes that one Probe may ask to read
AGAIN = 64  # times that all that was offered may be asked for, by all Probes …
LITTLE = 1 << 24  # … or so many bytes, when that is more
CHECKS = 2  # the minor version from which on a source sends Check, and knows Past


class Sink(Peer, SinkSession):
    """One connection's sink session."""

    table = states.SINK
    waits, goes_on = "the source waits", "the source goes on"

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._have: ev.Have | None = None
        self._proved = 0  # bytes that were asked for by now
        self._minor = 0  # the source's
        self._serial = 0  # Begins so far
        self._ended = 0  # … and how many of them were finished
        self._next: int | None = (
            None  # the offset that the next data must have; None: no generation open
        )
        self._checked = 0  # the last Check's offset

    def done(self, action: Action, result: Any) -> list[Action]:
        """The result of an Offer, a Prove or a Finish -> actions."""
        if isinstance(action, Offer):
            have, past = result
            self._have = have._replace(methods=packing.able(), minor=MINOR)
            return [*self._past(past), Send(encode(self._have))]
        if isinstance(action, Prove):
            return [Send(encode(ev.Proof(result)))]
        assert isinstance(action, Finish)
        length, digest = result
        self._ended += 1
        return [Send(encode(ev.Ended(self._ended, length, digest)))]

    def _past(self, past: list[ev.Complete]) -> list[Action]:
        """The Past frames of complete generations, for a source that knows them."""
        if self._minor < CHECKS:
            return []
        return [
            Send(encode(ev.Past(tuple(past[at : at + MAX_COMPLETE]))))
            for at in range(0, len(past), MAX_COMPLETE)
        ]

    def durable(self, serial: int, offset: int) -> list[Action]:
        """Everything below `offset` of the serial-th generation is durable -> actions."""
        return [Send(encode(ev.Ack(serial, offset)))]

    def wait(self, reason: str) -> list[Action]:
        """The destination cannot be written (reason), or can be again ("") -> actions."""
        return [Send(encode(ev.Wait(reason.encode(errors="replace"))))]

    def ask(self) -> list[Action]:
        """Ask whether the source lives, now -> actions."""
        return [Send(encode(ev.Ping(1)))]

    def fail(self, error: Exception) -> list[Action]:
        """Tell the source why the connection ends -> actions."""
        self.state = states.CLOSED
        retry = isinstance(error, NotNow) or not isinstance(error, Refused)
        return [Send(encode(ev.Failure(retry, str(error).encode(errors="replace"))))]

    # --- what the source says

    def _on_hello(self, hello: ev.Hello) -> list[Action]:
        self._minor = hello.version
        return [Offer(hello.sender, hello.about.decode(errors="replace"))]

    def _on_probe(self, probe: ev.Probe) -> list[Action]:
        have = self._offered()
        asked = sum(length for _first, length in probe.ranges)
        self._proved += asked
        if asked > MAX_PROVED or self._proved > AGAIN * max(LITTLE, have.end - have.first):
            raise PeerError("a probe asks for too much")
        for first, length in probe.ranges:
            if first < have.first or first + length > have.end:
                raise PeerError("a probe asks for what was not offered")
        return [Prove(probe.ranges)]

    def _on_begin(self, begin: ev.Begin) -> list[Action]:
        if self._serial == 0:
            self._check_start(begin)
        elif self._next is not None or not _may_follow(begin):
            raise PeerError("a generation begins where none may begin")
        self._serial += 1
        self._next = self._checked = begin.offset
        return [Open(begin, self._minor >= CHECKS)]

    def _check_start(self, begin: ev.Begin) -> None:
        have = self._offered()
        if begin.why == ev.Why.ADOPTED:
            if have.holding != ev.Holding.UNRECORDED or begin.offset != have.end:
                raise PeerError("only a whole destination without a ledger can be adopted")
        elif begin.why == ev.Why.RESUMED:
            spoilt = have.damaged or have.end < have.mark
            low = have.first if spoilt else max(have.first, have.mark)
            if have.holding != ev.Holding.RECORDED or not low <= begin.offset <= have.end:
                raise PeerError("the place to resume at is not in what was offered")

    def _on_data(self, data: ev.Data) -> list[Action]:
        if data.offset != self._next:
            raise PeerError(f"data from offset {data.offset} on, {self._next} was expected")
        self._next += len(data.data)
        if self._minor >= CHECKS and self._next - self._checked > MAX_DATA:
            raise PeerError("a data frame follows another one that was not checked")
        return [Append(data.offset, data.data)]

    def _on_check(self, check: ev.Check) -> list[Action]:
        if self._next is None or check.offset != self._next:
            raise PeerError(f"a check at {check.offset}, the data is at {self._next}")
        self._checked = check.offset
        return [Compare(*check)]

    def _on_end(self, end: ev.End) -> list[Action]:
        if end.length != self._next:
            raise PeerError(f"a generation of {end.length} bytes ends at {self._next}")
        if self._minor >= CHECKS and self._checked != self._next:
            raise PeerError("a generation ends behind data that was not checked")
        self._next = None
        return [Finish(end)]

    def _on_late(self, late: ev.Late) -> list[Action]:
        if self._next is None or late.serial >= self._serial:
            raise PeerError("late bytes where there can be none")
        return [AppendLate(late)]

    def _on_gap(self, gap: ev.Gap) -> list[Action]:
        return [Note(gap)]

    def _on_failure(self, failure: ev.Failure) -> list[Action]:
        raise LinkLost(reason_of(failure))

    def _offered(self) -> ev.Have:
        if self._have is None:
            raise PeerError("a frame came before the offer was made")
        return self._have


def _may_follow(begin: ev.Begin) -> bool:
    """True for a Begin that may come behind the first one of a connection."""
    return begin.why == ev.Why.REOPENED or (begin.why == ev.Why.NEXT and not begin.offset)
