"""One pipe has one writer: who comes back gets it, who comes second does not."""

import pytest
from stage import Proxy, append, wait_until


@pytest.fixture
def far(pipe):
    """A pipe whose client reaches the server through a Proxy (far.proxy)."""
    pipe.server.up()
    pipe.proxy = Proxy(pipe.stage.port)
    pipe.stage.closing.append(pipe.proxy.close)
    pipe.client = pipe.stage.client(pipe.origin, port=pipe.proxy.port)
    pipe.up = lambda: None
    pipe.client.up()
    pipe.arrives()
    return pipe


def second(pipe, name="second", **more):
    """Another tcppipe for the same pipe, that knows nothing of the first: another run directory."""
    env = {"TCPPIPE_RUN_DIR": str(pipe.stage.path / name)}
    return pipe.stage.client(pipe.origin, name=name, env=env, **more)


def test_half_open_connection(far):
    """The client's end of the connection is reset, and the server hears nothing of it. The client
    connects again, and its old connection has to give way at once."""
    far.append(b"four\n")
    far.arrives()
    far.proxy.reset_clients()
    far.append(b"five\n")
    far.client.wait_log(": connected to ")
    far.arrives()
    wait_until(lambda: len(far.server.children()) == 1, "the old child stays")


def test_black_hole_and_a_new_client(far):
    """The connection swallows everything. The client is killed and started again; the server's
    old child still waits. It cannot prove that its client lives, so it gives way."""
    far.proxy.freeze()
    far.append(b"swallowed\n")
    far.client.kill()
    far.client.up(seconds=20)
    far.arrives()
    wait_until(lambda: len(far.server.children()) == 1, "the old child stays")
    far.append(b"five\n")
    far.arrives()


def test_somebody_removes_the_locks(far):
    """Somebody takes the lock files for old and removes them, while a connection hangs. The child
    that comes next knows nothing of the one before; that one writes nothing more, and ends."""
    far.proxy.freeze()
    far.append(b"swallowed\n")
    for lock in far.stage.state_dir.glob("*.lock"):
        lock.unlink()
    far.client.kill()
    far.client.up()
    far.arrives()
    far.server.hup()
    far.server.wait_log("a.log.lock: was removed by somebody; begins anew")
    wait_until(lambda: len(far.server.children()) == 1, "the old child stays")
    far.append(b"five\n")
    far.arrives()


def test_black_hole_is_noticed(far):
    """The connection swallows everything, and nobody interferes. Within a minute the client
    notices, connects again and delivers, and no old child stays."""
    far.proxy.freeze()
    far.append(b"swallowed\n")
    far.arrives(seconds=60)
    wait_until(lambda: len(far.server.children()) == 1, "the old child stays", seconds=60)
    far.append(b"five\n")
    far.arrives()


def test_black_hole_in_the_middle_of_much(far):
    """A megabyte is under way when the connection begins to swallow. The client is started anew.
    The digests agree."""
    far.append(b"some line\n" * 300_000)
    far.proxy.freeze()
    far.client.kill()
    far.client.up(seconds=20)
    far.arrives()


def test_second_living_sender(pipe):
    """A second tcppipe with another run directory, as on another machine behind the same address,
    wants the same pipe. It is refused, and told who has the pipe. The first goes on."""
    pipe.up()
    other = second(pipe).start()
    assert other.wait() == 1
    assert len(other.lines) == 1, other.log
    assert "another source sends this pipe" in other.log
    assert str(pipe.client.pid) in other.log
    pipe.append(b"four\n")
    pipe.arrives()
    assert "connect" not in pipe.client.log
    pipe.server.wait_log(f"127.0.0.1:{pipe.origin}: another source sends this pipe")


def test_second_living_sender_while_much_is_sent(pipe):
    """The same while the first is busy with fifty megabytes."""
    pipe.up()
    pipe.append(b"some line\n" * 5_000_000)
    other = second(pipe).start()
    assert other.wait() == 1
    assert "another source sends this pipe" in other.log
    pipe.arrives(seconds=30)
    assert "connect" not in pipe.client.log


def test_second_sender_after_the_first(pipe):
    """The first client has ended. A second one with another run directory, which has no status
    file, gets the pipe. Nothing is repeated."""
    pipe.up()
    pipe.client.down()
    append(pipe.origin, b"four\n")
    second(pipe).up()
    pipe.arrives()


def test_second_sender_after_the_first_was_killed(pipe):
    """The first client was killed an instant ago. A second one gets the pipe."""
    pipe.up()
    pipe.client.kill()
    append(pipe.origin, b"four\n")
    second(pipe).up()
    pipe.arrives()


def test_stopped_sender_loses_the_pipe(pipe):
    """The first client is stopped (SIGSTOP) and cannot prove that it lives. A second one gets the
    pipe. The first goes on later (SIGCONT), and is refused; the second keeps the pipe. When
    that has ended, the first one takes it again at HUP."""
    import signal

    pipe.up()
    pipe.client.signal(signal.SIGSTOP)
    other = second(pipe).up(seconds=20)
    pipe.append(b"four\n")
    pipe.arrives()
    pipe.client.signal(signal.SIGCONT)
    pipe.client.wait_log("another source sends this pipe: ", 20)
    pipe.append(b"five\n")
    pipe.arrives()
    assert "connects again" not in other.log
    other.down()
    pipe.append(b"six\n")
    pipe.client.hup()
    pipe.arrives()


def test_who_has_the_pipe_is_told_by_the_pid_of_today(pipe):
    """A tcppipe in the background has the pipe. Who comes second is told its pid, and not that of
    a process that has ended since."""
    pipe.server.up()
    assert pipe.stage.ask([], pipe.origin).returncode == 0
    pipe.arrives()
    other = second(pipe).start()
    said = other.wait_log("another source sends this pipe: ")
    assert f"pid {pipe.stage.pid_of(pipe.origin)}" in said
    assert other.wait() == 1


def test_a_stuck_child_is_no_other_source(pipe):
    """A child that is stuck has the pipe, and its source was killed. The same source is started
    again: it is not refused, since nobody can say that another one lives. It waits, says for whom,
    and goes on when the child does."""
    import os
    import signal

    pipe.up()
    (child,) = pipe.server.children()
    os.kill(child, signal.SIGSTOP)
    pipe.client.kill()
    append(pipe.origin, b"four\n")
    pipe.client.up(seconds=20)
    pipe.client.wait_log(f"the other side waits: .* does not answer .pid {child}, for")
    os.kill(child, signal.SIGCONT)
    pipe.arrives()


def test_interrupted_while_it_connects(stage):
    """Whoever starts tcppipe and interrupts it before it is established leaves nothing behind."""
    import signal
    import socket
    import subprocess

    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        argv = [*stage.program("tcppipe"), "-f", str(origin), "-h", "127.0.0.1", "-p", port]
        caller = subprocess.Popen(argv, env=stage.env, stderr=subprocess.PIPE, text=True)
        silent.settimeout(15)
        connection, _ = silent.accept()
        caller.send_signal(signal.SIGINT)
        assert caller.wait(15) == -signal.SIGINT
        assert caller.stderr.read() == ""
        caller.stderr.close()
        connection.settimeout(15)
        while connection.recv(1000):
            pass
        connection.close()
    wait_until(lambda: not stage.living(), "it goes on in the background")
