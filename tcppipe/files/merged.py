"""One pipe's share of a destination that several pipes are merged into.

Only whole lines are appended, in turns: under a lock on the destination, what has gathered is
recorded in the shared ledger (files/sharedledger), durably, with its place and a checksum; then it is
appended and made durable.  So after a crash the last record is either proved by what stands in
the destination, or what stands there of it is cut off (and kept) and comes again.  The pipe's
cursor is its last record: bytes in the destination belong to nobody by themselves.

What the ledger tells is looked for by content (files/footing).  When the destination has less than
that, being restored from a backup, truncated or torn, all pipes go back to what is there, and
send the rest again.  When it has more, because the ledger is older or lost, lines that come again
are looked for among what no record tells of (files/claims), and are not appended twice.

The end of a line that has not come yet is held back, and is not acknowledged.  Bytes are never
altered; but where the destination does not end with a newline the next one to append puts one
before his lines, so that no line is glued to another's.

A turn is taken in a thread (files/turns): waiting for the lock, the disk or a search never stops
the loop.
"""

from __future__ import annotations

import hashlib
import zlib
from contextlib import suppress

from tcppipe.cursor import HEAD, NO_DIGEST, UNKNOWN, Bytes, Generation
from tcppipe.errors import ConfigError, SyncFailed
from tcppipe.files import words
from tcppipe.files.blocked import blocked
from tcppipe.files.claims import Claims
from tcppipe.files.destination import Destination
from tcppipe.files.footing import Footing
from tcppipe.files.fs import FS, REAL
from tcppipe.files.lock import lock
from tcppipe.files.rolling import Hash
from tcppipe.files.sharedledger import Hold, SharedLedger
from tcppipe.files.sharedrecords import (
    before,
    done_record,
    empty_record,
    generation_of,
    others,
    proved_generation,
)
from tcppipe.files.spelling import Value
from tcppipe.files.turns import LockedTurns
from tcppipe.files.unmerged import Ranges, Unmerged
from tcppipe.files.workers import Workers
from tcppipe.process.trouble import Say
from tcppipe.wire.events import Begin, Complete, End, Gap, Have, Holding, Why

LONGEST = 8 << 20  # bytes of one line that are held back; a longer one goes in pieces …
LONGEST_LATE = 1 << 20  # … as a late one does, each of them a line
MOST = 16 << 20  # bytes that wait for their turn at most
PASSING = ("late", "claims", "before", "pad", "part", "n")  # what a record tells of itself alone
STOP = 1.0  # seconds that a turn has to end when the pipe ends
WINDOW = 1024  # bytes below the cursor whose digest proves the origin later
WHY = {
    Why.WITNESSED: "no record of this pipe; goes on where the source says",
    Why.RESENT: "the whole origin is sent once more",
    Why.FORKED: "the origin was rewritten; its new content goes behind the old",
    Why.LOST: "the origin's old generation is gone; goes on with a later one",
}


