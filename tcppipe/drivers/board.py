"""What SNMP is told: a file for each server, with OK or with the first thing that is wrong.

The files are replaced, never written in place, and touched as long as we live: an old one
means that nobody looks after it.  Another name in the directory is not ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Protocol

from tcppipe.conf.fetch import Source
from tcppipe.errors import reason
from tcppipe.files.fs import FS, REAL, open_new
from tcppipe.process.trouble import Say

TOUCH = 25.0  # seconds between two touches; the original's reader waits for 120
LONGEST = 250  # bytes of a status


class Shown(Protocol):
    """What the board wants to know of a source: drivers/fetch."""

    @property
    def source(self) -> Source:
        """The line that it is of."""

    @property
    def tried(self) -> bool:
        """True when it is known whether anything is wrong."""

    @property
    def error(self) -> str | None:
        """What is wrong for now, or None."""


class Board:
    """The status files in `directory` (str).  say: a function (level, text)."""

    def __init__(self, directory: str, say: Say, fs: FS = REAL) -> None:
        self.directory = directory
        self.fs = fs
        self.due = 0.0  # when show() has something to do at the latest
        self._say = say
        self._shown: dict[str, bytes] = {}  # host: the text in its file
        self._told: str | None = None

    def show(self, fetches: Iterable[Shown], now: float) -> None:
        """Bring the files up to date with these sources."""
        wanted: dict[str, list[Shown]] = {}
        for fetch in fetches:
            wanted.setdefault(fetch.source.host, []).append(fetch)
        touch = now >= self.due
        for host in set(self._shown) - set(wanted):
            self._shown.pop(host)
            self._try(self._remove, host)
        for host, group in wanted.items():
            if not all(fetch.tried for fetch in group):
                continue  # what stands there is old, or soon will be
            text = self._text(group)
            if text != self._shown.get(host):
                if self._try(self._write, host, text):
                    self._shown[host] = text
            elif touch:
                self._try(self._touch, host, text)
        if touch:
            self.due = now + TOUCH

    def _text(self, group: list[Shown]) -> bytes:
        for fetch in group:
            error = fetch.error  # read once: its turn in another thread may end it meanwhile
            if error is not None:
                what = f"ERR {fetch.source.remote}: {error}".encode(errors="replace")
                return b"".join(what.splitlines())[:LONGEST] + b"\n"
        return b"OK\n"

    def _path(self, host: str) -> str:
        return os.path.join(self.directory, host)

    def _write(self, host: str, text: bytes) -> None:
        beside = os.path.join(self.directory, f".{host}.new")
        fd = open_new(self.fs, beside, 0o644)
        try:
            self.fs.fchmod(fd, 0o644)  # whatever the umask: the SNMP agent is another user
            self.fs.write_all(fd, text)
        finally:
            self.fs.close(fd)
        self.fs.rename(beside, self._path(host))

    def _touch(self, host: str, text: bytes) -> None:
        try:
            os.utime(self._path(host))
        except FileNotFoundError:
            self._write(host, text)

    def _remove(self, host: str) -> None:
        try:
            self.fs.unlink(self._path(host))
        except FileNotFoundError:
            pass

    def _try(self, what: Callable[..., None], *args: object) -> bool:
        try:
            what(*args)
        except OSError as error:
            text = f"{self.directory}: cannot write: {reason(error)}"
            if text != self._told:
                self._told = text
                self._say("error", text)
            return False
        self._told = None
        return True
