"""Notification of a file by kqueue(2), where there is one.  See wakeup.py."""

from __future__ import annotations

import os
import select
import sys

from tcppipe.files.notifiers import Nothing

assert sys.platform != "linux", "there is inotify"


class KqueueFile(Nothing):
    """FreeBSD and macOS.  Watches the file and its directory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._queue = select.kqueue()
        self._fds: list[int] = []
        try:
            self.watch()
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._queue.fileno()

    def watch(self) -> None:
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

    def drain(self) -> bool:
        """Forget what was told so far."""
        while self._queue.control(None, 64, 0):
            pass
        return False

    def close(self) -> None:
        """Let go of the descriptors."""
        self._queue.close()
        for fd in self._fds:
            os.close(fd)
