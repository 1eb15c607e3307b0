"""Pipes that are renamed or removed, and origins from a backup, as tcppiped(8) says.

Every story runs the very commands of the page, on real processes of both pairs.
"""

import os
import shutil
import signal

import pytest
from archives import Mirrored, Pulled, Pushed, Story, ends_in_order, is_killed
from stage import append, content, wait_until


@pytest.fixture(params=[Pushed, Mirrored], ids=["pushed", "mirrored"])
def pushed(request, stage, need):
    """A tcppipe and a tcppiped, with nothing started yet."""
    need("root", "rsync", "gzip")
    return request.param(stage)


@pytest.fixture
def pulled(stage, need):
    """A gen_numbers and a fetch_logs, with nothing started yet."""
    need("root", "rsync", "gzip")
    return Pulled(stage)


def pid_files(world):
    """Programs in the foreground have none, and the page's commands want one."""
    world.stage.run_dir.mkdir(exist_ok=True)
    for process in (world.source, world.sink):
        path = world.stage.run_dir / f"{process.name}.pid"
        if not path.exists():
            path.write_text(f"{process.pid}\n")


def left_of(world, *words):
    """The files in the directories of states that are named after one of these words."""
    stage = world.stage
    found = [p for d in (stage.run_dir, stage.state_dir, stage.path / "snmp") if d.exists()
             for p in d.iterdir()]  # fmt: skip
    return [path.name for path in found if any(word in path.name for word in words)]


# --- another name


@pytest.mark.parametrize("end", [None, ends_in_order, is_killed])
def test_a_renamed_origin(pushed, end, rotations):
    """The origin gets another name, with all that was rotated from it, while the server runs, or after
    it was ended or killed; the copy goes on exactly, and with the ledger renamed it is known for it."""
    world, stage = pushed, pushed.stage
    story = Story(world, end)
    story.begins()
    story.goes_on()
    if end is not None:
        story.ends(rotations)
    world.follow("A renamed origin")
    assert world.source.wait() == 0
    assert not left_of(world, "messages.pipe", "messages.ledger")
    world.origin = world.origin.parent / "all"
    world.ledger = world.ledger.replace("messages.ledger", "all.ledger")
    world.source = stage.client(world.origin, name="renamed")
    if end is None:
        for _ in range(rotations):
            world.write()
            world.rotate()
    else:
        world.sink.up()
    world.source.up()
    world.write()
    world.arrives()
    logs = world.proves()
    assert "nothing is recorded" not in logs and "ledger is lost" not in logs


def test_a_renamed_origin_that_is_merged(stage, need, rotations):
    """Another origin leads to the same copy: the shared ledger stays, and the status file tells."""
    need("root", "rsync", "gzip")
    world, other = Pushed(stage), stage.path / "var" / "log" / "other"
    other.touch()
    stage.configure(*(f"127.0.0.1:{origin} | {world.copy}" for origin in (world.origin, other)))
    second = stage.client(other, name="other")

    def arrives():
        rows = [b"other %d\n" % n for n in range(1, content(other).count(b"\n") + 1)]

        def there():
            lines = content(world.copy).splitlines(keepends=True)
            ours = [line for line in lines if not line.startswith(b"other")]
            return b"".join(ours) == world.written and len(lines) - len(ours) == len(rows)

        wait_until(there, lambda: (len(world.written), len(content(world.copy))))

    world.up()
    second.up()
    world.write()
    append(other, b"other 1\n")
    arrives()
    is_killed(world)
    world.sink.up()
    for client in (world.source, second):
        client.hup()
    for _ in range(rotations):
        world.write()
        world.rotate()
    arrives()
    world.follow("A renamed origin", 0, 5)
    assert world.source.wait() == 0
    append(other, b"other 2\n")
    world.origin = world.origin.parent / "all"
    world.write()
    world.source = stage.client(world.origin, name="renamed").up()
    arrives()
    world.write()
    world.rotate()
    world.write()
    arrives()


