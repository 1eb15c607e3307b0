"""The programs among those that stand beside them in life: logrotate, cron and syslog.

Each is the real one, on private paths.  cron and syslog need a mount namespace, hence root (or
a user namespace).  A component that is missing is a failure.
"""

import contextlib
import os
import shlex
import signal

import pytest
from stage import CHECKOUT, alive, content, forget_faketime, wait_until

FIRST = b"one\ntwo\nthree\n"

PRIVATE_DEV = """\
set -e
mount --make-rprivate /
mkdir -p "$1/olddev"
mount --bind /dev "$1/olddev"
mount -t tmpfs -o mode=755 tmpfs /dev
for d in null zero full random urandom tty; do
    touch /dev/$d
    mount --bind "$1/olddev/$d" /dev/$d
done
mkdir /dev/shm
ln -s /proc/self/fd /dev/fd
exec sleep 600
"""

RSYSLOG = """\
module(load="imuxsock" SysSock.Use="on" SysSock.Name="/dev/log" SysSock.RateLimit.Interval="0")
global(workDirectory="{work}")
template(name="T" type="string" string="%syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\\n")
*.* action(type="omfile" file="{work}/all.log" template="T")
"""


# --- logrotate


@pytest.fixture
def logrotate(stage, need):
    """Runs the real logrotate with a configuration, by force."""
    (program,) = need("logrotate")

    def run(text):
        conf = stage.path / "logrotate.conf"
        conf.write_text(text)
        conf.chmod(0o644)
        state = stage.path / "logrotate.state"
        done = stage.run([program, "-v", "-f", "-s", state, conf])
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr

    return run


def origin_conf(pipe, *more):
    """A configuration for the origin, with the postrotate of the manual."""
    argv = [*pipe.stage.program("tcppipe"), "-K", "HUP", "-f", pipe.origin, "-h", "127.0.0.1"]
    command = shlex.join([str(word) for word in [*argv, "-p", pipe.stage.port]])
    lines = ["rotate 9", "nodateext", *more, "postrotate", f"    {command}", "endscript"]
    return f"{pipe.origin} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


@pytest.mark.parametrize(
    "more",
    [
        ("create",),
        ("create", "compress"),
        ("create", "compress", "delaycompress"),
        ("create", "dateext", "dateformat -%Y%m%d-TURN"),
        ("nocreate",),
        ("copytruncate",),
        ("copytruncate", "compress"),
    ],
    ids=" ".join,
)
def test_logrotate_of_the_origin(pipe, logrotate, more):
    """logrotate rotates the origin three times while the pipe runs, and calls tcppipe -K HUP. All
    lines arrive once and in order."""
    pipe.up()
    expected = FIRST
    for turn in range(3):
        last, first = b"last of %d\n" % turn, b"first of %d\n" % (turn + 1)
        pipe.append(last)
        pipe.arrives(expected + last)
        logrotate(origin_conf(pipe, *more).replace("TURN", str(turn)))
        pipe.append(first)
        expected += last + first
        pipe.arrives(expected)
    assert pipe.client.running


@pytest.mark.parametrize(
    "more", [("create",), ("create", "compress"), ("copytruncate", "compress")], ids=" ".join
)
def test_logrotate_of_the_origin_while_down(pipe, logrotate, more):
    """logrotate rotates the origin three times while no client runs; tcppipe -K HUP is no error
    then. The client starts, and all lines arrive once and in order."""
    pipe.up()
    pipe.client.down()
    expected = FIRST
    for turn in range(3):
        last, first = b"last of %d\n" % turn, b"first of %d\n" % (turn + 1)
        pipe.append(last)
        logrotate(origin_conf(pipe, *more))
        pipe.append(first)
        expected += last + first
    pipe.client.up()
    pipe.arrives(expected)


def test_logrotate_while_lines_are_written(pipe, logrotate, writer):
    """An application writes numbered lines and reopens its file a while after logrotate has
    renamed it. Client and child are killed in between."""
    pipe.up()
    with writer(pipe.origin) as application:
        for turn in range(4):
            application.wait_more(50)
            logrotate(origin_conf(pipe, "create", "compress", "delaycompress"))
            application.wait_more(20)
            application.reopen()
            if turn == 1:
                pipe.client.kill()
                pipe.client.up()
            if turn == 2:
                for child in pipe.server.children():
                    os.kill(child, signal.SIGKILL)
        written = application.stop()
    pipe.arrives(FIRST + written)


