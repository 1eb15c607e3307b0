"""Signals as something to read."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tcppipe.process.signals import Signals

ROOT = Path(__file__).parents[2]
HUP, USR1, USR2 = signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture
def signals():
    """HUP, USR1 and USR2, to be read."""
    signals = Signals([HUP, USR1, USR2])
    yield signals
    signals.close()


def wait(signals, seconds=30):
    """True when there is something to take within that time."""
    return bool(select.select([signals], [], [], seconds)[0])


def send(*signums):
    """Signals to this very process."""
    for signum in signums:
        os.kill(os.getpid(), signum)


HELD = """
import os, signal
from tcppipe.process.signals import Signals, hold, let_go
hold()
for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
    os.kill(os.getpid(), signum)
"""


def run(program, **more):
    """Run lines of Python that stand behind those of HELD: a CompletedProcess."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", HELD + program], env=env, text=True, capture_output=True, **more
    )


def test_what_came_too_early():
    """What is asked for is there when it can be answered; what is not is forgotten."""
    done = run("print(*map(int, Signals([signal.SIGHUP, signal.SIGUSR1]).take()))")
    assert set(map(int, done.stdout.split())) == {HUP, USR1}, done


def test_what_came_too_early_for_nobody():
    """Who will not answer signals forgets what came; from then on HUP ends it as it ends any other."""
    done = run("let_go(); print('here', flush=True); os.kill(os.getpid(), signal.SIGHUP)")
    assert (done.stdout, done.returncode) == ("here\n", -HUP)


def test_what_was_blocked_from_the_start():
    """A program that was started with its signals blocked is not deaf to them."""
    line = "signals = Signals([signal.SIGTERM]); os.kill(os.getpid(), 15); print(*signals.take())"
    blocked = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); "
    assert run(blocked + line).stdout == "15\n"


def test_nothing_came(signals):
    """Without a signal take() gives nothing and does not wait."""
    assert signals.take() == []
    assert not wait(signals, 0)


def test_select_returns_at_once(signals):
    """A signal during select() ends it: the descriptor is readable, and nothing was raised."""
    pid = os.fork()
    if pid == 0:
        os.kill(os.getppid(), HUP)
        os._exit(0)
    assert wait(signals)
    assert signals.take() == [HUP]
    os.waitpid(pid, 0)


def test_each_once_and_the_first_first(signals):
    """What came several times is given once, in the order of the first time; then no more."""
    send(USR2, HUP, USR2, USR1, HUP)
    assert wait(signals)
    assert signals.take() == [USR2, HUP, USR1]
    assert signals.take() == []
    send(USR1)
    assert wait(signals)
    assert signals.take() == [USR1]


def test_storm(signals):
    """More signals than the pipe can hold do no harm."""
    for _ in range(70000):
        signal.raise_signal(HUP)
    assert signals.take() == [HUP]
    send(USR1)
    assert wait(signals)
    assert signals.take() == [USR1]


def test_signals_of_others_are_left_alone(signals):
    """A signal that somebody else handles reaches its handler, and is not given here."""
    came = []
    before = signal.signal(signal.SIGWINCH, lambda signum, _: came.append(signum))
    try:
        signal.raise_signal(signal.SIGWINCH)
        send(USR1)
        assert wait(signals)
        assert signals.take() == [USR1]
        assert came == [signal.SIGWINCH]
    finally:
        signal.signal(signal.SIGWINCH, before)


def test_close_gives_back():
    """After close() the handlers of before are there again, and so is the wake-up descriptor."""
    before = signal.getsignal(USR1)
    signals = Signals([USR1])
    assert signal.getsignal(USR1) != before
    signals.close()
    signals.close()
    assert signal.getsignal(USR1) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_child_has_its_own(signals):
    """A child that was forked so reads what is sent to it; its parent reads nothing of that."""
    for signum in (HUP, USR1, USR2) * 20:
        pid = signals.fork()
        if pid == 0:
            status = 99
            if wait(signals):
                status = signals.take()[0]
            os._exit(status)
        os.kill(pid, signum)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == signum
        assert signals.take() == []
    send(USR2)
    assert wait(signals)
    assert signals.take() == [USR2]


def test_many_children_at_once(signals):
    """Several children are forked in one go: each has its number, and reads its own signals."""
    pids, number = signals.fork_many(5)
    if number is not None:
        os._exit(number if wait(signals) and signals.take() == [HUP] else 99)
    for pid in pids:
        os.kill(pid, HUP)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [*range(5)]
    assert signals.take() == []
    assert signals.fork_many(0) == ([], None)


def test_child_may_choose_others(signals):
    """A child can close what it inherited and read other signals, without touching its parent's."""
    pid = signals.fork()
    if pid == 0:
        status = 99
        signals.close()
        mine = Signals([signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        if (
            wait(mine)
            and mine.take() == [signal.SIGTERM]
            and signal.getsignal(HUP) == signal.SIG_DFL
        ):
            status = 0
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    send(HUP)
    assert wait(signals)
    assert signals.take() == [HUP]


def test_blocked_signals_are_as_before_after_a_fork(signals):
    """Forking leaves no signal blocked, neither here nor in the child."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pid = signals.fork()
    if pid == 0:
        os._exit(0 if signal.pthread_sigmask(signal.SIG_BLOCK, []) == before else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_broken_pipe_is_an_error_not_a_death():
    """SIGPIPE is ignored, whatever the starter wanted."""
    script = """
import os, signal
from tcppipe.process.signals import Signals
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
Signals([signal.SIGTERM])
r, w = os.pipe()
os.close(r)
try:
    os.write(w, b"x")
except BrokenPipeError:
    os._exit(7)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert run.returncode == 7
