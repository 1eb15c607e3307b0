"""Follows one origin: generation after generation, each to its end.

next() gives the news, one item at a time: pieces of the current generation, its end,
the beginning of the next.  Every read takes in some bytes below the offset as well and
compares them with what was read before: that is how a file is found out that was
truncated and has grown past its old size.

Keeps nothing on disk.  After a crash the sink's cursor and the chain's candidates find
the place again.
"""

from collections import deque

from tcppipe.cursor import HEAD
from tcppipe.errors import reason
from tcppipe.files.buffer import Buffer
from tcppipe.files.generations import Broken
from tcppipe.files.rolling import Rolling
from tcppipe.session.news import Began, Ended, LateBytes, Lost, Piece
from tcppipe.wire.events import Why
from tcppipe.wire.frames import MAX_LATE

OVERLAP = 256  # bytes below the offset that each read compares
LINGER = 1.0  # seconds of quiet after which a writer that holds on to a renamed file is left
WATCH = 1.0  # seconds between two looks at files that have ended but have a writer still
WATCHED = 3600.0  # seconds that such a file is watched at most
GRACE = 3.0  # the same where nobody can tell whether there is a writer
PIECE = 1 << 18  # bytes in a piece at most
HASHED_AT_ONCE = 32 << 20  # bytes of a digest that one call makes where an end waits for it


