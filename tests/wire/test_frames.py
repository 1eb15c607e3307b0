"""Version 2 on the wire: events to frames and back, whole and byte by byte, and every bound."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcppipe.cursor import UNKNOWN, Generation
from tcppipe.errors import PeerError
from tcppipe.wire import events as ev
from tcppipe.wire.frames import (
    MAX_COMPLETE,
    MAX_CONTROL,
    MAX_DATA,
    MAX_LATE,
    MAX_OFFSET,
    MAX_RANGES,
    MAX_TEXT,
    Reader,
    data_header,
    encode,
)

GENERATION = Generation(64768, 1311, 7, 1_700_000_000_123_456_789, 1024, bytes(range(32)))
DIGEST = b"\xaa" * 32

# every event, with plain and with extreme values
EVENTS = [
    ev.Hello(0, bytes(range(16)), False, b"host 1234"),
    ev.Hello(65535, b"k" * 16, True, b"", MAX_OFFSET, GENERATION),
    ev.Have(ev.Holding.NOTHING),
    ev.Have(ev.Holding.UNRECORDED, end=5),
    ev.Have(ev.Holding.RECORDED, False, True, True, True, True, GENERATION, 1, 9, 5, 4, DIGEST),
    ev.Have(ev.Holding.NOTHING, methods=65535),
    ev.Have(ev.Holding.RECORDED, minor=65535, doubtful=True),
    ev.Past(()),
    ev.Past((ev.Complete(GENERATION, 5, DIGEST), ev.Complete(UNKNOWN, MAX_OFFSET))),
    ev.Past((ev.Complete(GENERATION, 1, DIGEST),) * MAX_COMPLETE),
    ev.Check(0, 0),
    ev.Check(MAX_OFFSET, 2**32 - 1),
    ev.Probe(()),
    ev.Probe(((0, 0), (MAX_OFFSET - 1, 1))),
    ev.Probe(tuple((i, 1) for i in range(MAX_RANGES))),
    ev.Proof(()),
    ev.Proof((DIGEST,) * MAX_RANGES),
    ev.Begin(ev.Why.FRESH, GENERATION, 0),
    ev.Begin(ev.Why.RESUMED, UNKNOWN, MAX_OFFSET),
    ev.End(ev.Why.ROTATED, 0),
    ev.End(ev.Why.TRUNCATED, MAX_OFFSET, DIGEST),
    ev.Ended(2**64 - 1, 12, DIGEST),
    ev.Ack(1, 0),
    ev.Ack(2**64 - 1, MAX_OFFSET),
    ev.Gap(GENERATION, 10, 0, b"deleted"),
    ev.Wait(b""),
    ev.Wait(b"\xff\0\n" + b"x" * (MAX_TEXT - 3)),
    ev.Failure(True, b"disk full"),
    ev.Failure(False, b"no entry"),
    ev.Ping(0),
    ev.Pong(2**64 - 1),
    ev.Bye(),
    ev.Late(0, 5, b"late"),
    ev.Late(1, 0, b"x" * MAX_LATE),
    ev.Data(0, b"\0"),
    ev.Data(MAX_OFFSET - 3, b"\x07\xff\n"),
]


def joined(events):
    """Events as they were meant: neighbouring pieces of data put together."""
    out = []
    for event in events:
        if isinstance(event, ev.Data):
            data = bytes(event.data)
            if out and isinstance(out[-1], ev.Data) and _goes_on(out[-1], event):
                out[-1] = ev.Data(out[-1].offset, out[-1].data + data)
            else:
                out.append(ev.Data(event.offset, data))
        else:
            out.append(event)
    return out


def _goes_on(one, other):
    return one.offset + len(one.data) == other.offset


def frame(code, payload=b""):
    """A frame of any type."""
    return struct.pack("!BI", code, len(payload)) + payload


def payload(event):
    """What stands behind the header of an event's frame."""
    return encode(event)[5:]


def refused(data):
    """The text of the PeerError that these bytes raise."""
    with pytest.raises(PeerError) as caught:
        Reader().feed(data)
    return str(caught.value)


def names(events):
    """For the test report: an event's name."""
    return type(events).__name__


