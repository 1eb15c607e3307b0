"""Detached programs: how they are started, found, signalled and kept alive."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stage import CHECKOUT, alive, content, size, wait_until

from tcppipe.process.owner import owner


def gone(pid):
    """Wait until a process that is not ours to wait for has ended."""
    wait_until(lambda: not alive(pid), f"process {pid} lives on")


@pytest.fixture
def served(pipe):
    """A pipe whose server runs, and whose client does not yet."""
    pipe.server.up()
    return pipe


def keep_alive(stage, origin, **env):
    """Run keep_tcppipe_alive as cron does."""
    argv = [CHECKOUT / "bin" / "keep_tcppipe_alive"]
    return stage.run([*argv, "-f", origin, "-h", "127.0.0.1", "-p", stage.port], env=env)


@pytest.fixture
def python_in_path(stage):
    """keep_tcppipe_alive finds this interpreter as python3."""
    directory = stage.path / "bin"
    directory.mkdir()
    python = directory / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(stage.program("x")[0])} "$@"\n')
    python.chmod(0o755)
    stage.env["PATH"] = f"{directory}:{stage.env['PATH']}"


def test_client_detaches(served):
    """tcppipe without -d returns with 0, and says nothing, when the pipe is established. A daemon
    goes on: in a session of its own, in /, with nothing on its descriptors 0 to 2."""
    started = served.stage.ask([], served.origin)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pid = served.stage.pid_of(served.origin)
    assert alive(pid)
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    served.arrives()
    served.append(b"four\n")
    served.arrives()


def test_server_detaches(pipe):
    """tcppiped without -d returns with 0 when it listens; its pid file has its pid. TERM ends it
    and removes the pid file."""
    stage = pipe.stage
    argv = [*stage.program("tcppiped"), "-f", "tcppipe.conf", "-p", stage.port]
    started = stage.run(argv)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pidfile = stage.run_dir / "tcppiped.pid"
    pid = int(pidfile.read_text().split()[0])
    assert alive(pid)
    pipe.client.up()
    pipe.arrives()
    stage.configure(pipe.entry, "# changed")
    os.kill(pid, signal.SIGHUP)
    pipe.append(b"four\n")
    pipe.arrives()
    os.kill(pid, signal.SIGTERM)
    gone(pid)
    assert not pidfile.exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_started_with_closed_descriptors(served, closed):
    """Some init systems start programs without descriptors 0, 1 or 2. The copy is right."""
    argv = [*served.stage.program("tcppipe"), "-f", served.origin, "-h", "127.0.0.1"]
    command = shlex.join([str(word) for word in [*argv, "-p", served.stage.port]])
    started = served.stage.run(["sh", "-c", f"{command} {closed}"])
    assert started.returncode == 0
    served.append(b"four\n")
    served.arrives()
    os.kill(served.stage.pid_of(served.origin), signal.SIGHUP)
    served.append(b"five\n")
    served.arrives()


def test_refused_before_detaching(served):
    """A pipe that is not configured is refused. Without -d too the caller gets status 1 and one
    line that says why; nobody stays."""
    other = served.stage.path / "other"
    other.write_bytes(b"")
    started = served.stage.ask([], other)
    assert started.returncode == 1
    assert len(started.stderr.splitlines()) == 1
    assert "refused: no entry" in started.stderr
    assert served.stage.pid_of(other) is None


def test_pid_of_nobody(stage):
    """-I prints nothing and ends with 1 when nobody runs, and there is no run directory either."""
    assert stage.pid_of("/no/such/file") is None
    asked = stage.ask(["-I"], "/no/such/file")
    assert (asked.returncode, asked.stdout, asked.stderr) == (1, "", "")


def test_pid_of_exactly_this_pipe(served):
    """-I asks for file, host and port: it prints the pid of that pipe and no other's."""
    served.client.up()
    stage = served.stage
    assert stage.pid_of(served.origin) == served.client.pid
    assert stage.pid_of(served.origin, port=stage.port + 1) is None
    assert stage.pid_of(served.origin, host="localhost") is None
    assert stage.pid_of(f"{served.origin}x") is None
    assert stage.pid_of(served.stage.path / "x" / ".." / "a.log") == served.client.pid


def test_pid_after_kill(served):
    """The client is killed and leaves its pid file. -I prints nothing; nor when another process
    has got the number. A new one is found."""
    served.client.up()
    served.client.kill()
    assert served.stage.pid_of(served.origin) is None
    (pidfile,) = [p for p in served.stage.run_dir.glob("*.pid") if p.name != "tcppiped.pid"]
    pidfile.write_text(f"{os.getpid()}\n")
    assert served.stage.pid_of(served.origin) is None
    served.client.up()
    assert served.stage.pid_of(served.origin) == served.client.pid


