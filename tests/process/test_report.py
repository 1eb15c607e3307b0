"""Saying things, to syslog and to the terminal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tcppipe.process import report

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
ENV = {"PYTHONPATH": PYTHONPATH, "PATH": os.environ["PATH"], "LC_ALL": "C"}

# A /dev of its own, in which it is syslogd; then what it has heard, as JSON.
PRIVATE_DEV = """
touch "$1/null" && mount --bind /dev/null "$1/null" && mount -t tmpfs tmpfs /dev &&
touch /dev/null && mount --bind "$1/null" /dev/null && shift && exec "$@"
"""
SYSLOGD = """
import json, socket, subprocess, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind("/dev/log")
run = subprocess.run([sys.executable, "-c", *sys.argv[1:]], capture_output=True, text=True)
heard = []
server.setblocking(False)
try:
    while True:
        heard.append(server.recv(65536).decode())
except BlockingIOError:
    pass
print(json.dumps([run.returncode, run.stdout, run.stderr, heard]))
"""


@pytest.fixture
def with_syslogd(tmp_path):
    """Runs a script beside a syslogd: status, standard output, standard error, what was logged."""
    unshare = ["unshare", "-m" if os.geteuid() == 0 else "-rm"]
    mount = [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/dev"]
    if not shutil.which("unshare") or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot make a mount namespace here")

    def run(script, *argv):
        words = [*unshare, "sh", "-c", PRIVATE_DEV, "sh", tmp_path, sys.executable, "-c", SYSLOGD]
        words += [script, *argv]
        done = subprocess.run(words, env=ENV, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    return run


@pytest.fixture
def speaking():
    """Lets a test open the report, and closes it."""
    yield report.open
    report.open("pytest", False)
    report.close()


def run(script, shell='exec "$@"', **more):
    """A script that reports, started by a shell in some unfriendly way."""
    words = ["sh", "-c", shell, "sh", sys.executable, "-c", script]
    return subprocess.run(words, env=ENV, timeout=30, check=False, **more).returncode


def test_foreground_speaks_to_the_terminal(speaking, capfd):
    """In the foreground every message is a line on standard error, with the program's name."""
    speaking("tcppipe", True)
    for say in (report.critical, report.error, report.warning, report.info, report.debug):
        say(f"/a/log: {say.__name__}")
    names = ("critical", "error", "warning", "info", "debug")
    assert capfd.readouterr().err == "".join(f"tcppipe: /a/log: {name}\n" for name in names)


def test_background_is_silent(speaking, capfd):
    """A daemon writes nothing to standard error, except why it ends."""
    speaking("tcppiped")
    report.critical("/a/log: not to be seen")
    assert report.fatal("/etc/tcppipe.conf: no such file") == 1
    assert capfd.readouterr() == ("", "tcppiped: /etc/tcppipe.conf: no such file\n")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("/var/log/mail: cannot read", "/var/log/mail: cannot read"),
        ("a\nb\r\tc\0\x1b[2J\x7f", r"a\x0ab\x0d\x09c\x00\x1b[2J\x7f"),
        ("é and 日本", "é and 日本"),
        (os.fsdecode(b"/tmp/\xff\xc3"), r"/tmp/\xff\xc3"),
        (b"/tmp/\xff\xc3\xa9", r"/tmp/\xffé"),
        ("\x85\u2028\u202e\U000e0001\ud800", r"\u0085\u2028\u202e\U000e0001\ud800"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        ("/a" * 3000 + ": cannot read", "/a" * 100 + "...: cannot read"),
        (b"\xff" * 4000 + b": cannot read", r"\xff" * 50 + "...: cannot read"),
        ("a b" * 3000, ("a b" * 3000)[:1000] + "..."),
    ],
)
def test_one_line_of_printable_text(message, line):
    """Control characters, separators, reversals and bytes that are no text are escaped."""
    assert report.one_line(message) == line