def test_every_event_is_tried_here():
    """The list above has each event that peers can say."""
    types = {value for value in vars(ev).values() if isinstance(value, type)}
    said = {value for value in types if hasattr(value, "_fields")}
    assert {type(event) for event in EVENTS} == said - {Generation, ev.Complete}


@pytest.mark.parametrize("event", EVENTS, ids=names)
def test_round_trip_whole(event):
    """What is encoded is read back, with the same types of its fields."""
    (back,) = joined(Reader().feed(encode(event)))
    assert back == event
    assert [type(field) for field in back] == [type(field) for field in event]


@pytest.mark.parametrize("event", EVENTS, ids=names)
def test_round_trip_byte_by_byte(event):
    """The same when it comes in single bytes, and no event comes before its last byte."""
    reader = Reader()
    stream = encode(event)
    events = []
    for i in range(len(stream)):
        got = reader.feed(stream[i : i + 1])
        if not isinstance(event, ev.Data):
            assert bool(got) == (i == len(stream) - 1)
        events += got
    assert joined(events) == [event]


def test_data_is_handed_on_as_it_comes():
    """A long data frame gives a piece for each feed, each with its own offset."""
    reader = Reader()
    assert reader.feed(data_header(100, 10)) == []
    (one,) = reader.feed(b"abc")
    (two,) = reader.feed(b"defghij" + encode(ev.Bye())[:3])
    assert (one.offset, bytes(one.data)) == (100, b"abc")
    assert (two.offset, bytes(two.data)) == (103, b"defghij")
    assert reader.feed(encode(ev.Bye())[3:]) == [ev.Bye()]


def test_data_is_not_copied():
    """Data events are views of the buffer that was fed."""
    buffer = bytearray(encode(ev.Data(0, b"abc")))
    (event,) = Reader().feed(memoryview(buffer))
    buffer[-1:] = b"X"
    assert bytes(event.data) == b"abX"


@pytest.mark.parametrize("code", [0x00, 0x14, 0x7F, 0xFF])
@pytest.mark.parametrize("size", [0, 1, MAX_CONTROL])
def test_unknown_frames_are_skipped(code, size):
    """A frame of a type that a newer minor version has added is passed over."""
    stream = encode(ev.Ping(1)) + frame(code, b"\xff" * size) + encode(ev.Ping(2))
    assert Reader().feed(stream) == [ev.Ping(1), ev.Ping(2)]


@pytest.mark.parametrize("event", [e for e in EVENTS if type(e) is not ev.Data], ids=names)
def test_longer_payloads_are_accepted(event):
    """Fields that a newer minor version has added behind the known ones are passed over."""
    code = encode(event)[0]
    stream = frame(code, payload(event) + b"\xffnew") + encode(ev.Bye())
    assert Reader().feed(stream) == [event, ev.Bye()]


@pytest.mark.parametrize("event", [e for e in EVENTS if len(encode(e)) > 5], ids=names)
def test_shorter_payloads_are_refused(event):
    """A payload that ends before its last field does is an error, wherever it ends."""
    if type(event) is ev.Data:
        refused(frame(0x10, payload(event)[:8]))
        return
    code, whole = encode(event)[0], payload(event)
    for size in range(len(whole)):
        if type(event) is not ev.Have or len(whole) - size not in (1, 3, 5):
            refused(frame(code, whole[:size]))


def test_a_field_of_a_newer_minor_version_may_be_missing():
    """A Have of minor version 0 ends before `methods`, one of 1 behind it; a half is an error."""
    have = ev.Have(ev.Holding.RECORDED, generation=GENERATION, end=9, methods=3, minor=2)
    whole = payload(have)
    for short, missing in ((5, {"methods": 0, "minor": 0}), (3, {"minor": 0})):
        stream = frame(0x02, whole[:-short]) + encode(ev.Bye())
        assert Reader().feed(stream) == [have._replace(**missing), ev.Bye()]
        refused(frame(0x02, whole[: 1 - short]))


