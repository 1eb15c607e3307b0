"""What a session asks its driver to do.

A driver carries actions out in their order.  One that is Blocked stays at the head
and is tried again later; the session does not notice.  Where "->" stands, the result
goes back into the session with done(action, result), which may ask for more.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from tcppipe.cursor import Bytes, Generation
from tcppipe.wire import events as ev


class Send(NamedTuple):
    """Either: hand these bytes to the link, `more` behind them, and `last` behind that."""

    data: bytes
    more: Bytes = b""
    last: bytes = b""


class GiveBack(NamedTuple):
    """Either: these bytes were received and are too many for now; let them be received again."""

    data: bytes


class Become(NamedTuple):
    """Either: from here on another session serves this connection."""

    session: Any  # of session/contract, which knows this module


class Say(NamedTuple):
    """Either: tell people.  `level` is a function of process.report by name."""

    level: str
    text: str


class Candidate(NamedTuple):
    """A file that a generation may be found in: the origin or one of its siblings."""

    name: str
    generation: Generation
    size: int | None  # bytes when it was looked at; None: of a compressed file's content, unknown
    mtime: int  # nanoseconds
    live: bool  # it stands under the origin's own name
    rotated: bool = True  # rotation gave it its name, or it was seen under the origin's
    trouble: str = ""  # why it cannot be read
    turn: int | None = None  # its place among those whose order was seen; -1: before them


class Found(NamedTuple):
    """What a Search has found.

    candidates: in no order, but that the live file (if there is one) is the last.
    complete: the generations that are known here to be complete at the sink, oldest first.
    """

    path: str  # of the origin
    candidates: list[Candidate]
    complete: list[ev.Complete] = []


class Search(NamedTuple):
    """Source: look for the origin and its siblings -> Found.

    alone: the origin alone, and what is held.  wanted: generations that are looked for under
    any name, because they are not to be found under those that are usual.  ours: the same, not
    on the word of the other side: fewer bytes prove them.
    """

    alone: bool = False
    wanted: tuple[Generation, ...] = ()
    ours: tuple[Generation, ...] = ()


class Await(NamedTuple):
    """Source: a candidate cannot be read; wait until it can be or never will -> Candidate."""

    candidate: Candidate


class Length(NamedTuple):
    """Source: how many bytes of content has this candidate? -> a number; -1: it is broken."""

    candidate: Candidate


class Measure(NamedTuple):
    """Source: read these (first, length) ranges of a candidate -> tuple of SHA-256 digests.

    The digest of a range that the candidate does not have in full is NO_DIGEST.
    """

    candidate: Candidate
    ranges: tuple[tuple[int, int], ...]


class Start(NamedTuple):
    """Source: follow from this candidate and offset on, then the later ones.

    proof: length and SHA-256 that the bytes just below the offset must still have.
    past: the generations that are complete, as Complete, oldest first.
    """

    candidate: Candidate
    offset: int
    proof: tuple[int, bytes]
    late: tuple[tuple[Candidate, int], ...] = ()  # may have grown since its end was sent
    later: tuple[Candidate, ...] = ()  # the candidates that come after it
    past: tuple[ev.Complete, ...] = ()


class Save(NamedTuple):
    """Source: everything below is durable at the sink; note it in the status file."""

    generation: Generation
    offset: int


class Settle(NamedTuple):
    """Source: the sink has recorded the oldest generation that ended; let go of it."""


class Offer(NamedTuple):
    """Sink: claim the pipe for this sender; what is here of it? -> (Have, [Complete, ...])."""

    sender: bytes
    about: str


class Prove(NamedTuple):
    """Sink: read these ranges of the destination -> tuple of SHA-256 digests."""

    ranges: tuple[tuple[int, int], ...]


class Open(NamedTuple):
    """Sink: make ready for the bytes that Begin announces; durable before the first of them.

    checked: a Compare will come behind all of them; nothing is durable before that.
    """

    begin: ev.Begin
    checked: bool = False


class Append(NamedTuple):
    """Sink: append these bytes of the current generation.  Harmless when done twice."""

    offset: int
    data: Bytes


class Compare(NamedTuple):
    """Sink: from the Begin up to `offset` the generation's bytes have this CRC-32, as read.

    Nothing of it counts as durable before what stands in the destination was compared.
    """

    offset: int
    crc: int


class AppendLate(NamedTuple):
    """Sink: append what came late of a generation that was finished.  Harmless when done twice."""

    late: ev.Late


class Finish(NamedTuple):
    """Sink: the generation is complete: make it durable and record it -> (length, digest)."""

    end: ev.End


class OpenLines(NamedTuple):
    """Sink: make ready for bytes that come without a generation (version 1)."""


class Flush(NamedTuple):
    """Sink: make durable all that was appended -> True.  `received` is for the answer."""

    received: int


class Reopen(NamedTuple):
    """Sink: open the destination by its name again, if it was renamed."""


class Note(NamedTuple):
    """Sink: record a gap."""

    gap: ev.Gap


Action = (
    Send
    | GiveBack
    | Become
    | Say
    | Search
    | Await
    | Length
    | Measure
    | Start
    | Save
    | Settle
    | Offer
    | Prove
    | Open
    | Append
    | Compare
    | AppendLate
    | Finish
    | OpenLines
    | Flush
    | Reopen
    | Note
)

Question = Search | Await | Length | Measure | ev.Probe
R = TypeVar("R")
Asks = Generator[Question, Any, R]  # asks both sides, and comes to a result
