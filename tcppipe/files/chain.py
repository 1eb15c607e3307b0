"""The generations of one origin, oldest first, each held open until it is done with.

Holding a descriptor is what makes rotation harmless: a file that is renamed, compressed
or deleted can still be read.  look() must be called at least every second, whether or
not anybody reads, so that what appears under the origin's name is held in time.
"""

import errno
import os
from contextlib import contextmanager

from tcppipe.cursor import HEAD
from tcppipe.errors import Busy, TcppipeError, reason
from tcppipe.files.compressed import STEP
from tcppipe.files.digests import LongDigests
from tcppipe.files.fs import REAL
from tcppipe.files.generations import Sibling, beside, open_reader, stem
from tcppipe.files.guarded import Untrusted
from tcppipe.files.held import HeldReader
from tcppipe.files.history import History
from tcppipe.files.names import Untold
from tcppipe.files.places import PATIENCE, Places, age
from tcppipe.files.reader import Absent, Broken, Reader, is_open
from tcppipe.rotated import EXTENSIONS, FOREIGN, arrange, family, is_rotated, shape, split

TRIES = 5  # to look while nothing is renamed, before the next look
USED_UP = (errno.EMFILE, errno.ENFILE)  # there are no more descriptors
RESERVE = 4  # descriptors that are left for other things where they are used up
SHORT = 32  # bytes that prove a file that holds no more, where the name tells nothing
MOST = 64  # generations held open at once; what comes after is found again by name


class Rotating(OSError):
    """Files are being renamed while they are looked at: what was seen of it fits nothing."""

    def __init__(self, path):
        super().__init__(errno.EAGAIN, "is being rotated", path)


class Unseen(Absent):
    """Takes the turn of what nobody has seen."""

    sure = True

    def __init__(self, path):
        super().__init__(path, "", False)
        self.count = 1

    @property
    def trouble(self):
        """What is known of it, in words."""
        what = "a generation was" if self.count == 1 else f"{self.count} generations were"
        return f"{what} made and deleted before anybody could look"

    @trouble.setter
    def trouble(self, _text):
        """It is always told in the same words."""


