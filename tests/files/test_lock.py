"""The lock on a destination: what may stand in its place."""

import os

import pytest

from tcppipe.files.lock import holder, lock


def test_one_at_a_time_who_is_named(tmp_path):
    """Whoever comes second learns who has it, and has it when that one lets go."""
    path = str(tmp_path / "state" / "x.merge.lock")
    held = lock(path, who="a.log")
    assert holder(path) == "a.log"
    with pytest.raises(OSError, match="a.log writes to it"):
        lock(path, who="b.log")
    os.close(held)
    os.close(lock(path, who="b.log"))


@pytest.mark.parametrize("make", [os.link, os.symlink, "fifo"])
def test_what_somebody_has_planted_is_not_written_to(tmp_path, make):
    """A link to a file of somebody else, or something that is no file."""
    victim, path = tmp_path / "victim", tmp_path / "x.merge.lock"
    victim.write_bytes(b"precious")
    if make == "fifo":
        os.mkfifo(path)
    else:
        make(victim, path)
    with pytest.raises(OSError):
        lock(str(path), who="a.log")
    assert victim.read_bytes() == b"precious"
