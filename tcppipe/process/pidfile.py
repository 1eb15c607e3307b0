"""A program's pid file, held for as long as it lives.

A crash leaves files that nobody holds, which is the same as no files.
"""

from __future__ import annotations

import errno
import fcntl
import os

from tcppipe.errors import reason
from tcppipe.process.owner import HELD, blocker, held_here, is_at, lock_path, owner


class PidFile:
    """A pid file that this process holds for as long as it lives.

    It has the interface of the lockfile package and raises its exceptions, but never waits.
    Forked children do not hold it: acquire it after the last fork.
    A path that does not end in ".pid" is a lock that nobody else has to know of.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock_path = lock_path(path)
        self._fd: int | None = None  # of the pid file
        self._lock_fd: int | None = None  # of the file whose lock counts, if that is another one
        self._pid: int | None = None

    def acquire(self, timeout: float | None = None) -> None:
        """Take the lock and write our pid; AlreadyLocked or LockFailed (both LockError) if not."""
        try:
            holder = self.take()
        except OSError as error:
            from lockfile import LockFailed

            path = error.filename or self.path
            raise LockFailed(f"{path}: cannot lock: {reason(error)}") from None
        if holder is not None:
            from lockfile import AlreadyLocked

            who = f"process {holder}" if holder > 0 else "a process of another container or host"
            raise AlreadyLocked(f"{self.path}: already locked by {who}")

    def take(self) -> int | None:
        """Take the lock and write our pid: None, or the pid of the process that has it.

        That is 0 for one that has no pid here.  Raises OSError.
        """
        while True:
            taken, holder = self._try()
            if taken or holder is not None:
                return holder

    def release(self) -> None:
        """Remove the file and let go of the lock."""
        if not self.i_am_locking():
            from lockfile import NotLocked, NotMyLock

            error = NotMyLock if self.is_locked() else NotLocked
            raise error(f"{self.path}: not locked by this process")
        # Still locked while they are removed: who opened one before will find the path gone.
        for fd, path in ((self._fd, self.path), (self._lock_fd, self._lock_path)):
            try:
                if fd is not None and is_at(fd, path):
                    os.unlink(path)
            except OSError:
                pass  # the file may stay: unlocked, it means nothing
        self.forget()

    def forget(self) -> None:
        """Let go of the files.  In a child just forked: they are its parent's."""
        for fd in (self._fd, self._lock_fd):
            if fd is not None:
                status = os.fstat(fd)
                HELD.pop((status.st_dev, status.st_ino), None)
                os.close(fd)
        self._fd = self._lock_fd = None

    def annotate(self, text: str) -> None:
        """Put further lines behind our pid, for whoever reads the file."""
        assert self._fd is not None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n%s" % (os.getpid(), text.encode("utf-8", "replace")), 0)

    def is_locked(self) -> bool:
        """True if any living process holds the file."""
        return self.read_pid() is not None

    def i_am_locking(self) -> bool:
        """True if this very process holds the file by this object."""
        return self._fd is not None and self._pid == os.getpid()

    def is_in_place(self) -> bool:
        """True while the paths lead to the files that we hold: else another may hold those."""
        held = self._fd is not None and is_at(self._fd, self.path)
        return held and (self._lock_fd is None or is_at(self._lock_fd, self._lock_path))

    def read_pid(self) -> int | None:
        """The pid of the holder, as the kernel knows it, or None."""
        return owner(self.path)

    def break_lock(self) -> None:
        """Remove what a dead holder left.  A living one's lock cannot be broken: AlreadyLocked."""
        if not self.i_am_locking():
            self.acquire()
        self.release()

    def __enter__(self) -> PidFile:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        if self.i_am_locking():
            self.release()

    def _try(self) -> tuple[bool, int | None]:
        """One attempt: (taken, the pid of who has it or None).

        Neither if the file was replaced or let go of under our hands.
        """
        if held_here(self.path):
            return False, os.getpid()
        apart = self._lock_path != self.path
        locked = fd = None
        try:
            if apart:
                locked = _open(self._lock_path, 0o600)
                if not _lock(locked):
                    return False, blocker(locked, fcntl.F_WRLCK)
            fd = _open(self.path, 0o644 if apart else 0o600)
            if not _lock(fd):
                # An older version runs, which knows no other lock; or somebody only reads it.
                holder = blocker(fd, fcntl.F_RDLCK if apart else fcntl.F_WRLCK)
                if holder is not None or not apart:
                    return False, holder
            if not is_at(fd, self.path) or (
                locked is not None and not is_at(locked, self._lock_path)
            ):
                return False, None
            self._record(fd, locked)
            fd = locked = None
            return True, None
        finally:
            for left in (fd, locked):
                if left is not None:
                    os.close(left)

    def _record(self, fd: int, locked: int | None) -> None:
        """These two are locked (the second may be None): say so in them, and keep them."""
        _own(fd, 0o600 if locked is None else 0o644)  # whatever the umask: others may ask who runs
        if locked is not None:
            _own(locked, 0o600)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._pid = os.getpid()
        for held in [fd] if locked is None else [fd, locked]:
            status = os.fstat(held)
            HELD[status.st_dev, status.st_ino] = self._pid
        self._fd, self._lock_fd = fd, locked


def _open(path: str, mode: int) -> int:
    """A plain file with one name: not somebody else's, linked to this name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags, mode)
    status = os.fstat(fd)
    if status.st_mode & 0o170000 != 0o100000 or status.st_nlink > 1:
        os.close(fd)
        raise OSError(errno.EINVAL, "Not a regular file with one name", path)
    return fd


def _lock(fd: int) -> bool:
    """Lock an open file if nobody has it; True when we have."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _own(fd: int, mode: int) -> None:
    """Give an open file this mode if it is ours."""
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, mode)


def lock_errors() -> type[Exception]:
    """What PidFile raises: for an except clause, which asks only when there is an exception.

    The package is not loaded before: whoever has it pays for it with every fork, because it
    loads threading.
    """
    from lockfile import LockError

    kind: type[Exception] = LockError
    return kind
