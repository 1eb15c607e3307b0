"""What stands in a destination, by the ledger and by what is really there.

Makes the sink's offer: which generation, up to where, what of it is durable, and whether it is
still what was recorded.  The destination may have been rotated, copied and truncated, compressed
or torn since; its content tells.  Writes nothing but the undoing of late bytes that are
not complete.
"""

from tcppipe.cursor import NO_DIGEST, UNKNOWN
from tcppipe.files.generations import Broken
from tcppipe.files.rolling import digest_of
from tcppipe.wire.events import Have, Holding


class Standing:
    """The destination and its ledger, both open, as one pipe's copy finds them.

    old: a Reader of what stood in the destination until it was rotated away, or None.
    say: a function (level, text).  Methods raise OSError.
    """

    def __init__(self, destination, ledger, say):
        self.destination = destination
        self.ledger = ledger
        self.old = None
        self._say = say

    def offer(self, sender):
        """What is here, as a Have; sender: the key of the source."""
        self.release()
        stretch = self.ledger.stretch
        if stretch is None or stretch.generation == UNKNOWN:
            size = self.destination.size()
            return Have(Holding.UNRECORDED if size else Holding.NOTHING, end=size)
        if self.destination.moved() or not self.is_here(stretch):
            device = None if self.rebooted else stretch.dev
            self.destination.open_rotated(device, stretch.ino)
        if self.is_here(stretch):
            self.undo_late()
        return self._offer_recorded(stretch, self.destination.size(), sender)

    def _offer_recorded(self, stretch, size, sender):
        ledger, mark = self.ledger, self.ledger.mark
        known = stretch.at + max(mark.offset, stretch.first) - stretch.first
        here = self.is_here(stretch) and size >= stretch.at
        self.old = None if here and size >= known else self._find_old(stretch, known)
        if self.old is not None:
            size = self.old.status()[0]
        emptied = size == 0 and ledger.clean
        if self.old is not None or (here and not emptied):
            first, end = stretch.first, stretch.first + size - stretch.at
        else:  # out of reach, or emptied by somebody: what was durable is believed
            first = end = max(mark.offset, stretch.first)
        damaged = end < mark.offset
        if mark.tail_len and first <= mark.offset - mark.tail_len and not damaged:
            tail = self.digest(mark.offset - mark.tail_len, mark.tail_len)
            damaged = tail != mark.tail
        if damaged:
            self._say("critical", f"{self.destination.path}: damaged below what was durable")
        generation = stretch.generation
        if mark.head_len > generation.head_len:
            generation = generation._replace(head_len=mark.head_len, head=mark.head)
        return Have(
            Holding.RECORDED, ledger.clean, damaged, ledger.closed, ledger.resent_by == sender,
            self._may_be_torn(size), generation, first, end, mark.offset, mark.tail_len, mark.tail,
            *ledger.previous,
        )  # fmt: skip

    def _find_old(self, stretch, known):
        """A Reader of the rotated file, or the copy, that holds the stretch; None: there is none.

        known: bytes that it must have if nothing of it was lost.  It is told by the bytes
        below the mark, or by the generation's first ones: then some of it is missing.
        """
        mark = self.ledger.mark
        tail = (known - mark.tail_len, mark.tail_len, mark.tail)
        head = (stretch.at, mark.head_len, mark.head)
        for reader in self.destination.copies():
            if mark.tail_len and _holds(reader, tail):
                return reader
            if mark.head_len and stretch.first == 0 and _holds(reader, head):
                return reader
            reader.close()
        return None

    def _may_be_torn(self, size):
        """True after a restart of the machine, and when the destination ends in a zero."""
        if self.rebooted:
            return True
        return size > 0 and self.destination.read(1, size - 1) == b"\0"

    @property
    def rebooted(self):
        """True when the machine was started anew since the ledger was written last."""
        return self.ledger.boot != self.destination.fs.boot()

    def is_here(self, stretch):
        """True when the destination is the file that the stretch stands in.

        A start of the machine may give its file system another device number.
        """
        same_device = self.rebooted or stretch.dev == self.destination.dev
        reused = stretch.igen and self.destination.igen not in (0, stretch.igen)
        return same_device and stretch.ino == self.destination.ino and not reused

    def digest(self, first, length):
        """The SHA-256 of bytes of the current stretch; NO_DIGEST when they are not all there."""
        return digest_of(self.read, first, length) or NO_DIGEST

    def read(self, length, offset):
        """Bytes of the current stretch by the generation's offset."""
        stretch = self.ledger.stretch
        if stretch is not None and stretch.generation != UNKNOWN:
            offset += stretch.at - stretch.first
        if self.old is not None:
            return self.old.read(length, offset)
        return self.destination.read(length, offset)

    def undo_late(self):
        """Late bytes behind which the stream has not gone on may be incomplete: they come again."""
        late = self.ledger.late
        if late is not None:
            if 0 <= late["at"] < self.destination.size():
                self.destination.cut(late["at"])
            self.ledger.note("late_undone")

    def release(self):
        """Let go of what was rotated away."""
        if self.old is not None:
            self.old.close()
            self.old = None


def _holds(reader, place):
    """True when a Reader has these bytes: (first, length, SHA-256)."""
    first, length, digest = place
    try:
        return reader.digest(first, length) == digest
    except Broken:
        return False
