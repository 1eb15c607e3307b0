"""Files are renamed, cut, replaced and compressed under the pipe, on both sides."""

import gzip
import os
import shutil
import signal

import pytest
from stage import append, content, is_marked, sha256, size, wait_for_bytes, wait_until

FIRST = b"one\ntwo\nthree\n"


def compress(path):
    """What logrotate's `compress` does: PATH becomes PATH.gz, with the same times."""
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    shutil.copystat(path, f"{path}.gz")
    os.unlink(path)


def rotate_all(path, compressed=False):
    """logrotate's numbers: .2 becomes .3, .1 becomes .2, the file becomes .1 and is made anew."""
    for number in range(8, 0, -1):
        for suffix in ("", ".gz"):
            if os.path.exists(f"{path}.{number}{suffix}"):
                os.rename(f"{path}.{number}{suffix}", f"{path}.{number + 1}{suffix}")
    os.rename(path, f"{path}.1")
    path.touch()
    if compressed and os.path.exists(f"{path}.2"):
        compress(f"{path}.2")


def waiting_bytes(port):
    """How many bytes wait to be read from the connections to a local port (Linux)."""
    waiting = 0
    with open("/proc/net/tcp", encoding="ascii") as file:
        for line in list(file)[1:]:
            _number, local, _remote, state, queues = line.split()[:5]
            if state == "01" and int(local.split(":")[1], 16) == port:
                waiting += int(queues.split(":")[1], 16)
    return waiting


# --- the origin, while the pipe runs


@pytest.mark.parametrize("hup", [False, True], ids=["without HUP", "with HUP"])
def test_rename_and_create(pipe, hup):
    """The origin is renamed, a new one is made, lines are written there. All lines arrive, the
    old file's before the new one's. HUP changes nothing of that."""
    pipe.up()
    pipe.append(b"last of the old\n")
    pipe.rotate()
    if hup:
        pipe.client.hup()
    pipe.append(b"first of the new\n")
    pipe.arrives(FIRST + b"last of the old\nfirst of the new\n")
    pipe.append(b"second of the new\n")
    pipe.arrives(FIRST + b"last of the old\nfirst of the new\nsecond of the new\n")


@pytest.mark.parametrize("hup", [False, True], ids=["without HUP", "with HUP"])
def test_writer_holds_on_to_the_old_file(pipe, hup):
    """The origin is renamed and a new one is made, but the application still writes to the old
    file for a while, then closes it and writes to the new one. All lines arrive in order."""
    pipe.up()
    with open(pipe.origin, "ab", buffering=0) as old:
        pipe.rotate()
        if hup:
            pipe.client.hup()
        old.write(b"late 1\n")
        pipe.arrives(FIRST + b"late 1\n")
        old.write(b"late 2\n")
        pipe.arrives(FIRST + b"late 1\nlate 2\n")
    pipe.append(b"new\n")
    pipe.arrives(FIRST + b"late 1\nlate 2\nnew\n")


def test_numbered_lines_over_many_rotations(pipe, writer):
    """An application writes numbered lines and reopens its file a while after each of six
    rotations. Nothing is missing, doubled or out of order."""
    pipe.up()
    with writer(pipe.origin) as application:
        for _ in range(6):
            application.wait_more(40)
            rotate_all(pipe.origin)
            application.wait_more(20)
            application.reopen()
        application.wait_more(20)
        written = application.stop()
    pipe.arrives(FIRST + written)


def test_rotated_and_compressed_at_once(pipe, writer):
    """The same, and the old file is compressed as soon as the application has let go of it."""
    pipe.up()
    with writer(pipe.origin) as application:
        for _ in range(4):
            application.wait_more(40)
            rotate_all(pipe.origin)
            application.wait_more(20)
            application.reopen()
            compress(f"{pipe.origin}.1")
        application.wait_more(20)
        written = application.stop()
    pipe.arrives(FIRST + written)


