"""What all configuration files share: lines, names, hosts, paths with wildcards.

Text in, words out.  What a peer can choose is checked here before it becomes part of a
local path.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

BLANKS = " \t\r"
BYTE_ORDER_MARK = "\ufeff"

_BRACKETED = re.compile(r"(\[[^\]]*\](?:/\d+)?)[ \t]*:[ \t]*(.*)", re.DOTALL)
_BARE = re.compile(r"(.*?)[ \t]*:[ \t]*(/.*)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def is_wild(text: str) -> bool:
    """May this be several names?"""
    return any(letter in text for letter in "*?[")


def matches_component(wanted: str, given: str) -> bool:
    """Is a name meant by what stands between two slashes of a pattern?"""
    if given[:1] in ("", ".") and wanted[:1] != given[:1]:
        return False
    return fnmatchcase(given, wanted)


def plain(path: str) -> str:
    """A path without repeated slashes and "." in it."""
    return re.sub(r"/(\.?/)+", "/", path)


def is_file_name(text: str) -> bool:
    """Can a name of a peer become one here?"""
    return text not in ("", ".", "..") and "/" not in text and not _CONTROL.search(text)


def is_name(text: str) -> bool:
    """Can this be a host name?  Letters, digits, '-', '_' and dots; a number at the end is not."""
    labels = text.removesuffix(".").split(".")
    return (
        len(text) <= 253
        and all(map(_LABEL.fullmatch, labels))
        and not (labels[-1].isascii() and labels[-1].isdigit())
    )


def lines(text: str) -> list[str]:
    """The lines of any configuration.  A byte order mark before the first one says nothing."""
    return text.removeprefix(BYTE_ORDER_MARK).split("\n")


def split_origin(field: str) -> tuple[str, str]:
    """HOST and path of HOST:PATH.  Raises ValueError."""
    found = (_BRACKETED if field.startswith("[") else _BARE).fullmatch(field)
    if found:
        return found[1], found[2]
    host, colon, remote = field.partition(":")
    if not colon:
        raise ValueError("no ':' between host and remote file")
    if field.startswith("["):
        raise ValueError(f"bad address {field!r}")
    return host.strip(BLANKS), remote.strip(BLANKS)


@functools.lru_cache(maxsize=1 << 17)
def split_host(host: str) -> tuple[Network | None, str | None, str | None]:
    """HOST as (network, None, None), (None, pattern, None) or (None, None, name).

    Raises ValueError.
    """
    if not host:
        raise ValueError("host missing")
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return network(address + rest, ipaddress.IPv6Network), None, None
    if ":" in host:
        raise ValueError(f"bad host {host!r} (an IPv6 address needs brackets)")
    last = host.rpartition(".")[2]
    if "/" in host or (last.isascii() and last.isdigit()):
        return network(host, ipaddress.IPv4Network), None, None
    if host.startswith("*.") and is_name(host[2:]):
        return None, host, None
    if not is_name(host):
        raise ValueError(f"bad host {host!r}")
    return None, None, host


def network(text: str, kind: Callable[..., Network] = ipaddress.ip_network) -> Network:
    """The addresses that ADDRESS or ADDRESS/BITS means; IPv4 in IPv6 is IPv4.  Raises ValueError."""
    if "%" in text:
        raise ValueError(f"bad address {text!r}: an interface cannot be given")
    try:
        found = kind(text, strict=False)
    except ValueError as error:
        raise ValueError(f"bad address: {error}") from None
    if "/" in text and ipaddress.ip_address(text.partition("/")[0]) != found.network_address:
        raise ValueError(f"bad address: {text} has host bits set; the network is {found}")
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        plain = found.network_address.ipv4_mapped
        assert plain is not None
        return ipaddress.IPv4Network((plain, found.prefixlen - _MAPPED.prefixlen))
    return found
