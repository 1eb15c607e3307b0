"""inotify(7) by ctypes.

The package inotify_simple does the same, and loads threads, subprocesses and more with it,
which costs a start 20 ms, and each forked child some hundred kilobytes.  Linux only: raises
OSError or ImportError on importing where there is none.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

MODIFY, ATTRIB, MOVED_FROM, MOVED_TO = 0x2, 0x4, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
UNMOUNT, Q_OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
ONLYDIR, ISDIR = 0x01000000, 0x40000000
# What may happen to a file, and to a directory and the names in it.
OF_FILE = MODIFY | ATTRIB | MOVE_SELF | DELETE_SELF
OF_DIRECTORY = CREATE | DELETE | MOVED_TO | MOVED_FROM | DELETE_SELF | MOVE_SELF | ONLYDIR
Event = tuple[int, int, int, bytes]  # (watch, mask, cookie, name)

_EVENT = struct.Struct("iIII")
_LONGEST = 272  # bytes of an event at most

_libc = ctypes.CDLL(None, use_errno=True)
try:
    _init, _add, _remove = _libc.inotify_init1, _libc.inotify_add_watch, _libc.inotify_rm_watch
except AttributeError:
    raise ImportError("no inotify on this system") from None


def _checked(result: int, path: str | None = None) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return result


def parse(data: bytes) -> Iterator[Event]:
    """(watch, mask, cookie, name) of each event in what was read."""
    at = 0
    while at < len(data):
        watch, mask, cookie, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size + length
        yield watch, mask, cookie, data[at - length : at].rstrip(b"\0")


class Inotify:
    """One descriptor, and what is watched by it.  Methods raise OSError."""

    def __init__(self) -> None:
        self._fd = _checked(_init(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """The descriptor to wait on; it never blocks."""
        return self._fd

    def read(self) -> list[Event]:
        """(watch, mask, cookie, name) of each event that was told so far, in order."""
        events: list[Event] = []
        try:
            while True:
                data = os.read(self._fd, 4096)
                events += parse(data)
                if len(data) <= 4096 - _LONGEST:
                    break
        except BlockingIOError:
            pass
        return events

    def add_watch(self, path: str, mask: int) -> int:
        """Watch a path for the events in mask; the number of the watch."""
        return _checked(_add(self._fd, os.fsencode(path), ctypes.c_uint32(mask)), path)

    def rm_watch(self, watch: int) -> None:
        """End a watch."""
        _checked(_remove(self._fd, watch))

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._fd)