def test_rotated_and_deleted_at_once(pipe):
    """The origin is renamed and deleted right after a line was written. The line arrives."""
    pipe.up()
    expected = FIRST
    for turn in range(5):
        pipe.append(b"last of %d\n" % turn)
        pipe.rotate()
        os.unlink(f"{pipe.origin}.1")
        pipe.append(b"first of %d\n" % (turn + 1))
        expected += b"last of %d\nfirst of %d\n" % (turn, turn + 1)
        pipe.arrives(expected)


def test_rotated_and_deleted_faster_than_anybody_looks(pipe):
    """The client is stopped while the origin is rotated five times and but two rotated files are
    kept, as Python's RotatingFileHandler does it in a burst. What is there still arrives in order,
    and that there was more is said and recorded."""
    pipe.up()
    os.kill(pipe.client.pid, signal.SIGSTOP)
    for turn in range(5):
        if os.path.exists(f"{pipe.origin}.1"):
            os.replace(f"{pipe.origin}.1", f"{pipe.origin}.2")
        pipe.rotate()
        pipe.append(b"burst %d\n" % turn)
    os.kill(pipe.client.pid, signal.SIGCONT)
    pipe.arrives(FIRST + b"burst 2\nburst 3\nburst 4\n")
    pipe.client.wait_log("2 generations were made and deleted before anybody could look")
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    wait_until(lambda: b"made and deleted" in content(ledger), "no gap in the ledger")


def test_rotated_while_killed(pipe, writer):
    """Numbered lines are written and rotated while client and child are killed in turn."""
    pipe.up()
    with writer(pipe.origin) as application:
        for turn in range(6):
            application.wait_more(30)
            if turn % 2:
                pipe.client.kill()
            else:
                for child in pipe.server.children():
                    os.kill(child, 9)
            rotate_all(pipe.origin)
            application.reopen()
            if turn % 2:
                application.wait_more(10)
                pipe.client.up()
        application.wait_more(20)
        written = application.stop()
    pipe.arrives(FIRST + written, seconds=30)


def test_copytruncate(pipe):
    """The origin is copied and truncated in place, three times, by logrotate's `copytruncate`.
    What is written between arrives once."""
    pipe.up()
    expected = FIRST
    for turn in range(3):
        line = b"turn %d, of some length\n" % turn
        pipe.append(line)
        expected += line
        shutil.copyfile(pipe.origin, f"{pipe.origin}.1")
        os.truncate(pipe.origin, 0)
        pipe.append(b"x%d\n" % turn)
        expected += b"x%d\n" % turn
        pipe.arrives(expected)


@pytest.mark.parametrize("who", ["client", "child", "both"])
@pytest.mark.parametrize(
    "moment", ["at once", "when the old is delivered", "when all is delivered"]
)
def test_copytruncate_and_killed(pipe, who, moment):
    """A line is written, the origin is copied and truncated, and another line is written there.
    Then the client is killed, or the child, or both. Both lines arrive once."""
    pipe.up()
    pipe.append(b"the end of the old one\n" * 9)
    shutil.copyfile(pipe.origin, f"{pipe.origin}.1")
    old = content(pipe.origin)
    os.truncate(pipe.origin, 0)
    if moment == "when the old is delivered":
        pipe.arrives(old)
    pipe.append(b"new\n")
    if moment == "when all is delivered":
        pipe.arrives(old + b"new\n")
    if who != "client":
        for child in pipe.server.children():
            os.kill(child, signal.SIGKILL)
    if who != "child":
        pipe.client.kill()
        pipe.client.up()
    pipe.append(b"newer\n")
    pipe.arrives(old + b"new\nnewer\n")


def test_truncated_and_regrown(pipe):
    """Everything was delivered. The origin is truncated and at once grows past its old size.
    The new content arrives whole, behind the old."""
    pipe.up()
    renewed = b"".join(b"new line %d\n" % number for number in range(100))
    with open(pipe.origin, "r+b") as file:
        file.truncate(0)
        file.write(renewed)
    pipe.arrives(FIRST + renewed)


