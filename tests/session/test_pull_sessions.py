"""The pull pair's version 1: which generation is served, signs of life, and the silence."""

import pytest

from tcppipe.cursor import Generation
from tcppipe.errors import LinkLost
from tcppipe.session import actions as act
from tcppipe.session import news
from tcppipe.session.fetch1 import SILENCE, ByteSink
from tcppipe.session.numbers1 import QUIET, ByteSource
from tcppipe.wire.events import Why


def candidate(ino, size, live=False, rotated=True):
    """A file of so many bytes."""
    name = "/f" if live else f"/f.{9 - ino}"
    return act.Candidate(name, Generation(ino=ino), size, 0, live, rotated)


OLD, OLDER, LIVE = candidate(2, 20), candidate(1, 10), candidate(3, 30, live=True)
CHAIN = [OLDER, OLD, LIVE]


def served(inode, offset, chain=CHAIN):
    """(the file, from where on, the bytes that are sent at once)."""
    session = ByteSource(inode, offset, lambda c: c.generation.ino, 0.0)
    (search,) = session.open()
    start, send = session.done(search, act.Found("/f", chain))
    assert session.streaming
    return start.candidate, start.offset, send.data


@pytest.mark.parametrize(
    "asked, expected",
    [
        ((0, 0), (LIVE, 0, b"O 3\n")),
        ((3, 12), (LIVE, 12, b"O 3\n")),
        ((3, 30), (LIVE, 30, b"O 3\n\7")),
        ((1, 4), (OLDER, 4, b"O 1\n")),
        ((1, 10), (OLD, 0, b"O 2\n")),
        ((2, 20), (LIVE, 0, b"O 3\n")),
        ((9, 5), (LIVE, 0, b"L 3\n")),
    ],
)
def test_which_generation_is_served(asked, expected):
    """The one that is asked for from there on, or the next one; the live one if it is unknown."""
    assert served(*asked) == expected


def test_a_last_rotated_file_without_a_live_one():
    """There is no next one yet: a sign of life, and the wait for its late bytes."""
    assert served(2, 20, [OLDER, OLD]) == (OLD, 20, b"O 2\n\7")


def test_a_strangers_copy_is_not_next():
    """A sibling that rotation did not name is not a generation."""
    copy = candidate(7, 5, rotated=False)
    assert served(2, 20, [OLDER, OLD, copy, LIVE]) == (LIVE, 0, b"O 3\n")


def test_no_answer_to_what_cannot_be():
    """More than there is."""
    with pytest.raises(LinkLost, match="asked for from 31, has 30 bytes"):
        served(3, 31)


@pytest.mark.parametrize(
    "inode, expected, lost_from",
    [(1, (OLDER, 4, b"O 1\n"), 0), (2, (LIVE, 0, b"L 3\n"), 4), (3, (LIVE, 4, b"O 3\n"), None)],
)
def test_what_cannot_be_read_is_said(inode, expected, lost_from):
    """An original cannot wait for a rotated file, nor be told that one is missing: the log is."""
    chain = [OLDER, OLD._replace(name="/f.1", trouble="Permission denied"), LIVE]
    session = ByteSource(inode, 4, lambda c: c.generation.ino, 0.0)
    start, *said, send = session.done(session.open()[0], act.Found("/f", chain))
    assert (start.candidate, start.offset, send.data) == expected
    text = f"bytes lost from offset {lost_from} on: /f.1: Permission denied"
    assert said == ([] if lost_from is None else [act.Say("critical", text)])
    assert OLD.generation not in [later.generation for later in start.later]


def test_news_of_an_origin():
    """Bytes without 0x07; the end of a generation is the end of the connection."""
    session = ByteSource(0, 0, lambda c: c.generation.ino, 0.0)
    session.done(session.open()[0], act.Found("/f", [LIVE]))
    assert session.deliver(news.Piece(30, memoryview(b"a\7"))) == [act.Send(b"a\xff")]
    (said,) = session.deliver(news.Lost(LIVE.generation, 5, 0, "gone"))
    assert said.level == "critical"
    with pytest.raises(LinkLost, match="ended"):
        session.deliver(news.Ended(Why.ROTATED, 32))


def test_signs_of_life():
    """After a minute without a word, not before, and none before the answer."""
    session = ByteSource(0, 0, lambda c: c.generation.ino, 0.0)
    assert session.tick(QUIET * 2) == [] and session.due() == float("inf")
    session.done(session.open()[0], act.Found("/f", [LIVE]))
    session.keepalive.sent = 5.0
    assert session.due() == QUIET + 5
    assert session.tick(QUIET + 4.9) == []
    assert session.tick(QUIET + 5) == [act.Send(b"\7")]
    assert session.tick(QUIET + 6) == []


def test_what_a_sink_keeps():
    """All but 0x07, at offsets without a hole."""
    session = ByteSink(False, 0.0)
    assert session.open() == [act.OpenLines()]
    assert session.receive(memoryview(b"a\7b"), 1.0) == [act.Append(0, b"ab")]
    assert session.receive(memoryview(b"\7"), 1.0) == []
    assert session.receive(memoryview(b"c"), 1.0) == [act.Append(2, b"c")]


def test_another_generation_begins_anew():
    """The files are told by an opening without a generation."""
    (begin,) = ByteSink(True, 0.0).open()
    assert (begin.begin.why, begin.begin.offset) == (Why.FRESH, 0)


def test_silence():
    """Two minutes, unless we do not listen ourselves."""
    session = ByteSink(False, 0.0)
    session.receive(b"\7", 10.0)
    assert session.due() == SILENCE + 10
    session.tick(SILENCE + 9.9)
    session.tick(SILENCE + 10, deaf=True)
    session.tick(SILENCE + 20)
    with pytest.raises(LinkLost, match="silent"):
        session.tick(2 * SILENCE + 10)
