"""Whatever the client waits for, somebody looks at the origin, and signals are answered at once.

What waits here waits for ever, or for longer than a story may take.
"""

import contextlib
import os
import signal
import socket
import threading

import pytest
from stage import BlackHole, alive, children, wait_for_bytes, wait_until

FIRST = b"one\ntwo\nthree\n"


def holds(pid, path):
    """True when a process has the file open that stands under this name."""
    wanted = os.stat(path)
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found = os.stat(f"/proc/{pid}/fd/{fd}")
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


def generations(pipe, count):
    """Files come under the origin's name and go again, as soon as the client holds them; the bytes
    of all."""
    written = b""
    for number in range(count):
        data = b"generation %d\n" % number
        beside = pipe.stage.path / "beside"
        beside.write_bytes(data)
        os.replace(beside, pipe.origin)
        wait_until(lambda: holds(pipe.client.pid, pipe.origin), f"{number} is not looked at", 6)
        written += data
    return written


def relay(one, other):
    """Bring what comes from one to the other, for as long as that goes."""
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)


def lose(pipe):
    """The server is gone, and its port leads nowhere: the BlackHole, when the client is in it."""
    pipe.server.kill()
    hole = BlackHole(pipe.stage.port)
    pipe.stage.closing.append(hole.close)
    wait_until(hole.holds_somebody, "the client does not try to connect")
    return hole


def ask(pipe):
    """The client's host has no address any more, and its name server is silent: the pid of the
    look-up, when the client asks for it."""
    pipe.server.kill()
    (pid,) = wait_until(lambda: children(pipe.client.pid), "no look-up")
    return pid


@pytest.fixture
def named(pipe, resolver):
    """A pipe whose archive has a name; the server and the client run."""
    resolver(archive="127.0.0.1")
    pipe.client = pipe.stage.client(pipe.origin, host="archive")
    pipe.up()
    resolver(archive="hang")
    return pipe


def test_an_archive_that_drops_packets(pipe):
    """While a connection is on its way into nowhere, files come and go. All of them arrive."""
    pipe.up()
    hole = lose(pipe)
    written = generations(pipe, 3)
    assert hole.holds_somebody()
    hole.close()
    pipe.server.up()
    pipe.client.hup()
    pipe.arrives(FIRST + written, seconds=30)


def test_a_silent_name_server(named):
    """The same while the name server is asked. The last answer that it gave is used then."""
    pid = ask(named)
    written = generations(named, 2)
    assert alive(pid)
    named.server.up()
    named.arrives(FIRST + written, seconds=60)


def test_a_server_that_says_nothing(pipe):
    """The same while something takes the connection and does not answer."""
    pipe.up()
    pipe.server.kill()
    with socket.create_server(("127.0.0.1", pipe.stage.port)) as listener:
        listener.settimeout(15)
        sock, _ = listener.accept()
        with sock:
            written = generations(pipe, 2)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while sock.recv(1000):
                    pass  # the request is all that has come: it is still the same attempt
                raise AssertionError("given up")
    pipe.server.up()
    pipe.client.hup()
    pipe.arrives(FIRST + written, seconds=30)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_end_while_connecting(pipe, signum):
    """TERM and INT end the client at once, wherever its connection is."""
    pipe.up()
    hole = lose(pipe)
    pipe.client.signal(signum)
    assert pipe.client.wait(5) == 0
    assert not hole.holds_somebody()


def test_the_end_while_a_name_is_asked_for(named):
    """TERM ends the client at once, and its question with it."""
    pid = ask(named)
    named.client.down(4)
    assert not alive(pid)


def test_killed_while_a_name_is_asked_for(named):
    """kill -9 of the client: the question ends, too."""
    pid = ask(named)
    named.client.kill()
    wait_until(lambda: not alive(pid), "the look-up lives on")


def test_rotated_while_the_first_connection_is_made(pipe):
    """The origin is replaced while the first connection is on its way. The old file, whose name is
    gone, arrives as well as the new one."""
    pipe.server.up()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(15)
        pipe.client = pipe.stage.client(pipe.origin, port=listener.getsockname()[1]).start()
        near, _ = listener.accept()
    written = generations(pipe, 1)
    with near, socket.create_connection(("127.0.0.1", pipe.stage.port)) as far:
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=relay, args=(one, other), daemon=True).start()
        pipe.client.wait_log("established")
        pipe.arrives(FIRST + written)


def test_fifteen_dead_names(stage, resolver):
    """A list has fifteen lines for hosts whose names nobody answers for, and one for an address. That
    one's pipe is there at once; TERM ends all, and no question stays."""
    dead = [f"dead{number}" for number in range(15)]
    resolver(**dict.fromkeys(dead, "hang"))
    logs = stage.path / "log"
    logs.mkdir()
    (logs / "a.log").write_bytes(b"a\n")
    stage.configure(f"127.0.0.1:{logs}/* | {stage.path}/copy/%f")
    hosts = [*dead, "127.0.0.1"]
    lines = [f"-f {logs}/a.log -h {host} -p {stage.port}\n" for host in hosts]
    (stage.path / "list").write_text("".join(lines))
    stage.server().up()
    argv = [*stage.program("tcppipe"), "-d", "-c", stage.path / "list"]
    parent = stage.process("many", argv, "tcppipe: started, ").up()
    wait_for_bytes(stage.path / "copy" / "a.log", b"a\n", 10)
    below = children(parent.pid)
    parent.down(8)
    assert not any(map(alive, below))
