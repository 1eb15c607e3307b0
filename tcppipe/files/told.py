"""What a ledger tells of files and generations: questions that only its records answer."""

from tcppipe.files.proofs import holds, proofs_of


def in_file(ledger):
    """The (Run, Stretch) that stand in the last one's file since it was empty, oldest first."""
    last, found = ledger.stretch, []
    for run in reversed(ledger.runs):
        for stretch in reversed(run.stretches):
            if (stretch.dev, stretch.ino) != (last.dev, last.ino):
                return found[::-1]
            found.append((run, stretch))
            if not stretch.at:
                return found[::-1]
    return found[::-1]


def newest_first(ledger):
    """All the Runs that a ledger tells of; those that it has to read again come last."""
    yield from reversed(ledger.runs)
    yield from reversed(ledger.older())


def past_of(ledger, run, closed):
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


def is_told(ledger, reader, found):
    """True when the ledger tells of another stretch than the found one that a file holds it."""
    return any(
        proof.mark is not None and proof.stretch is not found and holds(reader.read, proof)
        for run in ledger.runs
        for proof in proofs_of(run)
    )
