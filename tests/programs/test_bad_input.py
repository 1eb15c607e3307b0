"""What is wrong gets one line that names it and says why, and disturbs nobody else."""

import errno
import os
import resource
import socket
import threading

import pytest
from stage import content, free_port, wait_for_bytes, wait_until, without_rights


def refused(done, *words):
    """A command has ended with status 1 and one line with these words."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert str(word) in lines[0]
    return lines[0]


@pytest.fixture
def served(pipe):
    """A pipe that runs: the innocent one, which must not notice anything."""
    pipe.up()
    yield pipe
    pipe.append(b"all is well\n")
    pipe.arrives()
    assert "connect" not in pipe.client.log


# --- tcppipe, at the start


def test_origin_is_missing(stage):
    """-f names a file that is not there."""
    origin = stage.path / "missing.log"
    line = refused(stage.ask([], origin), origin, "No such file or directory")
    assert line.startswith(f"tcppipe: {origin}")
    refused(stage.ask(["-d"], origin), origin, "No such file or directory")


def test_origin_is_unreadable(stage):
    """-f names a file that this user may not read."""
    origin = stage.path / "secret.log"
    origin.write_bytes(b"secret\n")
    origin.chmod(0)
    done = stage.run(
        [*stage.program("tcppipe"), "-f", origin, "-h", "127.0.0.1"], preexec_fn=without_rights
    )
    refused(done, origin, "Permission denied")


def test_origin_is_a_directory(stage):
    """-f names a directory."""
    refused(stage.ask([], stage.path), stage.path, "directory")


def test_origin_is_a_fifo(stage):
    """-f names a FIFO. The program does not wait for somebody to open its other end."""
    fifo = stage.path / "fifo"
    os.mkfifo(fifo)
    refused(stage.ask([], fifo), fifo, "FIFO")


def test_origin_is_a_device(stage):
    """-f names /dev/null."""
    refused(stage.ask([], "/dev/null"), "/dev/null", "device")


def test_origin_is_a_socket(stage):
    """-f names a socket."""
    path = stage.path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        refused(stage.ask([], path), path)


def test_origin_has_strange_letters(stage):
    """A name with an escape and other controls in it cannot do anything to the terminal."""
    origin = stage.path / "a\rb\033[2J\x01c"
    line = refused(stage.ask([], origin), "No such file or directory")
    assert "\033" not in line
    assert "\r" not in line


@pytest.mark.parametrize("name", ["a\nb", "a.log ", "a.log\t"])
def test_origin_with_a_name_that_no_request_can_hold(stage, name):
    """A name with a newline in it, or a blank at its end, would be another name on the wire. It is
    named, the status is 1, and the pipe of the other name is left alone."""
    (stage.path / "logs").mkdir()
    origin = stage.path / "logs" / name
    origin.write_bytes(b"strange\n")
    plain = stage.path / "logs" / name.split()[0]
    plain.write_bytes(b"plain\n")
    stage.configure(f"127.0.0.1:{stage.path}/logs/* | {stage.path}/copy/%f")
    server = stage.server().up()
    done = stage.ask(["-d"], origin)
    assert done.returncode == 1
    assert repr(str(origin))[1:-1] in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) <= 2
    stage.client(plain).up()
    wait_for_bytes(stage.path / "copy" / plain.name, b"plain\n")
    assert [path.name for path in (stage.path / "copy").iterdir()] == [plain.name]
    assert server.log.count("established") == 1


def test_origin_whose_name_is_not_text(stage):
    """A file name that is not UTF-8 is a name like any other."""
    origin = os.fsencode(stage.path) + b"/a\xff\xfe.log"
    with open(origin, "wb") as file:
        file.write(b"one\n")
    stage.configure(f"127.0.0.1:{stage.path}/*.log | {stage.path}/copy/%f")
    stage.server().up()
    stage.client(os.fsdecode(origin)).up()
    wait_for_bytes(stage.path / "copy" / os.fsdecode(b"a\xff\xfe.log"), b"one\n")


def test_host_is_unknown(stage):
    """-h names a host that does not exist."""
    origin = stage.path / "a.log"
    origin.touch()
    done = stage.run(
        [*stage.program("tcppipe"), "-f", origin, "-h", "something.invalid"], seconds=40
    )
    refused(done, "something.invalid", "unknown host")


@pytest.mark.parametrize("host", ["", "a b", "x" * 300, "..", "1.2.3.4.5", "\u00fc" * 70])
def test_host_is_nonsense(stage, host):
    """-h is no host name at all."""
    origin = stage.path / "a.log"
    origin.touch()
    done = stage.run([*stage.program("tcppipe"), "-f", origin, "-h", host], seconds=40)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 2


def test_no_server(stage):
    """Nobody listens on the port."""
    origin = stage.path / "a.log"
    origin.touch()
    refused(stage.ask([], origin), f"127.0.0.1:{stage.port}", "Connection refused")


def test_pipe_is_not_configured(stage):
    """The server has no entry for this file. Nothing is made for it."""
    origin = stage.path / "a.log"
    origin.touch()
    stage.configure(f"127.0.0.1:{stage.path}/other | {stage.path}/copy")
    server = stage.server().up()
    refused(stage.ask([], origin), origin, "refused: no entry")
    server.wait_log(f"127.0.0.1:{origin}: refused: no entry")
    assert not (stage.path / "copy").exists()


def test_no_rights_to_the_run_directory(stage):
    """The run directory is one where this user may not write, or cannot be made."""
    origin = stage.path / "a.log"
    origin.touch()
    stage.configure(f"127.0.0.1:{origin} | {stage.path}/copy")
    stage.server().up()
    closed = stage.path / "closed"
    closed.mkdir(mode=0o555)
    for run_dir in (closed, closed / "below"):
        argv = [*stage.program("tcppipe"), "-f", origin, "-h", "127.0.0.1", "-p", stage.port]
        done = stage.run([*argv, "--run-dir", run_dir], preexec_fn=without_rights)
        refused(done, run_dir, "Permission denied")
    assert not list(closed.iterdir())


def test_run_directory_is_a_file(stage):
    """The run directory is a file."""
    origin = stage.path / "a.log"
    origin.touch()
    argv = [*stage.program("tcppipe"), "-f", origin, "-h", "127.0.0.1", "--run-dir", origin]
    refused(stage.run(argv), origin)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("-f /x", "-h"),
        ("-h x", "-f"),
        ("-f /x -h y -p 0", "-p 0"),
        ("-f /x -h y -p 65536", "-p 65536"),
        ("-f /x -h y -p http", "-p http"),
        ("-f /x -h y -t 0", "-t 0"),
        ("-f /x -h y -t -1", "-t -1"),
        ("-f /x -h y -t nan", "-t nan"),
        ("-f /x -h y -y", "-y"),
        ("-f /x -h y --limit x", "--limit x: not a number of bytes a second"),
        ("-f /x -h y --limit 0", "--limit 0"),
        ("-f /x -h y --limit -5", "--limit -5"),
        ("-f /x -h y --limit 5X", "--limit 5X"),
        ("-f /x -h y --limit", "--limit"),
        ("-f /x -h y operand", "operand"),
        ("-f", "-f"),
    ],
)
def test_command_line(stage, words, word):
    """A wrong command line: a line that names what is wrong, a line of usage, status 1."""
    done = stage.run([*stage.program("tcppipe"), *words.split()])
    assert done.returncode == 1
    assert done.stdout == ""
    first, usage = done.stderr.splitlines()
    assert word in first
    assert usage.startswith("usage: ")


# --- tcppiped, at the start


def start_server(stage, *options, **more):
    """Run tcppiped to its end, which is expected soon."""
    return stage.run([*stage.program("tcppiped"), "-f", stage.conf, *options], **more)


@pytest.mark.parametrize("detached", [False, True], ids=["foreground", "detached"])
def test_port_in_use(stage, detached):
    """Somebody else listens on the port."""
    stage.configure(f"127.0.0.1:/a | {stage.path}/copy")
    with socket.create_server(("0.0.0.0", 0)) as sock:
        port = sock.getsockname()[1]
        done = start_server(stage, "-p", port, *([] if detached else ["-d"]))
        refused(done, f"port {port}", "Address already in use")
    assert not (stage.run_dir / "tcppiped.pid").exists()


def test_address_is_not_ours(stage):
    """-a names an address that this machine does not have, or that is none."""
    stage.configure(f"127.0.0.1:/a | {stage.path}/copy")
    refused(start_server(stage, "-d", "-a", "203.0.113.7", "-p", free_port()), "203.0.113.7")
    refused(start_server(stage, "-d", "-a", "nonsense", "-p", free_port()), "nonsense")


def test_configuration_is_missing(stage):
    """-f names a configuration that is not there, or is a directory."""
    refused(start_server(stage, "-d"), stage.conf, "No such file or directory")
    stage.conf.mkdir()
    refused(start_server(stage, "-d"), stage.conf, "directory")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("h:/a | /b | speed=9", ["speed=9"]),
        ("h:/a | relative", ["relative", "absolute"]),
        ("h:relative | /b", ["relative", "absolute"]),
        ("h:/a", ["local file"]),
        ("h:/a | /b | mode=9", ["mode"]),
        ("h:/a | /b | owner=no-such-user-here", ["no-such-user-here"]),
        ("no colon | /b", ["':'"]),
        ("1.2.3.400:/a | /b", ["1.2.3.400"]),
        ("h:/a | /b/%z", ["%z"]),
    ],
)
def test_configuration_is_wrong(stage, line, words):
    """A line of the configuration is wrong: its number and the reason, and no server."""
    stage.configure("# comment", "ok:/a | /b", line)
    refused(start_server(stage, "-d", "-p", stage.port), f"{stage.conf}:3: ", *words)
    refused(start_server(stage, "-p", stage.port), f"{stage.conf}:3: ", *words)
    checked = stage.run([*stage.program("tcppiped"), "-T", "-f", stage.conf])
    assert checked.returncode == 1
    assert f"{stage.conf}:3: " in checked.stderr


def test_two_lines_are_wrong(stage):
    """Two lines of the configuration are wrong: each is named in a line of its own."""
    stage.configure("h:/a | /b | speed=9", "ok:/a | /b", "h:x | /b")
    done = start_server(stage, "-d")
    assert done.returncode == 1
    assert [f"{stage.conf}:1: " in done.stderr, f"{stage.conf}:3: " in done.stderr] == [True] * 2
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("which", ["--run-dir", "--state-dir"])
def test_no_rights_to_a_directory(stage, which):
    """The run directory, or that of the ledgers, is one where this user may not write."""
    stage.configure(f"127.0.0.1:/a | {stage.path}/copy")
    closed = stage.path / "closed"
    closed.mkdir(mode=0o555)
    done = start_server(
        stage, "-d", "-p", stage.port, which, closed / "x", preexec_fn=without_rights
    )
    refused(done, closed / "x", "Permission denied")


def test_no_rights_in_the_state_directory(stage):
    """The directory of the ledgers exists, and this user may not write there. The server says so,
    starts, and refuses the pipe with that reason; no bytes are taken without a ledger."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"x\n")
    stage.configure(f"127.0.0.1:{origin} | {stage.path}/copy")
    closed = stage.path / "closed"
    closed.mkdir(mode=0o555)
    argv = ["--state-dir", closed]
    server = stage.server(*argv, preexec=without_rights).start()
    server.wait_log(f"note: {closed}: user 0 may not write there")
    server.wait_log("started")
    done = stage.ask(["-d"], origin, "-t", "1")
    refused(done, closed, "Permission denied")
    assert content(stage.path / "copy") == b""