def test_truncated_and_rewritten_to_the_same_size(pipe):
    """The origin is truncated and rewritten with other bytes of the same length."""
    pipe.up()
    pipe.origin.write_bytes(FIRST.upper())
    pipe.arrives(FIRST + FIRST.upper())


def test_truncated_to_nothing(pipe):
    """The origin is truncated and stays empty for a while; the copy keeps what it has."""
    pipe.up()
    os.truncate(pipe.origin, 0)
    pipe.client.hup()
    pipe.append(b"4\n")
    pipe.arrives(FIRST + b"4\n")


def test_truncated_while_the_child_hangs(pipe):
    """The server's child hangs (SIGSTOP) while the origin is truncated and rewritten. The client
    sees that, and sends; the child is killed before it has recorded anything. The new content
    arrives once."""
    pipe.up()
    (child,) = pipe.server.children()
    os.kill(child, signal.SIGSTOP)
    renewed = b"new line\n" * 30
    pipe.origin.write_bytes(renewed)
    # what the client sends for it waits in the socket that nobody reads
    wait_until(lambda: waiting_bytes(pipe.stage.port) > len(renewed), "the client sends nothing")
    os.kill(child, signal.SIGKILL)
    pipe.client.wait_log(": connected to ")
    pipe.append(b"end\n")
    wait_until(lambda: content(pipe.copy).endswith(b"end\n"), lambda: content(pipe.copy))
    pipe.arrives(FIRST + renewed + b"end\n")


@pytest.mark.parametrize("who", ["child", "child and client"])
def test_truncated_after_an_instant(pipe, who):
    """The origin was renamed and made anew. What is written there arrives, and in the next moment
    the child is killed (or both are) and the origin is truncated and rewritten. What had arrived
    stays where it is, and the new content goes behind it."""
    pipe.up()
    pipe.rotate()
    second = b"second\n" * 20
    pipe.append(second)
    pipe.arrives(FIRST + second)
    for child in pipe.server.children():
        os.kill(child, signal.SIGKILL)
    if who != "child":
        pipe.client.kill()
    renewed = b"renewed\n" * 30
    pipe.origin.write_bytes(renewed)
    if who != "child":
        pipe.client.up()
    pipe.arrives(FIRST + second + renewed)
    assert not list(pipe.copy.parent.glob("*.cut*"))


def test_rotated_while_the_child_hangs(pipe):
    """The server's child hangs while a line is added to the origin, which is then renamed and made
    anew. The child is killed. Everything arrives once."""
    pipe.up()
    (child,) = pipe.server.children()
    os.kill(child, signal.SIGSTOP)
    pipe.append(b"last\n")
    pipe.rotate()
    renewed = b"new line\n" * 30
    pipe.append(renewed)
    wait_until(lambda: waiting_bytes(pipe.stage.port) > len(renewed), "the client sends nothing")
    os.kill(child, signal.SIGKILL)
    pipe.client.wait_log(": connected to ")
    pipe.append(b"end\n")
    pipe.arrives(FIRST + b"last\n" + renewed + b"end\n")


@pytest.mark.parametrize("gone", [False, True], ids=["origin there", "origin away"])
def test_rotated_while_the_client_hangs(pipe, gone):
    """The client hangs (SIGSTOP) while the origin is rotated twice, so it never sees the file in
    the middle under its name. Before that the origin was there, or was away and its last
    generation was ended. Everything arrives in order."""
    pipe.up()
    if gone:
        os.rename(pipe.origin, f"{pipe.origin}.1")
        (ledger,) = pipe.stage.state_dir.glob("*.ledger")
        wait_until(lambda: b'"end"' in content(ledger), "the generation is not ended")
    pipe.client.signal(signal.SIGSTOP)
    if not gone:
        rotate_all(pipe.origin)
    pipe.append(b"middle\n")
    rotate_all(pipe.origin)
    pipe.append(b"new\n")
    pipe.client.signal(signal.SIGCONT)
    pipe.arrives(FIRST + b"middle\nnew\n")


