"""A peer that is alive and takes nothing for now is not dead; one that is gone is noticed."""

import ctypes
import fcntl
import os
import socket
import struct
import sys
import time

import pytest

from tcppipe.net import link
from tcppipe.net.link import Link

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1


def loopback(up):
    """Switch the loopback interface on or off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = struct.pack("16sh14x", b"lo", IFF_UP if up else 0)
        fcntl.ioctl(sock, SIOCSIFFLAGS, flags)


def connected():
    """A Link that has sent until nothing more was taken, and its other end, which does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    one = Link(sock, "peer")
    while not one.pending:
        one.send(bytes(1 << 20))
    return one, other


def becomes_silent(one, seconds):
    """True when a link becomes silent within so many seconds."""
    until = time.monotonic() + seconds
    while not one.silent and time.monotonic() < until:
        time.sleep(0.01)
    return one.silent


def test_who_takes_nothing_is_alive(monkeypatch):
    """For longer than a dead one has."""
    monkeypatch.setattr(link, "DEAD_AFTER", 0.5)
    one, other = connected()
    assert not becomes_silent(one, 2.0)
    one.close()
    other.close()


def test_who_is_gone_is_noticed(monkeypatch):
    """In a network of its own, whose line is cut."""
    monkeypatch.setattr(link, "DEAD_AFTER", 0.5)
    if os.geteuid() != 0:
        pytest.skip("needs root")
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
            loopback(True)
            one, _other = connected()
            loopback(False)
            status = 0 if becomes_silent(one, 60.0) else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
