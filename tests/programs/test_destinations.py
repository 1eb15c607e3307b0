"""What the options of a configuration line do to the destination."""

import hashlib
import os
import shutil
import subprocess

import pytest
from stage import append, content, is_marked, wait_until

FIRST = b"one\ntwo\nthree\n"


def rotate(pipe):
    """logrotate's numbers, and `create`."""
    for number in range(8, 0, -1):
        if os.path.exists(f"{pipe.origin}.{number}"):
            os.rename(f"{pipe.origin}.{number}", f"{pipe.origin}.{number + 1}")
    pipe.rotate()


def pieces(pipe):
    """The files of a mirror: those set aside by their time, then the present one."""
    aside = sorted(
        pipe.copy.parent.glob(pipe.copy.name + ".2*"), key=lambda p: p.stat().st_mtime_ns
    )
    return [*aside, pipe.copy]


@pytest.mark.parametrize("when", ["running", "client down", "killed"])
def test_mirror(stage, when):
    """mirror: each generation of the origin has a file of its own with the same bytes, also when
    the origin was rotated twice while the client was down, or the server was killed."""
    pipe = stage.pipe(FIRST, options=" | mirror").up()
    generations = [FIRST]
    for number in range(3):
        if when != "running":
            pipe.client.kill()
        if when == "killed":
            pipe.server.kill()
        rotate(pipe)
        generations.append(b"generation %d\n" % number * 50)
        pipe.append(generations[-1])
        if number == 1:
            rotate(pipe)
            generations.append(b"at once another\n")
            pipe.append(generations[-1])
        if when == "killed":
            pipe.server.up()
        if when != "running":
            pipe.client.up()
        wait_until(
            lambda: [content(piece) for piece in pieces(pipe)] == generations,
            lambda: [content(piece)[:40] for piece in pieces(pipe)],
        )
    digests = [hashlib.sha256(data).digest() for data in generations]
    assert [hashlib.sha256(content(piece)).digest() for piece in pieces(pipe)] == digests


def test_mirror_resent(stage):
    """mirror with -n: the destination is set aside, and a new one begins."""
    pipe = stage.pipe(FIRST, options=" | mirror").up()
    pipe.client.down()
    stage.client(pipe.origin, "-n").up()
    wait_until(lambda: [content(piece) for piece in pieces(pipe)] == [FIRST, FIRST], "not resent")


