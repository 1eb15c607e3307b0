"""The words that both halves share: what a generation is, and a place in it.

A generation is one incarnation of an origin file.  Its numbers (device, inode,
inode generation) find it quickly; its first bytes prove it, because a file
system gives a freed inode number to the very next file.
"""

from __future__ import annotations

from typing import NamedTuple

Bytes = bytes | bytearray | memoryview  # what is only looked into

HEAD = 1024  # so many bytes at most of a generation's beginning identify it
TAIL = 64 * 1024  # so many bytes at most below a cursor are compared on resuming
NO_DIGEST = bytes(32)  # stands for "not computed"


class Generation(NamedTuple):
    """What is known of one incarnation of an origin file."""

    dev: int = 0
    ino: int = 0
    igen: int = 0  # the inode's generation number; 0 where the system has none
    born: int = 0  # its modification time when it was begun, in nanoseconds
    head_len: int = 0
    head: bytes = NO_DIGEST  # SHA-256 of its first head_len bytes

    @property
    def key(self) -> tuple[int, int, int, int]:
        """The four numbers that tell it from all others, while its head is still growing."""
        return self.dev, self.ino, self.igen, self.born

    @property
    def file(self) -> tuple[int, int]:
        """(device, inode): where it is, if it is still there."""
        return self.dev, self.ino

    def same_inode(self, other: Generation) -> bool:
        """True when device, inode and, where both know it, inode generation agree."""
        return self.file == other.file and (
            not self.igen or not other.igen or self.igen == other.igen
        )


UNKNOWN = Generation()


class Cursor(NamedTuple):
    """A generation and a byte offset in it."""

    generation: Generation
    offset: int
