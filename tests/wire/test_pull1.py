"""The pull pair's lines, data and pointer files, as the originals read and write them.

The originals stand in as small models, written from what is known of their behaviour.
"""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcppipe.errors import ConfigError, PeerError
from tcppipe.wire import pull1

BIG = (1 << 64) - 1

# --- models of the originals


def original_server(line):
    """What it takes a request for: [file, inode, offset]; None where it closes."""
    fields = re.split(rb"[ \t\n\r\f\v]+", line.removesuffix(b"\n"))
    file, inode, offset = [*fields, b"", b""][:3]
    if not file or not re.fullmatch(rb"[0-9]*", inode):
        return None
    return [file, int(inode or b"0"), int(offset or b"0")]


def original_client(line):
    """What it takes an answer for: (lost, pointer); None where it says that it is broken."""
    end = line.find(b"\n")
    if b"\0" in line[:end] or not 2 < end < 35 or line[1:2] != b" " or line[:1] not in b"OL":
        return None
    return line[:1] == b"L", line[2:end]


# --- the request


@pytest.mark.parametrize(
    "line, path, inode, offset, v2",
    [
        (b"/var/log/a\n", b"/var/log/a", 0, 0, False),
        (b"/var/log/a 0 0\n", b"/var/log/a", 0, 0, False),  # the original client's first one
        (b"/a 4711 12345678901\n", b"/a", 4711, 12345678901, False),
        (b"/a 4711\n", b"/a", 4711, 0, False),
        (b"/a\t4711  17 \r\n", b"/a", 4711, 17, False),
        (b"/a 1 2 more and more\n", b"/a", 1, 2, False),
        (b"/a 1 2 tcppipe/2\n", b"/a", 1, 2, True),
        (b"/a 1 2 tcppipe/3 tcppipe/2\n", b"/a", 1, 2, True),
        (b"/a 1 2 tcppipe/23\n", b"/a", 1, 2, False),
        (b"/\xff#$\xa0 1 2\n", b"/\xff#$\xa0", 1, 2, False),
        (b"/a %d %d\n" % (BIG, BIG >> 1), b"/a", BIG, BIG >> 1, False),
    ],
)
def test_valid_requests(line, path, inode, offset, v2):
    """A path, then an inode and an offset, both 0 if not given; the offer behind them."""
    assert pull1.parse_request(line) == (path, inode, offset, v2)
    assert original_server(line) == [path, inode, offset]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"/a",
        b" /a 1 2\n",
        b"a 1 2\n",
        b"$/a\n",
        b"/a\0b 1 2\n",
        b"/a x 2\n",
        b"/a -1 2\n",
        b"/a 1 -2\n",
        b"/a 1 2.5\n",
        b"/a 1 1e3\n",
        b"/a tcppipe/2\n",
        b"/a \xb2 2\n",
        b"/a %d 0\n" % (BIG + 1),
        b"/a 1 %d\n" % ((BIG >> 1) + 1),
        b"/a %s 0\n" % (b"0" * 21),
        b"/" + b"a" * pull1.MAX_REQUEST + b"\n",
        b"/a 1 2" + b" " * pull1.MAX_REQUEST + b"\n",
    ],
)
def test_invalid_requests(line):
    """Anything else is no request."""
    with pytest.raises(PeerError):
        pull1.parse_request(line)


PATHS = st.binary(min_size=1, max_size=30).map(lambda name: b"/" + name)


@given(PATHS, st.integers(0, BIG), st.integers(0, BIG >> 1))
@example(b"/" + b"a" * 4095, BIG, BIG >> 1)
def test_a_request_is_understood(path, inode, offset):
    """By our server, which sees the offer, and by the original's; or it is refused here."""
    try:
        line = pull1.request(path, inode, offset)
    except ConfigError as error:
        assert re.search(rb"[\0 \t\n\r\f\v]", path)
        assert "no request can carry" in str(error) and str(error).isprintable()
        return
    assert line.count(b"\n") == 1
    assert pull1.parse_request(line) == (path, inode, offset, True)
    assert original_server(line) == [path, inode, offset]


