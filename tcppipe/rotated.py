"""Names that rotation gives, and the order that they stand for.

Numbers are numbers, dates are dates.  Whether numbers grow with age (logrotate), with time
(log4j2) or go round (a JVM's filecount) no name tells: that is seen in what is known of the
files, and where nothing is known they are taken to grow with age.  Modification times are
the weaker evidence: they put kinds of names side by side that say nothing of each other.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from math import inf
from typing import Protocol, TypeVar

EXTENSIONS = (".gz", ".bz2", ".xz", ".lzma", ".zst")  # compressed in ways that are read here …
FOREIGN = (".Z", ".lz4", ".lz", ".lzo", ".br", ".zip", ".7z", ".sz", ".rar")  # … and that are not
ROTATED = re.compile(r"[.-]\d[-+_.:\dTZ]*|\.(old|prev|previous)")  # suffixes that rotation gives
WORDS = re.compile(  # the same where a pattern allows it: .25Nov2026, -Mon, .1, or nothing
    r"([-._](\d[\w:+]*|mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov"
    r"|dec|old|prev|previous|last|bak|save|saved|orig))*",
    re.IGNORECASE | re.ASCII,
)
WILD = re.compile(r"[*?[]")
LABEL = re.compile(r"@([0-9a-f]{24})([._]?[a-z])?")  # TAI64N: multilog, svlogd, s6-log
_DAY = r"(0[1-9]|[12]\d|3[01])"
_MONTH = r"(0[1-9]|1[0-2])"
_YEAR = r"((?:19|20)\d\d)"
_DATED = re.compile(rf"(?<!\d){_YEAR}[-_.]?{_MONTH}(?:[-_.]?{_DAY})?")
_DAY_FIRST = re.compile(rf"(?<!\d){_DAY}[-_.]?{_MONTH}[-_.]?{_YEAR}(?!\d)")
_EPOCH = re.compile(r"(?<!\d)(1\d{9})(?!\d)")
ROUND = 100  # numbers that may go round at most


class Named(Protocol):
    """A file as far as its place is concerned."""

    @property
    def name(self) -> str:
        """Its path."""

    @property
    def mtime(self) -> int:
        """When it was written to last, in nanoseconds."""


F = TypeVar("F", bound=Named)
Place = tuple[int, ...]  # what is compared of names of one family
Rank = Callable[[F], float | None]


def split(name: str) -> tuple[str, str]:
    """(name without a compressor's extension, the extension or "")."""
    stem, extension = os.path.splitext(name)
    return (stem, extension) if extension in EXTENSIONS + FOREIGN else (name, "")


def shape(path: str) -> str:
    """A file's name with its numbers left out: what rotation gives has one shape."""
    name = split(os.path.basename(path))[0]
    return re.sub(r"\d+", lambda run: "0" * (len(run[0]) if len(run[0]) > 3 else 1), name)


def is_rotated(
    path: str, origin: str, patterns: Iterable[str] = (), shapes: Collection[str] = ()
) -> bool:
    """True when a file's name is one that rotation gives; else it may be anybody's copy.

    shapes: those of other names that rotated files are known to have.
    """
    if any(_is_named(path, origin, pattern) for pattern in patterns):
        return True
    name, base = split(os.path.basename(path))[0], os.path.basename(origin)
    if shape(path) in shapes:
        return name != base
    if base == "current" and LABEL.fullmatch(name):
        return True
    return name.startswith(base) and ROTATED.fullmatch(name[len(base) :]) is not None


def _is_named(path: str, origin: str, pattern: str) -> bool:
    """True when a pattern names a rotated file, and not just anything that stands there."""
    if not fnmatch.fnmatchcase(path, pattern):
        return False
    wild = WILD.search(pattern)
    if wild is None:
        return True
    name, base = split(os.path.basename(path))[0], os.path.basename(origin)
    if name == base or re.match(re.escape(base) + "[.-]", name):
        return WORDS.fullmatch(name[len(base) :]) is not None
    return re.search(r"\d", path[wild.start() :]) is not None


def arrange(
    files: Iterable[F], origin: str, rank: Rank[F] | None = None, cursor: F | None = None
) -> list[F]:
    """Files (with a name and an mtime) in the order of their age, oldest first.

    rank(file): its place among those whose order is known, or None.  cursor: the file of
    which something is known to be older, and the rest younger, or None.
    """
    families: dict[str, list[tuple[Place, F]]] = {}
    for file in files:
        family, key = _place(file.name, origin)
        families.setdefault(family, []).append((key, file))
    rank = rank or (lambda _file: None)
    lines = []
    for family, members in families.items():
        orders = list(_orders(family, members))
        lines.append(min(orders, key=lambda order: _against(order, rank, cursor)))
    return _merge(lines, rank)


def family(path: str, origin: str) -> str:
    """What tells whether two rotated files' names can be compared."""
    return _place(path, origin)[0]


def _place(path: str, origin: str) -> tuple[str, Place]:
    """(the family of names that can be compared, what to compare)."""
    name, base = split(os.path.basename(path))[0], os.path.basename(origin)
    text = name.removeprefix(base)
    label = LABEL.fullmatch(name)
    if label:
        return "label", (int(label[1], 16),)
    for pattern, turned in (_DATED, False), (_DAY_FIRST, True):
        found = pattern.search(text)
        if found:
            date = [int(part) for part in found.groups() if part]
            year, month, *day = date[::-1] if turned else date
            whole = year * 10000 + month * 100 + sum(day)
            return "date", (whole, *_numbers(text[found.end() :]))
    found = _EPOCH.search(text)
    if found:
        return "date since 1970", (int(found[1]), *_numbers(text[found.end() :]))
    return shape(text), _numbers(text)


def _numbers(text: str) -> Place:
    return tuple(int(run) for run in re.findall(r"\d+", text))


def _orders(family: str, members: list[tuple[Place, F]]) -> Iterator[list[F]]:
    """The orders that these names may stand for, the likeliest first."""
    members = sorted(members, key=lambda member: (member[0], member[1].mtime, member[1].name))
    up = [file for _key, file in members]
    if family == "label":
        yield up
    elif family.startswith("date"):
        yield up
        if any(len(key) > 1 for key, _file in members):  # numbers behind a date may go down
            yield [file for _key, file in sorted(members, key=lambda member: _down(member[0]))]
    elif not members[0][0]:
        yield sorted(up, key=lambda file: (file.mtime, file.name))
    else:
        yield up[::-1]
        yield up
        if len(up) <= ROUND:
            for turn in range(1, len(up)):
                yield up[turn:] + up[:turn]


def _down(key: Place) -> tuple[Place, int]:
    return (key[:-1], -key[-1]) if len(key) > 1 else (key, 0)


def _against(order: list[F], rank: Rank[F], cursor: F | None) -> tuple[int, int]:
    """What speaks against an order, the strongest first."""
    ranks = [known for known in map(rank, order) if known is not None]
    wrong = sum(before > after for before, after in zip(ranks, ranks[1:]))
    if cursor is not None:
        older = order[: order.index(cursor)] if cursor in order else []
        readable = [file for file in older if not getattr(file, "trouble", "")]
        return wrong, sum(rank(file) is None and file.mtime > cursor.mtime for file in readable)
    times = [file.mtime for file in order]
    falls = sum(a > b for a, b in zip(times, times[1:]))
    rises = sum(a < b for a, b in zip(times, times[1:]))
    return wrong, bool(ranks) and falls > max(1, 3 * rises)


def _merge(lines: list[list[F]], rank: Rank[F]) -> list[F]:
    """Several lines as one, by time; what is known comes first where times are equal.  What comes
    before something known in its line comes before all that is known to be younger than that.

    Some compressors keep whole seconds only.
    """
    coarse = any(file.mtime % 10**9 == 0 for line in lines for file in line)
    unit = 10**9 if coarse else 1
    rows = [_until_known(line, rank) for line in lines]
    merged = []
    while rows:
        first = min(rows, key=lambda row: (row[-1][0].mtime // unit, not row[-1][1]))
        if first[-1][1]:
            first = min(rows, key=lambda row: row[-1][2])
        merged.append(first.pop()[0])
        rows = [row for row in rows if row]
    return merged


def _until_known(line: list[F], rank: Rank[F]) -> list[tuple[F, bool, float]]:
    """The line, its end first: each file, whether it has a known place, and the least place that is
    known of it or of one behind it."""
    placed, before = [], inf
    for file in reversed(line):
        place = rank(file)
        before = before if place is None else min(before, place)
        placed.append((file, place is not None, before))
    return placed
