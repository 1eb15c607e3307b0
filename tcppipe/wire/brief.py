"""An event in a few words, for people who look for a mistake: numbers, and never content."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Generation
from tcppipe.wire import events as ev

SHOWN = 3  # of a list
TEXTS = ("about", "reason")  # fields that are for people


def brief(event: ev.Event) -> str:
    """Like "data offset=0 data=512 bytes"."""
    defaults = type(event)._field_defaults
    words = [
        f"{name}={_word(name, value)}"
        for name, value in zip(event._fields, event)
        if name not in defaults or value != defaults[name]
    ]
    return " ".join([type(event).__name__.lower(), *words])


def _word(name: str, value: Any) -> str:
    if isinstance(value, Generation):
        return "unknown" if value == UNKNOWN else f"{value.dev}:{value.ino}:{value.igen}"
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, ev.Complete):
        return f"{_word('', value.generation)}+{value.length}"
    if isinstance(value, tuple):
        more = f", {len(value)} in all" if len(value) > SHOWN else ""
        return f"({', '.join(_word('', one) for one in value[:SHOWN])}{more})"
    if isinstance(value, (bytes, bytearray, memoryview)):
        if name in TEXTS:
            return repr(bytes(value).decode(errors="replace"))
        if len(value) in (16, len(NO_DIGEST)):
            return bytes(value).hex()[:8]
        return f"{len(value)} bytes"
    return str(value)
