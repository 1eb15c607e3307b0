"""The children that a process has forked."""

import os
import select
import signal

import pytest

from tcppipe.process.children import Children


@pytest.fixture
def fork():
    """Forks children that end with a status when told to, or are killed at the end."""
    pids, gates = [], []

    def child(status=0):
        gate, ours = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(ours)
            os.read(gate, 1)
            os._exit(status)
        os.close(gate)
        pids.append(pid)
        gates.append(ours)
        return pid, ours

    yield child
    for ours in gates:
        os.close(ours)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def gone(pid):
    """Wait until a child has ended, and leave it to be reaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_no_children():
    """Without children there is nothing to reap, to signal or to count."""
    children = Children()
    assert children.reap() == []
    children.signal_all(signal.SIGTERM)
    assert len(children) == 0
    assert list(children) == []


def test_reap(fork):
    """Those that have ended are given with status and note; the others stay."""
    children = Children()
    (first, gate), (second, _) = fork(3), fork()
    children.add(first, "first")
    children.add(second, "second")
    assert children.reap() == []
    os.write(gate, b"x")
    gone(first)
    assert children.reap() == [(first, 3, "first")]
    assert list(children) == [(second, "second")]
    assert second in children
    assert first not in children


def test_signal_all(fork):
    """Everyone gets the signal, and a status below zero names it."""
    children = Children()
    pids = [fork()[0] for _ in range(3)]
    for pid in pids:
        children.add(pid, f"pipe of {pid}")
    children.signal_all(signal.SIGKILL)
    for pid in pids:
        gone(pid)
    children.signal_all(signal.SIGTERM)
    assert sorted(children.reap()) == [(pid, -9, f"pipe of {pid}") for pid in sorted(pids)]
    assert len(children) == 0


def test_unknown_child(fork):
    """A child that nobody has added does not stay a zombie."""
    children = Children()
    pid, gate = fork(4)
    os.write(gate, b"x")
    gone(pid)
    assert children.reap() == [(pid, 4, None)]


def test_reaping_while_iterating(fork):
    """The list that one walks through is that of the beginning."""
    children = Children()
    for _ in range(3):
        children.add(fork()[0])
    for pid, _note in children:
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        children.reap()
    assert len(children) == 0


def test_child_forgets_its_siblings(fork):
    """A child that signals all its children does not hit its siblings."""
    children = Children()
    sibling, _ = fork()
    children.add(sibling)
    alive = os.pidfd_open(sibling) if hasattr(os, "pidfd_open") else None
    pid = os.fork()
    if pid == 0:
        children.forget()
        children.signal_all(signal.SIGKILL)
        os._exit(len(children))
    assert os.waitpid(pid, 0)[1] == 0
    assert children.reap() == []
    assert len(children) == 1
    if alive is not None:
        assert select.select([alive], [], [], 0)[0] == []
        os.close(alive)
