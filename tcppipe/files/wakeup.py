"""A descriptor that becomes readable when something happens to a file: inotify or kqueue.

Only a hint.  What happened is found out by looking, and who waits on this looks at
intervals as well: other hosts' writes on a network file system, and whatever else the
kernel does not tell, are seen then.
"""

import errno
import os
import select
import sys
import time

from tcppipe.errors import reason
from tcppipe.files.births import Births

AGAIN = 60.0  # seconds until notification that could not be had is asked for again
LONGEST = 272  # bytes of an inotify event at most
# The file systems that only this machine writes to, by the numbers in <linux/magic.h>: ext, XFS,
# btrfs, tmpfs, ramfs, f2fs, ZFS, bcachefs.  Of these inotify tells every write, truncation and name.
LOCAL = {
    0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x858458F6, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E,
}  # fmt: skip


class Wakeup:
    """The best notification of a file that can be had for now.

    Where there is none, for want of memory, watches or whatever else, that is said once, the
    interval has to do, and it is tried again now and then.  say: a function (level, text).
    """

    def __init__(self, path, say):
        self._path = path
        self._say = say
        self._notifier = Nothing()
        self._told = None
        self._again = 0.0  # when it is tried again
        self.watch()

    def fileno(self):
        """The descriptor to wait on, or -1.  It may be another one after watch() and tend()."""
        return self._notifier.fileno()

    @property
    def complete(self):
        """True when nothing can happen to the file that is not told."""
        return self._notifier.complete

    def watch(self):
        """Watch the file that stands under the name now; older ones stay watched."""
        try:
            if self.fileno() >= 0:
                self._notifier.watch()
            else:
                self._notifier = _best(self._path)
        except (OSError, ImportError) as error:
            self._do_without(f"{self._path}: no notification, looks every second: {reason(error)}")
        else:
            if self._told and self.fileno() >= 0:
                self._told = None
                self._say("info", f"{self._path}: notification again")

    def _do_without(self, text):
        self._notifier.close()
        self._notifier = Nothing()
        self._again = time.monotonic() + AGAIN
        if text != self._told:
            self._told = text
            self._say("warning", text)

    def tend(self, now):
        """Try again to have what could not be had."""
        if self._told and now >= self._again:
            self.watch()

    def drain(self):
        """Take what was told so far.  True when a name came or went in the directory."""
        return self._notifier.drain()

    def births(self):
        """How often another file has come under the name since this was asked; None: nobody knows."""
        return self._notifier.births()

    def close(self):
        """Let go of the descriptor."""
        self._notifier.close()


def _best(path):
    if sys.platform.startswith("linux"):
        return Inotify(path)
    if hasattr(select, "kqueue"):
        return Kqueue(path)
    raise OSError(errno.ENOSYS, "this system has none")


def preload():
    """Load now what a forked child would load."""
    try:
        from tcppipe.files import inotify  # noqa: F401
    except (ImportError, OSError):
        pass  # then there is none


class Nothing:
    """No notification: the interval has to do.

    complete: True when nothing can happen to the file that is not told.
    """

    complete = False

    def fileno(self):
        """No descriptor."""
        return -1

    def drain(self):
        """Nothing to take."""

    def births(self):
        """Nobody knows."""

    def watch(self):
        """Nothing to watch."""

    def tend(self, now):
        """Nothing to try."""

    def close(self):
        """Nothing to let go of."""


