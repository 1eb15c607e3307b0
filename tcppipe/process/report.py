"""Saying things: to syslog, and to the terminal when in the foreground.

Each message is one line of printable text, whatever names and bytes are in it, so
nobody can forge a second line; a name of any length is cut to what people can read.
Saying something never fails and never waits: a dead or a deaf syslogd, or a closed
terminal, is not our death.  What can be said is bounded (see budget.py), whoever says it:
that stands here, so that no message can forget it.
Does not decide what is worth saying.
"""

from __future__ import annotations

import _thread
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable

from tcppipe.errors import place
from tcppipe.process.budget import Budget
from tcppipe.process.outlets import Stream, Syslog

CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG = range(2, 8)  # as syslog(3) has them
Message = str | bytes | BaseException
Streams = Callable[[int], Stream]  # the Stream for a priority

WORD = 200  # characters of a name that are shown
LINE = 1000  # characters of a message

TRACING = bool(os.environ.get("TCPPIPE_TRACE"))  # somebody looks for a mistake

_LONG = re.compile(rf"[^\s:]{{{WORD + 1},}}")

_program = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else "tcppipe"
_subject = _peer = ""
_syslog = Syslog(_program)
_streams: Streams | None = None  # None in the background
_budget = Budget()
# Where memory is short, no function of ours can be called: this one is not ours.
_unraised: deque[sys.UnraisableHookArgs] = deque(maxlen=8)
_ready: Callable[[int, str], object] | None = None
_one = _thread.allocate_lock()  # threads have their say one after the other


def open(program: str, foreground: bool = False, streams: Streams | None = None) -> None:
    """Speak as this program from now on.  Once more after detaching, which ends the connection.

    streams: in the foreground, a function that gives the Stream for a priority, if that is
    not standard error.
    """
    global _program, _streams
    sys.unraisablehook = _unraised.append
    _program = _syslog.program = program
    _streams = (streams or _standard_error) if foreground else None


def close() -> None:
    """End the connection to syslogd, whose descriptor would not survive a detaching."""
    _syslog.close()


def share() -> None:
    """In a server: from now on children have their share of one budget."""
    _budget.share()


def about(subject: str, peer: str = "") -> None:
    """What this process says from now on is about this peer or pipe (str).

    peer: who has thought of its name.
    """
    global _subject, _peer
    _subject, _peer = subject, peer


def critical(message: Message) -> None:
    """Something is lost or will be: bytes, or the whole program."""
    say("critical", message)


def error(message: Message) -> None:
    """Something failed, and somebody has to see to it."""
    say("error", message)


def warning(message: Message) -> None:
    """Something failed which mends by itself."""
    say("warning", message)


def notice(message: Message) -> None:
    """Somebody wants something that is not for him."""
    say("notice", message)


def info(message: Message) -> None:
    """The state has changed."""
    say("info", message)


def debug(message: Message) -> None:
    """For those who look for a mistake of ours."""
    say("debug", message)


def trace(message: Message) -> None:
    """For those who look for a mistake, and have asked for all of it: it has no budget."""
    if TRACING:
        _emit(DEBUG, one_line(message))


def say(level: str, message: Message, subject: str | None = None) -> None:
    """A message of the level with this name.  subject: whom it is about, if not about whom
    this process is."""
    priority: int = globals()[level.upper()]
    subject, peer = (_subject, _peer) if subject is None else (subject, "")
    with _one:
        may, before = _budget.spend(subject, priority <= ERROR, time.monotonic(), peer)
        if before:
            _suppressed(subject, before)
        if may:
            _emit(priority, one_line(message))


def tend() -> None:
    """Now and then: say how much was suppressed of which nothing more was said, and the like."""
    _say_unraised()
    with _one:
        for subject, number in _budget.overdue(time.monotonic()):
            _suppressed(subject, number)


def _suppressed(subject: str, number: int) -> None:
    about = f"{subject}: " if subject else ""
    _emit(WARNING, one_line(f"{about}suppressed {number} more messages"))


def bug(where: str, error: BaseException) -> None:
    """A mistake of ours, with its place.  where: what is concerned, in words."""
    critical(f"{where}: bug: {type(error).__name__}: {error} ({place(error)})")


def awaited(ready: Callable[[int, str], object]) -> None:
    """Somebody waits to hear how our start went: fatal() tells him, too."""
    global _ready
    _ready = ready


def _say_unraised() -> None:
    """What went wrong in a thread or a clean-up, so that nobody was told.  A thread that could not
    begin for want of memory is missed by whoever waits for it, and says so."""
    while _unraised:
        error = _unraised.popleft().exc_value
        if not isinstance(error, MemoryError) and error is not None:
            bug("a thread or a clean-up", error)


def fatal(message: Message) -> int:
    """Why the program ends: on standard error in any case.  Returns its exit status, 1."""
    line = one_line(message)
    _emit(CRITICAL, line, _standard_error)
    if _ready is not None:
        _ready(1, f"{_program}: {line}")
    return 1


def one_line(message: Message) -> str:
    """The message (text, bytes or an exception) as one line of printable text."""
    text = os.fsdecode(message) if isinstance(message, bytes) else str(message)
    text = _LONG.sub(_cut, text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(ord(c)) for c in text[: LINE + 1])
        text = _LONG.sub(_cut, text)
    return text if len(text) <= LINE else text[:LINE] + "..."


def _cut(found: re.Match[str]) -> str:
    return name(found[0])


def name(path: str) -> str:
    """A path as it is shown in messages: not longer than people can read."""
    return path if len(path) <= WORD else path[:WORD] + "..."


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode hides it
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _emit(priority: int, line: str, streams: Streams | None = None) -> None:
    taken = _syslog.put(priority, line)
    streams = streams or _streams
    # Without a sys.stderr number 2 was closed from the start: it may be a file of ours.
    if streams is not None and sys.stderr is not None:
        stream = streams(priority)
        if not (taken and stream.is_journal):
            stream.put(priority, line)


_stderr = Stream(2, "standard error", lambda _priority, line: f"{_program}: {line}")


def _standard_error(_priority: int) -> Stream:
    return _stderr
