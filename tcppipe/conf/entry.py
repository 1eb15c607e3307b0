"""One line of tcppipe.conf, as everything else sees it.

Whatever a peer can choose (its name, its path) is checked here before it becomes part of a local
path.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from tcppipe.conf.grammar import (
    Network,
    is_file_name,
    is_wild,
    matches_component,
    plain,
    split_host,
)
from tcppipe.errors import ConfigError

LONGEST = 255  # bytes of a file name
ASIDE = len(".YYYYmmddHHMMSS.NNN")  # that the name of a mirror's destination grows by

PERCENT = re.compile(r"%(.?)", re.DOTALL)
_DOTS = re.compile(r"/\.\.(/|$)")


class Entry(NamedTuple):
    """One line of the file.  Exactly one of network, pattern and name is not None.

    merge: all its pipes are merged.  meets: some of them may come to a file of others', which
    reach.merged() knows of each.  hidden: by the entry in that line, which takes all of it.
    """

    line: int
    host: str
    remote: str
    local: str
    mode: int | None = None
    owner: str | None = None
    text: str = ""
    merge: bool = False
    mirror: bool = False
    sync: str = "group"
    meets: bool = False
    hidden: int = 0

    @property
    def network(self) -> Network | None:
        """The addresses that HOST stands for (one address is a network of one), or None."""
        return split_host(self.host)[0]

    @property
    def pattern(self) -> str | None:
        """HOST when it is a *.domain pattern, else None."""
        return split_host(self.host)[1]

    @property
    def name(self) -> str | None:
        """HOST when it is a host name, as written, else None."""
        return split_host(self.host)[2]

    @property
    def shares(self) -> bool:
        """True when several pipes of this one line can have the same local file."""
        return not (self.label is not None or "h" in self.letters) or not self.tells_files_apart

    @property
    def letters(self) -> set[str]:
        """The letters behind percent signs in LOCAL."""
        return {found[1] for found in PERCENT.finditer(self.local)}

    @property
    def label(self) -> str | None:
        """What %h stands for when HOST is one host, else None."""
        network = self.network
        if network is not None:
            return str(network.network_address) if network.num_addresses == 1 else None
        return self.name

    @property
    def only_pipe(self) -> tuple[str, str] | None:
        """(host, path) when one pipe alone can be for this entry, else None."""
        return None if self.label is None or is_wild(self.remote) else (self.label, self.remote)

    @property
    def tells_files_apart(self) -> bool:
        """True when LOCAL is another one for each file that REMOTE means."""
        directory, _, name = self.remote.rpartition("/")
        if is_wild(directory):
            return "p" in self.letters
        return bool(self.letters & {"f", "p"}) or not is_wild(name)

    def matches_file(self, path: str) -> bool:
        """Is this remote path meant?  Either literally, or by the rules of glob(7):
        a wildcard matches neither a slash nor a dot at the start of a name."""
        if path == self.remote:
            return True
        wanted, given = self.remote.split("/"), path.split("/")
        return len(wanted) == len(given) and all(map(matches_component, wanted, given))

    def destination(self, host: str, path: str) -> str:
        """The local path for this remote path of this host.

        Raises ConfigError for a host or path that must not be part of a local path.
        """

        def value(found: re.Match[str]) -> str:
            letter = found[1]
            if letter == "%":
                return "%"
            if letter == "p":
                parts = path[1:].split("/") if path.startswith("/") else [""]
            else:
                parts = [host if letter == "h" else path.rpartition("/")[2]]
            for part in parts:
                if not is_file_name(part):
                    raise ConfigError(f"{self.local}: cannot use {part!r} for %{letter}")
            return ("/" if letter == "p" else "") + "/".join(parts)

        local = plain(PERCENT.sub(value, self.local))
        above, _, last = local.rpartition("/")
        if {".", ".."} & set(local.split("/")) and not _DOTS.search(self.local):
            raise ConfigError(f"{self.local}: {path!r} would lead out of its directory")
        for part, room in (*((part, 0) for part in above.split("/")), (last, ASIDE * self.mirror)):
            if len(os.fsencode(part)) > LONGEST - room:
                behind = " of a mirror" if room else ""
                raise ConfigError(f"{local}: {part[:40]!r}... is too long for a name{behind}")
        return local
