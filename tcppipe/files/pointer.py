"""fetch_logs' pointer file: the inode of the remote file that the local one is a copy of.

With an original server it is the only record, so changing it and setting the local file
aside must be one step: the new number is written beside it first.  After a crash the
local file tells which of the two is valid: an empty or missing one was begun anew.
With a ledger it is there for people, and for a way back to the original.
"""

from __future__ import annotations

import os

from tcppipe.files.fs import FS, REAL, open_new
from tcppipe.wire import pull1


class Pointer:
    """The pointer file at `path` (str, absolute).  Methods raise OSError."""

    def __init__(self, path: str, fs: FS = REAL) -> None:
        self.path = path
        self.fs = fs
        directory, name = os.path.split(path)
        self._beside = os.path.join(directory, f".{name}.new")

    def read(self, local_size: int) -> int:
        """The inode, or 0; local_size: of the local file, to finish what a crash left undone."""
        beside = self._content(self._beside)
        if beside is not None:
            if local_size == 0 and beside.endswith(b"\n"):
                self.commit()
            else:
                self.fs.unlink(self._beside)
        return self.inode()

    def inode(self) -> int:
        """The inode that stands in the file, or 0."""
        return pull1.parse_pointer(self._content(self.path) or b"")

    def _content(self, path: str) -> bytes | None:
        try:
            fd = self.fs.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            return self.fs.pread(fd, pull1.MAX_POINTER, 0)
        except OSError as error:
            error.filename = path
            raise
        finally:
            self.fs.close(fd)

    def prepare(self, inode: int) -> None:
        """Write the next inode beside, durably."""
        self.fs.makedirs(os.path.dirname(self.path))
        fd = open_new(self.fs, self._beside, 0o644)
        try:
            self.fs.write_all(fd, pull1.render_pointer(inode))
            self.fs.fsync(fd)
        finally:
            self.fs.close(fd)
        self.fs.sync_directory(os.path.dirname(self.path))

    def commit(self) -> None:
        """What was prepared is valid from now on."""
        self.fs.rename(self._beside, self.path)
        self.fs.sync_directory(os.path.dirname(self.path))

    def write(self, inode: int) -> None:
        """Both at once."""
        self.prepare(inode)
        self.commit()