class MergedCopy:
    """Has the methods of files.copy.Copy, for the pipe `key` (text) of a merged destination.

    destination: a Destination.  shared: the path of the destination's own ledger.  own: that of
    the ledger that the pipe has when it is not merged, or None.  worker: has the start() of
    some Workers.  hold: the function files.lock.lock.
    """

    unmarked = False  # each record is its own mark
    marked = True
    behind = 0  # a digest is made of what comes, and not of what stands here

    def __init__(
        self,
        destination: Destination,
        shared: str,
        key: str,
        say: Say,
        fs: FS = REAL,
        own: str | None = None,
        worker: Workers | None = None,
        hold: Hold = lock,
    ) -> None:
        self.destination = destination
        self.fs = fs
        self.end = 0  # of the generation, bytes held back included
        self.durable = 0  # the generation's bytes below are recorded, and there
        self.generation = UNKNOWN
        self.dirty = False  # what is recorded was told
        self._say = say
        self._key = key
        self._own = own
        self._ledger = SharedLedger(shared, key, self._note, fs, hold)
        self._turns = LockedTurns(destination.path, self._ledger, say, worker)
        self._footing = Footing(destination, self._ledger, key, self._turns.note)
        self._claims = Claims(destination, self._ledger)
        # the pipe as it was before it was merged, until it goes on
        self._unmerged: Unmerged | None = None
        self._begun = self._lines = False  # lines: version 1
        self._gathered = bytearray()  # what comes behind `durable`
        # the generation's first bytes, below it; None: known by the record
        self._head: bytes | None = None
        self._before = b""  # its bytes just below
        # the digest of all that came, from offset 0 on; or None
        self._sha: Hash[bytes] | None = None
        self._checked = False  # the source says what it has read: nothing else is appended
        self._unchecked = bytearray()  # what it has not said yet
        self._crc = 0  # CRC-32 of what came since the Begin
        # of which generation the beginning of a late line is held back
        self._late: tuple[tuple[int, ...] | None, bytes] = None, b""
        # the End that was recorded last, and the answer to it
        self._finished: tuple[End, tuple[int, bytes]] | None = None

    def _note(self, level: str, text: str) -> None:
        """What the ledger has to say of itself."""
        self._turns.note(level, text, self._ledger.path)

    @property
    def syncing(self) -> bool:
        """True while a turn is under way."""
        return self._turns.present is not None

    @property
    def _ours(self) -> Value:
        """The pipe's last record, which there is."""
        assert self._ledger.state is not None
        return self._ledger.state

    @property
    def previous(self) -> Generation:
        """The generation before."""
        return (self._before_this() or [Complete(UNKNOWN, 0)])[-1].generation

    @property
    def past(self) -> list[Complete]:
        """The generations that are here to their end, as Complete, oldest first."""
        record, complete = self._ledger.state, self._ledger.complete
        if record is None or record.get("gone"):
            return complete
        generation, length = generation_of(record), record["to"]
        if not record["closed"]:  # it goes on
            return others(complete, generation)
        if any((c.generation.key, c.length) == (generation.key, length) for c in complete):
            return complete
        # a crash came between the two records
        return [*others(complete, generation), Complete(generation, length)]

    def _before_this(self) -> list[Complete]:
        """Those of them that came before the one that was recorded last."""
        record = self._ledger.state
        if record is None or record.get("gone"):
            return self.past
        return before(self.past, generation_of(record), record["closed"])

    def open(self) -> None:
        """Open the destination.  Raises Blocked or ConfigError."""
        if self.destination.fd < 0:
            with blocked(self.destination.path, "cannot open"):
                self.destination.open()

    # --- the agreement

    def offer(self, sender: bytes) -> Have:
        """What was recorded of this pipe, as a Have.  Raises Waiting until it is known, Blocked."""
        self.open()
        self._begun, self._gathered = False, bytearray()
        return self._turns.take("offer", "cannot read", lambda _turn: self._offer(sender))

    def _offer(self, sender: bytes) -> Have:
        self._footing.be_ready(whole=True)
        record = self._ledger.state
        self.end = self.durable = 0
        if record is None or record.get("gone"):
            self._claims.begin(None)
            return self._offer_unmerged(sender)
        self._claims.begin(record)
        self.end = self.durable = at = record["to"]
        row = self._before_this()
        return Have(
            Holding.RECORDED, True, False, record["closed"],
            record["resent"] == sender.hex() and bool(sender), False,
            proved_generation(record), at, at, at, record["tail_len"],
            bytes.fromhex(record["tail"]), *(row[-1] if row else Complete(UNKNOWN, 0)),
        )  # fmt: skip

    def _offer_unmerged(self, sender: bytes) -> Have:
        """There is no record of this pipe: it may not have been merged until now."""
        self._let_go()
        found = Unmerged(self.destination, self._own, self._ledger, self._turns.note)
        have = found.offer(sender)
        if have.holding == Holding.RECORDED:
            self._unmerged = found
        return have

    def _let_go(self) -> None:
        if self._unmerged is not None:
            self._unmerged.close()
            self._unmerged = None

    def prove(self, ranges: Ranges) -> tuple[bytes, ...]:
        """Digests of what was offered: of a share there are none."""
        if self._unmerged is not None:
            return self._unmerged.prove(ranges)
        return tuple(NO_DIGEST for _ in ranges)

    def begin(self, begin: Begin, sender: bytes = b"", checked: bool = False) -> None:
        """Make ready for a generation's bytes from begin.offset on.  Raises Waiting, Blocked.

        checked: compare() will be called behind them, and nothing is appended before that.
        """
        if begin.why == Why.ADOPTED:
            raise ConfigError(f"{self.destination.path}: merged, nothing can be adopted")
        held = self._turns.take(
            ("begin", begin), "cannot begin", lambda _turn: self._begin(begin, sender)
        )
        self.end, self.durable = begin.offset, begin.offset - len(held)
        self.generation = generation_of(self._ledger.state)
        self._head = None if self.durable else b""
        self._before, self._gathered = b"", bytearray(held)
        self._sha = None if begin.offset else hashlib.sha256()
        self._begun, self._late, self.dirty = True, (None, b""), True
        self._checked, self._unchecked, self._crc = checked, bytearray(), 0

    def _begin(self, begin: Begin, sender: bytes) -> bytes:
        held = b""
        if self._unmerged is not None:
            if begin.why == Why.RESUMED:
                held = self._unmerged.carry_over(begin, sender, self._key)
            self._let_go()
        record = self._ledger.state
        if begin.why == Why.RESUMED and record is not None:
            if record["to"] != begin.offset - len(held):
                raise self._set_back()
            return held
        if begin.why in WHY:
            self._turns.note("warning", WHY[begin.why])
        resent = sender.hex() if begin.why == Why.RESENT else (record or {}).get("resent", "")
        new = empty_record(self._key, begin.generation, begin.offset, resent)
        new["claimed"] = (record or {}).get("claimed")
        self._ledger.write(new)
        return b""

    def _set_back(self) -> SyncFailed:
        return SyncFailed(f"{self.destination.path}: holds less than was sent; goes on from there")

    # --- the stream

    def append(self, offset: int, data: Bytes) -> None:
        """Take bytes of the generation, which wait for their turn.  Raises Waiting, Blocked."""
        if len(self._gathered) >= MOST and not self.synced():
            self.begin_sync()
            raise self._turns.waiting()
        data = bytes(data)[self.end + len(self._unchecked) - offset :]
        if self._checked:
            self._unchecked += data
        else:
            self._gather(data)

    def compare(self, offset: int, crc: int) -> None:
        """The source has read bytes with this CRC-32 from the Begin up to `offset`.

        Raises SyncFailed when they are not those that came.
        """
        crc_here = zlib.crc32(self._unchecked, self._crc)
        if crc_here != crc:
            raise SyncFailed(
                f"{self.destination.path}: bytes below offset {offset} are not those that were read "
                "at the origin; they are sent again (check memory and network)"
            )
        self._gather(self._unchecked)
        self._unchecked, self._crc = bytearray(), crc_here

    def _gather(self, data: Bytes) -> None:
        self._gathered += data
        self.end += len(data)
        if self._sha is not None:
            self._sha.update(data)

    def _ripe(self, all_of_it: bool = False) -> int:
        """How many of the gathered bytes are whole lines."""
        whole = self._gathered.rfind(b"\n", 0, LONGEST) + 1
        if not whole and (all_of_it or len(self._gathered) > LONGEST):
            whole = min(LONGEST, len(self._gathered))
        return whole

    def begin_sync(self, worker: Workers | None = None, all_of_it: bool = False) -> None:
        """Append the whole lines that have gathered; synced() tells when it is done."""
        if self._turns.present is None and (whole := self._ripe(all_of_it)):
            text = bytes(self._gathered[:whole])
            self._turns.begin("put", "cannot append", lambda _turn: self._put(text), worker)

    def synced(self) -> bool:
        """True when the turn that was begun is over.  Raises Blocked and SyncFailed.

        Blocked also when it takes long.
        """
        if not self._turns.over("put"):
            self._turns.complain()
            return False
        self._put_done(self._turns.end().result)
        return True

    def _put_done(self, to: int) -> None:
        count = to - self.durable
        text = bytes(self._gathered[:count])
        del self._gathered[:count]
        self._head = None if self._head is None else (self._head + text)[:HEAD]
        self._before = (self._before + text)[-WINDOW:]
        self.durable = to

    def sync(self) -> int:
        """Append all whole lines that have gathered; the offset below which they are there.

        In version 1 what is answered is all that came, so all of it is appended, and the rest of a
        line behind it.  Raises Waiting until it is done, Blocked and SyncFailed.
        """
        while self.syncing or self._ripe(self._lines):
            self.begin_sync(all_of_it=self._lines)
            if not self.synced():
                raise self._turns.waiting()
        return self.durable

    def _put(self, text: bytes, closed: bool = False) -> int:
        """In a turn: append lines of the generation; the offset behind them."""
        self._footing.be_ready()
        if self._lines:
            self._footing.write({"pipe": "", "to": 0, "closed": False}, text)
            return self.durable + len(text)
        record = self._ledger.state
        done = -1 if record is None else record["to"] - self.durable
        if (
            record is None
            or not 0 <= done <= len(text)
            or generation_of(record).key != self.generation.key
        ):
            raise self._set_back()
        claimed, note = self._claims.take(text[done:], self._footing.piece)
        if claimed:
            self.destination.sync()
            new = self._next(record, claimed, text[: done + claimed])
            self._ledger.write({**new, "bytes": 0, **note})
            record, done = self._ours, done + claimed
        if done < len(text) or closed != record["closed"]:
            self._append(record, text, done, closed)
        to: int = self._ours["to"]
        return to

    def _append(self, record: Value, text: bytes, done: int, closed: bool) -> None:
        lines = text[done:]
        new = {**self._next(record, len(lines), text), "closed": closed}
        if lines:
            new["claimed"] = None
            self._claims.end()
        self._footing.write(new, lines, closed)

    def _next(self, record: Value, count: int, text: bytes) -> Value:
        """The record behind another one: the pipe is `count` bytes further, behind `text`."""
        new = {key: value for key, value in record.items() if key not in PASSING}
        new["to"] += count
        if self._head is not None:
            head = (self._head + text)[:HEAD]
            new["head_len"], new["head"] = len(head), hashlib.sha256(head).hexdigest()
        if count:
            tail = (self._before + text)[-WINDOW:]
            new["tail_len"], new["tail"] = len(tail), hashlib.sha256(tail).hexdigest()
        return new

    # --- late bytes, ends and gaps

    def append_late(self, generation: Generation | None, offset: int, data: Bytes) -> None:
        """Append lines that were added to a generation after its end.  Raises Waiting, Blocked."""
        self.synced()
        of = generation.key if generation else self._late_of(offset)
        known = self._ledger.lengths.get(of) if of is not None else None
        held = self._late[1] if self._late[0] == of else b""
        if of is None or known is None or offset > known + len(held):
            self._say(*words.dropped(self.destination.path, len(data)))
            return
        text = held + bytes(data)[max(0, known + len(held) - offset) :]
        whole = text.rfind(b"\n") + 1 or (len(text) if len(text) >= LONGEST_LATE else 0)
        if whole:
            late = {"of": list(of), "to": known + whole}
            lines = text[:whole]
            self._turns.take(
                ("late", of, offset), "cannot append", lambda _turn: self._put_late(late, lines)
            )
        self._late = of, text[whole:]

    def _late_of(self, offset: int) -> tuple[int, ...] | None:
        """Which of the generations before this connection may have grown from an offset on."""
        for complete in reversed(self._ledger.complete):
            of = complete.generation.key
            held = len(self._late[1]) if self._late[0] == of else 0
            if complete.length <= offset <= self._ledger.lengths[of] + held:
                return of
        return None

    def _put_late(self, late: Value, lines: bytes) -> None:
        self._footing.be_ready()
        missing = late["to"] - self._ledger.lengths.get(tuple(late["of"]), 0)
        record = self._ledger.state
        if missing > 0 and record is not None:
            new = {**self._next(record, 0, b""), "late": late}
            self._footing.write(new, lines[len(lines) - missing :], closed=True)

    def look(self) -> None:
        """Each turn looks for itself."""

    def mark(self) -> None:
        """Each record is its own mark."""

    def rest(self, limit: int) -> None:
        """No digest is made of what stands here."""

    def finish(self, end: End) -> tuple[int, bytes]:
        """The generation is complete: its last line is appended as it is.

        Raises Waiting until it is done, Blocked and SyncFailed.
        """
        if self._finished is not None and self._finished[0] is end:
            return self._finished[1]
        present = self._turns.present
        if present is None or present.what == "put":
            self.sync()
        digest = self._sha.digest() if self._sha is not None else NO_DIGEST
        text = bytes(self._gathered)
        what = "finish", end.length
        to = self._turns.take(what, "cannot append", lambda _turn: self._finish(text, end, digest))
        self._put_done(to)
        at = self.destination.path
        self._say(*words.completed(at, end, end.length, digest, self.generation))
        self._finished = end, (to, digest)
        return self._finished[1]

    def _finish(self, text: bytes, end: End, digest: bytes) -> int:
        to = self._put(text, closed=True)
        known = digest if digest != NO_DIGEST else end.digest
        complete = Complete(proved_generation(self._ours), to, known)
        self._ledger.write(done_record(self._key, complete, digest != NO_DIGEST))
        return to

    def gap(self, gap: Gap) -> None:
        """Record bytes that nobody can read any more.  Raises Waiting, Blocked."""
        self.synced()
        why = gap.reason.decode(errors="replace")
        record = {"gap": self._key, "first": gap.first, "last": gap.last,
                  "ino": gap.generation.ino, "why": why}  # fmt: skip
        what = "cannot write the ledger"
        self._turns.take(("gap", gap), what, lambda _turn: self._ledger.write(record))
        self._say(*words.lost(self.destination.path, gap, why))

    def reopen(self) -> None:
        """Open the destination by its name again.  Raises Waiting, Blocked."""
        self.synced()
        if self._turns.busy:  # one that is over may wait for an action behind us
            raise self._turns.waiting()
        with blocked(self.destination.path, "cannot reopen"):
            if self._begun and self.destination.moved():
                self.destination.open()

    def begin_lines(self) -> None:
        """Make ready for version 1, which tells no offsets: whole lines, nobody's."""
        self.open()
        self._lines, self._begun = True, True

    def close(self, clean: bool) -> None:
        """Let go of everything; what is held back was never acknowledged."""
        if not self._turns.stop(STOP):
            return
        for let_go in (self._let_go, self.destination.close, self._ledger.close):
            with suppress(OSError):  # what was acknowledged is on the disk since it was
                let_go()
