"""tcppipe.conf as it stands, and what a server's children know of it.

The table is read again when its file changes; a broken one is refused whole, and the old
one stays in force.  The parent reads it and has the names looked up; its children learn
from it what is new.
"""

from __future__ import annotations

import os
import time

from tcppipe.conf import pipes
from tcppipe.conf.entry import Entry
from tcppipe.errors import ConfigError
from tcppipe.files import configuration
from tcppipe.files.owners import look_up_owner
from tcppipe.net.resolver import HostNames
from tcppipe.process.shared import Shared

JUST = 60.0  # seconds after a change of the table in which no "no" is for good


class Table:
    """The configuration as it stands in its file, read again when that changes.

    changed_at: when it last became another one, of a monotonic clock; None: never.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.changed_at: float | None = None
        self._seen: tuple[int, ...] | None = None
        self._read = False

    def read(self) -> None:
        """Read the file.  Raises ConfigError, and keeps the old entries then."""
        seen = self._signature()
        text = configuration.read(self.path)
        self._seen = seen
        entries = pipes.parse(text, self.path)
        for entry in entries:
            if entry.owner:
                try:
                    look_up_owner(entry.owner)
                except (ConfigError, ValueError) as error:
                    raise ConfigError(f"{self.path}:{entry.line}: {error}") from None
        if self._read and entries != self.entries:
            self.changed_at = time.monotonic()
        self.entries, self._read = entries, True

    def refresh(self) -> bool:
        """Read the file again if it has changed; True when it was read.

        Raises ConfigError, once for each change.
        """
        seen = self._signature()
        if seen in (None, self._seen):
            return False  # what was read is still in force
        self.read()
        return True

    def _signature(self) -> tuple[int, ...] | None:
        """What changes when the file does; None when it is not there."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        numbers = status.st_dev, status.st_ino, status.st_size
        return *numbers, status.st_mtime_ns, status.st_ctime_ns

    @property
    def settled(self) -> bool:
        """True when what it does not have may be meant: it has something, and not just since."""
        changing = self.changed_at is not None and time.monotonic() < self.changed_at + JUST
        return bool(self.entries) and not changing


class Knowledge:
    """A table and the addresses of its names.  What the parent knows, its children learn."""

    def __init__(self, table: Table, names: HostNames) -> None:
        self.table = table
        self.names = names
        self.asking, self._ask = os.pipe()  # a child asks for a look-up of the names
        os.set_blocking(self.asking, False)
        os.set_blocking(self._ask, False)
        self._shared = Shared()

    def publish(self) -> None:
        """In the parent: this is known now.  Raises OSError."""
        entries = [tuple(entry) for entry in self.table.entries]
        self._shared.put((entries, self.table.changed_at, self.names.known()))

    def renew(self) -> bool:
        """In a child: know what the parent knows now; True if that is news."""
        news = self._shared.news()
        if news is None:
            return False
        entries, self.table.changed_at, known = news
        self.table.entries = [Entry(*fields) for fields in entries]
        self.names.learn(known)
        return True

    def ask(self) -> None:
        """In a child: have the names looked up."""
        try:
            os.write(self._ask, b"x")
        except OSError:
            pass  # others have asked enough

    def asked(self) -> None:
        """In the parent: forget who asked so far."""
        try:
            while os.read(self.asking, 4096):
                pass
        except BlockingIOError:
            pass