def test_port_needs_rights(stage):
    """The pid file cannot be written, because it is a directory. No server stays."""
    stage.configure(f"127.0.0.1:/a | {stage.path}/copy")
    (stage.run_dir / "tcppiped.pid").mkdir(parents=True)
    done = start_server(stage, "-d", "-p", stage.port)
    assert done.returncode == 1
    assert "tcppiped.pid" in done.stderr.splitlines()[-1]


# --- the destination


def test_destination_is_unwritable(stage):
    """The server may not write to the directory of the destination. The pipe is refused with that
    reason, at both ends; once the directory can be written, it is accepted."""
    pipe = stage.pipe(b"one\n")
    pipe.copy.parent.mkdir(mode=0o555)
    pipe.server.preexec = without_rights
    pipe.server.up()
    refused(stage.ask(["-d"], pipe.origin), f"{pipe.copy}: cannot open: Permission denied")
    pipe.server.wait_log(f"{pipe.copy}: cannot open: Permission denied")
    pipe.copy.parent.chmod(0o755)
    pipe.client.up()
    pipe.arrives()


@pytest.mark.parametrize("what", ["directory", "FIFO", "device", "symbolic link"])
def test_destination_is_no_file(stage, what):
    """The destination is something else than a regular file. The pipe is refused."""
    pipe = stage.pipe(b"one\n")
    pipe.copy.parent.mkdir()
    if what == "directory":
        pipe.copy.mkdir()
    elif what == "FIFO":
        os.mkfifo(pipe.copy)
    elif what == "symbolic link":
        pipe.copy.symlink_to(stage.path / "elsewhere")
        (stage.path / "elsewhere").write_bytes(b"precious\n")
    else:
        stage.configure(f"127.0.0.1:{pipe.origin} | /dev/null")
    pipe.server.up()
    refused(stage.ask(["-d"], pipe.origin), "/dev/null" if what == "device" else pipe.copy, what)
    if what == "symbolic link":
        assert content(stage.path / "elsewhere") == b"precious\n"


