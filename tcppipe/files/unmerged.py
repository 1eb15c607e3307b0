"""A pipe becomes merged, or is no more: its own ledger and the shared one are carried over into each
other, so that it goes on exactly where it was.

What is carried over is durable before the other ledger is left; a crash in between does it again.
"""

from tcppipe.cursor import NO_DIGEST
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.footing import Footing
from tcppipe.files.fs import REAL
from tcppipe.files.ledger import Ledger, Mark, Stretch
from tcppipe.files.lock import no_lock
from tcppipe.files.sharedledger import SharedLedger
from tcppipe.files.sharedrecords import done_record, empty_record, proved_generation
from tcppipe.wire.events import Have, Holding, Why

LONGEST = 1 << 20  # bytes of a line that is held back when its pipe becomes merged
WINDOW = 1024  # bytes below the cursor whose digest proves the origin later


class Unmerged:
    """The pipe as the ledger `own` (a path, or None) knows it, from before it was merged.

    Used in a turn.  note: a function (level, text).
    """

    def __init__(self, destination, own, shared, note):
        self._destination = destination
        self._own = own
        self._shared = shared
        self._note = note
        self._copy = self._have = None

    def offer(self, sender):
        """What its own ledger tells, as a Have; NOTHING if that is nothing."""
        self._have = Have(Holding.NOTHING)
        if self._own is not None and exists(self._own, self._destination.fs):
            until = self._shared.found[0] if self._shared.found else None
            where = _Until(self._destination, until)
            self._copy = Copy(where, self._own, self._say, self._destination.fs)
            self._have = self._copy.offer(sender)
        if self._have.holding != Holding.RECORDED:
            self.close()
            return Have(Holding.NOTHING)
        return self._have

    def _say(self, level, text):
        self._note(level, text.partition(": ")[2])

    def prove(self, ranges):
        """Digests of what was offered."""
        return self._copy.prove(ranges)

    def carry_over(self, begin, sender, key):
        """The pipe goes on from what was agreed, in the shared ledger.

        Returns the beginning of a line, which is held back from now on.
        """
        copy, generation = self._copy, self._have.generation
        tail_len = max(0, min(WINDOW, begin.offset - self._have.first))
        tail = copy.prove(((begin.offset - tail_len, tail_len),))[0] if tail_len else NO_DIGEST
        copy.begin(begin, sender)
        copy.sync()
        for complete in copy.past:
            if complete.generation[:4] not in (*self._shared.lengths, generation[:4]):
                self._shared.write(done_record(key, complete), durable=False)
        held = self._unfinished(copy, begin.offset - self._have.first)
        record = empty_record(key, generation, begin.offset - len(held))
        if tail != NO_DIGEST and not held:
            record.update(tail_len=tail_len, tail=tail.hex())
        self._shared.write(record)
        if held:
            self._destination.cut(self._destination.size() - len(held))
        return held

    def _unfinished(self, copy, most):
        """The beginning of a line at the destination's end, if that is ours and nobody's behind."""
        where = self._destination
        size = where.size()
        if copy.destination.size() != size or where.moved():
            return b""
        length = min(size, most, LONGEST)
        text = where.read(length, size - length)
        return text[text.rfind(b"\n") + 1 :] if b"\n" in text or length == size else b""

    def close(self):
        """Let go of its ledger."""
        if self._copy is not None:
            self._copy.close(False)
            self._copy = None


def leave(destination, shared, own, key, say, fs=REAL):
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
            if ledger.state is None or ledger.state.get("gone"):
                return
            footing.be_ready(whole=True)
            record = ledger.state
            _write_own(destination, own, record, ledger.complete, fs)
            ledger.write({**record, "bytes": 0, "gone": True})
    finally:
        destination.close()
        ledger.close()


def _write_own(where, own, record, past, fs):
    """Tell the pipe's own ledger where it has got to."""
    generation = proved_generation(record)
    place = (where.size(), where.dev, where.ino, int(Why.NEXT), b"", fs.boot(), where.igen)
    ledger = Ledger(own, fs)
    try:
        for complete in past:
            if complete.generation[:4] != generation[:4]:
                ledger.begin(Stretch(complete.generation, 0, *place))
                _note_end(ledger, complete.length, complete.digest)
        ledger.begin(Stretch(generation, record["to"], *place))
        tail = bytes.fromhex(record["tail"])
        head = generation.head_len, generation.head
        ledger.note_mark(Mark(record["to"], *head, record["tail_len"], tail))
        if record["closed"]:
            digests = [c.digest for c in past if c.generation[:4] == generation[:4]]
            _note_end(ledger, record["to"], digests[-1] if digests else NO_DIGEST)
        ledger.note_clean()
    finally:
        ledger.close()


def _note_end(ledger, length, digest):
    text = {"sha256": digest.hex(), "verdict": "not compared"}
    ledger.note("end", length=length, why=int(Why.RESUMED), **text)


def exists(path, fs=REAL):
    """True when there is something in a file."""
    try:
        return bool(fs.stat(path).st_size)
    except FileNotFoundError:
        return False


class _Until(Destination):
    """A destination as it was before others appended to it."""

    def __init__(self, where, row):
        super().__init__(where.path, where.mode, where.owner, where.fs, where.durable)
        self._row = row

    def size(self):
        """The bytes that were there before."""
        size, row = super().size(), self._row
        if row is not None and (row["dev"], row["ino"]) == (self.dev, self.ino):
            return min(size, row["at"] + row["bytes"])
        return size

    def cut(self, size):
        """Only what nobody has appended to is cut."""
        if super().size() > self.size():
            return "nothing"
        return super().cut(size)
