"""A destination and the ledger that says what stands in it, both open.

What the ledger says of bytes is durable before the bytes are appended: a crash leaves a stretch that
nothing stands in yet, at the worst.
"""

from contextlib import closing

from tcppipe.cursor import NO_DIGEST, UNKNOWN
from tcppipe.errors import Busy
from tcppipe.files.blocked import blocked
from tcppipe.files.ledger import Ledger
from tcppipe.files.rolling import Digests, digest_of
from tcppipe.files.standing import Standing
from tcppipe.files.stretches import Stretch

PROOF = 1024  # bytes by which a copy of the destination is known
HASHED_AT_ONCE = 2 << 20  # bytes of a digest that are made before others have their turn


class Placed:
    """The copy at `destination` (a Destination, opened here) with the ledger file `path`.

    say: a function (level, text) for what people should know.  mirror: each generation has a
    file of its own; the one before is set aside when the next begins.  hold: a function that
    keeps all others from the destination: what it returns is closed at the end.
    end: the generation's offset that the next appended byte has.
    """

    def __init__(self, destination, path, say, fs, mirror, hold):
        self.destination = destination
        self.fs = fs
        self.end = 0
        self._path = path
        self._mirror = mirror
        self._hold = hold
        self._held = None
        self._standing = None
        self._say = say
        self._ledger = None
        self._size = 0  # what the destination's size must be, if nobody else writes to it
        self._proving = None  # the Digests that prove() is making

    @property
    def known(self):
        """True when the ledger tells of a generation."""
        stretch = self._ledger.stretch if self._ledger is not None else None
        return stretch is not None and stretch.generation != UNKNOWN

    @property
    def generation(self):
        """The present generation, as the ledger names it."""
        return self._ledger.stretch.generation

    @property
    def past(self):
        """The generations that are here to their end, as Complete, oldest first."""
        return self._standing.past

    def open(self):
        """Open the ledger and the destination.  Raises Blocked or ConfigError."""
        if self._hold is not None and self._held is None:
            with blocked(self.destination.path, "cannot open"):
                self._held = self._hold()
        if self._ledger is None:
            with blocked(self._path, "cannot open the ledger"):
                self._ledger = Ledger(self._path, self.fs)
            if self._ledger.damage:
                self._say("critical", f"{self._path}: {self._ledger.damage}")
            self._standing = Standing(self.destination, self._ledger, self._say, self._mirror)
        if self.destination.fd < 0:
            with blocked(self.destination.path, "cannot open"):
                self.destination.open()

    # --- what stands where

    def prove(self, ranges):
        """The SHA-256 digests of (first, length) ranges of what was offered.

        Raises Busy while there is more to read, and Blocked.
        """
        if self._proving is None or self._proving.ranges is not ranges:
            self._proving = Digests(self._standing.read, ranges)
        with blocked(self.destination.path, "cannot read"):
            if not self._proving.advance(HASHED_AT_ONCE):
                raise Busy(f"{self.destination.path}: is compared")
        found, self._proving = self._proving.found, None
        return tuple(digest or NO_DIGEST for digest in found)

    def _stretch(self, generation, first, at, why, sender=b""):
        """Begin a stretch; the ledger says so, durably, before any byte follows."""
        where = self.destination
        below_len = min(PROOF, at)
        below = NO_DIGEST
        if below_len:
            below = digest_of(where.read, at - below_len, below_len) or NO_DIGEST
        self._ledger.begin(Stretch(
            generation, first, at, where.dev, where.ino, int(why), sender, self.fs.boot(), where.igen,
            below_len if below != NO_DIGEST else 0, below, self._standing.beside.newest(),
        ))  # fmt: skip
        self.end, self._size = first, at
        self._standing.here = True

    def _cut(self, offset, keep, what="torn, goes on from offset"):
        size = self.destination.size()
        if keep < size:
            kept = self.destination.cut(keep)
            self._ledger.note("cut", offset=offset, bytes=size - keep, kept=kept)
            text = f"{what} {offset}; {size - keep} bytes kept as {kept}"
            self._say("warning", f"{self.destination.path}: {text}")

    # --- rotated files

    def _set_aside(self):
        """In a mirror: the generation before gets a name of its own, if it stands here."""
        if self.destination.size() or (self._ledger.stretch is not None and self._standing.here):
            name = self.destination.set_aside()
            self._standing.here = False
            self._ledger.note("aside", name=name)

    def _piece_of(self, done, grown=False):
        """(path, (device, inode)) of the rotated file that holds a complete generation, and nothing
        behind it but, perhaps, late bytes; or None."""
        complete, end = done.complete, done.place + done.complete.length
        length, digest = complete.length, complete.digest
        if digest == NO_DIGEST:
            length, digest = complete.generation.head_len, complete.generation.head
        for reader in self._standing.beside.plain() if done.place >= 0 else ():
            with closing(reader):
                size = reader.status()[0]
                if size == end or (grown and size > end):
                    if digest_of(reader.read, done.place, length) == digest:
                        return reader.path, (reader.dev, reader.ino)
        return None
