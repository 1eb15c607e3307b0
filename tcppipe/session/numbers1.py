"""The source's side of the pull pair's version 1: an answer, then the bytes of one generation.

The client says which inode it has and how many bytes of it.  It cannot be told that a
generation has ended, only by closing; it comes back then, and gets the one after it.
Bytes 0x07 are signs of life, and go out as 0xff.
"""

from math import inf

from tcppipe.cursor import NO_DIGEST
from tcppipe.errors import LinkLost
from tcppipe.session import news, states
from tcppipe.session.actions import Say, Search, Send, Start
from tcppipe.session.keepalive import Keepalive
from tcppipe.wire import pull1

QUIET = 60.0  # seconds without data after which a sign of life is sent


class ByteSource:
    """One connection's source session with an original client.

    number: a function that gives the inode number of a Candidate, of a compressed one too.
    """

    def __init__(self, inode, offset, number, now):
        self.state = states.AGREEING
        self.keepalive = Keepalive(now)
        self.settled = True
        self.waiting = ""
        self._inode = inode
        self._offset = offset
        self._number = number

    def open(self):
        """The first actions."""
        return [Search(0)]

    @property
    def streaming(self):
        """True when news of the origin may be delivered."""
        return self.state == states.STREAMING

    def done(self, _action, candidates):
        """The result of the Search -> actions.  Raises LinkLost when there is no answer."""
        candidates = [one for one in candidates if one.live or one.rotated]
        if not candidates:
            raise LinkLost("no such file for now")
        found, candidate, offset = self._pick(candidates)
        if offset > candidate.size:
            raise LinkLost(f"{candidate.name}: asked for from {offset}, has {candidate.size} bytes")
        self.state = states.STREAMING
        answer = pull1.answer(found, self._number(candidate))
        quiet = pull1.ALIVE if offset == candidate.size else b""
        return [Start(candidate, offset, (0, NO_DIGEST)), Send(answer + quiet)]

    def _pick(self, candidates):
        """(is the asked-for one known, the Candidate to serve, from where on)."""
        if not self._inode:
            return True, candidates[-1], self._offset
        for at, candidate in enumerate(candidates):
            if self._number(candidate) != self._inode:
                continue
            later = candidates[at + 1 :]
            if later and candidate.size == self._offset and not candidate.live:
                return True, later[0], 0
            return True, candidate, self._offset
        return False, candidates[-1], 0

    def deliver(self, item):
        """News of the origin -> actions.  Raises LinkLost when the generation has ended."""
        if isinstance(item, news.Piece):
            return [Send(pull1.outgoing(bytes(item.data)))]
        if isinstance(item, news.Ended):
            raise LinkLost("the generation has ended")
        if isinstance(item, news.LateBytes):
            return [Say("critical", f"{len(item.data)} late bytes have no place in version 1")]
        if isinstance(item, news.Lost):
            return [Say("critical", f"bytes lost from offset {item.first} on: {item.reason}")]
        return []

    def receive(self, _data, _now):
        """An original client has nothing more to say."""
        return []

    def tick(self, now, deaf=False):
        """Time passes -> actions."""
        if self.streaming and now >= self.due():
            self.keepalive.sent = now
            return [Send(pull1.ALIVE)]
        return []

    def due(self):
        """When tick() has something to do."""
        return self.keepalive.sent + QUIET if self.streaming else inf

    def bye(self):
        """An orderly end is the end of the connection -> no actions."""
        self.state = states.CLOSED
        return []