class Inotify(Nothing):
    """Linux.  Watches the file, and the directory for names that come and go."""

    def __init__(self, path):
        from tcppipe.files import inotify as flags

        self._path = path
        self._file_flags = flags.MODIFY | flags.ATTRIB | flags.MOVE_SELF | flags.DELETE_SELF
        directory = os.path.dirname(path)
        self.complete = _is_local(path, directory)
        self._flags = flags
        self._births = Births(os.fsencode(os.path.basename(path)), flags)
        self._known = False  # nobody has asked for births yet, or some events were lost
        self._inotify = flags.Inotify()
        try:
            self._directory = self._inotify.add_watch(
                directory, flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
            )
            self.watch()
        except OSError:
            self.close()
            raise

    def fileno(self):
        """The descriptor to wait on."""
        return self._inotify.fileno()

    def watch(self):
        """Watch the file that stands under the name now; older ones stay watched."""
        try:
            self._inotify.add_watch(self._path, self._file_flags)
        except FileNotFoundError:
            pass  # the directory tells when it comes

    def drain(self):
        """Take what was told so far.  True when a name came or went in the directory."""
        names = False
        try:
            while True:
                data = os.read(self._inotify.fileno(), 4096)
                for watch, mask, cookie, name in self._flags.parse(data):
                    if mask & self._flags.Q_OVERFLOW:
                        self._known = False
                    elif watch == self._directory:
                        names = self._births.take(mask, cookie, name) or names
                if len(data) <= 4096 - LONGEST:
                    break
        except BlockingIOError:
            pass
        return names

    def births(self):
        """How often another file has come under the name since this was asked; None: nobody knows."""
        self.drain()
        known, self._known = self._known, True
        count = self._births.count()
        return count if known else None

    def close(self):
        """Let go of the descriptor."""
        self._inotify.close()


def _is_local(path, directory):
    """True when only this machine writes to a file's file system, which is its directory's."""
    import ctypes

    status = ctypes.create_string_buffer(1024)  # struct statfs begins with its type, a long
    if ctypes.CDLL(None).statfs(os.fsencode(directory), status):
        return False
    try:
        same = os.stat(path).st_dev == os.stat(directory).st_dev
    except OSError:
        return False
    return same and ctypes.c_long.from_buffer(status).value & 0xFFFFFFFF in LOCAL


class Kqueue(Nothing):
    """FreeBSD and macOS.  Watches the file and its directory."""

    def __init__(self, path):
        self._path = path
        self._queue = select.kqueue()
        self._fds = []
        try:
            self.watch()
        except OSError:
            self.close()
            raise

    def fileno(self):
        """The descriptor to wait on."""
        return self._queue.fileno()

    def watch(self):
        """Watch the file that stands under the name now, and its directory."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        notes = (
            select.KQ_NOTE_WRITE | select.KQ_NOTE_EXTEND | select.KQ_NOTE_ATTRIB
            | select.KQ_NOTE_RENAME | select.KQ_NOTE_DELETE
        )  # fmt: skip
        for name in (os.path.dirname(self._path), self._path):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            self._fds.append(fd)
            flags = select.KQ_EV_ADD | select.KQ_EV_CLEAR
            event = select.kevent(fd, select.KQ_FILTER_VNODE, flags, notes)
            self._queue.control([event], 0, 0)

    def drain(self):
        """Forget what was told so far."""
        while self._queue.control(None, 64, 0):
            pass

    def close(self):
        """Let go of the descriptors."""
        self._queue.close()
        for fd in self._fds:
            os.close(fd)


def directories():
    """What tells of names that come and go in a changing set of directories.

    Raises OSError or ImportError when there is no such thing for now.
    """
    return InotifyDirectories()


class NoDirectories(Nothing):
    """No notification of directories: who keeps a list of pipes looks at intervals anyway."""

    def keep(self, wanted):
        """Watch these directories, and no others."""


class InotifyDirectories(NoDirectories):
    """Linux.  A directory that is missing, or too many, is left to the clock."""

    def __init__(self):
        from tcppipe.files import inotify as flags

        self._flags = (
            flags.CREATE | flags.DELETE | flags.MOVED_TO | flags.MOVED_FROM
            | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
        )  # fmt: skip
        self._inotify = flags.Inotify()
        self._watched = {}  # directory: watch descriptor

    def fileno(self):
        """The descriptor to wait on."""
        return self._inotify.fileno()

    def keep(self, wanted):
        """Watch these directories, and no others."""
        for directory in self._watched.keys() - wanted:
            wd = self._watched.pop(directory)
            if wd not in self._watched.values():
                try:
                    self._inotify.rm_watch(wd)
                except OSError:
                    pass  # it is gone, and its watch with it
        for directory in wanted:
            # Once more for those watched already: another one may stand under the name now.
            try:
                self._watched[directory] = self._inotify.add_watch(directory, self._flags)
            except OSError:
                self._watched.pop(directory, None)

    def drain(self):
        """Forget what was told so far."""
        try:
            while os.read(self._inotify.fileno(), 65536):
                pass
        except BlockingIOError:
            pass

    def close(self):
        """Let go of the descriptor."""
        self._inotify.close()
