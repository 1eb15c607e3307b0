"""Connecting, as the push pair's client: its host's name, its addresses, and the handshake.

Nothing here waits: whoever has the loop looks at the origin and answers signals meanwhile.
"""

from __future__ import annotations

import select
from math import inf

from tcppipe.errors import LinkLost, PeerError, Refused, reason
from tcppipe.net.connect import Connecting, MakeLink, Target
from tcppipe.net.link import Link
from tcppipe.net.lookup import LookUp, numeric
from tcppipe.process.children import Children
from tcppipe.wire import push1

Where = tuple[str, int]  # a host and a port

HANDSHAKE = 5.0  # seconds that the other side has for its answer
RESOLVE = 5.0  # seconds for the name server, when there is an older answer to fall back on …
FIRST_RESOLVE = 30.0  # … and when there is none
PATIENCE = 2.0  # seconds that many pipes wait for one look-up, before each makes its own
FRESH = 60.0  # seconds for which many pipes share an answer
SIDE_BY_SIDE = 16  # look-ups that are made for many pipes at once


class Dialler:
    """Knows a host and port, whatever becomes of the name server in between.

    The last good answer of the name server is kept, and used when it gives none.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.peer = f"{host}:{port}"
        self.numeric = numeric(host, port)
        self.fresh = False  # the targets have not been used yet
        self._targets = self.numeric

    def known(self, targets: list[Target]) -> None:
        """The name server has answered, or not."""
        if targets:
            self._targets, self.fresh = targets, True

    def look_up(self, now: float) -> LookUp | None:
        """A LookUp of the host's name, or None: there is no need for one.  Raises OSError."""
        if self.numeric or self.fresh:
            return None
        return LookUp(self.host, self.port, now + (RESOLVE if self._targets else FIRST_RESOLVE))

    def targets(self, why_not: str | None) -> list[Target]:
        """What to connect to.  Raises LinkLost when there never was an answer."""
        self.fresh = False
        if not self._targets:
            raise LinkLost(f"{self.host}: unknown host: {why_not}")
        return self._targets

    def dial(self, path: bytes, now: float, link: MakeLink = Link) -> Dialling:
        """Begin to connect for the pipe of `path` (bytes): a Dialling.

        link: makes a Link of a socket and the peer in words.
        """
        return Dialling(self, path, now, link)


class Diallers:
    """A Dialler for each host and port that many pipes lead to.

    Their names are asked for side by side, each once for all its pipes, and nobody waits: a pipe
    whose host has no answer in time makes do with its own look-up.
    children: the Children whose owner reaps the processes.
    """

    def __init__(self, children: Children) -> None:
        self._children = children
        self._diallers: dict[
            Where, tuple[Dialler, float]
        ] = {}  # (host, port): (Dialler, when its name was asked for)
        self._look_ups: dict[
            Where, tuple[LookUp, float]
        ] = {}  # (host, port): (LookUp under way, when pipes are to wait no longer)

    def of(self, host: str, port: int) -> Dialler:
        """The Dialler for a host and port."""
        return self._entry(host, port)[0]

    def _entry(self, host: str, port: int) -> tuple[Dialler, float]:
        where = host, port
        if where not in self._diallers:
            self._diallers[where] = Dialler(host, port), -inf
        return self._diallers[where]

    def ready_at(self, host: str, port: int, now: float) -> float:
        """When a pipe to that host is to be started at the latest: now, or somewhat later."""
        where = host, port
        dialler, asked = self._entry(host, port)
        if where in self._look_ups:
            return self._look_ups[where][1]
        if dialler.numeric or now - asked < FRESH or len(self._look_ups) >= SIDE_BY_SIDE:
            return now
        self._diallers[where] = dialler, now
        try:
            look_up = LookUp(host, port, now + FIRST_RESOLVE, self._children)
        except OSError:
            return now
        self._look_ups[where] = look_up, now + PATIENCE
        return now + PATIENCE

    def descriptors(self) -> list[int]:
        """What to wait on: readable when tend() has something to do."""
        return [look_up.fileno() for look_up, _until in self._look_ups.values()]

    def tend(self, now: float) -> bool:
        """Take the answers that are there; True if there was one."""
        over = [where for where, (look_up, _until) in self._look_ups.items() if look_up.tend(now)]
        for where in over:
            look_up, _until = self._look_ups.pop(where)
            self._diallers[where][0].known(look_up.targets)
        return bool(over)

    def close(self) -> None:
        """End the look-ups."""
        for look_up, _until in self._look_ups.values():
            look_up.close()
        self._look_ups = {}

    def forget(self) -> None:
        """In a child just forked: the look-ups are its parent's."""
        for look_up, _until in self._look_ups.values():
            look_up.forget()
        self._look_ups = {}


