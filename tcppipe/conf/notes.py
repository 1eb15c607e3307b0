"""What a valid tcppipe.conf says, and its author may not have meant.

No line of these is an error: the file is in force as it is.  Text in, text out; whoever asks
looks up names and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tcppipe.conf import grammar, relations
from tcppipe.conf.entry import Entry
from tcppipe.conf.patterns import local_parts
from tcppipe.errors import ConfigError

Note = tuple[int, str]  # a line, and what is to be said of it

_COMMENT = re.compile(r"[ \t]#")


def notes(text: str, entries: list[Entry]) -> list[Note]:
    """(line, note) for each thing worth saying, in the order of the lines."""
    raw = grammar.lines(text)
    found: list[Note] = []
    for entry in entries:
        found += [(entry.line, words) for words in _of_one(raw[entry.line - 1], entry)]
        if entry.hidden:
            words = f"never fits: line {entry.hidden} takes all that it is for"
            found.append((entry.line, words))
    found += _of_two(entries)
    return sorted(dict.fromkeys(found), key=lambda note: note[0])


def _of_one(line: str, entry: Entry) -> Iterator[str]:
    remote, local = (line.split("|") + [""])[:2]
    if _COMMENT.search(local):
        yield f"what stands behind # is part of the local file's name: {entry.local!r}"
    if _COMMENT.search(remote):
        yield f"what stands behind # is part of the remote file's name: {entry.remote!r}"
    if re.search(r"/(\.?/)", local.strip(grammar.BLANKS)):
        yield f"slashes or dots too many in the local file: it is {entry.local}"
    if re.search(r"/\.\.(/|$)", entry.local):
        yield f"the local file has a '..' in it: {entry.local}"
    if re.search(r"/(\.?\.?)/", entry.remote) or entry.remote.endswith(("/.", "/..")):
        yield "never fits: tcppipe says a path without '//', '/./' and '/../'"
    if entry.shares and "merge" not in entry.text.rpartition("|")[2]:
        yield "leads several pipes to one file; they are merged (say merge if that is meant)"
    if entry.only_pipe:
        try:
            entry.destination(*entry.only_pipe)
        except ConfigError as error:
            yield f"will be refused: {error}"


def _of_two(entries: list[Entry]) -> Iterator[Note]:
    said = [entry for entry in entries if not entry.hidden]
    for one, other in relations.meetings(said):
        if not (one.merge and other.merge):
            yield other.line, f"can lead to the same file as line {one.line}: {_how(one, other)}"
    for one, other in relations.nested(said):
        high, low = sorted((one, other), key=lambda entry: len(local_parts(entry)))
        yield other.line, f"line {low.line} wants a directory where line {high.line} has its file"


def _how(one: Entry, other: Entry) -> str:
    if one.mirror or other.mirror:
        return "a mirror is not shared, so only one pipe can write there"
    return "they are merged there (say merge in both if that is meant)"
