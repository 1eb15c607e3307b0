"""One pipe's copy: a destination and the ledger that says what stands in it.

Does what a sink session asks for.  The order is always the same: what the ledger says
of bytes is durable before the bytes are appended, bytes are durable before they are
acknowledged.  A step that fails raises Blocked and can be made again as it is.
"""

import hashlib
import os
from contextlib import closing, suppress

from tcppipe.cursor import HEAD, NO_DIGEST, TAIL, UNKNOWN
from tcppipe.errors import Blocked, Busy, LinkLost, SyncFailed, reason
from tcppipe.files import words
from tcppipe.files.blocked import blocked
from tcppipe.files.destination import Destination
from tcppipe.files.fs import REAL
from tcppipe.files.ledger import Ledger
from tcppipe.files.rolling import Crc32, Digests, Rolling, digest_of
from tcppipe.files.standing import LIKELY, Standing
from tcppipe.files.stretches import Mark, Stretch
from tcppipe.wire.events import Why

UNTOLD = 16 << 20  # bytes of which nobody knows whose they are that are searched for late ones
PROOF = 1024  # bytes by which a copy of the destination is known
REWRITTEN_AT_ONCE = 8 << 20  # bytes that offer() writes again before others have their turn
HASHED_AT_ONCE = 2 << 20  # bytes of a digest that finish() makes before others have their turn


class Copy:
    """The copy at `destination` (a Destination, opened here) with the ledger file `path`.

    say: a function (level, text) for what people should know.  mirror: each generation has a
    file of its own; the one before is set aside when the next begins.  hold: a function that
    keeps all others from the destination: what it returns is closed at the end.
    end: the generation's offset that the next appended byte has.
    durable: every byte of the generation below is known to be durable.
    """

    def __init__(self, destination, path, say, fs=REAL, mirror=False, hold=None):
        self.destination = destination
        self.fs = fs
        self.end = 0
        self.durable = 0
        self._path = path
        self._mirror = mirror
        self._hold = hold
        self._held = None
        self._standing = None
        self._say = say
        self._ledger = None
        self._size = 0  # what the destination's size must be, if nobody else writes to it
        self._marked = 0  # the offset of the last mark
        self._finished = None  # the End that was recorded last, and the answer to it
        self._digest = None
        self._proving = None  # the Digests that prove() is making
        self._offered = self._again = None  # while what is suspect is written again: how far it is
        self._suspect = False  # what is not known to be durable has to be written again
        self._failed = self._disturbed = False  # a sync has failed; somebody truncated the file
        self._complete = None  # the generation that ended last, and its SHA-256 as it goes on
        self._begun = False  # the agreement is over, so the destination may change its file
        self._reopened = False  # it has changed, and the ledger does not say so yet
        self._syncing = None  # (offset, check, Job): what is being made durable beside us
        self._checked = False  # the source says what it has read: nothing else is durable
        self._check = (0, 0)  # offset and CRC-32 that it said last
        self._resumed = 0  # the Begin's offset: what is below was compared before
        self._back = None  # the same of what stands in the destination, read back; or None

    @property
    def known(self):
        """True when the ledger tells of a generation."""
        stretch = self._ledger.stretch if self._ledger is not None else None
        return stretch is not None and stretch.generation != UNKNOWN

    @property
    def marked(self):
        """True when the ledger has a mark in the present generation."""
        return self.known and self._ledger.mark.offset > 0

    @property
    def unmarked(self):
        """True when more is durable than the ledger's mark says."""
        return self.known and self._marked != self.durable

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

    # --- the agreement

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

    # --- the stream

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
            self._digest = (
                Rolling(self._standing.read, hashlib.sha256())
                if self._ledger.stretch.first == 0
                else None
            )
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

    def _set_aside(self):
        """In a mirror: the generation before gets a name of its own, if it stands here."""
        if self.destination.size() or (self._ledger.stretch is not None and self._standing.here):
            name = self.destination.set_aside()
            self._standing.here = False
            self._ledger.note("aside", name=name)

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
        return generation[:4] == self.generation[:4]

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

    def _open_piece_of(self, aside, done):
        """Open the rotated file that a generation ends in: by its numbers, or by its content."""
        if not aside.open_rotated(done.dev, done.ino):
            piece = self._piece_of(done, grown=True)
            if piece is None:
                return False
            aside.open_piece(*piece)
        return aside.writable

    def _tell(self, begin):
        what = {
            Why.WITNESSED: "the ledger is lost; goes on where the source says",
            Why.RESENT: "the whole origin is sent once more",
            Why.FOREIGN: "somebody else has written here; goes on behind that",
            Why.FORKED: "the origin was rewritten; its new content goes behind the old",
            Why.LOST: "the origin's old generation is gone; goes on with a later one",
        }
        if begin.why == Why.WITNESSED and self._ledger.stretch is not None:
            text = "the ledger is older than the copy; goes on behind all that the origin has of it"
            self._say("warning", f"{self.destination.path}: {text}")
        elif begin.why in what:
            self._say("warning", f"{self.destination.path}: {what[begin.why]}")
        elif begin.why == Why.FRESH and self._ledger.stretch is None:
            rotated = self._standing.beside.rotated()
            if rotated:
                text = (
                    f"nothing is recorded of this pipe, and rotated files stand here ({rotated[-1]}): "
                    "the whole origin is sent, perhaps once more; was its ledger lost, or renamed?"
                )
                self._say("critical", f"{self.destination.path}: {text}")

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

    def _cut(self, offset, keep, what="torn, goes on from offset"):
        size = self.destination.size()
        if keep < size:
            kept = self.destination.cut(keep)
            self._ledger.note("cut", offset=offset, bytes=size - keep, kept=kept)
            text = f"{what} {offset}; {size - keep} bytes kept as {kept}"
            self._say("warning", f"{self.destination.path}: {text}")

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

    # --- late bytes

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
        late = {"of": list(done.complete.generation[:4]), "offset": known, "bytes": len(data)}
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
        elif of != done.complete.generation[:4]:
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

    def _complete_grew(self, late, data):
        if self._complete is not None and self._complete[0] == tuple(late["of"]):
            self._complete[1].update(data)

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
                self._complete = self.generation[:4], self._digest.hashed()
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

    # --- the destination changes its file

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
