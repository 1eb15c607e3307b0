"""What a parent lets its children know."""

import os

import pytest

from tcppipe.process.shared import Shared


@pytest.mark.parametrize("memory", [True, False])
def test_a_child_learns_what_is_new(memory, monkeypatch):
    """A child sees each value that its parent puts there after the fork, the last one, once."""
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    shared = Shared()
    shared.put("known before")
    told, tell = os.pipe()
    said, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        while os.read(told, 1):
            os.write(say, repr((shared.news(), shared.news())).encode() + b"\n")
        os._exit(0)
    os.close(say)
    os.close(told)

    def ask():
        os.write(tell, b"x")
        return os.read(said, 1000).decode().strip()

    assert ask() == "(None, None)"
    shared.put(("a", ["\udcff", None, {"x": 1.5}]))
    shared.put(("b",))
    assert ask() == "(('b',), None)"
    os.close(tell)
    os.waitpid(pid, 0)
    os.close(said)


def test_half_a_value_is_none():
    """A parent that died while it wrote leaves no news."""
    shared, reader = Shared(), Shared()
    reader._fd = shared._fd
    shared.put("whole")
    assert reader.news() == "whole"
    shared.put("another")
    os.pwrite(shared._fd, b"\xff", 24)
    assert reader.news() is None
