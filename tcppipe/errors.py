"""What can go wrong, sorted by what to do next.

Every message names the object first and the cause last, in one line, because
it goes to a terminal or to syslog as it is.  A bug of ours is none of these:
it is an AssertionError and ends the process.
"""

from __future__ import annotations

import errno
import os


class TcppipeError(Exception):
    """Any error that this project foresees.  str() is a line for people."""


class ConfigError(TcppipeError):
    """A command line or configuration file is wrong: fix it, then start again."""


class Unreadable(ConfigError):
    """A configuration file cannot be read: perhaps only for now, so a daemon tries again."""


class Refused(TcppipeError):
    """The other side, or another process here, says no for good.

    At the first start, where a person reads it, that is the end.  Later it is asked again now
    and then: what was taken out of a table by mistake may stand there again."""


class NotNow(Refused):
    """The other side, or another process here, says no for now: try again after a pause."""


class LinkLost(TcppipeError):
    """The connection is gone or was never made: connect again after a pause."""


class PeerError(LinkLost):
    """The other side broke the protocol: close, then connect again after a pause."""


class Blocked(TcppipeError):
    """A file cannot be read or written for now (disk full, read-only, no rights,
    missing directory): keep what is in hand, say so, and try the same step again."""

    pause = 1.0  # seconds until then


class Busy(Blocked):
    """A long step has done a part of its work: try it again at once, nothing is wrong."""

    pause = 0.0
    long = True  # it may take so long that the other side has to be told


class SyncFailed(TcppipeError):
    """The kernel could not write a file back.  Final for that descriptor: give up
    what is not yet acknowledged, and start again from the last durable mark."""


# What the system calls by words that lead elsewhere: we ask it not to follow links, and we read at
# offsets, which a named pipe does not have.
_BETTER = {
    errno.ELOOP: "Is a symbolic link, and not followed (or leads in a circle)",
    errno.ESPIPE: "Not a regular file",
}


def reason(error: BaseException) -> str:
    """The cause of an exception in a few words: an OSError's text without its number."""
    if isinstance(error, MemoryError):
        return "Cannot allocate memory"
    if isinstance(error, OSError) and error.errno in _BETTER:
        return _BETTER[error.errno]
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def in_words(error: BaseException) -> str:
    """What an exception is about, if it knows, and its cause."""
    named = getattr(error, "filename", None)
    return (f"{os.fsdecode(named)}: " if named else "") + reason(error)


def place(error: BaseException) -> str:
    """Where an exception was raised, in our own code: FILE:LINE."""
    found, trace = "?", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "tcppipe" in name:
            found = f"{name.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
