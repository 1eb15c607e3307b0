"""Which file of which host goes where: the lines of tcppipe.conf.

    HOST:/absolute/remote/file | /absolute/local/file [| options]

Text in, entries out.  A path may hold any bytes, so text is decoded with
"surrogateescape" by whoever reads the file.  Whatever a peer can choose (its
name, its path) is checked here before it becomes part of a local path.
Does not read files, resolve names, or look up users.
"""

import os
import re
from typing import NamedTuple

from tcppipe.conf import relations
from tcppipe.conf.grammar import (
    BLANKS,
    is_file_name,
    is_wild,
    lines,
    matches_component,
    plain,
    split_host,
    split_origin,
)
from tcppipe.errors import ConfigError

LONGEST = 255  # bytes of a file name
ASIDE = len(".YYYYmmddHHMMSS.NNN")  # that the name of a mirror's destination grows by

_PERCENT = re.compile(r"%(.?)", re.DOTALL)
_DOTS = re.compile(r"/\.\.(/|$)")
_TWO_VALUES = re.compile(r"%[hfp]([^/%]|%%)*%[hf]")  # side by side: who can tell them apart?


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
    def network(self):
        """The addresses that HOST stands for (one address is a network of one), or None."""
        return split_host(self.host)[0]

    @property
    def pattern(self):
        """HOST when it is a *.domain pattern, else None."""
        return split_host(self.host)[1]

    @property
    def name(self):
        """HOST when it is a host name, as written, else None."""
        return split_host(self.host)[2]

    @property
    def shares(self):
        """True when several pipes of this one line can have the same local file."""
        return not (self.label is not None or "h" in self.letters) or not self.tells_files_apart

    @property
    def letters(self):
        """The letters behind percent signs in LOCAL."""
        return {found[1] for found in _PERCENT.finditer(self.local)}

    @property
    def label(self):
        """What %h stands for when HOST is one host, else None."""
        network = self.network
        if network is not None:
            return str(network.network_address) if network.num_addresses == 1 else None
        return self.name

    @property
    def only_pipe(self):
        """(host, path) when one pipe alone can be for this entry, else None."""
        return None if self.label is None or is_wild(self.remote) else (self.label, self.remote)

    @property
    def tells_files_apart(self):
        """True when LOCAL is another one for each file that REMOTE means."""
        directory, _, name = self.remote.rpartition("/")
        if is_wild(directory):
            return "p" in self.letters
        return bool(self.letters & {"f", "p"}) or not is_wild(name)

    def matches_file(self, path):
        """Is this remote path meant?  Either literally, or by the rules of glob(7):
        a wildcard matches neither a slash nor a dot at the start of a name."""
        if path == self.remote:
            return True
        wanted, given = self.remote.split("/"), path.split("/")
        return len(wanted) == len(given) and all(map(matches_component, wanted, given))

    def destination(self, host, path):
        """The local path for this remote path of this host.

        Raises ConfigError for a host or path that must not be part of a local path.
        """

        def value(found):
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

        local = plain(_PERCENT.sub(value, self.local))
        above, _, last = local.rpartition("/")
        if {".", ".."} & set(local.split("/")) and not _DOTS.search(self.local):
            raise ConfigError(f"{self.local}: {path!r} would lead out of its directory")
        for part, room in (*((part, 0) for part in above.split("/")), (last, ASIDE * self.mirror)):
            if len(os.fsencode(part)) > LONGEST - room:
                behind = " of a mirror" if room else ""
                raise ConfigError(f"{local}: {part[:40]!r}... is too long for a name{behind}")
        return local


def parse(text, name):
    """All entries of a file's text, in order.  A byte order mark at its beginning is passed over.

    Raises ConfigError with a line `NAME:LINE: reason` for each bad line.
    """
    entries, errors = [], []
    for number, line in enumerate(lines(text), 1):
        line = line.strip(BLANKS)
        if not line or line.startswith("#"):
            continue
        try:
            entries.append(_entry(number, line))
        except ValueError as error:
            errors.append(f"{name}:{number}: {error}")
    entries = _related(entries, name, errors)
    if errors:
        raise ConfigError("\n".join(errors))
    return entries


