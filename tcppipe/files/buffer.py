"""Memory to read into, whose pages are the process's own only while they are used."""

import mmap


class Buffer:
    """`size` bytes.  view: all of it, to read into and to take slices of."""

    def __init__(self, size):
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.view = memoryview(self._memory)

    def release(self):
        """Give the pages back; what stood there is lost."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)
