"""Version 1 on the wire: the handshake, and data as the originals read and write it.

The originals stand in as two small models, written from what is known of their behaviour.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcppipe.errors import PeerError, Refused
from tcppipe.wire import push1

FULL = 1023  # bytes that the originals take as one line


# --- models of the originals


class OriginalServer:
    """Reads lines of at most 1023 bytes; `copy` is its destination, `answers` what it sent."""

    def __init__(self):
        self.copy = b""
        self.answers = []
        self._count = 0

    def read(self, stream):
        """Take a stream that ends with a line."""
        at = 0
        while at < len(stream):
            end = stream.find(b"\n", at, at + FULL) + 1
            line = stream[at : end or at + FULL]
            at += len(line)
            self._count += len(line) + (not line.endswith(b"\n"))
            if line.startswith(b"$"):
                self.answers.append(self._count)
                self._count = 0
            elif line.startswith(b"#"):
                self.copy += line[1:]
            elif line != b"\n":
                self.copy += line


def original_client(batches):
    """What an original client sends for these batches of data: (stream, copy, counts).

    copy: what its server is to make of that; the boundary ends a line that had no end.
    """
    stream, copy, counts = b"", b"", []
    for batch in batches:
        sent = b""
        line = b"\n"
        while batch:
            line = batch[: (batch.find(b"\n", 0, FULL) + 1) or FULL]
            batch = batch[len(line) :]
            sent += b"#" + line if line[:1] in (b"#", b"$", b"\n") else line
            copy += line
        if not line.endswith(b"\n") and len(line) < FULL:
            copy += b"\n"
        sent += b"\n$\n"
        counts.append(len(sent))
        stream += sent
    return stream, copy, counts


# --- the handshake


@pytest.mark.parametrize(
    "line, path",
    [
        (b"$/var/log/a.log\n", b"/var/log/a.log"),
        (b"$/a b\n", b"/a b"),
        (b"$/a\r\n", b"/a"),
        (b"$/a \t\r\n", b"/a"),
        (b"$/\xff$#\n", b"/\xff$#"),
    ],
)
def test_valid_requests(line, path):
    """A dollar sign and an absolute path; what stands blank behind it does not count."""
    assert push1.parse_request(line) == path


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"$", b"$\n", b"$a\n", b"/a\n", b"$/a", b"$/a\0b\n", b"#$/a\n", b" $/a\n"]
)
def test_invalid_requests(line):
    """Anything else is no request."""
    with pytest.raises(PeerError):
        push1.parse_request(line)


def test_tls_is_recognized():
    """Syslog over TLS has the same port: its first byte gets a message of its own."""
    with pytest.raises(PeerError, match="TLS"):
        push1.parse_request(b"\x16\x03\x01\x02\x00\n")


def test_a_request_is_what_is_parsed():
    """request() and parse_request() agree."""
    assert push1.parse_request(push1.request(b"/var/log/\xc3\xa4")) == b"/var/log/\xc3\xa4"


@pytest.mark.parametrize(
    "line, offered",
    [
        (b"$ready\n", False),
        (b"$readyish\n", False),
        (b"$ready tcppipe/1\n", False),
        (b"$ready xtcppipe/2\n", False),
        (b"$ready tcppipe/2\n", True),
        (b"$ready tcppipe/2 tcppipe/3 more\r\n", True),
    ],
)
def test_yes(line, offered):
    """Only the beginning of the word counts; the offer may stand anywhere behind it."""
    assert push1.parse_answer(line) is offered


def test_our_yes_offers_version_2():
    """And an original client, which compares the beginning, takes it for a yes."""
    assert push1.ready().startswith(b"$ready") and push1.ready().endswith(b"\n")
    assert push1.parse_answer(push1.ready())


@pytest.mark.parametrize(
    "line, text", [(b"$refuse\n", "no reason"), (b"$refuse not you\n", "not you")]
)
def test_no(line, text):
    """A no is final, and carries the server's reason if there is one."""
    with pytest.raises(Refused, match=text):
        push1.parse_answer(line)


@pytest.mark.parametrize("line", [b"", b"\n", b"ready\n", b"$Ready\n", b"220 mail ESMTP\n"])
def test_neither_yes_nor_no(line):
    """Another kind of server is a PeerError."""
    with pytest.raises(PeerError):
        push1.parse_answer(line)


def test_our_no_is_one_short_line():
    """A reason with newlines, or one that is too long, still is one line for an original."""
    line = push1.refuse("first\nsecond \udcff" + "x" * 5000)
    assert line.startswith(b"$refuse first second") and line.find(b"\n") == len(line) - 1
    assert len(line) <= FULL


def test_accepting():
    """The line that accepts version 2 is recognized, and is no path."""
    assert push1.accepts(push1.accept())
    assert push1.accepts(b"$tcppipe/2 and more\n")
    assert not push1.accepts(b"$tcppipe/2") and not push1.accepts(b"$/a\n")
    with pytest.raises(PeerError):
        push1.parse_request(push1.accept())


