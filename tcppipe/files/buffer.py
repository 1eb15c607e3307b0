"""Memory to read into, whose pages are the process's own only while they are used.

What was read is handed on as views, which others keep for as long as they need them: a link
until its bytes are sent, however slow it is.  Memory that somebody still looks into is neither
given back nor used again: it belongs to the views, and is gone with the last of them.
"""

from __future__ import annotations

import mmap

SMALL = 1 << 15  # bytes that a process at rest may keep


class Buffer:
    """`size` bytes at a time.

    used: the number of bytes from its beginning that hold something, set by whoever reads.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._memory: mmap.mmap | None = None

    def view(self) -> memoryview:
        """All of it, to read into and to take slices of; nobody looks into it yet."""
        if self._memory is None or _in_use(self._memory):
            self._memory = mmap.mmap(-1, self.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return memoryview(self._memory)

    @property
    def large(self) -> bool:
        """True when it is worth the while to release it."""
        return self.used > SMALL

    def release(self) -> None:
        """Let go of the memory: the system has it back as soon as nobody looks into it."""
        if self.large:
            self.used = 0
            self._memory = None


def _in_use(memory: mmap.mmap) -> bool:
    """True while a view of the memory exists: Python refuses to resize it then."""
    try:
        memory.resize(len(memory))
    except BufferError:
        return True
    except (OSError, SystemError):
        pass  # this system cannot resize at all, and has found nobody who looks
    return False
