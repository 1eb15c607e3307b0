"""Waiting for descriptors, also with fewer than are open."""

import os
import resource
import select
import subprocess
import sys
import time

import pytest

from tcppipe.net.poll import Poll

FEWER = """
import os, resource, select, sys
from tcppipe.net.poll import Poll
reading, writing = os.pipe()
others = os.pipe()
resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
poll = Poll()
poll.register(reading, select.POLLIN)
poll.register(writing, select.POLLOUT)
poll.register(others[1], 0)
assert dict(poll.poll(0)) == {writing: select.POLLOUT}
os.write(writing, b"x")
assert dict(poll.poll(0)) == {reading: select.POLLIN, writing: select.POLLOUT}
os.close(others[0])
assert others[1] in dict(poll.poll(0))
"""


def test_as_poll():
    """It tells what poll(2) tells, and waits as long."""
    reading, writing = os.pipe()
    poll = Poll()
    poll.register(reading, select.POLLIN)
    began = time.monotonic()
    assert poll.poll(50) == []
    assert time.monotonic() - began >= 0.045
    poll.register(writing, select.POLLOUT)
    assert poll.poll(1000) == [(writing, select.POLLOUT)]
    os.close(writing)
    assert dict(poll.poll(1000))[reading] == select.POLLHUP
    os.close(reading)
    assert dict(poll.poll(0))[reading] == select.POLLNVAL


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 20, reason="there are few as it is"
)
def test_with_fewer_than_are_open():
    """RLIMIT_NOFILE is below what is waited for: poll(2) would refuse."""
    done = subprocess.run([sys.executable, "-c", FEWER], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
