"""What a ledger tells of files and generations: questions that only its records answer."""

from __future__ import annotations

from collections.abc import Iterator

from tcppipe.files.ledger import Ledger
from tcppipe.files.proofs import holds, proofs_of
from tcppipe.files.reader import Reader
from tcppipe.files.stretches import Run, Stretch
from tcppipe.wire.events import Complete


def in_file(ledger: Ledger) -> list[tuple[Run, Stretch]]:
    """The (Run, Stretch) that stand in the last one's file since it was empty, oldest first."""
    last = ledger.stretches[-1]
    found: list[tuple[Run, Stretch]] = []
    for run in reversed(ledger.runs):
        for stretch in reversed(run.stretches):
            if stretch.file != last.file:
                return found[::-1]
            found.append((run, stretch))
            if not stretch.at:
                return found[::-1]
    return found[::-1]


def newest_first(ledger: Ledger) -> Iterator[Run]:
    """All the Runs that a ledger tells of; those that it has to read again come last."""
    yield from reversed(ledger.runs)
    yield from reversed(ledger.older())


def past_of(ledger: Ledger, run: Run, closed: bool) -> list[Complete]:
    """The generations that are here to their end, this one among them if it is.

    One that was complete when the destination was rotated has a stretch behind its end.
    """
    past, runs = ledger.complete, ledger.runs
    if run not in runs:
        runs = [*ledger.older(), *runs]
    at = max(n for n, one in enumerate(runs) if one is run or one.has(run.stretches[0]))
    for later in reversed(runs[at + (1 if closed else 0) :]):
        same = [
            n for n, one in enumerate(past)
            if one.generation.key == later.generation.key
            and (later.ended is not None or one.length == later.stretches[-1].first)
        ]  # fmt: skip
        if same:  # two compressed files may have the same numbers
            del past[same[-1]]
    return past


def is_told(ledger: Ledger, reader: Reader, found: Stretch) -> bool:
    """True when the ledger tells of another stretch than the found one that a file holds it."""
    return any(
        proof.mark is not None and proof.stretch is not found and holds(reader.read, proof)
        for run in ledger.runs
        for proof in proofs_of(run)
    )