@pytest.mark.parametrize("line, count", [(b"$0\n", 0), (b"$17\n", 17), (b"$ 17 \r\n", 17)])
def test_counts(line, count):
    """A count is decimal."""
    assert push1.parse_count(line) == count


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"17\n", b"$\n", b"$-1\n", b"$1x\n", b"$1 2\n", b"$" + b"1" * 21 + b"\n"]
)
def test_what_is_no_count(line):
    """And bounded."""
    with pytest.raises(PeerError):
        push1.parse_count(line)


def test_an_answer_is_a_count():
    """answer() and parse_count() agree."""
    assert push1.parse_count(push1.answer(1234)) == 1234


# --- to an original server

LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b"#", b"$", b"##", b"$ready", b"\x07\xff\r", b"plain"]),
        st.binary(max_size=30).map(lambda b: b.replace(b"\0", b"").replace(b"\n", b"")),
        st.tuples(st.integers(1015, 1030), st.sampled_from([b"x", b"#", b"$"])).map(
            lambda pair: pair[1] * pair[0]
        ),
        st.sampled_from([b"y" * n + end for n in (1022, 1023, 2045, 2046) for end in (b"", b"$")]),
    ),
    max_size=6,
)


def exchanged(batches):
    """Send batches of whole lines to the model; check each answer; return its copy."""
    encoder, server = push1.Encoder(), OriginalServer()
    for pieces in batches:
        stream = b"".join(map(encoder.encode, pieces))
        question, counts = encoder.boundary()
        server.read(stream + question)
        assert len(server.answers) == 1, "a data line was taken for a question"
        assert server.answers.pop() in counts
        assert len(stream + question) in counts
    return server.copy


@settings(deadline=None, database=None)
@given(st.lists(LINES, max_size=3))
@example([[b""]])
@example([[b"$"], [b"#"], [b"", b""]])
@example([[b"x" * 1023], [b"#" * 1023, b"$" * 1022]])
def test_the_original_server_copies_whole_lines_unaltered(batches):
    """Any whole lines without NUL: its copy is equal, and its counts are among the expected."""
    data = [b"".join(line + b"\n" for line in lines) for lines in batches]
    assert exchanged([[part] for part in data]) == b"".join(data)


@settings(deadline=None, database=None)
@given(LINES, st.data())
def test_the_encoder_may_get_lines_in_pieces(lines, data):
    """Where the data is cut on its way into the encoder makes no difference."""
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)])]
    assert exchanged([pieces]) == whole
    one = push1.Encoder()
    assert b"".join(map(one.encode, pieces)) == push1.Encoder().encode(whole)


def test_the_original_counts_a_full_buffer_twice():
    """A piece that fills its buffer without a newline counts one more; both counts are right."""
    encoder = push1.Encoder()
    sent = len(encoder.encode(b"x" * 1023 + b"\n"))
    _question, counts = encoder.boundary()
    assert counts == {sent + 3, sent + 4}


def test_a_boundary_inside_a_line_is_a_bug():
    """A question where a line has no end yet would put a newline into the copy."""
    encoder = push1.Encoder()
    encoder.encode(b"abc")
    with pytest.raises(AssertionError):
        encoder.boundary()


def test_nothing_needs_escaping_inside_a_line():
    """Only the first byte of a piece is looked at."""
    assert push1.Encoder().encode(b"a#b$c\nd\n") == b"a#b$c\nd\n"
    assert push1.Encoder().encode(b"#a\n$b\n\n") == b"##a\n#$b\n#\n"


# --- from an original client

WHOLE = LINES.map(lambda lines: b"".join(line + b"\n" for line in lines))
PARTS = st.one_of(WHOLE, st.binary(max_size=40))


def decoded(stream, cuts=()):
    """Feed a stream cut in places: (data, counts)."""
    decoder = push1.Decoder()
    data, counts = b"", []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)]):
        for item in decoder.feed(stream[begin:end]):
            if isinstance(item, int):
                counts.append(item)
            else:
                data += item
    return data, counts


@settings(deadline=None, database=None)
@given(st.lists(PARTS, max_size=4), st.data())
@example([b"a", b"b\n"], None)
@example([b"$" * 1023, b"\n"], None)
@example([b"x" * 1023 + b"\n"], None)
def test_what_an_original_client_sends(batches, data):
    """Data and counts are what its own server would have made of it, however it is cut."""
    stream, copy, counts = original_client(batches)
    cuts = range(1, len(stream))
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    assert decoded(stream, cuts) == (copy, counts)


def test_data_is_handed_on_before_the_question():
    """In the order in which it came, so that the answer can wait for the data."""
    assert push1.Decoder().feed(b"a\n\n$\nb\n") == [b"a\n", 5, b"b\n"]


def test_any_line_that_begins_with_a_dollar_is_a_question():
    """Whatever stands behind it counts."""
    assert decoded(b"$ whatever \xff\n", range(1, 13)) == (b"", [13])


def test_empty_lines_are_ignored_but_counted():
    """A newline of the data comes escaped."""
    assert decoded(b"\n\n#\na\n\n$\n") == (b"\na\n", [9])


@settings(deadline=None, database=None)
@given(st.binary(max_size=400))
def test_no_bytes_upset_the_decoder(data):
    """There is nothing that an original client may not send."""
    decoded(data, range(1, len(data)))
