"""Who may fetch which files: gen_numbers' .locals file.

    $hosts_allow{"ADDRESS"} = 1;     $files{"PATH"} = "GLOB";
    $bind_port = 100;                $bind_addr = "10.4.3.5";

The file was a piece of Perl once.  Here it is a small grammar of its own, which is
parsed and never executed: what it does not have is an error, not a surprise.
A path may hold any bytes, so text is decoded with "surrogateescape" by whoever
reads the file.  Does not read files, resolve names, or look for rotated files.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tcppipe.conf import grammar
from tcppipe.errors import ConfigError

MAX_PATTERNS = 64  # that one GLOB may stand for
HOLD_NULS = "hold-nuls"  # a word in a GLOB that is no pattern, but says how the file is written

_SINGLE = r"'(?:[^'\\]|\\.)*'"
_DOUBLE = r'"(?:[^"\\]|\\.)*"'
_STATEMENT = re.compile(
    rf"""(?:(?:our|my)[ \t]+)?
    \$(?P<name>[A-Za-z_0-9]+) [ \t]*
    (?:\{{ [ \t]* (?P<key>{_SINGLE}|{_DOUBLE}) [ \t]* \}} [ \t]*)?
    = [ \t]* (?P<value>{_SINGLE}|{_DOUBLE}|[0-9]{{1,9}}) [ \t]* ;""",
    re.VERBOSE,
)
_NOTHING = re.compile(r"use[ \t]+(?:strict|warnings)[ \t]*;|1[ \t]*(?:;|(?=\#|$))|;")
_ESCAPED = re.compile(r"\\(.)|[$@]")
_BRACES = re.compile(r"\{([^{}]*)\}")


class Numbers(NamedTuple):
    """A file's meaning.  allow has each network once; files has the GLOB of each path."""

    allow: list[tuple[grammar.Network, bool]]
    files: dict[str, str]
    port: int | None = None
    address: str | None = None

    def allows(self, address: object) -> bool:
        """May this address fetch?  The smallest network that holds it decides."""
        given = ipaddress.ip_address(str(address).partition("%")[0])
        given = getattr(given, "ipv4_mapped", None) or given
        found = [
            (network.prefixlen, allowed)
            for network, allowed in self.allow
            if network.version == given.version and given in network
        ]
        return max(found)[1] if found else False


def parse(text: str, name: str) -> Numbers:
    """The meaning of a file's text.  What is said twice is meant as it was said last.

    Raises ConfigError with a line `NAME:LINE: reason` for each bad line.
    """
    allow: dict[grammar.Network, bool] = {}
    files: dict[str, str] = {}
    scalars: dict[str, Any] = {}
    errors: list[str] = []
    for number, line in enumerate(grammar.lines(text), 1):
        try:
            for variable, key, value in _statements(line.strip(grammar.BLANKS)):
                if variable == "hosts_allow":
                    allow[grammar.network(key)] = value not in ("", "0")
                elif variable == "files":
                    files[_path(key)] = _glob(value)
                else:
                    scalars[variable] = _SCALARS[variable](value)
        except ValueError as error:
            errors.append(f"{name}:{number}: {error}")
    if errors:
        raise ConfigError("\n".join(errors))
    return Numbers(list(allow.items()), files, scalars.get("bind_port"), scalars.get("bind_addr"))


