"""Packed frames: any data, in any pieces, by either method; and those that lie."""

import struct
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tcppipe.errors import PeerError
from tcppipe.wire import events as ev
from tcppipe.wire import packing
from tcppipe.wire.frames import (
    AHEAD,
    MAX_DATA,
    MAX_OFFSET,
    Reader,
    data_header,
    encode,
    packed_header,
)
from tcppipe.wire.packing import ZLIB, ZSTD, pack

METHODS = pytest.mark.parametrize("method", [ZLIB, ZSTD], ids=packing.NAMES.get)
TEXT = b"".join(b"10.0.%d.%d - GET /index.html 200 %d\n" % (n % 7, n % 251, n) for n in range(2000))
ANY = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.tuples(st.binary(min_size=1, max_size=20), st.integers(1, 3000)).map(lambda p: p[0] * p[1]),
)


def packed(method, offset, data, hard=False):
    """The bytes of a Packed frame, or of a Data frame where that is not shorter."""
    small = pack(method, data, hard)
    if len(small) > len(data):
        return encode(ev.Data(offset, data))
    return packed_header(method, offset, len(data), len(small)) + small


def frame(method, offset, length, content):
    """A Packed frame that may lie."""
    head = struct.pack("!BIBQI", 0x11, len(content) + 13, method, offset, length)
    return head + content


def refused(stream):
    """The text of the PeerError that these bytes raise, whole and in pieces."""
    with pytest.raises(PeerError) as caught:
        Reader().feed(stream)
    reader = Reader()
    with pytest.raises(PeerError):
        for at in range(0, len(stream), 7):
            reader.feed(stream[at : at + 7])
    return str(caught.value)


@METHODS
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("size", [1, 199, 4096, MAX_DATA])
def test_round_trip(method, hard, size):
    """What was packed comes back as one Data event."""
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    events = Reader().feed(packed(method, 7, data, hard) + encode(ev.Bye()))
    assert [(e.offset, bytes(e.data)) for e in events[:-1]] == [(7, data)]
    assert events[-1] == ev.Bye()


@METHODS
def test_text_becomes_several_times_smaller(method):
    """That is what it is for; and hard is smaller than quick."""
    quick, hard = (pack(method, TEXT, how) for how in (False, True))
    assert len(hard) < len(quick) < len(TEXT) // 3


def test_the_best_method():
    """zstd where both sides have it, else zlib, else none; unknown ones are passed over."""
    assert packing.able() == ZLIB | ZSTD
    assert [packing.best(mask) for mask in range(5)] == [0, ZLIB, ZSTD, ZSTD, 0]
    assert packing.best(0xFFFF) == ZSTD


@settings(deadline=None, database=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, ZLIB, ZSTD]), st.booleans(), ANY), max_size=6),
    st.data(),
)
def test_any_data_in_any_pieces(pieces, draw):
    """Packed and plain frames in any order, cut anywhere: the bytes and their places are kept."""
    stream, origin = b"", b""
    for method, hard, data in pieces:
        if method:
            stream += packed(method, len(origin), data, hard)
        else:
            stream += data_header(len(origin), len(data)) + data
        stream += encode(ev.Ping(len(origin)))
        origin += data
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader, copy = Reader(), b""
    for begin, end in zip([0, *cuts], [*cuts, len(stream)]):
        for event in reader.feed(stream[begin:end]):
            if isinstance(event, ev.Data):
                assert event.offset == len(copy)
                copy += bytes(event.data)
    assert copy == origin


@METHODS
def test_byte_by_byte(method):
    """Nothing comes before the last byte, and then all of it."""
    stream = packed(method, 0, TEXT)
    reader = Reader()
    for at in range(len(stream) - 1):
        assert reader.feed(stream[at : at + 1]) == []
    (event,) = reader.feed(stream[-1:])
    assert bytes(event.data) == TEXT


