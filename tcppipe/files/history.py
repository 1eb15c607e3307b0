"""What this process has delivered to its end: content that is not delivered again.

The sink's list of complete generations goes before it, as far as the sink has one.  An entry
counts for an agreement only when the sink has confirmed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from tcppipe.cursor import HEAD, NO_DIGEST, Generation
from tcppipe.files.reader import Reader
from tcppipe.session.known import merged
from tcppipe.wire.events import Complete

REMEMBERED = 1000  # generations


Digest = Callable[[Reader, int, int], bytes]
Exists = Callable[[Generation, Reader | None], bool]


class History:
    """past: what the last agreement knew to be complete, as Complete, oldest first."""

    def __init__(self) -> None:
        self.past: list[Complete] = []
        self._own: list[Complete] = []  # as Complete, oldest first …
        self._open = 0  # … the last so many are not confirmed
        self._taken: dict[
            Complete, tuple[int, int]
        ] = {}  # entry: the file that it was found in again

    @property
    def complete(self) -> list[Complete]:
        """What we have delivered and the sink has confirmed."""
        return self._own[: len(self._own) - self._open]

    @property
    def entries(self) -> list[Complete]:
        """Everything that was delivered to its end."""
        return merged(self.past, self._own)

    def begin(self, past: Iterable[Complete]) -> None:
        """An agreement knows these to be complete, and nothing else is."""
        self.past = list(past)
        known = {entry.generation.key for entry in past}
        self._own = [entry for entry in self._own if entry.generation.key in known]

    def end(self, generation: Generation, length: int, digest: bytes) -> None:
        """A generation was delivered to its end."""
        self._own.append(Complete(generation, length, digest))
        self._open += 1
        del self._own[:-REMEMBERED]

    def settle(self) -> None:
        """The sink has confirmed the oldest that it had not."""
        self._open = max(0, self._open - 1)

    def unsettle(self) -> None:
        """The connection is gone, and with it what was not confirmed: it comes again."""
        del self._own[len(self._own) - self._open :]
        self._open = 0

    def grow(self, generation: Generation, length: int, digest: bytes) -> None:
        """Late bytes have come."""
        for at, entry in enumerate(self._own):
            if entry.generation.key == generation.key:
                self._own[at] = entry._replace(length=length, digest=digest)

    def knows(self, file: tuple[int, int]) -> bool:
        """True when a generation that was in this file (device and inode) has ended."""
        return any(entry.generation.file == file for entry in self.entries)

    def may_hold(self, head: bytes, size: int | None) -> bool:
        """True when something that was delivered had this head; size: of all, or None: not known."""
        digest = hashlib.sha256(head).digest()
        return any(
            (not entry.generation.head_len or entry.generation.head == digest)
            and entry.length >= len(head) and size in (None, entry.length)
            for entry in self.entries
        )  # fmt: skip

    def find(self, reader: Reader, digest: Digest, exists: Exists) -> Complete | None:
        """The entry whose content a reader's file holds, or None: it is a generation of its own.

        digest(reader, first, length); exists(generation, reader or None): that its own file is
        still there, under a name of the reader's kind.  Raises Busy and OSError.
        """
        for entry in reversed(self.entries):
            if self._holds(reader, entry, digest, exists):
                if not reader.generation(b"").same_inode(entry.generation):
                    self._taken[entry] = reader.file
                return entry
        return None

    def _holds(self, reader: Reader, entry: Complete, digest: Digest, exists: Exists) -> bool:
        generation = entry.generation
        mine = reader.generation(b"")
        same = bool(mine.ino) and mine.same_inode(generation)
        if not same:
            if not entry.length or self._taken.get(entry, reader.file) != reader.file:
                return False
            short = entry.length < HEAD  # then it may be another that holds the same
            if exists(generation, None if short else reader) or (short and not reader.compressed):
                return False
        if not entry.length:
            return reader.status()[0] == 0
        if reader.digest(0, generation.head_len) != generation.head and generation.head_len:
            return False
        size = reader.status()[0]
        if size < entry.length or (size > entry.length and not same):
            return False
        if entry.digest == NO_DIGEST:
            return bool(generation.head_len)
        return digest(reader, 0, entry.length) == entry.digest