@pytest.mark.parametrize("path", [b"", b"a", b"/a b", b"/a\nb", b"/a\0", b"/" + b"a" * 4096])
def test_what_cannot_be_asked_for(path):
    """A name with a blank cannot be said, since the original server would split it."""
    with pytest.raises(ConfigError):
        pull1.request(path)


def test_the_first_request():
    """Neither inode nor offset are known."""
    assert pull1.request(b"/var/log/a") == b"/var/log/a 0 0 tcppipe/2\n"


# --- the answer


@pytest.mark.parametrize(
    "line, lost, inode, v2",
    [
        (b"O 4711\n", False, 4711, False),
        (b"L 4711\n", True, 4711, False),
        (b"O 4711 tcppipe/2\n", False, 4711, True),
        (b"L 4711 tcppipe/3 tcppipe/2\r\n", True, 4711, True),
        (b"O 4711 tcppipe/23\n", False, 4711, False),
        (b"O 0 tcppipe/2\n", False, 0, True),
        (b"O %d\n" % BIG, False, BIG, False),
    ],
)
def test_valid_answers(line, lost, inode, v2):
    """A letter and an inode; the acceptance of version 2 behind them."""
    assert pull1.parse_answer(line) == (lost, inode, v2)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"O\n",
        b"O \n",
        b"O  4711\n",
        b"O\t4711\n",
        b"o 4711\n",
        b"X 4711\n",
        b"O 4711",
        b"O x\n",
        b"O -1\n",
        b"O 0\n",
        b"O 1\x07\n",
        b"O %d\n" % (BIG + 1),
        b"O " + b"0" * 21 + b"\n",
        b"O 1" + b" " * pull1.MAX_ANSWER + b"\n",
        b"$refuse\n",
    ],
)
def test_invalid_answers(line):
    """Anything else is an error of the server."""
    with pytest.raises(PeerError):
        pull1.parse_answer(line)


@given(st.booleans(), st.integers(1, BIG), st.booleans())
def test_an_answer_is_understood(found, inode, v2):
    """By our client; and by the original's, which does not ask for version 2."""
    line = pull1.answer(found, inode, v2)
    assert pull1.parse_answer(line) == (not found, inode, v2)
    if not v2:
        assert original_client(line) == (not found, b"%d" % inode)


@given(st.one_of(st.binary(max_size=40), st.binary(max_size=20).map(lambda b: b"/a " + b + b"\n"),
                 st.binary(max_size=20).map(lambda b: b"O " + b + b"\n")))  # fmt: skip
def test_a_peer_can_cause_nothing_but_peer_errors(line):
    """Whatever it says."""
    for parse in (pull1.parse_request, pull1.parse_answer):
        try:
            parse(line)
        except PeerError as error:
            assert str(error).isprintable()


# --- data


@given(st.binary())
@example(b"\x07")
def test_data_survives_but_for_one_byte(data):
    """07 becomes ff on its way; a sign of life leaves no trace, wherever it stands."""
    sent = pull1.ALIVE + pull1.outgoing(data) + pull1.ALIVE
    assert pull1.incoming(sent) == data.replace(b"\x07", b"\xff")


# --- the pointer file


@pytest.mark.parametrize(
    "data, inode",
    [
        (b"4711\n", 4711),
        (b"4711", 4711),
        (b"  4711 4712\n", 4711),
        (b"0", 0),
        (b"", 0),
        (b"\n", 0),
        (b"-1\n", 0),
        (b"x4711\n", 0),
        (b"4711x\n", 0),
        (b"%d\n" % BIG, BIG),
        (b"%d\n" % (BIG + 1), 0),
        (b"9" * 5000, 0),
    ],
)
def test_pointer_files(data, inode):
    """The first word, if it is an inode; else nothing is known."""
    assert pull1.parse_pointer(data) == inode


@given(st.integers(0, BIG))
def test_a_pointer_file_is_what_is_parsed(inode):
    """One number and a newline, as the original has it."""
    assert re.fullmatch(rb"[0-9]+\n", pull1.render_pointer(inode))
    assert pull1.parse_pointer(pull1.render_pointer(inode)) == inode


@given(st.binary())
def test_any_pointer_file_can_be_read(data):
    """Garbage is no inode."""
    assert 0 <= pull1.parse_pointer(data) <= BIG