def _lies():
    """(what, frame): what a frame may claim and not hold."""
    for method in (ZLIB, ZSTD):
        name, small = packing.NAMES[method], pack(method, TEXT)
        for change in (-1, 1):
            yield f"{name} {change:+} bytes", frame(method, 0, len(TEXT) + change, small)
        yield f"{name} truncated", frame(method, 0, len(TEXT), small[:-1])
        yield f"{name} half of it", frame(method, 0, len(TEXT), small[: len(small) // 2])
        yield f"{name} something behind", frame(method, 0, len(TEXT), small + b"\0")
        yield f"{name} twice", frame(method, 0, 2 * len(TEXT), small + small)
        yield f"{name} no such data", frame(method, 0, len(TEXT), b"\xff" * 30)
        yield f"{name} one octet", frame(method, 0, 1, b"\0")
        spoilt = bytearray(small)
        spoilt[len(spoilt) // 2] ^= 0x55
        if method == ZLIB:  # zstd frames have no checksum here; the digest of the generation has
            yield f"{name} spoilt", frame(method, 0, len(TEXT), bytes(spoilt))
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    yield "zstd without its size", frame(ZSTD, 0, len(TEXT), unsaid)
    yield "zstd skippable", frame(ZSTD, 0, 16, b"\x50\x2a\x4d\x18\x08\0\0\0" + bytes(8))
    yield "raw deflate", frame(ZLIB, 0, len(TEXT), zlib.compress(TEXT)[2:-4])
    yield "no method", frame(0, 0, 5, b"abcd")
    yield "both methods", frame(3, 0, len(TEXT), pack(ZLIB, TEXT))
    yield "unknown method", frame(4, 0, 5, b"abcd")


@pytest.mark.parametrize("stream", [pytest.param(f, id=what) for what, f in _lies()])
def test_a_frame_that_lies(stream):
    """What does not unpack to exactly the length that was said is an error."""
    refused(stream)


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack("!BI", 0x11, 13),
        struct.pack("!BI", 0x11, MAX_DATA + 14),
        struct.pack("!BI", 0x11, 2**32 - 1),
        frame(ZLIB, 0, 0, b"x"),
        frame(ZLIB, 0, 3, b"xxxx"),
        frame(ZLIB, 0, MAX_DATA + 1, b"x"),
        frame(ZLIB, MAX_OFFSET, 2, b"x"),
        frame(ZLIB, 2**64 - 1, 2, b"x"),
    ],
)
def test_bounds(stream):
    """The header alone is enough to refuse a frame that is out of bounds: empty, too long, longer
    packed than unpacked, or running over the last offset."""
    assert "out of bounds" in refused(stream[:18])


def test_a_bomb_is_not_unpacked():
    """A frame of a few KB that holds a GiB is refused, and costs no memory."""
    bombs = [
        frame(ZLIB, 0, MAX_DATA, zlib.compress(bytes(64 << 20), 9)),
        frame(ZSTD, 0, MAX_DATA, zstandard.compress(bytes(64 << 20))),
    ]
    lying = bytearray(zstandard.compress(bytes(64 << 20)))  # says that it holds a MiB
    at = 5 if lying[4] & 0x20 else 6
    lying[at : at + 4] = struct.pack("<I", MAX_DATA)
    assert zstandard.frame_content_size(bytes(lying)) == MAX_DATA
    for bomb in [*bombs, frame(ZSTD, 0, MAX_DATA, bytes(lying))]:
        tracemalloc.start()
        try:
            with pytest.raises(PeerError):
                Reader().feed(bomb)
            assert tracemalloc.get_traced_memory()[1] < 4 * MAX_DATA
        finally:
            tracemalloc.stop()


@METHODS
def test_a_reader_takes_a_rest(method):
    """Few bytes that stand for very many are not unpacked all at once: what was not looked at is
    given back, whole frames of it, and goes on from there."""
    data = bytes(MAX_DATA)
    count = 20
    stream = b"".join(packed(method, n * MAX_DATA, data) for n in range(count)) + encode(ev.Bye())
    reader, offset, feeds, events = Reader(), 0, 0, []
    while stream:
        events = reader.feed(stream)
        feeds += 1
        stream = reader.surplus()
        unpacked = 0
        for event in events:
            if isinstance(event, ev.Data):
                assert event.offset == offset + unpacked
                unpacked += len(event.data)
        assert unpacked < AHEAD + MAX_DATA
        offset += unpacked
    assert offset == count * MAX_DATA and feeds >= count * MAX_DATA // AHEAD
    assert events[-1] == ev.Bye()
    assert reader.surplus() == b""


def test_a_rest_that_nobody_takes_is_not_lost():
    """A reader that is simply fed on parses what it had left."""
    stream = b"".join(packed(ZLIB, n * MAX_DATA, bytes(MAX_DATA)) for n in range(5))
    reader, offset = Reader(), 0
    for chunk in (stream, b"", b"", encode(ev.Bye())):
        for event in reader.feed(chunk):
            offset += len(event.data) if isinstance(event, ev.Data) else 0
    assert offset == 5 * MAX_DATA


@settings(deadline=None, database=None)
@given(st.integers(0, 4), st.integers(0, 5000), st.binary(max_size=200))
def test_arbitrary_contents_raise_nothing_but_peer_errors(method, length, content):
    """Whatever a Packed frame holds."""
    try:
        Reader().feed(frame(method, 0, length, content))
    except PeerError:
        pass
