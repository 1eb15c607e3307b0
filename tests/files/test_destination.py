"""One destination file on a real disk: made, appended to, cut, found when rotated."""

import os
import socket
import stat

import pytest

from tcppipe.errors import ConfigError
from tcppipe.files.aside import free_name
from tcppipe.files.destination import Destination
from tcppipe.files.owners import look_up_owner


@pytest.fixture
def path(tmp_path):
    """Where the destination is to be; its directories are not there yet."""
    return str(tmp_path / "deep" / "er" / "a.log")


def opened(path, **kw):
    """An open Destination."""
    destination = Destination(path, **kw)
    destination.open()
    return destination


def content(path):
    """The bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def test_made_with_its_directories(path):
    """A missing destination is made empty, readable for the group and nobody else."""
    opened(path)
    assert content(path) == b""
    assert stat.S_IMODE(os.stat(path).st_mode) & ~0o640 == 0


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o640])
def test_mode(path, mode):
    """What the configuration says, whatever the umask."""
    old = os.umask(0o077)
    try:
        opened(path, mode=mode)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_an_existing_file_keeps_its_mode(path):
    """Only a file that is made here is dressed."""
    os.makedirs(os.path.dirname(path))
    with open(path, "w"):
        os.chmod(path, 0o604)
    opened(path, mode=0o600)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o604


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_given_by_root(path):
    """User and group by number."""
    opened(path, owner="1:2")
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1, 2)


def test_owner(path):
    """Our own user is always possible."""
    opened(path, owner=f"{os.geteuid()}:{os.getegid()}")
    assert os.stat(path).st_uid == os.geteuid()


@pytest.mark.parametrize("owner", ["no-such-user-here", "0:no-such-group-here"])
def test_an_unknown_owner_leaves_nothing_behind(path, owner):
    """It is a mistake in the configuration; no file of the wrong owner stays."""
    for _ in range(2):
        with pytest.raises(ConfigError, match="no-such"):
            opened(path, owner=owner)
    assert not os.path.exists(path)


def test_owners_are_looked_up():
    """Names and numbers; a missing group is left as it is."""
    assert look_up_owner("12:34") == (12, 34)
    assert look_up_owner("12") == (12, -1)
    assert look_up_owner("root")[0] == 0


@pytest.mark.parametrize("owner", ["4294967295", "1:4294967296", "9" * 5000, "²"])
def test_numbers_that_no_owner_has(owner):
    """Too large for the system, or no number at all."""
    with pytest.raises(ConfigError, match="this system has no"):
        look_up_owner(owner)


def test_a_symbolic_link_is_refused(path):
    """It could lead anywhere; what it leads to is not touched."""
    os.makedirs(os.path.dirname(path))
    os.symlink(path + ".target", path)
    with pytest.raises(ConfigError, match="a symbolic link"):
        opened(path)
    assert not os.path.lexists(path + ".target")


def test_a_directory_is_refused(path):
    """It never can be a destination."""
    os.makedirs(path)
    with pytest.raises(ConfigError, match="a directory"):
        opened(path)


def test_a_fifo_is_refused(path):
    """Without waiting for its reader."""
    os.makedirs(os.path.dirname(path))
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="a FIFO"):
        opened(path)


def test_a_device_is_refused():
    """Even one that takes everything."""
    with pytest.raises(ConfigError, match="a device"):
        opened("/dev/null")


def test_a_socket_is_no_destination(tmp_path):
    """It cannot be opened."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        with pytest.raises((ConfigError, OSError)):
            opened(path)


def test_append_tells_where(path):
    """Also when somebody else has written in between."""
    destination = opened(path)
    assert destination.append(b"abc") == (0, 3)
    with open(path, "ab") as other:
        other.write(b"foreign")
    assert destination.append(b"de") == (10, 2)
    assert content(path) == b"abcforeignde" and destination.size() == 12
    assert destination.read(7, 3) == b"foreign"


@pytest.mark.parametrize("keep", [0, 1, 5000, 9999])
def test_cut_keeps_the_bytes_beside(path, keep):
    """Nothing that stands in a destination is destroyed."""
    data = os.urandom(10000)
    destination = opened(path)
    destination.append(data)
    kept = destination.cut(keep)
    assert content(path) == data[:keep] and content(kept) == data[keep:]
    assert os.path.dirname(kept) == os.path.dirname(path)
    assert os.stat(path).st_ino == destination.ino
    destination.append(b"on")
    assert content(path) == data[:keep] + b"on"


def test_every_cut_has_its_own_file(path):
    """Two in one second as well."""
    destination = opened(path)
    kept = set()
    for n in range(3):
        destination.append(b"%d" % n)
        kept.add(destination.cut(0))
    assert sorted(content(name) for name in kept) == [b"0", b"1", b"2"]


def test_what_cuts_kept_is_no_rotated_file_to_append_to(path):
    """A cut file is found by no inode but its own."""
    destination = opened(path)
    destination.append(b"abc")
    destination.cut(1)
    assert not destination.open_rotated(destination.dev, 0)


def test_free_names(tmp_path):
    """Never one that exists, or that a compressor has taken and would take again."""
    base, names = str(tmp_path / "x"), set()
    for extension in ("", ".gz", ".zst", ".lz4"):
        name = free_name(base)
        assert name not in names
        names.add(name)
        with open(name + extension, "w"):
            pass


def test_moved(path):
    """The name leads elsewhere, or nowhere."""
    destination = opened(path)
    assert not destination.moved()
    os.rename(path, path + ".1")
    assert destination.moved()
    with open(path, "w"):
        assert destination.moved()
    destination.open()
    assert not destination.moved() and os.path.getsize(path) == 0


def test_a_rotated_file_is_found(path):
    """By its inode, among whatever else stands beside it."""
    destination = opened(path)
    destination.append(b"old")
    dev, ino = destination.dev, destination.ino
    os.rename(path, path + "-20261120")
    for name in (".1", ".2.gz", "-20261119", ".dir/x"):
        os.makedirs(os.path.dirname(path + name), exist_ok=True)
        with open(path + name, "w") as file:
            file.write(name)
    destination = opened(path)
    assert destination.open_rotated(dev, ino)
    assert destination.read(10, 0) == b"old" and destination.ino == ino
    assert not destination.open_rotated(dev, 1)
    assert destination.read(10, 0) == b"old"


def test_other_things_beside_do_not_stop_the_search(path):
    """A symbolic link to the current file, say, or one that leads nowhere."""
    destination = opened(path)
    destination.append(b"old")
    dev, ino = destination.dev, destination.ino
    os.rename(path, path + ".1")
    with open(path + ".latest", "w"):
        pass
    os.symlink(path + ".1", path + ".current")
    os.symlink(path + ".nowhere", path + ".dangling")
    os.mkfifo(path + ".fifo")
    destination = opened(path)
    assert destination.open_rotated(dev, ino)
    assert destination.read(10, 0) == b"old"


def test_closing_twice(path):
    """Does no harm."""
    destination = opened(path)
    destination.close()
    destination.close()
    assert destination.fd == -1
