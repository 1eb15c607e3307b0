"""A syslogd that is deaf, gone, or started anew, beside whole servers: the copies go on.

All of it happens in a mount name space with a /dev of its own.
"""

import signal
import sys
import time

import pytest
from stage import wait_until

from tcppipe.process.outlets import LOCAL5

# It is a syslogd: deaf at first, with its socket full; after USR1 it writes down what it hears.
SYSLOGD = """
import ctypes, os, signal, socket, subprocess, sys
kind, heard, deaf = sys.argv[1:]
if not os.path.exists("/dev/here"):
    null = os.makedev(1, 3)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev"], check=True)
    for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        os.mknod("/dev/" + name, 0o20666, os.makedev(1, minor))
    open("/dev/here", "w").close()
if os.path.exists("/dev/log"):
    os.unlink("/dev/log")
kind = getattr(socket, "SOCK_" + kind)
server = socket.socket(socket.AF_UNIX, kind)
server.bind("/dev/log")
if kind == socket.SOCK_STREAM:
    server.listen(0)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
others = []
try:
    while deaf == "deaf":
        others.append(socket.socket(socket.AF_UNIX, kind))
        others[-1].setblocking(False)
        others[-1].connect("/dev/log")
        while kind == socket.SOCK_DGRAM:
            others[-1].send(b"x")
except BlockingIOError:
    pass
print("listens", flush=True)
if deaf == "deaf":
    signal.sigwait([signal.SIGUSR1])
out = open(heard, "ab", buffering=0)
if kind == socket.SOCK_DGRAM:
    while True:
        out.write(server.recv(65536) + b"\\n")
import threading
def hear(sock):
    while data := sock.recv(65536):
        out.write(data.replace(b"\\0", b"\\n"))
while True:
    threading.Thread(target=hear, args=server.accept()[:1], daemon=True).start()
"""


class Syslogd:
    """The machine's syslogd, as far as the stage's processes can see.  kind: DGRAM or STREAM."""

    def __init__(self, stage, need, kind):
        self.stage = stage
        self.kind = kind
        self.heard = stage.path / "heard"
        self.unshare, self.nsenter = need("unshare", "nsenter", "root")[:2]
        self.process = stage.process(
            "syslogd", [self.unshare, "-m", *self._argv("deaf")], "listens"
        )
        self.process.up()
        self.holder = self.process.pid
        keep = [self.nsenter, "-t", self.holder, "-m", "sh", "-c", "echo here; exec sleep 600"]
        self.holder = stage.process("holder", keep, "here").up().pid

    def _argv(self, deaf):
        return [sys.executable, "-c", SYSLOGD, self.kind, self.heard, deaf]

    def beside(self, process):
        """Let a process have this syslogd."""
        process.argv = [self.nsenter, "-t", str(self.holder), "-m", *process.argv]

    def listens(self):
        """It hears again."""
        self.process.signal(signal.SIGUSR1)

    def restarts(self):
        """It is gone, and then another one is there, who listens."""
        self.process.kill()
        self.process = self.stage.process("syslogd2", self._argv("hears"), "listens")
        self.beside(self.process)
        self.process.up()

    def hears(self, text):
        """Wait until it has heard that."""
        wait_until(lambda: text in self.text, lambda: (text, self.text))

    @property
    def text(self):
        """All that it has heard."""
        return self.heard.read_text(errors="replace") if self.heard.exists() else ""


@pytest.mark.parametrize("kind", ["DGRAM", "STREAM"])
@pytest.mark.parametrize("pair", ["push", "pull"])
def test_a_deaf_syslogd(stage, need, kind, pair):
    """syslogd does not read when everything starts, connects, streams and is rotated.  All arrives
    as ever; what it did not hear is counted, and it is told how much that was."""
    syslogd = Syslogd(stage, need, kind)
    story = stage.pipe(b"first\n") if pair == "push" else stage.pull(b"first\n")
    syslogd.beside(story.server)
    syslogd.beside(story.client)
    story.up()
    for child in story.server.children():
        stage.run(["kill", "-9", child])  # and there is much to say
    story.append(b"second\n")
    story.rotate(*([1] if pair == "push" else []))
    story.append(b"third\n")
    if pair == "push":
        story.arrives(b"first\nsecond\nthird\n")
    else:
        story.mirrors(b"first\nsecond\n", b"third\n", seconds=30)
    syslogd.listens()
    program = "tcppiped" if pair == "push" else "fetch_logs"
    process = story.server if pair == "push" else story.client

    def told():
        process.hup()
        time.sleep(0.1)  # until it has taken what it did not hear
        return "read again" in syslogd.text

    wait_until(told, lambda: syslogd.text)
    assert f"<{LOCAL5 | 4}>" in syslogd.text
    assert f"{program}[{process.pid}]: " in syslogd.text
    assert "messages were dropped: syslogd did not take them" in syslogd.text


@pytest.mark.parametrize("kind", ["DGRAM", "STREAM"])
def test_another_syslogd(stage, need, kind):
    """syslogd is killed, and another one hears what is said from then on, of all processes."""
    syslogd = Syslogd(stage, need, kind)
    syslogd.listens()
    story = stage.pipe(b"first\n")
    syslogd.beside(story.server)
    syslogd.beside(story.client)
    story.up()
    syslogd.hears("established, to ")
    syslogd.process.kill()
    story.append(b"second\n")
    story.arrives()
    story.server.hup()
    story.server.wait_log("read again")
    syslogd.restarts()
    story.client.signal(signal.SIGUSR1)
    syslogd.hears("is connected to ")
    story.server.hup()
    syslogd.hears("read again")
