"""Who is running.

A number in a pid file proves nothing: its process may be gone, or another may
have the number by now.  So a running program holds a lock, and the kernel is asked
who holds it.  It is on a file beside the pid file that only its owner can open: whoever
can open a file can lock it, to keep others out.  The pid file is locked as well, if it
can be, for those who may only ask, and for older versions of this program.
`tcppipe -I` asks here, so this loads next to nothing, and nothing to send or to log with.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys


def _flock_layout(platform: str) -> tuple[str, int, int]:
    """How struct flock looks: its format, and where in it the type and the pid are."""
    if platform.startswith("linux"):
        return "@hhqqi", 0, 4  # type, whence, start, length, pid
    if platform.startswith("freebsd"):
        return "@qqihhi", 3, 2  # start, length, pid, type, whence, sysid
    return "@qqihh", 3, 2  # macOS and the other BSDs: start, length, pid, type, whence


_FORMAT, _TYPE, _PID = _flock_layout(sys.platform)
HELD: dict[
    tuple[int, int], int
] = {}  # {(device, inode) of each pid file that this process holds: its pid}


def lock_path(pidfile: str) -> str:
    """The file whose lock counts: beside X.pid it is X.lock; any other name is its own."""
    return pidfile[:-4] + ".lock" if pidfile.endswith(".pid") else pidfile


def owner(pidfile: str) -> int | None:
    """The pid of the living process that holds a pid file, or None.

    None too when that process cannot be named, being in a container or on another host.
    Raises OSError when the file cannot be asked about (no rights, a symbolic link).
    """
    if held_here(pidfile):
        return os.getpid()
    lock, may_ask, pid = lock_path(pidfile), True, None
    if lock != pidfile:
        try:
            pid = _writer(lock)
        except PermissionError:
            may_ask = False
    if pid is None:
        pid = _writer(pidfile)
    if pid is None and not may_ask:
        pid = _listed(lock)  # somebody's read lock may have kept it from locking the pid file
    return pid if pid is not None and pid > 0 else None


def _writer(path: str) -> int | None:
    """The pid of the process that has a write lock on a file, or None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        # As if for a read lock: that way a stranger who only reads the file can't pass for us.
        return blocker(fd, fcntl.F_RDLCK)
    finally:
        os.close(fd)


def _listed(path: str) -> int | None:
    """The same, by the list of all locks, for who may not open the file; Linux has one."""
    try:
        status = os.lstat(path)
        with open("/proc/locks") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()
        if fields[1:4] == ["POSIX", "ADVISORY", "WRITE"] and fields[5] == device:
            return int(fields[4])
    return None


def send(pidfile: str, signum: int) -> int | None:
    """Send a signal to the process that holds a pid file, and to no other.

    Returns its pid, or None when nobody runs.
    """
    pid = owner(pidfile)
    while pid is not None:
        # With the handle in hand the owner is asked for again: if it is the same, then the
        # handle is the owner's, and stays so whatever becomes of the number.
        try:
            handle = _handle(pid)
            try:
                again = owner(pidfile)
                if again == pid:
                    _kill(pid, handle, signum)
                    return pid
                pid = again
            finally:
                if handle is not None:
                    os.close(handle)
        except ProcessLookupError:
            pid = owner(pidfile)
    return None


def _handle(pid: int) -> int | None:
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):  # an old kernel, a strict container
                raise
    return None


def _kill(pid: int, handle: int | None, signum: int) -> None:
    if handle is None:
        os.kill(pid, signum)
    else:
        import signal

        signal.pidfd_send_signal(handle, signum)


def blocker(fd: int, kind: int) -> int | None:
    """The pid of who keeps us from such a lock (F_RDLCK, F_WRLCK) on an open file.

    None: nobody does.  Zero or less: somebody who has no pid here.
    """
    fields = [0] * (len(_FORMAT) - 1)
    fields[_TYPE] = kind
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(_FORMAT, *fields))
    found = struct.unpack(_FORMAT, answer)
    return None if found[_TYPE] == fcntl.F_UNLCK else found[_PID]


def held_here(path: str) -> bool:
    """True when this very process holds that file.

    A process loses its lock by closing *any* descriptor of the file, so it must not open it
    again; nor would the kernel tell it of its own lock.
    """
    if not HELD:
        return False
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return HELD.get((status.st_dev, status.st_ino)) == os.getpid()


def is_at(fd: int, path: str) -> bool:
    """True if path still names the file that fd is open on."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
