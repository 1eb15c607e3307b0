"""A descriptor that becomes readable when a name comes or goes in one of many directories.

Only a hint, for who looks at intervals anyway.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from tcppipe.files.notifiers import Nothing


def directories() -> NoDirectories:
    """What tells of names that come and go in a changing set of directories.

    Raises OSError or ImportError when there is no such thing for now.
    """
    return InotifyDirectories()


class NoDirectories(Nothing):
    """No notification of directories: who keeps a list of pipes looks at intervals anyway."""

    def keep(self, wanted: Collection[str]) -> None:
        """Watch these directories, and no others."""


class InotifyDirectories(NoDirectories):
    """Linux.  A directory that is missing, or too many, is left to the clock."""

    def __init__(self) -> None:
        from tcppipe.files import inotify as flags

        self._flags = flags.OF_DIRECTORY
        self._inotify = flags.Inotify()
        self._watched: dict[str, int] = {}  # directory: watch descriptor

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._inotify.fileno()

    def keep(self, wanted: Collection[str]) -> None:
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

    def drain(self) -> bool:
        """Forget what was told so far."""
        try:
            while os.read(self._inotify.fileno(), 65536):
                pass
        except BlockingIOError:
            pass
        return True

    def close(self) -> None:
        """Let go of the descriptor."""
        self._inotify.close()
