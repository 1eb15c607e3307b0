"""An archive, its origin and a pair between them, for stories that follow the manual's recipes.

The commands are those of MOVING AND RESTORING in tcppiped(8), with the stage's places.
"""

import gzip
import os
import re
import shlex
import signal
from pathlib import Path

from stage import CHECKOUT, append, children, content, is_marked, size, wait_until

from tcppipe.process import paths

PAGE = CHECKOUT / "man" / "tcppiped.8"
BOOT = "/proc/sys/kernel/random/boot_id"
FALSE = (  # what no restoring makes true
    "lost at the origin|rewritten|generation is gone|digests of a generation|no longer has|"
    "somebody else|bytes have no place"
)

QUOTED = re.compile(r"(archive-6514\.|web1\.|)((?:%2F\w+)+)")
PLACE = re.compile(
    r"(?<![\w/])(/var/lib/tcppipe|/var/run|new:/|/archive|/backup|/mnt|/etc/tcppipe\.conf|web1:"
    r"|/etc/fetch_logs\.conf|/etc/gen_numbers\.locals|/var/snmp_data/web1|/var/log|-h archive)"
)

SLOW = """
import threading
from tcppipe.files.destination import Destination
Destination.syncing = lambda self: threading.Event().wait
"""  # a disk on which no sync ends that is made beside the stream


def commands(heading):
    """The commands that the page gives under a heading of the section."""
    text = PAGE.read_text().partition(".Sh MOVING AND RESTORING\n")[2].partition("\n.Sh ")[0]
    text = text.partition(f".Ss {heading}\n")[2].partition("\n.Ss ")[0].replace(r"\e", "\\")
    found = re.findall(r"^# (.*)", text, re.M)
    assert found, f"no commands under {heading!r}"
    return found


class World:
    """An origin /var/log/messages, its copy /archive/web1/messages, and a pair between them."""

    def __init__(self, stage):
        self.stage = stage
        self.origin = stage.path / "var" / "log" / "messages"
        self.archive = stage.path / "archive"
        self.copy = self.archive / "web1" / "messages"
        self.backup = stage.path / "backup"
        self.other = stage.path / "new"
        for folder in (self.origin.parent, self.archive, self.backup, self.other):
            folder.mkdir(parents=True)
        for folder in (self.other / "archive", self.other / "var/lib/tcppipe", self.other / "etc"):
            folder.mkdir(parents=True)
        self.origin.touch()
        self.bin = stage.path / "bin"  # what the page's commands find
        self.bin.mkdir()
        (self.bin / "tcppipe").write_text(
            f'#!/bin/sh\nexec {" ".join(map(shlex.quote, stage.program("tcppipe")))} "$@"\n'
        )
        (self.bin / "tcppipe").chmod(0o755)
        stage.env["PATH"] = f"{self.bin}:{stage.env['PATH']}"
        self.written = bytearray()
        self.lines = 0

    def follow(self, heading, first=0, last=None):
        """Do what the page says; first, last: only these of its commands."""
        for command in commands(heading)[first:last]:
            command = QUOTED.sub(self._quoted, command)
            command = PLACE.sub(self._placed, command)
            done = self.stage.run(["sh", "-c", command])
            assert done.returncode == 0, (command, done.stderr)

    def _placed(self, found):
        """Where on this stage is what the page means."""
        stage, run_dir = self.stage, self.stage.run_dir
        places = {
            "/var/lib/tcppipe": stage.state_dir, "/var/run": run_dir, "new:/": f"{self.other}/",
            "/archive": self.archive, "/backup": self.backup, "/mnt": stage.path / "mnt",
            "/etc/tcppipe.conf": stage.conf, "/etc/fetch_logs.conf": stage.path / "fetch_logs.conf",
            "/etc/gen_numbers.locals": stage.path / "gen_numbers.locals",
            "/var/snmp_data/web1": stage.path / "snmp" / "127.0.0.1",
            "/var/log": self.origin.parent, "web1:": "127.0.0.1:",
            "-h archive": f"-h 127.0.0.1 -p {stage.port}",
        }  # fmt: skip
        return str(places[found[0]])

    def _quoted(self, found):
        """How a file is called that has a path as its name."""
        path = PLACE.sub(self._placed, found[2].replace("%2F", "/"))
        if found[1] == "archive-6514.":
            return paths.pipe_base("127.0.0.1", self.stage.port, path)
        if found[1] == "web1.":
            return paths.ledger_base("127.0.0.1", path)
        return paths.file_name(path)

    def write(self, count=200):
        """An application writes lines."""
        lines = bytearray()
        for _ in range(count):
            self.lines += 1
            lines += b"%08d %s\n" % (self.lines, b"x" * (self.lines % 97))
        append(self.origin, lines)
        self.written += lines

    def rotate(self, pack=True):
        """logrotate with compress and delaycompress."""
        for number in range(30, 0, -1):
            for end in ("", ".gz"):
                old = Path(f"{self.origin}.{number}{end}")
                if old.exists():
                    old.rename(f"{self.origin}.{number + 1}{end}")
        second = Path(f"{self.origin}.2")
        if pack and second.exists():
            self.stage.run(["gzip", second])
        self.origin.rename(f"{self.origin}.1")
        self.origin.touch()

    def compress(self, pieces):
        """What logrotate does to rotated copies."""
        for piece in pieces:
            if piece.suffix != ".gz":
                assert self.stage.run(["gzip", piece]).returncode == 0

    def copied(self):
        """All that is in the copy, oldest piece first."""
        pieces = [*self.pieces(), self.copy]
        return b"".join(
            gzip.decompress(content(p)) if p.suffix == ".gz" else content(p) for p in pieces
        )

    def arrives(self, seconds=20.0):
        """Wait until the copy is all that was written."""

        def what():
            there, wanted = self.copied(), bytes(self.written)
            same = len(os.path.commonprefix([there, wanted]))
            names = [(p.name, size(p)) for p in [*self.pieces(), self.copy]]
            return (
                f"{len(there)} of {len(wanted)} bytes, equal are {same}: …{there[same - 30 : same]!r}"
                f" then {there[same : same + 30]!r} instead of {wanted[same : same + 30]!r}; {names}"
            )

        def equal():
            return sum(map(size, [self.copy])) and self.copied() == self.written

        wait_until(equal, what, seconds)

    def begin_again(self):
        """The sink comes back, and all goes on."""
        self.sink.up()
        self.look_now()

    def kill(self):
        """kill -9 of the sink and its children, and of whoever traces them."""
        family = [self.sink.pid]
        for pid in family:
            family += children(pid)
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        self.sink.wait()
        wait_until(lambda: not set(family) & set(self.stage.living()), "it lives on")

    def proves(self, *said):
        """It ends equal, goes on equal, and what was said is true."""
        self.arrives()
        self.write(3)
        self.rotate()
        self.write(3)
        self.arrives()
        logs = content(self.sink.logfile).decode() + content(self.source.logfile).decode()
        allowed = "|".join(said) or "$^"
        false = [
            line
            for line in logs.splitlines()
            if re.search(FALSE, line) and not re.search(allowed, line)
        ]
        assert not false, false
        for pattern in said:
            assert re.search(pattern, logs), (pattern, logs)
        assert b'"gap"' not in content(self.ledger)
        return logs


