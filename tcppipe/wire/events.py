"""What a source and a sink can say to each other.

These are meanings, not bytes: frames.py and push1.py spell them.  They are the
same for the push and the pull pair.  Offsets and lengths are in bytes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Bytes, Generation


class Holding(IntEnum):
    """What a sink has of a pipe (in Have)."""

    NOTHING = 0  # no ledger, and no byte in the destination
    UNRECORDED = 1  # a destination with content, and nothing that says whose
    RECORDED = 2  # the ledger knows the generation


class Why(IntEnum):
    """Why a stretch begins, or a generation ends (in Begin and End)."""

    RESUMED = 0  # goes on exactly where the destination ends
    FRESH = 1  # the first of this pipe
    NEXT = 2  # the generation after the one that ended
    ADOPTED = 3  # the destination was there before its ledger, and proved equal
    WITNESSED = 4  # the sink's record is lost; the source's status file told the offset
    RESENT = 5  # asked for with -n
    FOREIGN = 6  # somebody else wrote to the destination; goes on behind that
    FORKED = 7  # the origin no longer holds what was delivered
    LOST = 8  # the generation of the cursor cannot be found any more
    ROTATED = 9  # renamed away, and no writer left
    TRUNCATED = 10  # cut or rewritten in place
    REMOVED = 11  # no name leads to it any more
    REOPENED = 12  # a generation that was complete goes on: its rotation was undone


class Hello(NamedTuple):
    """Source: who I am.  The first frame."""

    version: int
    sender: bytes  # 16 bytes that differ for every run of a source
    resend: bool  # the whole origin is to be sent once more
    about: bytes  # host and process, for people
    witness_offset: int = 0  # the source's own record of the acknowledged offset …
    witness: Generation = UNKNOWN  # … and of the generation; UNKNOWN when it has none


class Have(NamedTuple):
    """Sink: what I have.  The answer to Hello.

    Offsets count in the generation when the holding is RECORDED, else in the destination.
    """

    holding: Holding
    clean: bool = True  # the sink closed the destination in order at `mark`
    damaged: bool = False  # what stands below `mark` is not what was recorded there
    closed: bool = False  # the generation was delivered to its end
    resent: bool = False  # the resending that this sender asks for has been begun
    torn: bool = False  # what is not durable may not be what was written: a crash of the machine
    generation: Generation = UNKNOWN
    first: int = 0  # the generation's bytes from here on …
    end: int = 0  # … to here stand in the destination
    mark: int = 0  # below this they are durable
    tail_len: int = 0
    tail: bytes = NO_DIGEST  # SHA-256 of the tail_len bytes below `mark`, as recorded
    previous: Generation = UNKNOWN  # the generation before, complete …
    previous_len: int = 0  # … with so many bytes …
    previous_digest: bytes = NO_DIGEST  # … and this SHA-256, if that is known
    methods: int = 0  # a mask of the methods of wire/packing that I can unpack
    minor: int = 0  # the minor version that I speak; 0 stands for 1 as well
    doubtful: bool = False  # the record is damaged or incomplete: believe content before it


class Complete(NamedTuple):
    """A generation that a sink has to its end."""

    generation: Generation
    length: int
    digest: bytes = NO_DIGEST  # of all of it; NO_DIGEST when nobody has computed it


class Past(NamedTuple):
    """Sink: generations that I have to their end, oldest first; before Have, and as often as needed."""

    complete: tuple[Complete, ...]


class Probe(NamedTuple):
    """Source: digests of these (first, length) ranges, please."""

    ranges: tuple[tuple[int, int], ...]


class Proof(NamedTuple):
    """Sink: their SHA-256 digests, in the same order."""

    digests: tuple[bytes, ...]


class Begin(NamedTuple):
    """Source: from here on come the bytes of this generation from this offset on."""

    why: Why
    generation: Generation
    offset: int


class Data(NamedTuple):
    """Source: bytes of the current generation, from this offset on."""

    offset: int
    data: Bytes


class Check(NamedTuple):
    """Source: of the present generation, the CRC-32 of what I have read for this connection.

    From the offset of its Begin up to this one, behind the last data.
    """

    offset: int
    crc: int


class End(NamedTuple):
    """Source: the current generation is complete."""

    why: Why
    length: int
    digest: bytes = NO_DIGEST


class Ended(NamedTuple):
    """Sink: and this is what I have of it."""

    serial: int
    length: int
    digest: bytes = NO_DIGEST


class Ack(NamedTuple):
    """Sink: of the serial-th generation of this connection everything below is durable."""

    serial: int
    offset: int


class Late(NamedTuple):
    """Source: bytes that a writer added to a generation after it was ended.

    serial counts the Begins of this connection; 0 is the generation before them.
    """

    serial: int
    offset: int
    data: bytes


class Gap(NamedTuple):
    """Source: bytes that nobody can read any more."""

    generation: Generation
    first: int
    last: int  # 0: not known
    reason: bytes


class Wait(NamedTuple):
    """Sink: I cannot write for now, for this reason; source: I cannot read.  An empty reason: it
    is over."""

    reason: bytes


class Failure(NamedTuple):
    """Either: I close.  retry tells whether to connect again."""

    retry: bool
    reason: bytes


class Ping(NamedTuple):
    """Either: are you there?"""

    token: int


class Pong(NamedTuple):
    """Either: the answer to a Ping, with its token."""

    token: int


class Bye(NamedTuple):
    """Either: nothing more will come; an orderly end."""


Event = (
    Hello
    | Have
    | Past
    | Probe
    | Proof
    | Begin
    | Data
    | Check
    | End
    | Ended
    | Ack
    | Late
    | Gap
    | Wait
    | Failure
    | Ping
    | Pong
    | Bye
)
