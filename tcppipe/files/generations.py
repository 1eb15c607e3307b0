"""Where generations are found: the origin, its rotated siblings, compressed ones as well.

Reads only.  Readers hold a descriptor, so a file that is renamed or deleted afterwards
can still be read to its end.
"""

import bz2
import fnmatch
import gzip
import hashlib
import lzma
import os
import re
import stat

from tcppipe.cursor import HEAD, NO_DIGEST, Generation
from tcppipe.errors import ConfigError, reason
from tcppipe.files.fs import REAL
from tcppipe.files.rolling import digest_of

ROTATED = re.compile(r"[.-]\d[-+_.:\dTZ]*|\.(old|prev|previous)")  # suffixes that rotation gives
WORDS = re.compile(  # the same where a pattern allows it: .25Nov2026, -Mon, .1, or nothing
    r"([-._](\d[\w:+]*|mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov"
    r"|dec|old|prev|previous|last|bak|save|saved|orig))*",
    re.IGNORECASE | re.ASCII,
)
WILD = re.compile(r"[*?[]")
DATED = re.compile(r"[.-](?:(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])|1\d{9})[-_.T:\d]*")  # year first
FOREIGN = {".Z", ".lz4", ".lz", ".lzo", ".br", ".zip", ".7z"}  # compressed in ways not read here


def _open_zstd(stream, mode):
    import zstandard  # may be missing: then such files are Broken

    return zstandard.open(stream, mode)


SUFFIXES = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".lzma": lzma.open,
    ".zst": _open_zstd,
}


def kind_of(mode):
    """What a file is that is not a regular one, in a word for a message."""
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


class Reader:
    """An open file that a generation is, or was, in.

    Raises OSError when it cannot be opened, ConfigError when it is not a regular file.
    """

    def __init__(self, path, fs=REAL, fd=None):
        self.path = path
        self.fs = fs
        self.fd = fs.open(path, os.O_RDONLY | os.O_NONBLOCK) if fd is None else fd
        try:
            status = fs.fstat(self.fd)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path}: {kind_of(status.st_mode)}, not a regular file")
        except (OSError, ConfigError):
            fs.close(self.fd)
            raise
        self.file = self.dev, self.ino = status.st_dev, status.st_ino
        self.igen = self.inode_generation = fs.inode_generation(self.fd)
        self.born = status.st_mtime_ns

    def __repr__(self):
        return f"<{type(self).__name__} {self.path} {self.ino}>"

    def status(self):
        """(size in bytes, modification time in nanoseconds)."""
        now = self.fs.fstat(self.fd)
        return now.st_size, now.st_mtime_ns

    def read(self, length, offset):
        """`length` bytes from `offset` on; fewer only where the file ends."""
        data = self.fs.pread(self.fd, length, offset)
        while data and len(data) < length:
            more = self.fs.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def fill(self, view, offset, least):
        """Read into `view` (a memoryview) from `offset` on: how many bytes, `least` of them or
        more unless the file ends before."""
        count = self.fs.preadv(self.fd, [view], offset)
        while 0 < count < least:
            more = self.fs.preadv(self.fd, [view[count:]], offset + count)
            if not more:
                break
            count += more
        return count

    def digest(self, first, length):
        """The SHA-256 of a range; NO_DIGEST when the file is shorter."""
        if first < 0:
            return NO_DIGEST
        return digest_of(self.read, first, length) or NO_DIGEST

    def generation(self, head=None):
        """What identifies it, by its first bytes: those given, or as they are now."""
        head = self.read(HEAD, 0) if head is None else head[:HEAD]
        digest = hashlib.sha256(head).digest() if head else NO_DIGEST
        return Generation(self.dev, self.ino, self.igen, self.born, len(head), digest)

    def again(self):
        """A new Reader of the same open file, which has become another generation."""
        return Reader(self.path, self.fs, self.fs.dup(self.fd))

    def has_writer(self):
        """Whether a process has it open for writing: True, False, or None when nobody tells.

        Only for files that have already left their name (see FS.has_writer).
        """
        return self.fs.has_writer(self.fd)

    def close(self):
        """Let go of the descriptor."""
        if self.fd >= 0:
            self.fs.close(self.fd)
            self.fd = -1


class Broken(OSError):
    """A compressed file's content is not what a compressor writes: it will not get better."""


