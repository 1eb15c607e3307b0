"""Which lines of a ledger count, in which order, and what is wrong with them.

Records are numbered, so a line that is missing, doubled or out of its place is noticed; those of an
older program are not: there a stretch that is told once more, or the first one of its pipe behind
others, says as much.  A line that is damaged or missing costs no more than itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tcppipe.files.recorded import Recorded
from tcppipe.files.spelling import Value, record


class Replay:
    """The lines are read, without their newlines: `into` knows what they tell.

    bad: the damaged ones.  number: of the last record.  faults: what is wrong, in words, or "".
    aside: the path where bad lines are kept.  Raises OutOfOrder when nobody can tell which of them
    came last.
    """

    def __init__(self, lines: Sequence[bytes], into: Recorded, aside: str) -> None:
        self.bad: list[bytes] = []
        self.number = 0
        self._into = into
        self._count: Counter[str] = Counter()
        self._begun: list[Value] = []  # what an older program has told of stretches
        misplaced = self._read(lines)
        self._count["missing"] -= min(self._count["missing"], len(self.bad))
        faults = {f"damaged (kept in {aside})": len(self.bad), **self._count}
        faults["out of place"] = misplaced
        text = ", ".join(f"{count} {what}" for what, count in faults.items() if count)
        self.faults = f"of {len(lines)} lines {text}" if text else ""

    def _read(self, lines: Sequence[bytes]) -> int:
        """Take them in the order of their numbers: how many were not where they belong."""
        rows, number = [], 0
        for line in lines:
            kind, value = record(line)
            number = value.get("n", number)
            rows.append((number, kind, value, line))
        ordered = sorted(rows, key=lambda row: row[0])
        for number, kind, value, line in ordered:
            if kind is None or self._is_next(number, value):
                self._take(kind, value, line)
        return sum(a is not b for a, b in zip(rows, ordered))

    def _take(self, kind: str | None, value: Value, line: bytes) -> None:
        try:
            self._into.take(kind, value)
        except (KeyError, TypeError, ValueError, IndexError):
            self.bad.append(line)
            self._into.doubt()

    def _is_next(self, number: int, value: Value) -> bool:
        """False for a line that is there twice; and counts those that are missing."""
        if "n" in value:
            if number <= self.number:
                self._count["doubled"] += 1
                return False
            if number != self.number + 1:
                self._count["missing"] += number - self.number - 1
                self._into.doubt()
            self.number = number
        elif "at" in value and "generation" in value:
            if value in self._begun[:-1]:
                self._count["doubled"] += 1
            if value in self._begun:
                return False
            self._begun.append(value)
        return True
