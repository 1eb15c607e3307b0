"""How a ledger's records spell what it tells of generations (see files/stretches).

A record has a kind and a value, a dictionary.  What is read may be anybody's: these functions raise
KeyError, TypeError, ValueError or IndexError when it is not what it should be.
"""

from __future__ import annotations

from typing import Any

from tcppipe.cursor import NO_DIGEST, Generation
from tcppipe.files import records
from tcppipe.files.stretches import Done, Mark, Run, Stretch
from tcppipe.wire.events import Complete

STOOD = 3  # stretches that are remembered of older generations, besides the first
Value = dict[str, Any]


def record(line: bytes) -> tuple[str | None, Value]:
    """The (kind, value) of a line without its newline; (None, {}) when it is damaged."""
    parsed = records.parse(line + b"\n")
    if parsed is None or len(parsed) != 1:
        return None, {}
    ((kind, value),) = parsed.items()
    fits = isinstance(value, dict) and isinstance(value.get("n", 1), int)
    return (kind, value) if fits else (None, {})


def _generation_value(generation: Generation) -> Value:
    return {"generation": [*generation.key, generation.head_len], "head": generation.head.hex()}


def _generation_of(value: Value) -> Generation:
    dev, ino, igen, born, head_len = value["generation"][:5]
    return Generation(dev, ino, igen, born, head_len, bytes.fromhex(value["head"]))


def stretch_value(stretch: Stretch) -> Value:
    """Of a "stretch"."""
    return {
        **_generation_value(stretch.generation), "first": stretch.first, "at": stretch.at,
        "dev": stretch.dev, "ino": stretch.ino, "why": int(stretch.why),
        "sender": stretch.sender.hex(), "boot": stretch.boot, "igen": stretch.igen,
        "below_len": stretch.below_len, "below": stretch.below.hex(),
        "beside": stretch.beside,
    }  # fmt: skip


def stretch_of(value: Value) -> Stretch:
    """The Stretch; an older program told less of it."""
    first, at, dev, ino, why = (int(value[key]) for key in ("first", "at", "dev", "ino", "why"))
    boot, igen, length = value.get("boot", ""), value.get("igen", 0), value.get("below_len", 0)
    below = bytes.fromhex(value.get("below", "")) or NO_DIGEST
    sender = bytes.fromhex(value["sender"])
    beside = value.get("beside")
    beside = None if beside is None else tuple(map(int, beside))
    place = first, at, dev, ino, why
    return Stretch(
        _generation_of(value), *place, sender, boot, int(igen), int(length), below, beside
    )


def mark_value(stretch: Stretch, mark: Mark) -> Value:
    """Of a "mark": it says again in which stretch it stands."""
    value = mark._asdict()
    value["head"], value["tail"] = mark.head.hex(), mark.tail.hex()
    return {**value, "in": stretch_value(stretch)}


def mark_of(value: Value) -> Mark:
    """The Mark."""
    head, tail = bytes.fromhex(value["head"]), bytes.fromhex(value["tail"])
    return Mark(value["offset"], value["head_len"], head, max(0, value["tail_len"]), tail)


def complete_value(done: Done) -> Value:
    """Of a "complete"."""
    complete = done.complete
    return {
        **_generation_value(complete.generation), "length": complete.length,
        "sha256": complete.digest.hex(), "dev": done.dev, "ino": done.ino,
        "computed": done.computed, "place": done.place,
    }  # fmt: skip


def complete_of(value: Value) -> Done:
    """The Done."""
    digest = bytes.fromhex(value["sha256"]) or NO_DIGEST
    complete = Complete(_generation_of(value), value["length"], digest)
    numbers = value["dev"], value["ino"]
    return Done(complete, *numbers, value["computed"], value.get("place", 0))


def stood_value(run: Run) -> Value:
    """Of a "stood", a run that is not kept in mind: of each stretch the last mark."""
    last = {stretch: mark for stretch, mark in run.proofs}
    ended = run.ended and [run.ended[0], run.ended[1].hex()]
    rows = [[*stretch[1:5], *_flat(last.get(stretch, Mark()))] for stretch in run.stretches]
    value = _generation_value(run.generation)
    return {**value, "stretches": rows[:1] + rows[1:][-STOOD:], "ended": ended}


def _flat(mark: Mark) -> list[Any]:
    return [mark.offset, mark.tail_len, mark.tail.hex()]


def stood_of(value: Value) -> Run:
    """The Run."""
    generation = _generation_of(value)
    stretches = [Stretch(generation, *row[:4]) for row in value["stretches"]]
    run = Run(stretches[0])
    run.stretches = stretches
    for stretch, (*_place, offset, tail_len, tail) in zip(stretches, value["stretches"]):
        if offset:
            head = generation.head_len, generation.head
            run.proofs.append((stretch, Mark(offset, *head, max(0, tail_len), bytes.fromhex(tail))))
    if value["ended"]:
        run.ended = value["ended"][0], bytes.fromhex(value["ended"][1])
    return run
