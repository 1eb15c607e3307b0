"""A path with wildcards, taken for what it can become: for each component a pattern.

Text only: what links and mounts make of two paths is not known here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tcppipe.conf.entry import Entry
from tcppipe.conf.grammar import is_wild

_WORDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_NUMBERS = frozenset("0123456789abcdef.:")


class Token(NamedTuple):
    """One character, or with `many` any number of them.  chars: None stands for all.

    excluded: those that are not meant.
    """

    chars: frozenset[str] | None
    excluded: frozenset[str] = frozenset()
    many: bool = False

    def meets(self, other: Token) -> bool:
        """True when some character is meant by both."""
        if self.chars is None:
            return other.chars is None or bool(other.chars - self.excluded)
        if other.chars is None:
            return bool(self.chars - other.excluded)
        return bool(self.chars & other.chars)


Tokens = tuple[Token, ...]


class Part(NamedTuple):
    """One component of a path: literal text, or a pattern.

    tokens: of the pattern.  host: the Entry whose host it is, when it is that and nothing more.
    """

    text: str | None
    tokens: Tokens = ()
    host: Entry | None = None

    def meets(self, other: Part) -> bool:
        """True when some name is meant by both."""
        if self.text is not None and other.text is not None:
            return self.text == other.text
        return _meet(self.tokens, other.tokens)


def _meet(one: Tokens, other: Tokens) -> bool:
    """True when two patterns have a text in common: a walk through both at once."""
    if one and other and (_differ(one[0], other[0]) or _differ(one[-1], other[-1])):
        return False  # most do
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


def _differ(one: Token, other: Token) -> bool:
    return not (one.many or other.many) and not one.meets(other)


# --- from text to patterns


def literal(text: str) -> Tokens:
    """The tokens of a text that means itself."""
    return tuple(Token(frozenset(letter)) for letter in text)


def _glob(text: str) -> Tokens:
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


def _class(inside: str) -> Token:
    negated = inside[0] == "!"
    body = inside[1:] if negated else inside
    chars = set()
    for low, high, single in re.findall(r"(.)-(.)|(.)", body, re.DOTALL):
        if single:
            chars.add(single)
        else:
            chars.update(map(chr, range(ord(low), min(ord(high), ord(low) + 0x3000) + 1)))
    return Token(None, frozenset(chars)) if negated else Token(frozenset(chars))


def _host_tokens(entry: Entry) -> Tokens:
    """What %h can become."""
    if entry.name is not None:
        return literal(entry.name)
    if entry.pattern is not None:
        return (Token(_WORDS, many=True), *literal(entry.pattern[1:].lower()))
    assert entry.network is not None
    if entry.network.num_addresses == 1:
        return literal(str(entry.network.network_address))
    return (Token(_NUMBERS, many=True),)


def local_parts(entry: Entry) -> tuple[Part, ...]:
    """The Parts of all paths that an entry's LOCAL can become."""
    remote = entry.remote[1:].split("/")
    components: list[list[Token]] = [[]]
    for piece in re.findall(r"%.|/|[^%/]+", entry.local, re.DOTALL):
        if piece == "/":
            components.append([])
        elif piece == "%p":
            components += [[*_glob(name)] for name in remote]
        elif piece == "%h":
            components[-1] += _host_tokens(entry)
        else:
            tokens = _glob(remote[-1]) if piece == "%f" else literal(piece.replace("%%", "%"))
            components[-1] += tokens
    whole = tuple(_host_tokens(entry))
    many = entry.pattern is not None or (entry.network and entry.network.num_addresses > 1)
    parts = []
    for tokens in map(tuple, components):
        part = _part(tokens, entry if many and tokens == whole else None)
        if part.text not in ("", "."):
            parts.append(part)
    return tuple(parts)


def _part(tokens: Tokens, host: Entry | None = None) -> Part:
    """A Part: literal text where it can be nothing else."""
    letters = [token.chars or frozenset() for token in tokens if not token.many]
    if len(letters) == len(tokens) and all(len(one) == 1 for one in letters):
        return Part("".join(letter for one in letters for letter in one), tokens, host)
    return Part(None, tokens, host)


def remote_parts(entry: Entry) -> tuple[Part, ...]:
    """The Parts of the paths that an entry's REMOTE means."""
    return tuple(
        Part(None, _glob(text)) if is_wild(text) else Part(text, literal(text))
        for text in entry.remote[1:].split("/")
    )


def covers_part(one: Part, other: Part) -> bool:
    """True when every name that the other Part means is surely one of this Part's."""
    if one.text is not None:
        return one.text == other.text
    if one.tokens == other.tokens:
        return True
    if len(one.tokens) == 1 and one.tokens[0] == Token(None, many=True):
        first = other.tokens[0] if other.tokens else None
        return first is not None and (first.chars is None or "." not in first.chars)
    return other.text is not None and other.text[:1] != "." and _meet(one.tokens, other.tokens)
