"""What stands in a destination, by the ledger and by what is really there.

Makes the sink's offer: which generation, up to where, what of it is durable, and whether it is
still what was recorded.  A destination is its content: it may have been rotated, copied and
truncated, compressed, moved to another disk, restored from a backup that is older or newer than
the ledger, or torn since.  Device and inode only tell where to look first; what the ledger knows
of the bytes proves the file.  Writes nothing but the undoing of late bytes that are not complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, UNKNOWN
from tcppipe.errors import Busy, LinkLost
from tcppipe.files.aside import Beside, is_compressed
from tcppipe.files.destination import Destination
from tcppipe.files.generations import Broken
from tcppipe.files.ledger import Ledger
from tcppipe.files.proofs import Evidence, Scan, begun_with, below, file_key, holds, proofs_of
from tcppipe.files.reader import Reader
from tcppipe.files.rolling import Read, digest_of
from tcppipe.files.stretches import Mark, Run, Stretch
from tcppipe.files.told import in_file, is_told, newest_first, past_of
from tcppipe.process.trouble import Say
from tcppipe.rotated import is_rotated
from tcppipe.wire.events import Complete, Have, Holding

LIKELY = 64  # so many equal bytes at the beginning of a file are no chance
STEP = 2 << 20  # bytes of a compressed file that are read before others have their turn


File = Destination | Reader


class Offered(NamedTuple):
    """A part of what is offered: the generation's bytes from `offset` on stand in a file."""

    offset: int
    place: int
    length: int
    read: Read
    path: str = ""