def test_a_renamed_origin_that_is_fetched(pulled, rotations):
    """The same of a pair that fetches: only configurations change."""
    world = pulled
    story = Story(world, is_killed)
    story.begins()
    story.goes_on()
    is_killed(world)
    world.sink.up()
    for _ in range(rotations):
        world.write()
        world.rotate()
    pid_files(world)
    world.follow("A renamed origin that is fetched")
    world.origin = world.origin.parent / "all"
    world.write()
    world.arrives()
    world.proves()


# --- no more


def test_a_pipe_that_is_removed(pushed):
    """Nothing of it is left that anybody takes for a pipe that is down.  When its name comes back its
    whole origin is sent, to a new destination."""
    world, stage = pushed, pushed.stage
    (stage.run_dir).mkdir(exist_ok=True)
    (stage.run_dir / "tcppipe.keepalive").touch()
    Story(world, is_killed).begins()
    world.write()
    world.arrives()
    conf = stage.conf.read_text()
    world.follow("A pipe that is removed")
    assert world.source.wait() == 0
    assert stage.conf.read_text() == "" and not left_of(world, "messages")
    assert stage.pid_of(world.origin) is None
    assert not world.copy.exists() and (world.archive / "web1.old" / "messages").exists()
    world.sink.signal(signal.SIGUSR1)
    world.sink.wait_log("0 connections")

    world.rotate()
    world.written.clear()
    world.write()
    stage.conf.write_text(conf)
    world.source.up()
    world.arrives()
    world.proves()


def test_a_pipe_that_comes_back_to_its_ledger(pushed, rotations):
    """The configuration has it no more for some time, its ledger and its copy stay: it goes on."""
    world, stage = pushed, pushed.stage
    story = Story(world, is_killed)
    story.begins()
    story.goes_on()
    conf = stage.conf.read_text()
    world.follow("A pipe that is removed", 0, 1)
    world.follow("A pipe that is removed", 2, 4)
    assert world.source.wait() == 0
    for _ in range(rotations):
        world.write()
        world.rotate()
    world.write()
    stage.conf.write_text(conf)
    world.source.up()
    world.arrives()
    world.proves()


@pytest.mark.parametrize("running", [True, False])
def test_a_pipe_that_is_fetched_no_more(pulled, running):
    """Nothing is left of it, and SNMP does not know its host any more.  It may come back."""
    world, stage = pulled, pulled.stage
    Story(world, is_killed).begins()
    wait_until(lambda: content(stage.path / "snmp" / "127.0.0.1") == b"OK\n", "SNMP is not told")
    path = stage.path / "fetch_logs.conf"
    conf = path.read_text()
    pid_files(world)
    if running:
        world.follow("A pipe that is fetched no more", 0, 2)
        wait_until(lambda: not left_of(world, "127.0.0.1"), "SNMP is told of it")
        world.follow("A pipe that is fetched no more", 2)
    else:
        world.sink.kill()
        world.follow("A pipe that is fetched no more", 0, 1)
        world.follow("A pipe that is fetched no more", 2)
        world.sink.up()
    assert path.read_text() == "" and not left_of(world, "messages", "127.0.0.1")

    world.rotate()
    world.written.clear()
    world.write()
    path.write_text(conf)
    world.sink.hup()
    world.arrives()
    world.proves()


# --- the origin's side


@pytest.mark.parametrize("running", [True, False])
def test_an_origin_from_a_backup(world, rotations, running):
    """The origin's host is as it was last night: what was delivered of it stays, the restored file goes
    behind it, and what is rotated and known does not come again."""
    story = Story(world, is_killed)
    story.begins()
    world.rotate()
    world.write()
    world.arrives()
    shutil.copytree(world.origin.parent, world.backup / "log", copy_function=shutil.copy2)
    restored = content(world.origin)
    world.write()
    world.arrives()
    for _ in range(rotations):
        world.rotate()
        world.write()
    world.arrives()
    if not running:
        world.source.kill()
    world.follow("Origins from a backup")
    world.written += restored
    if not running:
        world.source.up()
    append(world.origin, b"after the restore\n")
    world.written += b"after the restore\n"
    world.arrives()
    world.rotate()
    world.write()
    world.arrives()
    assert b'"gap"' not in content(world.ledger) or b"rewritten or truncated" in content(
        world.ledger
    )
    os.unlink(f"{world.origin}.1")
