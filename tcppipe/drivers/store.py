"""One connection's sink: a link, a session and a copy brought together.

Bytes are appended as they come and synced in groups: when the stream pauses, or after so
many bytes or milliseconds.  Only then are they acknowledged.  The stream does not wait for
a sync: that is made beside it.
Does not wait and does not know the clock: whoever has the loop calls hear() when the link
is readable, tend() when due() says so, and gives the time.
A crash leaves what the copy leaves: the destination, and a ledger that can place it.
"""

from math import inf

from tcppipe.drivers.leisure import STEP, Leisure
from tcppipe.drivers.pump import Pump
from tcppipe.errors import Blocked, Busy, LinkLost
from tcppipe.files.buffer import Buffer
from tcppipe.session import actions as act

PAUSE = 0.01  # seconds without data after which the stream has paused
GROUP = 0.1  # seconds that a byte waits for its sync at most, while more arrive …
GROUP_BYTES = 8 << 20  # … and how many bytes wait together at most
MARK = 0.2  # seconds between two marks in the ledger
SLOW = 1.0  # seconds between two looks at a sync that is under way
LOOKS = (1.0, 5.0)  # seconds after the last byte when the destination is looked at
QUIET = 10.0  # seconds without data after which memory is given back
LONG_STEP = 2.0  # seconds of work after which the source is told
PROOF = 2.0  # seconds that a source has to prove that it lives, when another one asks
BUFFER = 1 << 20  # bytes read from the link at a time


