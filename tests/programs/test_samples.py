"""The samples in etc/, as they are shipped: real programs read them."""

import re
import stat

import pytest
from stage import CHECKOUT, content, wait_until

LOGROTATE = CHECKOUT / "etc/logrotate.d"


@pytest.fixture
def logrotate(stage, need):
    """Runs the real logrotate by force, with a sample whose paths lead into the stage."""
    (program,) = need("logrotate")

    def run(sample, **instead):
        text = (LOGROTATE / sample).read_text().replace("su tcppipe adm", "")
        text = text.replace("/run/systemd/system", "/nonexistent")
        for old, new in instead.items():
            assert old in text
            text = text.replace(old, str(new))
        conf = stage.path / sample
        conf.write_text(text)
        conf.chmod(0o644)
        done = stage.run([program, "-v", "-f", "-s", stage.path / "logrotate.state", conf])
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr
        return done

    return run


def test_the_archives_logrotate_sample(stage, logrotate):
    """It rotates copies at any depth with one HUP, and leaves the pieces of mirrors alone."""
    hosts, mirrors = stage.path / "hosts", stage.path / "mirrors"
    files = [stage.path / "var/log" / name for name in ("messages", "a.log", "app/b.log")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"before\n")
    stage.configure(
        f"127.0.0.1:{files[0]} | {hosts}/%h/%f",
        f"127.0.0.1:{files[1]} | {hosts}/%h/var/log/%f",
        f"127.0.0.1:{files[2]} | {hosts}/%h/var/log/app/%f",
    )
    at = hosts / "127.0.0.1"
    copies = [at / "messages", at / "var/log/a.log", at / "var/log/app/b.log"]
    mirror = mirrors / "127.0.0.1/audit.log"
    mirror.parent.mkdir(parents=True)
    mirror.write_bytes(b"a piece\n")
    server = stage.server().up()
    clients = [stage.client(file, name=file.name).up() for file in files]
    for copy in copies:
        wait_until(lambda copy=copy: content(copy) == b"before\n", copy)
    where = {"/var/log/hosts": hosts, "/var/run/tcppiped.pid": stage.run_dir / "tcppiped.pid"}
    logrotate("tcppipe-archive", **where)
    for file, copy in zip(files, copies):
        wait_until(copy.exists, copy)
        with open(file, "ab") as log:
            log.write(b"behind\n")
        wait_until(lambda copy=copy: content(copy) == b"behind\n", copy)
        assert [content(piece) for piece in copy.parent.glob(f"{copy.name}?*")] == [b"before\n"]
    assert [path.name for path in mirror.parent.iterdir()] == ["audit.log"]
    assert len(re.findall("HUP", server.log)) <= 1
    assert all(client.running for client in clients)


def test_the_sample_for_what_the_programs_say(stage, logrotate):
    """The log of the programs is rotated, too."""
    log = stage.path / "tcppipe.log"
    log.write_bytes(b"said\n")
    again = stage.path / "again"
    again.write_text("#!/bin/sh\n")
    again.chmod(0o755)
    logrotate("tcppipe", **{"/var/log/tcppipe.log": log, "/usr/lib/rsyslog/rsyslog-rotate": again})
    assert not log.exists() and content(f"{log}.1") == b"said\n"


def test_the_agent_may_read_what_snmp_is_told(stage):
    """fetch_logs -D has a umask that keeps copies from others, and the SNMP agent is another."""
    pull = stage.pull(b"x\n")
    argv = pull.client.argv
    at = argv.index(str(CHECKOUT / "bin/fetch_logs"))
    done = stage.run([*argv[: at + 1], "-D", *argv[at + 1 :]])
    assert done.returncode == 0, done.stderr
    wait_until(pull.status.exists, "a status file")
    assert stat.S_IMODE(pull.status.stat().st_mode) == 0o644
