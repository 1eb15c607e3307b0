"""The status file: what it says, what others wrote into it, and what a crash can leave."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcppipe.cursor import UNKNOWN, Cursor, Generation
from tcppipe.files.fs import FS
from tcppipe.files.status import LENGTH, StatusFile, parse, render

HERE = Cursor(Generation(64768, 1311, 7, 1_700_000_000_123_456_789, 1024, bytes(range(32))), 123456)
LARGEST = Cursor(Generation(*[2**64 - 1] * 4, 1024, b"\xff" * 32), 2**63 - 1)


@pytest.fixture
def path(tmp_path):
    """Where the status file is; its directory is not there yet."""
    return str(tmp_path / "run" / "x.pipe")


def put(path, content):
    """A file of this content."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def test_a_device_is_no_empty_file(path):
    """Whoever links it to the null device, to have none, does not ask for the whole file again."""
    os.makedirs(os.path.dirname(path))
    os.symlink(os.devnull, path)
    assert StatusFile(path).read() == (None, False)


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_what_somebody_has_planted_is_not_written_to(path, tmp_path, make):
    """Under the name that a new status file has at first, there stands another's file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.makedirs(os.path.dirname(path))
    make(victim, path + ".new")
    StatusFile(path).save(HERE)
    assert victim.read_bytes() == b"precious"
    assert StatusFile(path).read() == (HERE, False)
    assert os.stat(path).st_nlink == 1


@pytest.mark.parametrize("cursor", [HERE, LARGEST, Cursor(UNKNOWN, 0)])
def test_round_trip(path, cursor):
    """What was saved is read, and people find the offset in the first line."""
    status = StatusFile(path)
    status.save(cursor, "/var/log/a.log")
    assert StatusFile(path).read() == (cursor, False)
    with open(path, "rb") as file:
        content = file.read()
    assert content.split(b"\n")[0] == b"%d" % cursor.offset
    assert b"/var/log/a.log" in content and len(content) == LENGTH


def test_saved_again_in_place(path):
    """Always the same length, the same file."""
    status = StatusFile(path)
    status.save(LARGEST)
    inode = os.stat(path).st_ino
    for offset in (0, 10**15, 7):
        status.save(HERE._replace(offset=offset), "x" * 5000)
        assert StatusFile(path).read() == (HERE._replace(offset=offset), False)
        assert os.path.getsize(path) == LENGTH and os.stat(path).st_ino == inode


def test_missing():
    """Nothing is known, and nothing asked for."""
    assert StatusFile("/nonexistent/x").read() == (None, False)


def test_empty_means_once_more(path):
    """The administrator's way to ask for the whole file."""
    put(path, b"")
    assert StatusFile(path).read() == (None, True)


def test_emptied_while_it_is_written(path):
    """The next saving makes it whole again."""
    status = StatusFile(path)
    status.save(HERE)
    os.truncate(path, 0)
    assert StatusFile(path).read() == (None, True)
    status.save(HERE._replace(offset=5))
    assert StatusFile(path).read() == (HERE._replace(offset=5), False)
    assert os.path.getsize(path) == LENGTH


def test_removed_while_it_is_written(path):
    """It is made again."""
    status = StatusFile(path)
    status.save(HERE)
    os.unlink(path)
    status.save(HERE._replace(offset=5))
    assert StatusFile(path).read()[0].offset == 5


def test_the_same_cursor_is_not_written_again(path):
    """No change, no write."""
    status = StatusFile(path)
    status.save(HERE)
    put(path, b"")
    status.save(HERE)
    assert os.path.getsize(path) == 0


@pytest.mark.parametrize("content", [b"1234\n", b"1234", b" 1234\n", b"1234\n\n"])
def test_an_originals_file(path, content):
    """The offset and a newline: a generation nobody knows."""
    put(path, content)
    assert StatusFile(path).read() == (Cursor(UNKNOWN, 1234), False)


def test_an_originals_file_under_its_old_name(path, tmp_path):
    """Is read while there is none of ours."""
    put(path + ".old", b"77\n")
    status = StatusFile(path, original=path + ".old")
    assert status.read() == (Cursor(UNKNOWN, 77), False)
    status.save(HERE)
    assert status.read() == (HERE, False)


def test_an_originals_empty_file(path):
    """Asks for the whole file as well."""
    put(path + ".old", b"")
    assert StatusFile(path, original=path + ".old").read() == (None, True)


@pytest.mark.parametrize(
    "content",
    [
        b"\n", b"\0" * LENGTH, b"abc\n", b"-5\n", b"1e5\n", b"9" * 20 + b"\n", b"\xff\xfe",
        b"12\nnonsense\n", b"12\n1 2 3 4 5 00\n00000000\n", b"12\n1 2 3\n",
    ],
)  # fmt: skip
def test_garbled(path, content):
    """Is as if missing: it neither repeats nor skips a byte."""
    put(path, content)
    assert StatusFile(path).read() == (None, False)


def test_a_flipped_bit_is_found():
    """In the numbers that name the generation, or in the offset."""
    content = render(HERE)
    for at in range(content.index(b"\n", content.index(b"\n") + 1)):
        for bit in (1, 2, 4):
            spoilt = bytearray(content)
            spoilt[at] ^= bit
            assert parse(bytes(spoilt)) in (None, HERE), at


@settings(deadline=None, database=None)
@given(st.binary(max_size=200))
def test_any_content_is_harmless(content):
    """Whatever stands there."""
    cursor = parse(content)
    assert cursor is None or cursor.offset >= 0


def test_a_directory_in_its_place(path):
    """Cannot be read: as if missing."""
    os.makedirs(path)
    assert StatusFile(path).read() == (None, False)


class Counting(FS):
    """Looks at the file after each call that could change it."""

    def __init__(self, path):
        self.path = path
        self.seen = []

    def _look(self):
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                self.seen.append(file.read())

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name in ("open", "write", "pwrite", "ftruncate", "fsync", "rename", "close"):

            def looked(*args, **kw):
                result = value(*args, **kw)
                self._look()
                return result

            return looked
        return value


def test_never_empty_on_disk(path):
    """Killed between any two calls it is missing, or whole: never a wish for the whole file."""
    fs = Counting(path)
    for start in (False, True):  # the second round finds the first one's file
        status = StatusFile(path, fs=fs)
        for offset in (1, 2, 3):
            status.save(HERE._replace(offset=offset + start * 10))
        status.close()
    assert {len(content) for content in fs.seen} == {LENGTH}
    offsets = [parse(content).offset for content in fs.seen]
    assert offsets == sorted(offsets) and set(offsets) == {1, 2, 3, 11, 12, 13}
