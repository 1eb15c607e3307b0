"""A digest over the beginning of a file that is made beside the stream, not in its way."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from tcppipe.cursor import Bytes

CHUNK = 1 << 16  # bytes read at a time


D = TypeVar("D", covariant=True)
Read = Callable[[int, int], bytes]  # (length, offset)


class Hash(Protocol[D]):
    """What takes bytes, as hashlib has it."""

    def update(self, data: Bytes, /) -> None:
        """Take more bytes."""

    def digest(self) -> D:
        """The digest of all of them."""

    def copy(self) -> Hash[D]:
        """Another that has taken the same."""


class Crc32:
    """A CRC-32 as hashlib has its digests."""

    def __init__(self, value: int = 0) -> None:
        self._value = value

    def update(self, data: Bytes) -> None:
        """Take more bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> int:
        """The CRC-32 of all of them, a number."""
        return self._value

    def copy(self) -> Crc32:
        """Another that has taken the same."""
        return Crc32(self._value)


class Rolling(Generic[D]):
    """The digest of what `read(length, offset)` reads, from one offset up to another.

    digest: what has taken the bytes below `offset` by now.
    The bytes below `offset` must not have changed since they were read.
    """

    def __init__(self, read: Read, digest: Hash[D], offset: int = 0) -> None:
        self._read = read
        self._digest = digest
        self.offset = offset

    def advance(self, end: int, budget: int) -> bool:
        """Read on towards `end`, `budget` bytes at most; True when `end` is reached.

        Raises OSError.  False as well when the file has fewer bytes than that.
        """
        while self.offset < end and budget > 0:
            data = self._read(min(CHUNK, end - self.offset, budget), self.offset)
            if not data:
                return False
            self._digest.update(data)
            self.offset += len(data)
            budget -= len(data)
        return self.offset == end

    def moved(self, read: Read) -> None:
        """The same bytes are read from elsewhere from now on."""
        self._read = read

    def digest(self) -> D:
        """The digest of what was taken."""
        return self._digest.digest()

    def hashed(self) -> Hash[D]:
        """What has taken it, to go on with."""
        return self._digest.copy()


class Digests:
    """The SHA-256 digests of (first, length) ranges of what `read(length, offset)` reads, made in
    steps.  found: those that are made; None for a range that is not there in full.
    """

    def __init__(self, read: Read, ranges: Sequence[tuple[int, int]]) -> None:
        self.ranges = ranges
        self.found: list[bytes | None] = []
        self._read = read
        self._rolling: Rolling[bytes] | None = None

    def advance(self, budget: int) -> bool:
        """Read on, `budget` bytes at most; True when all are made.  Raises OSError."""
        while len(self.found) < len(self.ranges) and budget > 0:
            first, length = self.ranges[len(self.found)]
            if self._rolling is None:
                self._rolling = Rolling(self._read, hashlib.sha256(), first)
            before = self._rolling.offset
            whole = self._rolling.advance(first + length, budget)
            took = self._rolling.offset - before
            if whole or took < budget:
                self.found.append(self._rolling.digest() if whole else None)
                self._rolling = None
            budget -= took
        return len(self.found) == len(self.ranges)


def digest_of(read: Read, first: int, length: int) -> bytes | None:
    """The SHA-256 of [first, first + length), or None when there are fewer bytes."""
    sha = hashlib.sha256()
    end = first + length
    while first < end:
        data = read(min(CHUNK, end - first), first)
        if not data:
            return None
        sha.update(data)
        first += len(data)
    return sha.digest()
