"""Where generations are found: the origin's rotated siblings, compressed ones as well."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tcppipe.files.compressed import UNITS, CompressedReader
from tcppipe.files.fs import FS, REAL
from tcppipe.files.reader import Broken as Broken
from tcppipe.files.reader import Reader
from tcppipe.files.reader import kind_of as kind_of
from tcppipe.rotated import FOREIGN, Rank, arrange, is_rotated, split


class Sibling(NamedTuple):
    """A regular file beside an origin, as it was when it was looked at."""

    name: str  # its path
    mtime: int  # nanoseconds
    file: tuple[int, int]  # device and inode
    changed: float  # seconds since 1970: when anything was done to it


def open_reader(path: str, fs: FS = REAL, step: int | None = None) -> Reader:
    """The Reader that fits a file's name.  step: bytes of content after which a compressed one
    raises Busy; None: never."""
    if os.path.splitext(path)[1] in UNITS:
        return CompressedReader(path, fs, step=step)
    return Reader(path, fs)


def siblings(
    path: str,
    olddir: str | None = None,
    fs: FS = REAL,
    patterns: Iterable[str] = (),
    known: str | None = None,
    rank: Rank[Sibling] | None = None,
) -> list[str]:
    """The paths of the files beside `path`, PATH.*, PATH-*, and `patterns`, that can be read.

    Those with rotated names come first, the oldest first of all; behind them, by time, what may
    be anybody's copy.  known: the path of the one of which is known that the others are older or
    younger: in which direction numbers count is seen by that.  rank(sibling): its place among
    those whose order is known, or None.
    """
    found = [s for s in beside(path, olddir, fs, patterns) if split(s.name)[1] not in FOREIGN]
    rotated = [s for s in found if is_rotated(s.name, path, patterns)]
    others = sorted((s for s in found if s not in rotated), key=lambda s: (s.mtime, s.name))
    cursor = next((s for s in rotated if s.name == known), None)
    return [sibling.name for sibling in arrange(rotated, path, rank, cursor) + others]


def stem(path: str) -> str:
    """What the names of files begin with that have something to do with `path`."""
    base = os.path.basename(path)
    return base.split(".")[0] or base


def beside(
    path: str,
    olddir: str | None = None,
    fs: FS = REAL,
    patterns: Iterable[str] = (),
    every: bool = False,
    like: str | None = None,
) -> list[Sibling]:
    """The Siblings of `path` in no order: PATH.*, PATH-* and what patterns fit.

    every: all files of its directory and of olddir.  like: those whose names begin so as well.
    A file and its compressed form count once: as the plain file.  Raises OSError: what cannot be
    looked at for now is not to be taken for missing.
    """
    base = os.path.basename(path)
    found: set[str] = set()
    for directory in {os.path.dirname(path) or "/", olddir or os.path.dirname(path) or "/"}:
        try:
            names = fs.listdir(directory)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for name in names:
            near = name.startswith((f"{base}.", f"{base}-")) or base == "current" and name[0] == "@"
            if every or near or (like and name.startswith(like)):
                found.add(os.path.join(directory, name))
    found.update(_matching(patterns, fs))
    found.discard(path)
    bases = {os.path.basename(full) for full in found}
    rows = []
    for full in found:
        stem, extension = split(os.path.basename(full))
        if extension and stem in bases:
            continue
        try:
            status = fs.stat(full)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        if stat.S_ISREG(status.st_mode):
            file = status.st_dev, status.st_ino
            rows.append(
                Sibling(
                    full,
                    status.st_mtime_ns,
                    file,
                    max(status.st_mtime_ns / 1e9, getattr(status, "st_ctime", 0)),
                )
            )
    return rows


def _matching(patterns: Iterable[str], fs: FS) -> Iterator[str]:
    """The paths that patterns fit; wildcards stand in the last part of a pattern."""
    for pattern in patterns:
        directory, wanted = os.path.split(pattern)
        try:
            names = fs.listdir(directory)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for name in names:
            hidden = name.startswith(".") and not wanted.startswith(".")
            if fnmatch.fnmatchcase(name, wanted) and not hidden:
                yield os.path.join(directory, name)
