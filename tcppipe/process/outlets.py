"""Where messages go: syslogd, and a terminal or whatever stands in its place.

Nobody waits here: not for a syslogd that does not read, nor for a reader of our standard
error who has gone to lunch.  What is not taken at once is dropped and counted, and how much
that was is said as soon as something is taken again.
Our own few lines in place of syslog(3), which waits, and which goes on using the number of
its descriptor when that was closed and is a file of somebody else.  A crash leaves nothing.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

SYSLOGD = ("/dev/log", "/var/run/syslog", "/var/run/log")  # Linux, macOS, FreeBSD
LOCAL5 = 21 << 3
WARNING = 4
# A terminal or a reader that is gone is not our end, and will not come back.  Other faults are a
# full disk, or something like it.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)


class Outlet(ABC):
    """A subclass has _take(), which never waits."""

    name = ""  # as people know it

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = b""  # what was not taken yet of a line that is begun …
        self._whose = 0  # … and the process that has begun it

    @abstractmethod
    def _take(self, priority: int, line: str) -> bool:
        """Whether that was taken."""

    def put(self, priority: int, line: str) -> bool:
        """Hand over a line (str) of a priority from 0 to 7; True when it was taken."""
        if self.dropped:
            text = f"{self.dropped} messages were dropped: {self.name} did not take them"
            if self._take(WARNING, text):
                self.dropped = 0
        taken = not self.dropped and self._take(priority, line)
        self.dropped += not taken
        return taken

    def _write(self, write: Callable[[bytes], int], data: bytes) -> bool:
        """Hand over bytes by a function that may take only some; the next ones go behind the rest."""
        if self._whose != os.getpid():
            self._whose, self._rest = os.getpid(), b""
        while self._rest:
            self._rest = self._rest[write(self._rest) :]
        self._rest = data[write(data) :]
        return True


class Syslog(Outlet):
    """syslogd, as `program`, facility LOCAL5.  paths: where it may listen."""

    name = "syslogd"

    def __init__(self, program: str, paths: Sequence[str] = SYSLOGD) -> None:
        super().__init__()
        self.program = program
        self._paths = paths
        self._sock: socket.socket | None = None
        self._file: tuple[int, int] | None = None  # device and inode of our socket
        self._stream = False
        self._pid = 0  # who made the connection

    def _take(self, priority: int, line: str) -> bool:
        stamp = time.strftime("%b %e %H:%M:%S")
        text = f"<{LOCAL5 | priority}>{stamp} {self.program}[{os.getpid()}]: {line}"
        data = text.encode(errors="backslashreplace")
        for _attempt in range(2):
            if not self._connected() and not self._connect():
                return False
            try:
                return self._send(data)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in (errno.ENOBUFS, errno.ENOMEM, errno.EMSGSIZE):
                    return False
                self.close()  # it was started anew: once more
        return False

    def _send(self, data: bytes) -> bool:
        assert self._sock is not None
        if not self._stream:
            self._sock.send(data)
            return True
        return self._write(self._sock.send, data + b"\0")

    def _connected(self) -> bool:
        if self._is_ours() and self._stream and self._pid != os.getpid():
            self.close()  # two processes would write into each other's lines
        return self._sock is not None

    def _is_ours(self) -> bool:
        """True while our descriptor is: a detaching closes it, and another gets its number."""
        if self._sock is None:
            return False
        try:
            status = os.fstat(self._sock.fileno())
            ours = (status.st_dev, status.st_ino) == self._file
        except OSError:
            ours = False
        if not ours:
            self._sock.detach()
            self._sock, self._rest = None, b""
        return self._sock is not None

    def _connect(self) -> bool:
        for path in self._paths:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                try:
                    sock = socket.socket(socket.AF_UNIX, kind)
                except OSError:
                    return False
                try:
                    sock.setblocking(False)
                    sock.connect(path)
                    status = os.fstat(sock.fileno())
                except OSError as error:
                    sock.close()
                    if error.errno == errno.EPROTOTYPE:
                        continue
                    break
                self._sock, self._stream = sock, kind == socket.SOCK_STREAM
                self._file, self._pid = (status.st_dev, status.st_ino), os.getpid()
                return True
        return False

    def close(self) -> None:
        """End the connection; the next message makes another."""
        if self._sock is not None and self._is_ours():
            self._sock.close()
        self._sock, self._rest = None, b""


class Stream(Outlet):
    """An open descriptor that lines are written to.  line(priority, text): how they look."""

    def __init__(self, fd: int, name: str, line: Callable[[int, str], str]) -> None:
        super().__init__()
        self.fd = fd
        self.name = name
        self._line = line

    def _take(self, priority: int, line: str) -> bool:
        data = (self._line(priority, line) + "\n").encode(errors="backslashreplace")
        try:
            if not select.select((), (self.fd,), (), 0)[1]:
                return False
            return self._write(lambda data: os.write(self.fd, data), data)
        except OSError as error:
            return error.errno in GONE

    @property
    def is_journal(self) -> bool:
        """True when systemd's journal reads it, which hears all of it from syslogd, too."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
