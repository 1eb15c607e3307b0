"""Packs a source's pieces where that pays (-z): the codec, the clock, and the judgement.

One for each source, whatever number of connections it makes; the judgement begins anew with
each of them.  session/squeeze judges, wire/packing packs, the Feed tells how the link does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tcppipe.cursor import Bytes
from tcppipe.net.link import Link
from tcppipe.session.squeeze import PACK, PLAIN, SAMPLED, TRIAL_PIECE, Squeeze
from tcppipe.wire import packing

BATCH = 8  # packed pieces handed to the link between two looks at the clock: it takes its time


class Packer:
    """Packs pieces for one source.  clock: a function; seconds that do not jump."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        packing.able()  # loads the library before a fork, and before a connection is open
        self._clock = clock
        self._method = 0
        self._judgement: Squeeze | None = None
        self._told: int | None = None
        self._link: Link | None = None
        self._shallow = False
        # (bytes, bytes on the wire, seconds) of the piece under way
        self._piece: tuple[int, int, float] | None = None

    # --- what the session asks

    def offered(self, methods: int) -> str | None:
        """A connection's sink can unpack so: a line worth saying, or None."""
        self._method = packing.best(methods)
        self._judgement = Squeeze() if self._method else None
        if methods == self._told:
            return None
        self._told = methods
        if not self._method:
            return "the other side cannot unpack: nothing is compressed"
        return f"compresses with {packing.NAMES[self._method]} where that pays"

    def pack(self, data: Bytes) -> tuple[int, bytes] | None:
        """(method, packed bytes) for a piece of data, or None: it is to go plain."""
        if self._judgement is None:
            return None
        begun = self._clock()
        packed = self._pack(data, self._judgement)
        tried, packed = packed is not None, packed if packed and len(packed) < len(data) else None
        seconds = self._clock() - begun if tried else 0.0
        self._piece = len(data), len(packed or data), seconds
        return (self._method, packed) if packed else None

    def _pack(self, data: Bytes, judgement: Squeeze) -> bytes | None:
        what = judgement.choose(len(data))
        if what == PLAIN:
            return None
        if what != PACK:
            sample = packing.pack(self._method, data[:SAMPLED])
            if not judgement.sampled(SAMPLED, len(sample)):
                return None
        return packing.pack(self._method, data, judgement.hard)

    # --- what the Feed tells and asks

    def attach(self, link: Link) -> None:
        """Another connection begins."""
        self._link, self._shallow = link, False
        self._method, self._judgement = 0, None
        self._piece = None  # the last connection may have ended before it was handed on

    def batch(self, most: int) -> int:
        """How many pieces may go without a look at the clock."""
        judgement = self._judgement
        if judgement is None or not judgement.working:
            return most
        return min(most, BATCH)

    def limit(self, most: int) -> int:
        """The link takes another piece: of how many bytes at most?"""
        judgement = self._judgement
        if judgement is None:
            return most
        judgement.ready(self._clock())
        if judgement.working != self._shallow:
            self._shallow = judgement.working
            assert self._link is not None
            self._link.shallow(self._shallow)
        return min(most, TRIAL_PIECE) if judgement.trying_plain else most

    def sent(self) -> None:
        """The piece was handed to the link."""
        if self._piece is not None:
            assert self._judgement is not None and self._link is not None
            self._judgement.sent(self._clock(), *self._piece, self._link.pending)
            self._piece = None

    def rest(self) -> None:
        """There is nothing to send."""
        if self._judgement is not None:
            self._judgement.rest(self._clock())
