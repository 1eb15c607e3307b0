"""What the kernel tells of files and directories in memory: inotify(7), as unreliable as it is.

Nothing may be told at all, for want of descriptors or watches.  What was told may come a little
after what it tells of.  Where too much happens before anybody listens, the rest is left out and
only that is said; and a file system that is unmounted takes its watches with it.  A file system
that other hosts write to, too, tells some things and is not to be relied upon.
"""

import errno
import os

from tcppipe.files import inotify

IN = 1  # of poll: there is something to read
EXT4, NFS = 0xEF53, 0x6969  # kinds of file systems, from <linux/magic.h>
LONG = 16384  # events in a queue at most, as Linux has it
LATE = 0.2  # of so many reads the last change is not told yet


class SimInotify:
    """files.inotify.Inotify on a SimFS.  Has what a Hub wants of a file, too."""

    def __init__(self, fs, process):
        self.process = process
        self._fs = fs
        self._rnd = fs.chance
        self._watched = {}  # watch: (a directory or an inode, mask)
        self._last = 0
        self._queue = []  # of lists of events: what one change makes is told at once
        self._held = False  # the last change was held back by the last read
        self.fd = fs.take_fd(self)

    def fileno(self):
        """Its descriptor."""
        return self.fd

    def events(self):
        """Readable when something was told."""
        return IN if self._queue else 0

    def next(self):
        """Nobody knows when something will be."""

    def close(self):
        """Let go of it."""
        if self in self._fs.listening:
            self._fs.listening.remove(self)
            self._fs.free_fd(self.fd)

    def add_watch(self, path, mask):
        """Watch a directory, or the file that stands under a name now."""
        self._fs.check("inotify_add_watch")
        if not mask & inotify.ONLYDIR:
            what = self._fs._inode(path)
        elif self._fs.is_directory(path):
            what = path
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        for watch, (known, _mask) in self._watched.items():
            if known is what:
                return watch
        if self._fs.watches is not None and len(self._watched) >= self._fs.watches:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self._last += 1
        self._watched[self._last] = what, mask
        return self._last

    def rm_watch(self, watch):
        """End a watch."""
        if self._watched.pop(watch, None) is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def read(self):
        """What was told so far; sometimes not yet of what has just been done."""
        self._held = bool(self._queue) and not self._held and self._rnd.random() < LATE
        left = self._queue[-1:] if self._held else []
        told = self._queue[: len(self._queue) - len(left)]
        self._queue = left
        return [event for change in told for event in change]

    # --- what the kernel does

    def told(self, changes):
        """Something happens: (what it happens to, mask, cookie, name) of each part of it."""
        change = [
            (watch, mask, cookie, os.fsencode(name))
            for what, mask, cookie, name in changes
            for watch, (known, wanted) in self._watched.items()
            if known is what or (isinstance(what, str) and known == what)
            if mask & wanted
        ]
        if not change or (self._queue and self._queue[-1] == change):
            return
        if sum(map(len, self._queue)) < self._fs.most_events:
            self._queue.append(change)
        elif self._queue[-1] != [(-1, inotify.Q_OVERFLOW, 0, b"")]:
            self._queue.append([(-1, inotify.Q_OVERFLOW, 0, b"")])

    def unmounted(self):
        """The file system is gone, and comes back."""
        for watch in self._watched:
            self._queue.append([(watch, inotify.UNMOUNT, 0, b""), (watch, inotify.IGNORED, 0, b"")])
        self._watched = {}


class Kernel:
    """The part of a SimFS that tells."""

    def begin_telling(self):
        """Nobody listens yet."""
        self.listening = []
        self.watches = None  # how many there are to be had for each; None: enough
        self.most_events = LONG
        self.kind_of_disk = EXT4
        self.changed_at = {}  # directory: when a name in it came or went last
        self._cookie = 0
        self._next_listener = 900

    def take_fd(self, _inotify):
        """A descriptor for a SimInotify."""
        self._next_listener += 1
        return self._next_listener

    def free_fd(self, fd):
        """It is closed."""

    def inotify(self):
        """A new SimInotify of the process that runs."""
        self.check("inotify_init")
        if self.watches == 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.listening.append(SimInotify(self, self.process))
        return self.listening[-1]

    def kind(self, _directory):
        """The kind of file system."""
        return self.kind_of_disk

    def unmount(self):
        """And mount it again; what is open stays so."""
        for listener in self.listening:
            listener.unmounted()

    def end_listening(self, process):
        """A process has ended."""
        for listener in [one for one in self.listening if one.process == process]:
            listener.close()

    def tell(self, *changes):
        """(What it happens to: an inode or a path, mask) of each part of one change."""
        if self.kind_of_disk != EXT4 and self.chance.random() < 0.5:
            return  # another host has done it
        self._cookie += 1
        parts = []
        for what, mask in changes:
            if isinstance(what, str):
                directory, name = os.path.split(what)
                moves = mask & (inotify.MOVED_FROM | inotify.MOVED_TO)
                parts.append((directory, mask, self._cookie if moves else 0, name))
            else:
                parts.append((what, mask, 0, ""))
        for listener in self.listening:
            listener.told(parts)

    def tell_renamed(self, inode, old, new):
        """A name came, went or was changed."""
        self.now += 1000
        for path in filter(None, (old, new)):
            self.changed_at[os.path.dirname(path)] = self.now
        if old is None:
            self.tell((new, inotify.CREATE))
        elif new is None:
            self.tell((inode, inotify.ATTRIB), (old, inotify.DELETE))
        else:
            self.tell(
                (old, inotify.MOVED_FROM), (new, inotify.MOVED_TO), (inode, inotify.MOVE_SELF)
            )
