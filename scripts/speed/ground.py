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

LOOK = 0.001  # seconds between two looks at a copy's size
HERE = Path(__file__).parent


class Late(Exception):
    """A copy did not arrive in time."""


class Ground:
    """A folder, the compiled pair, and texts of any size."""

    def __init__(self, folder, syslog_ng=None, keep=False):
        self.top = Path(tempfile.mkdtemp(prefix="tcppipe-bench-", dir=folder))
        self.syslog_ng = syslog_ng
        self.keep = keep
        self.pair, self.wire = self.top / "pair", self.top / "wire"
        self.texts = {}
        self.turn = 0

    def compile(self):
        """Compile the C pair, and the wire."""
        for program in (self.pair, self.wire):
            source = HERE / f"{program.name}.c"
            subprocess.run(["gcc", "-O2", "-o", program, source], check=True)

    def warm(self, size):
        """Touch so much memory: on a virtual machine the first touch is slow.

        What has been freed may be given back to the host within seconds, so this is for the
        moment before the clock starts.
        """
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
            self.texts[size] = path, digest_of(path)
        return self.texts[size]

    def forget(self, size):
        """Remove the file of this size."""
        path, _ = self.texts.pop(size)
        path.unlink()

    def texts_of(self, count, size):
        """So many different files of this size: their paths and their digests."""
        found = []
        for number in range(count):
            if (size, number) not in self.texts:
                path = self.top / f"text.{size}.{number}"
                write_text(path, size, 100_000 * number)
                self.texts[size, number] = path, digest_of(path)
            found.append(self.texts[size, number])
        return [path for path, _ in found], [digest for _, digest in found]

    @contextlib.contextmanager
    def stage(self):
        """A new folder for one contestant's run; removed afterwards."""
        self.turn += 1
        folder = self.top / f"run{self.turn}"
        folder.mkdir()
        try:
            yield folder
        except (Late, RuntimeError, OSError):
            show_logs(folder)
            raise
        finally:
            if not self.keep:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self):
        """Remove everything."""
        if not self.keep:
            shutil.rmtree(self.top, ignore_errors=True)


def write_text(path, size, number=0):
    """Write so many bytes of access log, whole lines, from this number of a line on."""
    with open(path, "wb") as file:
        while (left := size - file.tell()) > 0:
            block = bytearray()
            for _ in range(10000):
                number += 1
                block += line(number)
            if left <= len(block):
                del block[left:]
                block[-1:] = b"\n"
            file.write(block)


def write_lines(path, length, size):
    """Write so many bytes of lines, each so long with its newline."""
    with open(path, "wb") as file:
        block = b"".join(
            (b"%d " % number * length)[: length - 1] + b"\n"
            for number in range(max(min((1 << 20) // length, size // length), 1))
        )
        while (left := size - file.tell()) > 0:
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


def digest_of(path):
    """The SHA-256 of a file, as hex digits; None when it is missing."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except FileNotFoundError:
        return None
    return found.hexdigest()


def size_of(path):
    """A file's length; 0 while it is missing."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def arrives(copies, size, started, seconds):
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


def show_logs(folder):
    """The last lines of a contestant's logs, on standard error."""
    for log in (folder / "sink.log", folder / "source.log"):
        if not log.exists():
            continue
        tail = log.read_bytes()[-1000:].decode(errors="replace")
        if tail:
            print(f"--- {log.name}\n{tail}", file=sys.stderr)