class Follower:
    """Reads a Chain.  offset and size are those of the current generation, in bytes.

    Raises OSError when a file cannot be read for now; the same call can be made again.
    """

    def __init__(self, chain):
        self.chain = chain
        self.offset = 0
        self.size = 0
        self._pending = deque()  # news that came together
        self._begun = False  # the chain's first generation was announced
        self._watched = {}  # readers that were ended: [generation, length so far]
        self._watch_at = 0.0
        self._buffer = Buffer(OVERLAP + PIECE)
        self._leave()

    def _leave(self):
        self._head = self._below = b""
        self._changed = 0  # modification time at the last read
        self._quiet_since = None
        self._digest = None
        self.ending = False  # only the digest is missing until the end can be told

    @property
    def behind(self):
        """Bytes that are not in the generation's digest yet."""
        return 0 if self._digest is None else max(0, self.offset - self._digest.offset)

    @property
    def restless(self):
        """True while something is awaited that no notification will tell."""
        alone = len(self.chain.readers) == 1 and self.chain.readers[0] is self.chain.live
        return not alone or bool(self._watched) or bool(self._pending)

    @property
    def generation(self):
        """What identifies the current generation by what was read of it, or None."""
        if not self._begun or not self.chain.readers:
            return None
        return self.chain.readers[0].generation(self._head)

    @property
    def spent(self):
        """True when no news can come from what is held."""
        return not self._pending and self.chain.spent

    def start(self, candidate, offset, proof, late=None):
        """Go on from a candidate of the chain's and an offset in it; it counts as announced.

        proof: length and SHA-256 of the bytes just below.  late: (candidate, length) of an
        older one that has grown since it ended.  False when the file is no longer what it was
        as a candidate.
        """
        older = self.chain.start(candidate, late[0] if late else None)
        self._pending.clear()
        self._watched = {}
        if older is not None:
            self._watch(older, older.generation(), late[1], float("inf"))
        self._enter(offset)
        reader, known = self.chain.readers[0], candidate.generation
        length, digest = proof
        return (
            reader.status()[0] >= candidate.size
            and (not known.head_len or reader.digest(0, known.head_len) == known.head)
            and (not length or reader.digest(offset - length, length) == digest)
        )

    def _enter(self, offset):
        self._leave()
        current = self.chain.readers[0]
        self.offset = self.size = offset
        if offset:
            self._head = current.read(min(offset, HEAD), 0)
            below = min(offset, OVERLAP)
            self._below = current.read(below, offset - below)
        self._changed = current.born
        self._digest = Rolling(current.read)
        self._begun = True

    def next(self, now, limit=PIECE):
        """The next item of news, or None: nothing for now.

        now: seconds of a monotonic clock.  limit: bytes that a Piece has at most.
        """
        if self._pending:
            return self._pending.popleft()
        if not self.chain.readers:
            self.chain.look()
            if not self.chain.readers:
                return None
        current = self.chain.readers[0]
        if not self._begun:
            current.born = current.status()[1]  # it may have been truncated since it was opened
            self._enter(0)
            return Began(current.generation(b""))
        try:
            size, changed = current.status()
        except Broken as error:
            return self._broken(error, now)
        if size > self.offset:
            return self._piece(current, limit, size, changed, now)
        if size < self.offset or (changed != self._changed and not self._same(current)):
            return self._truncated(current, now)
        self.size, self._changed = size, changed
        return self._late(now) or self._at_end(current, now)

    def _broken(self, error, now):
        """A compressed generation cannot be read to its end: say so, and go on."""
        self._pending.append(Lost(self.generation, self.offset, 0, reason(error)))
        self._pending.append(self._end(Why.TRUNCATED, now))
        return self._pending.popleft()

    def rest(self, limit):
        """Use a quiet moment to take `limit` more bytes into the digest."""
        self._digest.advance(self.offset, limit)

    def release(self):
        """Nothing has come for a while: give memory back."""
        self._buffer.release()

    def unchanged(self):
        """True when a glance shows that there is no news; False: next() has to tell."""
        if self.restless or self.chain.moved():
            return False
        try:
            return self.chain.live.status() == (self.offset, self._changed)
        except OSError:
            return False

    def _piece(self, current, limit, size, changed, now):
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

    def _same(self, current):
        """True when the bytes just below the offset are still those that were read."""
        below = len(self._below)
        return current.read(below, self.offset - below) == self._below

    def _at_end(self, current, now):
        """All was read: nothing for now, or the end of a file that has left its name."""
        self.chain.look()
        if current is self.chain.live:
            self._quiet_since = None
            return None
        if self._quiet_since is None:
            self._quiet_since = now
        writer = current.has_writer()
        if current.status()[0] != self.offset:
            return None  # grown while we asked
        quiet = now - self._quiet_since
        newer = any(reader.status()[0] for reader in self.chain.readers[1:])
        if writer is False or (newer and quiet >= LINGER) or (writer is None and quiet >= GRACE):
            before = self.behind
            whole = self._digest.advance(self.offset, HASHED_AT_ONCE)
            self.ending = not whole and self.behind < before
            if self.ending:
                return None
            return self._end(Why.ROTATED if len(self.chain.readers) > 1 else Why.REMOVED, now)
        return None

    def _watch(self, reader, generation, length, until):
        """A writer may still add to a generation that was ended: look now and then."""
        self._watched[reader] = [generation, length, until]
        self.chain.watched.append(reader)

    def _late(self, now):
        """Bytes that were added to a generation after it had ended, or None."""
        if now < self._watch_at:
            return None
        for reader, (generation, length, until) in list(self._watched.items()):
            data = reader.read(MAX_LATE, length)
            if data:
                self._watched[reader][1] += len(data)
                return LateBytes(generation, length, data)
            if now >= until or (reader.has_writer() is False and not reader.read(1, length)):
                del self._watched[reader]
                self.chain.unwatch(reader)
        self._watch_at = now + WATCH
        return None

    def _end(self, why, now):
        if self._digest.offset < self.offset and why != Why.TRUNCATED:
            self._digest.advance(self.offset, self.offset)
        known = self._digest.offset == self.offset
        ended = Ended(why, self.offset, *([self._digest.digest()] if known else []))
        writer = self.chain.readers[0].has_writer()
        if why != Why.TRUNCATED and writer is not False:
            until = now + (WATCHED if writer else GRACE * 10)
            self._watch(self.chain.readers[0], self.generation, self.offset, until)
        self.chain.done()
        self._begun = False
        self._leave()
        return ended

    def _truncated(self, current, now):
        """The file was cut, or rewritten in place, and is another generation now.

        What is left of the old one is taken from a copy if there is one; what is known
        to be lost is said.
        """
        generation = self.generation
        renewed = current.again()
        copy = None
        try:
            self.chain.renew(renewed)
            if self.offset:
                copy = self.chain.copy_of(
                    current, self.offset, self._head, self._below, self._changed
                )
        except OSError:
            renewed.close()
            raise
        if copy is not None:
            try:
                self.chain.insert_copy(copy, renewed)
            except OSError:
                copy.close()
                renewed.close()
                raise
            current.close()
            self._digest = Rolling(copy.read)
            self._quiet_since = None
            return self.next(now)
        if self.size > self.offset:
            reason = "truncated before it was read to its end"
            self._pending.append(Lost(generation, self.offset, self.size, reason))
        self.chain.readers.insert(1, renewed)
        self._pending.append(self._end(Why.TRUNCATED, now))
        return self._pending.popleft()