def test_sync_none(stage):
    """sync=none: everything arrives and is acknowledged, only without waiting for the disk."""
    pipe = stage.pipe(FIRST, options=" | sync=none").up()
    pipe.append(b"four\n")
    pipe.arrives(FIRST + b"four\n")


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_copytruncated_destination_while_down(pipe, killed, packed):
    """The archive's logrotate copies and truncates the destination while nothing runs (and
    compresses the copy).  Nothing comes twice: copy and destination together are the origin."""
    pipe.up()
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    wait_until(lambda: is_marked(ledger), "no mark")
    if killed:
        pipe.client.kill()
        pipe.server.kill()
    else:
        pipe.client.down()
        pipe.server.down()
    rotated = f"{pipe.copy}.1"
    shutil.copyfile(pipe.copy, rotated)
    os.truncate(pipe.copy, 0)
    if packed:
        subprocess.run(["gzip", rotated], check=True)
    append(pipe.origin, b"four\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"four\n")


def lines_of(data):
    """A file's lines, sorted."""
    return sorted(data.splitlines(keepends=True))


@pytest.mark.parametrize("trouble", ["none", "kills"])
def test_merge(stage, writer, trouble):
    """Three origins go to one destination. However often servers and clients are killed while
    numbered lines are written, each line is there once, and whole."""
    origins = [stage.path / f"{name}.log" for name in "abc"]
    copy = stage.path / "copy" / "all.log"
    stage.configure(*(f"127.0.0.1:{origin} | {copy} | merge" for origin in origins))
    for origin in origins:
        origin.touch()
    writers = [writer(origin) for origin in origins]
    server = stage.server().up()
    clients = [stage.client(o, name=f"tcppipe-{o.name}").up() for o in origins]
    for one in writers:
        one.start()
    if trouble == "kills":
        for turn in range(6):
            writers[0].wait_more(60)
            if turn % 2:
                server.kill()
                server.up()
            else:
                clients[turn // 2].kill()
                clients[turn // 2].up()
    writers[0].wait_more(100)
    written = b"".join(one.stop() for one in writers)
    wait_until(
        lambda: lines_of(content(copy)) == lines_of(written),
        lambda: f"{len(content(copy))} of {len(written)} bytes",
    )


def test_merge_holds_back_a_partial_line(stage):
    """A line without its end waits; another origin's lines do not come into the middle of it."""
    one, two = stage.path / "one.log", stage.path / "two.log"
    copy = stage.path / "copy" / "all.log"
    stage.configure(f"127.0.0.1:{one} | {copy}", f"127.0.0.1:{two} | {copy}")
    one.write_bytes(b"first\nbegun ")
    two.write_bytes(b"")
    stage.server().up()
    stage.client(one, name="one").up()
    wait_until(lambda: content(copy) == b"first\n", lambda: content(copy))
    stage.client(two, name="two").up()
    append(two, b"other\n")
    wait_until(lambda: content(copy) == b"first\nother\n", lambda: content(copy))
    append(one, b"and ended\n")
    wait_until(lambda: content(copy) == b"first\nother\nbegun and ended\n", lambda: content(copy))


@pytest.mark.parametrize("more", [True, False], ids=["more comes", "nothing more comes"])
def test_written_between_copy_and_truncation(pipe, more):
    """The archive's logrotate copies the destination; a line arrives; then it is truncated. That
    line is in neither file, until tcppiped notices and appends it again."""
    pipe.up()
    shutil.copyfile(pipe.copy, f"{pipe.copy}.1")
    pipe.append(b"four\n")
    pipe.arrives()
    os.truncate(pipe.copy, 0)
    if more:
        pipe.append(b"five\n")
    pipe.arrives(b"four\nfive\n" if more else b"four\n")


def test_deleted_destination(pipe):
    """Somebody deletes the destination while the pipe runs. What comes after that is not written
    to a file that nobody can see, but to a new one."""
    pipe.up()
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    wait_until(lambda: is_marked(ledger), "no mark")
    os.unlink(pipe.copy)
    pipe.append(b"four\n")
    pipe.arrives(b"four\n")
    shutil.rmtree(pipe.copy.parent)
    pipe.append(b"five\n")
    wait_until(lambda: content(pipe.copy).endswith(b"five\n"), lambda: content(pipe.copy))


@pytest.mark.parametrize("side", ["push", "pull"])
def test_names_are_bytes_whatever_the_locale(stage, side):
    """A name in UTF-8 in a configuration is that file, also for programs whose locale knows no such
    letters, and behind a byte order mark."""
    stage.env.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    first = b"one\n"
    if side == "push":
        story = stage.pipe(first, name="\u00e9.log")
        stage.conf.write_bytes(b"\xef\xbb\xbf" + story.entry.encode() + b"\n")
        story.up()
    else:
        story = stage.pull(first, name="\u00e9.log")
        story.up()
    story.append(b"two\n")
    story.arrives()


@pytest.mark.parametrize("options", ["", " | merge"])
def test_one_file_by_two_names(stage, options):
    """Two lines lead to one file, one of them through a directory that is a link: one of the pipes
    has it, and the other one waits, and says for whom. Then it goes on."""
    archive, link = stage.path / "archive", stage.path / "link"
    archive.mkdir()
    link.symlink_to(archive)
    origins = [stage.path / "one.log", stage.path / "two.log"]
    for origin in origins:
        origin.write_bytes(origin.name.encode() + b"\n")
    stage.configure(
        f"127.0.0.1:{origins[0]} | {archive}/copy",
        f"127.0.0.1:{origins[1]} | {link}/copy{options}",
    )
    server = stage.server().up()
    first = stage.client(origins[0], name="first").up()
    stage.client(origins[1], name="second").start()
    who = "127.0.0.1:" + str(origins[0]) if not options else "another pipe"
    server.wait_log(f"{link}/copy: cannot (open|read|append), waiting: {who} writes to it")
    append(origins[0], b"more\n")
    wait_until(lambda: content(archive / "copy") == b"one.log\nmore\n", "the first pipe's")
    first.end()
    both = b"one.log\nmore\ntwo.log\n"
    wait_until(lambda: content(archive / "copy") == both, "the second pipe's")
