"""A FUSE file system with one file, a disk, that writes down every write and every flush.

    blocklog.py IMAGE MOUNTPOINT LOG

MOUNTPOINT/disk is IMAGE; what is written to MOUNTPOINT/events is noted in the same order.
The log is a row of records: kind (W: a write, F: a flush, E: an event), offset, length, bytes.
Needs mfusepy.  Used by scripts/powercut.
"""

import errno
import os
import stat
import struct
import sys

RECORD = struct.Struct("<cQI")


class BlockLog:
    """The calls that the kernel makes: all from one thread."""

    use_ns = True

    def __init__(self, image, log):
        self.disk = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.disk).st_size
        self.log = open(log, "wb", buffering=1 << 20)

    def note(self, kind, offset=0, data=b""):
        """Append a record to the log."""
        self.log.write(RECORD.pack(kind, offset, len(data)))
        self.log.write(data)

    def getattr(self, path, fh=None):
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        sizes = {"/disk": self.size, "/events": 0}
        if path not in sizes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": sizes[path]}

    def readdir(self, path, fh):
        return [".", "..", "disk", "events"]

    def open(self, path, flags):
        return 0

    def truncate(self, path, length, fh=None):
        return 0

    def read(self, path, size, offset, fh):
        return os.pread(self.disk, size, offset) if path == "/disk" else b""

    def write(self, path, data, offset, fh):
        if path == "/events":
            self.note(b"E", 0, data)
        else:
            os.pwrite(self.disk, data, offset)
            self.note(b"W", offset, data)
        return len(data)

    def fsync(self, path, datasync, fh):
        if path == "/disk":
            self.note(b"F")
        self.log.flush()
        return 0

    def destroy(self, path):
        self.log.close()


def main(image, mountpoint, log):
    """Serve until unmounted."""
    import mfusepy

    class Operations(BlockLog, mfusepy.Operations):
        pass

    mfusepy.FUSE(Operations(image, log), mountpoint, foreground=True, nothreads=True)


def records(path):
    """(kind, offset, bytes) of each record of a log."""
    with open(path, "rb") as log:
        while len(head := log.read(RECORD.size)) == RECORD.size:
            kind, offset, length = RECORD.unpack(head)
            data = log.read(length)
            if len(data) < length:
                return
            yield kind, offset, data


if __name__ == "__main__":
    main(*sys.argv[1:])
