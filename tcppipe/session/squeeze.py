"""Pack the next piece, or send it as it is?  A judgement by what was measured so far.

Packing pays where the link is the bottleneck and the data gets smaller.  So it begins packed,
and watches how the time is spent:
- data that does not get smaller goes plain, and a sample of it is tried now and then;
- a link that keeps us waiting while we hardly work is thin: packed, and harder;
- else the other way is tried for a moment, and the faster one wins; after a defeat it takes
  longer and longer until the next trial, so trials cost next to nothing.
Without clock and codec: told what happened, in seconds and bytes.  Remembers nothing on disk.
"""

from __future__ import annotations

PLAIN, SAMPLE, PACK = "plain", "sample", "pack"
NOTHING, WAITS, RESTS = "nothing", "waits", "rests"

SMALL = 200  # bytes below which a piece goes plain
SAMPLED = 1 << 14  # bytes of a sample
MEANINGFUL = 1 << 12  # bytes from which a piece tells whether its like gets smaller
GAIN = 1.1  # a piece that does not get smaller by this factor is not worth it
SKIP, LONGEST = 16 << 20, 256 << 20  # bytes between two samples, and between two trials
SKIP_TIME = 5.0  # seconds between two samples at most
WINDOW = 4 << 20  # bytes after which packing is judged, …
LULL, WINDOW_TIME = 0.1, 0.5  # … if that took so long; seconds after which anything is judged
FIRST = 2 << 20  # bytes of the first window
TRIAL, TRIAL_TIME = 2 << 20, 2.0  # bytes of plain data in a trial; seconds that it may take
TRIAL_PIECE = 1 << 17  # bytes in one of its pieces


