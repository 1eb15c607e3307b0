"""Follows one origin: generation after generation, each to its end.

next() gives the news, one item at a time: pieces of the current generation, its end,
the beginning of the next.  Every read takes in some bytes below the offset as well and
compares them with what was read before: that is how a file is found out that was
truncated and has grown past its old size.

Keeps nothing on disk.  After a crash the sink's cursor and the chain's candidates find
the place again.
"""

from __future__ import annotations

from collections import deque

from tcppipe.cursor import HEAD, NO_DIGEST, Generation
from tcppipe.errors import Busy, reason
from tcppipe.files.buffer import Buffer
from tcppipe.files.chain import Chain
from tcppipe.files.places import PATIENCE, unfinished
from tcppipe.files.reader import Absent, Broken, Digested, Reader
from tcppipe.session.actions import Start
from tcppipe.session.news import Began, Ended, LateBytes, Lost, News, Note, Piece, Reopened
from tcppipe.wire.events import Why
from tcppipe.wire.frames import MAX_LATE

OVERLAP = 256  # bytes below the offset that each read compares
LINGER = 1.0  # seconds of quiet after which a writer that holds on to a renamed file is left
WATCH = 1.0  # seconds between two looks at files that have ended but have a writer still
WATCHED = 12 * 3600.0  # seconds without a late byte for which such a file is watched at most …
MOST_WATCHED = 16  # … and how many of them, the youngest
RESTLESS = 60.0  # seconds for which one is looked at often, of which nobody tells who writes
GRACE = 3.0  # seconds of quiet where nobody can tell whether there is a writer
PIECE = 1 << 18  # bytes in a piece at most
HASHED_AT_ONCE = 32 << 20  # bytes of a digest that one call makes where an end waits for it


