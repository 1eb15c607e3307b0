"""Ledgers, copies and our own memory that are of different times: what is there does not come again,
and what is not there comes."""

import pytest
from test_agree import File, World, complete, decided, later, lines, recorded

from tcppipe.session.agree import CHANCE
from tcppipe.wire.events import Why

FIRST, SECOND, THIRD = (lines(f"generation {n}", 4000 + n) for n in range(3))
FILES = [
    File("log.2", FIRST, 1, 5),
    File("log.1", SECOND, 2, 6),
    File("log", THIRD, 3, 7, True),
]


def offered(copy, **kw):
    """What a sink says whose ledger was written in the middle of the first generation."""
    have = recorded(FIRST, FIRST[:2000])
    return have._replace(end=len(copy), **kw)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize(
    "there, name, offset",
    [
        (FIRST + SECOND[:1500], "log.1", 1500),
        (FIRST + SECOND[:1], "log.1", 1),
        (FIRST + SECOND, "log.1", len(SECOND)),
        (FIRST + SECOND + THIRD[:77], "log", 77),
        (FIRST + SECOND + THIRD, "log", len(THIRD)),
    ],
)
def test_a_ledger_that_is_older_than_the_copy(there, name, offset, clean):
    """What came after the ledger's generation is compared, and the copy goes on where it ends."""
    plan = World(FILES, there, offered(there, clean=clean)).agree()
    assert decided(plan) == (name, Why.WITNESSED, offset)
    assert later(plan) == [file.name for file in FILES[[f.name for f in FILES].index(name) + 1 :]]
    assert [(one.length, one.digest) for one in plan.past] == [
        (one.length, one.digest) for one in [complete(FIRST), complete(SECOND)][: len(plan.past)]
    ]


def test_a_ledger_that_ends_with_a_generation():
    """The same where the ledger says that its generation is complete."""
    there = FIRST + SECOND[:1500]
    have = recorded(FIRST, closed=True)._replace(end=len(there))
    assert decided(World(FILES, there, have).agree()) == ("log.1", Why.WITNESSED, 1500)


@pytest.mark.parametrize("strange", [b"somebody else's\n", SECOND[: CHANCE - 1] + b"?" * 300])
def test_what_somebody_else_has_written_there(strange):
    """Behind a generation that is complete: it is nothing of what follows."""
    there = FIRST + strange
    have = recorded(FIRST, closed=True)._replace(end=len(there))
    assert decided(World(FILES, there, have).agree()) == ("log.1", Why.NEXT, 0)


def test_a_torn_end_of_what_follows():
    """What is the origin's does not come again, though the end is not."""
    there = FIRST + SECOND[:1500] + bytes(500)
    plan = World(FILES, there, offered(there)).agree()
    assert decided(plan) == ("log.1", Why.WITNESSED, 1500)


@pytest.mark.parametrize("remembered", [1, 2])
def test_our_memory_is_newer_than_what_was_restored(remembered):
    """We have delivered generations that the sink does not have any more: they come again."""
    world = World(FILES, FIRST[:2000], recorded(FIRST, FIRST[:2000]))
    world.complete = [complete(FIRST), complete(SECOND, 2)][:remembered]
    plan = world.agree()
    assert decided(plan) == ("log.2", Why.RESUMED, 2000) and later(plan) == ["log.1", "log"]
    assert not plan.past


def test_what_the_sink_knows_and_we_know():
    """Up to the last generation that the sink has to its end our memory counts, too."""
    have = recorded(SECOND, SECOND[:2000], ino=2)
    world = World(FILES, SECOND[:2000], have)
    world.complete = [complete(FIRST), complete(SECOND, 2)]
    plan = world.agree(past=[complete(FIRST)])
    assert decided(plan) == ("log.1", Why.RESUMED, 2000) and later(plan) == ["log"]
    assert plan.past == (complete(FIRST),)
