"""The set of tests/files/ledgers: what the programs of an earlier version left."""

import json
from pathlib import Path

SET = Path(__file__).resolve().parent / "files" / "ledgers"
CASES = sorted(path.parent.name for path in SET.glob("*/TABLE"))
ROOT = "/tmp/tcppipe-old/"
HOST = "127.0.0.1"


class Case:
    """One of the set.  files: {path below ROOT: content}; numbers: of each of them."""

    def __init__(self, name):
        self.name = name
        self.folder = SET / name
        table = json.loads((self.folder / "TABLE").read_text())
        self.about, self.pull, self.port = table["about"], table["pull"], table["port"]
        self.boot, self.options, self.numbers = table["boot"], table["options"], table["files"]
        self.written, self.other = table["written"].encode(), table["other"].encode()
        self.files = {path: (self.folder / path).read_bytes() for path in self.numbers}
        (self.ledger,) = [path for path in self.files if path.startswith("state/")] or [None]
        self.mirror = self.pull or "mirror" in self.options
        self.merged = bool(self.other)


def damages(content):
    """(what was done to it, a ledger) for each damage."""
    lines = content.splitlines(keepends=True)
    yield "empty", b""
    yield "missing", None
    for at, line in enumerate(lines):
        before, behind = lines[:at], lines[at + 1 :]
        yield f"cut before line {at}", b"".join(before)
        yield f"cut in line {at}", b"".join(before) + line[: len(line) // 2]
        yield f"cut at the end of line {at}", b"".join(before) + line[:-1]
        for place in {3, 8, 9, len(line) // 3, len(line) // 2, len(line) - 2, len(line) - 1}:
            bad = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
            yield f"a bit of byte {place} in line {at}", b"".join([*before, bad, *behind])
        yield f"without line {at}", b"".join([*before, *behind])
        yield f"NULs for line {at}", b"".join([*before, bytes(len(line)), *behind])
        yield f"line {at} twice", b"".join([*before, line, line, *behind])
        yield f"line {at} once more at the end", content + line
        if at:
            swapped = [*before[:-1], line, before[-1], *behind]
            yield f"line {at} before the one before it", b"".join(swapped)
    yield "backwards", b"".join(lines[::-1])
    half = len(lines) // 2
    yield "its second half first", b"".join(lines[half:] + lines[:half])
    for end in (bytes(600), b"garbage", b"garbage\n"):
        yield f"{end[:10]!r} behind it", content + end
    yield "NULs before it", bytes(600) + content
