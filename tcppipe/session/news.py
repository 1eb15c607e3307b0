"""What a follower reports of an origin: the words between follower and source session."""

from __future__ import annotations

from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, Bytes, Generation
from tcppipe.wire.events import Why


class Began(NamedTuple):
    """A generation begins; its bytes come from offset 0 on."""

    generation: Generation


class Piece(NamedTuple):
    """Bytes of the current generation, from this offset on."""

    offset: int
    data: Bytes


class Ended(NamedTuple):
    """The current generation is complete: `length` bytes, and their SHA-256 if known."""

    why: Why
    length: int
    digest: bytes = NO_DIGEST


class Reopened(NamedTuple):
    """A generation that had ended is the origin's again, and goes on from this offset."""

    generation: Generation
    offset: int


class LateBytes(NamedTuple):
    """Bytes that were added to a generation after it had ended."""

    generation: Generation
    offset: int
    data: bytes


class Lost(NamedTuple):
    """Bytes of a generation that can no longer be read; last 0: nobody knows how many."""

    generation: Generation
    first: int
    last: int
    reason: str


class Note(NamedTuple):
    """Something that people should know.  `level` is a function of process.report by name."""

    level: str
    text: str


News = Began | Piece | Ended | Reopened | LateBytes | Lost | Note
