"""What happens to an origin: its writer, all the ways to rotate, and what people do beside it.

A generation is what a writer wrote into one incarnation of the file.  It is gone when no name
leads to its bytes any more and the source does not hold it open: then a gap may stand for what
was not delivered.
"""

import bz2
import datetime
import gzip
import lzma
import os

import zstandard

ORIGIN = "/o/app.log"
SOURCE = "source"  # the name of the source's process
BANNER = b"== the same banner in every file, as many programs write it ==\n"
LATE = b"<late %06d>\n"
HOUR = 3600 * 10**9
PATIENCE = 40 * 10**9  # nanoseconds for which what cannot be read is waited for at the least
NUMBERED = ("numbers", "up")
PLAIN = 1024  # bytes from which on a file that holds the same is a copy, and no equal file
PATTERNS = {  # what the administrator says of names that nobody could know to be rotated ones
    "inside": ("/o/app-*.log*",), "tai64n": ("/o/@*",),
}  # fmt: skip
COMPRESSORS = {
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstandard.ZstdCompressor(level=1).compress,
}


def _is_plain(path):
    return os.path.splitext(path)[1] not in (*COMPRESSORS, ".lz4", ".Z", ".br")


class Generation:
    """What a writer wrote into one incarnation of the origin."""

    def __init__(self):
        self.data = bytearray()
        self.gone = False  # a part of it may be missing in the copy, if a gap says so
        self.untold = False  # … and if nobody could know, without one
        self.seen = False  # the source has held it open


