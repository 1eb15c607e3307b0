"""Which file of which server goes where: the lines of fetch_logs' configuration.

    ADDR PORT REMOTE LOCAL POINTER

Text in, sources out.  Blanks separate the fields, so no path can hold one, and neither
can the request that is made of it.  A path may hold any other bytes: text is decoded with
"surrogateescape" by whoever reads the file.  Does not read files or resolve names.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from tcppipe.conf import grammar
from tcppipe.errors import ConfigError

FIELDS = ("address", "port", "remote file", "local file", "pointer file")

_BLANKS = re.compile(r"[ \t\r\f\v]+")


class Source(NamedTuple):
    """One line of the file.  Sources of one server have the same host, letter for letter."""

    line: int
    host: str
    port: int
    remote: str
    local: str
    pointer: str

    @property
    def is_name(self) -> bool:
        """True when the host has to be looked up."""
        return grammar.is_name(self.host)


def parse(text: str, name: str) -> list[Source]:
    """All sources of a file's text, in order.

    Raises ConfigError with a line `NAME:LINE: reason` for each bad line.
    """
    sources: list[Source] = []
    errors: list[str] = []
    written: dict[str, int] = {}
    for number, line in enumerate(grammar.lines(text), 1):
        fields = [field for field in _BLANKS.split(line) if field]
        if not fields or fields[0].startswith("#"):
            continue
        try:
            source = _source(number, fields)
            for which, path in (("local", source.local), ("pointer", source.pointer)):
                same = re.sub(r"/(\.?/)+", "/", path)
                if same in written:
                    who = f"line {written[same]}" if written[same] != number else "this line"
                    raise ValueError(f"{which} file {path!r} is written by {who} already")
                written[same] = number
            sources.append(source)
        except ValueError as error:
            errors.append(f"{name}:{number}: {error}")
    if errors:
        raise ConfigError("\n".join(errors))
    return sources


def _source(number: int, fields: list[str]) -> Source:
    if len(fields) < len(FIELDS):
        raise ValueError(f"{FIELDS[len(fields)]} missing (ADDR PORT REMOTE LOCAL POINTER)")
    if len(fields) > len(FIELDS) and not fields[len(FIELDS)].startswith("#"):
        raise ValueError("more than five fields (a path cannot hold blanks)")
    host, port, *paths = fields[: len(FIELDS)]
    for which, path in zip(FIELDS[2:], paths):
        _check_path(which, path)
    remote, local, pointer = paths
    return Source(number, _host(host), _port(port), remote, local, pointer)


def _host(text: str) -> str:
    """An address in its shortest spelling, or a name in lower case: good as a file's name."""
    if grammar.is_name(text):
        return text.lower()
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in address:
        raise ValueError(f"bad address {text!r}: an interface cannot be given")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f"bad address {text!r}") from None
    return str(getattr(found, "ipv4_mapped", None) or found)


def _port(text: str) -> int:
    # the original reads a number with a 0 before it as an octal one
    if not re.fullmatch("[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError(f"bad port {text!r}")
    return int(text)


def _check_path(which: str, path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"{which} {path!r} is not an absolute path")
    if path.endswith("/"):
        raise ValueError(f"{which} {path!r} is a directory")
    if "\0" in path:
        raise ValueError(f"{which} {path!r} holds a NUL")
