"""Which line of tcppipe.conf is for one client's file, if any.

Before it says no, or that it does not know, it has the names asked again: a host may have got
another address, or a name its first one.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from tcppipe.conf import pipes, reach
from tcppipe.conf.entry import Entry
from tcppipe.drivers.table import Knowledge
from tcppipe.errors import NotNow, Refused
from tcppipe.net import identity

NAMES = 4.0  # seconds of the handshake that a name server may take
LOOK = 0.02  # seconds between two looks at what the parent knows


class Admitted(NamedTuple):
    """The first entry that allows a pipe, and what %h stands for in it."""

    entry: Entry
    host: str


class Admission:
    """Of the file `path` of the host that has this address.  name: both, for people."""

    def __init__(self, knowledge: Knowledge, address: str, path: str, name: str) -> None:
        self._knowledge = knowledge
        self._address = address
        self.path = path
        self._name = name
        self._came = time.monotonic()
        # what is known for good of *.domain patterns, by pattern
        self._labels: dict[str, str | identity.Unknown | None] = {}

    def wait(self) -> Admitted:
        """The entry that this pipe is for, after a while perhaps.  Raises NotNow or Refused."""
        until = self._came + NAMES
        asked = False
        while True:
            found = self._try(until - time.monotonic())
            if isinstance(found, Admitted):
                return found
            if not asked:
                self._knowledge.ask()
                asked = True
            while not self._knowledge.renew():
                if time.monotonic() >= until:
                    raise NotNow(f"{found}, and the names are asked for")
                time.sleep(LOOK)

    def _try(self, patience: float) -> Admitted | str:
        """The entry, or why there is none yet.  Raises NotNow or Refused."""
        names = self._knowledge.names
        try:
            found = self.find(patience)
        except identity.Unknown as error:
            if names.asked >= self._came or not self._names_for_it:
                raise NotNow(str(error)) from None
            return str(error)
        if found is not None:
            return found
        why = f"no entry for {self._name}"
        if names.asked < self._came and self._names_for_it:
            return why
        raise self.no(why)

    def no(self, why: str) -> Refused:
        """The no for good, unless the table is as nobody may have meant it."""
        table = self._knowledge.table
        if not table.entries:
            return NotNow(f"{why}: {table.path} is empty")
        if not table.settled:
            return NotNow(f"{why}, since {table.path} was changed a moment ago")
        return Refused(why)

    @property
    def _names_for_it(self) -> bool:
        """True when there are names in entries for this file."""
        entries = self._knowledge.table.entries
        return any(e.name is not None and e.matches_file(self.path) for e in entries)

    def find(self, patience: float) -> Admitted | None:
        """The entry as far as is known now, or None.

        Raises Unknown when nobody can say whether an entry before it is meant.
        """
        until = time.monotonic() + patience

        def is_host(entry: Entry) -> bool:
            return self._label(entry, until - time.monotonic()) is not None

        entry = pipes.find(self._knowledge.table.entries, self.path, is_host)
        label = None if entry is None else self._label(entry, 0)
        return None if entry is None or label is None else Admitted(entry, label)

    def _label(self, entry: Entry, patience: float) -> str | None:
        """What %h stands for, or None when the entry is for another host.  Raises Unknown."""
        names = self._knowledge.names
        if entry.pattern is None:
            return identity.matches(entry, self._address, names, patience)
        if entry.pattern not in self._labels:  # an address's names are asked for once
            try:
                self._labels[entry.pattern] = identity.matches(
                    entry, self._address, names, patience
                )
            except identity.Unknown as error:
                self._labels[entry.pattern] = error
        label = self._labels[entry.pattern]
        if isinstance(label, identity.Unknown):
            raise label
        return label

    def shares(self, admitted: Admitted) -> bool:
        """True when other pipes may write to the same destination."""
        entries = self._knowledge.table.entries
        return reach.merged(entries, admitted.entry, admitted.host, self.path)