def test_asking_is_quick(served):
    """-I costs little more than the start of the interpreter."""
    served.client.up()

    def best(run):
        times = []
        for _ in range(7):
            before = time.monotonic()
            run()
            times.append(time.monotonic() - before)
        return min(times)

    bare = best(lambda: served.stage.run([served.stage.program("x")[0], "-c", "pass"]))
    asked = best(lambda: served.stage.pid_of(served.origin))
    assert asked < bare + 0.05, (asked, bare)


def test_asking_disturbs_nobody(served):
    """-I is asked many times at once while lines arrive. The client keeps its lock."""
    served.client.up()
    argv = [*served.stage.program("tcppipe"), "-I", "-f", served.origin, "-h", "127.0.0.1"]
    argv = [str(word) for word in [*argv, "-p", served.stage.port]]
    asked = [
        subprocess.Popen(argv, env=served.stage.env, stdout=subprocess.PIPE) for _ in range(12)
    ]
    assert {process.communicate()[0] for process in asked} == {b"%d\n" % served.client.pid}
    assert served.stage.pid_of(served.origin) == served.client.pid


def test_signal_by_option(served):
    """-K HUP reaches the client, which goes on. -K TERM ends it with 0. -K says nothing, and is
    no error either, when nobody runs."""
    stage = served.stage
    served.client.argv += ["-t", "600"]
    served.client.up()
    served.arrives()
    served.append(b"four\n")
    assert stage.ask(["-K", "HUP"], served.origin).returncode == 0
    served.arrives()
    assert stage.ask(["-K", "SIGTERM"], served.origin).returncode == 0
    assert served.client.wait() == 0
    nobody = stage.ask(["-K", "HUP"], served.origin)
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "")


def test_signal_is_unknown(stage):
    """-K with a word that is no signal: one line, status 1."""
    asked = stage.ask(["-K", "NONSENSE"], "/no/such/file")
    assert asked.returncode == 1
    assert "NONSENSE" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1


def test_a_signal_for_another_user(served, need):
    """It is told whose process that is, by its number: nothing is sent."""
    (_root, setpriv) = need("root", "setpriv")
    target = ["-f", served.origin, "-h", "127.0.0.1", "-p", served.stage.port]
    reads = "+dac_override,+dac_read_search"  # wherever the checkout and the stage are
    as_somebody = [setpriv, "--reuid", "54321", "--inh-caps", reads, "--ambient-caps", reads]
    served.client.up()
    done = served.stage.run([*as_somebody, *served.stage.program("tcppipe"), "-K", "HUP", *target])
    pid = served.client.pid
    assert done.returncode == 1
    assert done.stderr == f"tcppipe: pid {pid}: cannot send SIGHUP: it is another user's\n"


def race(stage, argvs):
    """Start all at once; (those that run, those that have ended), when all but one have ended."""
    racers = [stage.process(f"racer{n}", argv).start() for n, argv in enumerate(argvs)]
    wait_until(
        lambda: sum(racer.running for racer in racers) <= 1,
        lambda: [(racer.running, racer.log) for racer in racers],
        seconds=30,
    )
    runs = [racer for racer in racers if racer.running]
    return runs, [racer for racer in racers if not racer.running]


@pytest.mark.parametrize("turn", range(3))
def test_two_clients_at_once(served, turn):
    """Three tcppipe for the same pipe are started at once. Exactly one runs; the others end with
    1 and say why in one line. The copy is right."""
    runs, ended = race(served.stage, [served.client.argv] * 3)
    assert len(runs) == 1
    runs[0].wait_log(served.client.ready)
    assert served.stage.pid_of(served.origin) == runs[0].pid
    for racer in ended:
        assert racer.wait() == 1
        assert len(racer.lines) == 1, racer.log
        assert str(runs[0].pid) in racer.log or "another source" in racer.log
    served.append(b"four\n")
    served.arrives()


@pytest.mark.parametrize("turn", range(2))
def test_two_detached_clients_at_once(served, turn):
    """The same with three that detach: exactly one caller gets 0, the others 1 and a line."""
    argv = [str(word) for word in served.client.argv if word != "-d"]
    racers = [served.stage.process(f"racer{number}", argv).start() for number in range(3)]
    statuses = sorted(racer.wait(30) for racer in racers)
    assert statuses == [0, 1, 1]
    for racer in racers:
        assert len(racer.lines) == racer.wait(), racer.log
    assert alive(served.stage.pid_of(served.origin))
    served.append(b"four\n")
    served.arrives()


def test_second_client_later(served):
    """A second tcppipe for a running pipe ends with 1 and names the first, which goes on."""
    served.client.up()
    second = served.stage.ask(["-d"], served.origin)
    assert second.returncode == 1
    assert f"runs already for this file and host, pid {served.client.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    served.append(b"four\n")
    served.arrives()
    assert "connects again" not in served.client.log


