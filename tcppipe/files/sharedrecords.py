"""What the records of a pipe look like in a shared ledger."""

from __future__ import annotations

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Generation
from tcppipe.files.spelling import Value
from tcppipe.wire.events import Complete


def empty_record(key: str, generation: Generation, offset: int, resent: str = "") -> Value:
    """The pipe `key` goes on with a generation from an offset on.

    The digest of its first bytes counts only when all of them are below the offset.
    """
    known = generation.head_len if 0 < generation.head_len <= offset else 0
    head = generation.head if known else NO_DIGEST
    return {
        "pipe": key, "generation": list(generation.key), "to": offset, "head_len": known,
        "head": head.hex(), "tail_len": 0, "tail": NO_DIGEST.hex(), "at": 0, "bytes": 0,
        "crc": 0, "closed": False, "dev": 0, "ino": 0, "resent": resent,
    }  # fmt: skip


def done_record(key: str, complete: Complete, computed: bool = False) -> Value:
    """A Complete generation; computed: its digest was made here, and not only at the source."""
    generation, length, digest = complete
    return {
        "done": key, "generation": [*generation.key, generation.head_len], "head": generation.head.hex(),
        "length": length, "digest": digest.hex(), "computed": computed,
    }  # fmt: skip


def others(
    complete: list[Complete], generation: Generation, length: int | None = None
) -> list[Complete]:
    """The Completes without this generation, as it was before it went on.

    A compressed file has no number of its own, and never goes on: another one may have its time.
    length: with so many bytes it is the same one, told twice.
    """
    key = generation.key
    return [c for c in complete if c.generation.key != key or (not key[1] and c.length != length)]


def before(past: list[Complete], generation: Generation, closed: bool) -> list[Complete]:
    """The Completes that came before this generation: if it is closed, the last is its own."""
    own = closed and past and past[-1].generation.key == generation.key
    return past[:-1] if own else past


def generation_of(record: Value | None) -> Generation:
    """The Generation in a pipe's record, by its numbers; UNKNOWN without one."""
    return Generation(*record["generation"]) if record else UNKNOWN


def proved_generation(record: Value) -> Generation:
    """The same with the digest of its first bytes."""
    head = bytes.fromhex(record["head"])
    return generation_of(record)._replace(head_len=record["head_len"], head=head)
