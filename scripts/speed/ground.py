"""The ground that all contestants run on: the text, its copies, and the folder in memory.

Everything stands in one folder, on /dev/shm if not told otherwise, which is removed at the end.
"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 300.0  # seconds for a copy to arrive; after that the test says "not in time"
LOOK = 0.001  # seconds between two looks at a copy's size
HERE = Path(__file__).parent


class Late(Exception):
    """A copy did not arrive in time."""


class Ground:
    """A folder, the compiled pair, and texts of any size."""

    def __init__(self, folder, keep=False):
        self.top = Path(tempfile.mkdtemp(prefix="tcppipe-bench-", dir=folder))
        self.keep = keep
        self.pair = self.top / "pair"
        self.texts = {}
        self.turn = 0

    def compile(self):
        """Compile the C pair."""
        subprocess.run(["gcc", "-O2", "-o", self.pair, HERE / "pair.c"], check=True)

    def warm(self, size):
        """Touch so much memory once: on a virtual machine the first touch is slow."""
        path = self.top / "warm"
        block = b"w" * (1 << 20)
        with open(path, "wb", buffering=0) as file:
            for _ in range(size >> 20):
                file.write(block)
        path.unlink()

    def text(self, size):
        """A file of so many bytes of access log, always the same for a size."""
        if size not in self.texts:
            path = self.top / f"text.{size}"
            write_text(path, size)
            with open(path, "rb") as file:
                self.texts[size] = path, digest(file)
        return self.texts[size]

    @contextlib.contextmanager
    def stage(self):
        """A new folder for one contestant's run; removed afterwards."""
        self.turn += 1
        folder = self.top / f"run{self.turn}"
        folder.mkdir()
        try:
            yield folder
        except (Late, RuntimeError):
            show_logs(folder)
            raise
        finally:
            if not self.keep:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self):
        """Remove everything."""
        if not self.keep:
            shutil.rmtree(self.top, ignore_errors=True)


def write_text(path, size):
    """Write so many bytes of access log: every line is different, the last may be cut."""
    with open(path, "wb") as file:
        number = 0
        while (left := size - file.tell()) > 0:
            block = bytearray()
            for _ in range(10000):
                number += 1
                block += line(number)
            file.write(block[:left])


_dice = random.Random(5)
_AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4 Safari/605",
    "curl/7.88.1",
    "Prometheus/2.42.0",
]
_PATHS = ["/", "/index.html", "/api/v1/items", "/static/app.js", "/login", "/search?q=pipe"]
_PARTS = [
    (
        f'{_dice.randrange(256)}.{_dice.randrange(256)} - - [21/Nov/2026:%02d:%02d:%02d +0000] "GET '
        f'{_dice.choice(_PATHS)} HTTP/1.1" {_dice.choice((200, 200, 200, 304, 404))} %d "-" '
        f'"{_dice.choice(_AGENTS)}"\n'
    ).encode()
    for _ in range(997)
]


def line(number):
    """The number-th line of an access log; about 140 bytes."""
    seconds = number // 40
    address = b"%d.%d." % (10 + number * 7 % 90, number * 31 % 251)
    return address + _PARTS[number % 997] % (
        seconds // 3600 % 24, seconds // 60 % 60, seconds % 60, number * 7919 % 90001,
    )  # fmt: skip


def digest(file):
    """The SHA-256 of an open file, as hex digits."""
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def size_of(path):
    """A file's length; 0 while it is missing."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def arrives(copies, size, started, seconds=PATIENCE):
    """Wait until all copies are this long.

    Returns the seconds from `started` until the first had something, how much that was, and the
    seconds until all had everything.
    """
    first, had = None, 0
    waiting = list(copies)
    until = time.monotonic() + seconds
    while waiting:
        sizes = [size_of(copy) for copy in waiting]
        moment = time.monotonic()
        if first is None and any(sizes):
            first, had = moment - started, sum(sizes)
        waiting = [copy for copy, have in zip(waiting, sizes) if have < size]
        if waiting and moment > until:
            raise Late(f"{len(waiting)} of {len(copies)} are not complete after {seconds:.0f} s")
        if waiting:
            time.sleep(LOOK)
    return first, had, moment - started


def identical(copy, wanted):
    """Whether a file has this SHA-256."""
    try:
        with open(copy, "rb") as file:
            return digest(file) == wanted
    except FileNotFoundError:
        return False


def show_logs(folder):
    """The last lines of a contestant's logs, on standard error."""
    for log in sorted(folder.glob("*.log")):
        tail = log.read_bytes()[-2000:].decode(errors="replace")
        if tail:
            print(f"--- {log.name}\n{tail}", file=sys.stderr)