@pytest.mark.parametrize("turn", range(2))
def test_two_servers_at_once(pipe, turn):
    """Three tcppiped are started at once. Exactly one runs, the others end with 1 and say why."""
    runs, ended = race(pipe.stage, [pipe.server.argv] * 3)
    assert len(runs) == 1
    for racer in ended:
        assert racer.wait() == 1
        assert len(racer.lines) == 1, racer.log
    pipe.client.up()
    pipe.arrives()


def test_second_server_later(served):
    """A second tcppiped with the same run directory, on another port, ends with 1 and names the
    first. The pid file still has the first one's pid."""
    second = served.stage.server(name="second")
    second.argv[second.argv.index("-p") + 1] = str(served.stage.port + 1)
    second.start()
    assert second.wait() == 1
    assert f"tcppiped runs already, pid {served.server.pid}" in second.log
    text = (served.stage.run_dir / "tcppiped.pid").read_text()
    assert int(text.split()[0]) == served.server.pid


def test_the_run_directory_is_removed(served):
    """Whoever runs is found again: nobody else is started, and nobody is out of reach."""
    served.client.up()
    shutil.rmtree(served.stage.run_dir)
    served.client.hup()
    wait_until(lambda: served.stage.pid_of(served.origin) == served.client.pid, "not found again")
    served.server.hup()
    pidfile = str(served.stage.run_dir / "tcppiped.pid")
    wait_until(lambda: owner(pidfile) == served.server.pid, "the server is not found again")
    assert served.client.log.count("was removed by somebody; made again") == 1


def test_server_after_kill(pipe):
    """tcppiped is killed and leaves its pid file, whose number now belongs to somebody else. A
    new one starts all the same, at once and on the same port."""
    pipe.server.up()
    pipe.server.kill()
    (pipe.stage.run_dir / "tcppiped.pid").write_text(f"{os.getpid()}\n")
    pipe.up()


def test_keep_alive_is_switched_off(served, python_in_path):
    """keep_tcppipe_alive does nothing, and says nothing, without tcppipe.keepalive in the run
    directory."""
    done = keep_alive(served.stage, served.origin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert served.stage.pid_of(served.origin) is None


def test_keep_alive(served, python_in_path):
    """With tcppipe.keepalive in the run directory keep_tcppipe_alive starts tcppipe, leaves it
    alone while it runs, and starts it again after kill -9."""
    stage = served.stage
    (stage.run_dir / "tcppipe.keepalive").touch()
    assert keep_alive(stage, served.origin).returncode == 0
    first = stage.pid_of(served.origin)
    assert first
    done = keep_alive(stage, served.origin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stage.pid_of(served.origin) == first
    os.kill(first, signal.SIGKILL)
    gone(first)
    assert keep_alive(stage, served.origin).returncode == 0
    assert stage.pid_of(served.origin) not in (None, first)
    served.append(b"four\n")
    served.arrives()


def test_keep_alive_of_a_link(served, python_in_path):
    """keep_tcppipe_alive was installed as a symbolic link in another directory."""
    stage = served.stage
    (stage.run_dir / "tcppipe.keepalive").touch()
    link = stage.path / "keep_tcppipe_alive"
    link.symlink_to(CHECKOUT / "bin" / "keep_tcppipe_alive")
    done = stage.run([link, "-f", served.origin, "-h", "127.0.0.1", "-p", stage.port])
    assert (done.returncode, done.stderr) == (0, "")
    assert stage.pid_of(served.origin)


def test_no_descriptor_is_left_open(served):
    """Client and child have lost and made their connection many times. They hold no more
    descriptors than after the first time."""
    served.client.up()
    served.arrives()
    wait_until(lambda: list(served.stage.run_dir.glob("*.pipe")), "no status file")

    def held(pid):
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{pid}/fd"))

    before = held(served.client.pid), held(served.server.pid)
    for turn in range(4):
        (child,) = wait_until(served.server.children, "no child")
        os.kill(child, signal.SIGKILL)
        served.client.wait_log(": connected to ", count=turn + 1)
        served.append(b"turn %d\n" % turn)
        served.arrives()
    assert (held(served.client.pid), held(served.server.pid)) == before


def test_memory_stays_flat(stage):
    """An origin of 150 MB is sent. Neither the client nor the child grows with it."""
    data = os.urandom(1 << 20) * 150
    pipe = stage.pipe(data)
    pipe.server.up()
    pipe.client.up()
    peak = 0

    def arrived():
        nonlocal peak
        for pid in (pipe.client.pid, *pipe.server.children()):
            with contextlib.suppress(OSError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
        return size(pipe.copy) == len(data)

    wait_until(arrived, "150 MB", seconds=40)
    assert content(pipe.copy) == data
    assert peak < 80_000, f"{peak} kB"
