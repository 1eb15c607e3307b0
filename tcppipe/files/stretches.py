"""What a ledger tells of a generation: where it stands in the destination, and what proves that.

Values, and the Run of a generation that they make up.  Its length is bounded: of many stretches and
marks the older ones are left out.
"""

from __future__ import annotations

from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, Generation
from tcppipe.wire.events import Complete, Why

STRETCHES = 64  # of a generation, and …
PROOFS = 16  # … so many marks


class Stretch(NamedTuple):
    """The destination's bytes from `at` on are the generation's from `first` on."""

    generation: Generation
    first: int
    at: int
    dev: int  # the destination file …
    ino: int  # … that it stands in
    why: int = Why.FRESH
    sender: bytes = b""  # the key of the source that it was begun with
    boot: str = ""  # the system's start during which it was begun
    igen: int = 0  # the inode's generation number; 0 where the system has none
    below_len: int = 0  # what stands below `at` in the file: so many bytes …
    below: bytes = NO_DIGEST  # … with this SHA-256
    beside: tuple[int, ...] | None = None  # the newest rotated file: device, inode, its generation

    @property
    def file(self) -> tuple[int, int]:
        """(device, inode) of the destination file."""
        return self.dev, self.ino

    @property
    def place(self) -> int:
        """Where the generation's first byte stands, or would stand, in the file."""
        return self.at - self.first

    def same_place(self, other: Stretch) -> bool:
        """True when both begin at the same offset at the same place of their files."""
        return (self.first, self.at) == (other.first, other.at)

    def same(self, other: Stretch) -> bool:
        """True when both tell the same of the same file."""
        return (self.generation.key, *self[1:5]) == (other.generation.key, *other[1:5])


class Mark(NamedTuple):
    """The generation is durable below `offset`; what stood there proves it later.

    One at offset 0 tells with which bytes the generation was about to begin here.
    """

    offset: int = 0
    head_len: int = 0
    head: bytes = NO_DIGEST
    tail_len: int = 0
    tail: bytes = NO_DIGEST


class Done(NamedTuple):
    """A complete generation, and the destination file that it ends in."""

    complete: Complete
    dev: int
    ino: int
    computed: bool  # the digest is that of what stands here, and not what the source said
    place: int = 0  # where its first byte stands, or would stand, in that file


class Run:
    """A generation's time in the destination: its stretches, and what proves them.

    proofs: pairs of a Stretch and a Mark in it, oldest first; the last is the newest.
    ended: (length, digest) when the generation is complete.
    """

    def __init__(self, stretch: Stretch) -> None:
        self.stretches = [stretch]
        self.proofs: list[tuple[Stretch, Mark]] = []
        self.ended: tuple[int, bytes] | None = None

    @property
    def mark(self) -> Mark:
        """The newest Mark."""
        return self.proofs[-1][1] if self.proofs else Mark()

    @property
    def untouched(self) -> bool:
        """True when no byte of the generation was appended by this program: it says before with
        which one a generation begins.  An older one said nothing of it."""
        begun = self.generation.head_len or any(one.first for one in self.stretches)
        return not begun and self.stretches[0].beside is not None

    @property
    def generation(self) -> Generation:
        """The generation, with as much of its beginning as is known."""
        generation, mark = self.stretches[-1].generation, self.mark
        if mark.head_len > generation.head_len:
            generation = generation._replace(head_len=mark.head_len, head=mark.head)
        return generation

    def has(self, stretch: Stretch) -> bool:
        """True when this is one of its stretches."""
        return any(known.same(stretch) for known in self.stretches)

    def may_have(self, mark: Mark) -> bool:
        """False when a mark contradicts what is known: it is another generation's."""
        known = self.mark
        other = known.head_len == mark.head_len and known.head != mark.head
        ended = self.ended is not None and self.ended[0] != mark.offset
        return not (other or ended or mark.offset < known.offset)

    def may_end(self, length: int) -> bool:
        """The same of an end at this length."""
        return length >= self.mark.offset if self.ended is None else length == self.ended[0]

    def add(self, stretch: Stretch) -> None:
        """The generation goes on in another stretch.  One of the same place is the same, in a file
        that has other numbers now: what proves it still does."""
        last = self.stretches[-1]
        if stretch.same_place(last):
            self.proofs = [(stretch if old is last else old, mark) for old, mark in self.proofs]
            self.stretches.pop()
        self.stretches.append(stretch)
        if len(self.stretches) > STRETCHES:
            del self.stretches[1]

    def prove(self, mark: Mark) -> None:
        """A mark in the last stretch.  The older ones stand the farther apart the older."""
        self.proofs.append((self.stretches[-1], mark))
        if len(self.proofs) <= PROOFS:
            return
        end = mark.offset + 1

        def crowded(n: int) -> float:
            before, behind = self.proofs[n - 1][1].offset, self.proofs[n + 1][1].offset
            return (end - before) / max(1, end - behind)

        del self.proofs[min(range(1, len(self.proofs) - 1), key=crowded)]
