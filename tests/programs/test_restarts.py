"""Whatever is killed, in whatever order, the copy has every byte once."""

import contextlib
import os
import random
import shutil
import signal

import pytest
from stage import alive, append, content, sha256, size, wait_for_bytes, wait_until


def wait_growth(pipe, count=200):
    """Wait until the copy has grown by some bytes."""
    goal = size(pipe.copy) + count
    wait_until(lambda: size(pipe.copy) >= goal, "the copy does not grow")


def kill_client(pipe):
    """kill -9 of the client, and a new start."""
    pipe.client.kill()
    pipe.client.up()


def kill_child(pipe):
    """kill -9 of the server's child; the client connects again by itself."""
    for child in wait_until(pipe.server.children, "no child"):
        os.kill(child, signal.SIGKILL)


def kill_parent(pipe):
    """kill -9 of the server's parent, whose children end by themselves, and a new start."""
    pipe.server.kill()
    pipe.server.up()


def kill_all(pipe):
    """kill -9 of everything at once, and a new start."""
    for child in pipe.server.children():
        os.kill(child, signal.SIGKILL)
    pipe.client.kill()
    pipe.server.kill()
    pipe.server.up()
    pipe.client.up()


def stop_in_order(pipe):
    """TERM to both, each ends with status 0, and a new start."""
    pipe.client.down()
    pipe.server.down()
    pipe.server.up()
    pipe.client.up()


BLOWS = (kill_client, kill_child, kill_parent, kill_all, stop_in_order)


@pytest.mark.parametrize("blow", BLOWS, ids=lambda blow: blow.__name__)
def test_killed_while_lines_are_written(pipe, blow, writer):
    """An application writes numbered lines. Four times something is killed, or stopped in order,
    and started again as soon as it has been. Nothing is missing, doubled or out of order."""
    pipe.up()
    with writer(pipe.origin) as application:
        for _ in range(4):
            wait_growth(pipe)
            blow(pipe)
        wait_growth(pipe)
        written = application.stop()
    pipe.arrives(b"one\ntwo\nthree\n" + written)
    assert sha256(pipe.copy) == sha256(pipe.origin)


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_any_order(pipe, seed, writer):
    """The same, with ten blows of all kinds drawn from a seed, and pauses in between drawn as
    well: some blows fall before the one before them was got over."""
    rnd = random.Random(seed)
    pipe.up()
    with writer(pipe.origin) as application:
        for _ in range(10):
            if rnd.random() < 0.6:
                wait_growth(pipe, rnd.randrange(1, 2000))
            else:
                application.wait_more(rnd.randrange(1, 30))
            blow = rnd.choice(BLOWS[:4])
            if blow is kill_child:
                for child in pipe.server.children():
                    os.kill(child, signal.SIGKILL)
            else:
                blow(pipe)
        written = application.stop()
    pipe.arrives(b"one\ntwo\nthree\n" + written, seconds=30)
    assert not list(pipe.copy.parent.glob("*.cut*")), "after a kill nothing has to be cut"


def test_client_killed_in_the_middle_of_much(stage):
    """Forty megabytes are under way. Client and child are killed, three times, each time when
    some more of it has arrived. The digests agree at the end."""
    data = random.Random(1).randbytes(40_000_000)
    pipe = stage.pipe(data)
    pipe.server.up()
    pipe.client.up()
    for part in (1, 2, 3):
        wait_until(lambda part=part: size(pipe.copy) > part * 5_000_000, "no progress")
        pipe.client.kill()
        for child in pipe.server.children():
            with contextlib.suppress(ProcessLookupError):  # it has seen that the client is gone
                os.kill(child, signal.SIGKILL)
        pipe.client.up()
    pipe.arrives(seconds=30)


def test_server_starts_later_again(pipe):
    """The server is killed and stays away while lines are written. The client says once that it
    connects again, goes on trying, and delivers when the server is back."""
    pipe.up()
    pipe.server.kill()
    pipe.append(b"four\n")
    pipe.client.wait_log("connects again")
    pipe.append(b"five\n")
    pipe.client.wait_log("cannot connect: Connection refused; connects again")
    pipe.server.up()
    pipe.arrives(seconds=30)
    assert pipe.client.log.count("Connection refused") == 1


def test_parent_killed_children_end(pipe):
    """The parent of the server is killed. Its children end by themselves."""
    pipe.up()
    children = pipe.server.children()
    assert len(children) == 1
    pipe.server.kill()
    wait_until(lambda: not any(map(alive, children)), "a child lives on")


