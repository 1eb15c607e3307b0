"""Notification of a file by inotify, and none at all.  See wakeup.py."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from tcppipe.files.fs import FS
from tcppipe.files.names import Coming, Names, Untold
from tcppipe.process.trouble import Say

HALF = 0.001  # seconds in which the second half of a renaming is told
# The file systems that only this machine writes to, by the numbers in <linux/magic.h>: ext, XFS,
# btrfs, tmpfs, ramfs, f2fs, ZFS, bcachefs.  Of these inotify tells every write, truncation and name.
LOCAL = {
    0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x858458F6, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E,
}  # fmt: skip
# Those of which it tells every name: overlayfs, too.  Elsewhere others may rename unheard.
NAMED = LOCAL | {0x794C7630}


class Nothing(Untold):
    """No notification: the interval has to do.

    complete: True when nothing can happen to the file that is not told.  pending: see Wakeup.
    lost: the directory is another one now, and is to be watched again.
    """

    complete = False
    pending = False
    lost = False

    def fileno(self) -> int:
        """No descriptor."""
        return -1

    def drain(self) -> bool:
        """Nothing to take."""
        return False

    def watch(self) -> None:
        """Nothing to watch."""

    def tend(self, now: float) -> None:
        """Nothing to try."""

    def close(self) -> None:
        """Nothing to let go of."""


class InotifyFile(Nothing):
    """Linux.  Watches the file, and the directories for names that come and go."""

    def __init__(self, path: str, directories: Iterable[str], say: Say, fs: FS) -> None:
        from tcppipe.files import inotify as flags

        self._path = path
        self._fs = fs
        self._say = say
        self._flags = flags
        self._own = os.path.dirname(path)
        self._wanted = [*sorted({*directories} - {self._own}), self._own]
        self._watched: dict[int, str] = {}  # watch: directory
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

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._inotify.fileno()

    def watch(self) -> None:
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

    def _is_on_its_disk(self) -> bool:
        """True when the file is on its directory's file system."""
        try:
            return self._fs.stat(self._path).st_dev == self._fs.stat(self._own).st_dev
        except OSError:
            return False

    def _watch_directory(self, directory: str) -> None:
        try:
            watch = self._inotify.add_watch(directory, self._flags.OF_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            if directory == self._own:
                raise
            return
        self._watched[watch] = directory
        self.doubt()

    def drain(self) -> bool:
        """Take what was told so far.  True when a name came or went in a directory."""
        self._take()
        names, self._told, self.pending = self._told, False, False
        return names

    def _take(self) -> None:
        for event in self._inotify.read():
            self.pending = True
            self._take_event(*event)

    def _take_event(self, watch: int, mask: int, cookie: int, name: bytes) -> None:
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

    def _leave(self, watch: int) -> None:
        """A directory is another one now, or none."""
        if self._watched.pop(watch) == self._own:
            self.lost, self.complete = True, False
        self._told = True
        self.doubt()
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            pass  # the kernel has done it

    def comings(self) -> list[Coming] | None:
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

    def listen(self) -> bool:
        """All that came before is known; False when something has come since it was asked for."""
        self._take()
        self._known = self._tells and not self._doubted
        return not self._known or not self._names.comings()

    def taken(self, count: int) -> None:
        """So many of these are held now."""
        self._names.taken(count)

    def doubt(self) -> None:
        """What was told of names does not fit what is seen."""
        self._known = False
        self._doubted = True

    def close(self) -> None:
        """Let go of the descriptor."""
        self._inotify.close()
