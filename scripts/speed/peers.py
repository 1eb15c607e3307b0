"""The contestants, each with the configuration that it is measured with.

A contestant copies the origins of some pipes: `sink` starts its receiving side and returns when
that accepts connections, `source` starts its sending side and returns at once.
"""

import itertools
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from processes import Group, connected, listening

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


class Missing(Exception):
    """A contestant cannot run here; says what would have to be installed."""


class Peer:
    """What all contestants share.

    folder: exists and is empty.  pipes: (origin, copy) pairs of paths.
    """

    name = title = ""
    follows = True  # a new file under the origin's name, and what is appended
    faults = ()  # tests that this one cannot take part in

    def __init__(self, folder, pipes, host="127.0.0.1"):
        self.folder, self.pipes, self.host = Path(folder), list(pipes), host
        self.port = free_ports(1)[0]
        self.sinks = Group(self.folder / "sink.log", {"PYTHONPATH": str(CHECKOUT)})
        self.sources = Group(self.folder / "source.log", {"PYTHONPATH": str(CHECKOUT)})

    @classmethod
    def check(cls, tools):
        """Raise Missing when it cannot run here; tools: what the bench itself has made."""
        cls.tools = tools

    @classmethod
    def version(cls):
        """The version to print."""
        return ""

    def sink(self):
        """Start the receiving side, and wait for it."""
        raise NotImplementedError

    def source(self):
        """Start the sending side."""
        raise NotImplementedError

    def established(self):
        """Wait until the sending side has connected, or needs no connection yet."""
        until = time.monotonic() + 2
        while connected(self.port) < len(self.pipes) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)

    def cpu(self):
        """Seconds of processor time, both sides."""
        return self.sinks.cpu() + self.sources.cpu()

    def memory(self):
        """Own bytes of each process, and the sum of their PSS."""
        (one, some), (other, more) = self.sinks.memory(), self.sources.memory()
        return one + other, some + more

    def end(self):
        """End both sides."""
        try:
            self.sources.end()
        finally:
            self.sinks.end()

    def listens(self, group, *ports):
        """Wait until a group that was just started accepts connections."""
        until = time.monotonic() + PATIENCE
        while not all(listening(port) for port in ports or [self.port]):
            if group.ended() or time.monotonic() > until:
                raise RuntimeError(f"{self.name}: does not listen, see {self.folder}")
            time.sleep(0.01)


class CPair(Peer):
    """read() and write() through 1 MiB, inotify, no promise: the yardstick."""

    name = "c"
    title = "C pair, no promise"

    @classmethod
    def check(cls, tools):
        cls.pair = tools.pair

    def sink(self):
        self.sinks.start([self.pair, "take", self.port])
        self.listens(self.sinks)

    def source(self):
        for origin, copy in self.pipes:
            self.sources.start([self.pair, "send", origin, self.host, self.port, copy])


class Tcppipe(Peer):
    """The push pair: tcppiped, and a tcppipe for each pipe."""

    name = title = "tcppipe"

    @classmethod
    def check(cls, tools):
        cls.options = []

    @classmethod
    def version(cls):
        return sys.modules["tcppipe"].__version__ if "tcppipe" in sys.modules else ""

    def sink(self):
        for side in ("run", "state"):
            (self.folder / side).mkdir()
        conf = self.folder / "tcppipe.conf"
        conf.write_text("".join(f"127.0.0.1:{origin} | {copy}\n" for origin, copy in self.pipes))
        self.sinks.start([
            *program("tcppiped"), "-d", "-f", conf, "-p", self.port,
            "--run-dir", self.folder / "run", "--state-dir", self.folder / "state",
        ])  # fmt: skip
        self.listens(self.sinks)

    def source(self):
        for origin, _ in self.pipes:
            self.sources.start(self.command(origin))

    def command(self, origin):
        """The command line of one tcppipe."""
        return [
            *program("tcppipe"), "-d", "-f", origin, "-h", self.host, "-p", self.port,
            "--run-dir", self.folder / "run", *self.options,
        ]  # fmt: skip

    def established(self):
        log, until = self.folder / "source.log", time.monotonic() + PATIENCE
        while log.read_bytes().count(b": established, to ") < len(self.pipes):
            if time.monotonic() > until:
                raise RuntimeError(f"tcppipe: not established, see {log}")
            time.sleep(0.02)


ALL = [CPair, Tcppipe]


def program(name):
    """The command line that runs one of our programs from the checkout."""
    return [sys.executable, CHECKOUT / "bin" / name]


_ports = itertools.count(20000 + os.getpid() % 5000)


def free_ports(count):
    """So many TCP ports that nobody uses, below those that the kernel hands out."""
    found = []
    while len(found) < count:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def which(name):
    """The path of a program, also of one that only root has in PATH; None when missing."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
