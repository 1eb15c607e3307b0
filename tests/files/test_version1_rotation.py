"""Version 1's rotation at the sink: the process dies at every call, and no byte is there twice.

The server is a rule: whoever has all of the old generation gets the new one.
"""

import pytest

from tcppipe.cursor import UNKNOWN
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.fs import REAL
from tcppipe.files.pointer import Pointer
from tcppipe.wire.events import Begin, Why

OLD, NEW = 17, 18
CONTENT = {OLD: b"old generation\n", NEW: b"the new one\n"}


class DiedError(BaseException):
    """The process is gone."""


class Mortal:
    """A file system on which the process dies before call number `last`."""

    def __init__(self, last):
        self.calls = 0
        self._last = last

    def __getattr__(self, name):
        real = getattr(REAL, name)

        def call(*args, **kw):
            self.calls += 1
            if self.calls == self._last:
                raise DiedError
            return real(*args, **kw)

        return call


def connect(local, pointer_path, ledger, fs):
    """One connection, as fetch_logs does it: True when the server has nothing more."""
    size = local.stat().st_size if local.exists() else 0
    pointer = Pointer(str(pointer_path), fs)
    inode = pointer.read(size)
    offset = size if inode else 0
    served = inode or OLD
    if served == OLD and offset == len(CONTENT[OLD]):
        served, offset = NEW, 0
    if served != inode:
        offset = 0
        pointer.prepare(served)
    copy = Copy(Destination(str(local), fs=fs), str(ledger), lambda *_: None, fs, mirror=True)
    copy.open()
    if served != inode:
        copy.begin(Begin(Why.FRESH, UNKNOWN, 0))
        pointer.commit()
    else:
        assert copy.destination.size() == offset
        copy.begin_lines()
    copy.append(0, CONTENT[served][offset:][:8])
    copy.sync()
    copy.append(8, CONTENT[served][offset:][8:])
    copy.close(clean=True)
    return served == NEW


def life(where, last):
    """Fetch both generations, and die once; how many calls that took."""
    where.mkdir()
    local, pointer, ledger = where / "a.log", where / "a.ptr", where / "state" / "a.ledger"
    fs = Mortal(last)
    for _ in range(9):
        try:
            if connect(local, pointer, ledger, fs):
                break
        except DiedError:
            pass
    pieces = [path.read_bytes() for path in sorted(where.glob("a.log*"), reverse=True)]
    assert pieces == [CONTENT[OLD], CONTENT[NEW]], (last, pieces)
    assert pointer.read_bytes() == b"18\n"
    return fs.calls


def test_death_at_every_call(tmp_path):
    """Both pieces are what the server has, whenever the process died."""
    calls = life(tmp_path / "0", 0)
    assert calls > 40
    for last in range(1, calls + 1):
        life(tmp_path / str(last), last)


@pytest.mark.parametrize("last", [0, 5])
def test_a_second_life_changes_nothing(tmp_path, last):
    """A connection that has nothing new leaves all as it is."""
    life(tmp_path / "a", last)
    where = tmp_path / "a"
    connect(where / "a.log", where / "a.ptr", where / "state" / "a.ledger", REAL)
    assert (where / "a.log").read_bytes() == CONTENT[NEW]
