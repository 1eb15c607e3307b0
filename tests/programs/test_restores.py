"""An archive that is moved, or restored from a backup, as tcppiped(8) says: the copy goes on exactly.

Every story runs the very commands of the page's section MOVING AND RESTORING, on real processes of
both pairs, while the origin is written to and rotated.
"""

import shutil

import pytest
from archives import BOOT, Story, is_killed
from stage import content, size, wait_until

SHORT = """
from tcppipe.files import history, ledger, recorded
ledger.COMPACT, recorded.REMEMBERED = 1500, 8
history.REMEMBERED = 3
"""  # ledgers that are rewritten all the time


def test_to_another_disk(world, story, rotations, disk):
    """The archive is moved to another file system, where its files have other numbers."""
    story.begins()
    story.goes_on()
    story.ends(rotations)
    world.follow("Another disk")
    disk(world.archive)
    world.begin_again()
    world.proves()


def test_to_another_host(world, story, rotations):
    """Copies and ledgers go to another host."""
    story.begins()
    story.goes_on()
    story.ends(rotations)
    world.follow("Another host")
    for old, new in (
        (world.archive, world.other / "archive"),
        (world.stage.state_dir, world.other / "var/lib/tcppipe"),
    ):
        shutil.move(old, f"{old}.old")
        shutil.move(new, old)
    boot = world.stage.path / "boot_id"
    boot.write_text("b0b0b0b0-0000-4000-8000-000000000000\n")
    script = f'mount --bind {boot} {BOOT} && exec "$@"'
    world.sink.argv = ["unshare", "-m", "sh", "-c", script, "sh", *world.sink.argv]
    world.begin_again()
    world.proves()


def test_copies_from_a_backup(world, story, rotations):
    """The copies are those of last night, the ledgers those of today."""
    story.begins()
    world.follow("Backups")
    story.goes_on()
    story.ends(rotations)
    world.follow("Copies from a backup")
    world.begin_again()
    world.proves()


def test_ledgers_from_a_backup(world, story, rotations):
    """The ledgers are those of last night, the copies those of today."""
    story.begins()
    world.follow("Backups")
    story.goes_on()
    story.ends(rotations)
    world.follow("Ledgers from a backup")
    world.begin_again()
    world.proves()


@pytest.mark.parametrize("first", ["archive", "ledgers"])
def test_both_from_a_backup(world, story, rotations, first):
    """Both are from last night, one of them some minutes older than the other."""
    story.begins()
    world.follow("Backups")
    newer = world.stage.path / "newer"
    story.goes_on()
    other = "ledgers" if first == "archive" else "archive"
    shutil.move(world.backup / first, newer)
    world.follow("Backups")
    shutil.rmtree(world.backup / first)
    shutil.move(newer, world.backup / first)
    assert (world.backup / other).exists()
    story.goes_on()
    story.ends(rotations)
    world.follow("Copies from a backup")
    world.follow("Ledgers from a backup")
    world.begin_again()
    world.proves()


@pytest.mark.parametrize("old", ["archive", "ledgers", "both"])
@pytest.mark.parametrize("ledgers", ["as they are", "rewritten"])
def test_from_long_ago(world, rotations, old, ledgers):
    """Copies or ledgers are older than all the generations that a ledger keeps in full."""
    if ledgers == "rewritten":
        short = world.stage.path / "short"
        short.mkdir()
        (short / "sitecustomize.py").write_text(SHORT)
        world.stage.env["PYTHONPATH"] = f"{short}:{world.stage.env['PYTHONPATH']}"
        for process in (world.source, world.sink):
            process.env.update(world.stage.env)
    story = Story(world, is_killed)
    story.begins()
    world.follow("Backups")
    story.goes_on(6)
    story.ends(rotations)
    if old != "ledgers":
        world.follow("Copies from a backup")
    if old != "archive":
        world.follow("Ledgers from a backup")
    world.begin_again()
    world.proves()


@pytest.mark.parametrize("rounds", [1, 5])
def test_copies_from_a_backup_and_no_ledgers(world, rotations, rounds):
    """The copies are those of last night, and of the ledgers there is none: the copies tell, and what
    the sender has delivered since comes again."""
    story = Story(world, is_killed)
    story.begins()
    if world.rotates_alone:  # a copy may hold several generations
        world.write()
        world.rotate()
        world.write()
        world.arrives()
    world.follow("Backups")
    story.goes_on(rounds)
    story.ends(rotations)
    world.follow("Copies from a backup")
    shutil.rmtree(world.stage.state_dir)
    world.begin_again()
    world.proves()


def test_lost_ledgers(world, story, rotations):
    """All ledgers are lost, the copies are there."""
    story.begins()
    story.goes_on()
    story.ends(rotations)
    shutil.rmtree(world.stage.state_dir)
    world.begin_again()
    world.proves()


def test_to_another_disk_while_copies_are_rotated(world, rotations, disk):
    """The archive's files are rotated and compressed while they are moved, and while the server is
    away."""
    story = Story(world, is_killed)
    story.begins()
    world.follow("Another disk")
    story.goes_on(3)
    world.follow("Another disk")
    world.compress(world.pieces()[:-1])
    story.goes_on()
    mark = b'"mark":{"offset":%d,' % size(world.origin)
    wait_until(lambda: mark in content(world.ledger), "no mark")
    story.ends(rotations)
    world.rotate_copy()
    world.compress(world.pieces())
    world.follow("Another disk")
    disk(world.archive)
    world.begin_again()
    world.proves()
