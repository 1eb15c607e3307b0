"""The sink's side of version 2: say what is here, prove it, take bytes, acknowledge.

Without I/O: bytes from the link in, actions out.  The sink is the one that knows, so
whatever the source proposes is checked against what was offered: a cut never goes
below what is durable unless that is damaged, and bytes come without a hole.
"""

from tcppipe.errors import LinkLost, PeerError, Refused
from tcppipe.session import states
from tcppipe.session.actions import Append, AppendLate, Finish, Note, Offer, Open, Prove, Send
from tcppipe.session.peer import Peer
from tcppipe.wire import events as ev
from tcppipe.wire import packing
from tcppipe.wire.frames import encode

MAX_PROVED = 1 << 30  # bytes that one Probe may ask to read


class Sink(Peer):
    """One connection's sink session."""

    table = states.SINK

    def __init__(self, now):
        super().__init__(now)
        self._have = None
        self._serial = 0  # Begins so far
        self._ended = 0  # … and how many of them were finished
        self._next = None  # the offset that the next data must have; None: no generation open

    def done(self, action, result):
        """The result of an Offer, a Prove or a Finish -> actions."""
        if isinstance(action, Offer):
            self._have = result._replace(methods=packing.able())
            return [Send(encode(self._have))]
        if isinstance(action, Prove):
            return [Send(encode(ev.Proof(result)))]
        assert isinstance(action, Finish)
        length, digest = result
        self._ended += 1
        return [Send(encode(ev.Ended(self._ended, length, digest)))]

    def durable(self, serial, offset):
        """Everything below `offset` of the serial-th generation is durable -> actions."""
        return [Send(encode(ev.Ack(serial, offset)))]

    def wait(self, reason):
        """The destination cannot be written (reason), or can be again ("") -> actions."""
        return [Send(encode(ev.Wait(reason.encode(errors="replace"))))]

    def ask(self):
        """Ask whether the source lives, now -> actions."""
        return [Send(encode(ev.Ping(1)))]

    def fail(self, error):
        """Tell the source why the connection ends -> actions."""
        self.state = states.CLOSED
        retry = not isinstance(error, Refused)
        return [Send(encode(ev.Failure(retry, str(error).encode(errors="replace"))))]

    # --- what the source says

    def _on_hello(self, hello):
        return [Offer(hello.sender, hello.about.decode(errors="replace"))]

    def _on_probe(self, probe):
        have = self._offered()
        if sum(length for _first, length in probe.ranges) > MAX_PROVED:
            raise PeerError("a probe asks for too much")
        for first, length in probe.ranges:
            if first < have.first or first + length > have.end:
                raise PeerError("a probe asks for what was not offered")
        return [Prove(probe.ranges)]

    def _on_begin(self, begin):
        if self._serial == 0:
            self._check_start(begin)
        elif begin.why != ev.Why.NEXT or begin.offset or self._next is not None:
            raise PeerError("a generation begins where none may begin")
        self._serial += 1
        self._next = begin.offset
        return [Open(begin)]

    def _check_start(self, begin):
        have = self._offered()
        if begin.why == ev.Why.ADOPTED:
            if have.holding != ev.Holding.UNRECORDED or begin.offset != have.end:
                raise PeerError("only a whole destination without a ledger can be adopted")
        elif begin.why == ev.Why.RESUMED:
            spoilt = have.damaged or have.end < have.mark
            low = have.first if spoilt else max(have.first, have.mark)
            if have.holding != ev.Holding.RECORDED or not low <= begin.offset <= have.end:
                raise PeerError("the place to resume at is not in what was offered")

    def _on_data(self, data):
        if data.offset != self._next:
            raise PeerError(f"data from offset {data.offset} on, {self._next} was expected")
        self._next += len(data.data)
        return [Append(data.offset, data.data)]

    def _on_end(self, end):
        if end.length != self._next:
            raise PeerError(f"a generation of {end.length} bytes ends at {self._next}")
        self._next = None
        return [Finish(end)]

    def _on_late(self, late):
        if self._next is None or late.serial >= self._serial:
            raise PeerError("late bytes where there can be none")
        return [AppendLate(late)]

    def _on_gap(self, gap):
        return [Note(gap)]

    def _on_failure(self, failure):
        raise LinkLost(failure.reason.decode(errors="replace"))

    def _offered(self):
        if self._have is None:
            raise PeerError("a frame came before the offer was made")
        return self._have