def test_logrotate_of_the_copy(pipe, logrotate):
    """logrotate rotates the copy three times, and sends HUP to tcppiped by its pid file. The
    pieces in their order are the origin."""
    pipe.up()
    pidfile = pipe.stage.run_dir / "tcppiped.pid"
    conf = f"""{pipe.copy} {{
        rotate 9
        nodateext
        nocreate
        postrotate
            kill -HUP $(cat {pidfile})
        endscript
    }}"""
    for turn in range(3):
        logrotate(conf)
        wait_until(pipe.copy.exists, "no new copy")
        pipe.append(b"turn %d\n" % turn)
        pipe.arrives(b"turn %d\n" % turn)
    pieces = [content(f"{pipe.copy}.{number}") for number in (3, 2, 1)]
    assert b"".join(pieces) + content(pipe.copy) == content(pipe.origin)


# --- syslog


@pytest.fixture
def syslog(stage, need):
    """A real rsyslogd in a mount namespace with a /dev of its own: wraps a command line so that
    it runs there, and knows what was logged."""
    unshare, nsenter, rsyslogd = need("unshare", "nsenter", "rsyslogd")
    work = stage.path / "rsyslog"
    work.mkdir()
    (work / "rsyslog.conf").write_text(RSYSLOG.format(work=work))
    script = work / "dev.sh"
    script.write_text(PRIVATE_DEV)
    user = ["-r"] if os.geteuid() else []
    holder = stage.process("namespace", [unshare, *user, "-m", "sh", script, work])
    holder.start()

    def apart():
        with contextlib.suppress(OSError):
            ours = os.stat(f"/proc/{holder.pid}/root/dev").st_dev != os.stat("/dev").st_dev
            return ours and content(f"/proc/{holder.pid}/comm") == b"sleep\n"
        assert holder.running, holder.log

    wait_until(apart, lambda: f"no namespace: {holder.log}")

    class Syslog:
        """The daemon, and what was logged."""

        def inside(self, argv):
            """The command line that runs another one in the namespace."""
            return [nsenter, "-t", str(holder.pid), *(["-U"] if user else []), "-m", "--", *argv]

        @property
        def lines(self):
            """All lines so far."""
            return content(work / "all.log").decode().splitlines()

        def wait(self, start, *words):
            """Wait for a line that begins so and has these words; the line."""

            def found():
                for line in self.lines:
                    if line.startswith(start) and all(word in line for word in words):
                        return line

            return wait_until(found, lambda: f"no {start!r} with {words} in {self.lines}")

    syslog = Syslog()
    daemon = ["-n", "-f", work / "rsyslog.conf", "-i", work / "rsyslogd.pid"]
    stage.process("rsyslogd", syslog.inside([rsyslogd, *daemon])).start()
    wait_until(lambda: os.path.exists(f"/proc/{holder.pid}/root/dev/log"), "no /dev/log")
    return syslog


def test_rsyslogd_receives(pipe, syslog):
    """Both programs run as daemons. What they say arrives in a real rsyslogd with facility LOCAL5,
    the program's name and pid: the beginning, a refusal, a lost connection, a rotation of the
    configuration that is broken, the end."""
    stage = pipe.stage
    server = [*stage.program("tcppiped"), "-f", stage.conf, "-p", stage.port]
    assert stage.run(syslog.inside(server)).returncode == 0
    target = ["-h", "127.0.0.1", "-p", stage.port]
    client = [*stage.program("tcppipe"), *target]
    assert stage.run(syslog.inside([*client, "-f", pipe.origin])).returncode == 0
    pipe.arrives()
    pid = stage.pid_of(pipe.origin)
    pidfile = stage.run_dir / "tcppiped.pid"
    parent = int(pidfile.read_text().split()[0])
    syslog.wait(f"local5.info tcppiped[{parent}]: ", "started")
    syslog.wait(f"local5.info tcppipe[{pid}]: ", f"{pipe.origin}: established")

    other = stage.path / "other"
    other.touch()
    refused = stage.run(syslog.inside([*client, "-f", other]))
    assert refused.returncode == 1
    syslog.wait("local5.crit tcppipe[", "refused: no entry", str(other))
    syslog.wait("local5.crit tcppiped[", "refused: no entry", str(other))

    stage.configure("h:/a | relative")
    os.kill(parent, signal.SIGHUP)
    syslog.wait(f"local5.err tcppiped[{parent}]: ", f"{stage.conf}:1: ", "relative")

    os.kill(parent, signal.SIGKILL)
    syslog.wait(f"local5.warning tcppipe[{pid}]: ", str(pipe.origin), "connects again")
    os.kill(pid, signal.SIGTERM)
    syslog.wait(f"local5.info tcppipe[{pid}]: ", "ended")
    assert not [line for line in syslog.lines if "tcppipe" in line and "local5." not in line]


