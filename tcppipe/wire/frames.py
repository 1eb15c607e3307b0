"""Version 2: events as frames.

A frame is one octet of type, four of length (big-endian), and so many octets of
payload.  A payload may be longer than its fields (a newer minor version has added
some): the rest is ignored, as are frames of unknown type.  Every length is bounded
and every number checked; what does not fit is a PeerError.  tcppipe(7) describes
all of it for whoever wants to write a peer.

The bytes of a Data frame are handed on in pieces as they arrive, so a reader never
waits for, or holds, a whole frame of them.  A Packed frame is Data in fewer bytes: it is
gathered, unpacked, and handed on as Data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tcppipe.cursor import Bytes, Generation
from tcppipe.errors import PeerError
from tcppipe.wire import events as ev
from tcppipe.wire import packing

VERSION = 2
MINOR = 2  # 1 added Packed, and the methods in Have; 2 Past, Check, REOPENED, and a source's Wait
OFFER = "tcppipe/2"
MAX_DATA = 1 << 20  # data bytes in one frame
MAX_CONTROL = 1 << 14  # octets in any other frame
MAX_RANGES = 64  # ranges in one Probe
MAX_COMPLETE = 128  # generations in one Past
MAX_TEXT = 1024
MAX_LATE = 8192  # data bytes in one Late frame
AHEAD = 2 * MAX_DATA  # bytes after whose unpacking a reader takes a rest

_HEADER = struct.Struct("!BI")
_OFFSET = struct.Struct("!Q")
_GENERATION = struct.Struct("!QQQQH32s")
_RANGE = struct.Struct("!QQ")
_COMPLETE = struct.Struct("!QQQQH32sQ32s")
_PACKED = struct.Struct("!BQI")
MAX_OFFSET = (1 << 63) - 1

DATA, PACKED = 0x10, 0x11
# A letter a field: b bool, H Q numbers, o an offset, k a sender key, d a digest,
# g a generation, t a text, x some data, w a Why, h a Holding, r ranges, p digests,
# I a CRC-32, c complete generations.
# What stands in brackets an older minor version does not send: it has its default then.
LAYOUTS: dict[int, tuple[type[ev.Event], str]] = {
    0x01: (ev.Hello, "Hkbtog"),
    0x02: (ev.Have, "hbbbbbgoooodgod[HHb]"),
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
    0x12: (ev.Past, "c"),
    0x13: (ev.Check, "oI"),
}
_CODES = {event: (code, layout) for code, (event, layout) in LAYOUTS.items()}
_NUMBERS = {
    "H": struct.Struct("!H"),
    "Q": struct.Struct("!Q"),
    "I": struct.Struct("!I"),
    "o": _OFFSET,
    "b": struct.Struct("!?"),
    "w": struct.Struct("!B"),
    "h": struct.Struct("!B"),
    "k": struct.Struct("!16s"),
    "d": struct.Struct("!32s"),
}
_BRACKETS = str.maketrans("", "", "[]")
_ENUMS: dict[str, Callable[[Any], Any]] = {"w": ev.Why, "h": ev.Holding, "b": bool}


def encode(event: ev.Event) -> bytes:
    """The bytes of one event's frame."""
    if type(event) is ev.Data:
        return data_header(event.offset, len(event.data)) + bytes(event.data)
    code, layout = _CODES[type(event)]
    kinds = layout.translate(_BRACKETS)
    payload = b"".join(_encode_field(kind, value) for kind, value in zip(kinds, event))
    assert len(payload) <= MAX_CONTROL, event
    return _HEADER.pack(code, len(payload)) + payload


def data_header(offset: int, length: int) -> bytes:
    """What stands before `length` data bytes from `offset` on: 13 bytes."""
    assert 0 < length <= MAX_DATA
    return _HEADER.pack(DATA, length + _OFFSET.size) + _OFFSET.pack(offset)


def packed_header(method: int, offset: int, length: int, size: int) -> bytes:
    """What stands before `size` bytes that `length` data bytes from `offset` on are packed in."""
    assert 0 < size <= length <= MAX_DATA
    return _HEADER.pack(PACKED, size + _PACKED.size) + _PACKED.pack(method, offset, length)


def _encode_field(kind: str, value: Any) -> bytes:
    if kind in _NUMBERS:
        return _NUMBERS[kind].pack(value)
    if kind == "t":
        text: bytes = value[:MAX_TEXT]
        return struct.pack("!H", len(text)) + text
    if kind == "x":
        return struct.pack("!H", len(value)) + bytes(value)
    if kind == "g":
        return _GENERATION.pack(*value)
    if kind == "r":
        return struct.pack("!H", len(value)) + b"".join(_RANGE.pack(*item) for item in value)
    if kind == "c":
        rows = (_COMPLETE.pack(*row.generation, row.length, row.digest) for row in value)
        return struct.pack("!H", len(value)) + b"".join(rows)
    assert kind == "p"
    return struct.pack("!H", len(value)) + b"".join(value)