def test_removed_and_made_again(pipe):
    """The origin is removed, after a last line, and made again with the same name. The pipe goes
    on with the new file."""
    pipe.up()
    expected = FIRST
    for turn in range(3):
        pipe.append(b"last words %d\n" % turn)
        pipe.origin.unlink()
        pipe.origin.write_bytes(b"again %d\n" % turn)
        expected += b"last words %d\nagain %d\n" % (turn, turn)
        pipe.arrives(expected)


def test_removed_for_a_while(pipe):
    """The origin is removed and is away for several looks of the client. It is not the end. The
    new file arrives when it comes."""
    pipe.up()
    pipe.origin.unlink()
    other = pipe.stage.path / "elsewhere"
    for turn in range(3):
        other.touch()
        os.utime(other, (turn, turn))
        pipe.client.hup()
        assert pipe.client.running
    pipe.origin.write_bytes(b"again\n")
    pipe.arrives(FIRST + b"again\n")


def test_replaced_by_rename(pipe):
    """Another file is renamed over the origin, as editors and some daemons do."""
    pipe.up()
    beside = pipe.stage.path / "beside"
    beside.write_bytes(b"another file\n")
    os.replace(beside, pipe.origin)
    pipe.arrives(FIRST + b"another file\n")
    pipe.append(b"grows\n")
    pipe.arrives(FIRST + b"another file\ngrows\n")


def test_directory_of_the_origin_is_renamed_away(stage):
    """The directory of the origin is renamed away and a new one is made with a new origin in it.
    The pipe goes on with that."""
    (stage.path / "logs").mkdir()
    pipe = stage.pipe(FIRST, name="logs/a.log").up()
    os.rename(stage.path / "logs", stage.path / "old")
    (stage.path / "logs").mkdir()
    pipe.origin.write_bytes(b"another\n")
    pipe.arrives(FIRST + b"another\n")


# --- the origin, while the client is down


@pytest.fixture
def down(pipe):
    """A pipe that has delivered its first lines, with the client ended in order."""
    pipe.up()
    pipe.client.down()
    return pipe


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("rotations", [1, 2, 5])
def test_rotated_while_down(down, rotations, compressed):
    """The client is down. Lines are written and the origin is rotated, several times, the older
    files are compressed. The client starts: the rest of the old generation arrives, then each
    later one, and nothing twice."""
    expected = FIRST
    for turn in range(rotations):
        line = b"generation %d, its last line\n" % turn
        down.append(line)
        rotate_all(down.origin, compressed)
        begin = b"generation %d begins\n" % (turn + 1)
        down.append(begin)
        expected += line + begin
    if compressed:
        compress(f"{down.origin}.1")
    down.client.up()
    down.append(b"now\n")
    down.arrives(expected + b"now\n")


def test_rotated_by_date_while_down(down):
    """The same with logrotate's `dateext` names."""
    expected = FIRST
    for day in ("20261118", "20261119", "20261120"):
        line = b"written on %s\n" % day.encode()
        down.append(line)
        expected += line
        os.rename(down.origin, f"{down.origin}-{day}")
        down.origin.touch()
    down.append(b"now\n")
    down.client.up()
    down.arrives(expected + b"now\n")


def test_rotated_into_another_directory_while_down(stage):
    """Rotated files go to another directory, which --olddir names."""
    olddir = stage.path / "old"
    olddir.mkdir()
    pipe = stage.pipe(FIRST)
    pipe.client.argv += ["--olddir", str(olddir)]
    pipe.up()
    pipe.client.down()
    pipe.append(b"last\n")
    os.rename(pipe.origin, olddir / "a.log.1")
    pipe.origin.write_bytes(b"new\n")
    pipe.client.up()
    pipe.arrives(FIRST + b"last\nnew\n")


