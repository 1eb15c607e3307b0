"""One source of fetch_logs: connects, greets, stores what comes, and begins anew.

Waits for disks, and for nothing else: whoever has the loop calls ready() when the descriptor
is, tend() when due() says so, and gives the time, one after the other in threads; held() is for
the loop, when one of them takes long.  Whatever goes wrong here is this source's trouble alone:
it says so, waits, and tries again.
A crash leaves what a copy leaves, and a pointer file.
"""

from __future__ import annotations

import os
import random
import select
from collections.abc import Callable

from tcppipe.conf.fetch import Source
from tcppipe.drivers.asking import Door, Inquiry
from tcppipe.drivers.fetched import Fetched, Means
from tcppipe.drivers.health import Health
from tcppipe.drivers.pointing import Pointing
from tcppipe.errors import ConfigError, LinkLost, SyncFailed, TcppipeError, reason
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.lock import lock
from tcppipe.files.pointer import Pointer
from tcppipe.net.link import Link
from tcppipe.process import paths, report
from tcppipe.session.contract import SinkSession
from tcppipe.session.fetch1 import ByteSink
from tcppipe.session.sink import Sink
from tcppipe.wire import pull1
from tcppipe.wire.events import Begin, Why

PAUSE, LONGEST_PAUSE = 5.0, 30.0  # seconds before connecting again
SLOW = 1.0  # seconds of a turn after which what came meanwhile counts as heard now
GONE = getattr(select, "POLLRDHUP", 0)


