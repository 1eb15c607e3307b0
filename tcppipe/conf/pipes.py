"""Which file of which host goes where: the lines of tcppipe.conf.

    HOST:/absolute/remote/file | /absolute/local/file [| options]

Text in, entries out.  A path may hold any bytes, so text is decoded with
"surrogateescape" by whoever reads the file.  Whatever a peer can choose (its
name, its path) is checked here before it becomes part of a local path.
Does not read files, resolve names, or look up users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from tcppipe.conf import relations
from tcppipe.conf.entry import PERCENT, Entry
from tcppipe.conf.grammar import (
    BLANKS,
    lines,
    plain,
    split_host,
    split_origin,
)
from tcppipe.errors import ConfigError

_TWO_VALUES = re.compile(r"%[hfp]([^/%]|%%)*%[hf]")  # side by side: who can tell them apart?


def parse(text: str, name: str) -> list[Entry]:
    """All entries of a file's text, in order.  A byte order mark at its beginning is passed over.

    Raises ConfigError with a line `NAME:LINE: reason` for each bad line.
    """
    entries: list[Entry] = []
    errors: list[str] = []
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


def _related(entries: list[Entry], name: str, errors: list[str]) -> list[Entry]:
    """The entries, each with what the others are to it."""
    hidden = {later.line: earlier.line for earlier, later in relations.shadowed(entries)}
    meeting: dict[int, Entry] = {}
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


def find(entries: Iterable[Entry], path: str, is_host: Callable[[Entry], bool]) -> Entry | None:
    """The first entry for this path whose host is_host(entry) accepts, or None.

    is_host may be slow, so it is asked only about entries that the path fits.
    """
    return next((e for e in entries if e.matches_file(path) and is_host(e)), None)


def names(entries: Iterable[Entry]) -> set[str]:
    """The host names, in lower case, whose addresses have to be looked up."""
    return {entry.name.lower() for entry in entries if entry.name is not None}


def _entry(number: int, line: str) -> Entry:
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
    for found in PERCENT.finditer(local):
        if found[1] not in tuple("hfp%"):
            raise ValueError(f"unknown {found[0]!r} in the local file (a percent sign is %%)")
    options: dict[str, Any] = {}
    words: list[str] = []
    if len(fields) == 3:
        options, words = _options(fields[2])
    text = " | ".join([f"{host}:{remote}", local, *([" ".join(words)] if words else [])])
    return Entry(line=number, host=host, remote=remote, local=local, text=text, **options)


def _check_path(which: str, path: str) -> None:
    if not path:
        raise ValueError(f"{which} file missing")
    if not path.startswith("/"):
        raise ValueError(f"{which} file {path!r} is not an absolute path")
    if path.endswith("/"):
        raise ValueError(f"{which} file {path!r} is a directory")
    if "\0" in path:
        raise ValueError(f"{which} file {path!r} holds a NUL")


def _options(field: str) -> tuple[dict[str, Any], list[str]]:
    """A field of options as ({option: value}, [words in the order of their names])."""
    options: dict[str, Any] = {}
    words: dict[str, str] = {}
    for word in filter(None, re.split(r"[ \t\r,]+", field)):
        key, equals, value = word.partition("=")
        if key not in OPTIONS:
            why = " (a comment stands in a line of its own)" if word.startswith("#") else ""
            raise ValueError(f"unknown option {word!r}{why}")
        if key in options:
            raise ValueError(f"option {key!r} given twice")
        options[key] = OPTIONS[key](value if equals else None)
        words[key] = word
    if not words:
        raise ValueError("no option behind the second '|'")
    return options, [words[key] for key in sorted(words)]


def _mode(value: str | None) -> int:
    if value is None or not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError(f"bad mode {value or ''!r}: three octal digits wanted, as in mode=0640")
    return int(value, 8)


def _owner(value: str | None) -> str:
    if value is None or not re.fullmatch("[^:]+(:[^:]+)?", value):
        raise ValueError(f"bad owner {value or ''!r}: owner=USER or owner=USER:GROUP wanted")
    return value


def _flag(name: str) -> Callable[[str | None], bool]:
    def flag(value: str | None) -> bool:
        if value is not None:
            raise ValueError(f"option {name!r} has no value")
        return True

    return flag


def _sync(value: str | None) -> str:
    if value not in ("group", "none"):
        raise ValueError(f"bad sync {value or ''!r}: sync=group or sync=none wanted")
    return value


# Each option is a field of Entry with a default.  The function makes the field from the text
# behind '=' (None without one) and raises ValueError with a reason.
OPTIONS: dict[str, Callable[[str | None], Any]] = {
    "merge": _flag("merge"),
    "mirror": _flag("mirror"),
    "mode": _mode,
    "owner": _owner,
    "sync": _sync,
}
