"""How much is said: about each subject, about all of a peer's, and in all.

Whoever can make us say something (a stranger who connects, a peer that reports troubles)
could fill a disk by it.  So each subject has a budget that fills up again with time, and
there is one for all; what is over it is counted, and the count is said.  What is grave has
budgets of its own, which chatter cannot use up.  A peer can think of as many subjects as he likes:
all that he brings up have a budget together, or he would use up that of the others.
A server and its children use one table, in memory that they share.  They do not lock it: a
count may be wrong by a few.  A crash leaves nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from typing import NamedTuple, TypeVar

EACH = (100.0, 0.5)  # messages about one subject: at once, and a second …
PEER = (1000.0, 1.0)  # … about those that one peer has brought up …
ALL = (10000.0, 5.0)  # … and about all of them

SLOTS = 512  # for all and for subjects, and as many for peers
_SLOT = struct.Struct("@4d2Q200s")
_NAME = 200
N = TypeVar("N", int, float)


class Account(NamedTuple):
    """What was used of the budgets of a subject, [0] of what is grave and [1] of all else."""

    used: tuple[float, float] = (0.0, 0.0)  # messages …
    at: tuple[float, float] = (0.0, 0.0)  # … by then
    suppressed: tuple[int, int] = (0, 0)
    name: str = ""


class Budget:
    """The accounts.  Two subjects may by chance have one together, which does no harm."""

    def __init__(self, salt: int | None = None) -> None:
        self._table: bytearray | mmap.mmap = bytearray(
            _SLOT.size
        )  # one for all is enough until there are subjects
        # by a number that nobody knows: nobody can choose with whom he shares an account
        self._salt = int.from_bytes(os.urandom(4), "big") if salt is None else salt

    def share(self) -> None:
        """From now on children that are forked use the same accounts as we do."""
        self._table = mmap.mmap(-1, 2 * SLOTS * _SLOT.size)

    def spend(self, subject: str, grave: bool, now: float, peer: str = "") -> tuple[bool, int]:
        """May something be said about a subject (str; "": the program itself)?

        peer: who has brought it up, if that is somebody else.
        Returns (whether, how many messages about it were suppressed before).
        """
        kind = 0 if grave else 1
        places = {self._place(subject): subject}
        if peer:
            places[SLOTS + self._place(peer)] = peer
        for place, name in {**places, 0: ""}.items():
            if not self._take(place, kind, now, _bounds(place), name):
                return False, 0
        return True, sum(self._forgive(place, kind) for place in places)

    def overdue(self, now: float) -> list[tuple[str, int]]:
        """[(subject, number)] of what was suppressed and was not said, though there is room."""
        found = []
        for place in range(len(self._table) // _SLOT.size):
            account = self._read(place)
            most, rate = _bounds(place)
            for kind, number in enumerate(account.suppressed):
                used = account.used[kind] - (now - account.at[kind]) * rate
                if number and used + 1 <= most:
                    found.append((account.name, self._forgive(place, kind)))
        return found

    def _place(self, subject: str) -> int:
        if not subject:
            return 0
        if len(self._table) == _SLOT.size:
            self._table = bytearray(self._table) + bytearray((2 * SLOTS - 1) * _SLOT.size)
        name = subject.encode(errors="surrogateescape")
        return 1 + zlib.crc32(name, self._salt) % (SLOTS - 1)

    def _take(
        self, place: int, kind: int, now: float, bounds: tuple[float, float], name: str
    ) -> bool:
        most, rate = bounds
        account = self._read(place)
        used = max(0.0, min(most, account.used[kind]) - max(0.0, now - account.at[kind]) * rate)
        if used + 1 > most:
            account = account._replace(
                suppressed=_with(account.suppressed, kind, account.suppressed[kind] + 1), name=name
            )
            self._write(place, account)
            return False
        account = account._replace(
            used=_with(account.used, kind, used + 1), at=_with(account.at, kind, now)
        )
        self._write(place, account)
        return True

    def _forgive(self, place: int, kind: int) -> int:
        """The number of suppressed messages, which is said now."""
        account = self._read(place)
        number = account.suppressed[kind]
        if number:
            self._write(place, account._replace(suppressed=_with(account.suppressed, kind, 0)))
        return number

    def _read(self, place: int) -> Account:
        fields = _SLOT.unpack_from(self._table, place * _SLOT.size)
        name = fields[6].rstrip(b"\0").decode(errors="replace")
        return Account(fields[0:2], fields[2:4], fields[4:6], name)

    def _write(self, place: int, account: Account) -> None:
        name = account.name.encode(errors="replace")[:_NAME]
        _SLOT.pack_into(
            self._table, place * _SLOT.size, *account.used, *account.at, *account.suppressed, name
        )


def _bounds(place: int) -> tuple[float, float]:
    """What an account holds, and how fast it fills up again."""
    return PEER if place >= SLOTS else EACH if place else ALL


def _with(pair: tuple[N, N], kind: int, value: N) -> tuple[N, N]:
    return (value, pair[1]) if kind == 0 else (pair[0], value)
