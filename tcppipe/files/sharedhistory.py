"""Which records of a shared ledger count: after pipes went back, and when it is rewritten.

Records are dictionaries, each with its number `n`, oldest first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tcppipe.cursor import NO_DIGEST
from tcppipe.files.spelling import Value

DENSE = 2000  # records at the ledger's end that are all kept when it is rewritten
REMEMBERED = 1000  # complete generations of a pipe
NOTES = 100  # gaps
FOUND = 16  # records of bytes that no other record tells of
NUMBER = re.compile(rb'[{,]"n":(\d+)[,}]')


def number(body: bytes | None) -> int:
    """A record's number; 0 where it has none."""
    found = NUMBER.search(body or b"")
    return int(found[1]) if found else 0


def goes_back(body: bytes) -> bool:
    """True when a record changes what older ones have told, so that all are read again."""
    return body.startswith(b'{"rewind":') or (b'"bytes":0,' in body and b'"n":' not in body)


def last_append(kept: Sequence[Value]) -> Value | None:
    """The last record of bytes at the end of the destination, or None."""
    return next((row for row in reversed(kept) if row.get("bytes") and "hole" not in row), None)


def is_undone(kept: Sequence[Value], record: Value, body: bytes) -> bool:
    """True for how the first version of this ledger tells that an append is not there: the pipe is
    again what it was before that."""
    last = last_append(kept)
    if b'"n":' in body or record.get("bytes") or last is None or not last.get("before"):
        return False
    return {**last["before"], "bytes": 0, "before": None, "n": record["n"]} == record


def back(kept: Sequence[Value], number: int) -> list[Value]:
    """The records up to a number; a pipe that had none by then goes back to its first one."""
    older = [row for row in kept if row["n"] <= number or "gap" in row]
    known = {row["pipe"] for row in older if "pipe" in row}
    first: dict[str, Value] = {}
    for row in kept:
        if "pipe" in row and row["pipe"] not in known:
            first.setdefault(row["pipe"], row)
    return older + [_before(row) for row in first.values()]


def _before(row: Value) -> Value:
    """A pipe's state before it appended what a record tells of."""
    if not row["bytes"]:
        return row
    nothing = {"head_len": 0, "head": NO_DIGEST.hex(), "tail_len": 0, "tail": NO_DIGEST.hex()}
    lines = 0 if row.get("late") else row["bytes"] - row.get("pad", 0)
    return {**row, **nothing, "to": row["to"] - lines, "bytes": 0, "closed": False}


def thinned(rows: Sequence[Value], synced: int) -> list[Value]:
    """The records that are worth keeping, oldest first.

    At those without `part` all pipes can go on: their states are there, too.
    """
    last = rows[-1]["n"] if rows else 0
    dense = max(0, last - DENSE)
    older = [
        row["n"] for row in rows
        if row["n"] <= dense and row.get("bytes") and "crc" in row and "part" not in row
    ]  # fmt: skip
    points: list[int] = []
    for at, number in enumerate(older):  # the first one, and others as far apart as they are old
        behind = older[at + 1] if at + 1 < len(older) else dense
        if not points or behind - points[-1] > (last - behind) // 2:
            points.append(number)
    whole = {row["n"] for row in rows if row["n"] > dense} | set(points)
    keep = set(whole)
    for point in [*points, dense]:
        keep.update({row["pipe"]: row["n"] for row in rows if _is_state(row, point)}.values())
    for kind, first, most in (("found", 1, FOUND), ("gap", 0, NOTES)):
        numbers = [row["n"] for row in rows if kind in row]
        keep.update(numbers[:first] + numbers[-most:])
    done: dict[str, list[int]] = {}
    for row in rows:
        if "done" in row:
            done.setdefault(row["done"], []).append(row["n"])
    keep.update(number for numbers in done.values() for number in numbers[-REMEMBERED:])
    append = last_append(rows)
    if append is not None:
        keep.add(append["n"])
    kept = [
        row if row["n"] in whole else {**row, "part": True}
        for row in rows
        if row["n"] in keep and "ok" not in row
    ]
    if synced:
        kept.append({"ok": synced, "n": last})
    return kept


def _is_state(row: Value, number: int) -> bool:
    """True for a pipe's state up to a number."""
    return "pipe" in row and row["n"] <= number
