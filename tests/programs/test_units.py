"""The units, in a systemd of their own: it boots in name spaces, which takes a second.

It needs root and the machine's systemd.  Its root file system is the machine's, with a layer above
it that is gone afterwards.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from stage import CHECKOUT

BOOT = Path(__file__).with_name("boot.sh")
STORY = """\
[Unit]
DefaultDependencies=no
After=sysinit.target
Wants=sysinit.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
StandardOutput=append:/run/story/said
StandardError=append:/run/story/said
ExecStart=/bin/sh /run/story/start
"""
TOOLS = """\
set -e
trap 'systemctl --failed --no-legend; journalctl --no-pager -n 60 -o short-monotonic; true' EXIT
fail() { echo "FAILED: $*"; exit 1; }
# Wait until a command succeeds.
until_so() {
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1)); [ $n -lt 1500 ] || fail "never: $*"
        sleep 0.01
    done
}
main_pid() { systemctl show -p MainPID --value "$1"; }
# Another process than PID runs for UNIT.
begun_again() { [ "$(main_pid "$1")" != "$2" ] && systemctl -q is-active "$1"; }
"""


@pytest.fixture
def boot(tmp_path, need):
    """Boots a systemd with our units, which runs a script and ends."""
    need("root", "systemctl", "unshare")

    def run(script, **files):
        etc = tmp_path / "etc"
        units = etc / "systemd/system"
        units.mkdir(parents=True)
        for unit in (CHECKOUT / "etc/systemd").iterdir():
            (units / unit.name).write_text(unit.read_text())
        for directory in ("sysusers.d", "tmpfiles.d", "default"):
            (etc / directory).mkdir()
            for sample in (CHECKOUT / "etc" / directory).iterdir():
                (etc / directory / sample.name).write_text(sample.read_text())
        for name, text in files.items():
            (etc / name.replace("_conf", ".conf").replace("_list", ".list")).write_text(text)
        (units / "story.service").write_text(STORY)
        (tmp_path / "start").write_text(TOOLS + script + "echo all is well\n")
        spaces = "--cgroup --mount --pid --net --uts --ipc --fork --kill-child".split()
        argv = [*need("unshare"), *spaces, "sh", BOOT, tmp_path, sys.executable, CHECKOUT]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
        )
        said = (tmp_path / "said").read_text() if (tmp_path / "said").exists() else "nothing"
        assert "all is well" in said, said + done.stdout + done.stderr

    return run


def test_the_push_pair(boot):
    """tcppiped.service and tcppipe.service start, reload, and begin again after kill -9 of each;
    the copy is the origin. What an administrator asks finds them."""
    boot(
        """
        for word in one two three; do echo $word; done >/var/log/shared/a.log
        systemctl start tcppiped tcppipe
        copy=/var/log/hosts/127.0.0.1/a.log
        same() { cmp /var/log/shared/a.log $copy; }
        until_so same
        [ "$(stat -c %U:%a $copy)" = tcppipe:640 ] || fail "$(ls -l $copy)"
        systemctl reload tcppiped tcppipe
        echo four >>/var/log/shared/a.log
        until_so same
        for unit in tcppiped tcppipe; do
            pid=$(main_pid $unit)
            kill -9 $pid
            echo "killed $unit" >>/var/log/shared/a.log
            until_so begun_again $unit $pid
            until_so same
        done
        [ "$(tcppipe -I -c /etc/tcppipe.list)" = "$(main_pid tcppipe)" ] || fail "-I"
        tcppipe -I -f /var/log/shared/a.log -h 127.0.0.1 || fail "-I of a pipe"
        systemctl stop tcppipe tcppiped
        same
        """,
        tcppipe_conf="127.0.0.1:/var/log/shared/*.log | /var/log/hosts/%h/%f\n",
        tcppipe_list="-f /var/log/shared/*.log -h 127.0.0.1\n",
    )


def test_the_pull_pair_beside_the_server(boot):
    """fetch_logs.service and gen_numbers.service likewise. tcppiped.service, which has the same
    directories, comes and goes beside them, and takes nothing away."""
    boot(
        """
        for word in one two three; do echo $word; done >/var/log/shared/b.log
        systemctl start tcppiped
        systemctl start gen_numbers fetch_logs
        copy=/var/log/hosts/web1/b.log
        same() { cmp /var/log/shared/b.log $copy; }
        until_so same
        until_so grep -q OK /var/snmp_data/127.0.0.1
        [ "$(stat -c %U:%a /var/snmp_data/127.0.0.1)" = tcppipe:644 ] || fail "snmp"
        systemctl reload gen_numbers fetch_logs
        systemctl stop fetch_logs
        [ "$(cat /run/tcppipe/tcppiped.pid)" = "$(main_pid tcppiped)" ] || fail "tcppiped.pid"
        kill -HUP "$(cat /run/tcppipe/tcppiped.pid)"
        systemctl start fetch_logs
        for unit in gen_numbers fetch_logs; do
            pid=$(main_pid $unit)
            kill -9 $pid
            echo "killed $unit" >>/var/log/shared/b.log
            until_so begun_again $unit $pid
            until_so same
        done
        systemctl -q is-active tcppiped || fail tcppiped
        """,
        tcppipe_conf="",
        fetch_logs_conf="127.0.0.1 6519 /var/log/shared/b.log /var/log/hosts/web1/b.log"
        " /var/log/hosts/web1/.b\n",
        **{
            "gen_numbers.locals": '$hosts_allow{"127.0.0.1"} = 1;\n$bind_port = 6519;\n'
            '$files{"/var/log/shared/b.log"} = "/var/log/shared/b.log.*";\n'
        },
    )
