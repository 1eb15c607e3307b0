"""Which file of which host goes where: the lines of tcppipe.conf.

    HOST:/absolute/remote/file | /absolute/local/file [| options]

Text in, entries out.  A path may hold any bytes, so text is decoded with
"surrogateescape" by whoever reads the file.  Whatever a peer can choose (its
name, its path) is checked here before it becomes part of a local path.
Does not read files, resolve names, or look up users.
"""

import functools
import ipaddress
import os
import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from tcppipe.conf import meet
from tcppipe.errors import ConfigError

BLANKS = " \t\r"
BYTE_ORDER_MARK = "\ufeff"
LONGEST = 255  # bytes of a file name
ASIDE = len(".YYYYmmddHHMMSS.NNN")  # that the name of a mirror's destination grows by

_BRACKETED = re.compile(r"(\[[^\]]*\](?:/\d+)?)[ \t]*:[ \t]*(.*)", re.DOTALL)
_BARE = re.compile(r"(.*?)[ \t]*:[ \t]*(/.*)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PERCENT = re.compile(r"%(.?)", re.DOTALL)
_DOTS = re.compile(r"/\.\.(/|$)")
_TWO_VALUES = re.compile(r"%[hfp]([^/%]|%%)*%[hf]")  # side by side: who can tell them apart?
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


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
        return _host(self.host)[0]

    @property
    def pattern(self):
        """HOST when it is a *.domain pattern, else None."""
        return _host(self.host)[1]

    @property
    def name(self):
        """HOST when it is a host name, as written, else None."""
        return _host(self.host)[2]

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


def is_wild(text):
    """May this be several names?"""
    return any(letter in text for letter in "*?[")


def matches_component(wanted, given):
    """Is a name meant by what stands between two slashes of a pattern?"""
    if given[:1] in ("", ".") and wanted[:1] != given[:1]:
        return False
    return fnmatchcase(given, wanted)


def plain(path):
    """A path without repeated slashes and "." in it."""
    return re.sub(r"/(\.?/)+", "/", path)


def is_file_name(text):
    """Can a name of a peer become one here?"""
    return text not in ("", ".", "..") and "/" not in text and not _CONTROL.search(text)


def is_name(text):
    """Can this be a host name?  Letters, digits, '-', '_' and dots; a number at the end is not."""
    labels = text.removesuffix(".").split(".")
    return (
        len(text) <= 253
        and all(map(_LABEL.fullmatch, labels))
        and not (labels[-1].isascii() and labels[-1].isdigit())
    )


def lines(text):
    """The lines of any configuration.  A byte order mark before the first one says nothing."""
    return text.removeprefix(BYTE_ORDER_MARK).split("\n")


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
    hidden = {later.line: earlier.line for earlier, later in shadowed(entries)}
    meeting = {}
    for one, other in meetings([entry for entry in entries if entry.line not in hidden]):
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


def meetings(entries):
    """Pairs of entries that can lead two pipes to one file; each such entry is in one at least."""
    tree = meet.Tree()
    for entry in entries:
        parts = meet.local_parts(entry)
        found = False
        for group in tree.find(parts, meet.Part.meets):
            for other in group.meet(entry):
                yield other, entry
                found = True
        leaf = tree.at(parts)
        leaf.value = leaf.value or _Group()
        leaf.value.add(entry, found)


class _Group:
    """Entries with one set of destinations, kept so that another one costs the same as ever.

    Entries of one kind meet in one and the same pipe only.
    """

    def __init__(self):
        self._kinds = {}  # an entry of each of the first two kinds
        self._alone = []  # those that have met no other

    def meet(self, entry):
        """Those that an entry meets: all that have met none so far, or one for all of them."""
        kind = _kind(entry)
        others = [other for known, other in self._kinds.items() if known != kind]
        if not others:
            return []
        others = self._alone if len(self._kinds) == 1 and self._alone else others[:1]
        self._alone = []
        return others

    def add(self, entry, met):
        """One more; met: whether it has met another one."""
        kind = _kind(entry)
        if len(self._kinds) < 2:
            self._kinds.setdefault(kind, entry)
        if not met:
            self._alone.append(entry)


def _kind(entry):
    """Two entries with one kind lead to one file only for one and the same file of one host."""
    directory, _, _name = entry.remote.rpartition("/")
    host = None if "h" in entry.letters else entry.label and entry.label.lower()
    if "p" in entry.letters:
        file = None
    elif "f" in entry.letters and not is_wild(directory):
        file = directory
    else:
        file = entry.remote
    many = (host is None and "h" not in entry.letters) or entry.shares
    return entry.local, host, file, many and entry.line


def shadowed(entries):
    """Pairs of entries of which the later one can never match: the earlier one always does."""
    tree = meet.Tree()
    for entry in entries:
        parts = meet.remote_parts(entry)
        found = (hosts.covering(entry) for hosts in tree.find(parts, meet.covers_part))
        other = next(filter(None, found), None)
        if other is not None:
            yield other, entry
        leaf = tree.at(parts)
        leaf.value = leaf.value or meet.Hosts()
        leaf.value.add(entry)


def nested(entries):
    """Pairs of entries of which the later needs a directory where the earlier has its file, or
    the other way round."""
    tree = meet.Tree()
    for entry in entries:
        tree.at(meet.local_parts(entry)).value = entry
    for entry in entries:
        for other in tree.above(meet.local_parts(entry), meet.Part.meets):
            yield other, entry
            break


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
    _host(host)
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


def split_origin(field):
    """HOST and path of HOST:PATH.  Raises ValueError."""
    found = (_BRACKETED if field.startswith("[") else _BARE).fullmatch(field)
    if found:
        return found.groups()
    host, colon, remote = field.partition(":")
    if not colon:
        raise ValueError("no ':' between host and remote file")
    if field.startswith("["):
        raise ValueError(f"bad address {field!r}")
    return host.strip(BLANKS), remote.strip(BLANKS)


def _check_path(which, path):
    if not path:
        raise ValueError(f"{which} file missing")
    if not path.startswith("/"):
        raise ValueError(f"{which} file {path!r} is not an absolute path")
    if path.endswith("/"):
        raise ValueError(f"{which} file {path!r} is a directory")
    if "\0" in path:
        raise ValueError(f"{which} file {path!r} holds a NUL")


@functools.lru_cache(maxsize=1 << 17)
def _host(host):
    """HOST as (network, None, None), (None, pattern, None) or (None, None, name)."""
    if not host:
        raise ValueError("host missing")
    if host.startswith("["):
        return _network6(host), None, None
    if ":" in host:
        raise ValueError(f"bad host {host!r} (an IPv6 address needs brackets)")
    last = host.rpartition(".")[2]
    if "/" in host or (last.isascii() and last.isdigit()):
        return _network(ipaddress.IPv4Network, host), None, None
    if host.startswith("*.") and is_name(host[2:]):
        return None, host, None
    if not is_name(host):
        raise ValueError(f"bad host {host!r}")
    return None, None, host


def _network(kind, text):
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"bad address: {error}") from None


def _network6(host):
    address, _, rest = host[1:].partition("]")
    if "%" in address:
        raise ValueError(f"bad address {host!r}: an interface cannot be given")
    network = _network(ipaddress.IPv6Network, address + rest)
    if network.subnet_of(_MAPPED):
        plain = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((plain, network.prefixlen - _MAPPED.prefixlen))
    return network


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
