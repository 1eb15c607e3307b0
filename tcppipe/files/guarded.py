"""Opens an origin and its rotated files so that nobody else decides what is read.

The programs run as root, and a log directory often belongs to an application.  Whoever may
write there could put a link in the place of the log, or of a directory above it, or a hard
link to somebody else's file.  So what a path leads to is found out once, at the start;
after that no part of it is followed that has become a link, and a file counts only if one
who may write logs there could have written it.

Reads only.  Keeps nothing; a restart trusts what it finds then.
"""

import errno
import os
import stat

from tcppipe.files.fs import FS
from tcppipe.files.generations import is_rotated

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
MOST_LINKS = 40  # that one path may lead through


class Untrusted(PermissionError):
    """A file that somebody put there who must not decide what is read."""

    def __init__(self, cause, path):
        super().__init__(errno.EACCES, cause, path)


class Guarded(FS):
    """The FS for the files of one origin at `path` (str, absolute, without links).

    say: a function (level, text), told once of each rotated file that is refused.  owner: the
    user whom the origin belongs to; None: whoever owns the first file that is opened there.
    """

    def __init__(self, path, say, owner=None, patterns=()):
        self._path = path
        self._say = say
        self._owner = owner
        self._patterns = patterns
        self._told = set()

    def open(self, path, flags, mode=0o600):
        """os.open, but no part of the path may be a link, nor the file a stranger's."""
        assert not flags & (os.O_WRONLY | os.O_RDWR)
        try:
            return self._open(path, flags)
        except Untrusted as error:
            if path != self._path:
                self._tell(path, error.strerror)
            raise

    def stat(self, path):
        """os.lstat: a link is no regular file."""
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) and path != self._path:
            if is_rotated(path, self._path, self._patterns):
                self._tell(path, "a symbolic link is not followed")
        return status

    def _tell(self, path, cause):
        if (path, cause) not in self._told:
            self._told.add((path, cause))
            self._say("error", f"{path}: not read: {cause}")

    def _open(self, path, flags):
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

    def _check(self, status, directory, path):
        """Raise Untrusted for a file that one who writes logs here could not have written."""
        if self._owner is None and path == self._path:
            self._owner = status.st_uid
        if status.st_uid in (self._owner, directory.st_uid, 0) or _is_ours(directory):
            return
        raise Untrusted(
            f"belongs to user {status.st_uid}, neither the owner of the first file nor of its "
            "directory; a restart takes it",
            path,
        )


def _opened(name, flags, directory, path):
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            link = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(link.st_mode):
                cause = "has become a symbolic link, not followed; a restart follows it"
                raise Untrusted(f"{path} {cause}", path) from None
        raise OSError(error.errno, error.strerror, path) from None


def _is_ours(directory):
    """True when nobody but us, or root, can put a name into a directory."""
    return directory.st_uid in (0, os.geteuid()) and not directory.st_mode & 0o022


def resolve(path):
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


def _parts(path):
    return [part for part in path.split("/") if part not in ("", ".")]
