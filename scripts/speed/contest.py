"""What every contestant is: something that copies the origins of some pipes.

`listen` starts the side that accepts connections and returns when it does; `connect` starts
the other side and returns at once.  How one of them is configured stands in ours.py and
others.py; what is measured stands in runs.py.
"""

import itertools
import os
import shutil
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from processes import Group, connected, listening

PATIENCE = 60.0
SMALL = {"latency", "busy", "writes", "first byte"}  # the tests that a log is like
FOLLOWING = {"bulk", "idle", "many", *SMALL}


class Missing(Exception):
    """A contestant cannot run here; says what would have to be installed."""


class Net(NamedTuple):
    """The network between the two sides; empty prefixes: both are on this host."""

    sink: str = "127.0.0.1"  # the address of the archive host
    source: str = "127.0.0.1"
    on_sink: tuple = ()  # what a command that runs there begins with
    on_source: tuple = ()


class Peer(ABC):
    """What all contestants share.

    folder: exists and is empty.  pipes: (origin, copy) pairs of paths.
    """

    name = title = ""
    tests = FOLLOWING
    follows = True  # what is appended, and a new file under the origin's name

    def __init__(self, folder, pipes, net=None):
        self.folder, self.pipes, self.net = Path(folder), list(pipes), net or Net()
        self.port = free_ports(1)[0]
        self.sinks = Group(self.folder / "sink.log", self.net.on_sink, self.environment())
        self.sources = Group(self.folder / "source.log", self.net.on_source, self.environment())

    @classmethod
    def check(cls, tools):
        """Raise Missing when it cannot run here; tools: what the bench itself has."""
        return

    @classmethod
    def version(cls):
        """The version to print."""
        return ""

    def environment(self):
        """What its processes find in their environment, besides our own."""
        return {}

    @abstractmethod
    def listen(self):
        """Start the listening side, and wait for it."""

    @abstractmethod
    def connect(self):
        """Start the connecting side."""

    def established(self):
        """Wait until the pipes are connected, or have no reason to connect yet."""
        until = time.monotonic() + 3
        while connected(self.port, self.sources.pid()) < len(self.pipes):
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        time.sleep(0.3)

    def cpu(self):
        """Seconds of processor time, both sides."""
        return self.sinks.cpu() + self.sources.cpu()

    def memory(self):
        """Own bytes of each process, and the sum of their PSS."""
        (one, some), (other, more) = self.sinks.memory(), self.sources.memory()
        return one + other, some + more

    def peak(self):
        """The most bytes that one process has had resident."""
        return max(self.sinks.peak(), self.sources.peak())

    def end(self):
        """End both sides."""
        try:
            self.sources.end()
        finally:
            self.sinks.end()

    def accepts(self, group, *ports):
        """Wait until a group that was just started accepts connections."""
        until = time.monotonic() + PATIENCE
        while not all(listening(port, group.pid()) for port in ports or [self.port]):
            if group.ended() or time.monotonic() > until:
                raise RuntimeError(f"{self.name}: does not listen, see {self.folder}")
            time.sleep(0.01)


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


def need(program, package):
    """The path of a program; raises Missing with the package that has it."""
    path = which(program)
    if path is None:
        raise Missing(f"apt install {package}")
    return path
