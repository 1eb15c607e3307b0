"""Can two lines of tcppipe.conf lead to one file, and does one hide the other?

A line stands for many pipes when it has wildcards, or a host that is a network or a domain.  Here
its LOCAL and its REMOTE are taken for what they can become: for each component of the path a
pattern.  Two lines meet where patterns have a name in common; a component that both know is
looked up and not compared, so thousands of lines cost no more than each of them by itself.
Text only: what links and mounts make of two paths is not known here.
"""

import ipaddress
import re
from typing import NamedTuple

_WORDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_NUMBERS = frozenset("0123456789abcdef.:")


class Token(NamedTuple):
    """One character, or with `many` any number of them.  chars: None stands for all.

    excluded: those that are not meant.
    """

    chars: frozenset | None
    excluded: frozenset = frozenset()
    many: bool = False

    def meets(self, other):
        """True when some character is meant by both."""
        if self.chars is None and other.chars is None:
            return True
        if self.chars is None or other.chars is None:
            known, rest = (self, other) if other.chars is None else (other, self)
            return bool(known.chars - rest.excluded)
        return bool(self.chars & other.chars)


class Part(NamedTuple):
    """One component of a path: literal text, or a pattern.

    tokens: of the pattern.  host: the Entry whose host it is, when it is that and nothing more.
    """

    text: str | None
    tokens: tuple = ()
    host: object = None

    def meets(self, other):
        """True when some name is meant by both."""
        if self.text is not None and other.text is not None:
            return self.text == other.text
        return _meet(self.tokens, other.tokens)


def _meet(one, other):
    """True when two patterns have a text in common: a walk through both at once."""
    for mine, theirs in ((one[:1], other[:1]), (one[-1:], other[-1:])):  # most differ here
        if (
            mine
            and theirs
            and not (mine[0].many or theirs[0].many)
            and not mine[0].meets(theirs[0])
        ):
            return False
    seen, todo = set(), [(0, 0)]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        i, j = at
        mine = one[i] if i < len(one) else None
        theirs = other[j] if j < len(other) else None
        if mine is None and theirs is None:
            return True
        if mine is not None and mine.many:
            todo.append((i + 1, j))
        if theirs is not None and theirs.many:
            todo.append((i, j + 1))
        if mine is None or theirs is None or not mine.meets(theirs):
            continue
        todo.append((i + (not mine.many), j + (not theirs.many)))
    return False


# --- from text to patterns


def _literal(text):
    return tuple(Token(frozenset(letter)) for letter in text)


def _glob(text):
    """The tokens of one component with wildcards, as glob(7) and fnmatch read it."""
    tokens, at = [], 0
    while at < len(text):
        letter = text[at]
        end = (
            text.find("]", at + 2 + (text[at + 1 : at + 2] in ("!", "^"))) if letter == "[" else -1
        )
        if letter == "*":
            tokens.append(Token(None, many=True))
        elif letter == "?":
            tokens.append(Token(None))
        elif end > 0:
            tokens.append(_class(text[at + 1 : end]))
            at = end
        else:
            tokens.append(Token(frozenset(letter)))
        at += 1
    return tuple(tokens)


def _class(inside):
    negated = inside[0] == "!"
    body = inside[1:] if negated else inside
    chars = set()
    for low, high, single in re.findall(r"(.)-(.)|(.)", body, re.DOTALL):
        if single:
            chars.add(single)
        else:
            chars.update(map(chr, range(ord(low), min(ord(high), ord(low) + 0x3000) + 1)))
    return Token(None, frozenset(chars)) if negated else Token(frozenset(chars))


def _is_wild(text):
    return any(letter in text for letter in "*?[")


def _host_tokens(entry):
    """What %h can become."""
    if entry.name is not None:
        return _literal(entry.name)
    if entry.pattern is not None:
        return (Token(_WORDS, many=True), *_literal(entry.pattern[1:].lower()))
    if entry.network.num_addresses == 1:
        return _literal(str(entry.network.network_address))
    return (Token(_NUMBERS, many=True),)


