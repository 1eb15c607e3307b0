"""Where things are kept, and what they are called.

Says where and how, and makes nothing but directories, when asked to (ensure).
`tcppipe -I` asks here, so this loads next to nothing.
"""

from __future__ import annotations

import errno
import os

from tcppipe.errors import ConfigError, reason

# The directories.


def run_dir(given: str | None = None) -> str:
    """The directory of pid and status files.  Says where, makes nothing (see ensure)."""
    directory = given or os.environ.get("TCPPIPE_RUN_DIR")
    if directory:
        return os.path.abspath(directory)
    if os.access("/var/run", os.W_OK):
        return "/var/run"
    directory = _private_run_dir()
    if os.path.lexists(directory):
        _must_be_ours(directory)
    return directory


def state_dir(given: str | None = None) -> str:
    """The directory of ledgers.  Says where, makes nothing (see ensure)."""
    directory = given or os.environ.get("TCPPIPE_STATE_DIR")
    if directory:
        return os.path.abspath(directory)
    if os.geteuid() == 0 or os.access("/var/lib/tcppipe", os.W_OK):
        return "/var/lib/tcppipe"
    home = os.environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        home = os.path.expanduser("~/.local/state")
        if not home.startswith("/"):
            raise ConfigError(
                f"user {os.geteuid()} has no home: say --state-dir DIR, or set TCPPIPE_STATE_DIR"
            )
    return home + "/tcppipe"


def ensure(directory: str, mode: int | None = None) -> str:
    """Make a directory and its parents if they are missing, and return it.

    Without a mode, root's directories may be read by all and a user's by nobody else.
    """
    private = directory == _private_run_dir()
    if mode is None:
        mode = 0o700 if private or os.geteuid() != 0 else 0o755
    try:
        _make(directory, mode)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot make this directory: {reason(error)}") from None
    if private:
        _must_be_ours(directory)
    return directory


def _private_run_dir() -> str:
    # cron does not set XDG_RUNTIME_DIR, and has to find what a login shell has started.
    uid = os.geteuid()
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if base.startswith("/") and os.access(base, os.W_OK):
            return base + "/tcppipe"
    return f"/tmp/tcppipe-{uid}"


def _must_be_ours(directory: str) -> None:
    # In /tmp anybody may have been there first, to have us write to or signal what he likes.
    status = os.lstat(directory)
    if status.st_mode & 0o170000 != 0o040000:
        raise ConfigError(f"{directory}: refused: not a directory")
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{directory}: refused: it belongs to user {status.st_uid}")
    if status.st_mode & 0o022:
        raise ConfigError(f"{directory}: refused: others may write there")


def open_to_others(*paths: str) -> list[str]:
    """Those of these files and directories that every user may write to."""
    return [path for path in paths if os.stat(path).st_mode & 0o002]


def _make(directory: str, mode: int) -> None:
    parent = os.path.dirname(directory)
    if parent and not os.path.isdir(parent):
        _make(parent, 0o755)
    try:
        os.mkdir(directory, mode)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


# The names.

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_LONGEST = 200
_READABLE = 150  # with a dot and a digest longer than _LONGEST: no short name looks like it


def pipe_base(host: str, port: int, path: str) -> str:
    """The file name, without .pid or .pipe, of the pipe from an absolute path to a host.

    Two pipes never share a name.  Host names do not tell capitals from small letters.
    """
    # In small letters a slash in the host is %2f, so the first %2F is where the path begins.
    return _short(f"{_quote(host).lower()}-{port}.{_quote(path)}")


def ledger_base(host: str, path: str) -> str:
    """The file name, without .ledger or .lock, of the pipe from a host's file.

    Two pipes never share a name.
    """
    return _short(f"{_quote(host).lower()}.{_quote(path)}")


def ledger_of(directory: str, host: str, path: str, merged: str | None = None) -> str:
    """The ledger of the pipe from a host's file; merged: the local file, if others lead there."""
    if merged is not None:
        return os.path.join(directory, file_name(merged) + ".merge")
    return os.path.join(directory, ledger_base(host, path) + ".ledger")


def lock_of(directory: str, path: str) -> str:
    """The file that is locked by whoever writes to the destination `path`.

    Called by the destination's place, and not by the words for it: a directory that is a link
    to another one does not let two write to one file.
    """
    above, name = os.path.split(path)
    place = os.path.join(os.path.realpath(above), name)
    return os.path.join(directory, file_name(place) + ".merge.lock")


def file_name(path: str) -> str:
    """A file name for an absolute path; no other path has it, and no pipe."""
    return _short(_quote(path))


def _short(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    import hashlib

    return f"{name[:_READABLE]}.{hashlib.sha256(name.encode()).hexdigest()}"


def original_base(host: str, port: int, path: str) -> str:
    """The name that the original program gave to that pipe.  Some pipes share one."""
    product = 1
    for byte in os.fsencode(path):
        product *= byte - 256 if byte > 127 else byte
        product = product % 0x1FFF if product >= 0 else -(-product % 0x1FFF)  # as C does
    return f"{host}-{port}.{os.path.basename(os.fsdecode(path))}.{product:4d}"


def _quote(name: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(name))
