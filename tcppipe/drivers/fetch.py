"""One source of fetch_logs: connects, greets, stores what comes, and begins anew.

Waits for disks, and for nothing else: whoever has the loop calls ready() when the descriptor
is, tend() when due() says so, and gives the time, one after the other in threads; held() is for
the loop, when one of them takes long.  Whatever goes wrong here is this source's trouble alone:
it says so, waits, and tries again.
A crash leaves what a copy leaves, and a pointer file.
"""

import os
import random
import select

from tcppipe.drivers.fetched import Fetched
from tcppipe.drivers.pointing import Pointing
from tcppipe.errors import ConfigError, LinkLost, PeerError, SyncFailed, TcppipeError, reason
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.lock import lock
from tcppipe.files.pointer import Pointer
from tcppipe.net.connect import Connecting, targets
from tcppipe.net.link import SharedLink
from tcppipe.process import paths, report
from tcppipe.session.fetch1 import ByteSink
from tcppipe.session.sink import Sink
from tcppipe.wire import pull1
from tcppipe.wire.events import Why

PAUSE, LONGEST_PAUSE = 5.0, 30.0  # seconds before connecting again
GREETING = 5.0  # seconds that a server has for its answer
CROWDED = 0.5  # seconds until a source looks again whether it is its turn
RESOLVE = 5.0  # seconds that the first look-up of a name may take
UNRESOLVED = 1.0  # seconds between two looks at a name that was not looked up yet
SLOW = 1.0  # seconds of a turn after which what came meanwhile counts as heard now
GONE = getattr(select, "POLLRDHUP", 0)

PAUSED, CONNECTING, GREETED, STREAMING = "paused", "connecting", "greeting", "streaming"


