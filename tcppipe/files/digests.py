"""Digests of long ranges, made in short steps: nobody may be kept from looking at the origin."""

from __future__ import annotations

import hashlib

from tcppipe.cursor import NO_DIGEST
from tcppipe.errors import Busy
from tcppipe.files.reader import Reader

CHUNK = 1 << 16  # bytes read at a time
STEP = 2 << 20  # bytes that one call reads at most


Key = tuple[Reader, int, int]  # of a range of a file


class LongDigests:
    """Remembers what was computed until it is told to forget.  Readers must not change below."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The files may be others now."""
        self._known: dict[Key, bytes] = {}
        self._key: Key | None = None  # what is under way, …
        self._sha = hashlib.sha256()
        self._at = 0  # … and how far

    def of(self, reader: Reader, first: int, length: int) -> bytes:
        """The SHA-256 of a range, or NO_DIGEST when there are fewer bytes.

        Raises Busy after a step: ask again.  And OSError.
        """
        key = reader, first, length
        if length <= STEP or reader.compressed:
            return reader.digest(first, length)
        if key not in self._known:
            self._known[key] = self._step(key)
        return self._known[key]

    def _step(self, key: Key) -> bytes:
        reader, first, length = key
        if self._key != key:
            self._key, self._sha, self._at = key, hashlib.sha256(), first
        stop = min(self._at + STEP, first + length)
        while self._at < stop:
            data = reader.read(min(CHUNK, stop - self._at), self._at)
            if not data:
                self._key = None
                return NO_DIGEST
            self._sha.update(data)
            self._at += len(data)
        if self._at < first + length:
            raise Busy(f"{reader.path}: is being compared")
        self._key = None
        return self._sha.digest()
