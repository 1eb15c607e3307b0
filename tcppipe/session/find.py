"""In which file the generation is that the sink has a part of.

Content tells: what is durable at the sink is proved by its first bytes and by those just below
its mark, and every file that has both is it; of several the inode tells, and then which of
them are complete generations of their own.  Where nothing is durable, nothing is proved either:
it is the file that has all in common with what stands there, or much; where none has, it is
the one that comes next in the row, unless that was rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable

from tcppipe.cursor import HEAD, NO_DIGEST
from tcppipe.rotated import arrange
from tcppipe.session import compare
from tcppipe.session.actions import Asks, Candidate, Measure
from tcppipe.session.known import begins_with, same_content, size_of
from tcppipe.session.row import row_of
from tcppipe.session.situation import Situation, is_held, is_of
from tcppipe.wire.events import Have

CHANCE = 256  # bytes that two files do not have in common by chance


def find(situation: Situation) -> Asks[Candidate | None]:
    """The candidate that holds what the sink recorded, or None."""
    cursor = yield from _find(situation)
    if cursor is None or not situation.is_nameless(cursor):
        return cursor
    if cursor.size is None or cursor.size < HEAD:
        return cursor
    longest, size = (
        cursor,
        cursor.size,
    )  # it may have been replaced by a copy of itself, and have gone on there
    for candidate in situation.candidates:
        if candidate.size is not None and candidate.size > size:
            if not candidate.trouble and (yield from begins_with(candidate, longest)):
                longest, size = candidate, candidate.size
    if longest is cursor or (yield from _is_packed(situation, cursor)):
        return cursor
    situation.candidates.remove(cursor)
    return longest


def _is_packed(situation: Situation, cursor: Candidate) -> Asks[bool]:
    """True when a compressed file holds the same: it was rotated, and what is longer is another."""
    for candidate in situation.candidates:
        if candidate.size is None and (yield from same_content(cursor, candidate)):
            return True
    return False


def _find(situation: Situation) -> Asks[Candidate | None]:
    have = situation.have
    if not have.generation.head_len or not (have.mark or have.first):
        return (yield from _find_undurable(situation))
    return (yield from _find_proved(situation))


def _find_proved(situation: Situation) -> Asks[Candidate | None]:
    """The file whose content proves itself; of several its own, or the first that is not complete."""
    have, proved = situation.have, []
    for candidate in _likeliest_first(situation):
        if (yield from _proves(have, candidate)):
            if is_of(candidate, have.generation):
                return candidate
            proved.append(candidate)
    proved = yield from _without_copies(proved)
    proved = yield from _most_in_common(have, proved)
    if len(proved) > 1:  # where all are complete, the older ones are gone: the time has to tell
        left = yield from _incomplete(situation, proved)
        later = [c for c in proved if c.mtime >= have.generation.born]
        proved = left or later or proved[-1:]
    return (yield from _oldest(situation, proved))


def _most_in_common(have: Have, files: list[Candidate]) -> Asks[list[Candidate]]:
    """Those of several that have the most in common with what stands behind the mark, if that is
    much: what is durable may be but the first line, with which many files begin."""
    low, common = max(have.first, have.mark), {}
    for candidate in files if len(files) > 1 else ():
        size = yield from size_of(candidate)
        high = min(have.end, low if size is None else size)
        common[candidate] = yield from compare.common(candidate, low, high)
    most = max(common.values(), default=low)
    return [c for c in files if common[c] == most] if most >= low + CHANCE else files


def _likeliest_first(situation: Situation) -> list[Candidate]:
    """Those with the inode first, then by their order."""
    live, generation = situation.live, situation.have.generation
    rotated = arrange([c for c in situation.candidates if not c.live], situation.path)
    order = [*rotated, live] if live else rotated
    return sorted(order, key=lambda candidate: not is_of(candidate, generation))


def _without_copies(files: list[Candidate]) -> Asks[list[Candidate]]:
    """Without what somebody has copied from another one of these while that was shorter."""
    left = list(files)
    for candidate in files:
        if candidate.generation.head_len >= HEAD and (yield from _is_shorter(candidate, left)):
            left.remove(candidate)
    return left


def _is_shorter(candidate: Candidate, others: list[Candidate]) -> Asks[bool]:
    """True when a longer one of the others begins with all that a candidate holds."""
    size = yield from size_of(candidate)
    for other in others:
        longer = yield from size_of(other)
        if size is not None and longer is not None and longer > size:
            if (yield from begins_with(other, candidate)):
                return True
    return False


def _oldest(situation: Situation, files: list[Candidate]) -> Asks[Candidate | None]:
    """The first of several in the row that what is known of them makes; None: there is none."""
    if len(files) < 2:
        return files[0] if files else None
    order = [*(yield from row_of(situation, None)).order, situation.live]
    return min(files, key=lambda candidate: order.index(candidate) if candidate in order else -1)


def _incomplete(situation: Situation, proved: list[Candidate]) -> Asks[list[Candidate]]:
    """Those of several with the same content so far that are no complete generation.

    Each complete one takes one away, the oldest first.
    """
    have, past, left = situation.have, situation.past, list(proved)
    if have.closed:  # else none of them is the present one, whatever its numbers
        past = [entry for entry in past if entry.generation.key != have.generation.key]
    for entry in past:
        for candidate in sorted(left, key=lambda c: not is_of(c, entry.generation)):
            size = yield from size_of(candidate)
            if size != entry.length or entry.digest == NO_DIGEST:
                continue
            (digest,) = yield Measure(candidate, ((0, size),))
            if digest == entry.digest:
                left.remove(candidate)
                break
    return left


def _may_hold(have: Have, candidate: Candidate) -> Asks[bool]:
    """False when a candidate is not as long as what was delivered before the present stretch, or
    what is durable: there is no place in it from which the sink would take anything."""
    size = None if candidate.trouble else (yield from size_of(candidate))
    return size is not None and size >= max(have.first, have.mark)


def _proves(have: Have, candidate: Candidate) -> Asks[bool]:
    """True when a candidate's content is what the sink recorded of its generation."""
    generation = have.generation
    if candidate.trouble:
        return False
    least = max(have.mark, have.first, generation.head_len)
    if candidate.size is not None and candidate.size < least:
        return False
    same = is_of(candidate, generation)
    if have.closed and candidate.live and not same:
        return False  # a closed generation is complete, and the live file never is
    (head,) = yield Measure(candidate, ((0, generation.head_len),))
    if head != generation.head:
        return False
    size = yield from size_of(candidate)
    if size is None or size < least or (have.closed and size != have.mark and not same):
        return False
    if not have.tail_len:
        return True
    tail = yield from compare.digest_of(candidate, have.mark - have.tail_len, have.tail_len)
    return tail == have.tail


