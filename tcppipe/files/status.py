"""The sending side's status file: what an administrator and a restart look at.

Its first line is the acknowledged offset in decimal, as it always was.  It is never
the truth while the sink has a ledger: missing, garbled or old, it does no harm.

It is made under another name, synced and renamed, and after that overwritten in place
by one write of always the same length, so no crash leaves it empty - which would ask
for the whole file again.
"""

from __future__ import annotations

import os
import stat
import zlib

from tcppipe.cursor import NO_DIGEST, Cursor, Generation
from tcppipe.files.fs import FS, REAL, open_new

LENGTH = 512  # bytes; one sector


class StatusFile:
    """The status file at `path` (str); `original`: where the original program kept it."""

    def __init__(self, path: str, original: str | None = None, fs: FS = REAL) -> None:
        self.path = path
        self.original = original
        self.fs = fs
        self._fd = -1
        self._last: Cursor | None = None

    def read(self) -> tuple[Cursor | None, bool]:
        """(Cursor or None, whether the whole file is asked for again).

        An empty file asks for the whole origin; anything unreadable is as if missing.
        """
        for path in filter(None, (self.path, self.original)):
            content = self._content(path)
            if content is not None:
                return (None, True) if not content else (parse(content), False)
        return None, False

    def _content(self, path: str) -> bytes | None:
        try:
            fd = self.fs.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(self.fs.fstat(fd).st_mode):
                return None  # a link to a device: nobody has emptied it
            return self.fs.pread(fd, 4096, 0)
        except OSError:
            return None
        finally:
            self.fs.close(fd)

    def save(self, cursor: Cursor, about: str = "") -> None:
        """Write the cursor, if it is another than the last one.  Raises OSError."""
        if cursor == self._last:
            return
        content = render(cursor, about)
        if self._fd < 0 or self._gone():
            self._make(content)
        else:
            self.fs.ftruncate(self._fd, LENGTH)
            self.fs.pwrite(self._fd, content, 0)
        self._last = cursor

    def _gone(self) -> bool:
        """True when the name no longer leads to the file that we write."""
        here = self.fs.fstat(self._fd)
        try:
            there = self.fs.stat(self.path)
        except FileNotFoundError:
            return True
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def _make(self, content: bytes) -> None:
        self.close()
        self.fs.makedirs(os.path.dirname(self.path))
        beside = self.path + ".new"
        fd = open_new(self.fs, beside, 0o644)
        try:
            self.fs.write_all(fd, content)
            self.fs.fsync(fd)
            self.fs.rename(beside, self.path)
        except OSError:
            self.fs.close(fd)
            raise
        self._fd = fd

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self.fs.close(fd)


def render(cursor: Cursor, about: str = "") -> bytes:
    """A status file's content: LENGTH bytes."""
    generation = cursor.generation
    numbers = " ".join(str(number) for number in (*generation.key, generation.head_len))
    text = f"{cursor.offset}\n{numbers} {generation.head.hex()}\n"
    line = f"{text}{zlib.crc32(text.encode()):08x}\n{about}".encode(errors="replace")
    return line[: LENGTH - 1].ljust(LENGTH - 1) + b"\n"


def parse(content: bytes) -> Cursor | None:
    """The Cursor in a status file's content, or None; an original's has an UNKNOWN generation."""
    lines = content.split(b"\n")
    if not lines[0].strip().isdigit() or len(lines[0]) > 19:
        return None
    offset = int(lines[0])
    if len(lines) < 3 or not lines[1].strip():
        return Cursor(Generation(), offset)
    try:
        if int(lines[2], 16) != zlib.crc32(b"\n".join(lines[:2]) + b"\n"):
            return None
        *words, head = lines[1].split()
        dev, ino, igen, born, head_len = map(int, words)
        generation = Generation(dev, ino, igen, born, head_len, bytes.fromhex(head.decode()))
    except (ValueError, TypeError):
        return None
    if len(generation.head) != len(NO_DIGEST):
        return None
    return Cursor(generation, offset)
