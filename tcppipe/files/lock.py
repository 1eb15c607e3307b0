"""The lock on a destination: one writer at a time, whoever it is.

A pipe that is not merged holds it for as long as it is connected, and tells who it is; merged
ones hold it for one turn each.  The kernel hands it on in the order of asking.
A crash lets go of it.  The file itself means nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from tcppipe.process.owner import is_at

POLL = 0.002  # seconds between two attempts of one who may not be kept waiting


def lock(path: str, patience: float | None = 0.0, who: str = "") -> int:
    """Hold the lock in the file `path`: a descriptor to close.

    patience: seconds to wait for it; None: for as long as it takes.  who: tells the others.
    Raises OSError; EBUSY with the name of who has it when it cannot be had for now.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    until = None if patience is None else time.monotonic() + patience
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(path, flags, 0o640)
        try:
            _must_be_plain(fd)
            _take(fd, until)
            if is_at(fd, path):
                if who:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, b"%d\n%s\n" % (os.getpid(), os.fsencode(who)), 0)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody has removed it: the others lock another one


def _must_be_plain(fd: int) -> None:
    """Somebody else's file, linked to this name, is not to be written to."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise OSError(errno.EINVAL, "Not a regular file with one name")


def _take(fd: int, until: float | None) -> None:
    if until is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise OSError(errno.EBUSY, f"{_holder(fd)} writes to it") from None
        time.sleep(POLL)


def holder(path: str) -> str:
    """Who holds the lock for longer than a turn, in words."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return "another pipe"
    try:
        return _holder(fd)
    finally:
        os.close(fd)


def _holder(fd: int) -> str:
    """The name that was written last, if its process is still there."""
    pid, _, name = os.pread(fd, 4096, 0).partition(b"\n")
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        pass
    except (ValueError, OverflowError, OSError):
        return "another pipe"
    return os.fsdecode(name.rstrip(b"\n")) or "another pipe"


def no_lock(_path: str, _patience: float | None = 0.0) -> None:
    """For who has the lock already: nothing to close."""
