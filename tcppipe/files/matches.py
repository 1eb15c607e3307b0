"""The files that a pattern leads to, and the directories in which another could appear.

Wildcards are those of glob(7), in any part of a path: they match neither a slash nor a dot
at the start of a name.  What is listed is what is there now; a directory that is missing or
that may not be read has nothing in it.  When one cannot be read for now (no descriptor, no memory),
nobody knows: OSError.  Links are followed as guarded.resolve() does.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from collections.abc import Callable, Collection, Iterator
from functools import partial

from tcppipe.conf.pipelist import MAGIC
from tcppipe.errors import reason
from tcppipe.files.guarded import Untrusted, resolve
from tcppipe.rotated import EXTENSIONS, is_rotated

NOTHING_THERE = (
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip


def expand(
    pattern: str, directories: set[str], refused: list[str] | None = None, pointer: bool = False
) -> list[str]:
    """The real paths of the regular files that an absolute pattern fits, in order.

    directories: a set; those that were looked into are added, missing ones as well.
    refused: a list, to which a line is added for each link that is not followed.
    pointer: the pattern is the name of a link, which is meant itself.
    Raises OSError when that cannot be known for now.
    """
    refused = [] if refused is None else refused
    *above, last = [part for part in pattern.split("/") if part not in ("", ".")]
    tops = ["/"]
    for part in above:
        if MAGIC.search(part):
            tops = [entry.path for top in tops for entry in _fitting(top, part, directories)
                    if _safely(entry.is_dir)]  # fmt: skip
        else:
            tops = [os.path.join(top, part) for top in tops]
    found: list[str | None] = []
    for top in tops:
        if MAGIC.search(last):
            found += _files(top, last, directories, refused)
        else:
            directories.add(top)
            name = os.path.join(top, last)
            found.append((_pointer if pointer else _real)(name, directories, refused))
    return list(dict.fromkeys(path for path in found if path is not None))


def _fitting(directory: str, wanted: str, directories: set[str]) -> list[os.DirEntry[str]]:
    directories.add(directory)
    try:
        with os.scandir(directory) as entries:
            found = [
                entry
                for entry in entries
                if (entry.name[0] != "." or wanted[0] == ".")
                and fnmatch.fnmatchcase(entry.name, wanted)
            ]
    except OSError as error:
        if error.errno not in NOTHING_THERE:
            raise
        return []
    return sorted(found, key=lambda entry: entry.name)


def _files(
    directory: str, wanted: str, directories: set[str], refused: list[str]
) -> Iterator[str | None]:
    real = _resolved(directory, refused)
    if real is None:
        return
    for entry in _fitting(directory, wanted, directories):
        if _safely(entry.is_symlink):
            yield _real(entry.path, directories, refused)
        elif _safely(partial(entry.is_file, follow_symlinks=False)):
            yield os.path.join(real, entry.name)


def _real(path: str, directories: set[str], refused: list[str]) -> str | None:
    """The real path of a regular file, or None.  Where a link leads to, something may come."""
    real = _resolved(path, refused)
    if real is None:
        return None
    directories.add(os.path.dirname(real))
    try:
        return real if stat.S_ISREG(os.lstat(real).st_mode) else None
    except (OSError, ValueError):
        return None


def _pointer(path: str, _directories: set[str], refused: list[str]) -> str | None:
    """The path of a name that leads to a file; where it leads to is the pipe's business."""
    top = _resolved(os.path.dirname(path), refused)
    if top is None or not _safely(lambda: stat.S_ISREG(os.stat(path).st_mode)):
        return None
    return os.path.join(top, os.path.basename(path))


def _resolved(path: str, refused: list[str]) -> str | None:
    try:
        return resolve(path)
    except Untrusted as error:
        refused.append(f"{path}: {reason(error)}")
    except (OSError, ValueError):
        pass
    return None


def _safely(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:
        return False


def fits(pattern: str, path: str) -> bool:
    """True when a pattern means this path, by the rules of glob(7)."""
    wanted, given = pattern.split("/"), path.split("/")
    return len(wanted) == len(given) and all(
        (name[:1] != "." or part[:1] == ".") and fnmatch.fnmatchcase(name, part)
        for part, name in zip(wanted, given)
    )


def signature(directory: str) -> tuple[int, int, int] | None:
    """Changes when a name comes or goes in a directory; None when it is missing."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def rotated_from(path: str, origins: Collection[str]) -> bool:
    """True when a path is that of a rotated file, or of a compressed one, of one of `origins`."""
    directory, name = os.path.split(path)
    for at, letter in enumerate(name):
        if letter in ".-" and at:
            origin = os.path.join(directory, name[:at])
            if origin in origins and (name[at:] in EXTENSIONS or is_rotated(path, origin)):
                return True
    return False
