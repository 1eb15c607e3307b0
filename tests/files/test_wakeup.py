"""Notification that cannot be had, and that comes back."""

import errno
import os
import select
import sys

import pytest

from tcppipe.files import wakeup
from tcppipe.files.wakeup import AGAIN, Wakeup

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")


@pytest.fixture
def watches(monkeypatch):
    """How many watches there are left; whoever wants more is told so."""
    from tcppipe.files import inotify

    left = [1000]
    real = inotify.Inotify.add_watch

    def add_watch(self, path, mask):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        left[0] -= 1
        return real(self, path, mask)

    monkeypatch.setattr(inotify.Inotify, "add_watch", add_watch)
    return left


def told(notification):
    """True when it tells of something."""
    poll = select.poll()
    poll.register(notification.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def descriptors():
    """How many there are."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_watches_are_used_up_and_come_back(tmp_path, watches, left):
    """At the start, or when the file is rotated: it is said once, no descriptor is kept, and a minute
    after there are watches again it tells of everything as before."""
    path, said = tmp_path / "a.log", []
    path.write_bytes(b"one\n")
    watches[0] = left
    before = descriptors()
    notification = Wakeup(str(path), lambda *words: said.append(words))
    for number in range(3):
        os.rename(path, f"{path}.{number}")
        path.write_bytes(b"new\n")
        notification.watch()
    assert notification.fileno() == -1 and not notification.complete
    notification.drain()
    assert descriptors() == before
    text = f"{path}: no notification, looks every second: No space left on device"
    assert said == [("warning", text)]
    watches[0] = 1000
    now = wakeup.time.monotonic()
    notification.tend(now)
    assert notification.fileno() == -1
    notification.tend(now + AGAIN)
    assert said[1:] == [("info", f"{path}: notification again")]
    assert notification.complete
    assert not told(notification)
    with open(path, "ab") as file:
        file.write(b"more\n")
    assert told(notification)
    notification.close()
    assert descriptors() == before
