"""Which pipes meet in one file of tcppipe.conf: asked about one destination at a time.

Two pipes are two when host or path differ.  The LOCAL of each line is solved for the destination,
so what %h, %f, %p and wildcards can stand for decides, and not how a line is written.  A line that
cannot lead there costs a comparison of its first letters; conf/meet has told before which
lines need to be asked about at all.  Knows neither links nor what is on the disk.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from tcppipe.conf import grammar
from tcppipe.conf.entry import Entry

_VARIABLE = re.compile("(\0.)", re.DOTALL)


def merged(entries: Sequence[Entry], entry: Entry, host: str, path: str) -> bool:
    """Is this pipe's destination shared with others, whole lines at a time?

    entries: all, in order; entry: the one that the pipe is for.  host: as %h has it.  Where
    one of those that meet is a mirror, they do not share: the first one has the file alone.
    """
    if entry.merge or not entry.meets or entry.mirror:
        return entry.merge
    asked = (host, path, entry.destination(host, path))
    meeting = [other for other in entries if other.meets]
    return not any(
        _leads_another(entries, other, *asked) for other in meeting if other.mirror
    ) and any(_leads_another(entries, other, *asked) for other in meeting)


def others(entries: Sequence[Entry], entry: Entry, host: str, path: str) -> list[Entry]:
    """The entries by which another pipe than this one can come to its destination."""
    destination = entry.destination(host, path)
    return [other for other in entries if _leads_another(entries, other, host, path, destination)]


def takes(entry: Entry, host: str, path: str) -> bool:
    """Does an entry fit this pipe?  host: a name or an address, as %h has it."""
    return _is_host(entry, host, exactly=False) and entry.matches_file(path)


def _leads_another(
    entries: Sequence[Entry], entry: Entry, host: str, path: str, destination: str
) -> bool:
    if entry.hidden:
        return False
    for its_host, its_path in solve(entry, destination):
        if its_host is None or its_path is None:
            return True
        if (its_host.lower(), its_path) != (host.lower(), path) and not any(
            takes(earlier, its_host, its_path)
            for earlier in itertools.takewhile(lambda e: e.line < entry.line, entries)
            # the name server may know the name, and not whose address it is
            if earlier.pattern is None or entry.pattern is not None
        ):
            return True
    return False


def solve(entry: Entry, destination: str) -> Iterator[tuple[str | None, str | None]]:
    """The pipes by which an entry can lead to a destination: each (host, path).

    None in place of either: several are possible.
    """
    pieces = _pieces(entry.local)
    if not destination.startswith(pieces[0]):
        return
    single = not grammar.is_wild(entry.remote)
    above, _, last = entry.remote.rpartition("/")
    for values in _values(entry, pieces, 0, destination, 0, {}):
        host = values.get("h", entry.label)
        if "p" in values:
            path = "/" + values["p"]
        elif single:
            path = entry.remote
        elif "f" in values and not grammar.is_wild(above):
            path = f"{above}/{values['f']}"
        else:
            path = None
        yield host, path


@functools.lru_cache(maxsize=1 << 17)
def _pieces(local: str) -> list[str]:
    """A local file as [text, variable, text, ...]; %p without its leading slash."""
    names = {"%h": "\0h", "%f": "\0f", "%p": "/\0p", "%%": "%"}
    text = grammar.plain(re.sub("%.", lambda found: names[found[0]], local))
    return [part if part[:1] != "\0" else part[1:] for part in _VARIABLE.split(text)]


def _values(
    entry: Entry, pieces: list[str], number: int, text: str, at: int, values: dict[str, str]
) -> Iterator[dict[str, str]]:
    """Each {variable: value} that makes the pieces from `number` on the text from `at` on."""
    piece = pieces[number]
    if number % 2 == 0:
        end = at + len(piece)
        if text.startswith(piece, at):
            if number + 1 < len(pieces):
                yield from _values(entry, pieces, number + 1, text, end, values)
            elif end == len(text):
                yield values
        return
    ends: Iterable[int]
    if piece in values:
        ends = [at + len(values[piece])] if text.startswith(values[piece], at) else []
    else:
        ends = _ends(entry, piece, text, at)
    for end in ends:
        value = text[at:end]
        if piece in values or _can_be(entry, piece, value):
            yield from _values(entry, pieces, number + 1, text, end, {**values, piece: value})


def _ends(entry: Entry, variable: str, text: str, at: int) -> Iterable[int]:
    """Where a value that begins at `at` may end: before the slash behind so many others."""
    for _ in range(entry.remote.count("/") - 1 if variable == "p" else 0):
        at = text.find("/", at) + 1
        if at == 0:
            return range(0)
    slash = text.find("/", at)
    return range(at + 1, (slash if slash >= 0 else len(text)) + 1)


def _can_be(entry: Entry, variable: str, value: str) -> bool:
    if variable == "h":
        return _is_host(entry, value)
    if not all(map(grammar.is_file_name, value.split("/"))):
        return False
    if variable == "p":
        return entry.matches_file("/" + value)
    above, _, last = entry.remote.rpartition("/")
    return value == last or grammar.matches_component(last, value)


def _is_host(entry: Entry, host: str, exactly: bool = True) -> bool:
    """Can %h stand for this host in an entry?  exactly: as it is written there."""
    if entry.name is not None:
        return entry.name == host or (not exactly and entry.name.lower() == host.lower())
    if entry.pattern is not None:
        domain = entry.pattern[1:].lower().removesuffix(".")
        lower = host if exactly else host.lower().removesuffix(".")
        return lower.endswith(domain) and lower == lower.lower() and grammar.is_name(lower)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return str(address) == host and entry.network is not None and address in entry.network
