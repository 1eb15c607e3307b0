"""One connection's sink: a link, a session and a copy brought together.

Bytes are appended as they come, synced in groups, and acknowledged then.
Does not wait and does not know the clock: whoever has the loop calls hear() when the link
is readable, tend() when due() says so, and gives the time.
A crash leaves what the copy leaves: the destination, and a ledger that can place it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Generic, TypeVar

from tcppipe.cursor import Generation
from tcppipe.drivers.leisure import STEP, Leisure
from tcppipe.drivers.pump import Pump
from tcppipe.drivers.syncing import AnyCopy, Marks, Syncs
from tcppipe.drivers.waits import Waits
from tcppipe.errors import Blocked, LinkLost, TcppipeError
from tcppipe.files.buffer import Buffer
from tcppipe.files.workers import Workers
from tcppipe.net.link import Link
from tcppipe.process.trouble import Say
from tcppipe.session import actions as act
from tcppipe.session.contract import SinkSession
from tcppipe.wire import events as ev

SLOW = 1.0  # seconds between two looks at a sync that is under way
LOOKS = (1.0, 5.0)  # seconds after the last byte when the destination is looked at
QUIET = 10.0  # seconds without data after which memory is given back
PROOF = 2.0  # seconds that a source has to prove that it lives, when another one asks
BUFFER = 1 << 20  # bytes read from the link at a time

C = TypeVar("C", bound=AnyCopy)
Claim = Callable[[bytes | None, str], None]


class Store(Generic[C]):
    """Serves one source.

    claim(sender, about): makes this process the pipe's only writer; raises Refused or LinkLost.
    syncer: whoever has the loop calls tend() when it says that a sync has ended.
    Methods raise LinkLost, PeerError, Refused, ConfigError or SyncFailed when it is over;
    call close() then.
    """

    def __init__(
        self,
        link: Link,
        session: SinkSession,
        copy: C,
        claim: Claim,
        say: Say,
        syncer: Workers,
    ) -> None:
        self.copy = copy
        self._claim = claim
        self._sender = b""
        self._generations: list[Generation | None] = []  # those begun; serials count from 1
        self._open = False  # a generation's bytes may come
        self._acknowledged: tuple[int, int] | None = None  # (serial, offset), said last
        self._heard = 0.0  # when data came last
        self._leisure = Leisure()
        self._looks = 0  # how many there were since the last byte
        self._prove_by: float | None = None
        self._now = 0.0
        path = copy.destination.path
        self.pump = Pump(link, session, {
            act.Offer: self._on_offer,
            act.OpenLines: self._on_open_lines,
            act.Open: self._on_open,
            act.Append: self._on_append,
            act.Compare: self._on_compare,
            act.AppendLate: self._on_late,
            act.Finish: self._on_finish,
            act.Flush: self._on_flush,
            act.Prove: lambda action: self.copy.prove(action.ranges),
            act.Note: lambda action: self.copy.gap(action.gap),
            act.Reopen: lambda _action: self.copy.reopen(),
            act.Say: lambda action: say(action.level, f"{path}: {action.text}"),
        }, Buffer(BUFFER))  # fmt: skip
        self._syncs = Syncs(copy, syncer)
        self._marks = Marks(copy, say)
        self._waits = Waits(self.pump, path, say)

    @property
    def link(self) -> Link:
        """The connection."""
        return self.pump.link

    @property
    def trouble(self) -> Blocked | None:
        """The Blocked that people should know of, or None."""
        return self.pump.trouble or self._syncs.trouble

    @property
    def deaf(self) -> bool:
        """True when nothing is to be read from the link: something waits for the disk."""
        return not self.pump.idle

    @property
    def told(self) -> str:
        """What the source was told last that we wait for, or ""."""
        return self._waits.told

    def say(self, text: str) -> None:
        """Tell the source at once that and why we wait ("": we do not); from any thread, if the
        link can be used by several."""
        self._send(self.pump.session.wait(text))

    def farewell(self, error: TcppipeError) -> None:
        """Tell the source why the connection ends, as far as it can be told."""
        self._send(self.pump.session.fail(error))

    def _send(self, actions: Iterable[act.Action]) -> None:
        try:
            for action in actions:
                assert isinstance(action, act.Send)
                self.link.send(*action)
        except LinkLost:
            pass  # whoever reads from it will find it out

    # --- what the session asks for

    def _on_offer(self, action: act.Offer) -> tuple[ev.Have, list[ev.Complete]]:
        self._claim(action.sender, action.about)
        self._sender = action.sender
        return self.copy.offer(action.sender), self.copy.past

    def _on_open_lines(self, _action: act.OpenLines) -> None:
        self._claim(None, "an original client")
        self.copy.begin_lines()
        self._open = True

    def _on_open(self, action: act.Open) -> None:
        self.copy.begin(action.begin, self._sender, action.checked)
        self._generations.append(self.copy.generation)
        self._open = True
        if self.copy.dirty:  # what was resumed from is acknowledged, too
            self._syncs.renewed(self._now)

    def _on_append(self, action: act.Append) -> None:
        self.copy.append(action.offset, action.data)
        self._heard, self._looks = self._now, 0
        self._syncs.wanted(self._now)

    def _on_compare(self, action: act.Compare) -> None:
        self.copy.compare(action.offset, action.crc)
        self._syncs.wanted(self._now)  # the sync that is to be acknowledged came before it

    def _on_late(self, action: act.AppendLate) -> None:
        serial, offset, data = action.late
        begun = 0 < serial <= len(self._generations)
        self.copy.append_late(self._generations[serial - 1] if begun else None, offset, data)

    def _on_finish(self, action: act.Finish) -> tuple[int, bytes]:
        result = self.copy.finish(action.end)
        self._syncs.over()
        self._acknowledge()
        self._open = False
        return result

    def _on_flush(self, _action: act.Flush) -> bool:
        self.copy.sync()
        self._syncs.over()
        return True

    def _acknowledge(self) -> None:
        """Tell the source what is durable, if that is news."""
        said = len(self._generations), self.copy.durable
        if self._acknowledged is None or said > self._acknowledged:
            self._acknowledged = said
            if self._now >= self._marks.due or not self.copy.marked:
                self._marks.make(self._now)
            self.pump.say(self.pump.session.durable(*said), self._now)

    # --- what the loop calls

    def hear(self, now: float) -> None:
        """The link is readable."""
        self._now = now
        count = self.pump.hear(now)
        if count:
            self._prove_by = None
            self.pump.buffer.used = max(self.pump.buffer.used, count)
        self._report()

    def tend(self, now: float) -> None:
        """Do what is due: a retry, a sync, a mark, a word to the source."""
        self._now = now
        if self._prove_by is not None and self.deaf:
            self._prove_by = now + PROOF  # it is we who do not listen for the moment
        if self._prove_by is not None and now >= self._prove_by:
            raise LinkLost(f"{self.link.peer}: silent, and another connection asks for the pipe")
        self.pump.tend(now)
        self._syncs.tend(now, self._heard)
        if self._open:
            self._acknowledge()
        if self._open and self.copy.unmarked and now >= self._marks.due:
            self._marks.make(now)
        if now >= self._look_at:
            self._looks += 1
            self._look()
        if now > self._heard and now >= self._leisure.due(self.copy.behind):
            self._leisure.took(now)
            self.copy.rest(STEP)
        if now >= self._heard + QUIET:
            self.pump.buffer.release()
        self._report()

    def _look(self) -> None:
        """Has somebody truncated or deleted the destination behind our last bytes?"""
        try:
            if not self.deaf:
                self.copy.look()
        except (OSError, Blocked):
            pass  # the next append says what is wrong

    def due(self, now: float) -> float:
        """When tend() has something to do at the latest."""
        times = [now + 60.0, self.pump.due(), self._syncs.due(now, self._heard)]
        times.append(self._leisure.due(self.copy.behind))
        if self.copy.syncing:
            times.append(now + SLOW)  # it may have to be said that it takes long
        times.append(self._look_at)
        if self._open and self.copy.unmarked:
            times.append(self._marks.due)
        if self.pump.buffer.large:
            times.append(self._heard + QUIET)
        if self._prove_by is not None:
            times.append(self._prove_by)
        return min(times)

    @property
    def _look_at(self) -> float:
        if not self._open or self._looks == len(LOOKS):
            return inf
        return self._heard + LOOKS[self._looks]

    def reopen(self, now: float) -> None:
        """Open the destination by its name again; before anything else that waits."""
        self.pump.first(act.Reopen(), now)
        self._report()

    def prove(self, now: float) -> None:
        """Another connection asks for this pipe: does our source still live?"""
        if self.trouble is not None:
            raise LinkLost(f"{self.link.peer}: gives way to another connection while waiting")
        self._prove_by = now + PROOF
        self.pump.say(self.pump.session.ask(), now)

    def close(self, clean: bool = True) -> None:
        """Let go of the copy; clean: with everything synced and recorded as such."""
        self.copy.close(clean)

    def _report(self) -> None:
        self._waits.report(self.trouble, self._now)
