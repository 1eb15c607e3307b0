"""Connecting without waiting: one address after the other."""

import ipaddress
import select
import socket

import pytest

from tcppipe.errors import LinkLost
from tcppipe.net.connect import CONNECT, Connecting, targets

HERE = ipaddress.ip_address("127.0.0.1")
OTHER = ipaddress.ip_address("127.0.0.2")


def writable(connecting):
    """Wait until there is something to say of the present address."""
    poll = select.poll()
    poll.register(connecting.fileno(), select.POLLOUT)
    assert poll.poll(5000)


@pytest.fixture
def listener():
    """Listens on HERE alone."""
    with socket.create_server((str(HERE), 0)) as sock:
        yield sock


def test_the_first_address(listener):
    """A link with the name that it was given."""
    connecting = Connecting(targets([HERE], listener.getsockname()[1]), "web1:19", 0.0)
    writable(connecting)
    link = connecting.ready(1.0)
    assert link.peer == "web1:19"
    connecting.close()
    link.send(b"x")
    assert listener.accept()[0].recv(1) == b"x"
    link.close()


def test_the_second_address(listener):
    """One that refuses is followed by the next."""
    connecting = Connecting(targets([OTHER, HERE], listener.getsockname()[1]), "web1", 0.0)
    writable(connecting)
    assert connecting.ready(1.0) is None
    assert connecting.sockets == 2 and connecting.until == 1.0 + CONNECT
    writable(connecting)
    connecting.ready(2.0).close()


def test_no_address_left(listener):
    """The last one's reason is told."""
    connecting = Connecting(targets([OTHER], listener.getsockname()[1]), "web1", 0.0)
    writable(connecting)
    with pytest.raises(LinkLost, match="cannot connect to web1: Connection refused"):
        connecting.ready(1.0)


def test_an_address_that_does_not_answer(listener):
    """It is given up after its time, not before."""
    connecting = Connecting(targets([HERE], listener.getsockname()[1]), "web1", 0.0)
    connecting.tend(CONNECT - 0.1)
    with pytest.raises(LinkLost, match="no answer"):
        connecting.tend(CONNECT)