class Dialling:
    """One attempt to have a pipe accepted: a look-up, a connection, a request and its answer.

    Never waits: whoever has the loop calls go() when the descriptor is ready, or due() has come.
    link and version2 are there when go() has returned True.
    """

    def __init__(self, dialler: Dialler, path: bytes, now: float, link: MakeLink) -> None:
        self.link: Link | None = None
        self.version2 = False
        self._dialler = dialler
        self._path = path
        self._make_link = link
        self._look_up: LookUp | None = None
        self._connecting: Connecting | None = None
        self._until = 0.0
        why_not = None
        try:
            self._look_up = dialler.look_up(now)
        except OSError as error:
            why_not = f"cannot ask: {reason(error)}"  # an older answer will do
        if self._look_up is None:
            self._connect(why_not, now)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        thing = self._look_up or self._connecting or self.link
        assert thing is not None
        return thing.fileno()

    def events(self) -> int:
        """What to wait for on it."""
        if self._look_up is not None:
            return select.POLLIN
        if self._connecting is not None:
            return select.POLLOUT
        assert self.link is not None
        return select.POLLIN | (select.POLLOUT if self.link.full else 0)

    def due(self) -> float:
        """When go() has to be called at the latest."""
        if self._look_up is not None:
            return self._look_up.until
        if self._connecting is not None:
            return self._connecting.until
        assert self.link is not None
        return min(self._until, self.link.due())

    def go(self, ready: int, now: float) -> bool:
        """The descriptor is ready, or something may be due.  True: the server said yes.

        Raises LinkLost, PeerError or Refused.
        """
        if self._look_up is not None:
            self._hear_names(self._look_up, now)
        elif self._connecting is not None:
            self._reach(self._connecting, ready, now)
        else:
            assert self.link is not None
            return self._hear_answer(self.link, ready, now)
        return False

    def _hear_names(self, look_up: LookUp, now: float) -> None:
        if look_up.tend(now):
            self._look_up = None
            self._dialler.known(look_up.targets)
            self._connect(look_up.why_not, now)

    def _connect(self, why_not: str | None, now: float) -> None:
        targets = self._dialler.targets(why_not)
        peer = self._dialler.peer
        says = "{}: cannot connect: {}"
        self._connecting = Connecting(targets, peer, now, self._make_link, says)

    def _reach(self, connecting: Connecting, ready: int, now: float) -> None:
        if not ready:
            connecting.tend(now)
            return
        link = connecting.ready(now)
        if link is not None:
            self._connecting, self.link = None, link
            self._until = now + HANDSHAKE
            link.send(push1.request(self._path))

    def _hear_answer(self, link: Link, ready: int, now: float) -> bool:
        try:
            link.flush()
            line = link.try_line(push1.MAX_ANSWER) if ready & ~select.POLLOUT else None
        except PeerError:
            raise
        except LinkLost as error:
            raise LinkLost(f"{error}, before an answer: no tcppiped there?") from None
        if line is None:
            if now >= self._until:
                raise LinkLost(f"{link.peer}: said nothing in time")
            return False
        try:
            self.version2 = push1.parse_answer(line)
        except Refused as error:
            raise type(error)(f"{link.peer}: {error}") from None
        except PeerError as error:
            raise PeerError(f"{link.peer}: no tcppiped: {error}") from None
        if self.version2:
            link.send(push1.accept())
        return True

    def close(self) -> None:
        """Give it up."""
        for thing in (self._look_up, self._connecting, self.link):
            if thing is not None:
                thing.close()