def local_parts(entry):
    """The Parts of all paths that an entry's LOCAL can become."""
    remote = entry.remote[1:].split("/")
    components = [[]]
    for piece in re.findall(r"%.|/|[^%/]+", entry.local, re.DOTALL):
        if piece == "/":
            components.append([])
        elif piece == "%p":
            components += [[*_glob(name)] for name in remote]
        elif piece == "%h":
            components[-1] += _host_tokens(entry)
        else:
            tokens = _glob(remote[-1]) if piece == "%f" else _literal(piece.replace("%%", "%"))
            components[-1] += tokens
    whole = tuple(_host_tokens(entry))
    many = entry.pattern is not None or (entry.network and entry.network.num_addresses > 1)
    parts = []
    for tokens in map(tuple, components):
        part = _part(tokens, entry if many and tokens == whole else None)
        if part.text not in ("", "."):
            parts.append(part)
    return tuple(parts)


def _part(tokens, host=None):
    """A Part: literal text where it can be nothing else."""
    if all(not token.many and token.chars and len(token.chars) == 1 for token in tokens):
        return Part("".join(letter for token in tokens for letter in token.chars), tokens, host)
    return Part(None, tokens, host)


def remote_parts(entry):
    """The Parts of the paths that an entry's REMOTE means."""
    return tuple(
        Part(None, _glob(text)) if _is_wild(text) else Part(text, _literal(text))
        for text in entry.remote[1:].split("/")
    )


# --- hosts


def _chain(entry):
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


class Hosts:
    """The hosts of some entries, to find one that surely has every client of another's."""

    def __init__(self):
        self._first = {}

    def add(self, entry):
        """One more; the first of equal ones counts."""
        self._first.setdefault(_chain(entry)[0], entry)

    def covering(self, entry):
        """An entry of them, or None."""
        return next((self._first[key] for key in _chain(entry) if key in self._first), None)


def covers_part(one, other):
    """True when every name that the other Part means is surely one of this Part's."""
    if one.text is not None:
        return one.text == other.text
    if one.tokens == other.tokens:
        return True
    if len(one.tokens) == 1 and one.tokens[0] == Token(None, many=True):
        first = other.tokens[0] if other.tokens else None
        return first is not None and (first.chars is None or "." not in first.chars)
    return other.text is not None and other.text[:1] != "." and _meet(one.tokens, other.tokens)


# --- many of them


class Tree:
    """Paths of Parts.  value: what whoever finds a path makes of it."""

    def __init__(self):
        self._literal = {}
        self._hosts = {}  # key of a host: Tree
        self._below = {}  # key of a host: Trees of those that are narrower
        self._patterns = {}  # Part: Tree
        self.value = None

    def at(self, parts):
        """The Tree at a path, made if it is not there yet."""
        tree = self
        for part in parts:
            tree = tree._child(part)
        return tree

    def _child(self, part):
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

    def find(self, parts, fits):
        """The values at all paths each Part of which fits(known, asked) the one asked for."""
        return [tree.value for tree in self._walk(parts, fits)[-1] if tree.value is not None]

    def above(self, parts, fits):
        """The values at paths that end above the one asked for: a file where it has a directory."""
        rows = self._walk(parts, fits)[1:-1]
        return [tree.value for row in rows for tree in row if tree.value is not None]

    def _walk(self, parts, fits):
        rows = [[self]]
        for part in parts:
            rows.append([child for tree in rows[-1] for child in tree._fitting(part, fits)])
        return rows

    def _fitting(self, part, fits):
        if part.text is not None:
            if part.text in self._literal:
                yield self._literal[part.text]
        else:
            for text, tree in self._literal.items():
                if fits(Part(text, _literal(text)), part):
                    yield tree
        if self._hosts:
            yield from self._fitting_hosts(part)
        for known, tree in self._patterns.items():
            if fits(known, part):
                yield tree

    def _fitting_hosts(self, part):
        """Trees of hosts that are the same, wider or narrower; or that a literal name is in."""
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


def _literal_chain(text):
    """The same keys of what may be a host's name or address, and may be anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        labels = text.lower().split(".")
        return ["*." + ".".join(labels[at:]) for at in range(1, len(labels))]
    bits = address.max_prefixlen
    return [(address.version, n, int(address) >> (bits - n)) for n in range(bits, -1, -1)]
