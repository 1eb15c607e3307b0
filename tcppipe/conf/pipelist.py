"""Which pipes a host keeps: the lines of a list for `tcppipe -c`.

    -f /var/log/*.log -h archive.example.net -t 5    # the options of a pipe
    ! /var/log/tcppipe.log                           # not this one, whatever line fits it

Text in, lines out.  Words are quoted as in a shell.  What the options mean is the program's
business: it reads the words of a line, so an option that it learns is valid here at once.
Does not look at files: wildcards are left as they are.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

from tcppipe.errors import ConfigError

MARK = "\ufeff"  # a byte order mark
MAGIC = re.compile(r"[*?[]")
_PLAIN = re.compile(r"[\w@%+=:,./*?\[\]!~-]+", re.ASCII)


class Line(NamedTuple):
    """One line of the list.  options: what the program made of its words."""

    line: int
    pattern: str
    options: dict[str, str]
    text: str

    @property
    def wild(self) -> bool:
        """True when it may stand for several files."""
        return MAGIC.search(self.pattern) is not None

    @property
    def pointer(self) -> bool:
        """True when its file is a link that is turned, and not what it leads to."""
        return "pointer" in self.options


def parse(text: str, name: str, read: Callable[[list[str]], dict[str, str]]) -> list[Line]:
    """All lines of a list's text, in order.

    read(words): the program's reader, which gives {option: value} with the key "f", or raises
    ConfigError.  Raises ConfigError with a line `NAME:LINE: reason` for each bad line.
    """
    lines: list[Line] = []
    errors: list[str] = []
    for number, line in enumerate(text.removeprefix(MARK).split("\n"), 1):
        try:
            words = split(line)
            if words[:1] == ["!"]:
                _excluded(words)
            elif words and words[0].startswith("!"):
                raise ValueError("a blank is wanted between '!' and its pattern")
            elif words:
                options = read(words)
                _check_pattern("-f", options["f"])
                lines.append(Line(number, options["f"], options, " ".join(map(_quoted, words))))
        except (ValueError, ConfigError) as error:
            errors.append(f"{name}:{number}: {error}")
    if errors:
        raise ConfigError("\n".join(errors))
    return lines


def exclusions(text: str) -> list[str]:
    """The patterns of files that are to have no pipe, of a text that parse() has read."""
    found = map(split, text.removeprefix(MARK).split("\n"))
    return [_excluded(words) for words in found if words[:1] == ["!"]]


def _excluded(words: list[str]) -> str:
    if len(words) != 2:
        raise ValueError("one pattern is wanted behind '!'")
    _check_pattern("!", words[1])
    return words[1]


def split(line: str) -> list[str]:
    """The words of a line as a shell sees them; a word that begins with '#' begins a comment.

    Raises ValueError for a quotation without an end.
    """
    stream = io.StringIO(line)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""  # shlex would end a word at a '#' in it
    words: list[str] = []
    while True:
        rest = line[stream.tell() :].lstrip(lexer.whitespace)
        if not rest or rest.startswith("#"):
            return words
        try:
            words.append(lexer.get_token() or "")
        except ValueError:
            raise ValueError("a quotation has no end in this line") from None


def _quoted(word: str) -> str:
    """A word as it can stand in a line, wildcards as they are."""
    return word if _PLAIN.fullmatch(word) else shlex.quote(word)


def _check_pattern(what: str, pattern: str) -> None:
    if not pattern.startswith("/"):
        raise ValueError(f"{what} {pattern}: not an absolute path")
    if pattern.endswith("/"):
        raise ValueError(f"{what} {pattern}: a directory, not a file in it")
    if "\0" in pattern:
        raise ValueError(f"{what}: holds a NUL")
