"""Reads files whose writers prepare them with NULs, and write the content over these later.

A run of NULs at the end of such a file is room, not content: it is held back until something
stands behind it, or until the file has left its name and nobody can write to it any more.
Then the NULs are what the file holds, and are read like the rest.
"""

from __future__ import annotations

from tcppipe.files.fs import FS
from tcppipe.files.reader import Reader

NEAR = 1 << 20  # bytes behind the content that are looked at each time


class HeldReader(Reader):
    """A Reader that takes a run of NULs at the end for no part of the file.

    live: it stands under the origin's own name, where nobody asks who writes to it.
    """

    def __init__(self, path: str, fs: FS, fd: int | None = None, live: bool = False) -> None:
        super().__init__(path, fs, fd)
        self._live = live
        self._solid = 0  # where the content ends, as far as it was looked at
        self._scanned: tuple[int, int] | None = (
            None  # (size, modification time) when all behind it was looked at
        )
        self._free = False  # nothing is held back any more

    @property
    def holding(self) -> bool:
        """True when NULs at the end are held back: what is written over them nobody may tell."""
        return not self._free and super().status()[0] > self._solid

    def status(self) -> tuple[int, int]:
        """(bytes of content, modification time in nanoseconds)."""
        size, changed = super().status()
        if not self._free:
            self._look(size, changed)
            if self._solid < size and not self._live:
                self.has_writer()
        return (size if self._free else self._solid), changed

    def _look(self, size: int, changed: int) -> None:
        if size < self._solid:
            self._solid = 0
        while near := super().read(min(NEAR, size - self._solid), self._solid):
            content = near.rstrip(b"\0")
            if not content:
                break
            self._solid += len(content)
            if len(content) < len(near):
                return
        if self._solid < size and self._scanned != (size, changed):
            self._solid = max(self._solid, self._last(size))
            self._scanned = size, changed

    def _last(self, size: int) -> int:
        """Where the last byte ends that is not NUL; 0 if there is none behind the content."""
        at, last = self._solid, 0
        while at < size:
            try:
                at = self.fs.next_data(self.fd, at)
            except OSError:  # ENXIO: nothing but a hole
                break
            block = super().read(NEAR, at)
            content = block.rstrip(b"\0")
            if content:
                last = at + len(content)
            at += max(1, len(block))
        return last

    def read(self, length: int, offset: int) -> bytes:
        """`length` bytes of the content from `offset` on; fewer only where it ends."""
        return super().read(self._within(length, offset), offset)

    def fill(self, view: memoryview, offset: int, least: int) -> int:
        """Read content into `view`; see Reader."""
        return super().fill(view[: self._within(len(view), offset)], offset, least)

    def _within(self, length: int, offset: int) -> int:
        if self._free or offset + length <= self._solid:
            return length
        return max(0, min(length, self.status()[0] - offset))

    def again(self) -> HeldReader:
        """A new Reader of the same open file, which has become another generation."""
        return HeldReader(self.path, self.fs, self.fs.dup(self.fd), self._live)

    def has_writer(self) -> bool | None:
        """See Reader.  When nobody has, the NULs are content."""
        writer = super().has_writer()
        self._free = self._free or writer is False
        return writer
