"""A pipe becomes merged, or is no more: its own ledger and the shared one are carried over into each
other, so that it goes on exactly where it was.

What is carried over is durable before the other ledger is left; a crash in between does it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from tcppipe.cursor import HEAD, NO_DIGEST
from tcppipe.errors import Busy
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.footing import Footing, Remark
from tcppipe.files.fs import FS, REAL
from tcppipe.files.ledger import Ledger
from tcppipe.files.lock import no_lock
from tcppipe.files.placed import PROOF
from tcppipe.files.rolling import digest_of
from tcppipe.files.sharedledger import SharedLedger
from tcppipe.files.sharedrecords import (
    before,
    done_record,
    empty_record,
    generation_of,
    others,
    proved_generation,
)
from tcppipe.files.spelling import Value
from tcppipe.files.stretches import Mark, Stretch
from tcppipe.files.until import Until, since_left
from tcppipe.process.trouble import Say
from tcppipe.wire.events import Begin, Complete, Have, Holding, Why

LONGEST = 1 << 20  # bytes of a line that is held back when its pipe becomes merged
WINDOW = 1024  # bytes below the cursor whose digest proves the origin later


R = TypeVar("R")
Ranges = tuple[tuple[int, int], ...]


class Unmerged:
    """The pipe as the ledger `own` (a path, or None) knows it, from before it was merged.

    Used in a turn.  note: a function (level, text).
    """

    def __init__(
        self, destination: Destination, own: str | None, shared: SharedLedger, note: Remark
    ) -> None:
        self._destination = destination
        self._own = own
        self._shared = shared
        self._note = note
        self._copy: Copy | None = None
        self._have = Have(Holding.NOTHING)
        self._where: Until | None = None

    def offer(self, sender: bytes) -> Have:
        """What its own ledger tells, as a Have; NOTHING if that is nothing."""
        self._have = Have(Holding.NOTHING)
        if self._own is not None and exists(self._own, self._destination.fs):
            where = self._where = Until(self._destination, self._shared)
            copy = self._copy = Copy(where, self._own, self._say, self._destination.fs)
            self._have = self._until_done(lambda: copy.offer(sender))
        if self._have.holding != Holding.RECORDED:
            self.close()
            return Have(Holding.NOTHING)
        return self._have

    @property
    def others(self) -> bool:
        """True when others have appended to the file since."""
        return self._where is not None and self._where.others

    @property
    def _known(self) -> Copy:
        assert self._copy is not None
        return self._copy

    def _until_done(self, step: Callable[[], R]) -> R:
        """In a turn nobody waits for us: a long step is made at once."""
        while True:
            try:
                return step()
            except Busy:
                pass

    def _say(self, level: str, text: str) -> None:
        self._note(level, text.partition(": ")[2])

    def prove(self, ranges: Ranges) -> tuple[bytes, ...]:
        """Digests of what was offered."""
        return self._known.prove(ranges)

    def carry_over(self, begin: Begin, sender: bytes, key: str) -> bytes:
        """The pipe goes on from what was agreed, in the shared ledger.

        Returns the beginning of a line, which is held back from now on.
        """
        copy, have = self._known, self._have
        held = self._unfinished(begin.offset)
        to = begin.offset - len(held)
        head_len = min(HEAD, to) if have.first == 0 else 0
        tail_len = max(0, min(WINDOW, to - have.first))
        head, tail = self._digests(((0, head_len), (to - tail_len, tail_len)))
        self._until_done(lambda: copy.begin(begin, sender))
        copy.sync()
        for complete in before(copy.past, have.generation, have.closed):
            told = others([complete], have.generation)
            for one in self._shared.complete:
                told = others(told, one.generation, one.length)
            for one in told:
                self._shared.write(done_record(key, one), durable=False)
        record = empty_record(key, have.generation, to)
        if head_len and head != NO_DIGEST:
            record.update(head_len=head_len, head=head.hex())
        if tail_len and tail != NO_DIGEST:
            record.update(tail_len=tail_len, tail=tail.hex())
        if held:  # a crash behind this is mended from the origin by the pipe's own ledger
            self._take_back(held)
        self._correct()
        self._shared.write(record)
        return held

    def _digests(self, ranges: Ranges) -> tuple[bytes, ...]:
        return self._until_done(lambda: self._known.prove(ranges))

    def _unfinished(self, offset: int) -> bytes:
        """The beginning of a line below an offset, if nothing of others stands behind it."""
        where, have = self._destination, self._have
        place = where.size() - (have.end - offset)
        length = min(place, offset - have.first, LONGEST)
        if self._known.destination.size() != where.size() or where.moved() or length <= 0:
            return b""
        text = where.read(length, place - length)
        (digest,) = self._digests(((offset - length, length),))
        if digest != hashlib.sha256(text).digest():
            return b""
        whole = text.rfind(b"\n") + 1
        begins = length == place or where.read(1, place - length - 1) == b"\n"
        return text[whole:] if whole or begins else b""

    def _take_back(self, held: bytes) -> None:
        """Cut off the beginning of a line that is held back from now on."""
        where = self._destination
        size = where.size() - len(held)
        if where.read(len(held), size) == held:
            where.cut(size)

    def _correct(self) -> None:
        """What was found is less by now."""
        last, size = self._shared.last, self._destination.size()
        if last is None:
            return
        same = (last["dev"], last["ino"]) == (self._destination.dev, self._destination.ino)
        if same and "found" in last and last["at"] <= size < last["at"] + last["bytes"]:
            self._shared.write({**last, "bytes": size - last["at"]})

    def close(self) -> None:
        """Let go of its ledger."""
        if self._copy is not None:
            self._copy.close(False)
            self._copy = None


def leave(
    destination: Destination, shared: str, own: str, key: str, say: Say, fs: FS = REAL
) -> None:
    """The pipe `key` is not merged any more: its ledger `own` goes on where the shared one says.

    The lock on the destination is the caller's.  Raises OSError and SyncFailed.
    """
    if not exists(shared, fs):
        return
    path = destination.path
    ledger = SharedLedger(
        shared, key, lambda level, text: say(level, f"{shared}: {text}"), fs, no_lock
    )
    footing = Footing(destination, ledger, key,
                      lambda level, text, at=None: say(level, f"{at or path}: {text}"))  # fmt: skip
    try:
        with ledger.hold():
            footing.be_ready(whole=True)
            record = ledger.state
            if record is None or record.get("gone"):
                record = _stands_between(destination, own, ledger, footing, key)
            if record is None:
                return
            past = ledger.complete
            if not record["closed"]:
                past = others(past, generation_of(record))
            _write_own(destination, own, record, past, fs)
            ledger.write({**record, "bytes": 0, "gone": True})
    finally:
        destination.close()
        ledger.close()


def _stands_between(
    destination: Destination, own: str, ledger: SharedLedger, footing: Footing, key: str
) -> Value | None:
    """The pipe was away while others appended behind what it had written for itself: the record of
    where it has got to; None when nobody did."""
    if all("found" in row for row in since_left(ledger)):
        return None
    before = Unmerged(destination, own, ledger, footing.note)
    have = before.offer(b"")
    before.close()
    if have.holding != Holding.RECORDED or not before.others:
        return None
    record = empty_record(
        key, have.generation, have.mark if have.torn or have.damaged else have.end
    )
    return {**record, "closed": have.closed}


def _write_own(
    where: Destination, own: str, record: Value, past: Iterable[Complete], fs: FS
) -> None:
    """Put a new ledger of its own in the place of what the pipe had before it was merged: that
    would tell of bytes among which others' stand now.  The old one is kept as OWN.before."""
    beside = own + ".new"
    if exists(beside, fs):
        fs.unlink(beside)
    ledger = Ledger(beside, fs)
    try:
        for complete in past:
            head = complete.generation.head.hex()
            ledger.note("complete", generation=[*complete.generation.key, complete.generation.head_len], head=head,
                        length=complete.length, sha256=complete.digest.hex(), dev=0, ino=0,
                        computed=True)  # fmt: skip
        _tell(ledger, where, record, fs)
    finally:
        ledger.close()
    if exists(own, fs):
        fs.rename(own, own + ".before")
    fs.rename(beside, own)
    fs.sync_directory(os.path.dirname(own))


def _tell(ledger: Ledger, where: Destination, record: Value, fs: FS) -> None:
    """The pipe's generation goes on at the end of the destination."""
    generation, size = proved_generation(record), where.size()
    length = min(PROOF, size)
    below = (digest_of(where.read, size - length, length) if length else None) or NO_DIGEST
    place = (size, where.dev, where.ino, int(Why.NEXT), b"", fs.boot(), where.igen, length, below)
    ledger.begin(Stretch(generation, record["to"], *place))
    tail = bytes.fromhex(record["tail"])
    ledger.note_mark(
        Mark(record["to"], generation.head_len, generation.head, record["tail_len"], tail)
    )
    if record["closed"]:  # told as a complete one already
        ledger.note("end", length=record["to"], sha256=NO_DIGEST.hex(), again=True)
    ledger.note_clean()


def exists(path: str, fs: FS = REAL) -> bool:
    """True when there is something in a file."""
    try:
        return bool(fs.stat(path).st_size)
    except FileNotFoundError:
        return False
