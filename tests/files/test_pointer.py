"""The pointer file: what is read after a crash at any step."""

import os

import pytest

from tcppipe.files.pointer import Pointer


@pytest.fixture
def pointer(tmp_path):
    """A Pointer in a directory that does not exist yet."""
    return Pointer(str(tmp_path / "p" / "a"))


def test_missing(pointer):
    """Whatever is there."""
    assert pointer.read(5) == 0


@pytest.mark.parametrize("content, inode", [(b"17\n", 17), (b"17", 17), (b"", 0), (b"x\n", 0)])
def test_an_originals(pointer, tmp_path, content, inode):
    """A number, or nothing."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").write_bytes(content)
    assert pointer.read(5) == inode


def test_written(pointer, tmp_path):
    """One file, with a number and a newline."""
    pointer.write(17)
    pointer.write(18)
    assert pointer.read(5) == 18
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["a"]


@pytest.mark.parametrize("size, inode", [(5, 17), (0, 18)])
def test_a_crash_before_and_after_setting_aside(pointer, size, inode):
    """The local file's size tells which number is valid; what is left of the other is removed."""
    pointer.write(17)
    pointer.prepare(18)
    assert pointer.read(size) == inode
    assert pointer.read(0) == inode


def test_a_torn_next_number(pointer, tmp_path):
    """Half a number is none."""
    pointer.write(17)
    (tmp_path / "p" / ".a.new").write_bytes(b"1")
    assert pointer.read(0) == 17


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("a", path)])
def test_what_is_no_file_is_named(pointer, tmp_path, make):
    """Whoever reads the message has to know which of a source's files it is about; and nobody
    waits at a named pipe."""
    (tmp_path / "p").mkdir()
    make(pointer.path)
    with pytest.raises(OSError) as found:
        pointer.read(5)
    assert found.value.filename == pointer.path