class _Window:
    """What happened since `start`: bytes, and how the time was spent."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.raw = self.packed_raw = self.packed_wire = 0
        self.packed_time = self.waited = self.idled = 0.0


class Squeeze:
    """One connection's judgement.  Times are seconds of any clock that does not jump.

    For each piece: ready(), choose(), if that says SAMPLE sampled(), then sent(); and rest()
    when there is nothing to send.
    """

    def __init__(self) -> None:
        self.packing = True
        self.hard = False  # there is time to pack harder
        self._unknown = True  # whether data of this kind gets smaller
        self._skip, self._skip_until, self._next_skip = 0, 0.0, SKIP
        self._rival: float | None = None  # in a trial: the other way's speed
        self._since, self._pause = 0, 0  # bytes since the last trial; until the next one
        self._defeat = 0.0  # the plain speed at which packing has lost last
        self._packs = (0.0, 0.0)  # bytes a second that packing manages; how much smaller
        self._size = FIRST
        self._stale = 0  # the link is busy with what went before: leave out the next piece
        self._last: float | None = None  # when the last thing happened
        self._meanwhile = NOTHING  # what the time since then is spent with
        self._window = _Window(0.0)

    def _begin(self, now: float) -> None:
        self._window = _Window(now)

    @property
    def trying_plain(self) -> bool:
        """True while plain data is on trial: small pieces, please."""
        return not self.packing and self._rival is not None

    @property
    def working(self) -> bool:
        """True while pieces are packed, or the speed of the link is measured for that."""
        return (self.packing or self._rival is not None) and not self._skip

    def ready(self, now: float) -> None:
        """The link takes a piece again, and there is one."""
        if self._last is None:
            self._begin(now)
        self._pass(now)
        if self._stale == 1:
            self._stale = 0
            self._begin(now)
        if not self._skip:
            self._look(now)

    def rest(self, now: float) -> None:
        """There is nothing to send."""
        if self._last is not None:
            self._pass(now)
            self._meanwhile = RESTS

    def _pass(self, now: float) -> None:
        """Account for the time since the last thing happened."""
        passed = now - self._last if self._last is not None else 0.0
        if self._meanwhile == WAITS:
            self._window.waited += passed
        elif self._meanwhile == RESTS:
            self._window.idled += passed
        self._last, self._meanwhile = now, NOTHING

    def choose(self, size: int) -> str:
        """What to do with a piece of so many bytes: PLAIN, SAMPLE (pack some of it) or PACK."""
        if size < SMALL or not self.packing or self._skip:
            return PLAIN
        return SAMPLE if self._unknown and size > 4 * SAMPLED else PACK

    def sampled(self, raw: int, packed: int) -> bool:
        """A sample has become so small: True when the piece is worth packing."""
        if raw > GAIN * packed:
            self._unknown, self._next_skip = False, SKIP
            return True
        self._skip, self._next_skip = self._next_skip, min(2 * self._next_skip, LONGEST)
        assert self._last is not None
        self._skip_until = self._last + SKIP_TIME
        return False

    def sent(self, now: float, raw: int, wire: int, seconds: float, pending: bool) -> None:
        """A piece was handed to the link.

        wire: its bytes there.  seconds: spent packing, 0 if it was not tried.  pending: the
        link did not take all of it yet.
        """
        self._last, self._meanwhile = now, WAITS if pending else NOTHING
        self._since += raw
        if self._skip:
            self._skip -= raw
            if self._skip <= 0 or now >= self._skip_until:
                self._skip, self._unknown = 0, True
                self._begin(now)
            return
        if self._stale:
            self._stale = 1
            return
        self._window.raw += raw
        if seconds:
            self._window.packed_raw += raw
            self._window.packed_wire += wire
            self._window.packed_time += seconds
            if raw >= MEANINGFUL:
                self.sampled(raw, wire)

    # --- comparing speeds

    def _look(self, now: float) -> None:
        total = now - self._window.start
        busy = max(total - self._window.idled, 1e-9)
        if not self.packing and self._rival is not None:  # plain data is on trial
            if busy * self._rival > TRIAL or self._window.raw >= TRIAL:
                speed = self._window.raw / busy
                self._decide(speed > self._rival and self._window.raw >= TRIAL, speed, now)
            elif total > TRIAL_TIME:
                self._settle(True, now)
        elif self.packing and (self._enough(total) or total >= WINDOW_TIME) and self._window.raw:
            self._size = WINDOW
            self._look_packed(now, total, busy)
        elif total >= WINDOW_TIME and self._window.raw:  # a moment's trouble is not a thin link
            self._look_plain(now, total, busy)

    def _enough(self, total: float) -> bool:
        """True when packing can be judged by so many bytes."""
        new = self._size == FIRST or self._rival is not None
        return self._window.raw >= self._size and (new or total >= LULL)

    def _look_packed(self, now: float, total: float, busy: float) -> None:
        speed = self._window.raw / busy
        if self._window.packed_time and not self.hard:
            raw = self._window.packed_raw
            self._packs = raw / self._window.packed_time, raw / self._window.packed_wire
        if self._rival is not None:
            self._decide(speed > GAIN * self._rival, self._rival, now)
            return
        if not self._packs[0] or self._window.idled > total / 2:
            self._begin(now)
            return
        waits = self._window.waited > busy / 2
        if not self.hard:
            self.hard = waits and self._window.packed_time < busy / 10
        elif self._window.packed_time > busy / 2:
            self.hard = False
        thin = waits and speed < self._packs[0] / 3
        if not thin and self._since >= self._pause:
            self.packing, self.hard, self._rival = False, False, speed
        self._begin(now)

    def _look_plain(self, now: float, total: float, busy: float) -> None:
        speed = self._window.raw / busy
        waits = self._window.waited > busy / 5 and self._window.idled < total / 2
        work, ratio = self._packs
        pays = min(work, speed * ratio) > 1.3 * speed
        if waits and pays and (self._since >= self._pause or speed < self._defeat / 2):
            self.packing, self._rival, self._stale = True, speed, 2
        self._begin(now)

    def _decide(self, won: bool, plain: float, now: float) -> None:
        """A trial is over; plain: the speed of plain data."""
        packing = self.packing == won
        if not packing:
            self._defeat = plain
        self._pause = SKIP if won else min(max(2 * self._pause, SKIP), LONGEST)
        self._settle(packing, now)

    def _settle(self, packing: bool, now: float) -> None:
        self.packing = packing
        self._rival, self._since = None, 0
        self._begin(now)
