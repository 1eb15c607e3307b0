"""Opens an origin and its rotated files so that nobody else decides what is read.

The programs run as root, and a log directory often belongs to an application.  Whoever may
write there could put a link in the place of the log, or of a directory above it, or a hard
link to somebody else's file.  So what a path leads to is found out once, at the start;
after that no part of it is followed that has become a link, and a file counts only if one
who may write logs there could have written it.

Reads only.  Keeps nothing; a restart trusts what it finds then.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence

from tcppipe.errors import reason
from tcppipe.files.fs import FS
from tcppipe.process.trouble import Say
from tcppipe.rotated import is_rotated

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
MOST_LINKS = 40  # that one path may lead through
REMIND = 3600.0  # seconds between two words about the same thing
FRESH = 2.0  # seconds for which a directory's time may not tell of a second change
DATED = re.compile(r"(?<!\d)((?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])|1\d{9})")  # in a file's name


class Untrusted(PermissionError):
    """A file that somebody put there who must not decide what is read."""

    def __init__(self, cause: str, path: str) -> None:
        super().__init__(errno.EACCES, cause, path)


class Guarded(FS):
    """The FS for the files of one origin at `path` (str, absolute, without links).

    say: a function (level, text), told once of each rotated file that is refused.  named: the path
    before it was resolved, if that may be a link: when it is turned to another file, that is said.
    """

    def __init__(
        self, path: str, say: Say, patterns: Sequence[str] = (), named: str | None = None
    ) -> None:
        self._path = path
        self._named = None if named == path else named
        self._named_at = 0.0  # when the next word about it is due
        self._say = say
        self._owner: int | None = None  # whom the first file belongs to
        self._patterns = patterns
        self._told: set[tuple[str, str]] = set()

    def meet(self) -> None:
        """Take the file that stands there now, if there is one, for the first."""
        try:
            status = os.lstat(self._target())
        except OSError:
            return
        if not stat.S_ISLNK(status.st_mode):
            self._owner = status.st_uid

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """os.open, but no part of the path may be a link, nor the file a stranger's."""
        assert not flags & (os.O_WRONLY | os.O_RDWR)
        try:
            return self._open(path, flags)
        except Untrusted as error:
            if path != self._path:
                self._tell(path, reason(error))
            raise

    def stat(self, path: str) -> os.stat_result:
        """os.lstat: a link is no regular file."""
        if path == self._path and self._named is not None:
            self._look_at_the_name(self._named)
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) and path != self._path:
            if is_rotated(path, self._path, self._patterns):
                self._tell(path, "a symbolic link is not followed")
        return status

    def _look_at_the_name(self, named: str) -> None:
        now = time.monotonic()
        real = os.path.realpath(named)
        if real == self._path or not os.path.exists(real):
            self._named_at = 0.0
        elif now >= self._named_at:
            self._named_at = now + REMIND
            self._say(
                "warning",
                f"{self._path}: {named} leads to {real} now, which is not sent; "
                "start again; a link that is turned time and again is a pointer, see --pointer",
            )

    def _target(self) -> str:
        return self._path

    def _tell(self, path: str, cause: str) -> None:
        if (path, cause) not in self._told:
            self._told.add((path, cause))
            self._say("error", f"{path}: not read: {cause}")

    def _open(self, path: str, flags: int) -> int:
        """Open it, and check whose it is."""
        *above, last = [part for part in path.split("/") if part]
        directory = os.open("/", _DIRECTORY)
        at = ""
        try:
            for part in above:
                at += "/" + part
                below = _opened(part, _DIRECTORY, directory, at)
                os.close(directory)
                directory = below
            fd = _opened(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY, directory, path)
            try:
                self._check(os.fstat(fd), os.fstat(directory), path)
            except OSError:
                os.close(fd)
                raise
            return fd
        finally:
            os.close(directory)

    def _check(self, status: os.stat_result, directory: os.stat_result, path: str) -> None:
        """Raise Untrusted for a file that one who writes logs here could not have written."""
        if self._owner is None and path in (self._path, self._target()):
            self._owner = status.st_uid
        if status.st_uid in (self._owner, directory.st_uid, 0) or _is_ours(directory):
            return
        raise Untrusted(
            f"belongs to user {status.st_uid}, neither the owner of the first file nor of its "
            "directory; a restart takes it",
            path,
        )


