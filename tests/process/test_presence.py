"""Whoever runs is found, also when somebody has removed the file that says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tcppipe.process import presence, report
from tcppipe.process.owner import owner
from tcppipe.process.pidfile import PidFile

HOLD = """
import sys
from tcppipe.process.pidfile import PidFile
with PidFile(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def said(monkeypatch):
    """All that is said."""
    lines = []
    monkeypatch.setattr(report, "warning", lines.append)
    monkeypatch.setattr(presence._trouble, "_say", lambda _level, text: lines.append(text))
    return lines


@pytest.fixture
def pidfile(tmp_path, said):
    """A held pid file's path, in a directory of its own; this process watches it."""
    (tmp_path / "run").mkdir()
    path = str(tmp_path / "run" / "a.pid")
    with PidFile(path) as file:
        presence.begins(file)
        presence._look_at = 0.0
        yield path
        presence.ends()


@pytest.mark.parametrize("what", ["the directory", "the pid file", "the lock"])
def test_what_was_removed_is_there_again(pidfile, said, what):
    """By a rule for old files, or with the directory of a unit that has ended."""
    if what == "the directory":
        shutil.rmtree(os.path.dirname(pidfile))
    else:
        os.unlink(pidfile if what == "the pid file" else pidfile[:-4] + ".lock")
    presence.look(1.0)
    assert Path(pidfile).read_text() == f"{os.getpid()}\n"
    asked = [
        sys.executable,
        "-c",
        f"from tcppipe.process.owner import owner; print(owner({pidfile!r}))",
    ]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout == f"{os.getpid()}\n"
    assert said == [f"{pidfile}: was removed by somebody; made again"]
    presence.look(3.0)
    assert len(said) == 1


def test_what_cannot_be_made_again_is_said_once(pidfile, said):
    """And tried until it can."""
    directory = os.path.dirname(pidfile)
    shutil.rmtree(directory)
    Path(directory).write_text("in the way")
    for second in range(1, 10):
        presence.look(second * 2.0)
    assert len(said) == 1 and "was removed by somebody, and cannot be made again: " in said[0]
    os.unlink(directory)
    presence.look(30.0)
    assert owner(pidfile) == os.getpid()
    assert said[-1] == f"{pidfile}: says again who runs, after 28 s"


def test_somebody_else_was_started_meanwhile(pidfile, said):
    """There are two now: that is said, and neither is disturbed until one of them ends."""
    shutil.rmtree(os.path.dirname(pidfile))
    os.mkdir(os.path.dirname(pidfile))
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, pidfile], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    for second in range(1, 10):
        presence.look(second * 2.0)
    assert owner(pidfile) == other.pid
    (line,) = said
    assert (
        f"process {other.pid} has made another: end one of both, me by kill {os.getpid()}" in line
    )
    other.communicate()
    presence.look(30.0)
    assert owner(pidfile) == os.getpid()


def test_a_child_leaves_it_to_its_parent(pidfile):
    """What it has inherited is not its own."""
    os.unlink(pidfile)
    pid = os.fork()
    if pid == 0:
        presence.look(1.0)
        os._exit(os.path.exists(pidfile))
    assert os.waitpid(pid, 0)[1] == 0
