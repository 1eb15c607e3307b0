"""What is said of a copy, of whatever kind, in words.

Each is (level, text) for say(); whoever says it knows what is done about it.
"""

from __future__ import annotations

from tcppipe.cursor import NO_DIGEST, Generation
from tcppipe.wire.events import End, Gap

SHOWN = 16  # letters of a digest


def completed(
    path: str, end: End, length: int, digest: bytes, generation: Generation
) -> tuple[str, str]:
    """A generation is here to its end.  digest: that of what stands here."""
    if NO_DIGEST in (digest, end.digest):
        return "info", f"{path}: complete, {length} bytes, not compared as a whole"
    if digest == end.digest:
        return "info", f"{path}: complete, {length} bytes, SHA-256 equal"
    there, here = end.digest.hex()[:SHOWN], digest.hex()[:SHOWN]
    return (
        "critical",
        f"{path}: SHA-256 differs after {length} bytes of inode {generation.ino}: "
        f"{there}... at the origin, {here}... here",
    )


def lost(path: str, gap: Gap, why: str) -> tuple[str, str]:
    """Bytes of the origin can be had no more."""
    if gap.last:
        return "critical", f"{path}: bytes {gap.first} to {gap.last} are lost at the origin: {why}"
    return "critical", f"{path}: bytes from {gap.first} on are lost at the origin: {why}"


def dropped(path: str, count: int) -> tuple[str, str]:
    """Late bytes came of a generation that nothing is known of."""
    return (
        "critical",
        f"{path}: {count} bytes, written to a rotated file after it was complete, are dropped: "
        "nothing is known here of its copy",
    )
