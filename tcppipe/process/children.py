"""The children that this process has forked, and what each is for.

A child that has ended stays ours until it is reaped, so a signal never hits a
stranger who got its number.  A crash of the parent leaves the children alone.
Does not fork and does not decide when to reap (SIGCHLD tells).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any


class Children:
    """A note for each living child.  Iterating gives (pid, note), the oldest first."""

    def __init__(self) -> None:
        self._notes: dict[int, Any] = {}

    def add(self, pid: int, note: Any = None) -> None:
        """Remember a child."""
        self._notes[pid] = note

    def reap(self) -> list[tuple[int, int, Any]]:
        """Each child that has ended: (pid, status, note).  Never waits.

        A status below zero is the signal that killed it.  A child that nobody has added is
        reaped as well, with None for a note.
        """
        ended: list[tuple[int, int, Any]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            ended.append((pid, os.waitstatus_to_exitcode(status), self._notes.pop(pid, None)))

    def signal_all(self, signum: int) -> None:
        """Send a signal to every child that has not been reaped."""
        for pid in self._notes:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                pass  # somebody else has reaped it

    def forget(self) -> None:
        """In a child just forked: these are its siblings, not its children."""
        self._notes.clear()

    def __contains__(self, pid: object) -> bool:
        return pid in self._notes

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return iter(list(self._notes.items()))

    def __len__(self) -> int:
        return len(self._notes)
