"""Turns at a merged destination: each is taken in a thread, so that no loop waits for the lock,
the disk, or a search.

One at a time for each pipe.  Whoever asks for a turn asks again until it is over.
"""

from __future__ import annotations

import _thread
import errno
import time
from collections.abc import Callable
from typing import Any

from tcppipe.errors import Blocked, Busy, reason
from tcppipe.files.lock import holder
from tcppipe.files.sharedledger import SharedLedger
from tcppipe.files.workers import Job, Workers
from tcppipe.process.trouble import Say

PATIENCE = 5.0  # seconds after which waiting for the others is said
INLINE = 0.2  # seconds that a turn waits for them when there is no thread to be had


class Waiting(Busy):
    """A turn is under way: look again soon."""

    pause = 0.02


Work = Callable[["Turn"], Any]


class Turn:
    """One turn at a destination, taken in a thread.

    what: which it is.  why: what cannot be done if it fails.  result, error: how it ended.
    """

    def __init__(self, what: object, why: str, work: Work) -> None:
        self.what, self.why = what, why
        self.begun = time.monotonic()
        self.has_lock = False
        self.given_up = False  # nobody waits for it any more
        self.beside = False  # it is in a thread of its own, so it may wait
        self.result: Any = None
        self.error: Exception | None = None
        self.sync: Job | None = None
        self._work = work
        self._maker = _thread.get_ident()

    @property
    def done(self) -> bool:
        """True when it is over."""
        return self.sync is not None and self.sync.done

    def take(self) -> None:
        """Take it."""
        self.beside = _thread.get_ident() != self._maker
        try:
            self.result = self._work(self)
        except Exception as error:  # raised again by whoever looks at the result
            self.error = error

    def wait(self, seconds: float) -> bool:
        """True when it is over within so many seconds, or has the lock and will be soon."""
        until = time.monotonic() + seconds
        while not self.done:
            if time.monotonic() >= until and not self.has_lock:
                return False
            time.sleep(0.005)
        return True


class LockedTurns:
    """The turns of one pipe at the destination `path`, whose ledger is `ledger`.

    say: a function (level, text).  worker: has the start() of some Workers, or None.
    present: the Turn under way, or None.
    """

    def __init__(
        self, path: str, ledger: SharedLedger, say: Say, worker: Workers | None = None
    ) -> None:
        self.present: Turn | None = None
        self._path = path
        self._ledger = ledger
        self._say = say
        self._said: list[tuple[str, str]] = []  # what a turn has to say
        self._worker = worker

    @property
    def busy(self) -> bool:
        """True while a turn is being taken."""
        return self.present is not None and not self.present.done

    def take(self, what: object, why: str, work: Work) -> Any:
        """The result of `work`, a function of the Turn, with the lock held: Waiting until then.

        what: says which turn it is.  why: what cannot be done if it fails, for people.
        """
        if self.present is None:
            self.begin(what, why, work)
        if not self.over(what):
            raise self.waiting()
        return self.end().result

    def begin(self, what: object, why: str, work: Work, worker: Workers | None = None) -> None:
        """Begin a turn."""
        if self._worker is None:
            self._worker = Workers()
        self.present = Turn(what, why, lambda turn: self._locked(turn, work))
        self.present.sync = (worker or self._worker).start(self.present.take)

    def _locked(self, turn: Turn, work: Work) -> Any:
        with self._ledger.hold(None if turn.beside else INLINE):
            turn.has_lock = True
            if turn.given_up:
                raise OSError(errno.ECANCELED, "the pipe has ended")
            return work(turn)

    def over(self, what: object) -> bool:
        """True when that turn is over."""
        return self.present is not None and self.present.what == what and self.present.done

    def waiting(self) -> Blocked:
        """What to raise while a turn is under way."""
        turn = self.present
        assert turn is not None
        if time.monotonic() < turn.begun + PATIENCE:
            return Waiting(f"{self._path}: waits for its turn")
        what = (
            "the disk is slow"
            if turn.has_lock
            else f"{holder(self._ledger.lock_path)} writes to it"
        )
        return Blocked(f"{self._path}: {turn.why}, waiting: {what}")

    def complain(self) -> None:
        """Raise Blocked if a turn takes too long."""
        if self.present is not None and not isinstance(error := self.waiting(), Busy):
            raise error

    def end(self) -> Turn:
        """The Turn that is over.  Raises what it has raised."""
        turn, self.present = self.present, None
        assert turn is not None
        self.tell()
        if isinstance(turn.error, OSError):
            text = f"{self._path}: {turn.why}, waiting: {reason(turn.error)}"
            raise Blocked(text) from turn.error
        if turn.error is not None:
            raise turn.error
        return turn

    def note(self, level: str, text: str, path: str | None = None) -> None:
        """Say something about the destination, or another file, from within a turn."""
        self._said.append((level, f"{path or self._path}: {text}"))

    def tell(self) -> None:
        """Say what there is to say."""
        said, self._said = self._said, []
        for one in said:
            self._say(*one)

    def stop(self, seconds: float) -> bool:
        """The pipe ends: True when no turn is under way after so many seconds."""
        turn = self.present
        if turn is not None and not turn.wait(seconds):
            turn.given_up = True  # it has what it needs, and does nothing more
            return False
        self.present = None
        self.tell()
        return True