def test_rotated_while_killed_before_the_end(pipe):
    """The client is killed in the middle of a generation of several megabytes, which is rotated
    and compressed before it starts again. Nothing is missing or doubled."""
    pipe.up()
    pipe.server.kill()
    body = b"".join(b"%d\n" % number for number in range(500_000))
    pipe.append(body)
    pipe.client.kill()
    pipe.server.up()
    pipe.client.up()
    wait_until(lambda: size(pipe.copy) > 100_000, "no progress")
    pipe.client.kill()
    rotate_all(pipe.origin)
    compress(f"{pipe.origin}.1")
    pipe.append(b"new\n")
    pipe.client.up()
    pipe.arrives(FIRST + body + b"new\n")


def test_copytruncate_while_down(down):
    """The client is down. A line is written, the origin is copied to .1 and truncated, and new
    lines are written. The client finds the rest of the old generation in the copy."""
    down.append(b"before the copy\n")
    shutil.copyfile(down.origin, f"{down.origin}.1")
    os.truncate(down.origin, 0)
    down.append(b"after it\n")
    down.client.up()
    down.arrives(FIRST + b"before the copy\nafter it\n")


def test_writer_that_comes_late(pipe):
    """The origin is renamed and made anew while a writer keeps it open and is quiet; the new
    file's lines arrive, the old one counts as ended. Then the writer adds a line to the old file.
    It arrives as well; the client starts again, the writer adds another one, and so does that."""
    pipe.up()
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    with open(pipe.origin, "ab", buffering=0) as writer:
        pipe.rotate()
        pipe.append(b"new\n")
        wait_until(lambda: b'"end"' in content(ledger), "the old file does not end")
        pipe.arrives(FIRST + b"new\n")
        writer.write(b"late\n")
        pipe.arrives(FIRST + b"new\nlate\n")
        pipe.append(b"newer\n")
        pipe.arrives(FIRST + b"new\nlate\nnewer\n")
        pipe.client.kill()
        writer.write(b"later\n")
        pipe.client.up()
        pipe.arrives(FIRST + b"new\nlate\nnewer\nlater\n")


def test_copytruncate_twice_around_a_time_down(pipe):
    """The origin is copied and truncated while the client runs, and is empty when the client ends.
    Then a day's lines are written, copied to .1 and truncated, and another line is written. The
    client starts: the day's lines are in the copy, and arrive before the last one."""
    pipe.up()
    shutil.copyfile(pipe.origin, f"{pipe.origin}.2")
    os.truncate(pipe.origin, 0)
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    wait_until(lambda: content(ledger).count(b'"stretch"') == 2, "no new generation")
    pipe.client.down()
    pipe.append(b"a day's lines\n" * 5)
    shutil.copyfile(pipe.origin, f"{pipe.origin}.1")
    os.truncate(pipe.origin, 0)
    pipe.append(b"after it\n")
    pipe.client.up()
    pipe.arrives(FIRST + b"a day's lines\n" * 5 + b"after it\n")


def test_copytruncate_and_regrown_while_down(down):
    """The same, and the new lines are more than the old ones were."""
    down.append(b"before the copy\n")
    shutil.copyfile(down.origin, f"{down.origin}.1")
    renewed = b"".join(b"after it %d\n" % number for number in range(100))
    down.origin.write_bytes(renewed)
    down.client.up()
    down.arrives(FIRST + b"before the copy\n" + renewed)


def test_truncated_while_down(down):
    """The client is down. The origin is truncated without a copy, and written anew. The new
    content arrives whole."""
    down.origin.write_bytes(b"new\n")
    down.client.up()
    down.arrives(FIRST + b"new\n")


