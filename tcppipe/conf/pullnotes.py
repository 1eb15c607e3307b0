"""What valid configurations of the pull pair say, and their author may not have meant.

No line of these is an error: the files are in force as they are.  Text in, text out; whoever asks
looks up names and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tcppipe.conf import grammar, numbers
from tcppipe.conf.fetch import Source

Note = tuple[int, str]  # a line, and what is to be said of it

_ROUNDABOUT = re.compile(r"/\.{0,2}/")
LETTERS = "'//', '/./' and '/../' in a path are not looked through: both sides have to write it so"


def of_sources(sources: list[Source]) -> Iterator[Note]:
    """(line, note) for each thing worth saying of fetch_logs' lines."""
    remotes: dict[tuple[str, int, str], int] = {}
    locals_: dict[str, int] = {}
    for source in sources:
        if _ROUNDABOUT.search(source.remote):
            yield source.line, f"{source.remote}: {LETTERS}"
        if "/../" in source.local:
            yield source.line, f"the local file has a '..' in it: {source.local}"
        first = remotes.setdefault((source.host, source.port, source.remote), source.line)
        if first != source.line:
            yield source.line, f"fetches the same file as line {first}, to another place"
        locals_[grammar.plain(source.local)] = source.line
    for path, line in locals_.items():
        for above in _above(path):
            if above in locals_:
                yield line, f"wants a directory where line {locals_[above]} has its local file"


def of_numbers(text: str) -> Iterator[Note]:
    """(line, note) for each thing worth saying of a valid .locals file."""
    said: dict[tuple[str, str], int] = {}
    for line, variable, key in numbers.statements(text):
        before = said.get((variable, key))
        if before is not None:
            what = f"${variable}" + (f": {key}" if key else "")
            yield line, f"{what}: stands in line {before} already; what is said last holds"
        elif variable == "files" and _ROUNDABOUT.search(key):
            yield line, f"{key}: {LETTERS}"
        said[variable, key] = line


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