class Chain:
    """The open files of the origin at `path` (str, absolute) and its rotated siblings.

    patterns: absolute paths with wildcards that fit rotated files of other names.  hold_nuls: a
    run of NULs at the end of a file is no content yet, see HeldReader.

    readers: those still to be read, oldest first; an Absent among them stands for one that
    cannot be.  live: the one that stands under the origin's name, or None.  history: what was
    read to its end.  Raises OSError when a file cannot be looked at for now.
    """

    def __init__(self, path, olddir=None, fs=REAL, patterns=(), hold_nuls=False):
        self.path = path
        self.olddir = olddir
        self.fs = fs
        self.patterns = patterns
        self.hold_nuls = hold_nuls
        self.shapes = set()  # of rotated files' names, as far as they are unusual
        self.readers = []
        self.live = None
        self.history = History()
        self.digests = LongDigests()
        self.places = Places(self)
        self.appeared = 0  # counts the files that have appeared under the origin's name
        self.watched = []  # ended, but a writer may still add to them; whoever adds here removes
        self._done = []  # read to their end, and not yet settled
        self._ended = 0  # how many were read to their end
        self._older = None  # {(device, inode): inode generation} of files beside the live one: they
        # are older than whatever comes under its name after it; None before the first look
        self._strays = set()  # {((device, inode), name)} of others that may have to do with it
        self._listed = None  # the directories as they were then
        self._fresh = []  # opened, and not yet in one of the lists
        self.told = Untold()  # what has come under the name, by what its directory tells
        self._full = False  # descriptors were used up before all could be held
        self._copies = {}  # {(device, inode): Reader} of what is being compared with a lost file

    @property
    def directories(self):
        """Where rotated files appear."""
        places = (os.path.dirname(place) or "/" for place in (self.path, *self.patterns))
        return {*places, *([self.olddir] if self.olddir else [])}

    # --- while it is followed

    def look(self):
        """See whether the origin's name leads to a new file, and hold what has appeared.

        Returns True when it does not lead to the newest one that was held before.
        """
        for turn in range(2 * TRIES):
            if turn == TRIES:
                self.told.doubt()
            try:
                return self._look()
            except Rotating:
                continue
        self.live = None
        return True

    def _look(self):
        self._full = False
        comings = None if self.fs.pointing else self.told.comings()
        status = self.stat()
        newest = self.readers[-1] if self.readers else None
        if newest is not None and is_open(newest, status) and not comings:
            self.live = newest
            self._remember(newest)
            self._listen(comings)
            return False
        self.live = None
        self.learn_from_held()
        if len(self.readers) >= MOST:
            return True
        if comings is None:
            self._search(status)
            self._listen(comings)
        elif comings:
            self._take(comings)
        elif status is not None:
            raise Rotating(self.path)
        return True

    def _listen(self, comings):
        """What was found by looking is known, and what comes next will be told."""
        if comings is None and not self._full and not self.told.listen():
            raise Rotating(self.path)

    # what is told

    def _take(self, comings):
        """Hold what has come under the origin's name, by the names that it has now."""
        held = {reader.file for reader in self.held()}
        found, trouble = [], None
        with self.opening():
            try:
                for coming in comings[: MOST - len(self.readers)]:
                    found.append(self._come(coming))
            except (OSError, TcppipeError) as error:
                if not self._is_full(error, found):
                    trouble = error
            # what was not told of before is not held by a name that it may not have had
            steady = zip(comings, found, self.told.comings() or [None] * len(found))
            count = next((n for n, (was, _, now) in enumerate(steady) if was != now), len(found))
            for reader in found[count:]:
                reader.close()
            del found[count:]
        if not found and not self._full:
            raise trouble or Rotating(self.path)
        self.told.taken(len(found))
        for coming, reader in zip(comings, found):
            self.learn(coming.path or coming.instead or self.path)
            if coming.path is not None:
                reader.sure = reader.file not in held and not self.history.knows(reader.file)
            self._append(reader)
        self._take_older(found)
        last = found[-1] if found else None
        if found and comings[len(found) - 1].path == self.path and is_open(last, self.stat()):
            self.live = last
            self.appeared += 1
            self._remember(last)
        if trouble is not None:
            raise trouble

    def _come(self, coming):
        """The Reader or Absent of a Coming."""
        path = coming.path or coming.instead
        if path is None:
            return Unseen(self.path)
        try:
            status = self.fs.stat(path) if path != self.path else self.stat()
            if status is None:
                raise Rotating(path)
            sibling = Sibling(path, status.st_mtime_ns, (status.st_dev, status.st_ino), 0.0)
            if path == self.path:
                reader = self.open(path)
            else:
                reader = self.open_sibling(sibling, plain=coming.path is not None)
        except FileNotFoundError:
            raise Rotating(path) from None
        if reader is None:
            raise Rotating(path)
        if coming.path is None:
            reader.sure, reader.unseen = False, Unseen(self.path)
        return reader

    def _append(self, reader):
        """Behind all others; several that were never seen are one gap."""
        last = self.readers[-1] if self.readers else None
        if isinstance(reader, Unseen) and isinstance(last, Unseen):
            last.count += 1
        else:
            self.readers.append(reader)

    # what is not

    def _search(self, status):
        """Hold what has come under the origin's name, by what its siblings show."""
        newest = self.readers[-1] if self.readers else None
        nameless = isinstance(newest, Reader) and not self.fs.fstat(newest.fd).st_nlink
        room = MOST - len(self.readers)
        with self.opening():
            known = self._older, self._strays
            appeared = self._missed(status, known, most=room) if self._older is not None else []
            self._full = self._full or len(appeared) >= room
            look = status is not None and not self._full
            live = self.open(self.path) if look else None
            if look and (live is None or not is_open(live, status)):
                raise Rotating(self.path)
        if live is not None:
            live.sure = self._is_new(live)
            appeared.append(live)
            self.appeared += 1
        self.live = live
        self._take_older(appeared)
        absent = [reader for reader in appeared if isinstance(reader, Absent)]
        if nameless and absent:  # what became of the newest, as far as anybody can tell
            appeared.remove(absent[-1])
        self.readers += appeared
        if live is not None:
            self._remember(live)

    def _is_new(self, live):
        """True when a file that was opened under the origin's name has not come back to it."""
        return all(r.file != live.file for r in self.held()) and not self.history.knows(live.file)

    def know(self, older, strays, begun):
        """Siblings that are older than whatever comes next, {(device, inode): generation}, and the
        others that may have to do with the origin; begun: but these may be copies under way."""
        self._older, self._strays, self._listed = older, strays, None
        for reader in self.readers:
            reader.beside = _without_files((older, strays), begun)

    def strays(self, older):
        """Those others that are there now, for know()."""
        return {(s.file, s.name) for s in self._likely() if s.file not in older}

    def older(self):
        """The siblings that are there now, for know()."""
        return {sibling.file: self._igen(sibling.name) for sibling in self.rotated()}

    def verified(self):
        """The live file was not truncated since the last look: whatever is made by copying and
        truncating it stands beside it later."""
        self.live.beside = self._older, self._strays

    def _see_beside(self, reader):
        if reader.beside is None and self._older is not None:
            reader.beside = self._older, self._strays

    def precede(self):
        """The live file has its turn.  What was copied from it before it was truncated, while it
        waited for that, comes before it: True when there is such a thing."""
        live = self.live
        if self.readers != [live] or live.beside is None:
            self.remember()
            self.verified()  # nothing of it was read
            return False
        known = self._beside()
        missed, begun = self._copied_before(live)
        live.beside = _without_files(known, begun)
        self._take_older(missed)
        self.readers = [*missed, live]
        return bool(missed)

    def is_beginning(self, reader, live):
        """True when a plain file holds no more than the live one: it may be copied just now."""
        return not reader.compressed and _is_beginning(reader, live, 0, b"")

    def overtaken(self):
        """Nothing was read of the live file yet.  True when it was copied and truncated before
        that: a file has come that, by its first bytes, was not delivered."""
        if self.live.beside is None:
            return False
        try:
            missed, _begun = self._copied_before(self.live)
        except OSError as error:
            if error.errno not in USED_UP:
                raise
            return False  # with so few descriptors nobody can look; what can be read is delivered
        try:
            return any(self._seems_new(reader) for reader in missed)
        finally:
            for reader in missed:
                reader.close()

    def _seems_new(self, reader):
        if isinstance(reader, Absent):
            return False
        head = _head_of(reader)
        size = None if reader.compressed else reader.status()[0]
        return bool(head) and not self.history.may_hold(head, size)

    def _copied_before(self, live):
        """(Readers of what was copied from the live file before it was truncated, the files of
        copies that may be under way)."""
        missed, begun, status = [], set(), self.stat()
        until = None if is_open(live, status) else live
        with self.opening():
            for reader in self._missed(status, live.beside, until=until):
                if _is_beginning(reader, live, 0, b""):
                    begun.add(reader.file)
                    reader.close()
                else:
                    missed.append(reader)
        return missed, begun

    def remember(self):
        """What stands beside the live file now is older than whatever comes after it."""
        if self.live is not None and self.live is self.readers[-1]:
            self._listed = None
            self._remember(self.live)

    def _remember(self, live):
        if self.places.open:
            return
        stamp = self._stamp()
        if stamp is None or stamp != self._listed:
            older, strays = self._beside()
            if is_open(live, self.stat()):
                self._older, self._strays, self._listed = older, strays, stamp
        self._see_beside(live)

    def _beside(self):
        """(older, strays) as they are now."""
        older, found, strays = self._older or {}, {}, set()
        for sibling in self._likely():
            if self._is_rotated(sibling):
                found[sibling.file] = older.get(sibling.file) or self._igen(sibling.name)
            else:
                strays.add((sibling.file, sibling.name))
        return found, strays

    def _stamp(self):
        """What changes whenever a name comes or goes."""
        try:
            places = {os.path.dirname(place) for place in (self.path, *self.patterns)}
            stats = [self.fs.stat(place or "/") for place in sorted({*places, self.olddir or ""})
                     if place]  # fmt: skip
        except OSError:
            return None
        return [(s.st_ino, s.st_mtime_ns) for s in stats]

    def _igen(self, path):
        """A file's inode generation; None when it cannot be told."""
        try:
            reader = Reader(path, self.fs)
        except (OSError, TcppipeError):
            return None
        reader.close()
        return reader.inode_generation

    def _missed(self, status, known, behind=None, until=None, most=MOST):
        """Readers of rotated files that have come under the origin's name and left it unseen.

        status: the stat result of that name.  known: (older, strays), which it has not left.
        behind: a reader that they come after, if not the newest; until: one that they come before.
        most: how many; where descriptors are used up, fewer.
        """
        found = []
        for sibling in self._come_since(known, behind, until):
            if status is not None and sibling.file == (status.st_dev, status.st_ino):
                continue  # another name of the live file
            try:
                reader = self.open_sibling(sibling) if len(found) < most else None
            except OSError as error:
                if not self._is_full(error, found):
                    raise
                break
            if len(found) < most and (reader is None or reader.file != sibling.file):
                raise Rotating(sibling.name)
            if reader is not None:
                reader.sure = False
                found.append(reader)
        return found

    def _come_since(self, known, behind, until):
        """The Siblings that are not known and not held, in the order of rotation."""
        held = {reader.file for reader in self.held() if reader.file}
        rows = self.rotated()
        older, strays = known
        older = {
            s
            for s in rows
            if s.file not in held and (self._is_among(s, older) or (s.file, s.name) in strays)
        }
        last = until or behind or next(reversed(self.held()), None)
        last = last.file if last is not None else None
        newest = next((sibling for sibling in rows if sibling.file == last), None)

        def rank(sibling):
            known = sibling in older or sibling.file in held
            return int(sibling is newest) if known else None

        order = arrange(rows, self.path, rank, newest)
        new = [s for s in order if rank(s) is None]
        if newest is None:
            return [] if until is not None else _outside(order, new)
        at = order.index(newest)
        part = order[:at] if until is not None else order[at + 1 :]
        return [sibling for sibling in part if sibling in new]

    def _is_full(self, error, found):
        """True when descriptors are used up: what is not held yet has its turn when those before
        it are done with."""
        used_up = getattr(error, "errno", None) in USED_UP
        if not used_up or not (found or self.readers):
            return False
        self._full = True
        for spare in found[-RESERVE:]:
            spare.close()
        del found[-RESERVE:]
        return True

    def _take_older(self, readers):
        """These are held now: they are older than what comes next."""
        for reader in readers:
            if self._older is not None and reader is not self.live and reader.file:
                self._older[reader.file] = reader.inode_generation

    def stood_before(self, sibling):
        """True when a sibling stood there when the live file was last known not to be truncated:
        it is older than what that holds, and than what was copied from it since."""
        known = (reader.beside for reader in self.held() if reader.beside is not None)
        older, strays = next(known, (self._older, self._strays))
        return self._is_among(sibling, older) or (sibling.file, sibling.name) in strays

    def is_older(self, sibling):
        """True when a sibling stood beside the newest file while that was the live one."""
        return self._is_among(sibling, self._older)

    def _is_among(self, sibling, older):
        if older is None or sibling.file not in older:
            return False
        known = older[sibling.file]
        return not known or self._igen(sibling.name) in (known, None)

    def learn_from_held(self):
        """If the newest file that is held has left the origin's name, see what it is called now."""
        newest = next(reversed(self.held()), None)
        if newest is not None and not isinstance(newest, Absent):
            if not is_open(newest, self.stat()):
                self._learn(newest)

    def _learn(self, reader):
        """A file has left the origin's name: what it is called now is how rotated files are."""
        if reader.fd < 0:
            return
        named = self.fs.fstat(reader.fd).st_nlink > 0
        rotated = self.rotated()
        if any(sibling.file == reader.file for sibling in rotated):
            return
        rows = beside(self.path, self.olddir, self.fs, every=True)
        mine = [sibling for sibling in rows if sibling.file == reader.file] if named else []
        if not mine and not any(not self.is_older(sibling) for sibling in rotated):
            # packed since, perhaps just now
            rows = beside(self.path, self.olddir, self.fs, every=True) if named else rows
            mine = [sibling for sibling in rows if self._packs(sibling, reader)]
        for sibling in mine:
            self.learn(sibling.name)

    def is_packed(self, head, length, digest):
        """True when a compressed file holds this: a file without a name was rotated.  Raises Busy."""
        for sibling in self.rotated():
            if split(sibling.name)[1] not in EXTENSIONS:
                continue
            packed = self._copies.get(sibling.file) or self.open_sibling(sibling)
            if packed is None or isinstance(packed, Absent):
                continue
            self._copies[sibling.file] = packed
            if _is_copy(packed, length, head, b"") and packed.status()[0] == length:
                if self.digests.of(packed, 0, length) == digest:
                    return True
        self._forget_copies()
        return False

    def _packs(self, sibling, reader):
        """True when a file is a compressed one that begins as what was held."""
        if split(sibling.name)[1] in ("", *FOREIGN) or reader.compressed:
            return False
        packed = self.open_sibling(sibling)
        if packed is None or isinstance(packed, Absent):
            return False
        try:
            head = reader.read(HEAD, 0)
            enough = len(head) == HEAD or len(head) >= SHORT and packed.status()[0] == len(head)
            return enough and packed.read(HEAD, 0) == head
        except (Broken, Busy):
            return False
        finally:
            packed.close()

    def learn(self, name):
        """A file that was a generation has this name: others of the same shape are, too."""
        form = shape(name)
        known = is_rotated(name, self.path, self.patterns, self.shapes)
        if "0" in form and form != shape(self.path) and not known:
            self.shapes.add(form)

    def rotated(self):
        """The Siblings with names that rotation gives, in no order."""
        rows = beside(self.path, self.olddir, self.fs, self.patterns, every=bool(self.shapes))
        return [sibling for sibling in rows if self._is_rotated(sibling)]

    def _is_rotated(self, sibling):
        return is_rotated(sibling.name, self.path, self.patterns, self.shapes)

    def _likely(self):
        """The Siblings that are rotated, and those that may have to do with the origin."""
        every, like = bool(self.shapes), stem(self.path)
        return beside(self.path, self.olddir, self.fs, self.patterns, every, like)

    def moved(self):
        """True when the origin's name leads elsewhere than to the live file, or nowhere."""
        try:
            return self.live is None or not is_open(self.live, self.stat())
        except OSError:
            return True

    def admit(self):
        """True when the first reader is a generation to deliver; False: it was delivered already,
        or nothing was ever in it, and it is left out.  Raises Busy while that is found out."""
        reader = self.readers[0]
        if not reader.sure and not isinstance(reader, Absent):
            entry = self.history.find(reader, self.digests.of, self._exists)
            if reader is not self.live and (entry is not None or self._is_nothing_new(reader)):
                self.readers.pop(0).close()
                if entry is not None and reader.unseen is not None:
                    self.readers.insert(0, reader.unseen)
                return False
            reader.sure = True
            again = entry is not None and entry.generation.born == reader.status()[1]
            reader.reopened = entry if again or (entry is not None and entry.length) else None
        return True

    def _is_nothing_new(self, reader):
        """True for a packed file in which nothing is, and for what somebody has copied from one
        that has just ended, before that was rotated.  Raises Busy."""
        size = reader.status()[0]
        if size < HEAD:
            return reader.compressed and not size
        ended = [r for r in (*self._done, *self.watched) if r.file != reader.file]
        return any(
            size < other.status()[0]
            and self.digests.of(other, 0, size) == self.digests.of(reader, 0, size)
            for other in ended
        )

    def _exists(self, generation, kind=None):
        """True when an ended generation's own file is still there, and holds it.

        kind: under a name of this file's kind; None: of any.
        """
        file, igen = generation[:2], generation.igen
        if self.live is not None and file == self.live.file:
            return False  # it was truncated
        held = [r for r in {*self._done, *self.watched} if r.file == file]
        if kind is None and any(self.fs.fstat(reader.fd).st_nlink for reader in held):
            return True
        there = [sibling for sibling in self.rotated() if sibling.file == file]
        if kind is not None:
            wanted = family(kind.path, self.path)
            there = [sibling for sibling in there if family(sibling.name, self.path) == wanted]
        return any(not igen or self._igen(sibling.name) in (igen, 0) for sibling in there)

    def try_again(self):
        """The first reader is an Absent: True when it could be opened now."""
        absent = self.readers[0]
        if absent.file is None:
            return False
        paths = [s.name for s in self.rotated() if s.file == absent.file] or [absent.path]
        try:
            with self.opening():
                reader = self.open(paths[0]) if split(paths[0])[1] not in FOREIGN else None
        except OSError as error:
            absent.trouble = reason(error)
            return False
        if reader is None or absent.file not in (None, reader.file):
            absent.passing = False
            if reader is not None:
                reader.close()
            return False
        reader.sure = absent.sure
        self.readers[0] = reader
        return True

    def is_fresh(self, absent):
        """True when something has just been done to the file of an Absent: more may be."""
        rows = [s for s in self.rotated() if s.file == absent.file]
        return any(age(sibling.changed) < PATIENCE for sibling in rows)

    @contextmanager
    def opening(self):
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

    def open_sibling(self, sibling, plain=False):
        """A Reader; an Absent for what cannot be read by us; None for what is gone.

        plain: it is not compressed, whatever its name says.
        """
        extension = split(sibling.name)[1]
        if extension in FOREIGN and not plain:
            trouble = f"compressed as {extension}, which is not read here"
            return Absent(sibling.name, trouble, False, sibling.file, sibling.mtime)
        try:
            return self.open(sibling.name, plain)
        except PermissionError as error:
            passing = not isinstance(error, Untrusted)
            return Absent(sibling.name, reason(error), passing, sibling.file, sibling.mtime)

    def _opened(self, path, plain):
        live = path == self.path
        if not live and not plain and split(path)[1]:
            return open_reader(path, self.fs, STEP)
        return HeldReader(path, self.fs, live=live) if self.hold_nuls else Reader(path, self.fs)

    def open(self, path, plain=False):
        """A Reader, or None for what is gone, or is no file.  Raises OSError."""
        try:
            opened = self._opened(path, plain)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except TcppipeError:
            if path == self.path:
                raise
            return None
        self._fresh.append(opened)
        return opened

    def stat(self):
        """The stat result of the origin's name, or None when it leads nowhere."""
        try:
            return self.fs.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    # --- truncation

    def renew(self, renewed, copy, offset, head):
        """The first reader's file was truncated: the renewed reader of it follows in its place
        among what has come since.

        copy: of its old content, which comes first of all; or None: offset and head tell what
        is but the beginning of that.
        """
        first = copy or self.readers[0]
        status = self.stat()
        was_live = self.live is not None and self.live.file == renewed.file
        missed, begun = [], set()
        known = self._beside()
        with self.opening():
            before = self.readers[0].beside
            until = None if copy is not None or is_open(renewed, status) else renewed
            for reader in self._missed(status, before, copy, until) if before is not None else ():
                if _is_beginning(reader, copy, offset, head):
                    if _is_beginning(reader, renewed, 0, b""):
                        begun.add(reader.file)
                    reader.close()
                else:
                    missed.append(reader)
        renewed.beside = _without_files(known, begun)
        if was_live:
            self.live = renewed if is_open(renewed, status) else None
        self._take_older([copy, *missed] if copy is not None else missed)
        rest = _without(self.readers[1:], copy)
        row = self._merged(first, rest, missed)
        if renewed is not self.live:
            row.insert(self._place_of(renewed, row), renewed)
        row = [reader for reader in row if reader is not self.live]
        self.readers = [first, *row, *([self.live] if self.live in (renewed, *rest) else [])]
        self._forget_copies()
        try:
            self.remember()
        except OSError:
            pass  # the next look does it

    def _merged(self, first, rest, missed):
        """What follows the first one as one row: what was held already, and what was found behind
        it, by the names that they have now."""
        places = {reader.file: place for place, reader in enumerate([first, *rest])}
        order = arrange(self.rotated(), self.path, lambda sibling: places.get(sibling.file))
        files = [sibling.file for sibling in order]
        row, at = list(rest), 0
        for reader in missed:
            behind = files[files.index(reader.file) + 1 :] if reader.file in files else files
            at = next((n for n in range(at, len(row)) if row[n].file in behind), len(row))
            row.insert(at, reader)
            at += 1
        return row

    def _place_of(self, renewed, readers):
        """Where in a row a file belongs that has left its name since it was truncated."""
        rows = {s.file: s for s in self.rotated()}
        if renewed.file not in rows:
            return 0
        order = arrange(list(rows.values()), self.path)
        behind = order[order.index(rows[renewed.file]) + 1 :]
        files = {sibling.file for sibling in behind}
        return next((at for at, r in enumerate(readers) if r.file in files), len(readers))

    def copy_of(self, reader, offset, head, below, changed):
        """A sibling that holds what `reader` held before it was truncated, or None.

        It has the same first bytes (`head`) and the same bytes just below `offset` (`below`).
        changed: the time of `reader` when it was read last.  Raises Busy.
        """
        held = {other.file for other in self.readers if other.sure or other is reader}
        fresh, before = self._likely_copies(offset, changed)
        try:
            for siblings in (fresh, *([sibling] for sibling in before)):
                fits = {}
                for sibling in siblings:
                    copy = self._open_copy(sibling) if sibling.file not in held else None
                    copied = copy is not None and _is_copy(copy, offset, head, below)
                    if copied and self.history.find(copy, self.digests.of, self._exists) is None:
                        fits[sibling] = copy
                for sibling, copy in fits.items():
                    if not any(_is_shorter(copy, other) for other in fits.values()):
                        self.learn(sibling.name)
                        return self._copies.pop(sibling.file)
        except Busy:
            raise
        except OSError:
            self._forget_copies()
            raise
        return None

    def _open_copy(self, sibling):
        """A Reader of it, which is held until the copy is found; None: it cannot be read."""
        copy = self._copies.get(sibling.file) or self.open_sibling(sibling)
        if copy is None or isinstance(copy, Absent):
            return None
        self._copies[sibling.file] = copy
        return copy

    def _likely_copies(self, offset, changed):
        """(What has come since the file was known not to be truncated, what was there before).

        Of those that have come, the oldest first: what came after it comes after its copy; behind
        them what may be anybody's copy.  Of the others the youngest first, if what was read is
        enough to know them by (many files begin alike), or if they were written over since.
        """
        older, strays = self.readers[0].beside or (None, ())
        rotated = arrange(self.rotated(), self.path)
        before = [sibling for sibling in rotated if self._is_among(sibling, older)]
        others = [s for s in self._likely() if not self._is_rotated(s)] if offset >= SHORT else []
        others = [s for s in others if (s.file, s.name) not in strays]
        others.sort(key=lambda sibling: sibling.changed, reverse=True)
        since = [sibling for sibling in rotated if sibling not in before]
        before = [s for s in before[::-1] if offset >= SHORT or s.mtime >= changed]
        return since + others, before

    def _forget_copies(self):
        for copy in self._copies.values():
            copy.close()
        self._copies = {}

    # --- what is held

    def done(self):
        """The first reader was read to its end: keep it until the sink has recorded it."""
        reader = self.readers.pop(0)
        self._ended += 1
        reader.ended = self._ended
        self._done.append(reader)

    def settle(self):
        """The sink has recorded the oldest generation that was read: let go of it."""
        self.history.settle()
        if self._done:
            reader = self._done.pop(0)
            if reader not in self.watched:
                reader.close()

    def held(self):
        """Everything that is held, in the order of its generations."""
        ended = sorted(self.watched + self._done, key=lambda reader: reader.ended)
        return list(dict.fromkeys(ended + self.readers))

    @property
    def spent(self):
        """True when nothing is held: all was read and recorded, and nobody adds to it."""
        return not (self.readers or self._done or self.watched)

    def unwatch(self, reader):
        """Nobody writes any more to a generation that has ended."""
        self.watched.remove(reader)
        if reader not in self._done:
            reader.close()

    def hold(self, readers, live):
        """From here on these are held to be read, and nothing else."""
        self._forget_copies()
        for reader in self.held():
            if reader not in readers:
                reader.close()
        self.readers, self._done, self.watched, self.live = list(readers), [], [], live

    def close(self):
        """Let go of everything."""
        self.places.forget()
        self.hold([], None)


