"""Whatever is full, for whom, and when: nobody dies, a line says it, and all is equal afterwards.

A matrix.  Its rows are resources, its columns programs and moments: at the start, in the handshake,
while streaming, at rotation, at the end.  A row's life with a program goes through all of them, and in
each the resource is taken away from the running processes until nothing of it is left, and given
back.  Lives wait most of the time, so those of one program run side by side.

While something is full, either everything arrives all the same, or a line names the cause; few lines
are said, and little is computed.
"""

import os
import resource
import subprocess
import sys

import pytest
from full import (
    RESOURCES,
    Cells,
    Disk,
    Kept,
    Limit,
    List,
    Notification,
    Processes,
    PullLife,
    Push,
    bare_memory,
    side_by_side,
)  # fmt: skip
from stage import CHECKOUT

COLUMNS = {
    "tcppipe": Push, "tcppiped": Push, "tcppipe -c": List, "gen_numbers": PullLife,
    "fetch_logs": PullLife,
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("column", COLUMNS)
def test_everything_full(tmp_path, need, column):
    """Each resource, for this program, at each moment."""
    need("root", "prlimit", "unshare", "nsenter")
    side_by_side(
        Cells(full, COLUMNS[column](tmp_path / str(number), number, column))
        for number, full in enumerate(RESOURCES)
        if column in full.programs
    )


class Minutes(Cells):
    """keep_tcppipe_alive has two moments: nobody runs, and somebody does."""

    def live(self):
        """Go through both, and after the first give back what was missing."""
        life = self.life
        life.server.up()
        self.full.before(life)
        if isinstance(self.full, Disk):
            self.full.give(life)
        (self.stage.run_dir / "tcppipe.keepalive").touch()
        if isinstance(self.full, Disk):
            self.full.take(life)
        self.minute()  # it says why not, or can do without, or waits
        self.full.give(life)
        if isinstance(self.full, Processes):
            return  # in the background it would be that user altogether, who may read nothing here
        assert self.minute() == 0
        self.arrive()
        self.moment = "while it runs"
        pid = self.stage.pid_of(life.pipe.origin)
        assert pid
        self.full.take(life)
        self.minute()
        self.full.give(life)
        assert self.stage.pid_of(life.pipe.origin) == pid
        self.arrive()

    def minute(self):
        """cron's minute has come: the exit status.  A failure is said in a line."""
        program = self.life.program
        status = program.start().wait()
        print(f"=== {self.full.name}, {self.moment}: {status} {program.lines}")
        assert status in (0, 1) and len(program.lines) == status, program.lines
        return status


def test_keep_tcppipe_alive(tmp_path, need):
    """Each resource, for what cron starts each minute."""
    need("root", "prlimit", "unshare", "nsenter")
    side_by_side(
        Minutes(full, Kept(tmp_path / str(number), number, "keep_tcppipe_alive"))
        for number, full in enumerate(RESOURCES)
        if not isinstance(full, Notification)
        and getattr(full, "where", "") in ("", "the run directory")
    )


def test_snmp_from_file(tmp_path, need):
    """The agent's script has no descriptor and no memory: it answers that, and later as ever."""
    need("root", "prlimit")
    (tmp_path / "10.0.0.1").write_text("OK\n")
    script = subprocess.Popen(
        [sys.executable, CHECKOUT / "bin" / "snmp_from_file", tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip

    def ask():
        (tmp_path / "10.0.0.1").write_text("OK\n")
        script.stdin.write(b"getnext\n.1\nget\n.1.3.6.1.4.99.1.10.0.0.1\nPING\n")
        script.stdin.flush()
        return [line.strip() for line in iter(script.stdout.readline, b"PONG\n") if line]

    with script:
        usual = ask()
        assert usual.count(b"OK") == 2
        for full in (full for full in RESOURCES if isinstance(full, Limit)):
            before = resource.prlimit(script.pid, full.what)
            resource.prlimit(script.pid, full.what, (full.least(script.pid), before[1]))
            said = ask()
            assert b"OK" in said or b"ERR" in b"".join(said)
            resource.prlimit(script.pid, full.what, before)
            assert ask() == usual
        script.stdin.close()
        assert script.wait(15) == 0
        assert script.stderr.read() == b""


@pytest.mark.parametrize("megabytes", [1, 2, 6])
@pytest.mark.parametrize(
    "program", ["tcppipe", "tcppiped", "gen_numbers", "fetch_logs", "snmp_from_file"]
)
def test_a_little_memory_at_the_start(stage, need, program, megabytes):
    """A program that may have only so much more memory than Python itself says in a line that it
    cannot start, or that it does not know an option."""
    limit = f"--as={bare_memory() + (megabytes << 20)}"
    done = stage.run([*need("prlimit"), limit, *stage.program(program), "--no-such-option"])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 2, done.stderr
