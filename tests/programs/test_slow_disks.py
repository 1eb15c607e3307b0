"""One slow disk stops one file: fetch_logs goes on with all others, whatever it waits for.

The disk is a real one that does not answer: a file system on a loop device, frozen by fsfreeze(8).
Whoever writes to it, renames there or makes it durable sleeps in the kernel, where no signal
reaches him, until it is thawed.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stage import Pull, append, content, wait_for_bytes, wait_until

OTHERS = 20
MEGABYTES = 24


class SlowDisk:
    """A disk of its own at `path`, which can be frozen."""

    def __init__(self, path):
        self.path = path
        self.frozen = False
        image = path.with_suffix(".img")
        path.mkdir()
        with open(image, "wb") as file:
            file.truncate(MEGABYTES << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        mounted = subprocess.run(["mount", "-o", "loop", image, path], capture_output=True)
        if mounted.returncode:
            pytest.skip("needs the right to mount a file system from a loop device")

    def freeze(self):
        """It does not answer any more."""
        subprocess.run(["fsfreeze", "-f", self.path], check=True)
        self.frozen = True

    def thaw(self):
        """It does again."""
        if self.frozen:
            self.frozen = False
            subprocess.run(["fsfreeze", "-u", self.path], check=True)

    def fill(self):
        """There is no room left."""
        with open(self.path / "junk", "wb", buffering=0) as file:
            for count in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(count))
                except OSError:
                    pass

    def close(self):
        """It is gone."""
        self.thaw()
        subprocess.run(["umount", "-l", self.path], check=True)


class Slow:
    """A Pull whose copy lies on a disk of its own, and others, served by the same fetch_logs."""

    def __init__(self, stage):
        self.stage = stage
        self.disk = SlowDisk(stage.path / "slow")
        stage.closing.append(self.disk.close)
        self.pull = Pull(stage, b"first\n", "slow.log", "127.0.0.1")
        self.pull.copy = self.disk.path / "copy" / "slow.log"
        self.pull.pointer = self.disk.path / "pointer"
        self.copies = stage.path / "copy"
        self.others = [stage.path / f"{number}.log" for number in range(OTHERS)]
        for origin in self.others:
            origin.write_bytes(b"first\n")
        pull = self.pull
        listed = [f'$files{{"{path}"}} = "{path}.*";' for path in [pull.origin, *self.others]]
        self.server = stage.numbers(pull.allowed, *listed, name="numbers")
        line = f"127.0.0.1 {stage.port} {pull.origin} {pull.copy} {pull.pointer}"
        self.lines = [
            f"127.0.0.1 {stage.port} {path} {self.copies / path.name} {path}.pointer"
            for path in self.others
        ]
        self.client = stage.fetcher(line, *self.lines)

    def up(self):
        """Start both sides."""
        self.server.up()
        self.client.up()
        return self

    def wait_for_the_disk(self):
        """Until somebody sleeps for it."""
        wait_until(lambda: self.sleepers, lambda: f"nobody waits for the disk: {self.client.log}")

    @property
    def sleepers(self):
        """How many threads of fetch_logs sleep until a file system is thawed."""
        number = 0
        for task in Path(f"/proc/{self.client.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                place = (task / "wchan").read_text()
                number += "rwsem" in place or "sb_start" in place
        return number

    def others_go_on(self, times=5):
        """All others get what is new, in so many rounds; the seconds that one takes at most."""
        longest = 0.0
        for number in range(times):
            began = time.monotonic()
            for origin in self.others:
                append(origin, b"line %d\n" % number)
            for origin in self.others:
                wait_for_bytes(self.copies / origin.name, origin.read_bytes())
            longest = max(longest, time.monotonic() - began)
        return longest


@pytest.fixture
def slow(stage, need):
    """A Slow; nothing is started yet."""
    need("root", "fsfreeze", "mkfs.ext4", "mount")
    return Slow(stage)


def appended(slow):
    """Its bytes come."""
    slow.pull.append(b"more\n")


def rotated(slow):
    """The origin is rotated, so the copy is set aside."""
    slow.pull.rotate(b"new\n")


def reopened(slow):
    """The copy is renamed, and fetch_logs is told."""
    slow.pull.append(b"more\n" * 1000)
    slow.client.signal(signal.SIGUSR1)


def taken_out(slow):
    """It is taken out of the configuration."""
    conf = slow.stage.path / "fetch_logs.conf"
    slow.pull.append(b"more\n")
    slow.wait_for_the_disk()
    conf.write_text("".join(f"{line}\n" for line in slow.lines))
    slow.client.hup()
    slow.client.wait_log("read again, 20 sources")


@pytest.mark.parametrize("event", [appended, rotated, reopened, taken_out])
def test_a_disk_that_does_not_answer(slow, event):
    """The others go on while one waits; it goes on itself when the disk does."""
    slow.up().pull.arrives()
    before = slow.pull.origin.read_bytes()
    if event is reopened:
        os.rename(slow.pull.copy, f"{slow.pull.copy}.1")
    slow.disk.freeze()
    event(slow)
    slow.wait_for_the_disk()
    slow.others_go_on()
    assert slow.sleepers  # still
    slow.disk.thaw()
    if event is reopened:
        wait_until(lambda: slow.pull.copy.exists(), "reopened")
        wait_until(
            lambda: (
                Path(f"{slow.pull.copy}.1").read_bytes() + slow.pull.copy.read_bytes()
                == slow.pull.origin.read_bytes()
            ),
            "both pieces are the origin",
        )
    elif event is rotated:
        slow.pull.mirrors(before, b"new\n")
    elif event is appended:
        slow.pull.arrives()
    slow.client.down()


def test_a_disk_that_does_not_answer_at_the_start(slow):
    """The others start, SNMP is told what is wrong, and the server goes on with the one, too."""
    slow.disk.freeze()
    slow.up()
    slow.wait_for_the_disk()
    slow.others_go_on()
    assert slow.sleepers  # still
    slow.client.wait_log("slow.log: waiting: a disk has not answered for .*; the others go on", 30)
    slow.pull.says("ERR .*a disk has not answered")
    slow.disk.thaw()
    slow.client.wait_log("slow.log: goes on")
    slow.pull.arrives()
    slow.pull.says("OK")
    assert len(re.findall("slow.log: connected to", slow.server.log)) <= 1
    slow.client.down()


def test_a_full_disk_that_does_not_answer(slow):
    """Both at the same time."""
    slow.up().pull.arrives()
    slow.disk.fill()
    slow.pull.append(b"x" * (1 << 20))
    slow.client.wait_log("slow.log: cannot append, waiting: No space left on device")
    slow.disk.freeze()
    slow.wait_for_the_disk()
    slow.others_go_on()
    assert slow.sleepers  # still
    slow.disk.thaw()
    os.unlink(slow.disk.path / "junk")
    slow.pull.arrives()
    slow.client.down()


def test_the_end_does_not_wait_for_a_disk(slow):
    """It says for which it does not; the kernel lets the process go with its last thread."""
    slow.up().pull.arrives()
    slow.disk.freeze()
    slow.pull.append(b"more\n")
    slow.wait_for_the_disk()
    slow.client.signal(signal.SIGTERM)
    slow.client.wait_log("slow.log a disk does not answer: ends without it", 30)
    slow.client.wait_log("ended")
    slow.disk.thaw()
    assert slow.client.wait() == 0
    slow.client.up()
    slow.pull.arrives()


@pytest.mark.parametrize("event", [appended, rotated])
def test_a_sync_that_takes_half_a_minute(slow, event, need):
    """Only one file's: strace(1) holds its fdatasync back. The end of a generation waits for it,
    and the others do not."""
    (strace,) = need("strace")
    seen = slow.stage.path / "strace.log"
    held = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=30000000"]
    slow.client.argv = [strace, "-f", "-o", seen, "-P", slow.pull.copy, *held, *slow.client.argv]
    slow.client.argv = [str(word) for word in slow.client.argv]
    slow.up()
    wait_until(lambda: b"fdatasync(" in content(seen), lambda: content(seen))
    event(slow)
    slow.others_go_on()
    assert b"DELAYED" not in content(seen)
