"""Who has a pipe: one child at a time, and whoever comes later asks it by a signal.

An older connection of the same source gives way.  Another source keeps the pipe if it proves
that it lives.
A crash leaves a lock that nobody holds.
"""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

from tcppipe.errors import Blocked, Busy, LinkLost, NotNow, SyncFailed, reason
from tcppipe.process.owner import send
from tcppipe.process.pidfile import PidFile

CLAIM = 4.0  # seconds that another source has to prove that it lives
TAKEOVER = 15.0  # seconds that a child has to end when its own source comes back


class Claim:
    """Of the pipe `name`, by the lock in the file `path`."""

    def __init__(self, path: str, name: str) -> None:
        self._lock = PidFile(path)
        self._name = name
        self._claimed = ""  # what the lock says of us
        self._asked: Asked | None = None  # whoever has the pipe

    def take(self, sender: bytes | None, about: str) -> None:
        """Become the only writer of this pipe; sender: the source's key, or None.

        Raises Asking until that is decided: call again.  Raises NotNow, LinkLost, or Blocked
        when no lock can be had.
        """
        try:
            has_it = None if self._lock.i_am_locking() else self._lock.take()
            if has_it is not None:
                self._ask_holder(sender)
            self._claimed = f"{sender.hex() if sender else '-'}\n{about}\n"
            self._lock.annotate(self._claimed)
        except OSError as error:
            raise Blocked(f"{self._lock.path}: cannot lock, waiting: {reason(error)}") from None
        self._asked = None

    def keep(self) -> None:
        """Raises SyncFailed when somebody has removed our lock: another child may write by now, so
        nothing more is written here, neither to the destination nor to the ledger."""
        if self._lock.i_am_locking() and not self._lock.is_in_place():
            raise SyncFailed(f"{self._lock.path}: was removed by somebody; begins anew")

    def asked(self) -> None:
        """Another child asks whether our source lives: let it know that we have heard it."""
        try:
            if self._lock.i_am_locking():
                self._lock.annotate(f"{self._claimed}{time.monotonic()}\n")
        except OSError:
            pass  # it asks again

    def _ask_holder(self, sender: bytes | None) -> None:
        holder, who, heard = self._holder()
        now = time.monotonic()
        if self._asked is None:
            ours = sender is None or holder == sender.hex()
            signum = signal.SIGTERM if ours else signal.SIGUSR1
            self._asked = Asked(signum, now + CLAIM + (TAKEOVER if ours else 0), heard)
            send(self._lock.path, signum)
        elif now > self._asked.until:
            if self._asked.signum == signal.SIGTERM:
                raise LinkLost("the connection before this one has not ended yet")
            if heard == self._asked.heard:  # it may be our own one before us, and hang
                send(self._lock.path, self._asked.signum)
                raise Blocked(
                    f"{self._name}: cannot be taken over, waiting: the process that has it does "
                    f"not answer (pid {self._lock.read_pid()}, for {who})"
                )
            raise NotNow(f"another source sends this pipe: {who}")
        raise Asking(f"{self._name}: asks whoever has it")

    def _holder(self) -> tuple[str, str, str]:
        """(key, description) of the source whose child holds the pipe now, and when that child
        has heard a question last."""
        try:
            with open(self._lock.path, encoding="utf-8", errors="replace") as file:
                _pid, key, who, heard = (file.read(4096) + "\n\n\n\n").split("\n")[:4]
        except OSError:
            return "", "unknown", ""
        return key, who, heard


class Asked(NamedTuple):
    """What whoever has the pipe was asked by a signal: for how long, and what he had heard then."""

    signum: int
    until: float
    heard: str


class Asking(Busy):
    """Somebody else has the pipe, and was asked whether he lives."""

    pause = 0.02
    long = False