def test_length_of_a_control_frame_is_bounded():
    """A frame that is not data is refused by its header alone when it is too long."""
    assert "too long" in refused(struct.pack("!BI", 0x0C, MAX_CONTROL + 1))
    assert "too long" in refused(struct.pack("!BI", 0xEE, 2**32 - 1))


@pytest.mark.parametrize("size", [0, 7, 8, MAX_DATA + 9, 2**32 - 1])
def test_length_of_a_data_frame_is_bounded(size):
    """A data frame without data, or with more than a MiB of it, is refused by its header."""
    assert "out of bounds" in refused(struct.pack("!BI", 0x10, size))


def test_largest_data_frame():
    """One MiB of data fits."""
    data = b"z" * MAX_DATA
    assert joined(Reader().feed(encode(ev.Data(5, data)))) == [ev.Data(5, data)]


def test_data_cannot_run_over_the_last_offset():
    """The end of a data frame is an offset as well."""
    assert "out of bounds" in refused(data_header(MAX_OFFSET, 1))
    assert "out of bounds" in refused(struct.pack("!BIQ", 0x10, 9, 2**64 - 1))


def _spoilt():
    """(what, frame) with one field out of its bounds."""
    text = b"\x04\x01" + b"x" * (MAX_TEXT + 1)
    ranges = [(0, 1)] * (MAX_RANGES + 1)
    packed = b"".join(struct.pack("!QQ", *item) for item in ranges)
    begin = bytearray(payload(ev.Begin(ev.Why.FRESH, GENERATION, 0)))
    yield "text too long", frame(0x0A, text)
    yield "text longer than its frame", frame(0x0A, b"\x00\x05abcd")
    yield "too many ranges", frame(0x03, struct.pack("!H", len(ranges)) + packed)
    yield "too many digests", frame(0x04, struct.pack("!H", MAX_RANGES + 1) + bytes(32 * 65))
    yield "range over the end", frame(0x03, struct.pack("!HQQ", 1, MAX_OFFSET, 1))
    yield "range that wraps", frame(0x03, struct.pack("!HQQ", 1, 2**64 - 1, 2**64 - 1))
    yield "offset of Ack", frame(0x08, struct.pack("!QQ", 1, MAX_OFFSET + 1))
    yield "offset of Begin", frame(0x05, bytes(begin[:-8]) + b"\x80" + bytes(7))
    yield "length of End", frame(0x06, b"\x09" + b"\xff" * 8 + bytes(32))
    yield "unknown reason", frame(0x05, b"\x63" + bytes(begin[1:]))
    yield "unknown holding", frame(0x02, b"\x03" + payload(EVENTS[2])[1:])


@pytest.mark.parametrize("stream", [pytest.param(f, id=what) for what, f in _spoilt()])
def test_fields_are_bounded(stream):
    """Each text, count, range, offset and reason is checked when it is read."""
    refused(stream)


def test_a_long_text_is_shortened_when_written():
    """A reason that is too long for a frame is cut; the frame stays valid."""
    (back,) = Reader().feed(encode(ev.Wait(b"r" * (MAX_TEXT + 500))))
    assert back == ev.Wait(b"r" * MAX_TEXT)


# --- any bytes, any chunks


@settings(deadline=None, database=None)
@given(st.lists(st.binary(max_size=80), max_size=6))
def test_arbitrary_bytes_raise_nothing_but_peer_errors(chunks):
    """Whatever comes, it is events or a PeerError."""
    reader = Reader()
    try:
        for chunk in chunks:
            reader.feed(chunk)
    except PeerError:
        pass


@settings(deadline=None, database=None)
@given(st.integers(0, 255), st.binary(max_size=300))
def test_arbitrary_payloads_raise_nothing_but_peer_errors(code, content):
    """The same for frames whose length is right and whose content is not."""
    try:
        Reader().feed(frame(code, content))
    except PeerError:
        pass


@settings(deadline=None, database=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=8), st.data())
def test_chunks_make_no_difference(events, data):
    """A stream cut anywhere gives the same events."""
    stream = b"".join(map(encode, events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = Reader()
    got = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)]):
        for event in reader.feed(stream[begin:end]):
            got += joined([event])
    assert joined(got) == joined(events)
