"""Which lines of a shared ledger count, and where bytes may stand of which the line is damaged.

Records of the first version have no numbers.  There one that tells again what was told, or less than
its pipe has by then, stands in the wrong place, and does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tcppipe.files import records
from tcppipe.files import sharedhistory as history

Row = dict[str, Any]


class SharedLines:
    """What a ledger's content tells.

    rows: all records that count, with their numbers, oldest first.  holes: where bytes stand between
    two appends among whose lines some are damaged or missing: rows, as those of what is found.
    """

    def __init__(self, content: bytes) -> None:
        self.rows: list[Row] = []
        self.holes: list[Row] = []
        self._number = 0
        self._seen: set[bytes] = set()
        self._states: dict[str, Row] = {}  # of pipes
        self._last: Row | None = None  # append
        self._lacks = False  # a line was damaged since
        for line in content.split(b"\n")[:-1]:
            self._take(records.checked(line))
        self.rows.sort(key=lambda row: int(row["n"]))

    def _take(self, body: bytes | None) -> None:
        if body is None:
            self._lacks = True
            return
        record: Row = {"n": self._number + 1, **records.parse_body(body)}
        old = b'"n":' not in body and "pipe" in record
        undone = history.is_undone(self.rows, record, body)
        if old and not undone and self._is_behind(record, body in self._seen):
            return
        self._seen.add(body)
        self._number = record["n"]
        if "rewind" in record:
            self.rows = history.back(self.rows, record["rewind"])
            self._states = {row["pipe"]: row for row in self.rows if "pipe" in row}
            return
        if undone:
            last = history.last_append(self.rows)
            self.rows = [row for row in self.rows if row is not last]
        elif record.get("bytes") and "crc" in record:
            self._look_between(record)
        self.rows.append(record)
        if "pipe" in record:
            self._states[record["pipe"]] = record

    def _is_behind(self, record: Row, seen: bool) -> bool:
        """True when an old record's pipe was further before it."""
        state = self._states.get(record["pipe"])
        if state is None:
            return False
        same = all(record[key] == state[key] for key in ("generation", "resent"))
        if not record["bytes"]:
            return (same and record["to"] < state["to"]) or (seen and not _tells(record, state))
        before = record["before"]["to"] if record.get("before") else state["to"]
        self._lacks = self._lacks or (same and before > state["to"])
        return (same and before < state["to"]) or (seen and not (same and before == state["to"]))

    def _look_between(self, record: Row) -> None:
        """An append: does it follow the one before it?"""
        last, self._last = self._last, record
        if self._lacks:
            self._lacks = False
            file = record["dev"], record["ino"]
            same = last is not None and (last["dev"], last["ino"]) == file
            at = last["at"] + last["bytes"] if last is not None and same else 0
            if at < record["at"]:
                self.holes.append({
                    "found": True, "claim": True, "hole": True, "piece": record.get("piece", 0),
                    "path": "", "dev": file[0], "ino": file[1], "at": at,
                    "bytes": record["at"] - at,
                })  # fmt: skip

    def untold(self) -> Iterator[Row]:
        """The holes of which it was not recorded yet that they were found."""
        for hole in self.holes:
            if not any(row.get("hole") and _place(row) == _place(hole) for row in self.rows):
                yield hole


def _place(row: Row) -> tuple[int, int, int]:
    return row["dev"], row["ino"], row["at"]


def _tells(record: Row, state: Row) -> bool:
    """True when a record is no news."""
    return {**record, "n": 0} == {**state, "n": 0}