def test_destination_becomes_unwritable(served):
    """The copy is rotated away and its directory closed. The pipe says that it waits, and goes on
    by itself when the directory is open again."""
    pipe = served
    pipe.client.down()
    pipe.server.down()
    pipe.server.preexec = without_rights
    pipe.up()
    os.rename(pipe.copy, f"{pipe.copy}.1")
    pipe.copy.parent.chmod(0o555)
    pipe.server.hup()
    pipe.append(b"four\n")
    pipe.server.wait_log(f"{pipe.copy}: .*waiting: Permission denied")
    pipe.copy.parent.chmod(0o755)
    wait_until(
        lambda: content(f"{pipe.copy}.1") + content(pipe.copy) == b"one\ntwo\nthree\nfour\n",
        lambda: (content(f"{pipe.copy}.1"), content(pipe.copy)),
    )
    pipe.client.down()
    os.rename(f"{pipe.copy}.1", pipe.copy)
    pipe.copy.write_bytes(content(pipe.origin))
    pipe.client.up()


def test_origin_becomes_unreadable(served):
    """The origin is replaced by a directory while the pipe runs. The client says so once, waits,
    and goes on when there is a file again."""
    served.origin.unlink()
    served.origin.mkdir()
    served.client.wait_log(f"{served.origin}: a directory")
    served.origin.rmdir()
    served.origin.write_bytes(b"again\n")
    served.arrives(b"one\ntwo\nthree\nagain\n")
    assert served.client.log.count("a directory") == 1
    served.origin.unlink()
    served.origin.write_bytes(content(served.copy))
    wait_for_bytes(served.copy, content(served.origin) * 2)
    (status,) = served.stage.run_dir.glob("*.pipe")
    length = str(len(content(served.origin))).encode()
    wait_until(lambda: content(status).split(b"\n")[0] == length, "not acknowledged")
    served.copy.write_bytes(b"")
    served.origin.write_bytes(b"")