def test_rsyslogd_gets_one_line(pipe, syslog):
    """A file name with controls and a percent sign in it makes one line of printable text."""
    stage = pipe.stage
    pipe.server.argv = syslog.inside(pipe.server.argv)
    origin = stage.path / "a\r%s\033[2J"
    argv = [*stage.program("tcppipe"), "-f", origin, "-h", "127.0.0.1", "-p", stage.port]
    assert stage.run(syslog.inside(argv)).returncode == 1
    line = syslog.wait("local5.crit tcppipe[", "No such file or directory")
    assert "a\\x0d%s\\x1b[2J" in line


def test_syslogd_is_restarted(pipe, syslog):
    """rsyslogd is killed and started again while the client runs in the background. What the
    client says then does not get into the connection or the copy, and is logged again."""
    stage = pipe.stage
    pipe.server.up()
    argv = [*stage.program("tcppipe"), "-f", pipe.origin, "-h", "127.0.0.1", "-p", stage.port]
    assert stage.run(syslog.inside(argv)).returncode == 0
    pipe.arrives()
    daemon = stage.processes[-1]
    assert daemon.name == "rsyslogd"
    daemon.kill()
    pipe.server.kill()
    pipe.server.up()
    pipe.append(b"four\n")
    pipe.arrives()
    os.unlink(stage.path / "rsyslog" / "rsyslogd.pid")
    daemon.start()
    wait_until(lambda: "rsyslogd" in " ".join(syslog.lines), "rsyslogd says nothing")
    pipe.stage.ask(["-K", "TERM"], pipe.origin)
    syslog.wait("local5.info tcppipe[", "ended")
    assert content(pipe.copy) == FIRST + b"four\n"


# --- cron


def test_cron_keeps_it_alive(pipe, need):
    """A real cron, thirty times as fast, calls keep_tcppipe_alive every minute. Nothing happens
    until tcppipe.keepalive is made. Then tcppipe is started; it is killed, and started again; it
    is left alone while it runs."""
    stage = pipe.stage
    cron, unshare, faketime = need("cron", "unshare", "faketime", "root")[:3]
    work = stage.path / "cron"
    for name in ("d", "tabs", "bin"):
        (work / name).mkdir(parents=True)
    python = work / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(stage.program("x")[0])} "$@"\n')
    python.chmod(0o755)
    calls = work / "calls"
    keep = CHECKOUT / "bin" / "keep_tcppipe_alive"
    command = f"{keep} -f {pipe.origin} -h 127.0.0.1 -p {stage.port}"
    wanted = {
        name: stage.env[name] for name in stage.env if name.startswith(("TCPPIPE_", "PYTHONPATH"))
    }
    wanted["PATH"] = f"{work}/bin:/usr/bin:/bin"
    crontab = work / "crontab"
    crontab.write_text(
        "".join(f"{name}={value}\n" for name, value in wanted.items())
        + f"* * * * * root {command} >> {calls} 2>&1; echo done >> {calls}\n"
    )
    crontab.chmod(0o644)
    script = f"""set -e
        mount --make-rprivate /
        mount --bind {crontab} /etc/crontab
        mount --bind {work}/d /etc/cron.d
        mount --bind {work}/tabs /var/spool/cron/crontabs
        mount -t tmpfs tmpfs /run
        exec {faketime} -f '+0 x30' {cron} -f -L 15
    """
    pipe.server.up()
    daemon = stage.process("cron", [unshare, "-m", "sh", "-c", script]).start()
    stage.closing.append(lambda pid=daemon.pid: forget_faketime(pid))

    def called(more):
        goal = len(content(calls).splitlines()) + more

        def enough():
            assert daemon.running, daemon.log
            return len(content(calls).splitlines()) >= goal

        wait_until(enough, lambda: f"cron does nothing: {daemon.log}", seconds=30)

    called(1)
    assert stage.pid_of(pipe.origin) is None
    (stage.run_dir / "tcppipe.keepalive").touch()
    first = wait_until(lambda: stage.pid_of(pipe.origin), "nobody was started", seconds=30)
    pipe.arrives()
    called(2)
    assert stage.pid_of(pipe.origin) == first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not alive(first), "it lives on")
    pipe.append(b"four\n")
    second = wait_until(lambda: stage.pid_of(pipe.origin), "nobody was started", seconds=30)
    assert second != first
    pipe.arrives()
    assert set(content(calls).splitlines()) == {b"done"}, content(calls)
