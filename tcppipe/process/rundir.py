"""Where things are kept, what they are called, and who is running.

A number in a pid file proves nothing: its process may be gone, or another may
have the number by now.  So a running program holds a lock, and the kernel is asked
who holds it.  It is on a file beside the pid file that only its owner can open: whoever
can open a file can lock it, to keep others out.  The pid file is locked as well, if it
can be, for those who may only ask, and for older versions of this program.
A crash leaves files that nobody holds, which is the same as no files.
`tcppipe -I` is this module, so it loads next to nothing, and nothing to send or
to log with.  Knows no status files and no ledgers, only where they lie.
"""

import errno
import fcntl
import os
import struct
import sys

from tcppipe.errors import ConfigError, reason

# The directories.


def run_dir(given=None):
    """The directory of pid and status files.  Says where, makes nothing (see ensure)."""
    directory = given or os.environ.get("TCPPIPE_RUN_DIR")
    if directory:
        return os.path.abspath(directory)
    if os.access("/var/run", os.W_OK):
        return "/var/run"
    directory = _private_run_dir()
    if os.path.lexists(directory):
        _must_be_ours(directory)
    return directory


def state_dir(given=None):
    """The directory of ledgers.  Says where, makes nothing (see ensure)."""
    directory = given or os.environ.get("TCPPIPE_STATE_DIR")
    if directory:
        return os.path.abspath(directory)
    if os.geteuid() == 0 or os.access("/var/lib/tcppipe", os.W_OK):
        return "/var/lib/tcppipe"
    home = os.environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        home = os.path.expanduser("~/.local/state")
        if not home.startswith("/"):
            raise ConfigError(
                f"user {os.geteuid()} has no home: say --state-dir DIR, or set TCPPIPE_STATE_DIR"
            )
    return home + "/tcppipe"


def ensure(directory, mode=None):
    """Make a directory and its parents if they are missing, and return it.

    Without a mode, root's directories may be read by all and a user's by nobody else.
    """
    private = directory == _private_run_dir()
    if mode is None:
        mode = 0o700 if private or os.geteuid() != 0 else 0o755
    try:
        _make(directory, mode)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot make this directory: {reason(error)}") from None
    if private:
        _must_be_ours(directory)
    return directory


def _private_run_dir():
    # cron does not set XDG_RUNTIME_DIR, and has to find what a login shell has started.
    uid = os.geteuid()
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if base.startswith("/") and os.access(base, os.W_OK):
            return base + "/tcppipe"
    return f"/tmp/tcppipe-{uid}"


def _must_be_ours(directory):
    # In /tmp anybody may have been there first, to have us write to or signal what he likes.
    status = os.lstat(directory)
    if status.st_mode & 0o170000 != 0o040000:
        raise ConfigError(f"{directory}: refused: not a directory")
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{directory}: refused: it belongs to user {status.st_uid}")
    if status.st_mode & 0o022:
        raise ConfigError(f"{directory}: refused: others may write there")


def open_to_others(*paths):
    """Those of these files and directories that every user may write to."""
    return [path for path in paths if os.stat(path).st_mode & 0o002]


def _make(directory, mode):
    parent = os.path.dirname(directory)
    if parent and not os.path.isdir(parent):
        _make(parent, 0o755)
    try:
        os.mkdir(directory, mode)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise


# The names.

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_LONGEST = 200
_READABLE = 150  # with a dot and a digest longer than _LONGEST: no short name looks like it


def pipe_base(host, port, path):
    """The file name, without .pid or .pipe, of the pipe from an absolute path to a host.

    Two pipes never share a name.  Host names do not tell capitals from small letters.
    """
    # In small letters a slash in the host is %2f, so the first %2F is where the path begins.
    return _short(f"{_quote(host).lower()}-{port}.{_quote(path)}")


def ledger_base(host, path):
    """The file name, without .ledger or .lock, of the pipe from a host's file.

    Two pipes never share a name.
    """
    return _short(f"{_quote(host).lower()}.{_quote(path)}")