class Reader:
    """Bytes in, events out.

    feed(bytes) returns the events that are complete now.  Data events hold views of
    the bytes fed: use them before the buffer that was fed is used again.
    Raises PeerError; after that the connection is to be closed.
    """

    def __init__(self) -> None:
        self._rest = b""  # an incomplete frame that is not data, or what surplus() would give
        self._offset = 0  # inside a data frame: the next byte's offset …
        self._left = 0  # … and how many are still to come
        self._packed: tuple[int, int, int] | None = (
            None  # inside a packed frame: (method, offset, length)
        )
        self._gathered = bytearray()  # … and its bytes so far
        self._unpacked = 0  # bytes that the present feed has unpacked

    def feed(self, data: Bytes) -> list[ev.Event]:
        """Parse `data` (bytes or a memoryview) and return a list of events.

        Few bytes can stand for very many: not all of them are parsed then, see surplus().
        """
        events: list[ev.Event] = []
        if self._rest:
            data = self._rest + bytes(data)
            self._rest = b""
        view = memoryview(data)
        at = self._unpacked = 0
        while at < len(view) and self._unpacked < AHEAD:
            if self._left:
                piece = view[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._content(piece, events)
                continue
            taken = self._frame(view[at:], events)
            if not taken:
                break
            at += taken
        self._rest = bytes(view[at:])
        return events

    def surplus(self) -> bytes:
        """What was fed and not parsed because much was unpacked: feed it again, later."""
        if self._unpacked < AHEAD:
            return b""
        surplus, self._rest = self._rest, b""
        return surplus

    def _content(self, piece: Bytes, events: list[ev.Event]) -> None:
        """Some bytes of a data frame, or of a packed one."""
        if self._packed is None:
            events.append(ev.Data(self._offset, piece))
            self._offset += len(piece)
            return
        if self._left or self._gathered:
            self._gathered += piece
            piece = self._gathered
        if self._left:
            return
        method, offset, length = self._packed
        self._packed, self._gathered = None, bytearray()
        try:
            events.append(ev.Data(offset, packing.unpack(method, piece, length)))
        except ValueError as error:
            raise PeerError(str(error)) from None
        self._unpacked += length

    def _frame(self, view: memoryview, events: list[ev.Event]) -> int:
        """Take one frame, or the head of a data frame; 0 when it is not complete."""
        if len(view) < _HEADER.size:
            return 0
        code: int
        length: int
        code, length = _HEADER.unpack_from(view)
        if code == DATA:
            return self._data(view, length)
        if code == PACKED:
            return self._pack(view, length)
        if length > MAX_CONTROL:
            raise PeerError(f"a frame of type {code} with {length} bytes is too long")
        if len(view) < _HEADER.size + length:
            return 0
        if code in LAYOUTS:
            event, layout = LAYOUTS[code]
            events.append(event(*_fields(layout, view[_HEADER.size : _HEADER.size + length])))
        return _HEADER.size + length

    def _data(self, view: memoryview, length: int) -> int:
        if not _OFFSET.size < length <= MAX_DATA + _OFFSET.size:
            raise PeerError(f"a data frame of {length} bytes is out of bounds")
        if len(view) < _HEADER.size + _OFFSET.size:
            return 0
        (self._offset,) = _OFFSET.unpack_from(view, _HEADER.size)
        self._left = length - _OFFSET.size
        if self._offset > MAX_OFFSET - self._left:
            raise PeerError("a data frame's offset is out of bounds")
        return _HEADER.size + _OFFSET.size

    def _pack(self, view: memoryview, length: int) -> int:
        if not _PACKED.size < length <= MAX_DATA + _PACKED.size:
            raise PeerError(f"a packed frame of {length} bytes is out of bounds")
        if len(view) < _HEADER.size + _PACKED.size:
            return 0
        method, offset, size = _PACKED.unpack_from(view, _HEADER.size)
        self._left = length - _PACKED.size
        if not self._left <= size <= MAX_DATA or offset > MAX_OFFSET - size:
            raise PeerError(f"a packed frame of {size} bytes from {offset} on is out of bounds")
        self._packed = method, offset, size
        return _HEADER.size + _PACKED.size


def _fields(layout: str, view: memoryview) -> list[Any]:
    """The values of a payload, each checked; fewer where those of a newer version are missing."""
    values = []
    at = 0
    required, _bracket, added = layout.partition("[")
    try:
        for number, kind in enumerate(required + added.rstrip("]")):
            if number >= len(required) and at == len(view):
                break
            value, at = _decode_field(kind, view, at)
            values.append(value)
    except (struct.error, ValueError) as error:
        raise PeerError(f"a frame does not fit its layout: {error}") from None
    return values


def _decode_field(kind: str, view: memoryview, at: int) -> tuple[Any, int]:
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
    if kind == "c":
        return _complete(view, at, count), at + count * _COMPLETE.size
    if count > MAX_RANGES:
        raise ValueError(f"{count} ranges are too many")
    if kind == "r":
        items = [_RANGE.unpack_from(view, at + i * _RANGE.size) for i in range(count)]
        if any(first + length > MAX_OFFSET for first, length in items):
            raise ValueError("a range is out of bounds")
        return tuple(items), at + count * _RANGE.size
    assert kind == "p"
    return tuple(_slice(view, at + i * 32, 32, 32) for i in range(count)), at + count * 32


def _complete(view: memoryview, at: int, count: int) -> tuple[ev.Complete, ...]:
    if count > MAX_COMPLETE:
        raise ValueError(f"{count} complete generations are too many")
    rows = [_COMPLETE.unpack_from(view, at + i * _COMPLETE.size) for i in range(count)]
    if any(row[6] > MAX_OFFSET for row in rows):
        raise ValueError("a length is out of bounds")
    return tuple(ev.Complete(Generation(*row[:6]), *row[6:]) for row in rows)


def _slice(view: memoryview, at: int, size: int, limit: int) -> bytes:
    if size > limit or at + size > len(view):
        raise ValueError("a text is too long or cut short")
    return bytes(view[at : at + size])
