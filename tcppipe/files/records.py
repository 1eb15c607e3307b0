"""How a ledger spells a record: a line of eight hex digits of CRC-32, a blank, and JSON.

A line that a crash has torn is no record, and ends what is read.
"""

import json
import zlib


def render(record):
    """The line of a record, as bytes."""
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def parse(line):
    """The record in a line, a dictionary, or None when it is torn or no record."""
    crc, blank, body = line.rstrip(b"\n").partition(b" ")
    try:
        if not line.endswith(b"\n") or not blank or int(crc, 16) != zlib.crc32(body):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
