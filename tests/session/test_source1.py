"""The source's session with an original server: whole lines, questions, counts."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcppipe.cursor import UNKNOWN, Cursor, Generation
from tcppipe.errors import LinkLost, PeerError
from tcppipe.session import actions as act
from tcppipe.session import news
from tcppipe.session.sink1 import LineSink, Undecided
from tcppipe.session.source1 import HELD, LineSource
from tcppipe.wire import push1
from tcppipe.wire.events import Complete, Why


def sha(data):
    """A SHA-256."""
    return hashlib.sha256(data).digest()


def generation(data, ino=1):
    """What identifies a file of this content."""
    return Generation(1, ino, 0, 0, len(data[:1024]), sha(data[:1024]))


CONTENT = b"first line\nsecond line\nthird"
HERE = act.Candidate("log", generation(CONTENT), len(CONTENT), 5, True)


def started(witness=None, candidates=(HERE,), content=CONTENT, complete=(), **kw):
    """A session that follows a file, and the plan's actions."""
    content = content if isinstance(content, dict) else {c.name: content for c in candidates}
    session = LineSource(0.0, witness, **kw)
    actions = session.open()
    while len(actions) == 1 and isinstance(actions[0], (act.Search, act.Measure)):
        if isinstance(actions[0], act.Measure):
            data = content[actions[0].candidate.name]
            result = tuple(sha(data[a : a + n]) for a, n in actions[0].ranges)
        else:
            result = act.Found("log", list(candidates), list(complete))
        actions = session.done(actions[0], result)
    return session, actions


def sent(actions):
    """The bytes that these actions send."""
    return b"".join(a.data + a.more for a in actions if isinstance(a, act.Send))


def start(actions):
    """The file and the offset that these actions start at."""
    (found,) = [a for a in actions if isinstance(a, act.Start)]
    return found.candidate, found.offset


def answer(session, count):
    """What follows the server's answer."""
    return session.receive(push1.answer(count), 1.0)


# --- where to begin


def test_begins_at_the_beginning_without_a_status_file():
    """And notes it."""
    _session, actions = started()
    assert start(actions) == (HERE, 0) and actions[1] == act.Save(HERE.generation, 0)


def test_goes_on_where_the_status_file_says():
    """In the file whose beginning is the recorded one, whatever its inode."""
    witness = Cursor(generation(CONTENT, ino=9), 11)
    _session, actions = started(witness)
    assert start(actions) == (HERE, 11)


def test_goes_on_where_an_originals_status_file_says():
    """An offset and no more: the live file's."""
    _session, actions = started(Cursor(UNKNOWN, 11))
    assert start(actions) == (HERE, 11)


def test_another_file_begins_at_its_beginning():
    """The recorded generation is gone: people are told, and the live file begins."""
    _session, actions = started(Cursor(generation(b"something else", ino=9), 11))
    assert start(actions) == (HERE, 0)
    assert [a.level for a in actions if isinstance(a, act.Say)] == ["critical"]


def test_what_this_process_has_delivered_does_not_come_again():
    """The server cannot tell what it has to the end, but we know what it has answered: a file that
    was given a later time and a name of another kind since then is known by its content."""
    other, newest = b"the older one\n" * 100, b"x\n"
    packed = act.Candidate("log-20260102", generation(other, 8), len(other), 9, False)
    present = act.Candidate("log.1", generation(CONTENT, 3), len(CONTENT), 5, False)
    live = act.Candidate("log", generation(newest, 4), len(newest), 12, True)
    _session, actions = started(
        Cursor(present.generation, 11),
        (packed, present, live),
        {"log-20260102": other, "log.1": CONTENT, "log": newest},
        [Complete(generation(other, 2), len(other), sha(other))],
    )
    (found,) = [a for a in actions if isinstance(a, act.Start)]
    assert (found.candidate, found.offset, found.later) == (present, 11, (live,))
    assert len(found.past) == 1  # and is known in the next agreement, too


def test_the_whole_file_once_more():
    """-n counts more than the status file."""
    _session, actions = started(Cursor(generation(CONTENT), 11), resend=True)
    assert start(actions) == (HERE, 0)


# --- lines


def test_a_partial_line_is_held_back():
    """The original would end it with a newline of its own."""
    session, _ = started()
    assert session.deliver(news.Piece(0, b"abc")) == []
    assert session.streaming and session.settled
    assert sent(session.deliver(news.Piece(3, b"def\ngh"))) == b"abcdef\n\n$\n"
    assert not session.streaming and not session.settled
    assert answer(session, 10) == [act.Save(HERE.generation, 7)]
    assert sent(session.deliver(news.Piece(9, b"i\n"))) == b"ghi\n\n$\n"


def test_only_line_ends_are_saved():
    """A restart begins with the whole line."""
    session, _ = started()
    at = 0
    for piece in (b"a", b"b\nc", b"d", b"\n\n", b"e\nf\ng"):
        actions = session.deliver(news.Piece(at, piece))
        at += len(piece)
        if actions:
            (save,) = answer(session, len(sent(actions)))
            assert b"ab\ncd\n\ne\nf\ng"[save.offset - 1 : save.offset] == b"\n"
    assert save.offset == 11


@pytest.mark.parametrize("wrong", [b"$6\n", b"$0\n", b"$700000\n", b"7\n", b"$x\n", b"\n"])
def test_a_wrong_count_is_an_error(wrong):
    """The server has lost something: nothing is saved, and the connection is made again."""
    session, _ = started()
    assert len(sent(session.deliver(news.Piece(0, b"abc\n")))) == 7
    with pytest.raises(PeerError):
        session.receive(wrong, 1.0)


