"""What a parent lets its children know, without being asked and without waiting for them.

One value, in a file in memory that all of them inherit.  The parent writes a new one over
the old; a child reads it when it has a reason to look.  A child never writes.
A parent that dies while it writes leaves a value that nobody takes: the old one stays.
"""

from __future__ import annotations

import marshal
import os
import struct
import time
import zlib
from typing import Any

_HEADER = struct.Struct("=QQI")  # version, odd while it is written; length and CRC-32
TRIES = 100
PAUSE = 0.001  # seconds from one try to the next


class Shared:
    """The value, of plain types: tuples, lists, dictionaries, text, bytes, numbers, None."""

    def __init__(self) -> None:
        self._fd = _nameless()
        self._version = 0  # what was written, or read, last

    def put(self, value: Any) -> None:
        """In the parent: this is the value now.  Raises OSError; then children keep the old."""
        data = marshal.dumps(value)
        before, self._version = self._version, self._version + 2
        os.pwrite(self._fd, _HEADER.pack(before + 1, 0, 0), 0)
        rest, at = memoryview(data), _HEADER.size
        while rest:
            count = os.pwrite(self._fd, rest, at)
            rest, at = rest[count:], at + count
        os.ftruncate(self._fd, at)
        os.pwrite(self._fd, _HEADER.pack(self._version, len(data), zlib.crc32(data)), 0)

    def news(self) -> Any:
        """In a child: the value, if it is another one than at the last time; else None."""
        for _try in range(TRIES):
            header = os.pread(self._fd, _HEADER.size, 0)
            if len(header) < _HEADER.size:
                return None
            version, length, crc = _HEADER.unpack(header)
            if version == self._version:
                return None
            if version % 2 == 0:
                data = os.pread(self._fd, length, _HEADER.size)
                if len(data) == length and zlib.crc32(data) == crc:
                    self._version = version
                    return marshal.loads(data)
            time.sleep(PAUSE)
        return None


def _nameless() -> int:
    """A descriptor of a file that has no name and lives as long as somebody has it open."""
    try:
        return os.memfd_create("tcppipe")
    except (
        AttributeError,
        OSError,
    ):  # this system has none, or a filter of system calls forbids it
        import tempfile

    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            return os.dup(file.fileno())
    except OSError as error:
        error.filename = tempfile.tempdir or "/tmp"
        raise