def test_deleted_before_it_was_read(down):
    """The client is down. A line is written, the origin is deleted and made again. Those bytes
    are gone: this is said loudly on both sides, and the new file arrives."""
    down.append(b"nobody will read this\n")
    down.origin.unlink()
    (down.stage.path / "takes the inode").touch()
    down.origin.write_bytes(b"new\n")
    down.client.up()
    down.arrives(FIRST + b"new\n")
    assert "bytes lost" in down.client.log
    assert "lost" in down.server.log


def test_inode_is_reused(down):
    """The client is down. The origin is deleted, and another file gets its inode and its name and
    grows longer. It is not taken for the old one."""
    renewed = b"".join(b"another application %d\n" % number for number in range(20))
    down.origin.unlink()
    down.origin.write_bytes(renewed)
    down.client.up()
    down.arrives(FIRST + renewed)


def test_origin_is_missing_while_the_server_comes_back(pipe):
    """The connection is lost while the origin is away. Both come back. The pipe goes on."""
    pipe.up()
    pipe.server.kill()
    pipe.origin.unlink()
    pipe.server.up()
    pipe.origin.write_bytes(b"again\n")
    pipe.arrives(FIRST + b"again\n", seconds=30)


@pytest.mark.parametrize("rotations", [3, 80])
def test_rotated_while_the_server_is_away(pipe, rotations):
    """The server is away. The origin is rotated many times, with dates in the names. The server
    comes back, and every generation arrives in order."""
    pipe.up()
    pipe.server.kill()
    expected = FIRST
    for turn in range(rotations):
        line = b"generation %d\n" % turn
        pipe.append(line)
        expected += line
        os.rename(pipe.origin, f"{pipe.origin}-20261120-{turn:03d}")
        pipe.origin.touch()
    pipe.append(b"now\n")
    pipe.server.up()
    pipe.arrives(expected + b"now\n", seconds=30)


def test_rotated_and_deleted_while_the_server_is_away(pipe):
    """The server is away. The origin is rotated twice, and the old files are deleted once the
    client holds them open. The server comes back, and everything arrives."""
    pipe.up()
    pipe.server.kill()
    expected = FIRST

    def held(path):
        target = os.path.realpath(path)
        fds = f"/proc/{pipe.client.pid}/fd"
        return any(os.path.realpath(f"{fds}/{fd}") == target for fd in os.listdir(fds))

    for turn in range(2):
        line = b"generation %d\n" % turn
        pipe.append(line)
        expected += line
        rotate_all(pipe.origin)
        wait_until(lambda: held(pipe.origin), "the client does not look")
        os.unlink(f"{pipe.origin}.1")
    pipe.append(b"now\n")
    pipe.server.up()
    pipe.arrives(expected + b"now\n", seconds=30)


# --- the destination


def test_destination_rotated_with_hup(pipe):
    """The copy is renamed, and tcppiped gets HUP. What comes then goes into a new file by the old
    name; both pieces together are the origin; the connection stays."""
    pipe.up()
    before = pipe.server.children()
    os.rename(pipe.copy, f"{pipe.copy}.1")
    pipe.append(b"into the renamed file\n")
    wait_for_bytes(f"{pipe.copy}.1", FIRST + b"into the renamed file\n")
    pipe.server.hup()
    wait_until(pipe.copy.exists, "no new copy")
    pipe.append(b"into the new file\n")
    pipe.arrives(b"into the new file\n")
    assert content(f"{pipe.copy}.1") + content(pipe.copy) == content(pipe.origin)
    assert pipe.server.children() == before


def test_destination_rotated_again_and_again(pipe, writer):
    """Numbered lines are written. The copy is rotated eight times, each with HUP. The pieces in
    their order are the origin."""
    pipe.up()
    with writer(pipe.origin) as application:
        for number in range(8):
            application.wait_more(20)
            os.rename(pipe.copy, f"{pipe.copy}-{number}")
            pipe.server.hup()
            wait_until(pipe.copy.exists, "no new copy")
        application.wait_more(20)
        application.stop()
    whole = content(pipe.origin)

    def pieces():
        return b"".join(content(f"{pipe.copy}-{number}") for number in range(8)) + content(
            pipe.copy
        )

    wait_until(lambda: pieces() == whole, "the pieces are not the origin")


