"""One pipe's copy: a destination and the ledger that says what stands in it.

Does what a sink session asks for.  The order is always the same: what the ledger says
of bytes is durable before the bytes are appended, bytes are durable before they are
acknowledged.  A step that fails raises Blocked and can be made again as it is.
"""


from tcppipe.cursor import HEAD, NO_DIGEST, TAIL, UNKNOWN
from tcppipe.errors import Blocked, SyncFailed, reason
from tcppipe.files.fs import REAL
from tcppipe.files.ledger import Ledger, Mark, Stretch
from tcppipe.files.rolling import Rolling, digest_of
from tcppipe.wire.events import Have, Holding, Why


class Copy:
    """The copy at `destination` (a Destination, opened here) with the ledger file `path`.

    say: a function (level, text) for what people should know.
    end: the generation's offset that the next appended byte has.
    durable: every byte of the generation below is known to be durable.
    """

    def __init__(self, destination, path, say, fs=REAL):
        self.destination = destination
        self.fs = fs
        self.end = 0
        self.durable = 0
        self._path = path
        self._say = say
        self._ledger = None
        self._size = 0  # what the destination's size must be, if nobody else writes to it
        self._marked = 0  # the offset of the last mark
        self._finished = None  # the End that was recorded last, and the answer to it
        self._digest = None
        self._begun = False  # the agreement is over, so the destination may change its file

    @property
    def known(self):
        """True when the ledger tells of a generation."""
        stretch = self._ledger.stretch if self._ledger is not None else None
        return stretch is not None and stretch.generation != UNKNOWN

    @property
    def unmarked(self):
        """True when more is durable than the ledger's mark says."""
        return self.known and self._marked != self.durable

    def open(self):
        """Open the ledger and the destination.  Raises Blocked or ConfigError."""
        if self._ledger is None:
            with blocked(self._path, "cannot open the ledger"):
                self._ledger = Ledger(self._path, self.fs)
        if self.destination.fd < 0:
            with blocked(self.destination.path, "cannot open"):
                self.destination.open()

    # --- the agreement

    def offer(self, sender):
        """What is here, as a Have; sender: the key of the source.  Raises Blocked."""
        self.open()
        self._begun = False
        with blocked(self.destination.path, "cannot read"):
            stretch = self._ledger.stretch
            if stretch is None or stretch.generation == UNKNOWN:
                size = self.end = self.destination.size()
                return Have(Holding.UNRECORDED if size else Holding.NOTHING, end=size)
            if not self._is_here(stretch):
                self.destination.open_rotated(stretch.dev, stretch.ino)
            return self._offer_recorded(stretch, self.destination.size(), sender)

    def _offer_recorded(self, stretch, size, sender):
        ledger, mark = self._ledger, self._ledger.mark
        here = self._is_here(stretch) and size >= stretch.at
        if here:
            first, self.end = stretch.first, stretch.first + size - stretch.at
        else:  # out of reach: what was durable there is believed
            first = self.end = max(mark.offset, stretch.first)
        damaged = self.end < mark.offset
        if mark.tail_len and first <= mark.offset - mark.tail_len and not damaged:
            tail = self._digest_of(mark.offset - mark.tail_len, mark.tail_len)
            damaged = tail != mark.tail
        if damaged:
            self._say("critical", f"{self.destination.path}: damaged below what was durable")
        generation = stretch.generation
        if mark.head_len > generation.head_len:
            generation = generation._replace(head_len=mark.head_len, head=mark.head)
        return Have(
            Holding.RECORDED, ledger.clean, damaged, ledger.closed, ledger.resent_by == sender,
            generation, first, self.end, mark.offset, mark.tail_len, mark.tail,
            *ledger.previous,
        )  # fmt: skip

    def _is_here(self, stretch):
        return (stretch.dev, stretch.ino) == (self.destination.dev, self.destination.ino)

    def prove(self, ranges):
        """The SHA-256 digests of (first, length) ranges of what was offered.  Raises Blocked."""
        with blocked(self.destination.path, "cannot read"):
            return tuple(self._digest_of(first, length) for first, length in ranges)

    def _digest_of(self, first, length):
        return digest_of(self._read, first, length) or NO_DIGEST

    def _read(self, length, offset):
        """Bytes of the current stretch by the generation's offset."""
        stretch = self._ledger.stretch
        if stretch is not None and stretch.generation != UNKNOWN:
            offset += stretch.at - stretch.first
        return self.destination.read(length, offset)

    # --- the stream

    def begin(self, begin, sender=b""):
        """Make ready for a generation's bytes from begin.offset on.  Raises Blocked."""
        with blocked(self.destination.path, "cannot begin"):
            if begin.why == Why.RESUMED:
                self._resume(begin.offset)
            elif begin.why == Why.ADOPTED:
                self._stretch(begin.generation, 0, 0, Why.ADOPTED)
                self.end, self._size = begin.offset, self.destination.size()
            else:
                if begin.why not in (Why.FRESH, Why.NEXT):
                    self._tell(begin)
                if self.destination.moved():
                    self.destination.open()
                self._stretch(
                    begin.generation, begin.offset, self.destination.size(), begin.why, sender
                )
            mark = self._ledger.mark.offset
            self.durable = min(self.end, mark)
            self._marked = mark if mark <= self.end else -1
            self._digest = Rolling(self._read) if self._ledger.stretch.first == 0 else None
        self._begun = True
        self.reopen()

    def _tell(self, begin):
        what = {
            Why.WITNESSED: "the ledger is lost; goes on where the source says",
            Why.RESENT: "the whole origin is sent once more",
            Why.FOREIGN: "somebody else has written here; goes on behind that",
            Why.FORKED: "the origin was rewritten; its new content goes behind the old",
            Why.LOST: "the origin's old generation is gone; goes on with a later one",
        }
        text = what.get(begin.why, begin.why.name.lower())
        self._say("warning", f"{self.destination.path}: {text}")

    def _resume(self, offset):
        stretch, size = self._ledger.stretch, self.destination.size()
        if not self._is_here(stretch) or size < stretch.at:
            self._stretch(stretch.generation, offset, size, Why.RESUMED)
            return
        self._ledger.note("resume", offset=offset)
        keep = stretch.at + offset - stretch.first
        if keep < size:
            kept = self.destination.cut(keep)
            self._ledger.note("cut", offset=offset, bytes=size - keep, kept=kept)
            text = f"torn, goes on from offset {offset}; {size - keep} bytes kept as {kept}"
            self._say("warning", f"{self.destination.path}: {text}")
        self.end, self._size = offset, keep

    def _stretch(self, generation, first, at, why, sender=b""):
        """Begin a stretch; the ledger says so, durably, before any byte follows."""
        dev, ino = self.destination.dev, self.destination.ino
        self._ledger.begin(Stretch(generation, first, at, dev, ino, int(why), sender))
        self.end, self._size = first, at

    def append(self, offset, data):
        """Append `data`, which begins at the generation's `offset`.

        Raises Blocked; what was written by then is known, so the same call goes on.
        """
        view = memoryview(data)[self.end - offset :]
        with blocked(self.destination.path, "cannot append"):
            while view:
                size = self.destination.size()
                if size != self._size:
                    self._displaced(size)
                at, count = self.destination.append(view)
                if at != self._size:
                    self._displaced(at)
                self._size += count
                self.end += count
                view = view[count:]

    def _displaced(self, at):
        """The next byte stands, or will stand, elsewhere than expected."""
        what = "somebody else has written here" if at > self._size else "was truncated here"
        self._say("warning", f"{self.destination.path}: {what}; goes on from there")
        self._catch_up()
        self._stretch(self._ledger.stretch.generation, self.end, at, Why.FOREIGN)

    def sync(self):
        """Make all that was appended durable, and return the offset below which it is.

        Raises SyncFailed: the descriptor is not to be used any more.
        """
        end = self.end
        try:
            self.destination.sync()
        except OSError as error:
            raise SyncFailed(f"{self.destination.path}: cannot sync: {reason(error)}") from None
        self.durable = end
        return end

    def mark(self):
        """Note in the ledger how far the copy is durable, if that is news.  Raises Blocked."""
        if not self.unmarked:
            return
        stretch = self._ledger.stretch
        with blocked(self._path, "cannot write the ledger"):
            head_len, head = stretch.generation.head_len, stretch.generation.head
            if self._ledger.mark.head_len > head_len:
                head_len, head = self._ledger.mark.head_len, self._ledger.mark.head
            if stretch.first == 0 and head_len < HEAD:
                head_len = min(HEAD, self.durable)
                head = self._digest_of(0, head_len)
            tail_len = min(TAIL, self.durable - stretch.first)
            tail = self._digest_of(self.durable - tail_len, tail_len)
            self._ledger.note_mark(Mark(self.durable, head_len, head, tail_len, tail))
            self._marked = self.durable

    def rest(self):
        """Use a quiet moment for the generation's digest; True when there is more to do."""
        if self._digest is None or self._digest.offset >= self.end:
            return False
        try:
            return not self._digest.advance(self.end, 64 << 20)
        except OSError:
            return False  # finish() will say it if it matters

    def _catch_up(self):
        """Finish the digest before the bytes are out of reach."""
        if self._digest is not None and not self._digest.advance(self.end, self.end):
            self._digest = None

    def finish(self, end):
        """The generation is complete: sync, record, and return (length, digest or NO_DIGEST)."""
        if self._finished is not None and self._finished[0] is end:
            return self._finished[1]
        self.sync()
        self.mark()
        digest = NO_DIGEST
        with blocked(self.destination.path, "cannot read"):
            self._catch_up()
            if self._digest is not None and end.why != Why.RESUMED:
                digest = self._digest.digest()
        verdict = "not compared"
        if NO_DIGEST not in (digest, end.digest):
            verdict = "equal" if digest == end.digest else "different"
        if verdict == "different":
            self._say("critical", f"{self.destination.path}: the digests of a generation differ")
        with blocked(self._path, "cannot write the ledger"):
            self._ledger.note(
                "end", length=end.length, why=int(end.why), sha256=digest.hex(), verdict=verdict
            )
        self._finished = (end, (self.end, digest))
        return self._finished[1]

    def gap(self, gap):
        """Record bytes that nobody can read any more.  Raises Blocked."""
        why = gap.reason.decode(errors="replace")
        last = gap.last or "unknown"
        text = f"{self.destination.path}: bytes {gap.first} to {last} are lost at the origin: {why}"
        self._say("critical", text)
        with blocked(self._path, "cannot write the ledger"):
            self._ledger.note("gap", first=gap.first, last=gap.last, ino=gap.generation.ino, why=why)

    # --- the destination changes its file

    def reopen(self):
        """Open the destination by name again, if it was renamed.  Raises Blocked, SyncFailed.

        During an agreement this waits: what was offered stands in the old file.
        """
        with blocked(self.destination.path, "cannot reopen"):
            if not self._begun or not self.destination.moved():
                return
            self.sync()
            self.mark()
            self._catch_up()
            self.destination.open()
            generation = self._ledger.stretch.generation
            self._stretch(generation, self.end, self.destination.size(), Why.RESUMED)

    def begin_lines(self):
        """Make ready for bytes whose generation nobody tells (version 1).  Raises Blocked."""
        self.open()
        with blocked(self.destination.path, "cannot begin"):
            self._stretch(UNKNOWN, 0, self.destination.size(), Why.FRESH)
        self._begun = True

    def close(self, clean):
        """Let go of everything; clean: sync and record that the end was in order."""
        try:
            if clean and self._begun:  # before that nothing of it was proved
                self.sync()
                self.mark()
                self._ledger.note_clean()
        except (Blocked, SyncFailed, OSError):
            pass  # then the end was not clean, which is what the ledger says
        finally:
            self.destination.close()
            if self._ledger is not None:
                self._ledger.close()


class blocked:
    """Turns an OSError of the block into Blocked: the object first, the cause last."""

    def __init__(self, path, what):
        self.path, self.what = path, what

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _trace):
        if isinstance(error, OSError):
            text = f"{self.path}: {self.what}, waiting: {reason(error)}"
            raise Blocked(text) from error
