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
from tcppipe.files.fs import REAL
from tcppipe.files.names import Names, Untold

AGAIN = 60.0  # seconds until notification that could not be had is asked for again
HALF = 0.001  # seconds in which the second half of a renaming is told
# The file systems that only this machine writes to, by the numbers in <linux/magic.h>: ext, XFS,
# btrfs, tmpfs, ramfs, f2fs, ZFS, bcachefs.  Of these inotify tells every write, truncation and name.
LOCAL = {
    0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x858458F6, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E,
}  # fmt: skip
# Those of which it tells every name: overlayfs, too.  Elsewhere others may rename unheard.
NAMED = LOCAL | {0x794C7630}


class Wakeup:
    """The best notification of a file that can be had for now.

    Where there is none, for want of memory, watches or whatever else, that is said once, the
    interval has to do, and it is tried again now and then.  say: a function (level, text).
    directories: others in which rotated files appear.  fs: what calls the system.
    """

    def __init__(self, path, say, directories=(), fs=REAL):
        self._path = path
        self._fs = fs
        self._say = say
        self._directories = directories
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

    @property
    def pending(self):
        """True when something was told that drain() has not given yet, though the descriptor is
        not readable any more."""
        return self._notifier.pending

    def watch(self):
        """Watch the file that stands under the name now; older ones stay watched."""
        try:
            if self.fileno() >= 0:
                self._notifier.watch()
            else:
                self._notifier = _best(self._path, self._directories, self._say, self._fs)
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
        if self._notifier.lost or self._told and now >= self._again:
            self.watch()

    def drain(self):
        """Take what was told so far.  True when a name came or went in the directory."""
        return self._notifier.drain()

    def comings(self):
        """The Comings under the name, see files.names; None: nobody knows."""
        return self._notifier.comings()

    def listen(self):
        """All that came before is known; False when something has come since it was asked for."""
        return self._notifier.listen()

    def taken(self, count):
        """So many of these are held now."""
        self._notifier.taken(count)

    def doubt(self):
        """What was told of names does not fit what is seen."""
        self._notifier.doubt()

    def close(self):
        """Let go of the descriptor."""
        self._notifier.close()


def _best(path, directories, say, fs):
    if sys.platform.startswith("linux"):
        return Inotify(path, directories, say, fs)
    if hasattr(select, "kqueue"):
        return Kqueue(path)
    raise OSError(errno.ENOSYS, "this system has none")


def preload():
    """Load now what a forked child would load."""
    try:
        from tcppipe.files import inotify  # noqa: F401
    except (ImportError, OSError):
        pass  # then there is none


class Nothing(Untold):
    """No notification: the interval has to do.

    complete: True when nothing can happen to the file that is not told.  pending: see Wakeup.
    lost: the directory is another one now, and is to be watched again.
    """

    complete = False
    pending = False
    lost = False

    def fileno(self):
        """No descriptor."""
        return -1

    def drain(self):
        """Nothing to take."""

    def watch(self):
        """Nothing to watch."""

    def tend(self, now):
        """Nothing to try."""

    def close(self):
        """Nothing to let go of."""


class Inotify(Nothing):
    """Linux.  Watches the file, and the directories for names that come and go."""

    def __init__(self, path, directories, say, fs):
        from tcppipe.files import inotify as flags

        self._path = path
        self._fs = fs
        self._say = say
        self._flags = flags
        self._own = os.path.dirname(path)
        self._wanted = [*sorted({*directories} - {self._own}), self._own]
        self._watched = {}  # watch: directory
        self._names = Names(path, flags)
        self._known = False  # all that came is known, …
        self._doubted = True  # … or will be when what is there now is
        self._told = False  # a name came or went that drain() has not told of yet
        self._tells = False  # no name comes or goes without being told
        self._inotify = fs.inotify()
        self.lost = True
        try:
            self.watch()
        except OSError:
            self.close()
            raise

    def fileno(self):
        """The descriptor to wait on."""
        return self._inotify.fileno()

    def watch(self):
        """Watch the file that stands under the name now; older ones stay watched."""
        for directory in self._wanted:
            if self.lost or directory not in self._watched.values():
                self._watch_directory(directory)
        if self.lost:
            self.lost = False
            kind = self._fs.kind(self._own)
            self._tells = kind in NAMED
            self.complete = kind in LOCAL and self._is_on_its_disk()
        try:
            self._inotify.add_watch(self._path, self._flags.OF_FILE)
        except FileNotFoundError:
            pass  # the directory tells when it comes

    def _is_on_its_disk(self):
        """True when the file is on its directory's file system."""
        try:
            return self._fs.stat(self._path).st_dev == self._fs.stat(self._own).st_dev
        except OSError:
            return False

    def _watch_directory(self, directory):
        try:
            watch = self._inotify.add_watch(directory, self._flags.OF_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            if directory == self._own:
                raise
            return
        self._watched[watch] = directory
        self.doubt()

    def drain(self):
        """Take what was told so far.  True when a name came or went in a directory."""
        self._take()
        names, self._told, self.pending = self._told, False, False
        return names

    def _take(self):
        for event in self._inotify.read():
            self.pending = True
            self._take_event(*event)

    def _take_event(self, watch, mask, cookie, name):
        flags = self._flags
        directory = self._watched.get(watch)
        if mask & flags.Q_OVERFLOW:
            self._told = True
            self.doubt()
            text = "too much happens in its directory; what was deleted just now may be missed"
            self._say("warning", f"{self._path}: {text}")
        elif directory is None:
            return
        elif name and not mask & flags.ISDIR:
            path = os.path.join(directory, os.fsdecode(name))
            self._told = self._names.take(mask, cookie, path) or self._told
        elif mask & (flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED):
            self._leave(watch)

    def _leave(self, watch):
        """A directory is another one now, or none."""
        if self._watched.pop(watch) == self._own:
            self.lost, self.complete = True, False
        self._told = True
        self.doubt()
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            pass  # the kernel has done it

    def comings(self):
        """The Comings under the name; None: nobody knows."""
        self._take()
        if self._names.moving:
            time.sleep(HALF)
            self._take()
            self._names.settle()
        if self._names.too_many:
            self.doubt()
        if not self._known:
            self._names.forget()
            self._doubted = self.lost
            return None
        return self._names.comings()

    def listen(self):
        """All that came before is known; False when something has come since it was asked for."""
        self._take()
        self._known = self._tells and not self._doubted
        return not self._known or not self._names.comings()

    def taken(self, count):
        """So many of these are held now."""
        self._names.taken(count)

    def doubt(self):
        """What was told of names does not fit what is seen."""
        self._known = False
        self._doubted = True

    def close(self):
        """Let go of the descriptor."""
        self._inotify.close()


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

        self._flags = flags.OF_DIRECTORY
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
