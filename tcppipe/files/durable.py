"""What was appended to a copy is made durable, and compared with what was read at the origin.

Bytes are durable before they are acknowledged.  Others may truncate the destination meanwhile,
write to it, rename or delete it: what was appended last and is gone by then is not acknowledged, and
comes again.  A crash leaves a mark in the ledger that may lag, and never leads.
"""

from contextlib import suppress

from tcppipe.cursor import HEAD, NO_DIGEST, TAIL
from tcppipe.errors import LinkLost, SyncFailed, reason
from tcppipe.files.blocked import blocked
from tcppipe.files.placed import Placed
from tcppipe.files.rolling import Crc32, Rolling
from tcppipe.files.stretches import Mark
from tcppipe.wire.events import Why


class Durable(Placed):
    """durable: every byte of the generation below is known to be durable."""

    def __init__(self, *what):
        super().__init__(*what)
        self.durable = 0
        self._marked = 0  # the offset of the last mark
        self._digest = None  # of the generation
        self._failed = self._disturbed = False  # a sync has failed; somebody truncated the file
        self._begun = False  # the agreement is over, so the destination may change its file
        self._reopened = False  # it has changed, and the ledger does not say so yet
        self._syncing = None  # (offset, check, Job): what is being made durable beside us
        self._checked = False  # the source says what it has read: nothing else is durable
        self._check = (0, 0)  # offset and CRC-32 that it said last
        self._resumed = 0  # the Begin's offset: what is below was compared before
        self._back = None  # the same of what stands in the destination, read back; or None

    @property
    def marked(self):
        """True when the ledger has a mark in the present generation."""
        return self.known and self._ledger.mark.offset > 0

    @property
    def unmarked(self):
        """True when more is durable than the ledger's mark says."""
        return self.known and self._marked != self.durable

    @property
    def dirty(self):
        """True when something was appended that no sync was begun for."""
        begun = self.durable if self._syncing is None else self._syncing[0]
        return self.end > begun

    @property
    def syncing(self):
        """True while a sync is under way in the background."""
        return self._syncing is not None

    @property
    def sync_over(self):
        """True when it has ended: synced() has something to tell."""
        return self._syncing is not None and self._syncing[-1].done

    # --- syncs

    def sync(self):
        """Make all that was appended durable, and return the offset below which it is.

        Raises SyncFailed: the descriptor is not to be used any more.
        """
        self._flush()
        self._check_name()
        return self.durable

    def _flush(self):
        """The same, whether or not a name leads to the file any more."""
        self._join()
        end = self.end
        try:
            self.destination.sync()
            self._read_back(self._check)
        except OSError as error:
            raise self._not_synced(error) from None
        self._synced(end, self._check)

    def begin_sync(self, syncer):
        """The same in the background: synced() tells when it has ended.  One at a time."""
        sync, check = self.destination.syncing(), self._check

        def work():
            sync()
            self._read_back(check)

        self._syncing = self.end, check, syncer.start(work)

    def synced(self):
        """True when the sync that was begun has ended by now.  Raises SyncFailed."""
        if self._syncing is None or not self._syncing[-1].done:
            return False
        self._join()
        self._check_name()
        return True

    def _join(self):
        """A sync under way comes first: it may be the one that is told of a failure."""
        if self._syncing is None:
            return
        (end, check, sync), self._syncing = self._syncing, None
        sync.wait()
        if sync.error is not None:
            raise self._not_synced(sync.error)
        self._synced(end, check)

    def _check_name(self):
        """What was appended last to a file that somebody has deleted is not acknowledged."""
        try:
            if not self.fs.fstat(self.destination.fd).st_nlink:
                raise SyncFailed(f"{self.destination.path}: was deleted; begins anew")
        except OSError as error:
            raise self._not_synced(error) from None

    def _synced(self, end, check):
        self.durable = max(self.durable, min(end, self._compared(check)) if self._checked else end)

    def _not_synced(self, error):
        self._failed = True
        return SyncFailed(f"{self.destination.path}: cannot sync: {reason(error)}")

    # --- what was read at the origin is what stands here

    def compare(self, offset, crc):
        """The source has read bytes with this CRC-32 from the Begin up to `offset`."""
        self._check = (offset, crc)
        if self._back is None:  # what was before is out of reach
            self._back = Rolling(self._standing.read, Crc32(crc), offset)

    def _read_back(self, check):
        """Read what stands in the destination, up to a check's offset.  Raises OSError."""
        if self._back is not None:
            self._back.advance(check[0], check[0])

    def _compared(self, check):
        """The offset up to which what was read back is what the source has read.

        Raises SyncFailed or LinkLost: it is not, or not there, and comes again.
        """
        offset, crc = check
        if self._back is not None and self._back.offset < offset:
            with blocked(self.destination.path, "cannot read"):
                self._truncated(self.destination.size())
        elif self._back is not None and self._back.offset == offset:
            if self._back.digest() != crc:
                self._failed = True
                self._cut_altered()
                raise SyncFailed(
                    f"{self.destination.path}: bytes below offset {offset} are not those that were "
                    "read at the origin; they are sent again (check memory, network and disk)"
                )
        return offset

    def _cut_altered(self):
        """What is not what was read is no part of the copy, and was never acknowledged: if the origin
        is rewritten before it comes again, nothing could tell any more."""
        stretch = self._ledger.stretch
        first = max(self.durable, self._resumed, stretch.first)
        with suppress(OSError):  # then it stands there until it is compared
            place = stretch.at + first - stretch.first
            self._cut(first, place, "altered by somebody, goes on from offset")

    def mark(self):
        """Note in the ledger how far the copy is durable, if that is news.  Raises Blocked."""
        if not self.unmarked:
            return
        stretch = self._ledger.stretch
        if self.durable < stretch.first:
            return  # nothing of the stretch is: it goes on behind a truncation just now
        with blocked(self._path, "cannot write the ledger"):
            head_len, head = stretch.generation.head_len, stretch.generation.head
            if self._ledger.mark.head_len > head_len:
                head_len, head = self._ledger.mark.head_len, self._ledger.mark.head
            if stretch.first == 0 and not HEAD <= head_len <= self.durable:
                head_len = min(HEAD, self.durable)
                head = self._standing.digest(0, head_len)
            tail_len = min(TAIL, self.durable - stretch.first)
            tail = self._standing.digest(self.durable - tail_len, tail_len)
            if tail == NO_DIGEST or (head_len and head == NO_DIGEST):
                return  # truncated by somebody; the older mark still proves something
            self._ledger.note_mark(Mark(self.durable, head_len, head, tail_len, tail))
            self._marked = self.durable

    @property
    def behind(self):
        """Bytes that are not in the generation's digest yet."""
        return 0 if self._digest is None else max(0, self.end - self._digest.offset)

    def rest(self, limit):
        """Use a quiet moment to take `limit` more bytes into the generation's digest."""
        before = self._digest.offset
        try:
            self._digest.advance(self.end, limit)
        except OSError:
            return  # finish() will say it if it matters
        if self._digest.offset == before:
            self._digest = None  # they are out of reach

    def _catch_up(self):
        """Finish the digests before the bytes are out of reach."""
        if self._digest is not None and not self._digest.advance(self.end, self.end):
            self._digest = None
        if self._back is not None and not self._back.advance(self.end, self.end):
            self._back = None

    # --- others touch the destination

    def look(self):
        """See whether somebody has written to the destination, truncated or deleted it.

        Raises OSError, or SyncFailed or LinkLost: what was appended last is gone, and comes again.
        """
        status = self.fs.fstat(self.destination.fd)
        if not status.st_nlink:
            raise SyncFailed(f"{self.destination.path}: was deleted; begins anew")
        if status.st_size < self._size:
            self._truncated(status.st_size)
        elif status.st_size > self._size:
            self._displaced(status.st_size)

    def _displaced(self, at):
        """Somebody else has written here: the next byte stands behind that."""
        text = "somebody else has written here; goes on from there"
        self._say("warning", f"{self.destination.path}: {text}")
        self._flush()
        self.mark()
        self._catch_up()
        self._stretch(self._ledger.stretch.generation, self.end, at, Why.FOREIGN)

    def _truncated(self, size):
        """Somebody has truncated the destination, perhaps after copying it: copytruncate.

        What was appended between the copy and the truncation is in neither.  Unless nothing was,
        the connection is made anew, and goes on at the end of the copy.
        """
        self._join()
        self._check_kept()
        self._say("warning", f"{self.destination.path}: was truncated here; goes on from there")
        self._digest = self._back = None
        self.durable = max(self.durable, self._check[0] if self._checked else self.end)
        self._stretch(self._ledger.stretch.generation, self.end, size, Why.FOREIGN)

    def _check_kept(self):
        """Raises LinkLost when somebody has truncated the destination and what stood in it may not
        all be in a copy."""
        standing = self._standing
        if self.destination.size() >= self._size or standing.copied(self._size):
            return
        if self.end != self.durable or standing.copied():
            self._disturbed = True
            text = "was truncated here while bytes came; connects anew for what is missing"
            raise LinkLost(f"{self.destination.path}: {text}")

    def reopen(self):
        """Open the destination by name again, if it was renamed.  Raises Blocked, SyncFailed.

        During an agreement this waits: what was offered stands in the old file.
        """
        with blocked(self.destination.path, "cannot reopen"):
            if not self._begun or not (self._reopened or self.destination.moved()):
                return
            if not self._reopened:
                if self._ledger.late is not None:
                    self._standing.undo_late()
                self._check_kept()
                self._flush()  # a file that was moved to another disk counts as rotated, too
                self.mark()
                self._catch_up()
                self.destination.open()
                self._reopened = True  # all that is missing is the stretch
            generation = self._ledger.stretch.generation
            self._stretch(generation, self.end, self.destination.size(), Why.RESUMED)
            self._reopened = False
