"""A destination as it was before others appended to it, by what the shared ledger tells of them."""

from __future__ import annotations

from tcppipe.files.destination import Destination
from tcppipe.files.sharedledger import SharedLedger
from tcppipe.files.spelling import Value


def since_left(ledger: SharedLedger) -> list[Value]:
    """The records of bytes since the pipe was merged last."""
    number = ledger.state["n"] if ledger.state is not None else 0
    return [row for row in ledger.history() if row["n"] > number and row.get("bytes")]


class Until(Destination):
    """A destination as it was before others appended to it.

    shared: the shared ledger, whose records since the pipe wrote here for itself tell of that; more
    come between two turns of the pipe.
    """

    def __init__(self, where: Destination, shared: SharedLedger) -> None:
        super().__init__(where.path, where.mode, where.owner, where.fs, where.durable)
        self._shared = shared

    def _here(self) -> list[Value]:
        """Those of them that tell of this file."""
        here = self.dev, self.ino
        return [row for row in since_left(self._shared) if (row["dev"], row["ino"]) == here]

    @property
    def others(self) -> bool:
        """True when others have appended to it."""
        return any("found" not in row for row in self._here())

    def size(self) -> int:
        """The bytes that were there before."""
        size = super().size()
        places = [row["at"] for row in self._here() if "found" not in row]
        return min([size, *places[:1]])  # what was found before is the pipe's

    def cut(self, size: int) -> str:
        """Only what nobody has appended to is cut."""
        if self.others:
            return "nothing"
        return super().cut(size)
