"""Rotated files that have been compressed: offsets count in their content.

A content is read from its beginning on, in steps that are short whatever stands in the file;
what was read last is kept for a while, so that a look back costs nothing.  Several members or
frames behind each other are one content, as their own programs have it.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from tcppipe.cursor import HEAD, NO_DIGEST
from tcppipe.errors import Busy, reason
from tcppipe.files.fs import FS, REAL
from tcppipe.files.reader import Broken, Digested, Reader
from tcppipe.files.rolling import Read

INPUT = 1 << 14  # bytes of a file that are read at a time
PIECE = (
    1 << 16
)  # bytes of content that are made at a time, as far as the library lets itself be told
STEP = 2 << 20  # bytes of content that one call makes at most
BACK = 1 << 17  # bytes of content that are kept behind the place


class Unit(Protocol):
    """What makes the content of one member or frame, as bz2 and lzma have it."""

    @property
    def needs_input(self) -> bool:
        """True when it can make nothing without more of the file."""

    @property
    def eof(self) -> bool:
        """True at its end."""

    @property
    def unused_data(self) -> bytes:
        """What stands behind its end."""

    def decompress(self, data: bytes, most: int, /) -> bytes:
        """Take more of the file; some of the content."""


class _Zlib:
    """One gzip member, in the words of bz2 and lzma."""

    def __init__(self) -> None:
        self._unit = zlib.decompressobj(31)
        self._rest = b""
        self.needs_input = True

    def decompress(self, data: bytes, most: int) -> bytes:
        made = self._unit.decompress(self._rest + data, most)
        self._rest = self._unit.unconsumed_tail
        self.needs_input = not self._rest and len(made) < most
        return made

    @property
    def eof(self) -> bool:
        return self._unit.eof

    @property
    def unused_data(self) -> bytes:
        return self._unit.unused_data


class _Zstd:
    """One frame.  The library makes all that its input stands for: it is fed by crumbs."""

    CRUMB = 1 << 10

    def __init__(self) -> None:
        import zstandard  # may be missing: then such files are Broken

        self._unit = zstandard.ZstdDecompressor().decompressobj()
        self._rest = b""
        self.needs_input = True

    def decompress(self, data: bytes, _most: int) -> bytes:
        data = self._rest + data
        self._rest = data[self.CRUMB :]
        made = self._unit.decompress(data[: self.CRUMB])
        self.needs_input = not self._rest
        return made

    @property
    def eof(self) -> bool:
        return self._unit.eof

    @property
    def unused_data(self) -> bytes:
        return self._unit.unused_data + self._rest


UNITS: dict[str, Callable[[], Unit]] = {
    ".gz": _Zlib,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".lzma": lzma.LZMADecompressor,
    ".zst": _Zstd,
}


def _content(read: Callable[[int], bytes], unit: Callable[[], Unit]) -> Iterator[bytes]:
    """The content of a file of such units, piece by piece.  read(length): the file's bytes.

    Raises EOFError when it is cut short, and whatever the library raises.
    """
    current: Unit | None = None
    data, begun, any_unit = b"", False, False
    while True:
        if current is None:
            data = (data or read(INPUT)).lstrip(b"\0" if any_unit else b"")  # padding
            if not data:
                data = read(INPUT)
                if not data:
                    break
                continue
            current, begun, any_unit = unit(), True, True
        elif current.needs_input:
            data = read(INPUT)
            if not data:
                raise EOFError("it is cut short")
        made = current.decompress(data, PIECE)
        data = b""
        if made:
            yield made
        if current.eof:
            data, current = current.unused_data, None
    if not begun:
        raise EOFError("it is empty")


class CompressedReader(Reader):
    """An open compressed file.

    step: bytes of content after which a method raises Busy: call it again; None: never.
    """

    compressed = True

    def __init__(
        self, path: str, fs: FS = REAL, fd: int | None = None, step: int | None = None
    ) -> None:
        super().__init__(path, fs, fd)
        self._step = step
        self.ino = self.igen = 0  # not the inode that the generation had
        self._unit = UNITS[os.path.splitext(path)[1]]
        self._whole: tuple[int, bytes] | None = (
            None  # (size, SHA-256) of the content, once it is known
        )
        self._stamp: tuple[int, int] | None = None  # the file as it was when that was found
        self._beginning = b""  # the first HEAD bytes, once they were made
        self._restart()

    def _restart(self) -> None:
        self._at_file = 0
        self._pieces = _content(self._feed, self._unit)
        self._kept = bytearray()  # the content from _first on …
        self._first = 0
        self._sha = hashlib.sha256()

    def _feed(self, length: int) -> bytes:
        data = self.fs.pread(self.fd, length, self._at_file)
        self._at_file += len(data)
        return data

    @property
    def _at(self) -> int:
        """… up to here."""
        return self._first + len(self._kept)

    def _advance(self, end: int) -> bool:
        """Make content up to `end`, or to its own end: True; False: a step was made."""
        before = self._at
        while self._at < end:
            if self._step and self._at - before >= self._step:
                return False
            try:
                piece = next(self._pieces, None)
            except Exception as error:  # each library has exceptions of its own
                self._restart()  # what it has read ahead is not to be trusted
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise Broken(None, f"cannot be decompressed: {reason(error)}") from None
            if piece is None:
                self._whole = self._at, self._sha.digest()
                return True
            self._sha.update(piece)
            self._kept += piece
            if not self._first:
                self._beginning = bytes(self._kept[:HEAD])
            if len(self._kept) > 2 * BACK + STEP:
                gone = len(self._kept) - BACK - STEP
                del self._kept[:gone]
                self._first += gone
        return True

    def _stamped(self) -> os.stat_result:
        now = self.fs.fstat(self.fd)
        stamp = now.st_size, now.st_mtime_ns
        if stamp != self._stamp:
            if self._stamp is not None:
                self._restart()
            self._stamp, self._whole, self._beginning = stamp, None, b""
        return now

    def status(self) -> tuple[int, int]:
        """(size of the content, modification time).  Makes all of it the first time."""
        now = self._stamped()
        if self._whole is None:
            self._advance(1 << 63)
        if self._whole is None:
            raise self.busy()
        return self._whole[0], now.st_mtime_ns

    def busy(self) -> Busy:
        """The exception that says that a step was made."""
        return Busy(f"{self.path}: is being decompressed")

    def read(self, length: int, offset: int) -> bytes:
        """At most `length` bytes of the content."""
        self._stamped()
        if offset + length <= len(self._beginning):
            return self._beginning[offset : offset + length]
        if offset < self._first:
            self._restart()
        if not self._advance(offset + length):
            raise self.busy()
        at = offset - self._first
        return bytes(self._kept[at : at + length]) if at >= 0 else b""

    def fill(self, view: memoryview, offset: int, least: int) -> int:
        """The same, into a memoryview; how many bytes."""
        data = self.read(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def digest(self, first: int, length: int) -> bytes:
        """The SHA-256 of a range; NO_DIGEST when the content is shorter.  Not of a long one, but
        for the whole of it."""
        if first == 0 and length > STEP:
            self.status()
            if self._whole is not None and self._whole[0] == length:
                return self._whole[1]
        return super().digest(first, length)

    def rolling(self) -> Digested:
        """What has the digest of the whole content when its end is reached."""
        return _Whole(self)

    def again(self) -> CompressedReader:
        """A new reader of the same open file."""
        return type(self)(self.path, self.fs, self.fs.dup(self.fd), self._step)

    def whole(self) -> tuple[int, bytes] | None:
        """(size, SHA-256) of the content, or None while it is not known."""
        return self._whole


class _Whole:
    """Stands for a Rolling: reading a content makes its digest."""

    def __init__(self, reader: CompressedReader) -> None:
        self._reader = reader

    @property
    def offset(self) -> int:
        """Up to where it is known: to the end, or not at all."""
        whole = self._reader.whole()
        return whole[0] if whole else 0

    def advance(self, end: int, _budget: int) -> bool:
        """Nothing is left to be done for it."""
        return self.offset == end

    def moved(self, _read: Read) -> None:
        """A compressed file goes on nowhere else."""

    def digest(self) -> bytes:
        """Of the whole content."""
        whole = self._reader.whole()
        return whole[1] if whole else NO_DIGEST