def _find_undurable(situation: Situation) -> Asks[Candidate | None]:
    """The same when nothing is known to be durable: by all that was delivered, or much of it, or by
    the bytes with which it was about to begin.  Nobody has compared these."""
    have = situation.have
    alike = yield from _find_alike(situation)
    if alike is not None:
        return alike
    proved = (yield from _find_proved(situation)) if have.generation.head_len else None
    if proved is not None and (yield from _has_its_turn(situation, proved)):
        return proved
    following = yield from _find_next(situation)
    if following is not None and (yield from _is_rewritten(have, following)):
        return None
    return following


def _has_its_turn(situation: Situation, candidate: Candidate) -> Asks[bool]:
    """True when a file has the inode, or is the first that is not complete: others may begin alike,
    and one that cannot be read may be it."""
    if is_of(candidate, situation.have.generation):
        return True
    row = yield from row_of(situation, None)
    return not row.is_taken_before(candidate) and (yield from row.after())[0] is candidate


def _find_alike(situation: Situation) -> Asks[Candidate | None]:
    """The file that has all in common with what was delivered, or else most, and much; or None."""
    have, alike = situation.have, []
    for candidate in _likeliest_first(situation):
        size = None if candidate.trouble else (yield from size_of(candidate))
        if size is None or have.end == have.first:
            continue
        agreed = yield from compare.common(candidate, have.first, min(have.end, size))
        if agreed == have.end and is_of(candidate, have.generation):
            return candidate
        if agreed == have.end or agreed - have.first >= CHANCE:
            alike.append((agreed, candidate))
    most = max((agreed for agreed, _candidate in alike), default=0)
    best = [candidate for agreed, candidate in alike if agreed == most]
    best = yield from _without_copies(best)
    if best:
        best = (yield from _incomplete(situation, best)) or best
    if best and is_of(best[0], have.generation):
        return best[0]
    return (yield from _oldest(situation, best))


def _is_rewritten(have: Have, candidate: Candidate) -> Asks[bool]:
    """True when nearly all differs of what the sink has of the live file, and has written."""
    if have.torn or not candidate.live or have.end == have.first:
        return False
    size = yield from size_of(candidate)
    high = min(have.end, size if size is not None else have.first)
    return not (yield from compare.damaged(candidate, have.first, high))


def _find_next(situation: Situation) -> Asks[Candidate | None]:
    """Little or nothing that was delivered of the generation is anywhere here: the file with its
    inode, but for a copy that may have been made of it before it was truncated."""
    have, generation = situation.have, situation.have.generation
    named = [c for c in situation.candidates if is_of(c, generation)]
    if not generation.ino and have.closed:  # it was compressed: its time is what it is called by
        named = [c for c in situation.candidates if c.generation.key == generation.key]
    same = []
    for candidate in named:
        if (yield from _may_hold(have, candidate)):
            same.append(candidate)
    if have.closed or (same and not same[-1].live):
        return same[-1] if same else None
    row = yield from row_of(situation, None)
    if row.is_taken:
        return None
    later = yield from row.after()
    if not generation.ino:
        later.sort(key=lambda c: c.generation.key != generation.key)
    for candidate in later:
        here = candidate.generation
        its_own = here.ino and here.dev == generation.dev  # a compressed file's does not tell
        if candidate.live or (its_own and not named):
            break
        if not (yield from _may_hold(have, candidate)):
            break
        moved = here.ino and not its_own  # nothing was said yet of where the files are now
        if (candidate.size != 0 or (moved and not have.end)) and not (
            its_own and is_held(candidate)
        ):
            return candidate
    live = situation.live
    if live is not None and live.generation.dev != generation.dev:
        if (yield from _may_hold(have, live)):
            return live  # its inode has another number now
    return same[-1] if same else None


def without_rests(have: Have, later: Iterable[Candidate]) -> Asks[list[Candidate]]:
    """Without what holds but the beginning of the lost generation: a copy of it."""
    left = []
    for candidate in later:
        size = None if candidate.trouble or candidate.live else (yield from size_of(candidate))
        if not have.first and size and HEAD <= size <= have.end:
            if (yield from compare.common(candidate, 0, size)) == size:
                continue
        left.append(candidate)
    return left