class CompressedReader(Reader):
    """A sibling that has been compressed: offsets count in its content."""

    def __init__(self, path, fs=REAL):
        super().__init__(path, fs)
        self.ino = self.igen = 0  # not the inode that the generation had
        self._opener = SUFFIXES[os.path.splitext(path)[1]]
        try:
            self._file = fs.stream(self.fd)
        except OSError:
            super().close()
            raise
        self._content = self._size = None
        self._at = -1

    def status(self):
        """(size of the content, modification time).  Reads it all the first time."""
        if self._size is None:
            at = 0
            while data := self.read(1 << 20, at):
                at += len(data)
            self._size = at
        return self._size, super().status()[1]

    def _rewind(self):
        self._file.seek(0)
        self._content = self._opener(self._file, "rb")
        self._at = 0

    def read(self, length, offset):
        """At most `length` bytes of the content.  Raises Broken, or OSError."""
        try:
            if self._at < 0:
                self._rewind()
            if offset != self._at:
                self._content.seek(offset)
            data = self._content.read(length)
            self._at = offset + len(data)
            return data
        except Exception as error:  # each library has exceptions of its own
            self._at = -1  # what it has read ahead is not to be trusted
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Broken(None, f"cannot be decompressed: {reason(error)}") from None

    def fill(self, view, offset, least):
        """The same of the content.  Raises Broken, or OSError."""
        data = self.read(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def has_writer(self):
        """Always False: a compressor's file is complete when its content can be read."""
        return False

    def close(self):
        """Let go of both descriptors."""
        if self._content is not None:
            self._content.close()
        self._file.close()
        super().close()


def open_reader(path, fs=REAL):
    """The Reader that fits a file's name."""
    if os.path.splitext(path)[1] in SUFFIXES:
        return CompressedReader(path, fs)
    return Reader(path, fs)


def siblings(path, olddir=None, fs=REAL, patterns=()):
    """The paths of the rotated files of `path`, oldest first: PATH.*, PATH-*, and `patterns`.

    Numbered names (.1, .2.gz) go by number, dated ones (-20261120, .2026-11-20_13) by
    date; where both kinds or others stand side by side, by modification time.
    A file and its compressed form count once: as the plain file.
    Raises OSError: what cannot be looked at for now is not to be taken for missing.
    """
    base = os.path.basename(path)
    found = {}
    for directory in {os.path.dirname(path) or "/", olddir or os.path.dirname(path) or "/"}:
        try:
            names = fs.listdir(directory)
        except (FileNotFoundError, PermissionError):
            continue
        for name in names:
            if name[: len(base)] == base and name[len(base) : len(base) + 1] in (".", "-"):
                found[os.path.join(directory, name)] = name[len(base) :]
    for full in _matching(patterns, fs):
        if full != path:
            found.setdefault(full, full[len(path) :] if full.startswith(path) else full)
    rows = []
    for full, suffix in found.items():
        stem, extension = os.path.splitext(suffix)
        if extension in FOREIGN:
            continue
        plain = stem if extension in SUFFIXES else suffix
        if plain != suffix and full[: -len(extension)] in found:
            continue
        try:
            status = fs.stat(full)
        except (FileNotFoundError, PermissionError):
            continue
        if stat.S_ISREG(status.st_mode):
            rows.append((plain, status.st_mtime_ns, full))
    return [full for _plain, _mtime, full in sorted(rows, key=_order([row[0] for row in rows]))]


def _matching(patterns, fs):
    """The paths that patterns fit; wildcards stand in the last part of a pattern."""
    for pattern in patterns:
        directory, wanted = os.path.split(pattern)
        try:
            names = fs.listdir(directory)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for name in names:
            hidden = name.startswith(".") and not wanted.startswith(".")
            if fnmatch.fnmatchcase(name, wanted) and not hidden:
                yield os.path.join(directory, name)


def is_rotated(path, origin, patterns=()):
    """True when a sibling's name is one that rotation gives; else it may be anybody's copy."""
    if any(_is_named(path, origin, pattern) for pattern in patterns):
        return True
    suffix = os.path.basename(path)[len(os.path.basename(origin)) :]
    stem, extension = os.path.splitext(suffix)
    return ROTATED.fullmatch(stem if extension in SUFFIXES else suffix) is not None


def _is_named(path, origin, pattern):
    """True when a pattern names a rotated file, and not just anything that stands there."""
    if not fnmatch.fnmatchcase(path, pattern):
        return False
    if not WILD.search(pattern):
        return True
    name, base = os.path.basename(path), os.path.basename(origin)
    if name == base or re.match(re.escape(base) + "[.-]", name):
        stem, extension = os.path.splitext(name[len(base) :])
        return WORDS.fullmatch(stem if extension in SUFFIXES else stem + extension) is not None
    return re.search(r"\d", path[WILD.search(pattern).start() :]) is not None


def _order(suffixes):
    """The sort key that fits all these suffixes."""
    if all(re.fullmatch(r"\.\d{1,4}", suffix) for suffix in suffixes):
        return lambda row: -int(row[0][1:])
    if all(DATED.fullmatch(suffix) for suffix in suffixes):
        return lambda row: (re.sub(r"\D", "", row[0]), row[1])
    return lambda row: (row[1], row[2])
