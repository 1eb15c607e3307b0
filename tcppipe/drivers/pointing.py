"""Keeps the pointer file of a fetched source: it names the inode of what the local file holds.

What cannot be written for now is said, and tried again: nothing waits for it, since a source
of version 2 is found by content.
A crash leaves the inode before, or the new one.
"""

from __future__ import annotations

import time
from math import inf

from tcppipe.errors import reason
from tcppipe.files.pointer import Pointer
from tcppipe.process.trouble import Say

PAUSE = 5.0  # seconds until it is tried again


class Pointing:
    """file: the files.pointer.Pointer.  say: a function (level, text).

    due: when tend() has something to do.
    """

    def __init__(self, file: Pointer, say: Say) -> None:
        self.file = file
        self.due = inf
        self._say = say
        self._inode = 0
        self._told: str | None = None

    def name(self, inode: int, now: float) -> None:
        """This is the inode from now on."""
        if inode != self._named():
            self._inode, self.due = inode, 0.0
            self.tend(now)

    def _named(self) -> int | None:
        try:
            return self.file.inode()
        except OSError:
            return None

    def tend(self, now: float) -> None:
        """Write it, if that is due."""
        if now < self.due:
            return
        try:
            self.file.write(self._inode)
            self.due, self._told = inf, None
        except OSError as error:
            self.due = max(now, time.monotonic()) + PAUSE
            text = f"{self.file.path}: cannot write: {reason(error)}"
            if text != self._told:
                self._told = text
                self._say("error", text)
