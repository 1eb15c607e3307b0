"""One destination file: appended to, synced, cut only with what is cut off kept beside it.

Knows bytes and sizes, not generations.  Another process may append to the file, truncate
or rename it at any time; append() notices and says where its bytes came to stand.
A crash leaves a file that may end anywhere in the last append.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from tcppipe.cursor import Bytes
from tcppipe.errors import ConfigError
from tcppipe.files.aside import free_name
from tcppipe.files.fs import FS, REAL
from tcppipe.files.generations import kind_of, siblings
from tcppipe.files.owners import look_up_owner

# errors that go away by themselves, or when an administrator frees something
PASSING = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.EFBIG, errno.ESTALE, errno.ENODEV, errno.ENXIO,
}  # fmt: skip


class Destination:
    """The file at `path` (str, absolute).

    durable: False (sync=none) leaves it to the system when bytes reach the disk.
    mode: permission bits, and owner: "USER" or "USER:GROUP", given to a file that is made here.
    Methods raise OSError when the file cannot be used for now, ConfigError when it never can.
    """

    def __init__(
        self,
        path: str,
        mode: int | None = None,
        owner: str | None = None,
        fs: FS = REAL,
        durable: bool = True,
    ) -> None:
        self.path = path
        self.durable = durable
        self.mode = mode
        self.owner = owner
        self.fs = fs
        self.fd = -1
        self.dev = self.ino = self.igen = 0
        self.writable = True  # False: a rotated file that can only be read

    def open(self) -> None:
        """Open the file under its name, making it and its directories when missing."""
        fd, made = self._open()
        try:
            status = self.fs.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                kind = kind_of(status.st_mode)
                raise ConfigError(f"{self.path}: {kind}, not a regular file")
            if made:
                self._dress(fd)
                self.fs.fsync(fd)
            self._sync_name(made)
        except (OSError, ConfigError):
            self.fs.close(fd)
            if made:
                self.fs.unlink(self.path)
            raise
        self._take(fd, status)

    def _sync_name(self, made: bool) -> None:
        """Make the name durable, whoever made the file: he may have died before he did it."""
        try:
            if made or self.durable:
                self.fs.sync_directory(os.path.dirname(self.path))
        except PermissionError:
            if made:
                raise

    def open_rotated(self, dev: int | None, ino: int) -> bool:
        """Open the rotated file that has this inode instead; False when there is none.

        dev: its device, or None for any.
        """
        for path in siblings(self.path, fs=self.fs):
            try:
                status = self.fs.stat(path)
            except FileNotFoundError:
                continue
            if status.st_ino == ino and dev in (None, status.st_dev):
                self.open_piece(path, (status.st_dev, ino))
                return True
        return False

    def open_piece(self, path: str, file: tuple[int, int]) -> None:
        """Open this rotated file (device, inode) instead: for reading where that is all that
        its rights or its file system allow."""
        flags = os.O_APPEND | os.O_NONBLOCK
        try:
            fd, writable = self.fs.open(path, os.O_RDWR | flags), True
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EROFS):
                raise
            fd, writable = self.fs.open(path, os.O_RDONLY | os.O_NONBLOCK), False
        try:
            status = self.fs.fstat(fd)
            if (status.st_dev, status.st_ino) != file:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        except OSError:
            self.fs.close(fd)
            raise
        self._take(fd, status)
        self.writable = writable

    def _take(self, fd: int, status: os.stat_result) -> None:
        try:
            self.close()
        except OSError:
            self.fs.close(fd)
            raise
        self.writable = True
        self.fd, self.dev, self.ino = fd, status.st_dev, status.st_ino
        self.igen = self.fs.inode_generation(fd)

    def _open(self) -> tuple[int, bool]:
        """(descriptor, whether the file was made)."""
        flags = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK
        try:
            return self.fs.open(self.path, flags), False
        except FileNotFoundError:
            self.fs.makedirs(os.path.dirname(self.path))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.EMLINK):
                what = "a directory" if error.errno == errno.EISDIR else "a symbolic link"
                raise ConfigError(f"{self.path}: {what}, not a regular file") from None
            raise
        mode = 0o640 if self.mode is None else self.mode
        try:
            return self.fs.open(self.path, flags | os.O_CREAT | os.O_EXCL, mode), True
        except FileExistsError:
            return self.fs.open(self.path, flags), False

    def dress(self, mode: int | None, owner: str | None) -> None:
        """From now on files have this mode and this owner, the open one too."""
        self.mode, self.owner = mode, owner
        if self.fd >= 0:
            self._dress(self.fd)

    def _dress(self, fd: int) -> None:
        if self.owner:
            self.fs.fchown(fd, *look_up_owner(self.owner))
        if self.mode is not None:
            self.fs.fchmod(fd, self.mode)

    def size(self) -> int:
        """The open file's size in bytes."""
        return self.fs.fstat(self.fd).st_size

    def moved(self) -> bool:
        """True when the name no longer leads to the open file."""
        try:
            status = self.fs.stat(self.path)
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != (self.dev, self.ino)

    def read(self, length: int, offset: int) -> bytes:
        """At most `length` bytes from `offset` on."""
        return self.fs.pread(self.fd, length, offset)

    def pieces(self, offset: int) -> Iterator[bytes]:
        """All that stands from `offset` on, in pieces."""
        while data := self.read(1 << 20, offset):
            yield data
            offset += len(data)

    def append(self, data: Bytes) -> tuple[int, int]:
        """Append as much of `data` as one write takes: (where it stands, how many bytes)."""
        count = self.fs.write(self.fd, data)
        return self.fs.position(self.fd) - count, count

    def sync(self) -> None:
        """Make everything that was appended durable.  A failure is final for the descriptor."""
        if self.durable:
            self.fs.fdatasync(self.fd)

    def syncing(self) -> Callable[[], None]:
        """The same as a function to be called later, even if another file is open by then."""
        if not self.durable:
            return lambda: None
        try:
            fd = self.fs.dup(self.fd)
        except OSError:
            return self.sync

        def sync() -> None:
            try:
                self.fs.fdatasync(fd)
            finally:
                self.fs.close(fd)

        return sync

    def set_aside(self) -> str:
        """Rename the file to PATH.YYYYmmddHHMMSS, durably, and open a new one; the name it got.

        A crash in between leaves the file under its new name, and perhaps none under the old.
        """
        self.fs.fdatasync(self.fd)
        name = free_name(self.path, self.fs)
        self.fs.rename(self.path, name)
        self.fs.sync_directory(os.path.dirname(self.path))
        self.open()
        return name

    def rewrite(self, first: int, last: int) -> None:
        """Bring what stands between two places to the disk once more: see FS.overwrite."""
        if self.writable:
            self.fs.rewrite(self.fd, first, last)

    def cut(self, size: int) -> str:
        """Cut the file to `size` bytes; what is cut off is kept beside it.

        Returns the name of the file that keeps it.  The kept bytes are durable before
        the cut; a crash in between leaves them there twice, never less than once.
        """
        kept = free_name(f"{self.path}.cut", self.fs)
        fd = self.fs.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self._dress_alike(fd)
            for data in self.pieces(size):
                self.fs.write_all(fd, data)
            self.fs.fsync(fd)
        except OSError:
            self.fs.unlink(kept)
            raise
        finally:
            self.fs.close(fd)
        self.fs.sync_directory(os.path.dirname(kept))
        self.fs.ftruncate(self.fd, size)
        self.fs.fdatasync(self.fd)
        return kept

    def _dress_alike(self, fd: int) -> None:
        """Who may read the file may read what was cut off it, and nobody else."""
        status = self.fs.fstat(self.fd)
        try:
            self.fs.fchown(fd, status.st_uid, status.st_gid)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            return  # it stays ours alone
        self.fs.fchmod(fd, stat.S_IMODE(status.st_mode) & 0o666)

    def close(self) -> None:
        """Let go of the file.  Raises OSError: what was written last may not be on the disk."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.fs.close(fd)
