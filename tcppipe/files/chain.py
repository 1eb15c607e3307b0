"""The generations of one origin, oldest first, each held open until it is done with.

Holding a descriptor is what makes rotation harmless: a file that is renamed, compressed
or deleted can still be read.  look() must be called at least every second, whether or
not anybody reads, so that what appears under the origin's name is held in time.
"""

from contextlib import contextmanager

from tcppipe.errors import TcppipeError
from tcppipe.files.fs import REAL
from tcppipe.files.generations import (
    Broken,
    CompressedReader,
    Reader,
    is_rotated,
    open_reader,
    siblings,
)
from tcppipe.session.actions import Candidate

MOST = 64  # generations held open at once; what comes after is found again by name


class Chain:
    """The open files of the origin at `path` (str, absolute) and its rotated siblings.

    patterns: absolute paths with wildcards that fit rotated files of other names.

    readers: those still to be read, oldest first.  live: the one that stands under the
    origin's name, or None.  Raises OSError when a file cannot be looked at for now.
    """

    def __init__(self, path, olddir=None, fs=REAL, patterns=()):
        self.path = path
        self.olddir = olddir
        self.fs = fs
        self.patterns = patterns
        self.readers = []
        self.live = None
        self._last = None  # (file, modification time) of the last one that was read to its end
        self.appeared = 0  # counts the files that have appeared under the origin's name
        self.watched = []  # ended, but a writer may still add to them; whoever adds here removes
        self._fresh = []  # opened, and not yet in one of the lists
        self._done = []  # read to their end, and not yet settled
        self._found = []  # (Candidate, Reader) of the last candidates()

    def look(self):
        """See whether the origin's name leads to a new file, and hold what has appeared.

        Returns True when it does not lead to the newest one that was held before.
        """
        status = self._stat()
        newest = self.readers[-1] if self.readers else None
        if newest is not None and _is(newest, status):
            self.live = newest
            return False
        self.live = None
        if len(self.readers) >= MOST:
            return True
        if newest is not None:
            last = (newest.file, newest.inode_generation, _changed(newest))
        else:
            last = self._last
        with self._opening():
            appeared = self._missed(last, status) if last is not None else []
            live = self._try(self.path) if status is not None else None
        if live is not None and not _is(live, status):  # rotated just now: the next look
            live.close()  # finds all of it
            live = None
        elif live is not None:
            appeared.append(live)
            self.appeared += 1
        self.live = live
        self.readers += appeared
        return True

    def moved(self):
        """True when the origin's name leads elsewhere than to the live file, or nowhere."""
        try:
            return self.live is None or not _is(self.live, self._stat())
        except OSError:
            return True

    @contextmanager
    def _opening(self):
        """Readers that are opened in the block are closed again when it fails."""
        self._fresh = []
        try:
            yield
        except OSError:
            for reader in self._fresh:
                reader.close()
            raise
        finally:
            self._fresh = []

    def _missed(self, last, live):
        """Readers of the siblings that came after a file, and are not held yet.

        last: (device and inode, inode generation, modification time) of that file, which may
        be gone and its inode another's by now.  live: the stat result of the origin's name.
        """
        paths = self._after(last, live)
        held = self._done + self.readers
        found = []
        for path in paths:
            if not is_rotated(path, self.path, self.patterns):
                continue
            status = self._stat(path)
            if status is None or any(_is(other, status) for other in held):
                continue
            reader = self._try(path)
            if reader is not None and any(_compresses(reader, other) for other in held):
                reader.close()
            elif reader is not None:
                found.append(reader)
        return found

    def _after(self, last, live):
        """The paths of the siblings behind a file: by its place, else by its time."""
        file, igen, mtime = last
        rows = []
        for path in self._siblings():
            status = self._stat(path)
            if status is not None and not (live is not None and _id(status) == _id(live)):
                rows.append((path, status))
        for at, (path, status) in enumerate(rows):
            if _id(status) == file and self._igen(path) in (igen, None):
                if igen or status.st_mtime_ns == mtime:
                    return [path for path, _status in rows[at + 1 :]]
        return [path for path, status in rows if status.st_mtime_ns > mtime]

    def _siblings(self):
        return siblings(self.path, self.olddir, self.fs, self.patterns)

    def _igen(self, path):
        reader = self._try(path)
        if reader is None:
            return None
        reader.close()
        return reader.inode_generation

    def renew(self, renewed):
        """A reader of a truncated file takes the place of the old one as the live one."""
        if self.live is not None and self.live.file == renewed.file:
            self.live = renewed if _is(renewed, self._stat()) else None

    def insert_copy(self, copy, renewed):
        """The first reader's file was truncated: a copy of its old content comes first, then
        what else came before now, and the renewed reader of the file in its place among it."""
        copied = (copy.file, copy.inode_generation, _changed(copy))
        held = [renewed, *self.readers[1:]]
        with self._opening():
            row = self._lineup(held, self._after(copied, self._stat()), 0)
        self.readers = [copy, *row]

    def _lineup(self, held, paths, since):
        """Held readers and those of `paths`, each in its place; the live one, if held, last.

        Files last changed before `since` (nanoseconds) are not opened.
        """
        row = []
        for path in paths:
            status = self._stat(path)
            if status is None:
                continue
            known = next((r for r in held if _is(r, status)), None)
            if known is None and status.st_mtime_ns >= since - since % 10**9:
                known = self._try(path)
                if known is not None and any(_compresses(known, other) for other in held):
                    known.close()
                    known = None
            if known is not None:
                row.append(known)
        for reader in held:
            if reader not in row and reader is not self.live:
                mtime = _changed(reader)
                later = (i for i, other in enumerate(row) if _changed(other) > mtime)
                row.insert(next(later, len(row)), reader)
        row = [reader for reader in row if reader is not self.live]
        return row + [reader for reader in held if reader is self.live]

    def copy_of(self, reader, offset, head, below, mtime):
        """A sibling that holds what `reader` held before it was truncated, or None.

        It has the same first bytes (`head`) and the same bytes just below `offset`
        (`below`), and was not last changed before `mtime`, when the original was.
        """
        with self._opening():
            return self._copy_of(reader, offset, head, below, mtime)

    def _copy_of(self, reader, offset, head, below, mtime):
        best = None
        for path in reversed(self._siblings()):
            copy = self._try(path)
            if copy is None:
                continue
            if best is None and self._is_copy(copy, reader, offset, head, below, mtime):
                best = copy
            else:
                copy.close()
        return best

    def _is_copy(self, copy, reader, offset, head, below, mtime):
        if any(copy.file == other.file for other in [reader, *self.readers]):
            return False  # an older copy's file, though, may have been written over
        try:
            size, changed = copy.status()
            coarse = 10**9 if isinstance(copy, CompressedReader) else 1
            return (
                size >= offset
                and changed // coarse >= mtime // coarse
                and copy.read(len(head), 0) == head
                and copy.read(len(below), offset - len(below)) == below
            )
        except Broken:
            return False

    def done(self):
        """The first reader was read to its end: keep it until the sink has recorded it."""
        reader = self.readers[0]
        self._last = reader.file, reader.inode_generation, _changed(reader)
        self._done.append(self.readers.pop(0))

    def settle(self):
        """The sink has recorded the oldest generation that was read: let go of it."""
        if self._done:
            reader = self._done.pop(0)
            if reader not in self.watched:
                reader.close()

    @property
    def spent(self):
        """True when nothing is held: all was read and recorded, and nobody adds to it."""
        return not (self.readers or self._done or self.watched)

    def unwatch(self, reader):
        """Nobody writes any more to a generation that has ended."""
        self.watched.remove(reader)
        if reader not in self._done:
            reader.close()

    def close(self):
        """Let go of everything."""
        for reader in {*self.watched, *self._done, *self.readers}:
            reader.close()
        self.readers, self._done, self._found, self.live = [], [], [], None
        self.watched = []

    # --- finding a place after a time without one

    def candidates(self, since):
        """What a generation may be found in, as Candidates: oldest first, the live file last.

        since: siblings last changed before (nanoseconds) are left out; None: all siblings are.
        """
        with self._opening():
            return self._candidates(since)

    def _candidates(self, since):
        held = _newest(list(dict.fromkeys(self.watched + self._done + self.readers)))
        self.watched, self._done, self.readers = [], [], held
        status = self._stat()
        live = next((r for r in held if _is(r, status)), None)
        if live is None and status is not None:
            live = self._try(self.path)
        self.live = live
        mine = held if live is None or live in held else [*held, live]
        paths = [] if since is None else self._siblings()
        found = []
        for reader in self._lineup(mine, paths, since or 0):
            candidate = self._candidate(reader, reader in held)
            if candidate is None:
                reader.close()
            else:
                found.append((candidate, reader))
        self._found = found
        self.readers = [reader for _candidate, reader in found]
        self.appeared += 1
        return [candidate for candidate, _reader in found]

    def _candidate(self, reader, held):
        try:
            size, mtime = reader.status()
            reader.born = mtime  # it may have been truncated since it was opened
            rotated = held or is_rotated(reader.path, self.path, self.patterns)
            live = reader is self.live
            return Candidate(reader.path, reader.generation(), size, mtime, live, rotated)
        except Broken:
            return None

    def measure(self, candidate, ranges):
        """The SHA-256 digests of (first, length) ranges of a candidate."""
        reader = self._reader_of(candidate)
        return tuple(reader.digest(first, length) for first, length in ranges)

    def start(self, candidate, late=None):
        """Go on with a candidate, and after it with those that follow; let go of the others.

        late: a candidate that is kept open besides; its Reader is returned.
        """
        wanted = self._reader_of(candidate)
        kept = self._reader_of(late) if late is not None else None
        while self.readers[0] is not wanted:
            reader = self.readers.pop(0)
            if reader is not kept:
                reader.close()
        for found, reader in self._found:
            if reader in self.readers[1:] and not (found.rotated or found.live):
                self.readers.remove(reader)
                reader.close()
        return kept

    def _reader_of(self, candidate):
        return next(reader for found, reader in self._found if found is candidate)

    def _stat(self, path=None):
        try:
            return self.fs.stat(path or self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _try(self, path):
        """A Reader, or None for what is gone, or can never be read by us."""
        try:
            reader = Reader(path, self.fs) if path == self.path else open_reader(path, self.fs)
        except (FileNotFoundError, PermissionError) as error:
            if path == self.path and isinstance(error, PermissionError):
                raise
            return None
        except TcppipeError:
            if path == self.path:
                raise
            return None
        self._fresh.append(reader)
        return reader


def _is(reader, status):
    """True when a reader's open file is the one of a stat result."""
    return status is not None and reader.file == _id(status)


def _newest(readers):
    """Without those whose file another one, opened later, reads as another generation."""
    kept = []
    for at, reader in enumerate(readers):
        if any(reader.file == other.file for other in readers[at + 1 :]):
            reader.close()
        else:
            kept.append(reader)
    return kept


def _compresses(compressed, plain):
    """True when a compressed file holds what a plain one that is still open holds.

    Compressors keep the modification time, some of them in whole seconds only.
    """
    if not isinstance(compressed, CompressedReader) or isinstance(plain, CompressedReader):
        return False
    size, mtime = plain.status()
    if _changed(compressed) not in (mtime, mtime - mtime % 10**9):
        return False
    try:
        same_size = compressed.status()[0] == size
        return same_size and compressed.digest(0, size) == plain.digest(0, size)
    except Broken:
        return False


def _changed(reader):
    """A reader's modification time, without reading a compressed one."""
    return reader.fs.fstat(reader.fd).st_mtime_ns


def _id(status):
    return status.st_dev, status.st_ino
