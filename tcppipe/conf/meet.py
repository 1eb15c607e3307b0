"""Can two lines of tcppipe.conf lead to one file, and does one hide the other?

A line stands for many pipes when it has wildcards, or a host that is a network or a domain.
Two lines meet where their patterns (patterns.py) have a name in common; a component that both
know is looked up and not compared, so thousands of lines cost no more than each of them by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from tcppipe.conf.entry import Entry
from tcppipe.conf.patterns import Part, literal


def _chain(entry: Entry) -> list[Key]:
    """Keys of an entry's host, and of all that are wider, the narrowest first.

    Two hosts that are networks, or domains, meet if the first key of one is in the other's.
    """
    network = entry.network
    if network is not None:
        bits, number = network.max_prefixlen, int(network.network_address)
        lengths = range(network.prefixlen, -1, -1)
        return [(network.version, n, number >> (bits - n)) for n in lengths]
    text = entry.host.lower().removesuffix(".")
    if entry.name is not None:
        return [text]
    labels = text.split(".")
    return ["*." + ".".join(labels[at:]) for at in range(1, len(labels))]


Key = str | tuple[int, int, int]
Fits = Callable[[Part, Part], bool]
V = TypeVar("V")


class Hosts:
    """The hosts of some entries, to find one that surely has every client of another's."""

    def __init__(self) -> None:
        self._first: dict[Key, Entry] = {}

    def add(self, entry: Entry) -> None:
        """One more; the first of equal ones counts."""
        self._first.setdefault(_chain(entry)[0], entry)

    def covering(self, entry: Entry) -> Entry | None:
        """An entry of them, or None."""
        return next((self._first[key] for key in _chain(entry) if key in self._first), None)


class Tree(Generic[V]):
    """Paths of Parts.  value: what whoever finds a path makes of it."""

    def __init__(self) -> None:
        self._literal: dict[str, Tree[V]] = {}
        self._hosts: dict[Key, Tree[V]] = {}  # key of a host: Tree
        self._below: dict[
            Key, list[Tree[V]]
        ] = {}  # key of a host: Trees of those that are narrower
        self._patterns: dict[Part, Tree[V]] = {}  # Part: Tree
        self.value: V | None = None

    def at(self, parts: Iterable[Part]) -> Tree[V]:
        """The Tree at a path, made if it is not there yet."""
        tree: Tree[V] = self
        for part in parts:
            tree = tree._child(part)
        return tree

    def _child(self, part: Part) -> Tree[V]:
        if part.text is not None:
            return self._literal.setdefault(part.text, Tree())
        if part.host is None:
            return self._patterns.setdefault(part, Tree())
        key, *wider = _chain(part.host)
        if key not in self._hosts:
            self._hosts[key] = Tree()
            for other in wider:
                self._below.setdefault(other, []).append(self._hosts[key])
        return self._hosts[key]

    def find(self, parts: Iterable[Part], fits: Fits) -> list[V]:
        """The values at all paths each Part of which fits(known, asked) the one asked for."""
        return [tree.value for tree in self._walk(parts, fits)[-1] if tree.value is not None]

    def above(self, parts: Iterable[Part], fits: Fits) -> list[V]:
        """The values at paths that end above the one asked for: a file where it has a directory."""
        rows = self._walk(parts, fits)[1:-1]
        return [tree.value for row in rows for tree in row if tree.value is not None]

    def _walk(self, parts: Iterable[Part], fits: Fits) -> list[list[Tree[V]]]:
        rows = [[self]]
        for part in parts:
            rows.append([child for tree in rows[-1] for child in tree._fitting(part, fits)])
        return rows

    def _fitting(self, part: Part, fits: Fits) -> Iterator[Tree[V]]:
        if part.text is not None:
            if part.text in self._literal:
                yield self._literal[part.text]
        else:
            for text, tree in self._literal.items():
                if fits(Part(text, literal(text)), part):
                    yield tree
        if self._hosts:
            yield from self._fitting_hosts(part)
        for known, tree in self._patterns.items():
            if fits(known, part):
                yield tree

    def _fitting_hosts(self, part: Part) -> Iterator[Tree[V]]:
        """Trees of hosts that are the same, wider or narrower; or that a literal name is in."""
        chain: Iterable[Key]
        if part.host is not None:
            chain = _chain(part.host)
            yield from self._below.get(chain[0], ())
        elif part.text is not None:
            chain = _literal_chain(part.text)
        else:  # a host with text around it: that it may meet any of them costs nothing
            chain = self._hosts
        for key in chain:
            if key in self._hosts:
                yield self._hosts[key]


def _literal_chain(text: str) -> list[Key]:
    """The same keys of what may be a host's name or address, and may be anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        labels = text.lower().split(".")
        return ["*." + ".".join(labels[at:]) for at in range(1, len(labels))]
    bits = address.max_prefixlen
    return [(address.version, n, int(address) >> (bits - n)) for n in range(bits, -1, -1)]
