"""Who asks for us finds us for as long as we run.

A pid file may be removed by whoever cleans up: a rule for old files in /tmp, another unit with
the same RuntimeDirectory, somebody's hand.  Then -I would say that nobody runs, a signal would
reach nobody, and the next minute of cron would start another one.  So each loop looks now and then
whether it still stands there, and makes it again.
A crash leaves a pid file that nobody holds, which is the same as none.
"""

from __future__ import annotations

import os
from math import inf

from tcppipe.errors import TcppipeError, in_words
from tcppipe.process import paths, report
from tcppipe.process.pidfile import PidFile
from tcppipe.process.trouble import Trouble

EVERY = 1.0  # seconds between two looks

_file: PidFile | None = None  # ours, in the process _pid
_pid = 0
_look_at = -inf
_trouble = Trouble(report.say)


def begins(file: PidFile) -> None:
    """This process holds this file from now on."""
    global _file, _pid
    _file, _pid = file, os.getpid()


def ends() -> None:
    """It lets go of it."""
    global _file
    _file = None


def hurry() -> None:
    """Look at the next opportunity: somebody has sent a HUP."""
    global _look_at
    _look_at = -inf


def look(now: float) -> None:
    """If it is time, see whether the file is in its place.  now: of a monotonic clock."""
    global _look_at
    if now < _look_at or _file is None or _pid != os.getpid():
        return
    _look_at = now + EVERY
    try:
        holder = None if _file.is_in_place() else _again(_file)
    except (OSError, MemoryError, TcppipeError) as error:
        text = f"{_file.path}: was removed by somebody, and cannot be made again: {in_words(error)}"
        _trouble.failed(text, now)
        return
    if holder is not None:
        text = f"{_file.path}: was removed by somebody, and process {holder} has made another"
        _trouble.failed(f"{text}: end one of both, me by kill {_pid}", now)
    else:
        _trouble.over(f"{_file.path}: says again who runs,", now)


def _again(file: PidFile) -> int | None:
    """Make it again: None, or the pid of who was faster."""
    file.forget()
    paths.ensure(os.path.dirname(file.path))
    holder = file.take()
    if holder is None:
        report.warning(f"{file.path}: was removed by somebody; made again")
    return holder
