"""A descriptor that becomes readable when something happens to a file: inotify or kqueue.

Only a hint.  What happened is found out by looking, and who waits on this looks at
intervals as well: other hosts' writes on a network file system, and whatever else the
kernel does not tell, are seen then.
"""

from __future__ import annotations

import errno
import select
import sys
import time
from collections.abc import Iterable

from tcppipe.errors import reason
from tcppipe.files.fs import FS, REAL
from tcppipe.files.names import Coming, Untold
from tcppipe.files.notifiers import InotifyFile, Nothing
from tcppipe.process.trouble import Say

AGAIN = 60.0  # seconds until notification that could not be had is asked for again


class Wakeup(Untold):
    """The best notification of a file that can be had for now.

    Where there is none, for want of memory, watches or whatever else, that is said once, the
    interval has to do, and it is tried again now and then.  say: a function (level, text).
    directories: others in which rotated files appear.  fs: what calls the system.
    """

    def __init__(self, path: str, say: Say, directories: Iterable[str] = (), fs: FS = REAL) -> None:
        self._path = path
        self._fs = fs
        self._say = say
        self._directories = directories
        self._notifier = Nothing()
        self._told: str | None = None
        self._again = 0.0  # when it is tried again
        self.watch()

    def fileno(self) -> int:
        """The descriptor to wait on, or -1.  It may be another one after watch() and tend()."""
        return self._notifier.fileno()

    @property
    def complete(self) -> bool:
        """True when nothing can happen to the file that is not told."""
        return self._notifier.complete

    @property
    def pending(self) -> bool:
        """True when something was told that drain() has not given yet, though the descriptor is
        not readable any more."""
        return self._notifier.pending

    def watch(self) -> None:
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

    def _do_without(self, text: str) -> None:
        self._notifier.close()
        self._notifier = Nothing()
        self._again = time.monotonic() + AGAIN
        if text != self._told:
            self._told = text
            self._say("warning", text)

    def tend(self, now: float) -> None:
        """Try again to have what could not be had."""
        if self._notifier.lost or self._told and now >= self._again:
            self.watch()

    def drain(self) -> bool:
        """Take what was told so far.  True when a name came or went in the directory."""
        return self._notifier.drain()

    def comings(self) -> list[Coming] | None:
        """The Comings under the name, see files.names; None: nobody knows."""
        return self._notifier.comings()

    def listen(self) -> bool:
        """All that came before is known; False when something has come since it was asked for."""
        return self._notifier.listen()

    def taken(self, count: int) -> None:
        """So many of these are held now."""
        self._notifier.taken(count)

    def doubt(self) -> None:
        """What was told of names does not fit what is seen."""
        self._notifier.doubt()

    def close(self) -> None:
        """Let go of the descriptor."""
        self._notifier.close()


def _best(path: str, directories: Iterable[str], say: Say, fs: FS) -> Nothing:
    if sys.platform != "linux":
        if hasattr(select, "kqueue"):
            from tcppipe.files.kqueue import KqueueFile

            return KqueueFile(path)
        raise OSError(errno.ENOSYS, "this system has none")
    return InotifyFile(path, directories, say, fs)


def preload() -> None:
    """Load now what a forked child would load."""
    try:
        from tcppipe.files import inotify  # noqa: F401
    except (ImportError, OSError):
        pass  # then there is none
