"""The promise at full speed: an origin that grows as fast as the disk takes it, and kill -9.

TCPPIPE_BULK=4000 writes so many megabytes; what is killed when depends on how far the copy is.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys

import pytest
from stage import alive, children, size, wait_until

MEGABYTES = int(os.environ.get("TCPPIPE_BULK", "96"))
STEP = 8 << 20  # bytes that arrive between two kills

# Appends numbered blocks without a pause; a word on its standard input says: rename first.
WRITER = """
import os, select, sys
path, total = sys.argv[1], int(sys.argv[2])
file, written, number = open(path, "ab", buffering=0), 0, 0
while written < total:
    if select.select([0], [], [], 0)[0] and os.read(0, 64):
        number += 1
        os.rename(path, f"{path}-{number:08d}")
        file = open(path, "ab", buffering=0)
    block = b"%012d " % written + b"x" * 99 + b"\\n"
    written += file.write(block * 2000)
"""


def digest(paths):
    """The SHA-256 of files, one behind the other."""
    sha = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while data := file.read(1 << 20):
                sha.update(data)
    return sha.hexdigest()


def write(pipe):
    """Start to write."""
    total = str(MEGABYTES << 20)
    argv = [sys.executable, "-c", WRITER, str(pipe.origin), total]
    return subprocess.Popen(argv, stdin=subprocess.PIPE)


def pieces_of(path):
    """A file's rotated pieces and itself, oldest first."""
    return [*sorted(path.parent.glob(f"{path.name}[-.][0-9]*")), path]


def live(pipe, rnd, hit, copies):
    """Write it all; each time so many bytes have arrived, something is hit."""
    writer = write(pipe)
    try:
        while True:
            there = sum(map(size, copies()))
            done = there >= MEGABYTES << 20
            if done and writer.poll() is not None:
                break
            more = min(there + STEP, MEGABYTES << 20)
            wait_until(
                lambda more=more: sum(map(size, copies())) >= more, "the copy stands still", 60
            )
            if writer.poll() is None and rnd.random() < 0.3:
                writer.stdin.write(b"rotate\n")
                writer.stdin.flush()
            hit()
        assert writer.wait() == 0
    finally:
        writer.kill()
        writer.wait()
        writer.stdin.close()


def kill(process, rnd):
    """A daemon, or one of its children, is killed; a daemon that is dead is started again."""
    if not process.running:
        process.up()
    victims = children(process.pid) or [process.pid]
    victim = rnd.choice([process.pid, *victims])
    if victim == process.pid:
        process.kill()
        process.up()
    elif alive(victim):
        os.kill(victim, signal.SIGKILL)


@pytest.mark.parametrize("seed", range(2))
def test_push(stage, seed):
    """Client, server and its children are killed while it streams, and the origin is rotated."""
    rnd, pipe = random.Random(seed), stage.pipe().up()
    live(pipe, rnd, lambda: kill(rnd.choice([pipe.client, pipe.server]), rnd), lambda: [pipe.copy])

    def there():
        return size(pipe.copy) == sum(map(size, pieces_of(pipe.origin)))

    wait_until(there, "not all is there", 60)
    assert digest([pipe.copy]) == digest(pieces_of(pipe.origin))


def test_pull(stage):
    """The same of gen_numbers and fetch_logs, which mirrors each generation."""
    rnd, pull = random.Random(7), stage.pull().up()

    def copies():
        return [*pull.pieces(), pull.copy]

    live(pull, rnd, lambda: kill(rnd.choice([pull.server, pull.client]), rnd), copies)

    def there():
        return [*map(size, copies())] == [*map(size, pieces_of(pull.origin))]

    wait_until(there, lambda: str(copies()), 60)
    for copy, origin in zip(copies(), pieces_of(pull.origin)):
        assert digest([copy]) == digest([origin])
