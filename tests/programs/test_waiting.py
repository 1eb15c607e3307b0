"""A destination that cannot be written for now: the pipe waits, says so, and goes on by itself."""

import os
import subprocess
import time

import pytest
from stage import append, content, wait_until

from tcppipe.session.keepalive import DEAD_AFTER

LARGE = 40_000_000  # bytes; more than the network holds
FIRST = b"one\ntwo\nthree\n"


@pytest.fixture
def disk(tmp_path, need):
    """A file system of 256 KiB in memory, mounted at copy/; needs root."""
    need("root")
    place = tmp_path / "copy"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

    yield remount
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk(disk, pipe):
    """The origin grows past what the archive's disk holds. The server says that it waits, and
    tells the client; when the disk has grown, everything is there, over the same connection."""
    pipe.up()
    (child,) = pipe.server.children()
    rows = b"".join(b"%07d row\n" % n for n in range(50_000))
    pipe.append(rows)
    pipe.server.wait_log("cannot append, waiting: No space left on device")
    pipe.client.wait_log("the other side waits")
    other = pipe.stage.path / "other.log"
    other.write_bytes(b"another pipe\n")
    there = pipe.stage.path / "there" / "other.log"
    pipe.stage.configure(pipe.entry, f"127.0.0.1:{other} | {there}")
    pipe.stage.client(other, name="other").up()
    wait_until(lambda: content(there) == b"another pipe\n", "the other pipe waits too")
    disk("size=4m")
    pipe.arrives(FIRST + rows)
    assert child in pipe.server.children()
    pipe.server.wait_log("goes on")


def test_full_disk_for_a_minute(disk, pipe):
    """The disk is full for longer than a dead peer has to answer, and far more is to be sent than
    the network holds. Whoever waits is not dead: it is one connection, and each side says one line."""
    pipe.up()
    children = pipe.server.children()
    row = b"a row of sixty-four bytes, of which there are very, very many.\n"
    pipe.append(row * (LARGE // len(row)))
    pipe.client.wait_log("the other side waits: .*No space left on device")
    until = time.monotonic() + DEAD_AFTER + 10  # what is tried here is that nothing happens
    wait_until(lambda: time.monotonic() > until, "it is over already", DEAD_AFTER + 20)
    assert pipe.server.children() == children
    assert "connect" not in pipe.client.log
    assert pipe.client.log.count("the other side waits") == 1
    assert pipe.server.log.count("No space left") == 1
    disk(f"size={2 * LARGE}")
    pipe.arrives(seconds=60)
    pipe.client.wait_log("the other side goes on")


@pytest.mark.parametrize("killed", [False, True], ids=["running", "server killed"])
def test_full_disk_and_kill(disk, pipe, killed):
    """The same, and the server is killed and started again while the disk is full."""
    pipe.up()
    rows = b"".join(b"%07d row\n" % n for n in range(50_000))
    pipe.append(rows)
    pipe.server.wait_log("No space left on device")
    pipe.server.kill()
    if killed:
        pipe.client.kill()
    pipe.server.up()
    if killed:
        pipe.client.up()
    pipe.append(b"last\n")
    disk("size=4m")
    pipe.arrives(FIRST + rows + b"last\n")


def test_read_only(disk, pipe):
    """The archive's file system becomes read-only while nothing runs. The pipe is established all
    the same, and waits; it goes on when it can be written again."""
    pipe.up()
    pipe.client.down()
    pipe.server.down()
    append(pipe.origin, b"four\n")
    disk("ro")
    pipe.server.up()
    pipe.client.up()
    pipe.server.wait_log("waiting: Read-only file system")
    disk("rw")
    pipe.arrives(FIRST + b"four\n")


def test_directory_away(pipe):
    """The destination's directory is moved away while nothing runs, and a file stands in its
    place: the pipe waits until that is gone, and goes on where the copy ended."""
    pipe.up()
    pipe.client.down()
    pipe.server.down()
    away = pipe.stage.path / "away"
    os.rename(pipe.copy.parent, away)
    pipe.copy.parent.write_bytes(b"in the way")
    append(pipe.origin, b"four\n")
    pipe.server.up()
    pipe.client.up()
    pipe.server.wait_log("waiting: Not a directory")
    pipe.copy.parent.unlink()
    os.rename(away, pipe.copy.parent)
    pipe.arrives(FIRST + b"four\n")