def test_syslog_lines(with_syslogd):
    """Facility LOCAL5, a priority for each verb, the program's name and pid, escaped text."""
    script = """
import os
from tcppipe.process import report
report.open("tcppipe")
report.critical("one"); report.error("two"); report.warning("three"); report.info("four")
report.debug("fi\\nve %s é \\udcff\\0"); report.fatal("six")
print(os.getpid())
"""
    status, pid, err, heard = with_syslogd(script)
    assert (status, err) == (0, "tcppipe: six\n")
    name = f"tcppipe[{pid.strip()}]: "
    heard = [(line[: line.index(">") + 1], line[line.index(name) + len(name) :]) for line in heard]
    local5 = 21 * 8
    assert heard == [
        (f"<{local5 + 2}>", "one"),
        (f"<{local5 + 3}>", "two"),
        (f"<{local5 + 4}>", "three"),
        (f"<{local5 + 6}>", "four"),
        (f"<{local5 + 7}>", r"fi\x0ave %s é \xff\x00"),
        (f"<{local5 + 2}>", "six"),
    ]


def test_the_journal_hears_it_once(with_syslogd):
    """Standard error that systemd's journal reads is left out, since it hears syslog, too."""
    script = """
import os
from tcppipe.process import report
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
report.open("tcppipe", True)
report.info("one")
report.fatal("two")
os.environ["JOURNAL_STREAM"] = "1:2"
report.info("three")
"""
    _, _, err, heard = with_syslogd(script)
    assert err == "tcppipe: three\n"
    assert [line.rpartition(": ")[2] for line in heard] == ["one", "two", "three"]


def test_syslog_never_writes_to_an_archive(with_syslogd, tmp_path):
    """Logged, detached, and a file opened that gets the old connection's number: the file stays
    empty, and what is said then reaches syslogd."""
    script = """
import os, sys
from tcppipe.process import report
from tcppipe.process.detach import detach
report.open("tcppipe")
report.info("before")
ready = detach()
files = [os.open(sys.argv[1] + str(n), os.O_RDWR | os.O_CREAT) for n in range(5)]
report.open("tcppipe")
report.info("after")
for fd in files:
    os.write(fd, b"ours")
texts = [os.pread(fd, 100, 0) for fd in files]
ready(0 if texts == [b"ours"] * 5 else 1, repr(texts))
"""
    status, _, _, heard = with_syslogd(script, str(tmp_path / "archive"))
    assert status == 0
    assert [line.rpartition(": ")[2] for line in heard] == ["before", "after"]
    assert (tmp_path / "archive0").read_text() == "ours"


def test_nobody_listens(speaking):
    """Standard error's reader gone, or full disk under it: not our death."""
    script = """
from tcppipe.process import report
report.open("tcppipe", True)
report.error("boo")
report.close()
report.error("boo")
raise SystemExit(7)
"""
    reader, writer = os.pipe()
    os.close(reader)
    assert run(script, stderr=writer) == 7
    os.close(writer)
    assert run(script, 'exec "$@" 2>/dev/full') == 7


def test_closed_standard_error(tmp_path):
    """With standard error closed, a file that gets its number is not written to."""
    script = f"""
import os
from tcppipe.process import report
fd = os.open({str(tmp_path / "archive")!r}, os.O_RDWR | os.O_CREAT)
assert fd == 2
report.open("tcppipe", True)
report.error("boo")
raise SystemExit(report.fatal("boo"))
"""
    assert run(script, 'exec "$@" 2>&-') == 1
    assert (tmp_path / "archive").read_bytes() == b""


def test_what_a_thread_could_not_raise():
    """An error in a thread is one line with its place; want of memory is said by whoever waits."""
    script = """
import _thread, time
from tcppipe.process import report
report.open("tcppipe", True)
def wrong(error):
    raise error
for error in (ValueError("odd"), MemoryError()):
    _thread.start_new_thread(wrong, (error,))
time.sleep(0.5)
report.tend()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENV, capture_output=True, text=True, timeout=30
    )
    assert done.stderr == "tcppipe: a thread or a clean-up: bug: ValueError: odd (?)\n"
