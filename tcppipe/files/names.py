"""What has become of the files that stood under an origin's name, by what directories tell.

A directory tells of each name that comes, goes or changes, in order.  So a file that was made,
renamed five times and packed between two looks is found by the name that it has now, whatever
names rotation gives, and in its place; and of one that was deleted it is known that it was there.

Keeps nothing on disk.  Who begins to listen, or was told that something was left out, knows
nothing of what was before, and says so: then the search by names has to do.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import NamedTuple

from tcppipe.files.generations import stem
from tcppipe.rotated import EXTENSIONS, FOREIGN, is_rotated, split

MOST = 20000  # names that are kept in mind; with more of them nothing is known


class Coming(NamedTuple):
    """A file has come under the origin's name.

    path: what it is called now, or None.  instead: then the path of what was made of it, by
    packing, copying or linking, as far as can be told; or None.
    """

    path: str | None
    instead: str | None


class Untold:
    """Nobody tells anything."""

    def comings(self) -> list[Coming] | None:
        """The Comings that were not taken yet, oldest first; None: nobody knows."""
        return None

    def listen(self) -> bool:
        """All that came before the last comings() is known, though it was not told.  False when
        something has come since."""
        return True

    def taken(self, count: int) -> None:
        """So many of them are held now."""

    def doubt(self) -> None:
        """What was told does not fit what is seen: nothing is known."""


class File:
    """A file of which something was told.  came, went: when it did, in events."""

    __slots__ = ("came", "went", "path", "names", "copied")

    def __init__(self, came: int) -> None:
        self.came = came
        self.went = 0
        self.path: str | None = None  # what it is called now
        self.names: list[str] = []  # what it was called, the origin's name left out
        self.copied = True  # it has never stood under the origin's name

    def leave(self, now: int) -> None:
        """It has no name now."""
        self.path, self.went = None, now


class Names:
    """The Comings under one path (str, absolute).  flags: has the numbers of inotify(7)."""

    def __init__(self, path: str, flags: ModuleType) -> None:
        self._path = path
        self._flags = flags
        self.forget()

    def forget(self) -> None:
        """Nothing is known of what was before."""
        self._now = 0
        self._last = File(0)  # that came under the origin's name last
        self._files: dict[str, File] = {}
        self._put(self._last, self._path)
        self._begin()

    def _begin(self) -> None:
        self._files = {self._path: self._last} if self._last.path == self._path else {}
        self._moving: dict[int, File] = {}  # cookie: File, on its way from one name to the next
        self._row: list[File] = []  # Files that have come under the origin's name, not taken yet
        self._passed: list[File] = []  # Files without a name now that never stood there

    @property
    def moving(self) -> bool:
        """True when a file has left its name, and the next one is to be told; or it never is."""
        return bool(self._moving)

    def settle(self) -> None:
        """What has left its name to nobody knows where has not come back."""
        self._moving = {}

    def take(self, mask: int, cookie: int, path: str) -> bool:
        """An event of a directory.  True when it tells of a name that came or went."""
        flags = self._flags
        self._now += 1
        if mask & flags.MOVED_FROM:
            self._moving[cookie] = self._gone(path)
        elif mask & flags.DELETE:
            self._gone(path)
        elif mask & flags.MOVED_TO:
            moved = self._moving.pop(cookie) if cookie in self._moving else File(self._now)
            self._came(moved, path)
        elif mask & flags.CREATE:
            self._came(File(self._now), path)
        else:
            return False
        return True

    @property
    def too_many(self) -> bool:
        """True when more names are kept in mind than is reasonable."""
        return len(self._files) + len(self._moving) + len(self._passed) > MOST

    def _gone(self, path: str) -> File:
        file = self._files.pop(path, None) or File(0)
        file.leave(self._now)
        if file.copied and file.came and self._row:
            self._passed.append(file)  # something may have been made of it
        return file

    def _came(self, file: File, path: str) -> None:
        if path in self._files:
            self._gone(path)
        if path == self._path and file is not self._last:
            self._row.append(file)
            self._last = file
        self._put(file, path)

    def _put(self, file: File, path: str) -> None:
        file.path, file.went = path, 0
        if path == self._path:
            file.copied = False
        else:
            file.names.append(path)
        self._files[path] = file

    def comings(self) -> list[Coming]:
        """The Comings that were not taken yet, oldest first."""
        used: set[File] = set()
        return [Coming(file.path, self._instead(file, used)) for file in self._row]

    def taken(self, count: int) -> None:
        """So many of them are held now."""
        del self._row[:count]
        if not self._row:
            self._begin()

    def _instead(self, file: File, used: set[File]) -> str | None:
        """What was made of a file that has no name any more: what came under a likely name while
        it was there; one that is called as it was, or else the last."""
        if file.path is not None:
            return None
        rows = [
            other
            for other in [*self._files.values(), *self._passed]
            if other.copied and other not in used and file.came < other.came < file.went
        ]
        named = [o for o in rows if any(split(name)[0] in file.names for name in o.names)]
        likely = [o for o in rows if any(map(self._is_likely, o.names))]
        for other in sorted(named or likely, key=lambda other: other.came, reverse=True):
            used.add(other)
            path = other.path or self._instead(other, used)
            if path is not None:
                return path
        return None

    def _is_likely(self, path: str) -> bool:
        name, extension = split(os.path.basename(path))
        packed = extension in EXTENSIONS + FOREIGN
        return is_rotated(path, self._path) or (packed and name.startswith(stem(self._path)))
