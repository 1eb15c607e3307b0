"""fetch_logs asks a server for a file: a connection, a request, and the first line of the answer.

Nothing here waits: whoever has the loop calls ready() when the descriptor is, tend() when due() has
come.
"""

from __future__ import annotations

import random
import select
from collections.abc import Callable, Iterable

from tcppipe.conf.fetch import Source
from tcppipe.drivers.fetched import Means
from tcppipe.errors import LinkLost, PeerError
from tcppipe.net.connect import Address, Connecting, targets
from tcppipe.net.link import Link, SharedLink
from tcppipe.wire import pull1

GREETING = 5.0  # seconds that a server has for its answer
CROWDED = 0.5  # seconds until a source looks again whether it is its turn
RESOLVE = 5.0  # seconds that the first look-up of a name may take
UNRESOLVED = 1.0  # seconds between two looks at a name that was not looked up yet


class Inquiry:
    """One attempt, by the first of these addresses that answers.

    request: a function that gives the request when there is a connection.
    Methods raise LinkLost or PeerError when it has failed.
    """

    def __init__(
        self,
        source: Source,
        addresses: Iterable[Address],
        request: Callable[[], bytes],
        now: float,
    ) -> None:
        peer = f"{source.host}:{source.port}"
        self._request = request
        self._connecting = Connecting(targets(addresses, source.port), peer, now, SharedLink)
        self._link: Link | None = None
        self._until = 0.0

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._connecting.fileno() if self._link is None else self._link.fileno()

    def events(self) -> int:
        """What to wait for on it."""
        if self._link is None:
            return select.POLLOUT
        return select.POLLIN | (select.POLLOUT if self._link.pending else 0)

    def due(self) -> float:
        """When tend() has to be called at the latest."""
        return self._connecting.until if self._link is None else self._until

    def ready(self, now: float) -> tuple[Link, bytes] | None:
        """The descriptor is: the link and the server's first line, if that has come."""
        if self._link is None:
            self._link = self._connecting.ready(now)
            if self._link is not None:
                self._link.send(self._request())
                self._until = now + GREETING
            return None
        try:
            line = self._link.try_line(pull1.MAX_ANSWER)
        except PeerError:
            raise
        except LinkLost as error:
            why = ", before an answer: not allowed there, or no gen_numbers?"
            raise LinkLost(f"{error}{why}") from None
        return None if line is None else (self._link, line)

    def tend(self, now: float) -> None:
        """Give up what has taken too long."""
        if self._link is None:
            self._connecting.tend(now)
        elif now >= self._until:
            raise LinkLost(f"{self._link.peer}: said nothing in time")

    def close(self) -> None:
        """Give it up."""
        self._connecting.close()
        if self._link is not None:
            self._link.close()


class Door:
    """When a source may ask its server: when that has an address, and not too many others ask."""

    def __init__(self, source: Source, means: Means) -> None:
        self._source = source
        self._means = means
        self._counted = False
        # so long the server's name may be unknown without an error
        self._nameless_until: float | None = None

    @property
    def nameless(self) -> bool:
        """True when its name was not looked up yet."""
        return self._nameless_until is not None

    def ask(self, request: Callable[[], bytes], now: float) -> Inquiry | float:
        """An Inquiry, or when to try again.  Raises LinkLost."""
        source = self._source
        addresses = list(self._means.addresses(source.host))
        if not addresses:
            self._nameless_until = self._nameless_until or now + RESOLVE
            if now < self._nameless_until:
                return now + UNRESOLVED
            raise LinkLost(f"{source.host}: unknown host")
        self._nameless_until = None
        self._counted = self._means.gate.enter((source.host, source.port))
        if not self._counted:
            return now + CROWDED * random.uniform(0.5, 1.5)
        random.shuffle(addresses)
        return Inquiry(source, addresses, request, now)

    def answered(self) -> None:
        """Another source may ask this server."""
        if self._counted:
            self._counted = False
            self._means.gate.leave((self._source.host, self._source.port))