class Pushed(World):
    """tcppipe and tcppiped."""

    def __init__(self, stage, options=""):
        super().__init__(stage)
        stage.configure(f"127.0.0.1:{self.origin} | {self.copy}{options}")
        self.source = stage.client(self.origin)
        self.sink = stage.server()
        base = paths.ledger_base("127.0.0.1", str(self.origin))
        self.ledger = str(stage.state_dir / f"{base}.ledger")
        self.mirror = bool(options)

    @property
    def rotates_alone(self):
        """True when the origin's rotations do not rotate the copy."""
        return not self.mirror

    def up(self):
        """Both sides run."""
        self.sink.up()
        self.source.up()

    def look_now(self):
        """A client that waits to connect does it now."""
        self.source.hup()

    def pieces(self):
        """What was rotated, oldest first."""
        if self.mirror:
            return set_aside(self.copy)
        found = self.copy.parent.glob(f"{self.copy.name}-*")
        return sorted(found, key=lambda path: int(re.search("-([0-9]+)", path.name)[1]))

    def rotate_copy(self):
        """The archive's logrotate."""
        if not self.mirror:
            self.copy.rename(f"{self.copy}-{len(self.pieces()) + 1:03d}")
            if self.sink.running:
                self.sink.hup()


class Mirrored(Pushed):
    """The same, each generation a piece."""

    def __init__(self, stage):
        super().__init__(stage, " | mirror")


class Pulled(World):
    """gen_numbers and fetch_logs."""

    rotates_alone = False

    def __init__(self, stage):
        super().__init__(stage)
        stage.configure()
        pull = '$hosts_allow{"127.0.0.1"} = 1;'
        self.source = stage.numbers(pull, f'$files{{"{self.origin}"}} = "{self.origin}.*";')
        pointer = self.archive / "web1" / ".messages"
        self.sink = stage.fetcher(f"127.0.0.1 {stage.port} {self.origin} {self.copy} {pointer}")
        self.ledger = str(stage.state_dir / f"{paths.file_name(str(self.copy))}.ledger")

    def up(self):
        """Both sides run."""
        self.source.up()
        self.sink.up()

    def look_now(self):
        """It connects by itself."""

    def pieces(self):
        """What was set aside, oldest first."""
        return set_aside(self.copy)

    def rotate_copy(self):
        """Only the origin's rotation does it."""


def set_aside(copy):
    """The pieces of a mirror, oldest first."""
    found = copy.parent.glob(f"{copy.name}.2*")
    return sorted(found, key=lambda path: list(map(int, re.findall(r"\d+", path.name))))


# --- how the sink ends


def ends_in_order(world):
    """TERM."""
    world.sink.down()


def is_killed(world):
    """kill -9 while bytes come."""
    before = size(world.copy)
    world.write(2000)
    wait_until(lambda: size(world.copy) > before, "nothing comes")
    world.kill()


def never_marks(world):
    """kill -9, and nothing was marked since the start."""
    assert not is_marked(world.ledger)
    world.kill()


ENDS = (ends_in_order, is_killed, never_marks)


class Story:
    """What all stories have in common."""

    def __init__(self, world, end):
        self.world = world
        self.end = end
        self.marked = end is not never_marks

    def begins(self):
        """The pair runs, and something was delivered."""
        world = self.world
        world.up()
        world.write()
        world.arrives()
        if self.marked:
            wait_until(lambda: is_marked(world.ledger), "no mark")

    def goes_on(self, rotations=1):
        """Much happens."""
        world = self.world
        for _ in range(rotations if self.marked else 0):
            world.write()
            world.arrives()
            world.rotate()
            world.rotate_copy()
        world.write()
        world.arrives()

    def ends(self, rotations):
        """The sink is away, and the origin's world goes on."""
        world = self.world
        self.end(world)
        world.sink.env["PYTHONPATH"] = world.stage.env["PYTHONPATH"]
        for _ in range(rotations):
            world.write()
            world.rotate()
        world.write()
