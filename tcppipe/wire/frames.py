"""Version 2: events as frames.

A frame is one octet of type, four of length (big-endian), and so many octets of
payload.  A payload may be longer than its fields (a newer minor version has added
some): the rest is ignored, as are frames of unknown type.  Every length is bounded
and every number checked; what does not fit is a PeerError.  tcppipe(7) describes
all of it for whoever wants to write a peer.

The bytes of a Data frame are handed on in pieces as they arrive, so a reader never
waits for, or holds, a whole frame of them.
"""

import struct

from tcppipe.cursor import Generation
from tcppipe.errors import PeerError
from tcppipe.wire import events as ev

VERSION = 2
MINOR = 0
OFFER = "tcppipe/2"
MAX_DATA = 1 << 20  # data bytes in one frame
MAX_CONTROL = 1 << 14  # octets in any other frame
MAX_RANGES = 64  # ranges in one Probe
MAX_TEXT = 1024
MAX_LATE = 8192  # data bytes in one Late frame

_HEADER = struct.Struct("!BI")
_OFFSET = struct.Struct("!Q")
_GENERATION = struct.Struct("!QQQQH32s")
_RANGE = struct.Struct("!QQ")
MAX_OFFSET = (1 << 63) - 1

DATA = 0x10
# A letter a field: b bool, H Q numbers, o an offset, k a sender key, d a digest,
# g a generation, t a text, x some data, w a Why, h a Holding, r ranges, p digests.
LAYOUTS = {
    0x01: (ev.Hello, "Hkbtog"),
    0x02: (ev.Have, "hbbbbbgoooodgod"),
    0x03: (ev.Probe, "r"),
    0x04: (ev.Proof, "p"),
    0x05: (ev.Begin, "wgo"),
    0x06: (ev.End, "wod"),
    0x07: (ev.Ended, "Qod"),
    0x08: (ev.Ack, "Qo"),
    0x09: (ev.Gap, "goot"),
    0x0A: (ev.Wait, "t"),
    0x0B: (ev.Failure, "bt"),
    0x0C: (ev.Ping, "Q"),
    0x0D: (ev.Pong, "Q"),
    0x0E: (ev.Bye, ""),
    0x0F: (ev.Late, "Qox"),
}
_CODES = {event: (code, layout) for code, (event, layout) in LAYOUTS.items()}
_NUMBERS = {
    "H": struct.Struct("!H"),
    "Q": struct.Struct("!Q"),
    "o": _OFFSET,
    "b": struct.Struct("!?"),
    "w": struct.Struct("!B"),
    "h": struct.Struct("!B"),
    "k": struct.Struct("!16s"),
    "d": struct.Struct("!32s"),
}
_ENUMS = {"w": ev.Why, "h": ev.Holding, "b": bool}


def encode(event):
    """The bytes of one event's frame."""
    if type(event) is ev.Data:
        return data_header(event.offset, len(event.data)) + bytes(event.data)
    code, layout = _CODES[type(event)]
    payload = b"".join(_encode_field(kind, value) for kind, value in zip(layout, event))
    assert len(payload) <= MAX_CONTROL, event
    return _HEADER.pack(code, len(payload)) + payload


def data_header(offset, length):
    """What stands before `length` data bytes from `offset` on: 13 bytes."""
    assert 0 < length <= MAX_DATA
    return _HEADER.pack(DATA, length + _OFFSET.size) + _OFFSET.pack(offset)


def _encode_field(kind, value):
    if kind in _NUMBERS:
        return _NUMBERS[kind].pack(value)
    if kind == "t":
        return struct.pack("!H", len(value[:MAX_TEXT])) + value[:MAX_TEXT]
    if kind == "x":
        return struct.pack("!H", len(value)) + bytes(value)
    if kind == "g":
        return _GENERATION.pack(*value)
    if kind == "r":
        return struct.pack("!H", len(value)) + b"".join(_RANGE.pack(*item) for item in value)
    assert kind == "p"
    return struct.pack("!H", len(value)) + b"".join(value)


