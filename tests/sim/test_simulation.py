"""The simulated world itself is as unkind as it says."""

import errno
import os
import random

import pytest
from simfs import PAGE, SimFS
from simnet import SimSocket
from simworld import EVENTS, NOT_YET, QUIET, TRAITS, World

from tcppipe.net.link import Link


@pytest.fixture
def fs():
    """A disk."""
    return SimFS(random.Random(1))


def opened(fs, data=b""):
    """A descriptor of a file that holds this, durably."""
    fs.put("/a/file", data)
    return fs.open("/a/file", os.O_RDWR | os.O_APPEND)


def stored(fs):
    """What a power cut would leave in any case."""
    return fs._names["/a/file"].durable


def fails(call, *args):
    """The errno of a call that fails."""
    with pytest.raises(OSError) as caught:
        call(*args)
    return caught.value.errno


def test_a_failed_sync_harms_nothing_that_can_be_seen(fs):
    """What is read is what was written; the next sync succeeds, and pages are missing."""
    fd, data = opened(fs), bytes(range(1, 251)) * 4
    fs.write_all(fd, data)
    fs.failing = {"fdatasync": errno.EIO}
    assert fails(fs.fdatasync, fd) == errno.EIO
    fs.failing = {}
    fs.fdatasync(fd)
    assert fs.pread(fd, len(data), 0) == data
    lost = [at for at in range(0, len(data), PAGE) if stored(fs)[at : at + PAGE] == bytes(PAGE)]
    assert lost and len(stored(fs)) == len(data)
    fs.short_of_memory()
    assert fs.pread(fd, len(data), 0) == stored(fs) != data


def test_what_is_written_again_is_durable_after_all(fs):
    """Page by page, as the kernel has it."""
    fd, data = opened(fs), b"x" * 1000
    fs.write_all(fd, data)
    fs.failing = {"fsync": errno.ENOSPC}
    fails(fs.fsync, fd)
    fs.failing = {}
    fs.pwrite(fd, data, 0)
    fs.fsync(fd)
    assert stored(fs) == data


def test_a_write_back_that_fails_is_told_once(fs):
    """By the next sync, to whoever makes it."""
    fd = opened(fs)
    fs.write_all(fd, b"data")
    fs.write_back_fails("/a/file")
    assert fails(fs.fdatasync, fd) == errno.EIO
    fs.fdatasync(fd)


def test_a_cut_is_durable_with_the_next_sync(fs):
    """And what was appended behind it, too."""
    fd = opened(fs, b"a" * 200)
    fs.ftruncate(fd, 70)
    fs.write_all(fd, b"b" * 10)
    assert stored(fs) == b"a" * 200
    fs.fdatasync(fd)
    assert stored(fs) == b"a" * 70 + b"b" * 10


def test_negative_offsets_are_refused(fs):
    """As the kernel refuses them."""
    fd = opened(fs, b"data")
    for call, *args in (
        (fs.pread, fd, 1, -1), (fs.preadv, fd, [bytearray(1)], -1), (fs.pwrite, fd, b"x", -1),
        (fs.ftruncate, fd, -1),
    ):  # fmt: skip
        assert fails(call, *args) == errno.EINVAL


def test_a_link_keeps_views_until_there_is_room():
    """Whatever becomes of the memory meanwhile is what arrives."""
    here, there = (SimSocket(random.Random(1), float, 10, None) for _ in range(2))
    here.other, there.other = there, here
    link, memory = Link(here, "there"), bytearray(b"a" * 30)
    link.send(memory)
    assert link.pending
    memory[:] = b"b" * 30
    arrived, buffer = b"", memoryview(bytearray(100))
    while link.pending or there.inbox:
        arrived += bytes(buffer[: there.recv_into(buffer)])
        link.flush()
    assert arrived.startswith(b"a") and arrived.endswith(b"b" * 15) and len(arrived) == 30


def test_each_event_is_something():
    """A step of the world, or what a life is like; and each that is left out has a reason."""
    for name in EVENTS:
        assert name in TRAITS or callable(getattr(World, name)), name
    assert set(NOT_YET) <= set(EVENTS) and all(NOT_YET.values())
    assert QUIET <= set(EVENTS)
