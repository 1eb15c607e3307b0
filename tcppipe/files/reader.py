"""An open file that a generation is, or was, in.

It holds a descriptor, so a file that is renamed or deleted afterwards can still be read to
its end.  Reads only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Protocol

from tcppipe.cursor import HEAD, NO_DIGEST, Generation
from tcppipe.errors import ConfigError
from tcppipe.files.fs import FS, REAL
from tcppipe.files.rolling import Read, Rolling, digest_of
from tcppipe.wire.events import Complete


def kind_of(mode: int) -> str:
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


class Digested(Protocol):
    """The digest of a file's beginning, up to `offset`, made in steps."""

    @property
    def offset(self) -> int:
        """So many bytes are in it."""

    def advance(self, end: int, budget: int, /) -> bool:
        """Take more, `budget` bytes at most; True when `end` is reached."""

    def moved(self, read: Read) -> None:
        """The same bytes are read from elsewhere from now on."""

    def digest(self) -> bytes:
        """Of what was taken."""


class Reader:
    """An open file that a generation is, or was, in.

    Raises OSError when it cannot be opened, ConfigError when it is not a regular file.
    """

    compressed = False
    sure = True  # it is known to be a generation of its own
    ended = 0  # the number of those that were read to their end, with it
    reopened: Complete | None = None  # the complete generation that it goes on with
    # what stood beside the live file when it was last known not to be truncated
    beside: frozenset[str] | None = None
    # for the generation that it was made of if that proves to be another
    unseen: Absent | None = None

    def __init__(self, path: str, fs: FS = REAL, fd: int | None = None) -> None:
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
        self.born = max(0, status.st_mtime_ns)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self.ino}>"

    @property
    def holding(self) -> bool:
        """True when there are bytes that are not to be read yet."""
        return False

    def status(self) -> tuple[int, int]:
        """(size in bytes, modification time in nanoseconds)."""
        now = self.fs.fstat(self.fd)
        return now.st_size, now.st_mtime_ns

    def read(self, length: int, offset: int) -> bytes:
        """`length` bytes from `offset` on; fewer only where the file ends."""
        data = self.fs.pread(self.fd, length, offset)
        while data and len(data) < length:
            more = self.fs.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def fill(self, view: memoryview, offset: int, least: int) -> int:
        """Read into `view` (a memoryview) from `offset` on: how many bytes, `least` of them or
        more unless the file ends before."""
        count = self.fs.preadv(self.fd, [view], offset)
        while 0 < count < least:
            more = self.fs.preadv(self.fd, [view[count:]], offset + count)
            if not more:
                break
            count += more
        return count

    def digest(self, first: int, length: int) -> bytes:
        """The SHA-256 of a range; NO_DIGEST when the file is shorter."""
        if first < 0:
            return NO_DIGEST
        return digest_of(self.read, first, length) or NO_DIGEST

    def generation(self, head: bytes | None = None) -> Generation:
        """What identifies it, by its first bytes: those given, or as they are now."""
        head = self.read(HEAD, 0) if head is None else head[:HEAD]
        digest = hashlib.sha256(head).digest() if head else NO_DIGEST
        return Generation(self.dev, self.ino, self.igen, self.born, len(head), digest)

    def is_named(self) -> bool:
        """True when some name leads to the file."""
        return self.fs.fstat(self.fd).st_nlink > 0

    def rolling(self) -> Digested:
        """What makes the digest of its beginning."""
        return Rolling(self.read, hashlib.sha256())

    def again(self) -> Reader:
        """A new Reader of the same open file, which has become another generation."""
        return Reader(self.path, self.fs, self.fs.dup(self.fd))

    def has_writer(self) -> bool | None:
        """Whether a process has it open for writing: True, False, or None when nobody tells.

        Only for files that have already left their name (see FS.has_writer).
        """
        return self.fs.has_writer(self.fd)

    def descriptors(self) -> list[int]:
        """The numbers of the descriptors that it holds."""
        return [self.fd]

    def close(self) -> None:
        """Let go of the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.fs.close(fd)


class Broken(OSError):
    """A compressed file's content is not what a compressor writes: it will not get better."""


def is_open(reader: Reader, status: os.stat_result | None) -> bool:
    """True when a reader's open file is the one of a stat result."""
    return status is not None and reader.file == (status.st_dev, status.st_ino)


class Absent:
    """Takes a reader's turn for a generation that cannot be read.

    trouble: why, in words.  passing: it may be readable later.  file: device and inode, or None.
    """

    compressed = False
    inode_generation = 0
    born = 0
    sure = False
    ended = 0
    reopened: Complete | None = None
    beside: frozenset[str] | None = None

    fd = -1

    def __init__(
        self,
        path: str,
        trouble: str,
        passing: bool,
        file: tuple[int, int] | None = None,
        mtime: int = 0,
    ) -> None:
        self.path = path
        self.mtime = mtime
        self.trouble = trouble
        self.passing = passing
        self.file = file
        self.since: float | None = None  # when its turn came

    def __repr__(self) -> str:
        return f"<Absent {self.path}: {self.trouble}>"

    def generation(self, _head: bytes | None = None) -> Generation:
        """What is known of it."""
        return Generation(*(self.file or (0, 0)))

    def descriptors(self) -> list[int]:
        """None is held."""
        return []

    def close(self) -> None:
        """Nothing is held."""