def test_term_ends_in_order(pipe):
    """TERM to the client and to the server ends both with status 0; the pid files are gone, no
    child is left, the log says that they ended."""
    pipe.up()
    children = pipe.server.children()
    pipe.append(b"last words\n")
    pipe.client.down()
    assert pipe.client.lines[-1].endswith("ended")
    pipe.arrives()
    pipe.server.down()
    assert pipe.server.lines[-1].endswith("ended")
    assert not any(map(alive, children))
    assert not list(pipe.stage.run_dir.glob("*.pid"))


def test_int_ends_in_order(pipe):
    """INT, as from a terminal, does what TERM does."""
    pipe.up()
    for process in (pipe.client, pipe.server):
        process.signal(signal.SIGINT)
        assert process.wait() == 0


def test_term_while_the_server_is_away(pipe):
    """The client has no connection and waits for the next try. TERM ends it with status 0."""
    pipe.up()
    pipe.server.kill()
    pipe.client.wait_log("connects again")
    pipe.client.down()


def restarted(pipe, *, do):
    """Stop both in order, do something, append a line, start both; nothing may be repeated."""
    pipe.up()
    pipe.client.down()
    pipe.server.down()
    do()
    pipe.append(b"four\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"one\ntwo\nthree\nfour\n")
    pipe.append(b"five\n")
    pipe.arrives(b"one\ntwo\nthree\nfour\nfive\n")


def test_run_directory_wiped(pipe):
    """Both machines restart, and /var/run is empty then. Nothing is repeated or lost."""
    restarted(pipe, do=lambda: shutil.rmtree(pipe.stage.run_dir))


def test_run_directory_wiped_under_running_programs(pipe):
    """The run directory is wiped while both run. The pipe goes on, and after a restart too."""
    pipe.up()
    shutil.rmtree(pipe.stage.run_dir)
    pipe.append(b"four\n")
    pipe.arrives()
    pipe.client.down()
    pipe.server.down()
    pipe.append(b"five\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"one\ntwo\nthree\nfour\nfive\n")


def test_ledger_deleted(pipe):
    """The ledger is deleted, the status file is there. Nothing is repeated or lost."""

    def delete():
        ledgers = list(pipe.stage.state_dir.glob("*.ledger"))
        assert ledgers
        for ledger in ledgers:
            ledger.unlink()

    restarted(pipe, do=delete)


def test_ledger_deleted_and_copy_rotated(pipe):
    """The ledger is deleted and the copy was renamed away. The status file is the only witness:
    what was delivered is not sent again, the new copy begins where the old one ends."""
    pipe.up()
    pipe.client.down()
    pipe.server.down()
    shutil.rmtree(pipe.stage.state_dir)
    os.rename(pipe.copy, f"{pipe.copy}.1")
    pipe.append(b"four\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"four\n")


def test_ledger_garbled(pipe):
    """Somebody has written nonsense over the ledger. Nothing is repeated or lost."""

    def garble():
        for ledger in pipe.stage.state_dir.glob("*.ledger"):
            ledger.write_bytes(os.urandom(300))

    restarted(pipe, do=garble)


def test_status_file_deleted(pipe):
    """The status file is deleted. The server knows what it has: nothing is repeated."""

    def delete():
        (status,) = pipe.stage.run_dir.glob("*.pipe")
        status.unlink()

    restarted(pipe, do=delete)


@pytest.mark.parametrize("garbage", [b"nonsense\n", b"99999999\n", b"-1\n", b"3\n", b"\0" * 512])
def test_status_file_garbled(pipe, garbage):
    """The status file holds nonsense or a wrong offset. The server knows better: nothing is
    repeated or lost."""

    def garble():
        (status,) = pipe.stage.run_dir.glob("*.pipe")
        status.write_bytes(garbage)

    restarted(pipe, do=garble)


def test_status_file_emptied(pipe):
    """The status file is truncated to zero length, the administrator's way to ask for the whole
    file again. It is sent again once, and not again after the next restart."""
    pipe.up()
    pipe.client.down()
    (status,) = pipe.stage.run_dir.glob("*.pipe")
    os.truncate(status, 0)
    pipe.client.up()
    pipe.arrives(b"one\ntwo\nthree\n" * 2)
    pipe.append(b"four\n")
    pipe.arrives(b"one\ntwo\nthree\n" * 2 + b"four\n")
    pipe.client.down()
    pipe.append(b"five\n")
    pipe.client.up()
    pipe.arrives(b"one\ntwo\nthree\n" * 2 + b"four\nfive\n")


def test_status_file_tells_the_offset(pipe):
    """The first line of the status file is the offset that the server has confirmed."""
    pipe.up()
    pipe.append(b"four\n")

    def offset():
        return [int(content(status).split(b"\n")[0]) for status in
                pipe.stage.run_dir.glob("*.pipe")] == [size(pipe.origin)]  # fmt: skip

    wait_until(offset, "the status file lags")


def test_copy_made_by_hand_is_adopted(pipe):
    """The administrator has copied the first part of the origin by hand before the pipe ever ran.
    The pipe goes on behind it."""
    pipe.copy.parent.mkdir()
    pipe.copy.write_bytes(b"one\ntwo\n")
    pipe.up()
    pipe.append(b"four\n")
    pipe.arrives()


def test_foreign_copy_is_kept(pipe):
    """Something else stands in the destination before the pipe ever ran. It stays, and the whole
    origin goes behind it."""
    pipe.copy.parent.mkdir()
    pipe.copy.write_bytes(b"something else\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"something else\none\ntwo\nthree\n")


def test_somebody_writes_to_the_copy(pipe):
    """Somebody appends a line to the copy while the pipe runs, and another while it does not. Both
    stay, and the origin's lines go on behind them."""
    pipe.up()
    append(pipe.copy, b"foreign 1\n")
    pipe.append(b"four\n")
    pipe.arrives(b"one\ntwo\nthree\nforeign 1\nfour\n")
    pipe.client.down()
    append(pipe.copy, b"foreign 2\n")
    pipe.append(b"five\n")
    pipe.client.up()
    pipe.arrives(b"one\ntwo\nthree\nforeign 1\nfour\nforeign 2\nfive\n")


def test_copy_torn_by_a_power_cut(pipe):
    """After a power cut the copy ends in zeros that nobody has written, and the server's last
    notes of an orderly end are gone. It is healed from the origin; what is cut off is kept."""
    pipe.up()
    pipe.server.kill()
    pipe.client.kill()
    whole = content(pipe.copy)
    pipe.copy.write_bytes(whole[:-4] + b"\0" * 40)
    for ledger in pipe.stage.state_dir.glob("*.ledger"):
        lines = ledger.read_bytes().splitlines(keepends=True)
        durable = (b'"stretch":{', b'"mark":{"offset":0,')
        ledger.write_bytes(b"".join(line for line in lines if any(map(line.count, durable))))
    pipe.append(b"four\n")
    pipe.server.up()
    pipe.client.up()
    pipe.arrives(b"one\ntwo\nthree\nfour\n")
    (kept,) = pipe.copy.parent.glob("*.cut*")
    assert content(kept) == b"\0" * 40


def test_copy_is_short_after_a_power_cut(pipe):
    """After a power cut the copy has lost its end, which was acknowledged. It is filled from the
    origin, and the log says loudly what had happened."""
    pipe.up()
    pipe.append(b"four\n")
    pipe.arrives()
    pipe.client.down()
    pipe.server.down()
    os.truncate(pipe.copy, 5)
    pipe.server.up()
    pipe.client.up()
    pipe.arrives()
    assert "damaged" in pipe.server.log


def test_two_pipes_one_is_killed(stage):
    """Two origins are sent. The child of one is killed again and again. The other's connection
    stays as it was."""
    pipe = stage.pipe(b"one\n").up()
    other = stage.path / "b.log"
    other.write_bytes(b"1\n")
    stage.configure(pipe.entry, f"127.0.0.1:{other} | {stage.path}/copy/b.log")
    (first,) = pipe.server.children()
    client = stage.client(other, name="other").up()
    for turn in range(3):
        (child,) = wait_until(lambda: [c for c in pipe.server.children() if c != first], "no child")
        wait_for_bytes(stage.path / "copy" / "b.log", other.read_bytes())
        os.kill(child, signal.SIGKILL)
        append(other, b"turn %d\n" % turn)
        pipe.append(b"turn %d\n" % turn)
        pipe.arrives()
        client.wait_log(": connected to ", count=turn + 1)
    wait_for_bytes(stage.path / "copy" / "b.log", other.read_bytes())
    assert first in pipe.server.children()
    assert "connect" not in pipe.client.log
    pipe.server.wait_log("was killed by signal 9", count=3)
