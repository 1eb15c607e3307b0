"""What the lines of tcppipe.conf are to each other: which can meet, hide or need one another.

All in time that grows with the number of lines, not of pairs: see meet.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcppipe.conf import meet
from tcppipe.conf.entry import Entry
from tcppipe.conf.grammar import is_wild
from tcppipe.conf.patterns import Part, covers_part, local_parts, remote_parts


def meetings(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pairs of entries that can lead two pipes to one file; each such entry is in one at least."""
    tree: meet.Tree[_Group] = meet.Tree()
    for entry in entries:
        parts = local_parts(entry)
        found = False
        for group in tree.find(parts, Part.meets):
            for other in group.meet(entry):
                yield other, entry
                found = True
        leaf = tree.at(parts)
        leaf.value = leaf.value or _Group()
        leaf.value.add(entry, found)


Kind = tuple[str, str | bool | None, str | None, int]


class _Group:
    """Entries with one set of destinations, kept so that another one costs the same as ever.

    Entries of one kind meet in one and the same pipe only.
    """

    def __init__(self) -> None:
        self._kinds: dict[Kind, Entry] = {}  # an entry of each of the first two kinds
        self._alone: list[Entry] = []  # those that have met no other

    def meet(self, entry: Entry) -> list[Entry]:
        """Those that an entry meets: all that have met none so far, or one for all of them."""
        kind = _kind(entry)
        others = [other for known, other in self._kinds.items() if known != kind]
        if not others:
            return []
        others = self._alone if len(self._kinds) == 1 and self._alone else others[:1]
        self._alone = []
        return others

    def add(self, entry: Entry, met: bool) -> None:
        """One more; met: whether it has met another one."""
        kind = _kind(entry)
        if len(self._kinds) < 2:
            self._kinds.setdefault(kind, entry)
        if not met:
            self._alone.append(entry)


def _kind(entry: Entry) -> Kind:
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


def shadowed(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pairs of entries of which the later one can never match: the earlier one always does."""
    tree: meet.Tree[meet.Hosts] = meet.Tree()
    for entry in entries:
        parts = remote_parts(entry)
        found = (hosts.covering(entry) for hosts in tree.find(parts, covers_part))
        other = next(filter(None, found), None)
        if other is not None:
            yield other, entry
        leaf = tree.at(parts)
        leaf.value = leaf.value or meet.Hosts()
        leaf.value.add(entry)


def nested(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pairs of entries of which the later needs a directory where the earlier has its file, or
    the other way round."""
    tree: meet.Tree[Entry] = meet.Tree()
    for entry in entries:
        tree.at(local_parts(entry)).value = entry
    for entry in entries:
        for other in tree.above(local_parts(entry), Part.meets):
            yield other, entry
            break


def in_the_way(entries: Sequence[Entry], entry: Entry) -> Entry | None:
    """The entry whose file stands where this one needs a directory, or the other way round."""
    for one, other in nested(entries):
        if entry in (one, other):
            return other if entry == one else one
    return None