class Pointed(Guarded):
    """The same for an origin whose name is a pointer: a link, symbolic or hard, that is turned from
    one dated file to the next.

    patterns: absolute paths with wildcards in their last part; the link is followed to files that
    they fit, and to nothing else.  A link that was not turned, as some programs forget, is
    overtaken by the newest file: one with a later date in its name that was written to later.
    """

    pointing = True

    def __init__(self, path: str, say: Say, patterns: Sequence[str]) -> None:
        super().__init__(path, say, patterns)
        self._seen: tuple[int, int, list[int]] | None = None  # what the last answer depends on: …
        self._newest: str | None = None  # … the path of the file that the pointer should lead to
        # (what the pointer was, key of the newest file) once it was overtaken
        self._passed: tuple[tuple[int, int], list[int]] | None = None

    @property
    def leads_to_a_dated_file(self) -> bool:
        """True when the pointer is a symbolic link that may be followed."""
        try:
            return os.path.islink(self._path) and self._pointed() is not None
        except Untrusted:
            return False

    def stat(self, path: str) -> os.stat_result:
        """The file that the pointer leads to; others as they are."""
        return super().stat(self._target() if path == self._path else path)

    def _open(self, path: str, flags: int) -> int:
        return super()._open(self._target() if path == self._path else path, flags)

    def _target(self) -> str:
        pointed = self._pointed()
        seen = self._state()
        if seen is None or seen != self._seen:
            self._newest, self._seen = self._overtaking(pointed), seen
        return self._newest or pointed

    def _pointed(self) -> str:
        """What the pointer leads to: a path, its own when it is no symbolic link."""
        try:
            link = os.readlink(self._path)
        except OSError:
            return self._path  # a hard link, or nothing
        directory, name = os.path.split(os.path.join(os.path.dirname(self._path), link))
        target = os.path.join(os.path.realpath(directory), name)
        if self._fits(target):
            return target
        raise Untrusted(f"leads to {target}, which its pattern does not fit", self._path)

    def _fits(self, path: str) -> bool:
        directory, name = os.path.split(path)
        return any(
            directory == os.path.dirname(pattern)
            and fnmatch.fnmatchcase(name, os.path.basename(pattern))
            for pattern in self._patterns
        )

    def _state(self) -> tuple[int, int, list[int]] | None:
        """Changes when the pointer is turned, or a name comes or goes; None: it may have."""
        try:
            pointer = os.lstat(self._path)
            tops = [os.stat(os.path.dirname(pattern)).st_mtime_ns for pattern in self._patterns]
        except OSError:
            return None
        if max(tops, default=0) > (time.time() - FRESH) * 1e9:
            return None
        return pointer.st_ino, pointer.st_ctime_ns, tops

    def _overtaking(self, pointed: str) -> str | None:
        """The newest file, if it was begun after the one that the pointer leads to; or None."""
        try:
            pointer = os.lstat(self._path)
            there = os.lstat(pointed)
        except OSError:
            return None
        here = pointer.st_ino, pointer.st_dev
        rows = list(self._dated())
        name = next((full for _key, full, status in rows if _same(status, there)), None)
        if name is None:
            return None
        key, newest, status = max(rows, key=lambda row: row[:2])
        if key <= _date(name):
            return None
        if self._passed is not None and self._passed[0] == here and key >= self._passed[1]:
            self._passed = here, key
            return newest
        if status.st_mtime_ns < there.st_mtime_ns:
            return None
        self._passed = here, key
        self._say(
            "info",
            f"{self._path}: still leads to {name}, but {newest} was begun after it, and is sent",
        )
        return newest

    def _dated(self) -> Iterator[tuple[list[int], str, os.stat_result]]:
        """(date, path, stat result) of the files that the patterns fit."""
        for directory in {os.path.dirname(pattern) for pattern in self._patterns}:
            try:
                names = os.listdir(directory)
            except OSError:
                continue
            for name in names:
                full = os.path.join(directory, name)
                if not DATED.search(name) or not self._fits(full) or full == self._path:
                    continue
                try:
                    status = os.lstat(full)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield _date(full), full, status


def _date(path: str) -> list[int]:
    """The numbers in a file's name."""
    return [int(run) for run in re.findall(r"\d+", os.path.basename(path))]


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _opened(name: str, flags: int, directory: int, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            link = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(link.st_mode):
                cause = "has become a symbolic link, not followed; a restart follows it"
                raise Untrusted(f"{path} {cause}", path) from None
        raise OSError(error.errno, error.strerror, path) from None


def _is_ours(directory: os.stat_result) -> bool:
    """True when nobody but us, or root, can put a name into a directory."""
    return directory.st_uid in (0, os.geteuid()) and not directory.st_mode & 0o022


def resolve(path: str) -> str:
    """The path without links, as os.path.realpath has it, of a name that we were not told.

    Raises Untrusted when it leads through a link that was made neither by root, nor by us, nor
    by whom the file belongs to that it leads to.
    """
    parts, at, makers = _parts(path), "/", set()
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, part)
        try:
            status = os.lstat(here)
        except OSError:
            return os.path.join(here, *parts)
        if not stat.S_ISLNK(status.st_mode):
            at = here
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        makers.add(status.st_uid)
        target = os.readlink(here)
        parts[:0] = _parts(target)
        at = "/" if target.startswith("/") else at
    strangers = makers - {0, os.geteuid(), os.lstat(at).st_uid}
    if strangers:
        raise Untrusted(
            f"leads through a link of user {min(strangers)} to {at}, which is another's; "
            "not followed",
            path,
        )
    return at


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
