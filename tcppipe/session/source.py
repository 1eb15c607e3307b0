"""The source's side of version 2: greet, agree where to start, stream, take acknowledgements.

Without I/O: bytes from the link and news of the origin in, actions out.  Does not
know whether it dialled or was dialled.
"""

from __future__ import annotations

import zlib
from typing import Any, Protocol

from tcppipe.cursor import Bytes, Cursor, Generation
from tcppipe.errors import LinkLost, PeerError, Refused
from tcppipe.session import news, states
from tcppipe.session.actions import Action, Asks, Save, Say, Search, Send, Settle
from tcppipe.session.agree import REOPENS, agree
from tcppipe.session.contract import SourceSession
from tcppipe.session.peer import Peer, reason_of
from tcppipe.session.plan import Plan
from tcppipe.wire import events as ev
from tcppipe.wire.frames import MAX_DATA, MINOR, data_header, encode, packed_header

CHECKS = WAITS = 2  # the minor version from which on a sink knows Check, and takes a Wait
MOST_PAST = 1 << 14  # complete generations that are taken from a sink


class Packs(Protocol):
    """What packs pieces, if it pays: drivers/packer."""

    def offered(self, methods: int) -> str | None:
        """A sink can unpack so: a line worth saying, or None."""

    def pack(self, data: Bytes) -> tuple[int, bytes] | None:
        """(method, packed bytes), or None: it is to go plain."""