class Follower:
    """Reads a Chain.  offset and size are those of the current generation, in bytes.

    Raises OSError when a file cannot be read for now; the same call can be made again.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.offset = 0
        self.size = 0
        self._pending: deque[News] = deque()  # news that came together
        self._begun = False  # the chain's first generation was announced
        self._watched: dict[Reader, Watched] = {}  # readers that were ended: Watched
        self._watch_at = 0.0
        self._buffer = Buffer(OVERLAP + PIECE)
        self._leave()

    def _leave(self) -> None:
        self._head = self._below = b""
        self._changed: int | None = 0  # modification time at the last read
        self._quiet_since: float | None = None
        self._digest: Digested | None = None
        self.ending = False  # a long step is under way: next() is to be called again soon

    @property
    def behind(self) -> int:
        """Bytes that are not in the generation's digest yet."""
        return 0 if self._digest is None else max(0, self.offset - self._digest.offset)

    @property
    def restless(self) -> bool:
        """True while something is awaited that no notification will tell."""
        live = self.chain.live
        alone = self.chain.readers == [live] and live is not None and not live.holding
        watched = any(watched.restless for watched in self._watched.values())
        return not alone or watched or bool(self._pending)

    @property
    def generation(self) -> Generation | None:
        """What identifies the current generation by what was read of it, or None."""
        if not self._begun or not self.chain.readers:
            return None
        return _generation(self)

    @property
    def _sum(self) -> Digested:
        """The digest of the current generation."""
        assert self._digest is not None
        return self._digest

    @property
    def spent(self) -> bool:
        """True when no news can come from what is held."""
        return not self._pending and self.chain.spent

    def start(self, start: Start) -> bool:
        """Go on as an agreement has it (a Start); the first generation counts as announced.

        False when the file is no longer what it was as a candidate.
        """
        reader, known = self.chain.places.reader(start.candidate), start.candidate.generation
        length, digest = start.proof
        fits = (
            (start.candidate.size is None or reader.status()[0] >= start.candidate.size)
            and (not known.head_len or reader.digest(0, known.head_len) == known.head)
            and (not length or reader.digest(start.offset - length, length) == digest)
        )
        late = [(self.chain.places.reader(c), length) for c, length in start.late]
        grown = [(reader, reader.generation(), length) for reader, length in late]
        before = _before(reader, start.offset)  # the last step that may be Busy, or fail
        self.chain.places.start(start)
        self._pending.clear()
        self._watched = {}
        for reader, generation, length in grown:
            self._watch(reader, generation, length, 0.0)
        self._enter(start.offset, before)
        return fits

    def _enter(self, offset: int, before: tuple[bytes, bytes] | None = None) -> None:
        """Go on from an offset in the first reader; before: its _before(), if it is known."""
        current = self.chain.readers[0]
        before = before or _before(current, offset)
        for reader in [other for other in self._watched if other.file == current.file]:
            self._unwatch(reader)  # it has come back, and is read here
        self._leave()
        self.offset = self.size = offset
        self._head, self._below = before
        self._changed = current.born
        self._digest = current.rolling()
        self._begun = True

    def next(self, now: float, limit: int = PIECE) -> News | None:
        """The next item of news, or None: nothing for now.

        now: seconds of a monotonic clock.  limit: bytes that a Piece has at most.
        """
        self.ending = False
        try:
            return self._next(now, limit)
        except Busy:
            self.ending = True
            return None

    def _next(self, now: float, limit: int) -> News | None:
        while not self._pending:
            if not self.chain.readers:
                self.chain.look()
                if not self.chain.readers:
                    return self._late(now)
            if self._begun:
                return self._read(now, limit)
            self._begin(now, limit)
        return self._pending.popleft()

    def _begin(self, now: float, limit: int) -> None:
        """Announce the first generation, or say why there is none of it."""
        current: Reader | Absent = self.chain.readers[0]
        if isinstance(current, Absent):
            self._absent(current, now)
            return
        try:
            if not self.chain.admit():
                return
            size, changed = current.status()
        except Broken as error:
            if unfinished(current):
                raise
            self._lose(f"{current.path}: {reason(error)}")
            return
        if current.reopened is not None and size >= current.reopened.length:
            current.born = current.reopened.generation.born
            self._enter(current.reopened.length)
            self._pending.append(Reopened(current.reopened.generation, self.offset))
            return
        if current is self.chain.live and self.chain.precede():
            return
        self.chain.remember()
        current.born = max(0, changed)  # it may have been truncated since it was opened
        self._enter(0)
        began = Began(current.generation(b""))
        self._begun = False  # until all is known: what fails here is made again from the start
        piece = None
        if size and current is self.chain.live:
            # what is read can be known again, should it be truncated before this goes anywhere
            piece = self._piece(current, limit, size, changed, now)
            if self.chain.overtaken():  # what was read comes behind that
                return
        self._begun = True
        self._pending.append(began)
        if piece is not None:
            self._pending.append(piece)

    def _absent(self, absent: Absent, now: float) -> None:
        """The turn of a generation that cannot be read.  Raises OSError while it is waited for."""
        if self.chain.try_again():
            return
        if absent.since is None:
            absent.since = now
        if absent.passing and now - absent.since < PATIENCE and self.chain.is_fresh(absent):
            raise OSError(None, f"{absent.path}: {absent.trouble}")
        self._lose(f"{absent.path}: {absent.trouble}")

    def _lose(self, why: str) -> None:
        """Nothing can be had of the first generation."""
        lost = self.chain.readers.pop(0)
        lost.close()
        self._pending.append(Lost(lost.generation(b""), 0, 0, why))

    def _read(self, now: float, limit: int) -> News | None:
        current: Reader = self.chain.readers[0]
        try:
            size, changed = current.status()
        except Broken as error:  # say so, and go on
            self._pending.append(Lost(_generation(self), self.offset, 0, reason(error)))
            self._pending.append(self._end(Why.TRUNCATED, now))
            return self._pending.popleft()
        if changed != self._changed and not self._same(current):
            return self._truncated(current, now)
        if changed != self._changed and not self.offset and current is self.chain.live:
            before, overtaken = self._changed, True
            try:  # asked when the first bytes are known
                piece = self._piece(current, limit, size, changed, now) if size else None
                overtaken = self.chain.overtaken()
            finally:
                if overtaken:  # or it cannot be known: nothing was read
                    self._enter(0)
                    self._changed = before
            if overtaken:
                return self._truncated(current, now)
            if piece is not None:
                return piece
        if size > self.offset:
            return self._piece(current, limit, size, changed, now)
        if size < self.offset:
            return self._truncated(current, now)
        self.size, self._changed = size, changed
        return self._late(now) or self._at_end(current, now)

    def rest(self, limit: int) -> None:
        """Use a quiet moment to take `limit` more bytes into the digest."""
        self._sum.advance(self.offset, limit)

    def release(self) -> None:
        """Nothing has come for a while: give memory back."""
        self._buffer.release()

    def unchanged(self) -> bool:
        """True when a glance shows that there is no news; False: next() has to tell."""
        if self.restless or self.chain.moved():
            return False
        try:
            live = self.chain.live
            return live is not None and live.status() == (self.offset, self._changed)
        except OSError:
            return False

    def _piece(
        self, current: Reader, limit: int, size: int, changed: int, now: float
    ) -> News | None:
        below = len(self._below)
        view = self._buffer.view()[: below + min(limit, PIECE)]
        count = current.fill(view, self.offset - below, below + 1)
        if view[: min(below, count)] != self._below:
            return self._truncated(current, now)
        if count == below:
            return None  # cut just now; the next call sees it
        piece = Piece(self.offset, view[below:count])
        self._buffer.used = max(self._buffer.used, count)
        if self.offset < HEAD:
            self._head = (self._head + bytes(piece.data[:HEAD]))[:HEAD]
        self.offset += count - below
        self.size, self._changed = max(size, self.offset), changed
        self._below = bytes(view[max(0, count - OVERLAP) : count])
        self._quiet_since = None
        return piece

    def _same(self, current: Reader) -> bool:
        """True when the first bytes, and those just below the offset, are still those that were
        read: lines may end alike in two generations, and rarely begin so."""
        if current.compressed:
            return True  # nobody writes to it
        below, head = len(self._below), len(self._head)
        return (
            current.read(below, self.offset - below) == self._below
            and current.read(head, 0) == self._head
        )

    def _at_end(self, current: Reader, now: float) -> News | None:
        """All was read: nothing for now, or the end of a file that has left its name."""
        self.chain.look()
        if current is self.chain.live:
            self._quiet_since = None
            if current.status() == (self.offset, self._changed):
                self.chain.verified()
            return None
        if self._quiet_since is None:
            self._quiet_since = now
        writer = current.has_writer()
        if current.status()[0] != self.offset:
            return None  # grown while we asked
        quiet = now - self._quiet_since
        if not (writer is False or self._is_left(writer, quiet)):
            return None
        before = self.behind
        whole = self._sum.advance(self.offset, HASHED_AT_ONCE)
        if not whole and self.behind < before:
            raise Busy(f"{current.path}: its digest is being made")
        if self._goes_on_elsewhere(current):
            return self._move(current)
        return self._end(Why.ROTATED if len(self.chain.readers) > 1 else Why.REMOVED, now)

    def _is_left(self, writer: bool | None, quiet: float) -> bool:
        """True when a file is to be left that has, or may have, a writer still."""
        later = self.chain.readers[1:]
        if writer is None and len(later) > 1:
            return True  # it was followed by one that has been left as well
        newer = any(isinstance(r, Absent) or r.compressed or r.status()[0] for r in later)
        return (newer and quiet >= LINGER) or (writer is None and quiet >= GRACE)

    def _goes_on_elsewhere(self, current: Reader) -> bool:
        """True when the next file is a copy of the one that was read, which no name leads to; nor
        to the copy, if it was replaced likewise.

        Of less than HEAD bytes nobody can say whose copy they are, unless the time is kept, too.
        """
        copy = next(iter(self.chain.readers[1:]), None)
        if not isinstance(copy, Reader) or copy.compressed or not self.offset:
            return False
        if copy.is_named() and copy is not self.chain.live:
            return False
        if self.offset < HEAD and copy.status() != (self.offset, self._changed):
            return False
        if current.is_named() or copy.status()[0] < self.offset:
            return False
        if copy.read(len(self._head), 0) != self._head or self._sum.offset != self.offset:
            return False
        digest = self._sum.digest()
        same = self.chain.digests.of(copy, 0, self.offset) == digest
        return same and not self.chain.is_packed(self._head, self.offset, digest)

    def _move(self, current: Reader) -> News:
        """The next file takes the place of the first reader's."""
        copy = self.chain.readers[1]
        self.chain.readers.pop(0).close()
        copy.born, copy.sure = current.born, True
        self._sum.moved(copy.read)
        self._changed = None
        self._quiet_since = None
        return Note("info", f"was replaced by a copy of itself, goes on there from {self.offset}")

    def _watch(self, reader: Reader, generation: Generation, length: int, since: float) -> None:
        """A writer may still add to a generation that was ended: look now and then."""
        self._watched[reader] = Watched(generation, length, since)
        self.chain.watched.append(reader)
        if len(self._watched) > MOST_WATCHED:
            self._unwatch(next(iter(self._watched)), f"{MOST_WATCHED} younger ones are watched")

    def _unwatch(self, reader: Reader, why: str | None = None) -> None:
        watched = self._watched.pop(reader)
        self.chain.unwatch(reader)
        if why and watched.writer:
            text = f"{reader.path}: late bytes of it are no longer waited for: {why}"
            self._pending.append(Note("warning", text))

    def _late(self, now: float) -> News | None:
        """Bytes that were added to a generation after it had ended, or None."""
        if now < self._watch_at:
            return None
        for reader, watched in list(self._watched.items()):
            data = reader.read(MAX_LATE, watched.length)
            if data:
                return self._late_bytes(reader, watched, data, now)
            watched.writer = reader.has_writer()
            if watched.writer is False and not reader.read(1, watched.length):
                self._unwatch(reader)
            elif now - watched.since >= WATCHED:
                self._unwatch(reader, f"nothing has come for {WATCHED / 3600:.0f} hours")
            else:
                watched.restless = watched.writer is True or now - watched.since < RESTLESS
        self._watch_at = now + WATCH
        return None

    def _late_bytes(self, reader: Reader, watched: Watched, data: bytes, now: float) -> News:
        late = LateBytes(watched.generation, watched.length, data)
        watched.length += len(data)
        watched.since = now
        digest = watched.digest
        sha = NO_DIGEST
        if digest is not None and digest.advance(watched.length, 2 * MAX_LATE):
            sha = digest.digest()
        self.chain.history.grow(watched.generation, watched.length, sha)
        return late

    def _end(self, why: Why, now: float) -> News:
        if self._sum.offset < self.offset and why != Why.TRUNCATED:
            self._sum.advance(self.offset, self.offset)
        known = self._sum.offset == self.offset
        digest = self._sum.digest() if known else NO_DIGEST
        ended = Ended(why, self.offset, digest)
        self.chain.history.end(_generation(self), self.offset, digest)
        reader = self.chain.readers[0]
        if why != Why.TRUNCATED and reader.has_writer() is not False:
            self._watch(reader, _generation(self), self.offset, now)
            self._watched[reader].digest = self._digest if known else None
        self.chain.done()
        self._begun = False
        self._leave()
        return ended

    def _truncated(self, current: Reader, now: float) -> News | None:
        """The file was cut, or rewritten in place, and is another generation now.

        What is left of the old one is taken from a copy if there is one; what is known
        to be lost is said.
        """
        generation = _generation(self)
        copy = None
        if self.offset:
            copy = self.chain.copy_of(
                current, self.offset, self._head, self._below, self._changed or 0
            )
        renewed = None
        try:
            renewed = current.again()
            self.chain.renew(renewed, copy, self.offset, self._head)
        except OSError:
            for reader in filter(None, (renewed, copy)):
                reader.close()
            raise
        if copy is not None:
            current.close()
            self._digest = copy.rolling()
            self._quiet_since = None
            return self._next(now, PIECE)
        if self.size > self.offset:
            reason = "truncated before it was read to its end"
            self._pending.append(Lost(generation, self.offset, self.size, reason))
        self._pending.append(self._end(Why.TRUNCATED, now))
        return self._pending.popleft()


def _generation(follower: Follower) -> Generation:
    """What identifies the generation that is read, by what was read of it."""
    generation: Generation = follower.chain.readers[0].generation(follower._head)
    return generation


def _before(reader: Reader, offset: int) -> tuple[bytes, bytes]:
    """(the first bytes, the last bytes) below an offset, of those that are compared later."""
    below = min(offset, OVERLAP)
    return reader.read(min(offset, HEAD), 0), reader.read(below, offset - below)


class Watched:
    """A generation that has ended, and may still get bytes from a writer that holds on to it."""

    def __init__(self, generation: Generation, length: int, since: float) -> None:
        self.generation = generation
        self.length = length  # so many of its bytes have been delivered
        self.since = since  # when the last of them came
        self.digest: Digested | None = None  # of them, as far as it is known
        self.writer: bool | None = True  # somebody has it open for writing; None: nobody tells
        self.restless = True  # it is to be looked at every second
