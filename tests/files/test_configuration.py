"""A configuration file is read while a server serves: nothing is waited for, and not without end."""

import os
import socket

import pytest

from tcppipe.errors import Unreadable
from tcppipe.files import configuration


def test_what_stands_in_it(tmp_path):
    """Bytes, as the system's own names are text, and without a byte order mark."""
    path = tmp_path / "conf"
    path.write_bytes(b"\xef\xbb\xbfa \xff\r\n")
    assert os.fsencode(configuration.read(path)) == b"a \xff\r\n"


def test_the_null_device_is_an_empty_one():
    """As of other programs: -f /dev/null."""
    assert configuration.read(os.devnull) == ""


def _named_pipe(path):
    os.mkfifo(path)


def _device(path):
    path.symlink_to("/dev/zero")


def _socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _too_much(path):
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize(
    "make, why",
    [
        (_named_pipe, "Not a regular file"),
        (_device, "Not a regular file"),
        (_socket, "No such device or address"),
        (os.mkdir, "Is a directory"),
        (_too_much, "larger than 16 MiB"),
        (lambda path: path.symlink_to(path.name), "leads in a circle"),
        (lambda path: None, "No such file or directory"),
    ],
)
def test_what_is_no_configuration_holds_nobody_up(tmp_path, make, why):
    """Whatever stands there by mistake, a server goes on with what it has, and says why."""
    path = tmp_path / "conf"
    make(path)
    with pytest.raises(Unreadable, match=f"^{path}: cannot read: .*{why}"):
        configuration.read(str(path))