def test_destination_is_full(served):
    """The destination takes no more bytes, as on a full disk. The pipe says so at both ends, waits,
    and goes on by itself when there is room; another pipe does not notice. Nothing is lost."""
    stage = served.stage
    big, copy = stage.path / "big.log", stage.path / "copy" / "big.log"
    big.write_bytes(b"small\n")
    stage.configure(served.entry, f"127.0.0.1:{big} | {copy}")
    client = stage.client(big, name="big").up()
    wait_for_bytes(copy, b"small\n")
    for pid in served.server.children():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    with open(big, "ab") as file:
        file.write(b"a line\n" * 100_000)
    served.server.wait_log(f"{copy}: cannot append, waiting: File too large")
    client.wait_log("the other side waits: .*File too large")
    served.append(b"meanwhile\n")
    served.arrives()
    assert content(copy) == content(big)[:100_000]
    for pid in served.server.children():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    wait_for_bytes(copy, content(big))
    client.wait_log("the other side goes on")
    assert served.server.log.count("File too large") == 1
    assert "connect" not in client.log


# --- strangers at the door


def connect(stage):
    """A connection to the server, as a client that is not ours makes it."""
    sock = socket.create_connection(("127.0.0.1", stage.port), timeout=15)
    return sock


def closed(sock):
    """Wait until the server has closed the connection; what it said."""
    said = b""
    try:
        while data := sock.recv(65536):
            said += data
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\n",
        b"\n",
        b"/no/dollar\n",
        b"$relative\n",
        b"$\n",
        b"$/with\0nul\n",
    ],
)
def test_first_line_is_nonsense(served, first):
    """A stranger's first line is not a request. The server names its address and closes."""
    with connect(served.stage) as sock:
        sock.sendall(first)
        assert not closed(sock).startswith(b"$ready")
    served.server.wait_log("tcppiped: 127.0.0.1: .*(request|TLS)")


