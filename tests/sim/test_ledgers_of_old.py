"""What an earlier version left is read and carried over: tests/files/ledgers, which its programs wrote.

Today's pipe goes on with each of them, in memory: every byte is there once, in its place, and
nothing is said that is not true.  The same with each ledger damaged, in every line: that may
cost a notice, and never a byte.  One of PART damages is tried; LEDGERS=all tries all.
"""

import os
import re

import pytest
from oldcases import CASES, Case, damages
from oldledgers import COPY, Carried

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
