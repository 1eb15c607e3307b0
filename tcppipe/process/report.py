"""Saying things: to syslog, and to the terminal when in the foreground.

Each message is one line of printable text, whatever names and bytes are in it, so
nobody can forge a second line.  Saying something never fails: a dead syslogd or a
closed terminal is not our death.
Does not decide what is worth saying, nor how often.
"""

import os
import sys
import syslog

_program = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else "tcppipe"
_foreground = False


def open(program, foreground=False):
    """Speak as this program from now on.  Once more after detaching, which ends the connection."""
    global _program, _foreground
    _program, _foreground = program, foreground
    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_LOCAL5)


def close():
    """End the connection to syslogd, whose descriptor would not survive a detaching."""
    syslog.closelog()


def critical(message):
    """Something is lost or will be: bytes, or the whole program."""
    _say(syslog.LOG_CRIT, message, _foreground)


def error(message):
    """Something failed, and somebody has to see to it."""
    _say(syslog.LOG_ERR, message, _foreground)


def warning(message):
    """Something failed which mends by itself."""
    _say(syslog.LOG_WARNING, message, _foreground)


def info(message):
    """The state has changed."""
    _say(syslog.LOG_INFO, message, _foreground)


def debug(message):
    """For those who look for a mistake of ours."""
    _say(syslog.LOG_DEBUG, message, _foreground)


def say(level, message):
    """The function of this module that is called `level`, with this message."""
    globals()[level](message)


def fatal(message):
    """Why the program ends: on standard error in any case.  Returns its exit status, 1."""
    _say(syslog.LOG_CRIT, message, True)
    return 1


def one_line(message):
    """The message (text, bytes or an exception) as one line of printable text."""
    text = os.fsdecode(message) if isinstance(message, bytes) else str(message)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code):
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode hides it
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _say(priority, message, aloud):
    line = one_line(message)
    # Without a sys.stderr number 2 was closed from the start: it may be a file of ours.
    if aloud and sys.stderr is not None:
        try:
            os.write(2, f"{_program}: {line}\n".encode())
        except OSError:
            pass
    syslog.syslog(priority | syslog.LOG_LOCAL5, line)
