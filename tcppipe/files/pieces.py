"""Where what a shared ledger tells of stands now: by content, in the destination or beside it.

The destination may have been rotated, copied and truncated, compressed, moved to another disk,
or restored from a backup since.  Reads; writes nothing.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from tcppipe.files.destination import Destination
from tcppipe.files.generations import Broken, open_reader, siblings
from tcppipe.files.reader import Reader
from tcppipe.files.rolling import Read
from tcppipe.files.spelling import Value
from tcppipe.rotated import is_rotated

UNREADABLE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, None)


class Place:
    """An open file in which a piece of the destination was found.

    path: its name, or "" for the destination itself.  proved: how many of the records that were
    asked about tell what stands there.  size: bytes of its content.
    """

    def __init__(self, path: str, size: int, proved: int, dev: int, ino: int) -> None:
        self.path, self.size, self.proved = path, size, proved
        self.dev, self.ino = dev, ino
        self.plain = ino != 0


def find(destination: Destination, rows: list[Value]) -> Place | None:
    """Where the bytes are that the records `rows` tell of, in their order: a Place, or None.

    The destination itself is looked at first, then its rotated files, the newest first.
    """
    best: Place | None = None
    for path, reader in _readers(destination):
        count = proved(reader.read, rows)
        if count and (best is None or count > best.proved):
            best = Place(path, _size(reader), count, reader.dev, reader.ino)
        if count == len(rows):
            break
    return best


def proved(read: Read, rows: list[Value]) -> int:
    """How many of these records, from the first one on, tell what `read` reads."""
    for count, row in enumerate(rows):
        if not holds(read, row):
            return count
    return len(rows)


def holds(read: Read, row: Value, at: int | None = None) -> bool:
    """True when the bytes that a record tells of stand at its place."""
    at = row["at"] if at is None else at
    crc, end = 0, at + row["bytes"]
    try:
        while at < end:
            data = read(min(1 << 20, end - at), at)
            if not data:
                return False
            crc = zlib.crc32(data, crc)
            at += len(data)
    except Broken:
        return False
    return crc == row["crc"]


def _readers(destination: Destination) -> Iterator[tuple[str, Destination | Reader]]:
    """(path or "", reader) of the destination and of the files beside it; to be used at once."""
    if destination.size():
        yield "", destination
    for path in reversed(siblings(destination.path, fs=destination.fs)):
        if ".cut." in os.path.basename(path):
            continue
        try:
            reader = open_reader(path, destination.fs)
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise  # what cannot be read for now is not to be taken for missing
            continue
        try:
            yield path, reader
        finally:
            reader.close()


def since(
    destination: Destination, path: str, known: Collection[Value]
) -> Iterator[tuple[str, int, int, int]]:
    """(path, size, device, inode) of a rotated file and of those that came after it, in order.

    known: records of bytes that stand in older ones: a file that has such is none of them.
    """
    found = []
    for name, reader in _readers(destination):
        if name and (name == path or not any(holds(reader.read, row) for row in known)):
            found.append((name, _size(reader), reader.dev, reader.ino))
        if name == path:
            break
    return reversed(found)


def newest(destination: Destination) -> tuple[str, int, int, int] | None:
    """(path, size, device, inode) of the newest rotated file, or None."""
    for name, reader in _readers(destination):
        if name and is_rotated(name, destination.path):
            return name, _size(reader), reader.dev, reader.ino
    return None


def _size(reader: Destination | Reader) -> int:
    try:
        return reader.status()[0] if isinstance(reader, Reader) else reader.size()
    except Broken:
        return 0


@contextmanager
def opened(destination: Destination, row: Value) -> Iterator[tuple[str, Read] | tuple[None, None]]:
    """(path, read) of the file that a record names by its numbers; (None, None): it is not here."""
    if (row["dev"], row["ino"]) == (destination.dev, destination.ino):
        yield destination.path, destination.read
        return
    for path, reader in _readers(destination):
        named = path and path == row.get("path") and not row["ino"]
        if named or (path and (row["dev"], row["ino"]) == (reader.dev, reader.ino)):
            yield path, reader.read
            return
    yield None, None