def _related(entries, name, errors):
    """The entries, each with what the others are to it."""
    hidden = {later.line: earlier.line for earlier, later in relations.shadowed(entries)}
    meeting = {}
    for one, other in relations.meetings([entry for entry in entries if entry.line not in hidden]):
        meeting.setdefault(one.line, other)
        meeting.setdefault(other.line, one)
        if one.only_pipe and other.only_pipe and (one.mirror or other.mirror):
            errors.append(f"{name}:{other.line}: mirror, but line {one.line} is for this file, too")
    result = []
    for entry in entries:
        if entry.mirror and (entry.merge or entry.shares):
            errors.append(f"{name}:{entry.line}: mirror, but several pipes go to this file")
        result.append(
            entry._replace(
                merge=entry.merge or entry.shares,
                meets=entry.line in meeting or _TWO_VALUES.search(entry.local) is not None,
                hidden=hidden.get(entry.line, 0),
            )
        )
    return result


def find(entries, path, is_host):
    """The first entry for this path whose host is_host(entry) accepts, or None.

    is_host may be slow, so it is asked only about entries that the path fits.
    """
    return next((e for e in entries if e.matches_file(path) and is_host(e)), None)


def names(entries):
    """The host names, in lower case, whose addresses have to be looked up."""
    return {entry.name.lower() for entry in entries if entry.name is not None}


def _entry(number, line):
    fields = [field.strip(BLANKS) for field in line.split("|")]
    if len(fields) == 1:
        raise ValueError("local file missing: no '|' behind the remote file")
    if len(fields) > 3:
        raise ValueError("more than three fields")
    host, remote = split_origin(fields[0])
    split_host(host)
    _check_path("remote", remote)
    local = plain(fields[1])
    _check_path("local", local)
    for found in _PERCENT.finditer(local):
        if found[1] not in tuple("hfp%"):
            raise ValueError(f"unknown {found[0]!r} in the local file (a percent sign is %%)")
    options, words = {}, []
    if len(fields) == 3:
        options, words = _options(fields[2])
    text = " | ".join([f"{host}:{remote}", local, *([" ".join(words)] if words else [])])
    return Entry(line=number, host=host, remote=remote, local=local, text=text, **options)


def _check_path(which, path):
    if not path:
        raise ValueError(f"{which} file missing")
    if not path.startswith("/"):
        raise ValueError(f"{which} file {path!r} is not an absolute path")
    if path.endswith("/"):
        raise ValueError(f"{which} file {path!r} is a directory")
    if "\0" in path:
        raise ValueError(f"{which} file {path!r} holds a NUL")


def _options(field):
    """A field of options as ({option: value}, [words in the order of their names])."""
    options, words = {}, {}
    for word in filter(None, re.split(r"[ \t\r,]+", field)):
        key, equals, value = word.partition("=")
        if key not in OPTIONS:
            raise ValueError(f"unknown option {word!r}")
        if key in options:
            raise ValueError(f"option {key!r} given twice")
        options[key] = OPTIONS[key](value if equals else None)
        words[key] = word
    if not words:
        raise ValueError("no option behind the second '|'")
    return options, [words[key] for key in sorted(words)]


def _mode(value):
    if value is None or not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError(f"bad mode {value or ''!r}: three octal digits wanted, as in mode=0640")
    return int(value, 8)


def _owner(value):
    if value is None or not re.fullmatch("[^:]+(:[^:]+)?", value):
        raise ValueError(f"bad owner {value or ''!r}: owner=USER or owner=USER:GROUP wanted")
    return value


def _flag(name):
    def flag(value):
        if value is not None:
            raise ValueError(f"option {name!r} has no value")
        return True

    return flag


def _sync(value):
    if value not in ("group", "none"):
        raise ValueError(f"bad sync {value or ''!r}: sync=group or sync=none wanted")
    return value


# Each option is a field of Entry with a default.  The function makes the field from the text
# behind '=' (None without one) and raises ValueError with a reason.
OPTIONS = {
    "merge": _flag("merge"),
    "mirror": _flag("mirror"),
    "mode": _mode,
    "owner": _owner,
    "sync": _sync,
}