def test_first_line_has_no_end(served):
    """A stranger sends a first line without an end. The server closes, and says why."""
    with connect(served.stage) as sock:
        try:
            sock.sendall(b"$/" + b"x" * 1_000_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert closed(sock) == b""
    served.server.wait_log("tcppiped: 127.0.0.1: a first line of more than")


def test_stranger_says_nothing(served):
    """A stranger connects and says nothing for five seconds. The server closes, and says why.
    Meanwhile others are served."""
    with connect(served.stage) as sock:
        served.append(b"meanwhile\n")
        served.arrives()
        assert closed(sock) == b""
    served.server.wait_log("tcppiped: 127.0.0.1: said nothing in time")


def test_stranger_speaks_slowly(served):
    """A stranger sends half a first line and then nothing. It has five seconds in all."""
    with connect(served.stage) as sock:
        sock.sendall(b"$/half")
        assert closed(sock) == b""
    served.server.wait_log("tcppiped: 127.0.0.1: said nothing in time")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"$tcppipe/2\n" + b"\xff" * 100_000,
        b"$tcppipe/2\n\x10\x00\x00\x00\x09" + bytes(9),
        b"$tcppipe/2\n\x01\x00\x00\x00\x01\x00",
        b"$tcppipe/2\n\x08" + bytes(4),
        b"$tcppipe/2" + b"x" * 1000,
    ],
)
def test_frames_are_nonsense(served, nonsense):
    """A client is accepted for a pipe of its own, and then sends frames that make no sense. The
    server names the pipe and closes; nothing is written; the innocent pipe goes on."""
    stage = served.stage
    stage.configure(served.entry, f"127.0.0.1:/mine | {stage.path}/mine")
    with connect(stage) as sock:
        sock.sendall(b"$/mine\n" + nonsense)
        assert closed(sock).startswith(b"$ready")
    served.server.wait_log("tcppiped: 127.0.0.1:/mine: ")
    wait_until(lambda: len(served.server.children()) == 1, "a child stays")
    assert content(stage.path / "mine") == b""


def test_nonsense_for_a_pipe_in_use(served):
    """A stranger on the right host asks for a pipe that is in use, and sends nonsense. The pipe's
    own client is not disturbed."""
    with connect(served.stage) as sock:
        sock.sendall(b"$%s\n$tcppipe/2\n" % os.fsencode(served.origin) + b"\xff" * 1000)
        closed(sock)
    served.append(b"more\n")
    served.arrives()


def test_many_strangers(served):
    """Forty strangers connect at once and go away without a word. The server goes on."""
    socks = [connect(served.stage) for _ in range(40)]
    for sock in socks:
        sock.close()
    served.append(b"more\n")
    served.arrives()
    wait_until(lambda: len(served.server.children()) == 1, "children stay")


# --- servers that are none


@pytest.fixture
def false_server(stage):
    """Starts a server that says a few bytes to the first client and then nothing: its port."""
    socks = []

    def start(answer, stay=True):
        listener = socket.create_server(("127.0.0.1", 0))
        socks.append(listener)

        def serve():
            try:
                sock, _ = listener.accept()
                socks.append(sock)
                sock.sendall(answer)
                if not stay:
                    sock.recv(4096)
                    sock.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.EPIPE, errno.ECONNRESET, errno.EINVAL):
                    raise

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for sock in socks:
        sock.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n", ["no tcppiped: it says 'HTTP/1.0 400 Bad Request'"]),
        (b"\n", ["no tcppiped"]),
        (b"x" * 100_000, ["a first line of more than"]),
        (b"", ["said nothing in time"]),
        (b"$rea", ["said nothing in time"]),
        (b"$refuse\n", ["refused"]),
        (b"$refuse because I say so\n", ["refused", "because I say so"]),
        (b"$ready tcppipe/2\n" + b"\xff" * 100_000, []),
        (b"$ready tcppipe/2\n\x08" + bytes(4), []),
    ],
)
def test_server_is_none(stage, false_server, answer, words):
    """What listens on the port answers with nonsense, or not at all: the client ends with 1 and a
    line that names host and port and says why."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    port = false_server(answer)
    done = stage.run(
        [*stage.program("tcppipe"), "-f", origin, "-h", "127.0.0.1", "-p", port], seconds=30
    )
    refused(done, f"127.0.0.1:{port}", *words)


def test_server_hangs_up(stage, false_server):
    """What listens on the port closes the connection without a word."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    port = false_server(b"", stay=False)
    said = "closed by the other side, before an answer: no tcppiped there?"
    refused(stage.ask(["-d"], origin, port=port), f"127.0.0.1:{port}", said)


@pytest.mark.parametrize("first", ["file", "directory"])
def test_whose_file_is_in_the_way(stage, first):
    """One entry's local file is a directory of another's: who comes second is told whose it is."""
    one, other = stage.path / "one.log", stage.path / "other.log"
    for origin in (one, other):
        origin.write_bytes(b"one\n")
    stage.configure(
        f"127.0.0.1:{one} | {stage.path}/copy/x", f"127.0.0.1:{other} | {stage.path}/copy/x/y"
    )
    stage.server().up()
    here, there, line = (one, other, 1) if first == "file" else (other, one, 2)
    stage.client(here).up()
    refused(stage.ask(["-d"], there), f": that of 127.0.0.1:{here} (line {line}) is in the way")
