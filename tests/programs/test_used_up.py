"""What a server needs is used up, or comes in a flood: nobody dies, and one line says it."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from stage import alive, append, content, wait_for_bytes, wait_until

from tcppipe.process.crowd import EACH

FIRST = b"one\ntwo\nthree\n"


def limit(pid, what, soft):
    """Give a running process a limit; the one it had is returned."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    return before


def open_files(pid):
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor(pid):
    """Seconds of computing that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(port):
    """A connection that says nothing."""
    return socket.create_connection(("127.0.0.1", port))


def test_no_descriptor_for_a_connection(pipe):
    """The server has no descriptor left: what is connected goes on, who comes waits in the kernel,
    one line says so, and it does not spin. Then there is one, and all is served."""
    pipe.up()
    pid = pipe.server.pid
    before = limit(pid, resource.RLIMIT_NOFILE, open_files(pid))
    other = pipe.stage.pipe(b"other\n", name="other.log")
    pipe.stage.configure(pipe.entry, other.entry)
    other.client.start()
    pipe.server.wait_log("cannot accept a connection: Too many open files")
    used = processor(pid)
    pipe.append(b"four\n")
    pipe.arrives()
    time.sleep(2.5)  # several times as long as it pauses
    assert processor(pid) - used < 0.5
    assert pipe.server.log.count("cannot accept") == 1, pipe.server.log
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    pipe.server.wait_log("connections are accepted again")
    other.arrives()


def test_no_process_for_a_connection_or_a_look_up(pipe, somebody, resolver):
    """The table of processes is full when a client connects and when names are looked up. The
    server stays, says so once each, and serves when there is room again."""
    resolver(web9="192.0.2.9")
    web9 = f"web9:/x | {pipe.stage.path}/x"
    pipe.stage.configure(pipe.entry, web9)
    pipe.server.preexec = somebody
    pipe.up()
    other = pipe.stage.pipe(b"other\n", name="other.log")
    pipe.stage.configure(pipe.entry, web9, other.entry)
    wait_until(lambda: len(pipe.server.children()) == 1, "the look-up does not end")
    somebody.fill()
    pipe.server.hup()
    pipe.server.wait_log("cannot look up names: Resource temporarily unavailable")
    with connect(pipe.stage.port):
        pipe.server.wait_log("cannot fork for a connection: Resource temporarily unavailable")
    for _ in range(20):
        connect(pipe.stage.port).close()
    pipe.append(b"four\n")
    pipe.arrives()
    assert pipe.server.running
    somebody.empty()
    other.client.up()
    other.arrives()
    pipe.server.wait_log("names are looked up again")
    assert sum("cannot" in line for line in pipe.server.lines) <= 4, pipe.server.log


@pytest.mark.parametrize("more", [0, 1, 2, 3, 4, 5, 6])
def test_no_descriptor_for_a_child(pipe, more):
    """A child of the server can open so many files and no more: it says so and ends, waits, or
    refuses for now. Its parent goes on as a parent, and later all is served."""
    server = pipe.server.up()
    was = limit(server.pid, resource.RLIMIT_NOFILE, open_files(server.pid) + more)
    pipe.client.start()
    wait_until(
        lambda: "cannot" in pipe.client.log + server.log or pipe.copy.exists(), "nothing is said"
    )
    assert server.running
    assert len(server.children()) <= 1
    for pid in [server.pid, *server.children()]:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, was)
    wait_until(
        lambda: not pipe.client.running or "established" in pipe.client.log, "the client hangs"
    )
    if not pipe.client.running:
        pipe.client.up()
    pipe.arrives()


@pytest.mark.parametrize("more", [0, 1 << 20, 4 << 20])
def test_no_memory(pipe, more):
    """The server and its children can have no more memory for a while. Nobody who goes on is hurt,
    and when there is some again, everything arrives."""
    pipe.up()
    pid = pipe.server.pid
    (child,) = pipe.server.children()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + more
    before = [(process, limit(process, resource.RLIMIT_AS, size)) for process in (pid, child)]
    other = pipe.stage.pipe(b"other\n" * 100_000, name="other.log")
    pipe.stage.configure(pipe.entry, other.entry)
    other.client.start()
    pipe.append(b"four\n" * 100_000)
    time.sleep(2.0)
    for process, was in before:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_AS, was)
    if not other.client.running:
        other.client.start()  # its first connection failed
    pipe.arrives()
    other.arrives()
    assert pipe.server.running


def test_fetch_logs_can_have_no_process(stage, somebody, resolver):
    """fetch_logs can fork no look-up. It stays, and fetches on; when it can, it does."""
    resolver(web1="127.0.0.1")
    pull = stage.pull(FIRST, host="web1")
    pull.client.preexec = somebody
    pull.up()
    wait_until(lambda: not pull.client.children(), "the look-up does not end")
    somebody.fill()
    pull.client.hup()
    pull.client.wait_log("cannot look up names: ")
    pull.append(b"four\n")
    pull.arrives()
    somebody.empty()
    pull.client.wait_log("names are looked up again")


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_fetch_logs_can_open_nothing(pull, more):
    """fetch_logs has no descriptor left while its server comes back and the file is rotated. It
    stays, and when it can, it fetches everything."""
    pull.up()
    pull.server.kill()
    pull.append(b"four\n")
    pull.client.wait_log("lost connection")
    pid = pull.client.pid
    was = limit(pid, resource.RLIMIT_NOFILE, open_files(pid) + more)
    pull.server.up()
    pull.rotate(b"new\n")
    pull.client.hup()
    time.sleep(1.0)
    assert pull.client.running
    resource.prlimit(pid, resource.RLIMIT_NOFILE, was)
    pull.client.hup()
    pull.mirrors(FIRST + b"four\n", b"new\n", seconds=60)


@pytest.mark.parametrize("side", ["gen_numbers", "fetch_logs"])
@pytest.mark.parametrize("more", [0, 1 << 20])
def test_no_memory_for_the_pull_pair(pull, side, more):
    """One side can have no more memory while the file grows and is rotated. It stays, and when it
    has some again, everything arrives."""
    pull.up()
    process = {"gen_numbers": pull.server, "fetch_logs": pull.client}[side]
    before = []
    for pid in [process.pid, *process.children()]:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + more
        before.append((pid, limit(pid, resource.RLIMIT_AS, size)))
    pull.append(b"four\n" * 500_000)
    whole = content(pull.origin)
    pull.rotate(b"new\n")
    time.sleep(2.0)
    assert process.running
    for pid, was in before:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, was)
    pull.client.hup()
    pull.mirrors(whole, b"new\n", seconds=60)


@pytest.fixture
def small(tmp_path, need):
    """A file system of 64 KiB and few inodes; a function fills it up, or makes it large."""
    need("root")
    place = tmp_path / "small"
    place.mkdir()
    options = "size=64k,nr_inodes=16"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)

    def full(yes):
        if yes == "inodes":
            with contextlib.suppress(OSError):
                for number in range(100):
                    (place / f"filler{number}").touch()
        elif yes:
            with contextlib.suppress(OSError), open(place / "filler", "ab", buffering=0) as file:
                for _ in range(4096):  # many times as much as it has
                    file.write(bytes(1024))
        else:
            subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=1000", place], check=True)

    full.place = place
    yield full
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
@pytest.mark.parametrize("when", ["at the start", "while it streams"])
def test_no_room_for_the_ledgers_of_fetch_logs(pull, small, what, when):
    """The disk of the ledgers is full. fetch_logs waits, says so once, tells SNMP, and goes on by
    itself when there is room."""
    pull.client.env["TCPPIPE_STATE_DIR"] = str(small.place)
    pull.server.up()
    if when == "at the start":
        small(what)
        pull.client.start()
    else:
        pull.client.up()
        pull.arrives()
        small(what)
        pull.rotate(b"new\n")
        pull.append(b"four\n" * 30_000)
    if when == "at the start":  # later a ledger that is there may have room for its next line
        pull.client.wait_log("No space left on device")
        pull.says("ERR .*No space left on device")
        lines = [line for line in pull.client.lines if "No space" in line]
        assert len(lines) <= 2, lines
    small(None)
    if when == "at the start":
        pull.mirrors(FIRST, seconds=60)
    else:
        pull.mirrors(FIRST, b"new\n" + b"four\n" * 30_000, seconds=60)
    pull.says("OK")


# --- floods


def test_strangers_are_said_in_a_few_lines(stage):
    """Hundreds of strangers with long first lines make some lines, and then a count of them."""
    stage.configure(f"192.0.2.1:/a | {stage.path}/copy")
    server = stage.server().up()
    for number in range(300):
        stranger = f"127.0.0.{2 + number % 4}", 0
        with socket.create_connection(("127.0.0.1", stage.port), 15, stranger) as sock:
            sock.sendall(b"$/" + b"x" * 4000 + b"%d\n" % number)
            with contextlib.suppress(OSError):
                sock.recv(1000)
    wait_until(lambda: not server.children(), "strangers stay")
    assert 50 < len(server.lines) < 200
    assert max(map(len, server.lines)) < 600
    time.sleep(2.1)
    connect(stage.port).close()
    server.wait_log("strangers: suppressed [0-9]+ more messages")


def test_a_flood_of_strangers(pipe):
    """Hundreds of strangers connect and say nothing. Most are closed at once, one line says so, and
    neither the pipe that runs nor one that comes is kept waiting."""
    pipe.up()
    other = pipe.stage.pipe(b"other\n", name="other.log")
    pipe.stage.configure(pipe.entry, other.entry)
    target, stranger = ("127.0.0.1", pipe.stage.port), ("127.0.0.2", 0)
    with contextlib.ExitStack() as socks:
        for _ in range(300):
            socks.enter_context(socket.create_connection(target, source_address=stranger))
        pipe.server.wait_log("too many strangers connect at once")
        other.client.up()
        other.arrives()
        assert len(pipe.server.children()) <= EACH + 2
        pipe.append(b"four\n")
        pipe.arrives()
    assert pipe.server.log.count("too many strangers") == 1


def test_a_flood_of_hups(stage, resolver):
    """Thirty HUPs while a look-up hangs: there is one look-up, and it ends with its server,
    however that ends."""
    resolver(web1="hang")
    stage.configure(f"web1:/a | {stage.path}/copy")
    server = stage.server().up()
    for number in range(30):
        server.hup()
        server.wait_log("read again", count=number + 1)
    wait_until(lambda: len(server.children()) == 1, lambda: server.children())
    (look_up,) = server.children()
    server.kill()
    wait_until(lambda: not alive(look_up), "the look-up lives on")


def test_hups_keep_no_answer_away(stage, resolver):
    """HUP comes more often than the name server answers: the names become known all the same."""
    resolver(web1="slow=127.0.0.1")
    pipe = stage.pipe(FIRST)
    stage.configure(f"web1:{pipe.origin} | {pipe.copy}")
    pipe.server.up()
    pipe.client.start()

    def arrived():
        pipe.server.hup()
        time.sleep(0.1)
        if not pipe.client.running:  # refused for now, at its first start
            pipe.client.start()
        return content(pipe.copy) == FIRST

    wait_until(arrived, lambda: pipe.client.log, 20)


@pytest.mark.parametrize("program", ["tcppiped", "gen_numbers"])
def test_no_memory_file(pull, pipe, need, program):
    """A filter of system calls forbids files in memory: one without a name does as well."""
    need("strace")
    story = pipe if program == "tcppiped" else pull
    inject = ["-f", "-qq", "-e", "trace=memfd_create", "-e", "inject=memfd_create:error=EPERM"]
    story.server.argv = ["strace", *inject, "-o", "/dev/null", *story.server.argv]
    story.up()


def test_children_are_told_later(pipe, need):
    """What is new cannot be told to the children in the moment of HUP: it is told soon after."""
    need("strace")
    inject = ["-f", "-qq", "-e", "trace=ftruncate", "-e", "inject=ftruncate:error=ENOSPC:when=3"]
    pipe.server.argv = ["strace", *inject, "-o", "/dev/null", *pipe.server.argv]
    pipe.up()
    pipe.stage.configure()
    (server,) = pipe.server.children()
    os.kill(server, signal.SIGHUP)
    pipe.server.wait_log("cannot tell children what is new")
    pipe.server.wait_log("children know what is new again")
    pipe.client.wait_log("no longer configured")


@pytest.mark.parametrize("program", ["tcppiped", "gen_numbers", "fetch_logs"])
def test_signals_that_nobody_means_so(stage, program):
    """Signals that end a process by default, and that are sent by mistake, end nobody."""
    pull = stage.pull(FIRST)
    pipe = stage.pipe(FIRST, name="b.log")
    process = {"tcppiped": pipe.server, "gen_numbers": pull.server, "fetch_logs": pull.client}
    process = process[program]
    if program == "tcppiped":
        story = pipe
        pipe.up()
    else:
        story = pull
        pull.up()
    names = ["SIGALRM", "SIGIO", "SIGPROF", "SIGPWR", "SIGUSR1", "SIGUSR2", "SIGVTALRM"]
    signums = [*(getattr(signal, name) for name in names), signal.SIGRTMIN + 3]
    for pid in [process.pid, *process.children()]:
        for signum in signums:
            os.kill(pid, signum)
    story.append(b"four\n")
    story.arrives()
    if program != "fetch_logs":
        process.wait_log("1 connection, ")
        process.wait_log("child [0-9]+: 127.0.0.1, for ")
        process.wait_log("connected for [0-9]+ s")


def test_hup_when_the_pid_file_appears(stage):
    """A HUP in the moment in which the pid file has our pid does not end the program."""
    stage.configure(f"127.0.0.1:/a | {stage.path}/copy")
    pidfile = stage.run_dir / "tcppiped.pid"
    for _ in range(8):
        pidfile.unlink(missing_ok=True)
        server = stage.server().start()
        wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), "no pid file")
        server.hup()
        server.wait_log("read again")
        server.down()


# --- names


def test_a_name_without_an_answer_is_not_a_no(stage, resolver):
    """A line for a name that has no answer stands before a line for a network. Its pipe is refused
    for now, and not put where the later line says; with the answer it goes where it belongs."""
    resolver(web1="again")
    origin = stage.path / "a.log"
    origin.write_bytes(FIRST)
    right, wrong = stage.path / "right", stage.path / "wrong"
    stage.configure(f"web1:{origin} | {right}", f"127.0.0.0/8:{origin} | {wrong}")
    server = stage.server().up()
    done = stage.ask(["-d"], origin, "-t", "1")
    assert done.returncode == 1
    assert "refused: for now: web1 has no address: Temporary failure" in done.stderr
    server.wait_log("tcppipe.conf: web1: no address, so what may be its own is refused for now")
    resolver(web1="127.0.0.1")
    stage.client(origin).up()
    wait_for_bytes(right, FIRST)
    assert not wrong.exists()
    server.wait_log("web1: has an address again after ")


def test_a_host_has_another_address(stage, resolver):
    """A host that has just got this address is not refused: names are asked again before the
    answer is no."""
    resolver(web1="192.0.2.1")
    origin = stage.path / "a.log"
    origin.write_bytes(FIRST)
    stage.configure(f"web1:{origin} | {stage.path}/copy")
    server = stage.server().up()
    done = stage.ask(["-d"], origin, "-t", "1")
    assert done.returncode == 1
    assert "refused: no entry" in done.stderr
    resolver(web1="127.0.0.1")
    stage.client(origin).up()
    wait_for_bytes(stage.path / "copy", FIRST)
    server.wait_log("web1: its addresses have changed from 192.0.2.1 to 127.0.0.1")


def test_a_silent_name_server_at_the_start(stage, resolver):
    """While the name server does not answer, pipes given by their address begin at once, and one
    given by a name is refused for now."""
    resolver(web1="hang")
    first, second = stage.path / "a.log", stage.path / "b.log"
    for origin in (first, second):
        origin.write_bytes(FIRST)
    stage.configure(f"web1:{first} | {stage.path}/a", f"127.0.0.1:{second} | {stage.path}/b")
    stage.server().up()
    stage.client(second).up()
    wait_for_bytes(stage.path / "b", FIRST)
    done = stage.ask(["-d"], first, "-t", "1")
    assert done.returncode == 1
    assert "refused: for now: web1 has no address" in done.stderr


# --- what HUP changes


def test_mode_is_changed_by_hup(pipe):
    """Another mode= in the configuration is given to the file of a live pipe by HUP; the pipe stays
    connected."""
    pipe.stage.configure(f"{pipe.entry} | mode=0640")
    pipe.up()
    children = pipe.server.children()
    assert pipe.copy.stat().st_mode & 0o777 == 0o640
    pipe.stage.configure(f"{pipe.entry} | mode=0600")
    pipe.server.hup()
    wait_until(lambda: pipe.copy.stat().st_mode & 0o777 == 0o600, "the mode is what it was")
    append(pipe.origin, b"four\n")
    pipe.arrives()
    assert pipe.server.children() == children


def test_a_large_configuration_is_read_once(stage):
    """HUP with thousands of lines and a dozen pipes costs what reading it once costs: the children
    learn from their parent."""
    pipes = [stage.pipe(FIRST, name=f"{n}.log") for n in range(12)]
    entries = [pipe.entry for pipe in pipes]
    more = [f"10.0.{n // 250}.{n % 250}:/x | {stage.path}/x{n}" for n in range(2000)]
    stage.configure(*more, *entries)
    server = pipes[0].server.up()
    for pipe in pipes:
        pipe.client.up()
    before = {pid: processor(pid) for pid in server.children()}
    stage.configure(*more, *entries, f"10.9.9.9:/y | {stage.path}/y")
    server.hup()
    server.wait_log("read again")
    for pipe in pipes:
        pipe.append(b"four\n")
        pipe.arrives()
    assert sorted(before) == server.children()
    used = [processor(pid) - before[pid] for pid in before]
    assert max(used) < 0.5


def test_no_ledger_can_be_written(pipe, need):
    """The directory of the ledgers cannot be written to any more. Both sides say what they wait
    for, and it goes on by itself."""
    need("root")
    from stage import without_rights

    pipe.server.preexec = without_rights
    pipe.up()
    pipe.client.kill()
    wait_until(lambda: not pipe.server.children(), "the child stays")
    for path in pipe.stage.state_dir.glob("*.lock"):
        path.unlink()
    pipe.stage.state_dir.chmod(0o555)
    pipe.append(b"four\n")
    pipe.client.up()
    pipe.client.wait_log("the other side waits: .*lock: cannot lock, waiting: Permission denied")
    pipe.server.wait_log("lock: cannot lock, waiting: Permission denied")
    pipe.stage.state_dir.chmod(0o755)
    pipe.arrives()
