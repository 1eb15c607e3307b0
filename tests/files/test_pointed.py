"""A name that is a pointer: which of the dated files it leads to."""

import os

import pytest

from tcppipe.files.chain import Chain
from tcppipe.files.guarded import Guarded, Pointed, Untrusted


@pytest.fixture
def said():
    """What was said."""
    return []


@pytest.fixture
def chain(tmp_path, said):
    """Follows the pointer `current` to one of app-DATE.log."""
    path, patterns = f"{tmp_path}/current", (f"{tmp_path}/app-*.log",)
    fs = Pointed(path, lambda level, text: said.append(text), patterns)
    chain = Chain(path, fs=fs, patterns=patterns)
    yield chain
    chain.close()


def dated(where, day, content=b"", age=0):
    """A dated file, last written to so many days ago."""
    path = where / f"app-2026-11-{day:02}.log"
    path.write_bytes(content or b"of %d\n" % day)
    if age:
        os.utime(path, ns=(0, 10**18 - age * 10**9))
    return path


def turn(where, target, hard=False):
    """The pointer leads to another file."""
    beside = where / "beside"
    (os.link if hard else os.symlink)(target, beside)
    os.replace(beside, where / "current")


def held(chain):
    """What the held files hold."""
    chain.look()
    return [reader.read(100, 0) for reader in chain.readers]


@pytest.mark.parametrize("hard", [False, True])
def test_a_pointer_that_is_turned(tmp_path, chain, hard):
    """It leads to one file after the other; what came between two looks is held as well."""
    turn(tmp_path, dated(tmp_path, 1), hard)
    assert held(chain) == [b"of 1\n"]
    for day in (2, 3):
        turn(tmp_path, dated(tmp_path, day), hard)
    assert held(chain) == [b"of 1\n", b"of 2\n", b"of 3\n"]
    assert chain.live is chain.readers[-1]


def test_a_relative_link(tmp_path, chain):
    """It counts from the directory of the pointer."""
    dated(tmp_path, 1)
    turn(tmp_path, "./app-2026-11-01.log")
    assert held(chain) == [b"of 1\n"]


@pytest.mark.parametrize("target", ["secret", "app-x/app-1.log", "app-x/../secret"])
def test_what_the_pattern_does_not_fit(tmp_path, chain, target):
    """A pointer leads to files of its pattern, and to nothing else."""
    (tmp_path / "app-x").mkdir()
    (tmp_path / "app-x" / "app-1.log").write_bytes(b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    turn(tmp_path, target)
    with pytest.raises(Untrusted, match="which its pattern does not fit"):
        chain.look()
    dated(tmp_path, 1)
    turn(tmp_path, "app-2026-11-01.log")
    assert held(chain) == [b"of 1\n"]


def test_a_dated_link_to_elsewhere(tmp_path, chain):
    """What it leads to has the right name, and is a link itself."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "app-2026-11-01.log").symlink_to(tmp_path / "secret")
    turn(tmp_path, "app-2026-11-01.log")
    with pytest.raises(Untrusted, match="has become a symbolic link"):
        chain.look()


@pytest.mark.parametrize("hard", [False, True])
def test_a_pointer_that_is_stuck(tmp_path, chain, said, hard):
    """Some programs turn their link once and never more: the newest file is followed, and a late
    line in the old one does not lead back."""
    turn(tmp_path, dated(tmp_path, 1), hard)
    assert held(chain) == [b"of 1\n"]
    dated(tmp_path, 2)
    assert held(chain) == [b"of 1\n", b"of 2\n"]
    dated(tmp_path, 1, b"of 1\nlate\n")
    dated(tmp_path, 3)
    dated(tmp_path, 1, b"of 1\nlater\n")
    assert held(chain)[1:] == [b"of 2\n", b"of 3\n"]
    assert len(said) == 1 and "still leads to" in said[0]


def test_a_file_of_a_wrong_clock(tmp_path, chain, said):
    """A name with a date to come, written before: the pointer is right."""
    dated(tmp_path, 30, age=5)
    turn(tmp_path, dated(tmp_path, 1))
    assert held(chain) == [b"of 1\n"]
    turn(tmp_path, dated(tmp_path, 2))
    assert held(chain)[-1] == b"of 2\n"
    assert not said


def test_a_name_that_is_no_pointer_and_leads_elsewhere(tmp_path, said, monkeypatch):
    """The link was resolved at the start. When it is turned, that is said once, and each hour."""
    now = [100.0]
    monkeypatch.setattr("tcppipe.files.guarded.time.monotonic", lambda: now[0])
    one, two = dated(tmp_path, 1), dated(tmp_path, 2)
    turn(tmp_path, one)
    fs = Guarded(str(one), lambda level, text: said.append(text), named=f"{tmp_path}/current")
    for _ in range(3):
        fs.stat(str(one))
    assert not said
    turn(tmp_path, two)
    for _ in range(3):
        fs.stat(str(one))
    assert len(said) == 1 and f"{tmp_path}/current leads to {two} now" in said[0]
    now[0] += 3601
    fs.stat(str(one))
    assert len(said) == 2