class Fetch:
    """Fetches one source.  It asks a server, or stores what comes, or waits to ask again."""

    def __init__(self, source: Source, means: Means) -> None:
        self.source = source
        self._means = means
        self._health = Health(source.local, self.say)
        self._door = Door(source, means)
        self._pointing = Pointing(Pointer(source.pointer), self.say)
        self._until = 0.0  # when it asks again
        self._pause = PAUSE
        self._asking: Inquiry | None = None
        self._store: Fetched | None = None
        self._asked, self._inode = (0, 0), 0  # inode and offset in our request; in the answer
        self._blocked: object = None
        self._begun = False  # bytes may come over this connection

    # --- what the loop asks

    def fileno(self) -> int:
        """The descriptor to wait on, or -1."""
        if self._store is not None:
            return self._store.link.fileno()
        return self._asking.fileno() if self._asking is not None else -1

    @property
    def tried(self) -> bool:
        """True when it is known whether anything is wrong."""
        return self._health.tried

    @property
    def error(self) -> str | None:
        """What is wrong for now, or None."""
        return self._health.held or self._health.error

    @property
    def syncing(self) -> bool:
        """True when it waits for the syncer."""
        return self._store is not None and bool(self._store.copy.syncing)

    def events(self) -> int:
        """What to wait for on it."""
        if self._store is None:
            return self._asking.events() if self._asking is not None else select.POLLIN
        out = select.POLLOUT if self._store.link.pending else 0
        return (GONE if self._store.deaf else select.POLLIN) | out

    def due(self, now: float) -> float:
        """When tend() has something to do at the latest."""
        store = self._store
        if store is None:
            return self._until if self._asking is None else self._asking.due()
        if store.copy.sync_over or (store.link.unread and not store.deaf):
            return now
        return min(store.due(now), self._pointing.due)

    def ready(self, events: int, now: float) -> None:
        """Something happened to the descriptor."""
        self._guard(lambda: self._ready(events, now), now)

    def tend(self, now: float) -> None:
        """Something is due."""
        self._guard(lambda: self._tend(now), now)

    def reopen(self, now: float) -> None:
        """USR1: open the local file by its name again."""
        store = self._store
        if store is not None:
            self._guard(lambda: store.reopen(now), now)

    def hurry(self, now: float) -> None:
        """HUP: whoever waits waits no longer."""
        self._until = now

    def named(self, now: float) -> None:
        """Names were looked up: whoever waits for one waits no longer."""
        if self._door.nameless:
            self._until = now

    def give_up(self, error: OSError, now: float) -> None:
        """It cannot be waited for: begin anew later."""
        self._fail(LinkLost(reason(error)), now)

    def held(self, why: str) -> None:
        """For the loop: a turn takes long, for this reason; the server is not to give us up."""
        held = self._health.hold(why)
        if self._store is not None:
            self._store.say(held)

    def turned(self, took: float, now: float) -> None:
        """For the loop: a turn is over that took so many seconds."""
        if took >= SLOW and self._store is not None:
            self._store.pump.session.keepalive.heard = now
        if self._health.goes_on() and self._store is not None:
            self._store.say(self._store.told)

    def close(self, _now: float) -> None:
        """Let go of everything, in order."""
        self._hang_up(None)

    # --- how it goes on, and how it ends

    def _guard(self, step: Callable[[], None], now: float) -> None:
        try:
            step()
        except TcppipeError as error:
            self._fail(error, now)
        except OSError as error:
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            self._fail(LinkLost(where + reason(error)), now)
        except MemoryError as error:
            self._fail(LinkLost(reason(error)), now)
        except Exception as error:  # a source's bug is not the others' end
            report.bug(f"{self.source.host} {self.source.remote}", error)
            self._fail(LinkLost(f"bug: {type(error).__name__}: {error}"), now)

    def _fail(self, error: TcppipeError, now: float) -> None:
        """It is over for now."""
        self._hang_up(error)
        mends = self._begun and not isinstance(error, (ConfigError, SyncFailed))
        self._health.failed(str(error), mends)
        self._begun = False
        self._until = now + self._pause * random.uniform(0.9, 1.1)
        self._pause = min(LONGEST_PAUSE, self._pause * 1.5)

    def _right(self) -> None:
        self._health.right()
        self._pause = PAUSE

    def say(self, level: str, text: str) -> None:
        """Tell people, of this source."""
        self._means.tell(self.source, level, text)

    def _hang_up(self, error: TcppipeError | None) -> None:
        self._door.answered()
        if self._store is not None:
            self._store.farewell(error or LinkLost("fetch_logs ends"))
            self._store.close(clean=not isinstance(error, SyncFailed))
            self._store.link.close()
        if self._asking is not None:
            self._asking.close()
        self._asking = self._store = self._blocked = None

    # --- the states

    def _tend(self, now: float) -> None:
        store = self._store
        if store is not None:
            if store.link.unread and not store.deaf:
                store.hear(now)
            store.tend(now)
            self._pointing.tend(now)
            self._look_blocked(store)
        elif self._asking is not None:
            self._asking.tend(now)
        elif now >= self._until:
            begun = self._door.ask(self._request, now)
            if isinstance(begun, Inquiry):
                self._asking = begun
            else:
                self._until = begun

    def _ready(self, events: int, now: float) -> None:
        if self._store is not None:
            self._hear(self._store, events, now)
        elif self._asking is not None:
            answer = self._asking.ready(now)
            if answer is not None:
                self._stream(*answer, now)

    def _request(self) -> bytes:
        size = _size(self.source.local)
        inode = self._pointing.file.read(size)
        self._asked = (inode, size if inode else 0)
        return pull1.request(os.fsencode(self.source.remote), *self._asked)

    def _stream(self, link: Link, line: bytes, now: float) -> None:
        self._door.answered()
        lost, self._inode, version2 = pull1.parse_answer(line)
        inode, offset = self._asked
        if lost:
            self.say(
                "critical",
                f"the server no longer has inode {inode}, of which {offset} bytes are here; "
                "it begins with its present file",
            )
        fresh = self._inode != inode
        session: SinkSession = Sink(now) if version2 else ByteSink(fresh, now)
        store = Fetched(link, session, self._copy(), self, self._means, self._asked)
        self._store, self._asking = store, None
        if version2 and not self._inode:
            self._health.wrong("no such file there, waiting for it")
        if not version2:
            if fresh:
                self._pointing.file.prepare(self._inode)
            store.pump.take(session.open(), now)
            self._look_blocked(store)
        if link.unread:
            self._hear(store, select.POLLIN, now)

    def _copy(self) -> Copy:
        state, local = self._means.state_dir, self.source.local
        return Copy(
            Destination(local),
            os.path.join(state, paths.file_name(local)) + ".ledger",
            self.say,
            mirror=True,
            hold=lambda: lock(paths.lock_of(state, local), who=local),
        )

    def _hear(self, store: Fetched, events: int, now: float) -> None:
        link = store.link
        if events & select.POLLOUT:
            link.flush()
        if not store.deaf and (link.unread or events & ~select.POLLOUT):
            store.hear(now)
        elif events & (GONE | select.POLLHUP | select.POLLERR):
            raise LinkLost("closed by the other side")
        store.tend(now)
        self._look_blocked(store)

    def _look_blocked(self, store: Fetched) -> None:
        """A destination that cannot be written, or an origin that cannot be read, is an error until
        it can be."""
        waiting = store.pump.session.waiting
        blocked = store.trouble or (f"on the server: {waiting}" if waiting else None)
        if blocked is not None:
            self._health.wrong(str(blocked))
        elif self._blocked is not None and self._begun:
            self._right()
        self._blocked = blocked

    # --- what the store tells

    def began(self, begin: Begin | None, version2: bool) -> None:
        """A generation begins, or goes on."""
        if begin is not None and version2:
            self._inode = begin.generation.ino
            self._pointing.name(self._inode, 0.0)
            if begin.offset == 0 and begin.why not in (Why.RESUMED, Why.ADOPTED):
                self._say_begun(begin.why == Why.FRESH)
        elif begin is not None:
            self._pointing.file.commit()
            self._say_begun(not self._asked[0])
        self._begun = True
        self._right()

    def _say_begun(self, first: bool) -> None:
        begins, anew = f"begins, inode {self._inode}", f"origin rotated (inode {self._inode})"
        self.say("info", begins if first else f"{anew}; the copy begins anew")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
