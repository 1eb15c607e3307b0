"""Two ends of a TCP connection in memory, for the real Link: slow, stuck, cut or altered.

An end takes what its kernel has room for and no more, so a Link's queue is the real one, with
the views that it keeps.  What was taken arrives as fast as the line is.
"""

from tcppipe.net.link import INFO

IN, OUT, ERROR, HUP, NO_FD, GONE = 1, 4, 8, 16, 32, 0x2000  # those of poll
ROOMS = (200, 3000, 1 << 16, 1 << 20)  # bytes that a kernel takes before anybody reads them
RATES = (None, None, None, None, None, 40.0, 400.0, 4000.0)  # bytes a second; None: at once


class SimSocket:
    """One end.  clock: a function; seconds that do not jump."""

    fd = -1

    def __init__(self, rnd, clock, room, rate):
        self.rnd = rnd
        self.other = None
        self.inbox = bytearray()  # sent by the other end, and not read yet
        self._cut_at = None  # since when nothing arrives at the other end any more
        self.closed = False
        self.slow = True  # False: as fast as it is asked
        self._swallowed = 0  # bytes that a kernel holds for an end that is out of reach
        self.altered = 0  # bits that turn over in what is sent next
        self.broken = False  # reset by somebody: known to this end at its next call
        self._clock = clock
        self._room = room
        self._rate = rate
        self._credit = 0.0
        self._since = clock()

    @property
    def cut(self):
        """True when nothing arrives at the other end any more."""
        return self._cut_at is not None

    @cut.setter
    def cut(self, _true):
        self._cut_at = self._clock()

    # --- what a Link asks for

    def setblocking(self, _on):
        """It never blocks."""

    def setsockopt(self, *_):
        """Whatever."""

    def getsockopt(self, *_):
        """TCP_INFO: a kernel that is out of reach answers nothing to what is sent again."""
        silent = self._clock() - self._cut_at if self.cut else 0.0
        return INFO.pack(3 if self._swallowed else 0, 0, int(silent * 1000))

    def fileno(self):
        """The descriptor, for a simulated poll."""
        return self.fd

    def sendmsg(self, parts):
        """Take what there is room for."""
        self._check()
        if self.other.closed and not self.cut and self.rnd.random() < 0.5:
            raise BrokenPipeError(32, "Broken pipe")
        room = self._free()
        if room <= 0:
            raise BlockingIOError
        taken, content = bytearray(), []
        for part in parts:
            before = len(taken)
            taken += bytes(part[: room - before])
            if not isinstance(part.obj, bytes):  # a view of what was read from a file
                content += range(before, len(taken))
            if len(taken) == room:
                break
        if len(taken) > 1 and self.rnd.random() < 0.1:
            del taken[self.rnd.randint(1, len(taken) - 1) :]
        count = len(taken)
        self._swallowed += count if self.cut else 0
        if not self.cut and not self.other.closed:
            self._alter(taken, [at for at in content if at < count])
            self.other.inbox += taken
        return count

    def recv_into(self, buffer):
        """Some of what has arrived."""
        self._check()
        there = self.arrived()
        if not there:
            if self.ended():
                return 0
            raise BlockingIOError
        count = min(there, len(buffer))
        count = count if self.rnd.random() < 0.6 else self.rnd.randint(1, count)
        buffer[:count] = self.inbox[:count]
        del self.inbox[:count]
        self._credit -= count
        return count

    def close(self):
        """Nothing is sent or received any more; what was sent arrives."""
        self.closed = True

    def _check(self):
        if self.closed:
            raise OSError(9, "Bad file descriptor")
        if self.broken:
            raise ConnectionResetError(104, "Connection reset by peer")

    # --- what a poll asks for

    def events(self):
        """What poll tells of it."""
        if self.broken:
            return IN | OUT | ERROR | HUP | GONE
        events = IN if self.arrived() or self.ended() else 0
        events |= OUT if self._free() > 0 else 0
        return events | (GONE if self.ended() else 0)

    def _free(self):
        if self.cut:
            return self._room - self._swallowed
        return self._room - len(self.other.inbox)

    def arrived(self):
        """How many bytes can be read by now."""
        there = len(self.inbox)
        if self._rate is None or not self.slow or not there:
            self._credit = there
            self._since = self._clock()
            return there
        now = self._clock()
        self._credit += (now - self._since) * self._rate
        self._since = now
        return min(there, int(self._credit)) if self._credit >= self._lump() else 0

    def _lump(self):
        """It comes in packets."""
        return min(len(self.inbox), max(1.0, self._rate / 4))

    def ended(self):
        """True when all was read, and no more can come."""
        return not self.inbox and self.other.closed and not self.cut

    def next(self):
        """When something will have arrived, or None: nobody knows."""
        if not self.inbox:
            return None
        if self._rate is None or not self.slow or self.arrived():
            return self._clock()
        return self._clock() + (self._lump() - self._credit) / self._rate

    def _alter(self, taken, content):
        """Only what is in files is compared: what both sides say of it is no use when it is wrong."""
        while self.altered and content:
            self.altered -= 1
            taken[self.rnd.choice(content)] ^= 1 << self.rnd.randrange(8)


def connection(rnd, clock):
    """Two ends of a new connection."""
    room, rate = rnd.choice(ROOMS), rnd.choice(RATES)
    here, there = SimSocket(rnd, clock, room, rate), SimSocket(rnd, clock, room, rate)
    here.other, there.other = there, here
    return here, there