def file_name(path):
    """A file name for an absolute path; no other path has it, and no pipe."""
    return _short(_quote(path))


def _short(name):
    if len(name) <= _LONGEST:
        return name
    import hashlib

    return f"{name[:_READABLE]}.{hashlib.sha256(name.encode()).hexdigest()}"


def original_base(host, port, path):
    """The name that the original program gave to that pipe.  Some pipes share one."""
    product = 1
    for byte in os.fsencode(path):
        product *= byte - 256 if byte > 127 else byte
        product = product % 0x1FFF if product >= 0 else -(-product % 0x1FFF)  # as C does
    return f"{host}-{port}.{os.path.basename(os.fsdecode(path))}.{product:4d}"


def _quote(name):
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(name))


# Who is running.


def _flock_layout(platform):
    """How struct flock looks: its format, and where in it the type and the pid are."""
    if platform.startswith("linux"):
        return "@hhqqi", 0, 4  # type, whence, start, length, pid
    if platform.startswith("freebsd"):
        return "@qqihhi", 3, 2  # start, length, pid, type, whence, sysid
    return "@qqihh", 3, 2  # macOS and the other BSDs: start, length, pid, type, whence


_FORMAT, _TYPE, _PID = _flock_layout(sys.platform)
_held: dict[
    tuple[int, int], int
] = {}  # (device, inode) of each pid file that this process holds: its pid


def lock_path(pidfile):
    """The file whose lock counts: beside X.pid it is X.lock; any other name is its own."""
    return pidfile[:-4] + ".lock" if pidfile.endswith(".pid") else pidfile


def owner(pidfile):
    """The pid of the living process that holds a pid file, or None.

    None too when that process cannot be named, being in a container or on another host.
    Raises OSError when the file cannot be asked about (no rights, a symbolic link).
    """
    if _held_here(pidfile):
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