class Fetch:
    """Fetches one source (a conf.fetch.Source).

    addresses: a function that gives a host's addresses as far as they are known.  tell: a
    function (source, level, text).  syncer: makes files durable.  buffer: what the link is
    read into.  gate: the Gate.  Others use these three, too.
    tried: it is known whether anything is wrong.
    """

    def __init__(self, source, addresses, state_dir, tell, syncer, buffer, gate):
        self.source = source
        self.tried = False
        self._error = None
        self._held = None  # what a turn waits for, in words
        self._addresses = addresses
        self._tell = tell
        self._syncer = syncer
        self._buffer = buffer
        self._gate = gate
        self._counted = False
        self._nameless_until = None  # so long a server's name may be unknown without an error
        self._base = os.path.join(state_dir, paths.file_name(source.local))
        self._pointing = Pointing(Pointer(source.pointer), self._say)
        self._state = PAUSED
        self._until = 0.0  # when the present state has lasted too long
        self._pause = PAUSE
        self._connecting = self._link = self._store = None
        self._asked = (0, 0)  # inode and offset in our request
        self._inode = 0  # what the server answered
        self._told = None
        self._blocked = None
        self._begun = False  # bytes may come over this connection

    # --- what the loop asks

    def fileno(self):
        """The descriptor to wait on, or -1."""
        if self._link is not None:
            return self._link.fileno()
        return self._connecting.fileno() if self._connecting is not None else -1

    @property
    def error(self):
        """What is wrong for now, or None."""
        return self._held or self._error

    @property
    def syncing(self):
        """True when it waits for the syncer."""
        return self._store is not None and self._store.copy.syncing

    def events(self):
        """What to wait for on it."""
        if self._state == CONNECTING:
            return select.POLLOUT
        deaf = self._store is not None and self._store.deaf
        out = select.POLLOUT if self._link is not None and self._link.pending else 0
        return (GONE if deaf else select.POLLIN) | out

    def due(self, now):
        """When tend() has something to do at the latest."""
        if self._state == CONNECTING:
            return self._connecting.until
        if self._state != STREAMING:
            return self._until
        store = self._store
        if store.copy.sync_over or (self._link.unread and not store.deaf):
            return now
        return min(store.due(now), self._pointing.due)

    def ready(self, events, now):
        """Something happened to the descriptor."""
        self._guard(self._ready, events, now)

    def tend(self, now):
        """Something is due."""
        self._guard(self._tend, now)

    def reopen(self, now):
        """USR1: open the local file by its name again."""
        if self._state == STREAMING:
            self._guard(self._store.reopen, now)

    def hurry(self, now):
        """HUP: whoever waits waits no longer."""
        if self._state == PAUSED:
            self._until = now

    def named(self, now):
        """Names were looked up: whoever waits for one waits no longer."""
        if self._state == PAUSED and self._nameless_until is not None:
            self._until = now

    def give_up(self, error, now):
        """It cannot be waited for: begin anew later."""
        self._fail(LinkLost(reason(error)), now)

    def held(self, why):
        """For the loop: a turn takes long, for this reason; the server is not to give us up."""
        if self._held is None:
            self._say("critical", f"{self.source.local}: waiting: {why}; the others go on")
        self._held, self.tried = f"{self.source.local}: {why}", True
        self._say_to_server(self._held)

    def turned(self, took, now):
        """For the loop: a turn is over that took so many seconds."""
        if took >= SLOW and self._store is not None:
            self._store.pump.session.keepalive.heard = now
        if self._held is not None:
            self._held = None
            self._say("warning", f"{self.source.local}: goes on")
            self._say_to_server(self._store.told if self._store is not None else "")

    def _say_to_server(self, text):
        store = self._store
        if store is not None:
            try:
                store.say(text)
            except LinkLost:
                pass  # whoever has the turn will find it out

    def close(self, _now):
        """Let go of everything, in order."""
        self._hang_up(None)

    # --- how it goes on, and how it ends

    def _guard(self, step, *args):
        try:
            step(*args)
        except TcppipeError as error:
            self._fail(error, args[-1])
        except OSError as error:
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            self._fail(LinkLost(where + reason(error)), args[-1])
        except MemoryError as error:
            self._fail(LinkLost(reason(error)), args[-1])
        except Exception as error:  # a source's bug is not the others' end
            report.bug(f"{self.source.host} {self.source.remote}", error)
            self._fail(LinkLost(f"bug: {type(error).__name__}: {error}"), args[-1])

    def _fail(self, error, now):
        """It is over for now."""
        self._hang_up(error)
        text = str(error)
        mends = self._begun and not isinstance(error, (ConfigError, SyncFailed))
        if mends and self._error is None:
            self._say("warning", f"lost connection: {text}")  # no error if it comes back
        else:
            self._wrong(text)
            if text != self._told:
                self._told = text
                self._say("error", text)
        self._begun = False
        self._state, self._until = PAUSED, now + self._pause * random.uniform(0.9, 1.1)
        self._pause = min(LONGEST_PAUSE, self._pause * 1.5)

    def _wrong(self, text):
        self._error, self.tried = text, True

    def _right(self):
        self._error, self.tried, self._told = None, True, None
        self._pause = PAUSE

    def _say(self, level, text):
        self._tell(self.source, level, text)

    def _answered(self):
        """Another source may ask this server."""
        if self._counted:
            self._counted = False
            self._gate.leave(self.source[1:3])

    def _hang_up(self, error):
        self._answered()
        if self._store is not None:
            if self._link is not None:
                self._farewell(error or LinkLost("fetch_logs ends"))
            self._store.close(clean=not isinstance(error, SyncFailed))
        for thing in (self._link, self._connecting):
            if thing is not None:
                thing.close()
        self._connecting = self._link = self._store = self._blocked = None
        self._state = PAUSED

    def _farewell(self, error):
        try:
            for action in self._store.pump.session.fail(error):
                self._link.send(action.data)
        except LinkLost:
            pass

    # --- the states

    def _tend(self, now):
        if self._state == STREAMING:
            if self._link.unread and not self._store.deaf:
                self._store.hear(now)
            self._store.tend(now)
            self._pointing.tend(now)
            self._look_blocked()
        elif self._state == CONNECTING:
            self._connecting.tend(now)
        elif now >= self._until:
            if self._state == PAUSED:
                self._begin(now)
            else:
                raise LinkLost(f"{self._link.peer}: said nothing in time")

    def _begin(self, now):
        """Connect to the first of the host's addresses."""
        addresses = list(self._addresses(self.source.host))
        if not addresses:
            self._nameless_until = self._nameless_until or now + RESOLVE
            if now < self._nameless_until:
                self._until = now + UNRESOLVED
                return
            raise LinkLost(f"{self.source.host}: unknown host")
        self._nameless_until = None
        self._counted = self._gate.enter(self.source[1:3])
        if not self._counted:
            self._until = now + CROWDED * random.uniform(0.5, 1.5)
            return
        random.shuffle(addresses)
        peer = f"{self.source.host}:{self.source.port}"
        self._connecting = Connecting(targets(addresses, self.source.port), peer, now, SharedLink)
        self._state = CONNECTING

    def _ready(self, events, now):
        if self._state == CONNECTING:
            self._link = self._connecting.ready(now)
            if self._link is not None:
                self._connecting = None
                self._greet(now)
        elif self._state == GREETED:
            try:
                line = self._link.try_line(pull1.MAX_ANSWER)
            except PeerError:
                raise
            except LinkLost as error:
                why = ", before an answer: not allowed there, or no gen_numbers?"
                raise LinkLost(f"{error}{why}") from None
            if line is not None:
                self._stream(line, now)
        elif self._state == STREAMING:
            self._hear(events, now)

    def _greet(self, now):
        size = self._local_size()
        inode = self._pointing.file.read(size)
        self._asked = (inode, size if inode else 0)
        self._link.send(pull1.request(os.fsencode(self.source.remote), *self._asked))
        self._state, self._until = GREETED, now + GREETING

    def _local_size(self):
        try:
            return os.stat(self.source.local).st_size
        except FileNotFoundError:
            return 0

    def _stream(self, line, now):
        self._answered()
        lost, self._inode, version2 = pull1.parse_answer(line)
        inode, offset = self._asked
        if lost:
            self._say(
                "critical",
                f"the server no longer has inode {inode}, of which {offset} bytes are here; "
                "it begins with its present file",
            )
        fresh = self._inode != inode
        session = Sink(now) if version2 else ByteSink(fresh, now)
        state, local = os.path.dirname(self._base), self.source.local
        copy = Copy(
            Destination(local),
            self._base + ".ledger",
            self._say,
            mirror=True,
            hold=lambda: lock(paths.lock_of(state, local), who=local),
        )
        self._store = Fetched(
            self._link, session, copy, self._say, self._syncer, self._buffer, self._asked,
            self._on_begun,
        )  # fmt: skip
        self._state = STREAMING
        if version2 and not self._inode:
            self._wrong("no such file there, waiting for it")
        if not version2:
            if fresh:
                self._pointing.file.prepare(self._inode)
            self._store.pump.take(session.open(), now)
            self._look_blocked()
        if self._link.unread:
            self._hear(select.POLLIN, now)

    def _hear(self, events, now):
        store, link = self._store, self._link
        if events & select.POLLOUT:
            link.flush()
        if not store.deaf and (link.unread or events & ~select.POLLOUT):
            store.hear(now)
        elif events & (GONE | select.POLLHUP | select.POLLERR):
            raise LinkLost("closed by the other side")
        store.tend(now)
        self._look_blocked()

    def _look_blocked(self):
        """A destination that cannot be written, or an origin that cannot be read, is an error until
        it can be."""
        waiting = self._store.pump.session.waiting
        blocked = self._store.trouble or (f"on the server: {waiting}" if waiting else None)
        if blocked is not None:
            self._wrong(str(blocked))
        elif self._blocked is not None and self._begun:
            self._right()
        self._blocked = blocked

    # --- what the store tells

    def _on_begun(self, begin, version2):
        """A generation begins, or goes on."""
        if version2:
            self._inode = begin.generation.ino
            self._pointing.name(self._inode, 0.0)
            if begin.offset == 0 and begin.why not in (Why.RESUMED, Why.ADOPTED):
                self._say_begun(begin.why == Why.FRESH)
        elif begin is not None:
            self._pointing.file.commit()
            self._say_begun(not self._asked[0])
        self._begun = True
        self._right()

    def _say_begun(self, first):
        if first:
            self._say("info", f"begins, inode {self._inode}")
        else:
            self._say("info", f"origin rotated (inode {self._inode}); the copy begins anew")
