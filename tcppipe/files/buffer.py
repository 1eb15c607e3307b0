"""Memory to read into, whose pages are the process's own only while they are used."""

import mmap

SMALL = 1 << 15  # bytes that a process at rest may keep


class Buffer:
    """`size` bytes.  view: all of it, to read into and to take slices of.

    used: the number of bytes from its beginning that hold something, set by whoever reads.
    """

    def __init__(self, size):
        self.used = 0
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.view = memoryview(self._memory)

    @property
    def large(self):
        """True when it is worth the while to release it."""
        return self.used > SMALL

    def release(self):
        """Give the pages back; what stood there is lost."""
        if self.large and hasattr(mmap, "MADV_DONTNEED"):
            self.used = 0
            self._memory.madvise(mmap.MADV_DONTNEED)
