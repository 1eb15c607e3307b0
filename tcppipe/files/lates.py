"""Late bytes: what was written to a generation after it was complete.

An intent is durable before they are appended, and the ledger counts them when they are there: so they
are there once after whatever fails, or are undone and come again.
"""

import hashlib

from tcppipe.files import words
from tcppipe.files.begun import Begun
from tcppipe.files.blocked import blocked
from tcppipe.files.destination import Destination
from tcppipe.wire.events import Why

UNTOLD = 16 << 20  # bytes of which nobody knows whose they are that are searched for late ones


class Lates(Begun):
    """Takes late bytes."""

    def __init__(self, *what):
        super().__init__(*what)
        self._complete = None  # the generation that ended last, and its SHA-256 as it goes on

    def append_late(self, generation, offset, data):
        """Append what was added to a generation after its end; then the present one goes on.

        An intent is durable before it, and the ledger counts them when they are there: so they
        are there once after whatever fails, or are undone and come again.  generation: None
        for one that was complete before this connection.  Raises Blocked, SyncFailed.
        """
        done = self._late_of(generation, offset)
        if done is None or offset > done.complete.length:
            self._no_place(generation, offset, data)
            return
        known = done.complete.length
        data = data[known - offset :]
        if not data:
            return
        late = {"of": list(done.complete.generation.key), "offset": known, "bytes": len(data)}
        late["sha256"] = self._late_digest(done, known, data)
        with blocked(self.destination.path, "cannot append"):
            if self._mirror:
                self._append_late_aside(done, late, data)
            elif (there := self._stands_untold(data)) is not None:
                self._ledger.note("late", **late, at=-1, there=there)
            else:
                self._append_late_here(late, data)

    def _late_of(self, generation, offset):
        """The Done of a generation; of one before the connection, that which ends there."""
        if generation is not None:
            return self._ledger.done(generation)
        before = [self._ledger.done(one.generation) for one in self._standing.past]
        before = [done for done in reversed(before) if done is not None]
        fits = [done for done in before if done.complete.length == offset]
        return (fits or before or [None])[0]

    def _no_place(self, generation, offset, data):
        self._say(*words.dropped(self.destination.path, len(data)))
        ino = generation.ino if generation is not None else 0
        with blocked(self._path, "cannot write the ledger"):
            self._ledger.note(
                "gap",
                first=offset,
                last=offset + len(data),
                ino=ino,
                why="late, and without a place",
            )

    def _late_digest(self, done, known, data):
        """The digest of a generation with its late bytes, in hex; "" when nobody knows it."""
        of, sha = self._complete or (None, None)
        if not known:
            sha = hashlib.sha256()
        elif of != done.complete.generation.key:
            return ""
        sha = sha.copy()
        sha.update(data)
        return sha.hexdigest()

    def _stands_untold(self, data):
        """In which place late bytes stand of which the record is lost; or None."""
        where, stretch = self.destination, self._ledger.stretch
        if stretch.file != (where.dev, where.ino):
            return None
        for first, last, at, alone in self._ledger.untold():
            there = where.read(len(data) if alone else min(UNTOLD, last - at), at)
            if at + len(data) <= last and bytes(data) in there:
                return first
        return None

    def _append_late_here(self, late, data):
        begun = self._ledger.late
        if begun is None or any(begun[key] != value for key, value in late.items()):
            self._standing.undo_late()
            self.sync()
            self.mark()
            self._catch_up()
            self._ledger.note("late", **late, at=self.destination.size())
        at = self._ledger.late["at"]
        while rest := data[self.destination.size() - at :]:
            self.destination.append(rest)
        self.sync()
        generation = self._ledger.stretch.generation
        self._stretch(generation, self.end, self.destination.size(), Why.RESUMED)
        self._complete_grew(late, data)

    def _append_late_aside(self, done, late, data):
        """In a mirror late bytes go to the end of their generation's own file."""
        aside = Destination(self.destination.path, fs=self.fs, durable=self.destination.durable)
        try:
            if not self._open_piece_of(aside, done):
                self._no_place(done.complete.generation, late["offset"], data)
                return
            size, place = aside.size(), done.place + late["offset"]
            before = data[: max(0, size - place)]  # a crash may have left a part of them
            if size < place or aside.read(len(before), place) != before:
                self._no_place(done.complete.generation, late["offset"], data)
                return
            rest = data[len(before) :]
            while rest:
                rest = rest[aside.append(rest)[1] :]
            aside.rewrite(place, aside.size())
            aside.sync()
        finally:
            aside.close()
        self._ledger.note("late", **late, at=-1, file=[aside.dev, aside.ino])
        self._complete_grew(late, data)

    def _open_piece_of(self, aside, done):
        """Open the rotated file that a generation ends in: by its numbers, or by its content."""
        if not aside.open_rotated(done.dev, done.ino):
            piece = self._piece_of(done, grown=True)
            if piece is None:
                return False
            aside.open_piece(*piece)
        return aside.writable

    def _complete_grew(self, late, data):
        if self._complete is not None and self._complete[0] == tuple(late["of"]):
            self._complete[1].update(data)