def statements(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, variable, key or "") of each assignment in a valid file's text; of a network, the
    key is its usual form."""
    for number, line in enumerate(grammar.lines(text), 1):
        for variable, key, _value in _statements(line.strip(grammar.BLANKS)):
            usual = str(grammar.network(key)) if variable == "hosts_allow" else key
            yield number, variable, usual


def patterns(glob: str) -> list[str]:
    """The patterns of a GLOB, as the original's shell-like reading has them.

    Blanks separate patterns, and `{a,b}` stands for each of its words.
    Raises ValueError when there are too many.
    """
    todo, found = re.split(r"[ \t]+", glob.strip(grammar.BLANKS)), []
    while todo:
        pattern = todo.pop(0)
        braces = _BRACES.search(pattern)
        if not braces:
            found.append(pattern)
        else:
            before, after = pattern[: braces.start()], pattern[braces.end() :]
            todo[:0] = [before + word + after for word in braces[1].split(",")]
        if len(todo) + len(found) > MAX_PATTERNS:
            raise ValueError(f"more than {MAX_PATTERNS} patterns")
    return [pattern for pattern in dict.fromkeys(found) if pattern not in ("", HOLD_NULS)]


def holds_nuls(glob: str) -> bool:
    """True when a run of NULs at the end of the file is no content yet."""
    return HOLD_NULS in glob.split()


def _statements(line: str) -> Iterator[tuple[str, str, str]]:
    """Each assignment of a line as (variable, key or "", value)."""
    while line and not line.startswith("#"):
        found = _NOTHING.match(line) or _STATEMENT.match(line)
        if not found:
            raise ValueError(f"not understood: {line[:60]!r} ({_wanted(line)})")
        line = line[found.end() :].lstrip(grammar.BLANKS)
        if found.re is _NOTHING:
            continue
        variable, key, value = found["name"], found["key"], found["value"]
        if variable not in ("hosts_allow", "files", *_SCALARS):
            raise ValueError(f"unknown variable ${variable}")
        if (key is None) != (variable in _SCALARS):
            raise ValueError(f"${variable}: " + ("no {key}" if key is None else "has no keys"))
        if variable == "files" and value.isdigit():
            raise ValueError("$files: a pattern in quotes wanted")
        yield variable, _string(key) if key else "", _string(value)


def _wanted(line: str) -> str:
    """What is missing in a line, or else which lines there are."""
    if not line.startswith("$") and line[:1].isalpha():
        return "a '$' before the name?"
    if line.startswith("$") and ";" not in line:
        return "a ';' at the end?"
    return """wanted: $hosts_allow{"ADDRESS"} = 1; or $files{"PATH"} = "GLOB";"""


def _string(quoted: str) -> str:
    """What a string in quotes, or a number, means.  Nothing is put into it."""
    if quoted.isdigit():
        return str(int(quoted))
    if quoted[0] == "'":
        return re.sub(r"\\([\\'])", r"\1", quoted[1:-1])

    def plain(found: re.Match[str]) -> str:
        if not found[1]:
            raise ValueError(f"a variable in {quoted}: write \\{found[0]}, or use single quotes")
        if found[1].isalnum():
            raise ValueError(f"unknown {found[0]} in {quoted}")
        return found[1]

    return _ESCAPED.sub(plain, quoted[1:-1])


def _path(text: str) -> str:
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError(f"file {text!r} is not an absolute path of a file")
    if re.search(r"[\0 \t\r\f\v]", text):
        raise ValueError(f"file {text!r} holds a blank, and no request can say that")
    return text


def _glob(text: str) -> str:
    if "\\" in text or "\0" in text:
        raise ValueError(f"pattern {text!r} holds a backslash or a NUL")
    for pattern in patterns(text):
        if not pattern.startswith("/"):
            raise ValueError(f"pattern {pattern!r} is not an absolute path")
    return text


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError(f"bad port {text!r}")
    return int(text)


def _address(text: str) -> str:
    """An address, or a name of this host; "0" is the original's word for all of IPv4."""
    if text == "0":
        return "0.0.0.0"
    if grammar.is_name(text):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(f"bad address: {error}") from None


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"bad number of seconds {text!r}")
    return int(text)


# The last two are the original's pace.  They are understood, and mean nothing here.
_SCALARS: dict[str, Callable[[str], Any]] = {
    "bind_port": _port,
    "bind_addr": _address,
    "delay_check": _seconds,
    "timeout_write": _seconds,
}
