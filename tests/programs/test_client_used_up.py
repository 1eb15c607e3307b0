"""What a client needs is used up, or somebody sends it a signal: it stays, says so once, and when
there is enough again all is equal."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time

import pytest
from stage import append, children, content, size, wait_until
from test_many import Many
from test_used_up import limit, open_files, processor

from tcppipe.process import paths
from tcppipe.process.owner import owner

FIRST = b"one\ntwo\nthree\n"
UNTOUCHED = {  # what ends, stops or continues a process, or tells it of its own fault
    "KILL", "STOP", "CONT", "TERM", "INT", "HUP", "QUIT", "ABRT", "SEGV", "BUS", "FPE", "ILL", "TRAP",
    "SYS", "TSTP", "TTIN", "TTOU", "XCPU", "IOT", "CLD",
}  # fmt: skip
MEANT_OTHERWISE = [
    signum for signum in signal.valid_signals()
    if getattr(signum, "name", "SIG").removeprefix("SIG") not in UNTOUCHED
]  # fmt: skip


@pytest.fixture
def many(stage):
    """A list of one line with a wildcard, and two files; nothing runs yet."""
    many = Many(stage)
    many.file("a.log", b"a\n")
    many.file("b.log", b"b\n")
    return many


# --- descriptors


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_no_descriptor(pipe, more):
    """A client has so many descriptors left and no more when its connection is lost and its origin
    is rotated, twice. It does not spin, and says a few lines; later everything arrives."""
    pipe.up()
    pid = pipe.client.pid
    before = limit(pid, resource.RLIMIT_NOFILE, open_files(pid) + more)
    pipe.rotate(1)
    pipe.append(b"second\n")
    (child,) = pipe.server.children()
    os.kill(child, signal.SIGKILL)
    pipe.client.wait_log("connects again")
    used = processor(pid)
    time.sleep(3)  # several times as long as it pauses
    assert processor(pid) - used < 0.5
    assert len(pipe.client.lines) < 8, pipe.client.log
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    pipe.append(b"and more\n")
    pipe.arrives(FIRST + b"second\nand more\n", seconds=60)
    assert pipe.client.running


@pytest.mark.parametrize("most", range(5, 13))
def test_no_descriptor_at_the_start(pipe, most):
    """A client that may have so few descriptors from the start on ends with 1 and a line that names
    the origin or another file, or it runs, and says what it has to do without."""
    pipe.server.up()
    pipe.client.preexec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pipe.client.start()
    wait_until(
        lambda: "established" in pipe.client.log or not pipe.client.running, "neither nor", 30
    )
    if pipe.client.running:
        pipe.append(b"four\n")
        pipe.arrives()
    else:
        assert pipe.client.wait() == 1
        assert re.search("^tcppipe: /.*: Too many open files$", pipe.client.lines[-1])
        assert len(pipe.client.lines) <= 2, pipe.client.log


def test_no_descriptor_for_a_list(many):
    """The parent of many pipes has none left when a file comes, and when one is rotated: those that
    are served go on, and the new one is served when there are some."""
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    pid = many.parent.pid
    before = limit(pid, resource.RLIMIT_NOFILE, open_files(pid))
    many.file("c.log", b"c\n")
    many.parent.wait_log("Too many open files")
    append(many.file("a.log"), b"more\n")
    many.arrives("a.log")
    many.hup()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    many.arrives("c.log", seconds=30)
    many.arrives("b.log")
    assert "ended" not in many.parent.log
    assert len(many.parent.lines) < 12


# --- processes


def test_no_process_for_a_look_up(pipe, somebody, resolver):
    """The table of processes is full when the client has to ask for a name: the last answer has to
    do, and it connects."""
    resolver(archive="127.0.0.1")
    pipe.client = pipe.stage.client(pipe.origin, host="archive", preexec=somebody)
    pipe.up()
    somebody.fill()
    (child,) = pipe.server.children()
    os.kill(child, signal.SIGKILL)
    pipe.client.wait_log("connected to archive")
    pipe.append(b"four\n")
    pipe.arrives()


def test_no_process_for_a_list(many, somebody):
    """The table of processes is full when a file comes that is to have its pipe. That is said once,
    for all of them in one line; they begin when there is room."""
    many.server.up()
    many.parent.preexec = somebody
    many.parent.up()
    many.arrives("a.log")
    many.arrives("b.log")
    somebody.fill()
    names = [f"{number}.log" for number in range(5)]
    for name in names:
        many.file(name, b"new\n")
    said = many.parent.wait_log("cannot start, tries again: Resource temporarily unavailable")
    assert " and " in said
    time.sleep(2)  # it tries again several times
    assert many.parent.log.count("cannot start") <= 2
    somebody.empty()
    for name in names:
        many.arrives(name, seconds=60)


def test_a_pipe_that_never_was(many, somebody):
    """What could not be started, and is no longer there when it could: nothing is left of it."""
    many.server.up()
    many.parent.preexec = somebody
    many.parent.up()
    many.arrives("a.log")
    many.arrives("b.log")
    somebody.fill()
    origin = many.file("new.log", b"new\n")
    many.parent.wait_log("cannot start, tries again")
    origin.unlink()
    somebody.empty()

    def where():
        many.parent.signal(signal.SIGUSR1)
        return many.parent.wait_log("lines?, [0-9]+ pipes", count=1)

    wait_until(lambda: "2 pipes" in where(), where)
    assert "not connected" not in where()


# --- memory


@pytest.mark.parametrize("more", [0, 1 << 20, 8 << 20])
def test_no_memory(pipe, more):
    """The client can have no more memory while it is to send much, loses its connection and has its
    origin rotated. It stays, and sends all of it when there is some again."""
    pipe.up()
    pid = pipe.client.pid
    with open(f"/proc/{pid}/statm") as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    before = limit(pid, resource.RLIMIT_AS, has + more)
    rows = b"a line\n" * 1_000_000
    pipe.append(rows)
    pipe.rotate(1)
    pipe.append(b"second\n")
    for child in pipe.server.children():
        os.kill(child, signal.SIGKILL)
    pipe.client.hup()
    wait_until(lambda: pipe.client.lines[1:] or size(pipe.copy) > len(rows), "nothing is said")
    time.sleep(2)
    resource.prlimit(pid, resource.RLIMIT_AS, before)
    pipe.arrives(FIRST + rows + b"second\n", seconds=60)
    assert len(pipe.client.lines) < 20, pipe.client.log


# --- notification


def failing(need, client, call, when):
    """The client runs under strace, which lets a system call fail from the when-th one on."""
    (strace,) = need("strace")
    failure = f"inject={call}:error=ENOSPC:when={when}+"
    client.argv = [strace, "-o", os.devnull, "-e", f"trace={call}", "-e", failure, *client.argv]


@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_no_watches(pipe, need, when):
    """inotify's watches are used up, from the start on or when the origin is rotated: that is said
    once, and the pipe goes on without."""
    failing(need, pipe.client, "inotify_add_watch", when)
    pipe.up()
    for number in range(3):
        pipe.rotate(3 - number)
        pipe.append(b"file %d\n" % number)
        wait_until(
            lambda number=number: b"file %d\n" % number in content(pipe.copy), "does not come"
        )
    said = "no notification, looks every second: No space left on device"
    pipe.client.wait_log(said)
    assert pipe.client.log.count(said) == 1
    pipe.arrives(FIRST + b"file 0\nfile 1\nfile 2\n")


def test_no_instances(pipe, need):
    """No instance of inotify can be had."""
    failing(need, pipe.client, "inotify_init1", 1)
    pipe.up()
    pipe.client.wait_log("no notification, looks every second: No space left on device")
    pipe.append(b"four\n")
    pipe.arrives()


# --- disks


def test_no_room_for_the_status(pipe, need):
    """The disk of the run directory is full while the pipe runs. That is said once; the copy is
    right, and after a restart it still is."""
    failing(need, pipe.client, "fsync", 1)
    pipe.up()
    for number in range(5):
        pipe.append(b"line %d\n" % number)
        pipe.arrives()
    pipe.client.wait_log("cannot write: No space left on device")
    assert pipe.client.log.count("cannot write") == 1
    pipe.client.end()
    pipe.append(b"more\n")
    pipe.stage.client(pipe.origin, name="again").up()
    pipe.arrives()


def test_no_room_for_the_pid_file(pipe, need):
    """The disk of the run directory is full at the start: one line says so, and status 1."""
    need("root")
    run_dir = pipe.stage.run_dir
    run_dir.mkdir()
    pipe.server.up()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", run_dir], check=True)
    try:
        with contextlib.suppress(OSError), open(run_dir / "filler", "wb", buffering=0) as file:
            for _ in range(1024):  # many times as much as it has
                file.write(bytes(4096))
        done = pipe.stage.ask([], pipe.origin)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "No space left on device" in done.stderr
        (run_dir / "filler").unlink()
        pipe.client.up()
        pipe.arrives()
    finally:
        pipe.client.end()
        subprocess.run(["umount", "-l", run_dir], check=True)


# --- signals


def test_signals_that_are_meant_otherwise(pipe):
    """What a user sends by habit, and the kernel for a lease, ends no client."""
    pipe.up()
    for signum in MEANT_OTHERWISE:
        pipe.client.signal(signum)
    pipe.append(b"four\n")
    pipe.arrives()
    assert "connects again" not in pipe.client.log


def test_signals_before_it_is_established(stage):
    """While it waits for its first answer no signal ends it that is meant for one that runs."""
    origin = stage.path / "a.log"
    origin.write_bytes(FIRST)
    with socket.create_server(("127.0.0.1", stage.port)) as server:
        client = stage.client(origin).start()
        with server.accept()[0] as sock:
            for signum in [signal.SIGHUP, *MEANT_OTHERWISE]:
                client.signal(signum)
            sock.sendall(b"$refuse because of the test\n")
            assert client.wait() == 1
    assert "because of the test" in client.log


def test_signals_to_a_list_and_its_pipes(many):
    """The same for the parent of many, and for each of its children."""
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    many.arrives("b.log")
    pids = children(many.parent.pid)
    for signum in MEANT_OTHERWISE:
        many.parent.signal(signum)
    for signum in set(MEANT_OTHERWISE) - {getattr(signal, "SIGRTMIN", signal.SIGUSR2)}:
        for pid in pids:
            os.kill(pid, signum)
    append(many.file("a.log"), b"more\n")
    many.arrives("a.log")
    assert children(many.parent.pid) == pids


def test_somebody_opens_the_origin_for_writing(pipe, need):
    """In the moment in which the client has a lease on a rotated file, as every writer does."""
    need("root")
    pipe.up()
    for number in range(3):
        with open(pipe.origin, "ab", buffering=0) as writer:
            pipe.rotate(3 - number)
            for _ in range(200):
                open(f"{pipe.origin}.{3 - number}", "ab").close()
                writer.write(b"late\n")
    wait_until(lambda: content(pipe.copy).count(b"late\n") == 600, "late lines are missing")
    assert pipe.client.running


def test_where_a_pipe_is(pipe):
    """USR1: one line says how far it is and what it waits for, with a connection and without."""
    pipe.up()
    wait_until(
        lambda: any(content(path)[:3] == b"14\n" for path in pipe.stage.run_dir.glob("*.pipe")),
        "no acknowledgement",
    )
    pipe.client.signal(signal.SIGUSR1)
    said = pipe.client.wait_log("waits for")
    assert re.search(
        f"{pipe.origin}: is connected to 127.0.0.1:{pipe.stage.port}, waits for news, "
        "has read to offset 14, acknowledged to 14$",
        said,
    ), said
    pipe.server.kill()
    pipe.append(b"four\n")
    pipe.client.wait_log("cannot connect")
    pipe.client.signal(signal.SIGUSR1)
    pipe.client.wait_log(r"(waits to connect again in \d+ s|connects), has read to offset ")


def test_where_a_list_is(many):
    """USR1 to the parent: one line with the numbers of its pipes."""
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    many.arrives("b.log")
    many.server.kill()
    many.parent.wait_log("log and 1 more: .*: cannot connect: Connection refused; connects again")
    many.parent.signal(signal.SIGUSR1)
    many.parent.wait_log(f"{many.list}: 1 line, 2 pipes, 2 not connected$")
    many.server.up()
    many.parent.wait_log("log and 1 more: connected to ", 40)


@pytest.mark.parametrize("turn", range(3))
def test_hup_when_the_pid_file_of_a_list_appears(many, turn):
    """A HUP in the moment in which the pid file has our pid does not end the parent."""
    many.parent.start()
    pidfile = many.stage.run_dir / (paths.file_name(str(many.list)) + ".pid")
    wait_until(lambda: pidfile.exists() and owner(str(pidfile)), "no pid file")
    many.parent.hup()
    many.server.up()
    many.arrives("a.log", seconds=30)
    assert many.parent.running
