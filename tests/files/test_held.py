"""NULs at the end of a file that its writer prepares, and writes over later."""

import os

import pytest

from tcppipe.files.chain import Chain
from tcppipe.files.follower import Follower
from tcppipe.files.fs import REAL
from tcppipe.files.held import NEAR, HeldReader
from tcppipe.session.news import Began, Ended, LateBytes, Piece


@pytest.fixture
def log(tmp_path):
    """A file that is open for writing."""
    path = tmp_path / "app.log"
    with open(path, "w+b", buffering=0) as file:
        yield file


def put(file, data, at):
    """Write somewhere into a file."""
    os.pwrite(file.fileno(), data, at)


@pytest.mark.parametrize("room", [1, 4096, NEAR - 3, NEAR, 3 * NEAR + 1])
@pytest.mark.parametrize("prepare", [os.truncate, "fallocate", "zeros"])
def test_room_is_no_content(log, room, prepare):
    """However it was made, and however much there is; NULs between other bytes are content."""
    if prepare == "fallocate":
        os.posix_fallocate(log.fileno(), 0, room)
    elif prepare == "zeros":
        put(log, bytes(room), 0)
    else:
        prepare(log.fileno(), room)
    reader = HeldReader(log.name, REAL, live=True)
    assert reader.status()[0] == 0 and reader.holding
    assert reader.read(100, 0) == b"" and reader.generation().head_len == 0
    put(log, b"one\0two\0", 0)
    assert reader.status()[0] == 7
    assert reader.read(100, 0) == b"one\0two"
    put(log, b"three", 8)
    assert reader.read(100, 0) == b"one\0two\0three" and reader.status()[0] == 13
    assert reader.holding == (room > 13)
    reader.close()


def test_content_far_behind(log):
    """What stands behind a long run of NULs makes it content."""
    os.truncate(log.fileno(), 8 * NEAR)
    reader = HeldReader(log.name, REAL, live=True)
    put(log, b"one", 0)
    assert reader.status()[0] == 3
    put(log, b"far", 5 * NEAR)
    assert reader.status()[0] == 5 * NEAR + 3
    os.truncate(log.fileno(), 2)
    assert reader.status()[0] == 2 and not reader.holding
    reader.close()


def follow(follower, now):
    """The bytes that come, and whether the generation has ended."""
    data, ended = b"", False
    while (item := follower.next(now)) is not None:
        if isinstance(item, Piece):
            data += bytes(item.data)
        assert isinstance(item, (Piece, Began, Ended, LateBytes))
        ended = ended or isinstance(item, Ended)
    return data, ended


def test_a_life_with_room(log):
    """Room is made and filled, twice; the file is rotated with room at its end. As long as it has
    a writer the room is held back; then it is what the file holds."""
    follower = Follower(Chain(log.name, hold_nuls=True))
    os.truncate(log.fileno(), 1000)
    put(log, b"one\n", 0)
    assert follow(follower, 1.0) == (b"one\n", False)
    put(log, b"two\n", 4)
    assert follow(follower, 2.0) == (b"two\n", False)
    put(log, b"x" * 991, 8)
    os.truncate(log.fileno(), 2000)
    assert follow(follower, 3.0) == (b"x" * 991, False)
    assert follower.restless
    os.rename(log.name, f"{log.name}.1")
    assert follow(follower, 4.0) == (b"", False)
    put(log, b"last\n", 999)
    log.close()
    assert follow(follower, 5.0) == (b"last\n", False)
    assert follow(follower, 6.0) == (bytes(996), True)
    follower.chain.close()


def test_without_the_option(log):
    """NULs are bytes like others."""
    follower = Follower(Chain(log.name))
    os.truncate(log.fileno(), 10)
    assert follow(follower, 1.0) == (bytes(10), False)
    follower.chain.close()


def test_a_rotated_file_that_is_complete(log):
    """What nobody writes to any more is as it is, at once."""
    os.truncate(log.fileno(), 10)
    put(log, b"one", 0)
    name = log.name
    reader = HeldReader(name, REAL)
    assert reader.status()[0] == 3
    log.close()
    assert reader.status()[0] == 10 and not reader.holding
    assert reader.read(100, 0) == b"one" + bytes(7)
    reader.close()
