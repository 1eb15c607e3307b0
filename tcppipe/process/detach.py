"""Into the background, with the caller seeing how it went.

python-daemon detaches.  Around it stands what it leaves to others: the caller's
process waits until the daemon says that it is ready, or why not, and leaves with
that exit status.  If the daemon dies first, that is said too.
What the caller should see before anything is forked comes before; connections, locks,
which forks do not inherit, signals and syslog come after.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import NoReturn, Protocol

from tcppipe.errors import ConfigError
from tcppipe.process import report, signals

_NO_DAEMON = "cannot detach: the Python module python-daemon is missing: pip install python-daemon"
_MOST = 4000  # bytes of a message: it fits an empty pipe, so that one read gets all of it


class Ready(Protocol):
    """The daemon's word to the process that started it: with this status, and this message."""

    def __call__(self, status: int = 0, message: str = "") -> None: ...


def ensure_stdio() -> None:
    """Open descriptors 0 to 2 on the null device where they are closed.

    To be called first of all: else the next file or connection gets such a number, and is
    written to, or closed, as if it were a terminal.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            stream = os.fdopen(fd, "w" if fd else "r", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def detach(preserve: Iterable[int] = (), program: str | None = None) -> _Ready:
    """Go on as a daemon that has only these descriptors open; the caller's process stays behind.

    Returns, in the daemon, a function to call once: ready(status=0, message="").  It ends the
    caller's process with that status, and the message on its standard error.
    """
    program = program or os.path.basename(sys.argv[0])
    ensure_stdio()
    try:
        import daemon
    except ImportError:
        raise ConfigError(_NO_DAEMON) from None
    # What stands in a buffer now would be lost, or written twice.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    # Its descriptor is about to be closed, and the number will be somebody else's.
    report.close()
    told, tell = os.pipe()
    if os.fork():
        _leave(told, tell, program)
    os.close(told)
    ready = _Ready(tell)
    try:
        daemon.DaemonContext(
            detach_process=True,  # not to be guessed from what stdin or the parent is
            umask=0o027,
            working_directory="/",
            files_preserve=[*preserve, tell],
            signal_map={},
            pidfile=None,
        ).open()
        for fd in range(3):
            os.set_inheritable(fd, True)
    except (OSError, daemon.daemon.DaemonError) as error:
        ready(1, f"{program}: cannot detach: {error}")
        os._exit(1)
    return ready


class _Ready:
    """The daemon's only word to the process that started it."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def fileno(self) -> int:
        """A descriptor on which poll(2) tells an error when the caller is gone."""
        assert self._fd is not None
        return self._fd

    def __call__(self, status: int = 0, message: str = "") -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        text = message.encode(errors="surrogateescape")[: _MOST - 1]
        try:
            os.write(fd, bytes([status]) + text)
        except OSError:
            pass  # nobody waits any more
        finally:
            os.close(fd)


def _leave(told: int, tell: int, program: str) -> NoReturn:
    """Wait for the daemon's word, pass it on, and end.  Never returns."""
    try:
        os.close(tell)
        # The signals are for whoever waits at the terminal now, not for the daemon.
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        signals.let_go()
        word = os.read(told, _MOST)
        if not word:
            word = b"\1" + os.fsencode(f"{program}: ended before it was ready")
        if word[1:]:
            os.write(2, word[1:] + b"\n")
        os._exit(word[0])
    except OSError:
        pass
    finally:
        os._exit(1)


def in_foreground(status: int = 0, message: str = "") -> None:
    """What detach() returns to a daemon, for a program that stays: tells systemd that it is ready.

    Does nothing unless $NOTIFY_SOCKET is set (sd_notify(3)).
    """
    address = os.environb.get(b"NOTIFY_SOCKET", b"")
    if address and not status:
        import socket

        if address.startswith(b"@"):  # an abstract one (unix(7))
            address = b"\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"READY=1\nMAINPID=%d" % os.getpid(), address)
        except OSError:
            pass  # then systemd times out, and says so