class Source(Peer, SourceSession):
    """One connection's source session.

    sender: 16 bytes that name this run of the program.  witness: the status file's
    Cursor or None.  resend: send the whole origin once more.  packer: packs pieces for a sink
    that can unpack (offered() and pack() of drivers/packer), or None.
    """

    table = states.SOURCE
    waits, goes_on = "the other side waits", "the other side goes on"

    def __init__(
        self,
        sender: bytes,
        about: str,
        now: float,
        witness: Cursor | None = None,
        resend: bool = False,
        packer: Packs | None = None,
    ) -> None:
        super().__init__(now)
        self._hello = ev.Hello(MINOR, sender, resend, about.encode(errors="replace"))
        self._witness = witness
        self._resend = resend
        self._packer = packer
        self._have: ev.Have | None = None
        self._past: list[ev.Complete] = []  # generations that the sink has to their end
        self._crc = 0  # of the present generation's bytes, from its Begin on
        self._agreement: Asks[Plan | None] | None = None
        self._asked = 0  # digests that the last Probe asked for
        self._sent = self._acknowledged = (0, 0)  # (serial, offset)
        self._begun: list[
            Generation
        ] = []  # the generation that each Begin of this connection named

    def open(self) -> list[Action]:
        """The first actions."""
        hello = self._hello
        if self._witness is not None:
            hello = hello._replace(
                witness_offset=self._witness.offset, witness=self._witness.generation
            )
        return [Send(encode(hello))]

    @property
    def calm(self) -> bool:
        """True when no answer of the sink is waited for."""
        return self.streaming and self.settled

    def done(self, _action: Action, result: Any) -> list[Action]:
        """The result of what the agreement asked for -> actions."""
        if self._agreement is None:
            assert self._have is not None
            self._agreement = agree(self._have, result, self._witness, self._resend, self._past)
            result = None
        return self._agree(result)

    def deliver(self, item: news.News) -> list[Action]:
        """News of the origin (files/news) -> actions.  Only while streaming."""
        assert self.streaming
        if isinstance(item, news.Piece):
            assert len(item.data) <= MAX_DATA
            self._sent = (len(self._begun), item.offset + len(item.data))
            return self._data(item.offset, item.data)
        if isinstance(item, news.Ended):
            return [Send(encode(ev.End(item.why, item.length, item.digest)))]
        if isinstance(item, news.LateBytes):
            serials = [n for n, g in enumerate(self._begun, 1) if g.key == item.generation.key]
            late = ev.Late(serials[-1] if serials else 0, item.offset, item.data)
            return [Send(encode(late))]
        if isinstance(item, news.Began):
            return self._begin(ev.Begin(ev.Why.NEXT, item.generation, 0))
        if isinstance(item, news.Note):
            return [Say(item.level, item.text)]
        if isinstance(item, news.Reopened):
            if self._minor < REOPENS:
                raise LinkLost("a rotation was undone")  # the next agreement finds the place
            return self._begin(ev.Begin(ev.Why.REOPENED, item.generation, item.offset))
        assert isinstance(item, news.Lost)
        gap = ev.Gap(item.generation, item.first, item.last, item.reason.encode(errors="replace"))
        return self._gap(gap)

    def _data(self, offset: int, data: Bytes) -> list[Action]:
        check = self._check(offset, data)
        packed = self._packer.pack(data) if self._packer is not None else None
        if packed is None:
            return [Send(data_header(offset, len(data)), data, check)]
        method, less = packed
        return [Send(packed_header(method, offset, len(data), len(less)), less, check)]

    @property
    def _minor(self) -> int:
        """The minor version that the sink speaks."""
        assert self._have is not None
        return self._have.minor

    def _check(self, offset: int, data: Bytes) -> bytes:
        """What lets the sink compare these bytes, and all before them, with what we have read."""
        if self._minor < CHECKS:
            return b""
        self._crc = zlib.crc32(data, self._crc)
        return encode(ev.Check(offset + len(data), self._crc))

    def wait(self, reason: str) -> list[Action]:
        """The origin cannot be read (reason), or can be again ("") -> actions."""
        if self._have is None or self._have.minor < WAITS:
            return []
        return [Send(encode(ev.Wait(reason.encode(errors="replace"))))]

    def bye(self) -> list[Action]:
        """An orderly end -> actions."""
        self.state = states.CLOSED
        return [Send(encode(ev.Bye()))]

    @property
    def settled(self) -> bool:
        """True when everything that was sent is acknowledged."""
        return self._sent == self._acknowledged

    # --- what the sink says

    def _on_past(self, past: ev.Past) -> list[Action]:
        self._past += past.complete
        if len(self._past) > MOST_PAST:
            raise PeerError("more complete generations than anybody remembers")
        return []

    def _on_have(self, have: ev.Have) -> list[Action]:
        if have.first > have.end or have.tail_len > have.mark:
            raise PeerError("what the sink has ends before it begins")
        self._have = have
        return self._offered(have.methods) + self._look_for(have)

    def _offered(self, methods: int) -> list[Action]:
        line = self._packer.offered(methods) if self._packer is not None else None
        return [Say("info", line)] if line else []

    def _look_for(self, have: ev.Have) -> list[Action]:
        known = have.holding == ev.Holding.RECORDED or have.generation.ino
        return [Search(alone=not known and self._witness is None)]

    def _on_proof(self, proof: ev.Proof) -> list[Action]:
        if self._agreement is None or not self._asked or len(proof.digests) != self._asked:
            raise PeerError("a proof that nobody asked for")
        self._asked = 0
        return self._agree(proof.digests)

    def _on_ack(self, ack: ev.Ack) -> list[Action]:
        if not 0 < ack.serial <= len(self._begun):
            raise PeerError("an acknowledgement of a generation that was not sent")
        if (ack.serial, ack.offset) > self._sent:
            raise PeerError("an acknowledgement of bytes that were not sent")
        self._acknowledged = (ack.serial, ack.offset)
        return [Save(self._begun[ack.serial - 1], ack.offset)]

    def _on_ended(self, _ended: ev.Ended) -> list[Action]:
        return [Settle()]

    def _on_failure(self, failure: ev.Failure) -> list[Action]:
        reason = reason_of(failure)
        raise LinkLost(reason) if failure.retry else Refused(reason)

    # --- the agreement

    def _agree(self, digests: Any) -> list[Action]:
        """Give the agreement what it asked for, and turn what it asks next into actions."""
        try:
            assert self._agreement is not None
            asked = self._agreement.send(digests)
        except StopIteration as stop:
            return self._settle(stop.value)
        if not isinstance(asked, ev.Probe):
            return [asked]
        self._asked = len(asked.ranges)
        return [Send(encode(asked))]

    def _settle(self, plan: Plan | None) -> list[Action]:
        self._agreement = None
        if plan is None:
            raise LinkLost("the origin has changed or is gone for now")
        # a gap is told once the file has proved to be what it was when the gap was found
        gaps = [action for gap in plan.gaps for action in self._gap(gap)]
        doubts = [Say("critical", plan.doubt)] if plan.doubt else []
        return [plan.start(), *gaps, *doubts, *self._begin(plan.begin)]

    def _begin(self, begin: ev.Begin) -> list[Action]:
        self.state = states.STREAMING
        self._begun.append(begin.generation)
        self._crc = 0
        self._sent = (len(self._begun), begin.offset)
        return [Send(encode(begin))]

    def _gap(self, gap: ev.Gap) -> list[Action]:
        return [
            Say(
                "critical",
                f"bytes lost from offset {gap.first} on: {gap.reason.decode(errors='replace')}",
            ),
            Send(encode(gap)),
        ]
