"""Is the peer with this address that host?

An address or a network is compared, a name by what the resolver said last.  The child of a
single connection asks itself only what its parent cannot know: which names an address has.
What nobody can answer for now is no "no" (Unknown).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from tcppipe.conf.entry import Entry
from tcppipe.conf.grammar import is_name
from tcppipe.errors import TcppipeError, reason
from tcppipe.net.connect import Address
from tcppipe.net.resolver import HostNames, plain

CLAIMS = 8


class Unknown(TcppipeError):
    """Nobody can say for now whether a peer is a host."""


def matches(entry: Entry, address: object, names: HostNames, patience: float) -> str | None:
    """Is the peer with this address the entry's host?  What %h then stands for, or None.

    May wait, but not longer than `patience` seconds, for a *.domain pattern, which fits a peer
    at any depth below the domain if one of its names leads back to its address.  Raises
    Unknown.
    """
    peer = plain(address)
    if entry.network is not None:
        return str(peer) if peer in entry.network else None
    if entry.name is not None:
        known = names.addresses(entry.name)
        if not known:
            why = names.failures.get(entry.name.lower(), "not looked up yet")
            raise Unknown(f"{entry.name} has no address: {why}")
        return entry.name if peer in known else None
    assert entry.pattern is not None
    domain = entry.pattern[1:].lower().removesuffix(".")
    answer = _wait(patience, peer, domain, names)
    if isinstance(answer, Unknown):
        raise answer
    return answer


class KnownPeers:
    """The addresses of those in a table's entries, as far as they are known without asking."""

    def __init__(self, entries: Iterable[Entry], names: HostNames) -> None:
        entries = list(entries)
        networks = {entry.network for entry in entries if entry.network is not None}
        self._networks = [network for network in networks if network.num_addresses > 1]
        self._addresses = {n.network_address for n in networks if n.num_addresses == 1}
        for name in {entry.name for entry in entries if entry.name is not None}:
            self._addresses |= names.addresses(name)

    def __contains__(self, address: object) -> bool:
        peer = plain(address)
        return peer in self._addresses or any(peer in network for network in self._networks)


def _confirmed(peer: Address, domain: str, names: HostNames) -> str | Unknown | None:
    """A name of the peer that ends in `domain` and has the peer's address, or None.

    The first one in the order of the alphabet: a name server gives several in any order.
    Returns an Unknown when that cannot be said.
    """
    try:
        claimed = {name.lower().removesuffix(".") for name in names.reverse(peer)}
    except (OSError, UnicodeError) as error:
        return None if _is_no(error) else Unknown(f"{peer}: its name: {reason(error)}")
    inside = sorted(name for name in claimed if name.endswith(domain) and is_name(name))
    for name in inside[:CLAIMS]:
        try:
            if peer in map(plain, names.forward(name)):
                return name
        except (OSError, UnicodeError) as error:
            if not _is_no(error):
                return Unknown(f"{name}: {reason(error)}")
    return None


def _is_no(error: Exception) -> bool:
    """True when a resolver says that there is no such thing, and not that it cannot say."""
    code = error.args[0] if error.args else None
    if isinstance(error, socket.gaierror):
        return code in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
    if isinstance(error, socket.herror):
        return code in (1, 4)  # HOST_NOT_FOUND, NO_DATA
    return isinstance(error, UnicodeError)


def _wait(patience: float, peer: Address, domain: str, names: HostNames) -> str | Unknown | None:
    """What _confirmed() returns, or an Unknown when that does not come in time.

    The thread is left behind then.
    """
    import threading

    answers: list[str | Unknown | None] = []

    def ask() -> None:
        answers.append(_confirmed(peer, domain, names))

    thread = threading.Thread(target=ask, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        return Unknown(f"{peer}: its name cannot be asked for: no thread can be had")
    thread.join(max(0.0, patience))
    return answers[0] if answers else Unknown(f"{peer}: the name server does not answer")
