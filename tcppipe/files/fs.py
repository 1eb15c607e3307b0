"""The calls that touch a disk, in one place, so that a test can break each of them.

Everything in this package that reads or writes an origin, a destination or a ledger
goes through an FS object.  Errors are the plain OSErrors of the calls.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

from tcppipe.cursor import Bytes

if TYPE_CHECKING:
    from tcppipe.files.inotify import Inotify

FS_IOC_GETVERSION = 0x80087601  # Linux: the inode's generation number
PAGE = 1 << 16  # bytes; a multiple of the system's
FOLIO = 8 << 20  # bytes; the largest that the kernel keeps as one, at a multiple of that
F_SETLEASE, F_RDLCK, F_UNLCK = 1024, 0, 2  # Linux


class FS:
    """The operating system's calls under their own names.

    pointing: the origin's name is turned from one file to the next, and these have other names.
    """

    pointing = False
    close = staticmethod(os.close)
    dup = staticmethod(os.dup)
    fchmod = staticmethod(os.fchmod)
    fchown = staticmethod(os.fchown)
    fdatasync = staticmethod(getattr(os, "fdatasync", os.fsync))
    fsync = staticmethod(os.fsync)
    fstat = staticmethod(os.fstat)
    ftruncate = staticmethod(os.ftruncate)
    listdir = staticmethod(os.listdir)
    pread = staticmethod(os.pread)
    preadv = staticmethod(os.preadv)
    pwrite = staticmethod(os.pwrite)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    write = staticmethod(os.write)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """os.open with close-on-exec, without following a symbolic link in the last place
        when the file may be written."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            flags |= os.O_NOFOLLOW
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, mode)

    def stat(self, path: str) -> os.stat_result:
        """os.stat."""
        return os.stat(path)

    @staticmethod
    def position(fd: int) -> int:
        """Where the last write through this descriptor ended."""
        return os.lseek(fd, 0, os.SEEK_CUR)

    @staticmethod
    def overwrite(fd: int, data: Bytes, offset: int) -> int:
        """Write in place, also through a descriptor that appends: how many bytes.

        The same bytes once more make the kernel write them to the disk, whatever became of
        them the first time.  Only while nobody else writes through the descriptor.
        """
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
        try:
            return os.pwrite(fd, data, offset)
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    @staticmethod
    def forget(fd: int, first: int, length: int) -> None:
        """Ask the kernel to keep nothing of a part of a file in memory; length 0: up to its end."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, first, length, os.POSIX_FADV_DONTNEED)

    @staticmethod
    def next_data(fd: int, at: int) -> int:
        """Where the next bytes from an offset on stand that are not a hole.  Raises OSError when
        there are none."""
        return os.lseek(fd, at, os.SEEK_DATA) if hasattr(os, "SEEK_DATA") else at

    @staticmethod
    def stream(fd: int) -> BinaryIO:
        """A buffered binary stream that reads the open file from its beginning."""
        stream = os.fdopen(os.dup(fd), "rb")
        stream.seek(0)
        return stream

    @staticmethod
    def inode_generation(fd: int) -> int:
        """The inode's generation number, or 0 where the file system tells none."""
        try:
            raw = fcntl.ioctl(fd, FS_IOC_GETVERSION, bytes(8))
        except OSError:
            return 0
        number: int = struct.unpack("@I", raw[:4])[0]
        return number

    @staticmethod
    def boot() -> str:
        """What names this start of the system; "" where nobody tells."""
        try:
            with open("/proc/sys/kernel/random/boot_id") as file:
                return file.read().strip()
        except OSError:
            return ""

    @staticmethod
    def inotify() -> Inotify:
        """An Inotify of files.inotify.  Raises OSError or ImportError where there is none."""
        from tcppipe.files.inotify import Inotify

        return Inotify()

    @staticmethod
    def kind(directory: str) -> int | None:
        """The kind of a directory's file system, a number as in <linux/magic.h>; None when that
        cannot be known."""
        import ctypes

        status = ctypes.create_string_buffer(1024)  # struct statfs begins with its type, a long
        if ctypes.CDLL(None).statfs(os.fsencode(directory), status):
            return None
        return ctypes.c_long.from_buffer(status).value & 0xFFFFFFFF

    @staticmethod
    def has_writer(fd: int) -> bool | None:
        """True or False when the kernel tells whether a process has the file open for writing,
        else None.

        Asked by a read lease, which is given back at once.  Only for files that have already
        left their name: whoever opens the file meanwhile would be delayed.
        """
        try:
            fcntl.fcntl(fd, F_SETLEASE, F_RDLCK)
        except BlockingIOError:
            return True
        except OSError:
            return None
        fcntl.fcntl(fd, F_SETLEASE, F_UNLCK)
        return False

    @staticmethod
    def makedirs(path: str) -> None:
        """Make a directory and its parents, 0755 less the umask."""
        os.makedirs(path, mode=0o755, exist_ok=True)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def rewrite(self, fd: int, first: int, last: int) -> None:
        """Write the bytes of [first, last) once more, as they can be read.

        What the kernel remembers of the first time goes before that: where ext4 once could not
        write a page, it succeeds the second time, and after a restart there are zeros.  It forgets
        only what it need not write, and pages that it keeps together together.
        """
        self.fdatasync(fd)
        first -= first % PAGE
        while first < last:
            whole = first - first % FOLIO
            length = min(last, whole + FOLIO) - first
            data = memoryview(self.pread(fd, length, first))
            if not data:
                return
            self.forget(fd, whole, FOLIO if whole + FOLIO < last else 0)
            while data:
                count = self.overwrite(fd, data, first)
                first, data = first + count, data[count:]

    def write_all(self, fd: int, data: Bytes) -> None:
        """Write all of `data`, in as many calls as it takes.

        Raises OSError; a part may have been written then.
        """
        view = memoryview(data)
        while view:
            view = view[self.write(fd, view) :]


REAL = FS()


def open_new(fs: FS, path: str, mode: int, flags: int = 0) -> int:
    """Make a file under a name that only we use, in the place of whatever stands there.

    What a crash has left there, or somebody has planted (a link to another file, a file of his
    own), is removed, and never written to.
    """
    try:
        fs.unlink(path)
    except FileNotFoundError:
        pass
    return fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, mode)