class Reader:
    """Bytes in, events out.

    feed(bytes) returns the events that are complete now.  Data events hold views of
    the bytes fed: use them before the buffer that was fed is used again.
    Raises PeerError; after that the connection is to be closed.
    """

    def __init__(self):
        self._rest = b""  # an incomplete frame that is not data
        self._offset = 0  # inside a data frame: the next byte's offset …
        self._left = 0  # … and how many are still to come

    def feed(self, data):
        """Parse `data` (bytes or a memoryview) and return a list of events."""
        events = []
        if self._rest:
            data = self._rest + bytes(data)
            self._rest = b""
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self._left:
                piece = view[at : at + self._left]
                events.append(ev.Data(self._offset, piece))
                at += len(piece)
                self._offset += len(piece)
                self._left -= len(piece)
                continue
            taken = self._frame(view[at:], events)
            if not taken:
                self._rest = bytes(view[at:])
                break
            at += taken
        return events

    def _frame(self, view, events):
        """Take one frame, or the head of a data frame; 0 when it is not complete."""
        if len(view) < _HEADER.size:
            return 0
        code, length = _HEADER.unpack_from(view)
        if code == DATA:
            return self._data(view, length)
        if length > MAX_CONTROL:
            raise PeerError(f"a frame of type {code} with {length} bytes is too long")
        if len(view) < _HEADER.size + length:
            return 0
        if code in LAYOUTS:
            event, layout = LAYOUTS[code]
            events.append(event(*_fields(layout, view[_HEADER.size : _HEADER.size + length])))
        return _HEADER.size + length

    def _data(self, view, length):
        if not _OFFSET.size < length <= MAX_DATA + _OFFSET.size:
            raise PeerError(f"a data frame of {length} bytes is out of bounds")
        if len(view) < _HEADER.size + _OFFSET.size:
            return 0
        (self._offset,) = _OFFSET.unpack_from(view, _HEADER.size)
        self._left = length - _OFFSET.size
        if self._offset > MAX_OFFSET - self._left:
            raise PeerError("a data frame's offset is out of bounds")
        return _HEADER.size + _OFFSET.size


def _fields(layout, view):
    """The values of a payload, each checked."""
    values = []
    at = 0
    try:
        for kind in layout:
            value, at = _decode_field(kind, view, at)
            values.append(value)
    except (struct.error, ValueError) as error:
        raise PeerError(f"a frame does not fit its layout: {error}") from None
    return values


def _decode_field(kind, view, at):
    if kind in _NUMBERS:
        (value,) = _NUMBERS[kind].unpack_from(view, at)
        if kind == "o" and value > MAX_OFFSET:
            raise ValueError("an offset is out of bounds")
        return _ENUMS.get(kind, lambda v: v)(value), at + _NUMBERS[kind].size
    if kind == "g":
        generation = Generation(*_GENERATION.unpack_from(view, at))
        return generation, at + _GENERATION.size
    (count,) = struct.unpack_from("!H", view, at)
    at += 2
    if kind == "t":
        return _slice(view, at, min(count, MAX_TEXT + 1), MAX_TEXT), at + count
    if kind == "x":
        return _slice(view, at, count, MAX_LATE), at + count
    if count > MAX_RANGES:
        raise ValueError(f"{count} ranges are too many")
    if kind == "r":
        items = [_RANGE.unpack_from(view, at + i * _RANGE.size) for i in range(count)]
        if any(first + length > MAX_OFFSET for first, length in items):
            raise ValueError("a range is out of bounds")
        return tuple(items), at + count * _RANGE.size
    assert kind == "p"
    return tuple(_slice(view, at + i * 32, 32, 32) for i in range(count)), at + count * 32


def _slice(view, at, size, limit):
    if size > limit or at + size > len(view):
        raise ValueError("a text is too long or cut short")
    return bytes(view[at : at + size])
