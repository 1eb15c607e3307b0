"""What tcppipe.conf says, and what it says of one client's file.

The table is read again when its file changes; a broken one is refused whole, and the old
one stays in force.
"""

import os
import signal
import time

from tcppipe.conf import pipes
from tcppipe.errors import ConfigError, LinkLost, Refused, reason
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination, look_up_owner
from tcppipe.files.merged import MergedCopy, lock
from tcppipe.net import peers
from tcppipe.process import report, rundir

NAMES = 4.0  # seconds of the handshake that a name server may take
CLAIM = 4.0  # seconds that another source has to prove that it lives
TAKEOVER = 15.0  # seconds that a child has to end when its own source comes back


class Table:
    """The configuration as it stands in its file, read again when that changes."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        self._seen = None

    def read(self):
        """Read the file.  Raises ConfigError, and keeps the old entries then."""
        try:
            status = os.stat(self.path)
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                text = file.read()
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot read: {reason(error)}") from None
        self._seen = _signature(status)
        entries = pipes.parse(text, self.path)
        for entry in entries:
            if entry.owner:
                try:
                    look_up_owner(entry.owner)
                except ConfigError as error:
                    raise ConfigError(f"{self.path}:{entry.line}: {error}") from None
        self.entries = entries

    def refresh(self):
        """Read the file again if it has changed.  Raises ConfigError, once for each change."""
        try:
            seen = _signature(os.stat(self.path))
        except OSError:
            return  # what was read is still in force
        if seen != self._seen:
            self.read()


def _signature(status):
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Pipe:
    """What the configuration says of one client's file."""

    def __init__(self, table, names, address, path, state_dir):
        self.path = path
        self.name = f"{address}:{path}"
        self._table = table
        self._names = names
        self._address = address
        self._state_dir = state_dir
        self._entry = self._host = self._destination = self._lock = None

    def open(self):
        """Authorize, and try to open the destination: a Copy.

        Raises Refused or ConfigError.  A destination that was in use before and cannot be
        opened for now is no reason to refuse: the pipe waits for it.
        """
        self._entry, self._host = self._find()
        if self._entry is None:
            raise Refused(f"no entry for {self._address}:{self.path}")
        self.name = f"{self._host}:{self.path}"
        self._destination = self._entry.destination(self._host, self.path)
        base = os.path.join(self._state_dir, rundir.ledger_base(self._host, self.path))
        self._lock = rundir.PidFile(base + ".lock")
        entry = self._entry
        destination = Destination(
            self._destination, entry.mode, entry.owner, durable=entry.sync == "group"
        )
        try:
            destination.open()
        except OSError as error:
            if not os.path.exists(base + ".ledger"):
                text = f"{self._destination}: cannot open: {reason(error)}"
                raise Refused(text) from None
        shared = os.path.join(self._state_dir, rundir.file_name(self._destination) + ".merge")
        if entry.merge:
            return MergedCopy(destination, shared, self.name, report.say)
        return Copy(
            destination,
            base + ".ledger",
            report.say,
            mirror=entry.mirror,
            hold=lambda: lock(shared + ".lock"),
        )

    def _find(self):
        """(the entry that allows this pipe, the host's name in it), or (None, None)."""
        until = time.monotonic() + NAMES
        label = []

        def is_host(entry):
            patience = until - time.monotonic()
            label[:] = [peers.matches(entry, self._address, self._names, patience)]
            return label[0] is not None

        entry = pipes.find(self._table.entries, self.path, is_host)
        return (entry, label[0]) if entry is not None else (None, None)

    def claim(self, sender, about):
        """Become the only writer of this pipe; sender: the source's key, or None.

        An older connection of the same source gives way.  Another source keeps the pipe if
        it proves that it lives.  Raises Refused or LinkLost.
        """
        asked = None
        until = time.monotonic() + CLAIM
        while not self._lock.i_am_locking():
            try:
                if self._lock.take() is None:
                    break
            except OSError as error:
                raise LinkLost(f"{self._lock.path}: cannot lock: {reason(error)}") from None
            holder, who = self._holder()
            if asked is None:
                ours = sender is None or holder == sender.hex()
                asked = signal.SIGTERM if ours else signal.SIGUSR1
                until += TAKEOVER if ours else 0
                rundir.send(self._lock.path, asked)
            elif time.monotonic() > until:
                if asked == signal.SIGTERM:
                    raise LinkLost("the connection before this one has not ended yet")
                raise Refused(f"another source sends this pipe: {who}")
            time.sleep(0.02)
        self._lock.annotate(f"{sender.hex() if sender else '-'}\n{about}\n")

    def _holder(self):
        """(key, description) of the source whose child holds the pipe now."""
        try:
            with open(self._lock.path, errors="replace") as file:
                _pid, key, about = (file.read(4096) + "\n\n\n").split("\n")[:3]
        except OSError:
            return "", "unknown"
        return key, about

    def check(self):
        """After HUP: is this pipe still configured?  Raises Refused, or LinkLost to begin anew."""
        try:
            self._table.read()
        except ConfigError:
            return  # the parent has said so; the old entries stay in force
        same = (self._entry.text, self._entry.merge)
        if any((entry.text, entry.merge) == same for entry in self._table.entries):
            return
        entry, host = self._find()
        if entry is None:
            raise Refused("no longer configured")
        now = (entry.destination(host, self.path), host, entry[7:])
        if now != (self._destination, self._host, self._entry[7:]):
            raise LinkLost("configured otherwise; connect again")
        self._entry = entry