def _outside(order, new):
    """The new ones of an order but for those between two others: these are old ones, unpacked or
    moved."""
    old = [at for at, sibling in enumerate(order) if sibling not in new]
    return order[: old[0]] + order[old[-1] + 1 :] if old else order


def _without_files(known, files):
    """What was beside a file, without these."""
    older, strays = known
    return {file: igen for file, igen in older.items() if file not in files}, strays


def _without(readers, copy):
    """These readers without one of the same file as `copy`, which is closed."""
    again = [reader for reader in readers if copy is not None and reader.file == copy.file]
    for reader in again:
        reader.close()
    return [reader for reader in readers if reader not in again]


def _is_beginning(reader, copy, offset, head):
    """True when a reader holds no more than was delivered, or than the copy, as far as that can be
    told."""
    if isinstance(reader, Absent):
        return False
    if reader.compressed:  # nothing but its beginning is had at once
        head = b"" if copy is None else _head_of(reader)
        return bool(head) and copy.read(len(head), 0) == head
    size = reader.status()[0]
    if copy is None:
        return size <= offset and reader.read(len(head), 0) == head[:size]
    ends = (0, max(0, size - HEAD))
    try:
        return size <= copy.status()[0] and all(
            reader.read(HEAD, at) == copy.read(min(HEAD, size - at), at) for at in ends
        )
    except (Busy, Broken):
        return False


def _is_shorter(reader, other):
    """True when another copy goes on where this one ends: somebody has made it before."""
    size = reader.status()[0]
    if reader is other or size < HEAD or other.status()[0] <= size:
        return False
    return _is_beginning(reader, other, 0, b"")


def _head_of(reader):
    try:
        return reader.read(HEAD, 0)
    except (Broken, Busy):
        return b""


def _is_copy(copy, offset, head, below):
    """Cheap things first: of a compressed file, nothing but its beginning."""
    try:
        return (
            (copy.compressed or copy.status()[0] >= offset)
            and copy.read(len(head), 0) == head
            and copy.read(len(below), offset - len(below)) == below
            and copy.status()[0] >= offset
        )
    except Broken:
        return False