def test_an_answer_may_come_in_pieces():
    """It counts when its line is whole."""
    session, _ = started()
    session.deliver(news.Piece(0, b"abc\n"))
    assert session.receive(b"$", 1.0) == [] and not session.streaming
    assert session.receive(b"7", 1.0) == []
    assert session.receive(b"\n", 1.0) == [act.Save(HERE.generation, 4)]
    assert session.streaming


def test_an_answer_that_nobody_asked_for_is_an_error():
    """Also a second one to the same question."""
    session, _ = started()
    with pytest.raises(PeerError):
        answer(session, 0)


def test_an_answer_without_an_end_is_an_error():
    """An original's answer is short."""
    session, _ = started()
    session.deliver(news.Piece(0, b"abc\n"))
    with pytest.raises(PeerError):
        session.receive(b"$" + b"1" * 100, 1.0)


def test_a_long_line_is_sent_as_it_comes():
    """It is not collected without bound; the question waits for its end."""
    session, _ = started()
    actions = session.deliver(news.Piece(0, b"x" * HELD))
    assert len(sent(actions)) == HELD and session.settled
    actions = session.deliver(news.Piece(HELD, b"y\n"))
    assert sent(actions) == b"y\n\n$\n"
    counts = HELD + 5, HELD + 5 + HELD // push1.PIECE
    assert answer(session, counts[1]) == [act.Save(HERE.generation, HELD + 2)]


# --- generations


def test_a_rotation_settles_with_the_next_answer():
    """The old generation is let go of when its bytes are acknowledged."""
    session, _ = started()
    newer = generation(b"new", 2)
    assert sent(session.deliver(news.Piece(0, b"abc\n")))
    answer(session, 7)
    assert session.deliver(news.Ended(Why.ROTATED, 4)) == []
    assert session.deliver(news.Began(newer)) == []
    session.deliver(news.Piece(0, b"de\n"))
    assert answer(session, 6) == [act.Save(newer, 3), act.Settle()]


def test_a_file_that_is_gone_settles_at_once():
    """Nothing may follow it; what was answered is all there is. A line without its end is not."""
    session, _ = started()
    session.deliver(news.Piece(0, b"abc\n"))
    answer(session, 7)
    assert session.deliver(news.Ended(Why.REMOVED, 4)) == [act.Settle()]
    session, _ = started()
    session.deliver(news.Piece(0, b"abc"))
    assert session.deliver(news.Ended(Why.REMOVED, 3)) == []
    session, _ = started()
    session.deliver(news.Piece(0, b"x" * HELD))
    assert session.deliver(news.Ended(Why.REMOVED, HELD)) == []


def test_a_line_over_a_rotation_is_not_skipped():
    """The old file ended without a newline: nothing is saved that would lose its last line."""
    session, _ = started()
    session.deliver(news.Piece(0, b"abc"))
    session.deliver(news.Ended(Why.ROTATED, 3))
    newer = generation(b"d", 2)
    session.deliver(news.Began(newer))
    session.deliver(news.Piece(0, b"d\nef"))
    saves = [a for a in answer(session, 8) if isinstance(a, act.Save)]
    assert saves in ([], [act.Save(newer, 2)])


def test_lost_bytes_are_said():
    """There is nobody else to tell."""
    session, _ = started()
    (said,) = session.deliver(news.Lost(HERE.generation, 4, 9, "truncated"))
    assert said.level == "critical" and "truncated" in said.text


# --- with a sink of our own


@settings(deadline=None, database=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, 2**32))
def test_bytes_arrive_exactly(pieces, seed):
    """Any data, delivered in any pieces: the whole lines of it are copied, the rest is held."""
    rng = random.Random(seed)
    data = b"".join(pieces).replace(b"\x00", b"\n")
    source, _ = started()
    sink, copy, at = LineSink(0.0), b"", 0
    while at < len(data):
        piece = data[at : at + rng.randint(1, 50)]
        wire = sent(source.deliver(news.Piece(at, piece)))
        at += len(piece)
        while wire:
            size = rng.randint(1, len(wire))
            for action in sink.receive(wire[:size], 0.0):
                if isinstance(action, act.Append):
                    assert action.offset == len(copy)
                    copy += action.data
                else:
                    (reply,) = sink.done(action, True)
                    (save,) = source.receive(reply.data, 0.0)
                    assert save.offset == len(copy)
            wire = wire[size:]
        assert source.streaming
    assert copy == data[: data.rfind(b"\n") + 1]


def test_a_sink_finds_out_which_version_a_client_speaks():
    """An acceptance makes it version 2, anything else version 1; no byte is lost over it."""
    streams = {push1.accept(): "Sink", b"$\n": "LineSink", b"#$t\n\n$\n": "LineSink"}
    for stream, version in streams.items():
        session, actions = Undecided(0.0), []
        for i in range(len(stream)):
            got = session.receive(stream[i : i + 1], 0.0)
            for action in got:
                if isinstance(action, act.Become):
                    session = action.session
            actions += got
        assert type(session).__name__ == version
    names = [type(a).__name__ for a in actions]
    assert names[:2] == ["Become", "OpenLines"] and names[-1] == "Flush"
    assert b"".join(a.data for a in actions if isinstance(a, act.Append)) == b"$t\n"


def test_an_acceptance_has_an_end():
    """And not after megabytes."""
    with pytest.raises(PeerError):
        Undecided(0.0).receive(b"$tcppipe/2" + b" " * 1000, 0.0)


def test_an_original_client_gives_way():
    """It cannot be asked whether it lives."""
    with pytest.raises(LinkLost):
        LineSink(0.0).ask()
