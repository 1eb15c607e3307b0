"""What an earlier version left is read and carried over: tests/files/ledgers, which its programs wrote.

Today's pipe goes on with each of them, in memory: every byte is there once, in its place, and
nothing is said that is not true.  The same with each ledger damaged, in every line: that may
cost a notice, and never a byte.  One of PART damages is tried; LEDGERS=all tries all.
"""

import os
import re

import pytest
from oldledgers import CASES, COPY, Carried, Case

PART = 1 if os.environ.get("LEDGERS") == "all" else 5
UNTRUE = re.compile(
    "lost|rewritten|generation is gone|digests of|SHA-256 differs|no longer has|has no place|are dropped"
)
OTHERS = b"somebody else's line\n"


@pytest.mark.parametrize("anew", [False, True], ids=["", "after a start of the machine"])
@pytest.mark.parametrize("name", CASES)
def test_as_it_was_left(name, anew):
    """All is equal, nothing is said, and nothing is lost."""
    pipe = Carried(Case(name), anew=anew)
    pipe.go_on()
    assert pipe.missing() == ""
    assert [words for words in pipe.said if words[0] != "info"] == []


def damages(content):
    """(what was done to it, a ledger) for each damage."""
    lines = content.splitlines(keepends=True)
    yield "empty", b""
    yield "missing", None
    for at, line in enumerate(lines):
        before, behind = lines[:at], lines[at + 1 :]
        yield f"cut before line {at}", b"".join(before)
        yield f"cut in line {at}", b"".join(before) + line[: len(line) // 2]
        yield f"cut at the end of line {at}", b"".join(before) + line[:-1]
        for place in {3, 8, 9, len(line) // 3, len(line) // 2, len(line) - 2, len(line) - 1}:
            bad = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
            yield f"a bit of byte {place} in line {at}", b"".join([*before, bad, *behind])
        yield f"without line {at}", b"".join([*before, *behind])
        yield f"NULs for line {at}", b"".join([*before, bytes(len(line)), *behind])
        yield f"line {at} twice", b"".join([*before, line, line, *behind])
        yield f"line {at} once more at the end", content + line
        if at:
            swapped = [*before[:-1], line, before[-1], *behind]
            yield f"line {at} before the one before it", b"".join(swapped)
    yield "backwards", b"".join(lines[::-1])
    half = len(lines) // 2
    yield "its second half first", b"".join(lines[half:] + lines[:half])
    for end in (bytes(600), b"garbage", b"garbage\n"):
        yield f"{end[:10]!r} behind it", content + end
    yield "NULs before it", bytes(600) + content


def damaged(name):
    """(number, what was done, Case, ledger) of those that are tried."""
    case = Case(name)
    if not case.ledger:
        return
    seen = set()
    for number, (what, ledger) in enumerate(damages(case.files[case.ledger])):
        if ledger not in seen and (number + len(name)) % PART == 0:
            yield number, what, case, ledger
        seen.add(ledger)


@pytest.mark.parametrize("name", CASES)
def test_damaged(name):
    """Wherever it is damaged, and however: every byte is there once, and what is said is true."""
    for number, what, case, ledger in damaged(name):
        pipe = Carried(case, ledger, anew=bool(number // PART % 2))
        pipe.go_on()
        assert wrong(pipe) == "", what
        untrue = [words for words in pipe.said if UNTRUE.search(words[1].replace(LOST, ""))]
        assert not untrue, what


LOST = "the ledger is lost"  # this may be so


def wrong(pipe):
    """What is wrong in the copy, or "".

    Where it was the ledger alone that knew of something, that may be as if it had not been: lines
    of others are cut off and kept, late bytes come in their generation's place, and what was sent
    once more is there once.
    """
    missing, copied, written = pipe.missing(), pipe.copied(), pipe.written[0]
    name = pipe.case.name
    if name == "foreign":
        kept = copied + b"".join(
            pipe.a.content(path) for path in pipe.a.paths(COPY) if ".cut." in path
        )
        same = copied.replace(OTHERS, b"") == written.replace(OTHERS, b"")
        return missing if kept.count(OTHERS) != 1 or not same else ""
    if name in ("late", "mirror-late"):
        return missing if sorted(copied.splitlines()) != sorted(written.splitlines()) else ""
    if name == "resent":
        once = written[written.index(b"00000001 ", 1) :]
        return missing if copied != once else ""
    return missing
