"""The bytes by which a file is known to be what a ledger tells of, and the search for them.

Device and inode only tell where to look first.  A compressed file is read once, in steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST
from tcppipe.files.generations import Broken
from tcppipe.files.reader import Reader
from tcppipe.files.rolling import Read, digest_of
from tcppipe.files.stretches import Mark, Run, Stretch

KEPT = 64 << 20  # bytes of a compressed file that are kept when they are read


class Evidence(NamedTuple):
    """So many bytes at a place of a file, by which it is known to hold a stretch."""

    stretch: Stretch
    place: int
    length: int
    digest: bytes
    mark: Mark | None = None  # None: the stretch's beginning, or what stands below it


def proofs_of(run: Run) -> Iterator[Evidence]:
    """What the ledger knows of the bytes of a generation's files, the newest first."""
    for at in range(len(run.stretches) - 1, -1, -1):
        stretch = run.stretches[at]
        head = (0, NO_DIGEST)
        for where, mark in reversed(run.proofs):
            if not where.same(stretch) or not mark.offset:
                continue
            place = stretch.at + mark.offset - mark.tail_len - stretch.first
            if mark.tail_len and place >= stretch.at:
                yield Evidence(stretch, place, mark.tail_len, mark.tail, mark)
            head = max(head, (mark.head_len, mark.head))
        if stretch.first == 0 and head[0]:
            yield Evidence(stretch, stretch.at, *head)
        yield from below(stretch)


def below(stretch: Stretch) -> list[Evidence]:
    """What stands below a stretch in its file, as Evidence."""
    length = stretch.below_len
    return [Evidence(stretch, stretch.at - length, length, stretch.below)] if length else []


def begun_with(run: Run) -> list[Evidence]:
    """With which bytes the ledger says that the generation was about to begin, as Evidence."""
    return [
        Evidence(stretch, stretch.at, mark.head_len, mark.head)
        for stretch, mark in run.proofs
        if not (mark.offset or stretch.first)
    ]


def holds(read: Read, proof: Evidence) -> bool:
    """True when a file has the bytes of a proof."""
    try:
        return digest_of(read, proof.place, proof.length) == proof.digest
    except Broken:
        return False


def file_key(reader: Reader) -> tuple[int, int, int, int]:
    """What a compressed file is known by while nobody changes it."""
    status = reader.fs.fstat(reader.fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Scan:
    """Reads a compressed file once, in steps.  size: of its content.  best: the strongest of the
    proofs that it holds, or None.  What stands behind the first of them is kept."""

    def __init__(self, reader: Reader, proofs: list[Evidence]) -> None:
        self.reader = reader
        self.size = 0
        self.best: Evidence | None = None
        self._proofs = proofs
        self._shas = [hashlib.sha256() for _ in proofs]
        self._keep = proofs[0].place
        self._kept = bytearray()

    def advance(self, budget: int) -> bool:
        """Read on; True at its end.  Raises Broken, OSError."""
        until = self.size + budget
        while self.size < until:
            data = self.reader.read(1 << 16, self.size)
            if not data:
                self._judge()
                return True
            for proof, sha in zip(self._proofs, self._shas):
                first = max(proof.place - self.size, 0)
                last = proof.place + proof.length - self.size
                if last > 0 and first < len(data):
                    sha.update(data[first:last])
            if len(self._kept) < KEPT:
                self._kept += data[max(0, self._keep - self.size) :]
            self.size += len(data)
        return False

    def _judge(self) -> None:
        for proof, sha in zip(self._proofs, self._shas):
            if sha.digest() == proof.digest and proof.place + proof.length <= self.size:
                self.best = proof
                return

    def read(self, length: int, place: int) -> bytes:
        """Bytes of the content."""
        at = place - self._keep
        if 0 <= at and at + length <= len(self._kept):
            return bytes(self._kept[at : at + length])
        return self.reader.read(length, place)
