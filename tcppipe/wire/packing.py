"""Data in fewer bytes: the methods of the Packed frame.

Each piece is packed by itself, so nothing is remembered between two of them, and nothing is
allocated for one before its length is known to be in bounds.  zlib is always there, zstd where
its library is; that is loaded when able() is asked the first time, so ask before a fork.
Does not know whether packing pays: see session/squeeze.
"""

from __future__ import annotations

import zlib
from typing import Any

from tcppipe.cursor import Bytes

ZLIB, ZSTD = 1, 2  # bits of a mask, and the octet in a frame
NAMES = {ZLIB: "zlib", ZSTD: "zstd"}
LEVELS = {ZLIB: (1, 6), ZSTD: (3, 6)}  # quick, hard

_library: Any = None  # the module zstandard, or False where there is none


def able() -> int:
    """The mask of the methods that this process can pack and unpack."""
    return ZLIB | (ZSTD if _zstandard() else 0)


def best(methods: int) -> int:
    """The best one of a mask's methods that this process can use, or 0."""
    common = methods & able()
    return ZSTD if common & ZSTD else common & ZLIB


def pack(method: int, data: Bytes, hard: bool = False) -> bytes:
    """`data` (bytes or a view) packed; hard: smaller, for several times the work.

    The result may be longer than the data.
    """
    level = LEVELS[method][hard]
    if method == ZSTD:
        packed: bytes = _zstandard().ZstdCompressor(level=level).compress(data)
        return packed
    return zlib.compress(data, level)


def unpack(method: int, data: Bytes, length: int) -> bytes:
    """The `length` bytes that `data` was packed from.

    Raises ValueError when that is not what `data` holds; never allocates much more than that.
    """
    if method == ZLIB:
        return _inflated(data, length)
    if method == ZSTD and _zstandard():
        return _unpacked(_zstandard(), data, length)
    raise ValueError(f"packed by method {method}, which was not offered")


def _inflated(data: Bytes, length: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise ValueError(f"packed data is broken: {error}") from None
    if len(raw) != length or not stream.eof or stream.unused_data:
        raise ValueError(f"packed data is not the {length} bytes that it was said to be")
    return raw


def _unpacked(zstandard: Any, data: Bytes, length: int) -> bytes:
    try:
        if zstandard.frame_content_size(data) != length:
            raise ValueError(f"packed data is not the {length} bytes that it was said to be")
        stream = zstandard.ZstdDecompressor()
        raw: bytes = stream.decompress(data, max_output_size=length, allow_extra_data=False)
        return raw
    except zstandard.ZstdError as error:
        raise ValueError(f"packed data is broken: {error}") from None


def _zstandard() -> Any:
    global _library
    if _library is None:
        try:
            import zstandard

            _library = zstandard
        except ImportError:
            _library = False
    return _library
