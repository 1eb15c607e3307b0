"""What a ledger consists of when it is rewritten, and what it tells of generations before the last few.

Its length is bounded, whatever a peer sends: complete generations have one line each, the last few
are there in full.  The others are not kept in mind, because nobody asks for them but who finds a copy
that is older than all that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tcppipe.cursor import NO_DIGEST
from tcppipe.files import recorded
from tcppipe.files.chronicle import Chronicle
from tcppipe.files.spelling import (
    Value,
    complete_value,
    mark_of,
    mark_value,
    record,
    stood_of,
    stood_value,
    stretch_of,
    stretch_value,
)
from tcppipe.files.stretches import Run


def matters(known: Chronicle, older: Sequence[Run]) -> Iterator[tuple[str, Value]]:
    """The records, as (kind, value), that a rewritten ledger consists of; older: the Runs before
    those that are known in full."""
    yield "summary", _summary(known)
    yield from known.notes
    for done in known.dones():
        yield "complete", complete_value(done)
    for run in older[-recorded.REMEMBERED :]:
        yield "stood", stood_value(run)
    for piece in known.pieces.values():
        yield "piece", piece
    for run in known.runs:
        yield from _in_full(run)
    if known.resume is not None and known.stretch is not None:
        yield "resume", {**known.resume, "in": stretch_value(known.stretch)}
    if known.late is not None:
        yield "late", known.late
    if known.unsynced:
        yield "unsynced", {}
    if known.doubtful:
        yield "doubtful", {}
    elif known.clean:
        yield "clean", {}


def _summary(known: Chronicle) -> Value:
    noted = Counter(kind for kind, _value in known.notes)
    noted["late"] = int(known.late is not None)
    counts = {kind: count - noted[kind] for kind, count in known.counts.items()}
    return {"counts": counts, "resent_by": known.resent_by.hex()}


def _in_full(run: Run) -> Iterator[tuple[str, Value]]:
    for at, stretch in enumerate(run.stretches):
        yield "stretch", {**stretch_value(stretch), "new": at == 0}
        for where, mark in run.proofs:
            if where is stretch or where == stretch:
                yield "mark", mark_value(stretch, mark)
    if run.ended is not None:
        length, digest = run.ended
        yield "end", {"length": length, "sha256": digest.hex(), "again": True}


def older_runs(content: bytes, runs: Sequence[Run]) -> list[Run]:
    """The Runs that a ledger's content tells of, oldest first, but for those that are kept."""
    found: list[Run] = []
    for kind, value in map(record, content.split(b"\n")):
        try:
            _follow(found, kind, value)
        except (KeyError, TypeError, ValueError, IndexError):
            pass  # whoever loads the ledger says what is damaged
    first = runs[0].stretches[0] if runs else None
    at = [n for n, run in enumerate(found) if first is not None and run.has(first)]
    return found[: at[-1]] if at else found


def _follow(found: list[Run], kind: str | None, value: Value) -> None:
    """Take one record."""
    if kind == "stood":
        found.append(stood_of(value))
        return
    told = value if kind == "stretch" else value.get("in") if kind == "mark" else None
    if told is not None:
        stretch = stretch_of(told)
        if not found or found[-1].generation.key != stretch.generation.key or told.get("new"):
            found.append(Run(stretch))
        elif not found[-1].stretches[-1].same(stretch):
            found[-1].add(stretch)
    if kind == "mark":
        found[-1].prove(mark_of(value))
    elif kind == "end":
        digest = bytes.fromhex(value["sha256"] or value.get("said", ""))
        found[-1].ended = value["length"], digest or NO_DIGEST