class Origin:
    """The part of a World that is about the origin."""

    meanwhile_is_long = False
    first_late = 0  # the number before the first late line

    def begin_origin(self, scheme):
        """The first file, and how it will be called when it is rotated."""
        self.scheme = scheme
        self.lines = self.lates = self.names = 0
        self.history = [Generation()]
        self.aside = []  # paths of the rotated files, the newest first
        self.inodes = {}  # what each inode holds, compressed or not
        self.spoiled = set()  # inodes that nobody can read, though a gap need not stand for them …
        self.deleted = False  # … where complete ones were deleted: it may be one of these
        self._writer = self._old_writer = None
        self._open_writer()

    # --- the writer

    def _open_writer(self, keep=False):
        if self._writer is not None:
            if self._old_writer is not None:
                self.o.close(self._old_writer)
                self._old_writer = None
            if keep:
                self._old_writer = self._writer
            else:
                self.o.close(self._writer)
        self._writer = self.o.open(ORIGIN, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.inodes[self.o._names[ORIGIN]] = self.history[-1]

    def write(self):
        """Some lines, whole or not."""
        for _ in range(self.rnd.randint(1, 6)):
            self.lines += 1
            length = self.rnd.randint(0, 40)
            body = bytes(self.rnd.choice(b"ab\n\0\x07\xff\r") for _ in range(length))
            line = b"%06d %s" % (self.lines, body) + self.rnd.choice((b"\n", b"\n", b""))
            self._put(line)

    def write_much(self):
        """Many lines at once."""
        self.reach("much written")
        for _ in range(self.rnd.randint(5, 15)):
            self.write()

    def banner(self):
        """Many logs begin with the same line."""
        if not self.history[-1].data:
            self._put(BANNER)

    def _put(self, data):
        self.o.write_all(self._writer, data)
        self.history[-1].data += data

    def late(self):
        """A writer that was not told writes to the file that was rotated last."""
        if self._old_writer is not None:
            self.reach("late bytes")
            self.lates += 1
            self.o.write_all(self._old_writer, LATE % (self.first_late + self.lates))

    # --- rotation

    def rotate(self):
        """logrotate: rename, create, the writer reopens; sometimes it was slow, or compresses."""
        self.reach("rotated")
        self._rotate()
        if self.rnd.random() < 0.4:
            self.compress()

    def _rotate(self, keep=False):
        name = self._next_name()
        self.o.rename(ORIGIN, name)
        self.aside.insert(0, name)
        waited = self.rnd.random() < 0.3
        if waited:
            self.meanwhile()
        # the writer has not been told yet; later than that its bytes may be late ones
        if self.rnd.random() < 0.4 and not (waited and self.meanwhile_is_long):
            self._put(b"late %06d\n" % self.lines)
        self._begin_generation(keep)

    def _begin_generation(self, keep=False):
        self.history.append(Generation())
        self._open_writer(keep)

    def meanwhile(self):
        """The source works in the middle of what somebody else does."""
        before, self.o.spared = self.o.spared, False
        self.step_source()
        self.o.spared = before

    def rotate_twice(self):
        """Two rotations before the source looks again."""
        self.reach("rotated twice")
        self.rotate()
        self.write()
        self.rotate()

    def rotate_and_keep(self):
        """The writer keeps the old file and goes on writing to it; another one has the new."""
        self.reach("rotated, writer stays")
        self._rotate(keep=True)

    def _next_name(self):
        self.names += 1
        day = datetime.date(2026, 1, 1) + datetime.timedelta(self.names)
        stem, extension = os.path.splitext(ORIGIN)
        if self.scheme == "numbers":
            self._shift()
            return f"{ORIGIN}.1"
        return {
            "dates": f"{ORIGIN}-{day:%Y%m%d}",
            "index": f"{ORIGIN}.2026-11-25.{self.names}",
            "up": f"{ORIGIN}.{self.names}",
            "inside": f"{stem}-{day:%Y%m%d}{extension}",
            "tai64n": f"/o/@40000000{0x67450000 + self.names:08x}0badcafe.s",
        }[self.scheme]

    def _shift(self):
        """Rotated files that are numbered move up by one; the highest first."""
        for at in range(len(self.aside) - 1, -1, -1):
            old = self.aside[at]
            base, extension = os.path.splitext(old)
            extension = "" if _is_plain(old) else extension
            number = int(old[: len(old) - len(extension)].rsplit(".", 1)[1])
            new = f"{ORIGIN}.{number + 1}{extension}"
            self.o.rename(old, new)
            self.aside[at] = new

    def compress(self):
        """gzip, as logrotate has it: the newest rotated file, its time kept."""
        if self.aside and _is_plain(self.aside[0]):
            self.reach("compressed")
            self._compress(0, ".gz", keep_time=True)

    def _compress(self, at, kind, keep_time, frames=1, whole=True):
        old = self.aside[at]
        inode = self.o._names[old]
        if at == 0 and self._old_writer is not None:
            return
        data, generation = bytes(inode.data), self.inodes[inode]
        cuts = sorted(self.rnd.randint(0, len(data)) for _ in range(frames - 1))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        packed = b"".join(map(COMPRESSORS[kind], parts))
        if not whole:
            packed = packed[: self.rnd.randint(1, len(packed) - 1)]
        mtime = inode.mtime if keep_time else None
        made = self.o.put(old + kind, packed, mtime)
        if whole:
            self.inodes[made] = generation
        else:
            self.spoiled.add(made)
        if self.rnd.random() < 0.5:
            self.meanwhile()  # both stand there for a moment
        self.o.unlink(old)
        self.aside[at] = old + kind
        self.mourn()

    def compress_otherwise(self):
        """Any rotated file, by any compressor, in several frames; the time kept or not."""
        plain = [at for at, path in enumerate(self.aside) if _is_plain(path)]
        if plain:
            self.reach("compressed otherwise")
            kind = self.rnd.choice(list(COMPRESSORS))
            keep = self.rnd.random() < 0.5
            self._compress(self.rnd.choice(plain), kind, keep, self.rnd.randint(1, 3))

    def compress_badly(self):
        """A compressor that was killed: what it left is cut, and the plain file is gone."""
        plain = [at for at, path in enumerate(self.aside) if _is_plain(path)]
        if plain:
            self.reach("compressed badly")
            kind = self.rnd.choice(list(COMPRESSORS))
            self._compress(self.rnd.choice(plain), kind, self.rnd.random() < 0.5, whole=False)

    def compress_strangely(self):
        """By a program that nobody here knows: as good as deleted, and a gap has to name it."""
        plain = [at for at, path in enumerate(self.aside) if _is_plain(path)]
        at = self.rnd.choice(plain) if plain else 0
        if plain and not (at == 0 and self._old_writer is not None):
            self.reach("compressed strangely")
            old = self.aside[at]
            kind = self.rnd.choice((".lz4", ".Z", ".br"))
            mtime = self.o._names[old].mtime
            self.spoiled.add(self.o.put(old + kind, self.o.content(old)[::-1], mtime))
            self.o.unlink(old)
            self.aside[at] = old + kind
            self.mourn()

    def rotate_zipping(self):
        """As docker, logback and the gzip rotator do it: rename, write .gz, unlink, at once."""
        self.reach("rotated by a zipper")
        self._rotate()
        self.write()
        if self.rnd.random() < 0.5:
            self.meanwhile()
        self._compress(0, ".gz", keep_time=False)

    def copytruncate(self):
        """logrotate's copytruncate; the writer keeps its descriptor.

        Only when the sink has some of this generation: one that came and went unseen is
        not promised.  Nor one of which the source has read, or the sink has marked, only what
        many files begin with: when the next one has grown past that by the next look, nobody
        can tell.
        """
        if not self._recognizable():
            return
        self.reach("copytruncate")
        self._copy_and_empty()
        if self.rnd.random() < 0.5:
            self.write()

    def _copy_and_empty(self):
        name = self._next_name()
        made = self.o.put(name, self.o.content(ORIGIN))
        self.inodes[made] = self.history[-1]
        self.aside.insert(0, name)
        self._empty()

    def _empty(self):
        fd = self.o.open(ORIGIN, os.O_WRONLY)
        self.o.ftruncate(fd, 0)
        self.o.close(fd)
        self.history.append(Generation())
        self.inodes[self.o._names[ORIGIN]] = self.history[-1]

    def _recognizable(self):
        before = sum(len(generation.data) for generation in self.history[:-1])
        if len(self.ours()) <= before or self.durable() <= before:
            return False
        data = self.history[-1].data
        common = len(BANNER) if data.startswith(BANNER) else len("000001")
        if self.follower is not None and 0 < self.follower.offset <= common:
            return False
        mark = self.marked()
        return mark > common and bytes(data[:mark]) in self.ours()

    def truncate(self):
        """Somebody empties the file; it may grow past its old size at once."""
        if self._recognizable():
            self.reach("truncated")
            self.history[-1].gone = self.history[-1].untold = True
            self._empty()
            if self.rnd.random() < 0.5:
                self.write_much()

    def rotate_by_link(self):
        """The rotated name is a second name first."""
        self.reach("rotated by a link")
        name = self._next_name()
        self.o.link(ORIGIN, name)
        self.aside.insert(0, name)
        self.meanwhile()
        self.o.unlink(ORIGIN)
        self._begin_generation()

    def link_beside(self):
        """A second name for the live file, which looks like that of a rotated one."""
        if len(self.history[-1].data) >= PLAIN:  # shorter, its compressed form may be another's
            self.reach("linked beside it")
            self.o.link(ORIGIN, ORIGIN + (".8" if self.scheme not in NUMBERED else "-20261126"))

    def rotate_back(self):
        """mv away, and back."""
        self.reach("rotation undone")
        name = f"{ORIGIN}.20261125"
        self.o.rename(ORIGIN, name)
        if self.rnd.random() < 0.6:
            self.meanwhile()
        if self.rnd.random() < 0.5:
            self.write()
        self.o.rename(name, ORIGIN)

    def replace(self):
        """cp -a; mv: another file with the same content, perhaps with more behind it."""
        if len(self.history[-1].data) >= PLAIN and self._recognizable():
            self.reach("replaced by a copy")
            made = self.o.put(ORIGIN, bytes(self.history[-1].data))
            self.inodes[made] = self.history[-1]
            self._open_writer()
            if self.rnd.random() < 0.5:
                self.write()

    def begin_equal(self):
        """The next file holds what this one holds, byte for byte."""
        self._begin_with(bytes(self.history[-1].data))

    def begin_longer(self):
        """The next file begins with all that this one holds."""
        if self._begin_with(bytes(self.history[-1].data)):
            self.write()

    def _begin_with(self, data):
        if not 0 < len(data) < 500:
            return False
        self.reach("an equal beginning")
        self._rotate()
        if self.history[-2].data != data:  # something was added while it was rotated
            data = bytes(self.history[-2].data)
        self._put(data)
        return True

    # --- what people do beside it

    def stray(self):
        """Files that are nobody's, with names like these."""
        self.reach("stray file")
        suffix = self.rnd.choice((".bak", "-notes", ".orig", ".1.bak", "-private.key", ".README"))
        self.o.put(ORIGIN + suffix, b"stray\n" * self.rnd.randint(0, 9), self._any_time())

    def copy_beside(self):
        """cp app.log app.log.bak, and the like."""
        self.reach("copy beside it")
        data = self.o.content(ORIGIN)
        suffix = self.rnd.choice((".bak", ".orig", ".save.gz", "-copy"))
        data = COMPRESSORS[".gz"](data) if suffix.endswith(".gz") else data
        self.o.put(ORIGIN + suffix, data, self.rnd.choice((None, self.o._names[ORIGIN].mtime)))

    def copy_as_rotated(self):
        """logrotate's `copy`: it looks like a rotated file, and is not."""
        if len(self.history[-1].data) >= PLAIN:
            self.reach("copied as if rotated")
            name = ORIGIN + (".7" if self.scheme not in NUMBERED else "-20261125")
            self.o.put(name, self.o.content(ORIGIN))

    def delete_oldest(self):
        """What is too old is deleted, read or not."""
        if len(self.aside) > 1:
            self.reach("oldest deleted")
            self.deleted = True
            self.o.unlink(self.aside.pop())
            self.mourn()

    def note_seen(self):
        """The source holds these: that they were there is known from now on."""
        for inode in self.holding():
            generation = self.inodes.get(inode)
            if generation is not None:
                generation.seen = True

    def mourn(self):
        """What nobody can read any more may be missing from now on, where a gap says so."""
        self.note_seen()
        end = 0
        held = set(map(id, self.holding()))
        named = {id(inode) for inode in self.o._names.values()}
        left = {
            id(generation) for inode, generation in self.inodes.items()
            if id(inode) in held or id(inode) in named
        }  # fmt: skip
        for generation in self.history[:-1]:
            end += len(generation.data)
            if id(generation) not in left and self.acked <= end and not generation.gone:
                generation.gone = True
                # nothing of it is known for sure: so nobody can tell that another is not it
                generation.untold = not self.marked()

    def unreadable(self):
        """A file loses its rights for a while; who has it open can read it still."""
        path = self.rnd.choice([ORIGIN, *self.aside])
        self.reach("unreadable")
        self.o.chmod(path, False)

    def readable(self):
        """They are given back."""
        self.tire()
        for path in self.o.paths():
            self.o.chmod(path, True)

    def tire(self):
        """Nobody waits for ever: what could not be read for long may be lost, if a gap says so."""
        live = self.o._names.get(ORIGIN)
        for inode in self.o._inodes:
            if (
                inode is not live
                and not inode.readable
                and not 0 <= self.o.now - inode.changed < PATIENCE
            ):
                if inode in self.inodes:
                    self.spoiled.add(inode)
                    self.inodes[inode].gone = True
                    self.marks_lost = self.marks_lost or b"<late" in inode.data

    def watches_end(self):
        """Its disk is unmounted and mounted again: nothing is told of it any more."""
        self.reach("watches ended")
        self.o.unmount()

    # --- its clock

    def _any_time(self):
        if self.rnd.random() < 0.1:
            return -self.rnd.randrange(10**18)  # before 1970
        return self.o.now + self.rnd.randrange(-3 * HOUR, 3 * HOUR)

    def clock_steps(self):
        """NTP, or a virtual machine that was restored: by up to some hours, forth or back."""
        self.reach("clock stepped")
        self.o.now += self.rnd.choice((-1, 1)) * self.rnd.choice((10**6, 10**9, HOUR, 5 * HOUR))

    def touch(self):
        """Somebody sets the time of a file."""
        self.reach("touched")
        self.o.utime(self.rnd.choice([ORIGIN, *self.aside]), self._any_time())

    def origin_moves(self):
        """The same disk has another number, or its files were copied to another one."""
        self.reach("origin on another device")
        self.kill_source()
        self.o.device += 1
        if self.rnd.random() < 0.5:
            return
        if self._lates_missing():  # a copy with late bytes is another file that begins alike
            self.marks_lost = True
        for path in [ORIGIN, *self.aside]:
            inode = self.o._names[path]
            made = self.o.put(path, bytes(inode.data), inode.mtime)
            if inode in self.inodes:
                self.inodes[made] = self.inodes[inode]
        self._open_writer()