class Store:
    """Serves one source.

    copy: the files.copy.Copy.  claim(sender, about): makes this process the pipe's only
    writer; raises Refused or LinkLost.  say: a function (level, text).  syncer: Workers;
    whoever has the loop calls tend() when it says that a sync has ended.  buffer: a Buffer.
    Methods raise LinkLost, PeerError, Refused, ConfigError or SyncFailed when it is over;
    call close() then.
    """

    def __init__(self, link, session, copy, claim, say, syncer, buffer=None):
        self.link = link
        self.copy = copy
        self._syncer = syncer
        self._buffer = buffer or Buffer(BUFFER)
        self._claim = claim
        self._say = say
        self._sender = b""
        self._serial = 0  # generations begun
        self._generations = {}  # which they are, by serial
        self._open = False  # a generation's bytes may come
        self._dirty_since = None  # when the first byte came that no sync was begun for
        self._acknowledged = None  # (serial, offset), said last
        self._heard = 0.0  # when data came last
        self._leisure = Leisure()
        self._looks = 0  # how many there were since the last byte
        self._marked_at = 0.0
        self._prove_by = None
        self._unmarked = False  # a mark could not be written, and this was said
        self._busy_since = None  # a long step takes its time
        self._told = None  # the blocking that the source was told of
        self._unsynced = None  # the Blocked that a sync has ended with …
        self._sync_again = 0.0  # … and when it is tried again
        self._now = 0.0
        self.pump = Pump(link, session, {
            act.Offer: self._on_offer,
            act.OpenLines: self._on_open_lines,
            act.Open: self._on_open,
            act.Append: self._on_append,
            act.Compare: self._on_compare,
            act.AppendLate: self._on_late,
            act.Finish: self._on_finish,
            act.Flush: self._on_flush,
            act.Prove: lambda action: self.copy.prove(action.ranges),
            act.Note: lambda action: self.copy.gap(action.gap),
            act.Reopen: lambda _action: self.copy.reopen(),
            act.Say: lambda action: say(action.level, f"{copy.destination.path}: {action.text}"),
        }, self._buffer)  # fmt: skip

    @property
    def trouble(self):
        """The Blocked that people should know of, or None."""
        busy = isinstance(self._unsynced, Busy)
        return self.pump.trouble or (None if busy else self._unsynced)

    @property
    def deaf(self):
        """True when nothing is to be read from the link: something waits for the disk."""
        return not self.pump.idle

    @property
    def told(self):
        """What the source was told last that we wait for, or ""."""
        return self._told or ""

    def say(self, text):
        """Tell the source at once that and why we wait ("": we do not); from any thread, if the
        link can be used by several."""
        for action in self.pump.session.wait(text):
            self.link.send(*action)

    # --- what the session asks for

    def _on_offer(self, action):
        self._claim(action.sender, action.about)
        self._sender = action.sender
        return self.copy.offer(action.sender), self.copy.past

    def _on_open_lines(self, _action):
        self._claim(None, "an original client")
        self.copy.begin_lines()
        self._open = True

    def _on_open(self, action):
        self.copy.begin(action.begin, self._sender, action.checked)
        self._serial += 1
        self._generations[self._serial] = self.copy.generation
        self._open = True
        if self.copy.dirty:  # what was resumed from is acknowledged, too
            self._dirty_since = self._now

    def _on_append(self, action):
        self.copy.append(action.offset, action.data)
        self._heard, self._looks = self._now, 0
        if self._dirty_since is None:
            self._dirty_since = self._now

    def _on_compare(self, action):
        self.copy.compare(action.offset, action.crc)
        if self._dirty_since is None:  # the sync that is to be acknowledged came before it
            self._dirty_since = self._now

    def _on_late(self, action):
        serial, offset, data = action.late
        self.copy.append_late(self._generations.get(serial), offset, data)

    def _on_finish(self, action):
        result = self.copy.finish(action.end)
        self._dirty_since = self._unsynced = None
        self._acknowledge()
        self._open = False
        return result

    def _on_flush(self, _action):
        self.copy.sync()
        self._dirty_since = self._unsynced = None
        return True

    def _acknowledge(self):
        """Tell the source what is durable, if that is news."""
        said = self._serial, self.copy.durable
        if self._acknowledged is None or said > self._acknowledged:
            self._acknowledged = said
            if self._now >= self._marked_at + MARK or not self.copy.marked:
                self._mark()
            self.pump.say(self.pump.session.durable(*said), self._now)

    # --- what the loop calls

    def hear(self, now):
        """The link is readable."""
        self._now = now
        count = self.pump.hear(now)
        if count:
            self._prove_by = None
            self._buffer.used = max(self._buffer.used, count)
        self._report()

    def tend(self, now):
        """Do what is due: a retry, a sync, a mark, a word to the source."""
        self._now = now
        if self._prove_by is not None and self.deaf:
            self._prove_by = now + PROOF  # it is we who do not listen for the moment
        if self._prove_by is not None and now >= self._prove_by:
            raise LinkLost(f"{self.link.peer}: silent, and another connection asks for the pipe")
        self.pump.tend(now)
        self._join()
        if now >= self._sync_at():
            self._dirty_since = None
            self.copy.begin_sync(self._syncer)
        if self._open:
            self._acknowledge()
        if self._open and self.copy.unmarked and now >= self._marked_at + MARK:
            self._mark()
        if now >= self._look_at:
            self._looks += 1
            self._look()
        if now > self._heard and now >= self._leisure.due(self.copy.behind):
            self._leisure.took(now)
            self.copy.rest(STEP)
        if now >= self._heard + QUIET:
            self._buffer.release()
        self._report()

    def _join(self):
        """Has the sync ended that was begun?  One that was blocked is begun again."""
        try:
            if self.copy.synced():
                self._unsynced = None
        except Blocked as error:
            self._unsynced = error
            self._sync_again = self._now + error.pause
            if self._dirty_since is None:
                self._dirty_since = self._now

    def _look(self):
        """Has somebody truncated or deleted the destination behind our last bytes?"""
        try:
            if not self.deaf:
                self.copy.look()
        except OSError:
            pass  # the next append says what is wrong

    def _mark(self):
        self._marked_at = self._now
        try:
            self.copy.mark()
            self._unmarked = False
        except Blocked as error:
            if not self._unmarked:  # nothing waits for it: the stream goes on without marks
                self._unmarked = True
                text = str(error).replace(", waiting: ", "; goes on without marks: ")
                self._say("warning", text)

    def due(self, now):
        """When tend() has something to do at the latest."""
        times = [now + 60.0, self.pump.due(), self._sync_at()]
        times.append(self._leisure.due(self.copy.behind))
        if self.copy.syncing:
            times.append(now + SLOW)  # it may have to be said that it takes long
        times.append(self._look_at)
        if self._open and self.copy.unmarked:
            times.append(self._marked_at + MARK)
        if self._buffer.large:
            times.append(self._heard + QUIET)
        if self._prove_by is not None:
            times.append(self._prove_by)
        return min(times)

    @property
    def _look_at(self):
        if not self._open or self._looks == len(LOOKS):
            return inf
        return self._heard + LOOKS[self._looks]

    def _sync_at(self):
        if self._dirty_since is None or self.copy.syncing:
            return inf
        if self._unsynced is not None:
            return self._sync_again
        if self.copy.end - self.copy.durable >= GROUP_BYTES:
            return self._now
        return min(self._heard + PAUSE, self._dirty_since + GROUP)

    def reopen(self, now):
        """Open the destination by its name again; before anything else that waits."""
        self.pump.first(act.Reopen(), now)
        self._report()

    def prove(self, now):
        """Another connection asks for this pipe: does our source still live?"""
        if self.trouble is not None:
            raise LinkLost(f"{self.link.peer}: gives way to another connection while waiting")
        self._prove_by = now + PROOF
        self.pump.say(self.pump.session.ask(), now)

    def close(self, clean=True):
        """Let go of the copy; clean: with everything synced and recorded as such."""
        self.copy.close(clean)

    def _long_step(self):
        """The Busy that the source has to know of, lest it take us for dead."""
        if not isinstance(self.pump.blocked, Busy) or not self.pump.blocked.long:
            self._busy_since = None
            return None
        if self._busy_since is None:
            self._busy_since = self._now
        return self.pump.blocked if self._now >= self._busy_since + LONG_STEP else None

    def _report(self):
        """Say once that, and why, we wait; and once that we go on."""
        busy = self._long_step()
        error = self.trouble or busy
        if error is not None and str(error) != self._told:
            self._told = str(error)
            self._say("info" if isinstance(error, Busy) else "critical", self._told)
            self.pump.say(self.pump.session.wait(self._told), self._now)
        elif error is None and self._told is not None and self.pump.blocked is None:
            self._told = None  # what was begun anew (HUP) and has still to be tried does not count
            self._say("warning", f"{self.copy.destination.path}: goes on")
            self.pump.say(self.pump.session.wait(""), self._now)
