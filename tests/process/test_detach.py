"""Into the background, with the caller seeing how it went."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
ENV = {"PYTHONPATH": PYTHONPATH, "PATH": os.environ["PATH"]}
PRELUDE = """
import os, sys
from tcppipe.process.detach import detach, ensure_stdio
listen, speak = int(sys.argv[1]), int(sys.argv[2])
session = os.getsid(0)
def say(*words):
    os.write(speak, (" ".join(map(str, words)) + "\\n").encode())
def wait():
    os.read(listen, 1)
"""
DETACHED = "say(os.getsid(0) != session and os.getsid(0) != os.getpid())\n"


class Starter:
    """A program that detaches, and a line to it that stays when it is a daemon."""

    def __init__(self, body, shell="", **more):
        theirs, self._go = os.pipe()
        self._said, speak = os.pipe()
        words = [sys.executable, "-c", PRELUDE + body, str(theirs), str(speak)]
        if shell:
            words = ["sh", "-c", shell, "sh", *words]
        more = {"stdin": subprocess.DEVNULL, **more}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(words, env=ENV, pass_fds=(theirs, speak), **pipes, **more)
        os.close(theirs)
        os.close(speak)

    def go(self):
        """Let it go on from its wait()."""
        os.write(self._go, b"x")

    def hear(self):
        """The next thing that it says."""
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._said, 1)
            if not byte:
                break
            line += byte
        return line.decode().strip()

    def left(self):
        """How the caller's process left: status, standard output, standard error."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def close(self):
        """Its end, whatever it still waits for."""
        os.close(self._go)
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        while os.read(self._said, 4096):
            pass
        os.close(self._said)
        self.process.communicate(timeout=30)


@pytest.fixture
def start():
    """Starts programs, and sees their end."""
    started = []

    def starter(*args, **more):
        started.append(Starter(*args, **more))
        return started[-1]

    yield starter
    for one in started:
        one.close()


def test_caller_leaves_when_the_daemon_is_ready(start):
    """The caller waits for the daemon's word, leaves with status 0, and the daemon lives on."""
    one = start("""
ready = detach([listen, speak])
say("up", os.getpid())
wait()
ready()
say("on")
wait()
say("still on")
""")
    word, pid = one.hear().split()
    assert word == "up"
    assert int(pid) != one.process.pid
    assert one.process.poll() is None
    one.go()
    assert one.left() == (0, "", "")
    assert one.hear() == "on"
    one.go()
    assert one.hear() == "still on"


def test_what_a_daemon_is(start):
    """Own session, no terminal, working directory /, umask 027, only its own descriptors."""
    one = start("""
import fcntl
kept, lost = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY)
mine = [kept, listen, speak]
ready = detach(mine)
ready()
is_open = []
for fd in range(4096):
    try:
        os.fstat(fd)
        is_open.append(fd)
    except OSError:
        pass
more = set(is_open) ^ {0, 1, 2, kept, listen, speak}
say([(fd, os.fstat(fd).st_mode, os.fstat(fd).st_rdev) for fd in more if fd in is_open])
say(mine == [kept, listen, speak], [fd for fd in more if fd not in is_open])
null = os.stat("/dev/null").st_rdev
say([os.fstat(fd).st_rdev == null and os.get_inheritable(fd) for fd in range(3)])
say(os.getcwd(), oct(os.umask(0)))
say(os.getsid(0) != session and os.getsid(0) != os.getpid())
""")
    assert one.left() == (0, "", "")
    assert one.hear() == "[]"
    assert one.hear() == "True []"
    assert one.hear() == "[True, True, True]"
    assert one.hear() == "/ 0o27"
    assert one.hear() == "True"


def test_failure_in_the_daemon_is_seen_by_the_caller(start):
    """What fails after detaching has an exit status and one line on the caller's standard error."""
    one = start("ready = detach([speak])\nready(1, 'tcppipe: a.pid: already locked')\n")
    assert one.left() == (1, "", "tcppipe: a.pid: already locked\n")


