"""A SHA-256 over the beginning of a file that is made at rest, not in the stream's way."""

import hashlib

CHUNK = 1 << 16  # bytes read at a time


class Rolling:
    """The digest of [0, offset) of something that `read(length, offset)` reads.

    The bytes below `offset` must not have changed since they were read.
    """

    def __init__(self, read):
        self._read = read
        self._sha = hashlib.sha256()
        self.offset = 0

    def advance(self, end, budget):
        """Read on towards `end`, `budget` bytes at most; True when `end` is reached.

        Raises OSError.  False as well when the file has fewer bytes than that.
        """
        while self.offset < end and budget > 0:
            data = self._read(min(CHUNK, end - self.offset, budget), self.offset)
            if not data:
                return False
            self._sha.update(data)
            self.offset += len(data)
            budget -= len(data)
        return self.offset == end

    def digest(self):
        """The digest of [0, offset)."""
        return self._sha.digest()


def digest_of(read, first, length):
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