@pytest.mark.parametrize("order", ["server first", "client first", "killed"])
def test_destination_rotated_while_down(pipe, order):
    """Both are down, ended in order or killed. The copy is renamed. What comes then goes into a
    new file, and nothing is repeated."""
    pipe.up()
    if order == "killed":
        pipe.server.kill()
        pipe.client.kill()
    elif order == "server first":
        pipe.server.down()
        pipe.client.down()
    else:
        pipe.client.down()
        pipe.server.down()
    os.rename(pipe.copy, f"{pipe.copy}.1")
    pipe.append(b"four\n")
    pipe.server.up()
    pipe.client.up()
    wait_until(
        lambda: content(f"{pipe.copy}.1") + content(pipe.copy) == FIRST + b"four\n",
        lambda: (content(f"{pipe.copy}.1"), content(pipe.copy)),
    )


def test_destination_rotated_and_compressed_while_down(pipe):
    """Both are down. The copy is renamed and compressed. Nothing is repeated."""
    pipe.up()
    pipe.client.down()
    pipe.server.down()
    os.rename(pipe.copy, f"{pipe.copy}.1")
    compress(f"{pipe.copy}.1")
    pipe.append(b"four\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"four\n")


def test_destination_copytruncated(pipe):
    """The copy is copied to .1 and truncated in place while the pipe is quiet. What comes then
    stands at its beginning."""
    pipe.up()
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    for turn in range(3):
        offset = b'"mark":{"offset":%d,' % os.path.getsize(pipe.origin)
        wait_until(lambda offset=offset: offset in content(ledger), "not quiet")
        os.truncate(pipe.copy, 0)
        pipe.append(b"turn %d\n" % turn)
        pipe.arrives(b"turn %d\n" % turn)


def test_destination_removed(pipe):
    """The copy is removed under the server. After HUP it is made again, without what was in it."""
    pipe.up()
    (ledger,) = pipe.stage.state_dir.glob("*.ledger")
    wait_until(lambda: is_marked(ledger), "no mark")
    pipe.copy.unlink()
    pipe.server.hup()
    wait_until(pipe.copy.exists, "no new copy")
    pipe.append(b"four\n")
    pipe.arrives(b"four\n")


def test_hup_without_rotation(pipe, writer):
    """Both sides get HUP many times while lines are written, and nothing was rotated. Nothing is
    lost or repeated, and no connection is made again."""
    pipe.up()
    with writer(pipe.origin) as application:
        for _ in range(20):
            pipe.client.hup()
            pipe.server.hup()
            application.wait_more(5)
        written = application.stop()
    pipe.arrives(FIRST + written)
    assert "connects again" not in pipe.client.log


def test_both_sides_rotate(pipe, writer):
    """Numbered lines are written. The origin and the copy are rotated in turns."""
    pipe.up()
    with writer(pipe.origin) as application:
        for number in range(4):
            application.wait_more(20)
            rotate_all(pipe.origin)
            application.reopen()
            os.rename(pipe.copy, f"{pipe.copy}-{number}")
            pipe.server.hup()
            wait_until(pipe.copy.exists, "no new copy")
        written = application.stop()

    def pieces():
        return b"".join(content(f"{pipe.copy}-{number}") for number in range(4)) + content(
            pipe.copy
        )

    wait_until(lambda: len(pieces()) >= len(FIRST + written), "the copies do not grow")
    assert sha256(pieces()) == sha256(FIRST + written)
    append(pipe.origin, b"end\n")
    wait_until(lambda: pieces() == FIRST + written + b"end\n", "the end is missing")
