"""Syncs beside the stream, with real threads."""

import errno
import select
import threading
import time

import pytest

from tcppipe.files.workers import Workers


def ended(syncer):
    """Wait until the syncer tells that something has ended."""
    assert select.select([syncer], [], [], 30)[0]
    syncer.drain()


def test_it_tells_when_a_sync_has_ended():
    """By its descriptor; until then nobody waits."""
    syncer, gate = Workers(), threading.Event()
    sync = syncer.start(gate.wait)
    assert not sync.done and not select.select([syncer], [], [], 0)[0]
    gate.set()
    ended(syncer)
    assert sync.done and sync.error is None


def test_a_failure_is_kept():
    """For whoever asks."""

    def fails():
        raise OSError(errno.EIO, "broken")

    sync = Workers().start(fails)
    sync.wait()
    assert sync.error.errno == errno.EIO


def test_so_many_at_a_time():
    """The others wait for their turn, and none is forgotten."""
    syncer, gate = Workers(2), threading.Event()
    running, most, lock = [], [], threading.Lock()

    def work():
        with lock:
            running.append(1)
            most.append(len(running))
        gate.wait()
        with lock:
            running.pop()

    syncs = [syncer.start(work) for _ in range(20)]
    gate.set()
    for sync in syncs:
        sync.wait()
    assert max(most) <= 2 and all(sync.done for sync in syncs)


def test_no_thread_stays():
    """When there is nothing to do there is none."""
    syncer, before = Workers(), threading.active_count()
    threads = _threads()
    for _ in range(100):
        syncer.start(lambda: None).wait()
    while _threads() > threads:
        pass
    assert threading.active_count() == before


def _threads():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Threads:"))


def test_what_did_not_return_has_not_succeeded():
    """Memory that ran out in the middle is no success."""

    def no_memory():
        raise MemoryError

    sync = Workers().start(no_memory)
    sync.wait()
    assert sync.error is not None


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "no thread"])
def test_a_bug_ends_what_has_it_only(monkeypatch, threads):
    """Whatever a job ends with, that is told and said, and the next one is done."""
    if not threads:
        monkeypatch.setattr("_thread.start_new_thread", _no_thread)
    said, done = [], []
    monkeypatch.setattr("tcppipe.process.report.say", lambda level, text: said.append(text))
    workers = Workers(1, idle=30.0)

    def buggy():
        raise ValueError("embedded null byte")

    job = workers.start(buggy)
    ended(workers)
    assert job.done and job.error is not None
    assert "bug: ValueError: embedded null byte" in said[0]
    workers.start(lambda: done.append(1))
    ended(workers)
    assert done


def test_a_thread_that_never_begins(monkeypatch):
    """Where memory is short a thread may be started and never begin: the sync is done all the same,
    and so is the next one."""
    monkeypatch.setattr("tcppipe.files.workers.BEGIN", 0.05)
    syncer, done = Workers(), []
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", lambda *_: 0)
        assert syncer.start(lambda: done.append(1)).done
    sync = syncer.start(lambda: done.append(2))
    sync.wait()
    assert done == [1, 2]


def until_done(workers, job):
    """Do what the loop does, until a job is done."""
    while not job.done:
        now = time.monotonic()
        assert workers.tend(now)
        select.select([workers], [], [], max(0.0, min(workers.due(now) - now, 1.0)))
        workers.drain()


def test_whoever_does_not_come_back_is_replaced():
    """Many jobs wait for something that never happens: the one behind them is done all the same."""
    workers, gate = Workers(1, idle=1.0), threading.Event()
    stuck = [workers.start(gate.wait) for _ in range(20)]
    until_done(workers, workers.start(lambda: None))
    assert not any(job.done for job in stuck)
    until_done(workers, workers.start(lambda: None))
    gate.set()
    for job in stuck:
        job.wait()


def test_no_thread_in_the_place_of_one_that_does_not_come_back(monkeypatch):
    """It is told, tried again a second later, and nothing is done in the loop meanwhile."""
    workers, gate = Workers(), threading.Event()
    workers.start(gate.wait)
    job = workers.start(lambda: None)
    now = time.monotonic() + 1.0
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", _no_thread)
        while workers.tend(now):
            now += 1.0
        assert not job.done and workers.due(now) > now
    assert workers.tend(now + 1.0)
    job.wait()
    gate.set()


def test_the_loop_does_not_wait_for_more_work(monkeypatch):
    """No thread can be had: the loop does the work itself, and no more than there is."""
    workers = Workers(1, idle=60.0)
    monkeypatch.setattr("_thread.start_new_thread", _no_thread)
    began = time.monotonic()
    for _ in range(3):
        assert workers.start(lambda: None).done
    assert time.monotonic() - began < 30


def _no_thread(*_):
    raise RuntimeError("can't start new thread")
