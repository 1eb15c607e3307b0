"""How a ledger spells a record: a line of eight hex digits of CRC-32, a blank, and JSON.

A line that a crash has torn, or that is damaged, is no record.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

Record = dict[str, Any]  # what JSON has


def body(record: Record) -> bytes:
    """The JSON of a record, as bytes."""
    return json.dumps(record, separators=(",", ":")).encode()


def render(record: Record) -> bytes:
    """The line of a record, as bytes."""
    text = body(record)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def checked(line: bytes) -> bytes | None:
    """The JSON in a line without its newline, or None when the line is no record."""
    crc, blank, text = line.partition(b" ")
    try:
        return text if blank and text[:1] == b"{" and int(crc, 16) == zlib.crc32(text) else None
    except ValueError:
        return None


def parse_body(text: bytes) -> Record:
    """The record that checked() has found to be whole."""
    record: Record = json.loads(text)
    return record


def parse(line: bytes) -> Record | None:
    """The record in a line, a dictionary, or None when it is torn or no record."""
    text = checked(line[:-1]) if line.endswith(b"\n") else None
    try:
        record = None if text is None else json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
