"""One pipe's copy: a destination and the ledger that says what stands in it.

Does what a sink session asks for.  The order is always the same: what the ledger says
of bytes is durable before the bytes are appended (files/placed), bytes are durable before they are
acknowledged (files/durable).  A step that fails raises Blocked and can be made again as it is.
How a copy goes on is in files/begun, what comes late in files/lates.
"""

import hashlib
from contextlib import suppress

from tcppipe.cursor import HEAD, NO_DIGEST, UNKNOWN
from tcppipe.errors import Blocked, Busy, LinkLost, SyncFailed
from tcppipe.files import words
from tcppipe.files.blocked import blocked
from tcppipe.files.fs import REAL
from tcppipe.files.lates import Lates
from tcppipe.files.placed import HASHED_AT_ONCE
from tcppipe.files.stretches import Mark
from tcppipe.wire.events import Why


class Copy(Lates):
    """The copy at `destination` (a Destination, opened here) with the ledger file `path`.

    say: a function (level, text) for what people should know.  mirror: each generation has a
    file of its own; the one before is set aside when the next begins.  hold: a function that
    keeps all others from the destination: what it returns is closed at the end.
    """

    def __init__(self, destination, path, say, fs=REAL, mirror=False, hold=None):
        super().__init__(destination, path, say, fs, mirror, hold)
        self._finished = None  # the End that was recorded last, and the answer to it

    def append(self, offset, data):
        """Append `data`, which begins at the generation's `offset`.

        Raises Blocked; what was written by then is known, so the same call goes on.
        """
        view = memoryview(data)[self.end - offset :]
        with blocked(self.destination.path, "cannot append"):
            if view and self._ledger.closed:
                self._ledger.note("reopened")
            while view:
                self.look()
                self._tell_first(view)
                count = self._write(view)
                self.end += count
                view = view[count:]

    def _tell_first(self, view):
        """With which bytes a generation begins is in the ledger before they stand anywhere: so it is
        known among others, and from somebody else's bytes, if nothing of it lasts."""
        generation = self.generation
        if self.end or generation == UNKNOWN or self._ledger.mark.head_len:
            return
        head = view[:HEAD]
        with blocked(self._path, "cannot write the ledger"):
            self._ledger.note_mark(Mark(0, len(head), hashlib.sha256(head).digest()))

    def _write(self, view):
        """One write of the generation's next bytes; how many they were."""
        at, count = self.destination.append(view)
        if at < self._size:  # it was truncated right before: these come again
            if self.destination.size() == at + count:
                self.fs.ftruncate(self.destination.fd, at)
            self._truncated(at)
            return 0
        if at > self._size:
            try:
                self._displaced(at)
            except (OSError, Blocked) as error:  # they stand there, and nothing says so
                raise self._not_synced(error) from None
        self._size += count
        return count

    def finish(self, end):
        """The generation is complete: sync, record, and return (length, digest or NO_DIGEST).

        Raises Busy while there is more to do, and Blocked or SyncFailed.
        """
        if self._finished is not None and self._finished[0] is end:
            return self._finished[1]
        before = self.behind
        if before > HASHED_AT_ONCE and end.why != Why.RESUMED:
            self.rest(HASHED_AT_ONCE)
            if self.behind < before:
                raise Busy(f"{self.destination.path}: makes the digest of a generation")
        with blocked(self.destination.path, "cannot read"):
            if self.destination.size() < self._size:
                self._truncated(self.destination.size())
        self.sync()
        self.mark()
        digest = NO_DIGEST
        with blocked(self.destination.path, "cannot read"):
            self._catch_up()
            if self._digest is not None and end.why != Why.RESUMED:
                digest = self._digest.digest()
                self._complete = self.generation.key, self._digest.hashed()
        verdict = "not compared"
        if NO_DIGEST not in (digest, end.digest):
            verdict = "equal" if digest == end.digest else "different"
        with blocked(self._path, "cannot write the ledger"):
            self._ledger.note(
                "end",
                length=end.length,
                why=int(end.why),
                sha256=digest.hex(),
                verdict=verdict,
                said=end.digest.hex(),
            )
        at = self.destination.path
        self._say(*words.completed(at, end, self.end, digest, self.generation))
        self._finished = (end, (self.end, digest))
        return self._finished[1]

    def gap(self, gap):
        """Record bytes that nobody can read any more.  Raises Blocked."""
        why = gap.reason.decode(errors="replace")
        self._say(*words.lost(self.destination.path, gap, why))
        with blocked(self._path, "cannot write the ledger"):
            self._ledger.note(
                "gap", first=gap.first, last=gap.last, ino=gap.generation.ino, why=why
            )

    def begin_lines(self):
        """Make ready for bytes whose generation nobody tells (version 1).  Raises Blocked."""
        self.open()
        with blocked(self.destination.path, "cannot begin"):
            self._stretch(UNKNOWN, 0, self.destination.size(), Why.FRESH)
        self._begun = True

    def close(self, clean):
        """Let go of everything; clean: sync and record that the end was in order."""
        try:
            if (
                clean and self._begun and not (self._failed or self._disturbed)
            ):  # before that nothing of it was proved
                self.sync()
                self.mark()
                self.destination.close()  # this, too, can tell that bytes are not on the disk
                if self.durable == self.end:  # else its end was not compared yet
                    self._ledger.note_clean()
            elif self._failed and self._ledger is not None:
                self._ledger.note("unsynced")
        except (Blocked, SyncFailed, LinkLost, OSError):
            pass  # then the end was not clean, which is what the ledger says
        if self._standing is not None:
            self._standing.release()
        for thing in (self.destination, self._ledger):
            with suppress(OSError):
                if thing is not None:
                    thing.close()
        held, self._held = self._held, None
        if held is not None:
            self.fs.close(held)