class Standing:
    """The destination and its ledger, both open, as one pipe's copy finds them.

    here: the open destination is the file that the ledger's last stretch stands in, under its
    own name or another one.  old: a Reader of a compressed file that it stands in, or None.
    later: Parts in newer files that may go on with it: the ledger is older than they are.
    back: the (Stretch, ended) to which the ledger has to go back, or None.
    say: a function (level, text).  Methods raise OSError.
    """

    def __init__(
        self, destination: Destination, ledger: Ledger, say: Say, mirror: bool = False
    ) -> None:
        self.destination = destination
        self._mirror = mirror
        self.ledger = ledger
        self.here = False
        self.old: Reader | None = None
        self.later: list[Offered] = []
        self.back: tuple[Stretch, bool] | None = None
        self.unproved = 0  # nothing but the name says that it stands here; so many bytes prove it
        self.stretch: Stretch | None = None  # the Stretch that was offered …
        self._size = 0  # … and the size of its file
        # the generations that are here to their end, as Complete, oldest first
        self.past: list[Complete] = []
        self._say = say
        self._parts: list[Offered] = []  # what was offered
        self._open: list[Reader] = []  # Readers that they need
        self._scan: Scan | None = None
        self.beside = Beside(destination.path, destination.fs, say, ledger)

    def offer(self, sender: bytes) -> Have:
        """What is here, as a Have; sender: the key of the source.  Raises Busy, too."""
        if self._scan is None:
            self.release()
            self.here, self.past = False, self.ledger.complete
            if self.destination.moved():
                self.destination.open()
        stretch = self.ledger.stretch
        if stretch is None or stretch.generation == UNKNOWN:
            return self._offer_unrecorded()
        run, stretch = self._find()
        self.stretch = stretch
        if self.here and self.back is None and self.undo_late():
            self._take(stretch, self.destination)
        return self._offer(run, stretch, sender)

    def _offer_unrecorded(self) -> Have:
        """Of nothing is known that it stands here: all of the destination may; or of its newest
        rotated file, if it was rotated since."""
        size = self.destination.size()
        newest = None if size or self._mirror else next(self.beside.plain(), None)
        if newest is not None:
            self._open, self.unproved = [newest], LIKELY
            size = newest.status()[0]
            self._parts = [Offered(0, 0, size, newest.read)]
        return Have(Holding.UNRECORDED if size else Holding.NOTHING, end=size)

    def _offer(self, run: Run, stretch: Stretch, sender: bytes) -> Have:
        ledger, mark = self.ledger, run.mark
        clean = ledger.clean and not self.later and self.back is None
        closed = run.ended is not None
        if self._parts:
            first, end = stretch.first, self._parts[-1].offset + self._parts[-1].length
        else:  # out of reach, or emptied by somebody: what was durable is believed
            first = end = max(mark.offset, stretch.first)
            self._say(*_gone(self.destination, end))
        if closed and ledger.doubtful and end > mark.offset:
            closed = False  # what stands behind it may be ours
        damaged = end < mark.offset
        if mark.tail_len and first <= mark.offset - mark.tail_len and not damaged and self._parts:
            tail = self.digest(mark.offset - mark.tail_len, mark.tail_len)
            damaged = tail != mark.tail
        if damaged:
            text = "damaged below what was durable, or restored from a backup"
            self._say("critical", f"{self.destination.path}: {text}; compared with the origin")
            closed = closed and run.ended is not None and end >= run.ended[0]
        self.past = past_of(ledger, run, closed)
        previous = self.past[:-1] if closed else self.past
        return Have(
            Holding.RECORDED, clean, damaged, closed, ledger.resent_by == sender,
            self._may_be_torn(run), run.generation, first, end, mark.offset, mark.tail_len, mark.tail,
            *(previous[-1] if previous else Complete(UNKNOWN, 0)),
            doubtful=_is_doubtful(self, run, end),
        )  # fmt: skip

    # --- which file it is

    def _find(self) -> tuple[Run, Stretch]:
        """(the Run, the Stretch) that stand here, and sets what tells where."""
        run = self.ledger.runs[-1]
        stretch = run.stretches[-1]
        proofs = [proof for proof in proofs_of(run) if proof.stretch is stretch]
        later = [mark for where, mark in run.proofs if where is stretch and mark.offset]
        strong = [proof for proof in proofs if proof.mark is not None]
        if self._scan is None:
            if self._take_plain(strong, stretch):
                return run, stretch
            told = any(proof.place >= stretch.at for proof in proofs)  # of its own bytes
            if not told and self._take_numbers(stretch):
                return run, stretch
        if proofs and self._take_compressed(proofs):
            return run, stretch
        if self._take_plain([proof for proof in proofs if proof.mark is None], stretch):
            return run, stretch
        if self.destination.size():
            older = self._take_older(self.destination)
            if older is not None:
                return older
            if later and self._is_number(stretch, self.destination):
                copied = (
                    self._take_copy() if _is_cut(self.destination, stretch, later[-1]) else None
                )
                if copied is not None:
                    return copied
                self._take(stretch, self.destination)  # damaged; the origin tells from where on
                return run, stretch
            if not stretch.at:  # what stands below a stretch would have proved the file
                self.unproved = LIKELY
                begun = begun_with(run)
                if self._take_plain(begun, stretch):
                    self.unproved = min(LIKELY, begun[0].length)
                    return run, stretch
                self._take(stretch, self.destination)
                return run, stretch
        return self._take_copy() or (run, stretch)

    def _take_plain(self, proofs: list[Evidence], stretch: Stretch) -> bool:
        """Find the plain file that some proof is about; the newest proof counts most."""
        if not proofs:
            return False
        for proof in proofs:
            if holds(self.destination.read, proof):
                self._take(stretch, self.destination)
                return True
        readers = list(self.beside.plain())
        try:
            for proof in proofs:
                for reader in readers:
                    if holds(reader.read, proof):
                        return self._take_rotated(stretch, reader)
        finally:
            for reader in readers:
                reader.close()
        return False

    def _take_numbers(self, stretch: Stretch) -> bool:
        """The same where nothing is known of the bytes yet: by device and inode."""
        if self._stands_in(stretch, self.destination, self.destination.size()):
            self._take(stretch, self.destination)
            return True
        for path in reversed(self.beside.names()):
            reader = self.beside.reader(path)
            if reader is None:
                continue
            with closing(reader):
                if self._stands_in(stretch, reader, reader.status()[0]):
                    return self._take_rotated(stretch, reader)
        return False

    def _stands_in(self, stretch: Stretch, file: File, size: int) -> bool:
        """True when a file has the stretch's inode and was not truncated, as far as can be seen."""
        if not self._is_number(stretch, file) or size < stretch.at:
            return False
        if not all(holds(file.read, proof) for proof in below(stretch)):
            return False  # the number is another file's now
        # nothing stands there: where a sync has failed, something did
        return size > stretch.at or not (self.ledger.unsynced or (not size and self.copied()))

    def _take_copy(self) -> tuple[Run, Stretch] | None:
        """(Run, Stretch) as a copy of the destination has them that was made before somebody
        truncated it; or None."""
        copies = list(self._copies())
        own = self._is_number(_last(self.ledger), self.destination)
        try:
            for reader in copies:
                if reader.status()[0]:
                    return self._take_older(reader, own) or self._take_likely(reader)
            if copies and own:
                return self._take_beginning()
        finally:
            for reader in copies:
                reader.close()
        return None

    def _take_likely(self, reader: Reader) -> tuple[Run, Stretch] | None:
        """The last stretch begins in this file, as far as anybody knows here; or None."""
        run, stretch = self.ledger.runs[-1], _last(self.ledger)
        if stretch.at:
            return None
        emptied = self._is_number(stretch, self.destination) and stretch.beside is not None
        self.unproved = 0 if emptied else LIKELY  # then the origin tells whether it is ours
        self._take_rotated(stretch, reader)
        return run, stretch

    def _take_beginning(self) -> tuple[Run, Stretch] | None:
        """What was the first to stand in the destination's file: the copy was made before."""
        run, one = in_file(self.ledger)[0]
        if one.at:
            return None
        self._take(one, self.destination)
        if one is not self.ledger.stretch:
            self._end_at_next(run, one)
            self.back = (one, run.ended is not None and run.ended[0] <= one.first)
        return run, one

    def _copies(self) -> Iterator[Reader]:
        """Readers of the plain files that came beside the destination since something stands in
        its file, the newest first."""
        begun = [stretch for run in self.ledger.runs for stretch in run.stretches]
        beside = in_file(self.ledger)[0][1].beside
        for reader in self.beside.plain():
            before = (reader.dev, reader.ino, reader.igen) == beside
            if self._is_number(_last(self.ledger), reader):
                reader.close()  # itself, renamed since
            elif before or any(self._is_number(stretch, reader) for stretch in begun):
                reader.close()
                return
            else:
                yield reader

    def _is_number(self, stretch: Stretch, file: File) -> bool:
        """True when the file has the stretch's inode.

        A start of the machine may give its file system another device number.
        """
        same_device = self.rebooted or stretch.dev == file.dev
        reused = stretch.igen and file.igen not in (0, stretch.igen)
        return same_device and stretch.ino == file.ino and not reused

    def _take_rotated(self, stretch: Stretch, reader: Reader) -> bool:
        self.destination.open_piece(reader.path, (reader.dev, reader.ino))
        self._take(stretch, self.destination)
        self._look_later(reader.path, stretch)
        return True

    def _take(self, stretch: Stretch, file: File) -> None:
        """The stretch stands in this file from its place on."""
        self.here = file is self.destination
        size = file.size() if isinstance(file, Destination) else file.status()[0]
        self._size = size
        self._parts = [Offered(stretch.first, stretch.at, max(0, size - stretch.at), file.read)]

    def _take_compressed(self, proofs: list[Evidence]) -> bool:
        """Find it in a compressed file, which is read once, in steps: raises Busy."""
        known = hashlib.sha256(repr([proof[1:4] for proof in proofs]).encode()).hexdigest()[:16]
        while True:
            if self._scan is None:
                reader = next(self._unread(known), None)
                if reader is None:
                    return False
                self._scan = Scan(reader, proofs)
            try:
                if not self._scan.advance(STEP):
                    raise Busy(f"{self._scan.reader.path}: is read through")
            except Broken as error:
                self._say("warning", f"{self._scan.reader.path}: {error}; skipped")
            scan, self._scan = self._scan, None
            if self._take_scanned(scan, known):
                return True

    def _take_scanned(self, scan: Scan, known: str) -> bool:
        key = file_key(scan.reader)
        self.ledger.note("piece", file=list(key), asked=known, holds=scan.best is not None)
        if scan.best is None:
            scan.reader.close()
            return False
        stretch = scan.best.stretch
        self.old = scan.reader
        self._parts = [
            Offered(stretch.first, stretch.at, max(0, scan.size - stretch.at), scan.read)
        ]  # fmt: skip
        self._look_later(scan.reader.path, stretch)
        return True

    def _unread(self, known: str) -> Iterator[Reader]:
        """Readers of the compressed files of which is not known that they hold something else."""
        for path in reversed(self.beside.names()):
            if not is_compressed(path, self.destination.path):
                continue
            reader = self.beside.reader(path)
            if reader is None:
                continue
            piece = self.ledger.pieces.get(file_key(reader), {})
            if piece.get("asked") == known and not piece["holds"]:
                reader.close()
                continue
            yield reader

    def _take_older(self, file: File, own: bool = False) -> tuple[Run, Stretch] | None:
        """The destination as it was before: a file that was restored from a backup older than the
        ledger, or a copy of it; (Run, Stretch) or None.

        own: it is a copy of the destination's file, so what stands in others does not count.
        """
        for run in newest_first(self.ledger):
            for proof in proofs_of(run):
                stretch = run.stretches[-1] if proof.stretch is None else proof.stretch
                if own and not self._is_number(stretch, self.destination):
                    continue
                if proof.length and holds(file.read, proof):
                    if isinstance(file, Destination):
                        self._take(stretch, file)
                    else:
                        self._take_rotated(stretch, file)
                    self._end_at_next(run, stretch)
                    there = self._parts[-1].offset + self._parts[-1].length
                    whole = run.ended is not None and there >= run.ended[0]
                    self.back = (stretch, whole)
                    return run, stretch
        return None

    def _end_at_next(self, run: Run, stretch: Stretch) -> None:
        """What stands behind the beginning of the stretch after it is not of this one."""
        at = run.stretches.index(stretch) + 1
        if at < len(run.stretches):
            (part,) = self._parts
            most = run.stretches[at].first - part.offset
            self._parts = [part._replace(length=max(0, min(part.length, most)))]

    def _look_later(self, found: str, stretch: Stretch) -> None:
        """Newer files that hold something: the ledger is older than they are, or somebody else
        has written there.  The origin tells.  What the ledger knows is not newer than it is."""
        path = self.destination.path
        names = [name for name in self.beside.names(found) if is_rotated(name, path)]
        newer = names[names.index(found) + 1 :] if found in names else []
        offset = self._parts[0].offset + self._parts[0].length
        for name in [*newer, path]:
            reader = None if is_compressed(name, path) else self.beside.reader(name)
            if reader is None:
                continue
            size = 0 if is_told(self.ledger, reader, stretch) else reader.status()[0]
            if size and (reader.dev, reader.ino) != (self.destination.dev, self.destination.ino):
                self._open.append(reader)
                self.later.append(Offered(offset, 0, size, reader.read, name))
                offset += size
            elif size and self.old is not None and name == path:
                self.later.append(Offered(offset, 0, size, self.destination.read, name))
                reader.close()
            else:
                reader.close()
        self._parts += self.later

    def copied(self, size: int | None = None) -> bool:
        """True when somebody has made a copy of the destination since the last stretch was begun.

        size: only when it has so many bytes, which are durable then.
        """
        for reader in self._copies():
            with closing(reader):
                if size is None:
                    return True
                if reader.status()[0] == size:
                    reader.fs.fsync(reader.fd)
                    return True
        return False

    def _may_be_torn(self, run: Run) -> bool:
        """True when bytes that are not durable may not be what was written, or not by us."""
        if self.rebooted or self.ledger.unsynced or self.unproved or run.untouched:
            return True
        size = self.destination.size()
        return size > 0 and self.destination.read(1, size - 1) == b"\0"

    @property
    def rebooted(self) -> bool:
        """True when the machine was started anew since the ledger was written last."""
        return self.ledger.boot != self.destination.fs.boot()

    # --- its bytes

    def digest(self, first: int, length: int) -> bytes:
        """The SHA-256 of bytes of the current stretch; NO_DIGEST when they are not all there."""
        return digest_of(self.read, first, length) or NO_DIGEST

    def read(self, length: int, offset: int) -> bytes:
        """Bytes of what was offered, or else of the current stretch, by their offset."""
        for part in self._parts:
            if part.offset <= offset < part.offset + part.length:
                length = min(length, part.offset + part.length - offset)
                return part.read(length, part.place + offset - part.offset)
        if self._parts:
            return b""
        stretch = self.ledger.stretch
        if stretch is not None and stretch.generation != UNKNOWN:
            offset += stretch.at - stretch.first
        return self.destination.read(length, offset)

    def check(self) -> None:
        """Raises LinkLost when somebody has changed the destination since it was offered."""
        if self.here and self.destination.size() != self._size:
            text = "was truncated or written to by somebody while it was compared; connects anew"
            raise LinkLost(f"{self.destination.path}: {text}")

    def part_of(self, offset: int) -> Offered | None:
        """The Offered of `later` in which an offset stands, behind its first byte; or None."""
        for part in self.later:
            if part.offset < offset <= part.offset + part.length:
                return part
        return None

    def undo_late(self) -> bool:
        """Late bytes behind which the stream has not gone on may be incomplete: they come again.

        True when there were such.
        """
        late = self.ledger.late
        if late is None:
            return False
        if 0 <= late["at"] < self.destination.size():
            self.destination.cut(late["at"])
        self.ledger.note("late_undone")
        return True

    def release(self) -> None:
        """Let go of what was offered: what stands in the destination counts from now on."""
        scanned = self._scan.reader if self._scan is not None else None
        for reader in [*self._open, self.old, scanned]:
            if reader is not None:
                reader.close()
        self._open, self._parts, self.later = [], [], []
        self.unproved = 0
        self.old = self._scan = self.back = None


def _last(ledger: Ledger) -> Stretch:
    """The last Stretch, which there is."""
    return ledger.runs[-1].stretches[-1]


def _gone(destination: Destination, end: int) -> tuple[str, str]:
    """What is said when what was delivered is not there any more."""
    text = f"what was delivered does not stand here any more; goes on from offset {end}"
    level = "critical" if destination.size() else "warning"
    return level, f"{destination.path}: {text}"


def _is_doubtful(standing: Standing, run: Run, end: int) -> bool:
    """True when the ledger is damaged, or may be older than the copy."""
    ledger = standing.ledger
    if ledger.doubtful or standing.later:
        return True
    if run.mark.offset:
        return end > run.mark.offset and (ledger.clean or run.ended is not None)
    return bool(standing.unproved) or standing.copied()


def _is_cut(destination: Destination, stretch: Stretch, mark: Mark) -> bool:
    """True when somebody has truncated a destination, and then perhaps written to it."""
    return destination.size() < stretch.at + mark.offset - stretch.first
