"""What a copy offers, and how it goes on from what was agreed.

Goes on in its place, or behind what somebody else has written, or in a new file.  What is cut off
is kept.  Each step that changes something is recorded before; a crash does it again.
"""

import hashlib
import os

from tcppipe.errors import Busy, LinkLost
from tcppipe.files.blocked import blocked
from tcppipe.files.durable import Durable
from tcppipe.files.rolling import Crc32, Rolling
from tcppipe.files.standing import LIKELY
from tcppipe.wire.events import Why

REWRITTEN_AT_ONCE = 8 << 20  # bytes that offer() writes again before others have their turn
TOLD = {
    Why.WITNESSED: "the ledger is lost; goes on where the source says",
    Why.RESENT: "the whole origin is sent once more",
    Why.FOREIGN: "somebody else has written here; goes on behind that",
    Why.FORKED: "the origin was rewritten; its new content goes behind the old",
    Why.LOST: "the origin's old generation is gone; goes on with a later one",
}


class Begun(Durable):
    """Begins generations, and goes on with them."""

    def __init__(self, *what):
        super().__init__(*what)
        self._offered = self._again = None  # while what is suspect is written again: how far it is
        self._suspect = False  # what is not known to be durable has to be written again

    def offer(self, sender):
        """What is here, as a Have; sender: the key of the source.

        Raises Busy while there is more to do, and Blocked.
        """
        self.open()
        self._begun = False
        if self._offered is None:
            with blocked(self.destination.path, "cannot read"):
                self._offered = self._standing.offer(sender)
            self._suspect = not self._ledger.clean and not self._standing.rebooted
            self._again = self._first_suspect() if self._suspect and self._standing.here else None
        with blocked(self.destination.path, "cannot write again"):
            self._write_again()
        have, self._offered = self._offered, None
        self.end = have.end
        return have

    def _write_again(self):
        """What is not known to be on the disk is written once more, in its place, a part at a time.

        After a failed sync the kernel counts the bytes as written and the next sync succeeds;
        who has seen it fail may have been killed.  A start of the machine leaves only what is
        on the disk.  Before it is compared: what could be read then may be forgotten soon after.
        """
        size = self.destination.size()
        if self._again is None or self._again >= size:
            return
        last = min(size, self._again + REWRITTEN_AT_ONCE)
        self.destination.rewrite(self._again, last)
        if last == size:
            self.destination.sync()
        self._again = last
        if last < size:
            raise Busy(
                f"{self.destination.path}: is written again, as far as it may not be on the disk"
            )

    def _first_suspect(self):
        """The place from which on nothing is known to be on the disk."""
        mark, first = self._ledger.mark.offset, None
        for stretch in reversed(self._ledger.stretches):
            if (stretch.dev, stretch.ino) != (self.destination.dev, self.destination.ino):
                break
            first = stretch.at + max(0, mark - stretch.first)
            if stretch.first <= mark:
                break
        if first is None:
            stretch, known = self._standing.stretch, self._standing.back is None
            first = 0 if stretch is None else stretch.at
            first += max(0, mark - stretch.first) if stretch is not None and known else 0
        return first

    def begin(self, begin, sender=b"", checked=False):
        """Make ready for a generation's bytes from begin.offset on.  Raises Blocked.

        checked: compare() will be called behind them, and nothing is durable before that.
        """
        with blocked(self.destination.path, "cannot begin"):
            if self._begun:  # a generation came before it
                self._check_kept()
            if begin.why == Why.RESUMED:
                self._resume(begin.offset, begin.generation)
            elif begin.why == Why.ADOPTED and self._standing.unproved:
                size = self.destination.size()
                self._stretch(begin.generation, begin.offset, size, Why.ADOPTED)
            elif begin.why == Why.ADOPTED:
                self._stretch(begin.generation, 0, 0, Why.ADOPTED)
                self.end, self._size = begin.offset, self.destination.size()
            elif begin.why == Why.REOPENED:
                self._reopen_generation(begin, sender)
            else:
                self._begin_behind(begin, sender)
            mark = self._ledger.mark.offset
            self.durable = min(self.end, mark)
            self._marked = mark if mark <= self.end else -1
            self._digest = None
            if self._ledger.stretch.first == 0:
                self._digest = Rolling(self._standing.read, hashlib.sha256())
            self._checked, self._check, self._resumed = checked, (begin.offset, 0), begin.offset
            self._back = Rolling(self._standing.read, Crc32(), begin.offset) if checked else None
        self._standing.release()
        self._suspect = False
        self._begun = True
        self.reopen()

    def _begin_behind(self, begin, sender):
        """Bytes that do not go on where those of the ledger end stand behind what is here."""
        self._tell(begin)
        self._leave_behind()
        self._go_back(None)
        if self.destination.moved():
            self.destination.open()
            self._standing.here = False
        if self._mirror and begin.offset == 0:
            self._set_aside()
        self._stretch(begin.generation, begin.offset, self.destination.size(), begin.why, sender)

    def _go_back(self, offset):
        """The ledger tells of more than is here: it goes back to what was offered, if bytes come
        from this offset of that on, or (None) if others come behind it."""
        standing = self._standing
        back, standing.back = standing.back, None
        if back is not None:
            stretch, ended = back
            self._ledger.note_back(stretch, offset or self.end, ended and offset is None)
        elif offset is not None and offset < self._ledger.mark.offset:
            self._ledger.note_back(standing.stretch, offset, False)

    def _leave_behind(self):
        """Make durable what stands before a new stretch, here or in the file that was rotated away:
        no later sync does it.  Raises SyncFailed."""
        try:
            self.destination.sync()
            if self._standing.old is not None and self.destination.durable:
                self.fs.fdatasync(self._standing.old.fd)
        except OSError as error:
            raise self._not_synced(error) from None

    def _tell(self, begin):
        if begin.why == Why.WITNESSED and self._ledger.stretch is not None:
            text = "the ledger is older than the copy; goes on behind all that the origin has of it"
            self._say("warning", f"{self.destination.path}: {text}")
        elif begin.why in TOLD:
            self._say("warning", f"{self.destination.path}: {TOLD[begin.why]}")
        elif begin.why == Why.FRESH and self._ledger.stretch is None:
            rotated = self._standing.beside.rotated()
            if rotated:
                text = (
                    f"nothing is recorded of this pipe, and rotated files stand here ({rotated[-1]}): "
                    "the whole origin is sent, perhaps once more; was its ledger lost, or renamed?"
                )
                self._say("critical", f"{self.destination.path}: {text}")

    # --- a generation that goes on

    def _reopen_generation(self, begin, sender):
        """A generation that was complete goes on: the rotation of its origin was undone."""
        generation, offset = begin.generation, begin.offset
        done = self._ledger.done(generation)
        if self._ledger.closed and self._standing.here and self._is_present(generation):
            self._ledger.note("reopened")
            self._resume(offset, generation)
            return
        self._leave_behind()
        if self.destination.moved():
            self.destination.open()
        first = offset
        if self._mirror:
            piece = self._piece_of(done) if done is not None and not done.place else None
            self._set_aside()
            if piece is not None:
                self.fs.rename(piece[0], self.destination.path)
                self.fs.sync_directory(os.path.dirname(self.destination.path))
                self.destination.open()
                first = 0
        size = self.destination.size()
        if first == 0 and size >= offset:
            self._stretch(generation, 0, size - offset, Why.REOPENED, sender)
            self.end, self._size = offset, size
        else:
            self._stretch(generation, offset, size, Why.REOPENED, sender)

    def _is_present(self, generation):
        return generation.key == self.generation.key

    def _resume(self, offset, found):
        self._standing.check()
        if self._standing.unproved:
            self._keep_strangers(offset)
        self._go_back(offset)
        part = self._standing.part_of(offset)
        stretch, size = self._ledger.stretch, self.destination.size()
        keep = stretch.at + offset - stretch.first
        if part is not None:
            self._go_on_in(part, offset)
        elif not self._standing.here or size < stretch.at or not self._keeps(keep, size):
            self._leave_behind()
            self.destination.open()
            self._stretch(stretch.generation, offset, self.destination.size(), Why.RESUMED)
        else:
            self._cut(offset, keep)
            # only now: these say that the machine's restart is dealt with
            generation = self._ledger.runs[-1].generation
            moved = found.ino and not found.same_inode(generation)
            if moved:
                generation = generation._replace(dev=found.dev, ino=found.ino, igen=found.igen)
            if moved or (stretch.dev, stretch.ino) != (self.destination.dev, self.destination.ino):
                self._stretch(generation, stretch.first, stretch.at, Why.RESUMED)
            self._ledger.note_resume(offset, self.fs.boot())
            self.end, self._size = offset, keep

    def _keep_strangers(self, offset):
        """Nothing but its name says that the file is ours, and little or nothing of it is the
        origin's: then it is somebody else's, and stays."""
        standing, marked = self._standing, self._ledger.mark.offset
        stretch, size = standing.stretch, self.destination.size()
        there = size - stretch.at
        if not any(data.strip(b"\0") for data in self.destination.pieces(stretch.at)):
            return  # no stranger's: nothing of what was written there came to the disk
        if offset - stretch.first < (there if marked else min(there, standing.unproved)):
            if self.destination.moved():
                self.destination.open()
            size, first = self.destination.size(), max(marked, stretch.first)
            self._stretch(stretch.generation, first, size, Why.RESUMED)
            text = "somebody else has written here; connects anew to go on behind that"
            raise LinkLost(f"{self.destination.path}: {text}")

    def _keeps(self, keep, size):
        """False, and a word, when what should be cut off is somebody else's, or stands where nothing
        can be."""
        if keep < size and self._ledger.runs[-1].untouched:
            text = "somebody else has written here; goes on behind that"
            self._say("warning", f"{self.destination.path}: {text}")
            return False
        if keep < size and not self.destination.writable:
            text = (
                f"its rotated file ends in {size - keep} bytes that are not the origin's, and can"
            )
            self._say("critical", f"{self.destination.path}: {text} only be read")
            return False
        return True

    def _go_on_in(self, part, offset):
        """A file that the ledger did not know of goes on with the generation: it is older."""
        self._leave_behind()
        generation = self._ledger.stretch.generation
        self.destination.open()
        self._standing.here = True
        if offset - part.offset < min(part.length, LIKELY):
            self._stretch(generation, part.offset, self.destination.size(), Why.RESUMED)
            text = "somebody else has written here; connects anew to go on behind that"
            raise LinkLost(f"{self.destination.path}: {text}")
        if part.path == self.destination.path:
            keep = part.place + offset - part.offset
            self._cut(offset, keep)
            if self._suspect:
                self.destination.rewrite(part.place, self.destination.size())
            self._stretch(generation, part.offset, part.place, Why.RESUMED)
            self.end, self._size = offset, keep
        else:
            self._stretch(generation, offset, self.destination.size(), Why.RESUMED)
        text = "the ledger is older than the copy; compared with the origin, goes on from offset"
        self._say("warning", f"{self.destination.path}: {text} {offset}")