def test_second_word_is_ignored(start):
    """Once the caller knows that all is well, it cannot be told otherwise; nor is that an error."""
    one = start("ready = detach([speak])\nready()\nready(1, 'no')\nsay('fine')\n")
    assert one.left() == (0, "", "")
    assert one.hear() == "fine"


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 9)", "raise ValueError", "os._exit(0)"])
def test_daemon_dies_without_a_word(start, death):
    """A daemon that is killed, or fails in a way nobody foresaw, is not taken for a running one."""
    one = start(f"ready = detach([speak], 'tcppipe')\n{death}\n")
    assert one.left() == (1, "", "tcppipe: ended before it was ready\n")


def test_enormous_message(start):
    """A message that is longer than a pipe takes at once arrives in part, and nobody hangs."""
    one = start("ready = detach([speak])\nready(2, 'x' * 100000)\n")
    status, _, err = one.left()
    assert status == 2
    assert set(err) == {"x", "\n"}


def test_caller_is_interrupted_while_it_waits(start):
    """The terminal's interruption ends the caller; the daemon is not hurt and not in the way."""
    one = start(
        "ready = detach([listen, speak])\nsay('up')\nwait()\nready()\nsay('fine')\nwait()\n"
    )
    assert one.hear() == "up"
    one.process.terminate()
    assert one.left()[0] == -15
    one.go()
    assert one.hear() == "fine"


def test_buffered_text_is_printed_once(start):
    """What was printed before detaching is neither lost in the buffer nor printed twice."""
    one = start("print('pid 17')\nready = detach([speak])\nready()\n")
    assert one.left() == (0, "pid 17\n", "")


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-", ">&- 2>&-", "2>&-"])
def test_closed_standard_descriptors(start, closed):
    """Started by something that closes stdin and others, it detaches all the same."""
    one = start("ready = detach([speak])\nready()\n" + DETACHED, shell=f'exec "$@" {closed}')
    assert one.left() == (0, "", "")
    assert one.hear() == "True"


def test_ensure_stdio_keeps_the_numbers_taken(start):
    """After ensure_stdio no file of ours gets a number below 3, and printing harms nothing."""
    body = """
ensure_stdio()
fd = os.open("/dev/null", os.O_RDONLY)
print("nowhere")
print("nowhere", file=sys.stderr)
say(fd > 2, os.get_inheritable(0), sys.stdin.read() == "")
"""
    one = start(body, shell='exec "$@" <&- >&- 2>&-')
    assert one.hear() == "True True True"


def test_standard_input_is_a_socket(start):
    """Started by inetd or ssh, with a socket for stdin, it detaches all the same."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        one = start("ready = detach([speak])\nready()\n" + DETACHED, stdin=theirs)
        assert one.left() == (0, "", "")
        assert one.hear() == "True"


def test_parent_is_init(start):
    """Started by process 1, it detaches all the same."""
    flags = "-pf" if os.geteuid() == 0 else "-rpf"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", flags, "true"], check=False).returncode
    ):
        pytest.skip("cannot make a pid namespace here")
    shell = f"""exec unshare {flags} sh -c '"$@"; echo $?; read x' sh "$@\""""
    body = "parent = os.getppid()\nready = detach([speak])\nsay(parent)\n" + DETACHED + "ready()\n"
    one = start(body, shell=shell, stdin=subprocess.PIPE)
    assert one.hear() == "1"
    assert one.hear() == "True"
    assert one.left() == (1, "0\n", "")  # 1: read x found the end


def test_python_daemon_is_not_installed(start):
    """Without python-daemon there is a line that says so, before anything is forked."""
    one = start("""
sys.modules["daemon"] = None
from tcppipe.errors import ConfigError
try:
    detach([speak])
except ConfigError as error:
    say(error)
""")
    assert one.hear() == (
        "cannot detach: the Python module python-daemon is missing: pip install python-daemon"
    )
