"""Files beside the origin that rotation did not name: whose are they?

A sink may ask for whatever its ledger names, and a sink may lie.  A file that stands beside
the log, a key or a dump, is none of its business, unless it was the log once and somebody
has renamed it by hand.  So a stranger is left out of the agreement before anything is
asked about it, unless the sink, or our own status file, knows what only one can know who
was given its beginning: the digest of its first KiB, or of all of it, or the inode with
the number that the file system drew for it at random.
"""

from __future__ import annotations

from collections.abc import Iterable

from tcppipe.cursor import HEAD, Cursor, Generation
from tcppipe.session.actions import Asks, Candidate
from tcppipe.session.compare import digest_of
from tcppipe.wire.events import Complete, Have, Holding, Probe


def without_strangers(
    have: Have,
    candidates: Iterable[Candidate],
    witness: Cursor | None = None,
    past: Iterable[Complete] = (),
) -> Asks[list[Candidate]]:
    """The candidates without those of no concern to this sink.  Yields Measure and Probe."""
    kept = []
    for candidate in candidates:
        ours = candidate.live or candidate.rotated
        if ours or (yield from _was_ours(have, candidate, witness, past)):
            kept.append(candidate)
    return kept


def _was_ours(
    have: Have, candidate: Candidate, witness: Cursor | None, past: Iterable[Complete]
) -> Asks[bool]:
    if candidate.trouble:
        return False
    for entry in past:
        if candidate.generation.same_inode(entry.generation):
            if (yield from _proves(entry.generation, candidate)):
                return True
    if witness is not None and witness.generation.head_len:
        inode = candidate.generation.ino and candidate.generation.same_inode(witness.generation)
        if inode or (yield from _begins(witness.generation, candidate)):
            return True
    if have.holding == Holding.RECORDED:
        return (yield from _proves(have.generation, candidate))
    whole = _head_of(candidate)
    if have.holding != Holding.UNRECORDED or not 0 < whole <= have.end:
        return False
    here = yield from digest_of(candidate, 0, whole)
    (there,) = yield Probe(((0, whole),))
    return bool(here == there)


def _proves(generation: Generation, candidate: Candidate) -> Asks[bool]:
    """True when this could not be said of a file whose content was never given away."""
    length = generation.head_len
    same = generation.key[:3] == candidate.generation.key[:3]
    drawn = generation.igen and same
    if not length or length > _head_of(candidate):
        return False
    if not drawn and length < _head_of(candidate):
        return False
    return (yield from _begins(generation, candidate))


def _begins(generation: Generation, candidate: Candidate) -> Asks[bool]:
    digest = yield from digest_of(candidate, 0, generation.head_len)
    return digest == generation.head


def _head_of(candidate: Candidate) -> int:
    """How many first bytes prove it: of a compressed one the size is not known."""
    return candidate.generation.head_len if candidate.size is None else min(HEAD, candidate.size)