def _writer(path):
    """The pid of the process that has a write lock on a file, or None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        # As if for a read lock: that way a stranger who only reads the file can't pass for us.
        return _blocker(fd, fcntl.F_RDLCK)
    finally:
        os.close(fd)


def _listed(path):
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


def send(pidfile, signum):
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


def _handle(pid):
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):  # an old kernel, a strict container
                raise
    return None


def _kill(pid, handle, signum):
    if handle is None:
        os.kill(pid, signum)
    else:
        import signal

        signal.pidfd_send_signal(handle, signum)


def _blocker(fd, kind):
    # None: the lock is free.  Zero or less: somebody holds it who has no pid here.
    fields = [0] * (len(_FORMAT) - 1)
    fields[_TYPE] = kind
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(_FORMAT, *fields))
    fields = struct.unpack(_FORMAT, answer)
    return None if fields[_TYPE] == fcntl.F_UNLCK else fields[_PID]


def _held_here(path):
    # A process loses its lock by closing *any* descriptor of the file, so it must not open it
    # again; nor would the kernel tell it of its own lock.
    if not _held:
        return False
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return _held.get((status.st_dev, status.st_ino)) == os.getpid()


class PidFile:
    """A pid file that this process holds for as long as it lives.

    It has the interface of the lockfile package and raises its exceptions, but never waits.
    Forked children do not hold it: acquire it after the last fork.
    A path that does not end in ".pid" is a lock that nobody else has to know of.
    """

    def __init__(self, path):
        self.path = path
        self._lock_path = lock_path(path)
        self._fd = None  # of the pid file
        self._lock_fd = None  # of the file whose lock counts, if that is another one
        self._pid = None

    def acquire(self, timeout=None):
        """Take the lock and write our pid; AlreadyLocked or LockFailed (both LockError) if not."""
        try:
            holder = self.take()
        except OSError as error:
            from lockfile import LockFailed

            raise LockFailed(f"{self.path}: cannot lock: {reason(error)}") from None
        if holder is not None:
            from lockfile import AlreadyLocked

            who = f"process {holder}" if holder > 0 else "a process of another container or host"
            raise AlreadyLocked(f"{self.path}: already locked by {who}")

    def take(self):
        """Take the lock and write our pid: None, or the pid of the process that has it.

        That is 0 for one that has no pid here.  Raises OSError.
        """
        while True:
            taken, holder = self._try()
            if taken or holder is not None:
                return holder

    def release(self):
        """Remove the file and let go of the lock."""
        if not self.i_am_locking():
            from lockfile import NotLocked, NotMyLock

            error = NotMyLock if self.is_locked() else NotLocked
            raise error(f"{self.path}: not locked by this process")
        # Still locked while they are removed: who opened one before will find the path gone.
        for fd, path in ((self._fd, self.path), (self._lock_fd, self._lock_path)):
            try:
                if fd is not None and _same(fd, path):
                    os.unlink(path)
            except OSError:
                pass  # the file may stay: unlocked, it means nothing
        self.forget()

    def forget(self):
        """Let go of the files.  In a child just forked: they are its parent's."""
        for fd in (self._fd, self._lock_fd):
            if fd is not None:
                status = os.fstat(fd)
                _held.pop((status.st_dev, status.st_ino), None)
                os.close(fd)
        self._fd = self._lock_fd = None

    def annotate(self, text):
        """Put further lines behind our pid, for whoever reads the file."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n%s" % (os.getpid(), text.encode("utf-8", "replace")), 0)

    def is_locked(self):
        """True if any living process holds the file."""
        return self.read_pid() is not None

    def i_am_locking(self):
        """True if this very process holds the file by this object."""
        return self._fd is not None and self._pid == os.getpid()

    def read_pid(self):
        """The pid of the holder, as the kernel knows it, or None."""
        return owner(self.path)

    def break_lock(self):
        """Remove what a dead holder left.  A living one's lock cannot be broken: AlreadyLocked."""
        if not self.i_am_locking():
            self.acquire()
        self.release()

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        if self.i_am_locking():
            self.release()

    def _try(self):
        """One attempt: (taken, the pid of who has it or None).

        Neither if the file was replaced or let go of under our hands.
        """
        if _held_here(self.path):
            return False, os.getpid()
        apart = self._lock_path != self.path
        locked = fd = None
        try:
            if apart:
                locked = _open(self._lock_path, 0o600)
                if not _lock(locked):
                    return False, _blocker(locked, fcntl.F_WRLCK)
            fd = _open(self.path, 0o644 if apart else 0o600)
            if not _lock(fd):
                # An older version runs, which knows no other lock; or somebody only reads it.
                holder = _blocker(fd, fcntl.F_RDLCK if apart else fcntl.F_WRLCK)
                if holder is not None or not apart:
                    return False, holder
            if not _same(fd, self.path) or (apart and not _same(locked, self._lock_path)):
                return False, None
            _own(fd, 0o644 if apart else 0o600)  # whatever the umask: others may ask who runs
            if apart:
                _own(locked, 0o600)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
            self._pid = os.getpid()
            for held in [fd] if locked is None else [fd, locked]:
                status = os.fstat(held)
                _held[status.st_dev, status.st_ino] = self._pid
            self._fd, self._lock_fd, fd, locked = fd, locked, None, None
            return True, None
        finally:
            for left in (fd, locked):
                if left is not None:
                    os.close(left)


def _open(path, mode):
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, mode)


def _lock(fd):
    """Lock an open file if nobody has it; True when we have."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _own(fd, mode):
    """An open file is a plain one with one name; give it this mode if it is ours."""
    status = os.fstat(fd)
    if status.st_mode & 0o170000 != 0o100000 or status.st_nlink != 1:
        raise OSError(errno.EINVAL, "Not a regular file with one name")
    if status.st_uid == os.geteuid():
        os.fchmod(fd, mode)


def lock_errors():
    """What PidFile raises: for an except clause, which asks only when there is an exception.

    The package is not loaded before: whoever has it pays for it with every fork, because it
    loads threading.
    """
    from lockfile import LockError

    return LockError


def _same(fd, path):
    """True if path still names the file that fd is open on."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
