"""Resources that can be full, and lives of programs that lack them (test_everything_full.py)."""

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from stage import FILL, MOST, Stage, append, children, content
from test_many import Many
from test_used_up import processor

FIRST = b"one\ntwo\nthree\n"
ROWS = b"a line of some length, of which there are many\n" * 8000
SIDE_BY_SIDE = 8
PATIENCE = 60.0  # seconds until all is equal again: a peer may pause for half a minute
LATER = 4.0  # seconds
WATCHED = 2.0  # seconds for which it is watched that nothing is said or computed too much
LINES = 10  # that all say for each pipe, while one thing is full
SPENT = 0.6  # seconds of computing beyond what the work is worth
SMALL = 4 << 20  # bytes of a file system that is to be full
CLONE_NEWNS = 0x20000  # of <linux/sched.h>
NOBODY = 1_900_000_000  # a user who owns nothing


def wait(condition, what, seconds=PATIENCE):
    """As stage.wait_until, for many that wait at once."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, what() if callable(what) else what
        time.sleep(0.05)


def _used_by(program):
    """{pid: seconds of computing} of a program's processes; one may end meanwhile."""
    used = {}
    for pid in family(program.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            used[pid] = processor(pid)
    return used


def family(pid):
    """A process and all that descend from it, as far as they live."""
    found = [pid]
    for child in children(pid):
        found += family(child)
    return found


# --- resources


class Full:
    """Something that can be full.  causes: what a message then ends with.

    before(life): prepare the stage, so that nothing, or little, is left when the program starts.
    take(life), give(life): from, and back to, the running processes.
    """

    causes = ()
    programs = frozenset({"tcppipe", "tcppipe -c", "tcppiped", "gen_numbers", "fetch_logs"})

    def before(self, life):
        """Nothing to prepare."""


class Limit(Full):
    """A limit of each process."""

    def __init__(self, name, what, causes, least, at_start):
        self.name = name
        self.what = what
        self.causes = causes
        self.least = least  # a function: what a process of this pid uses now
        self._at_start = at_start
        self.had = resource.getrlimit(what)

    def before(self, life):
        """It starts with little."""
        option = {resource.RLIMIT_NOFILE: "nofile", resource.RLIMIT_AS: "as"}[self.what]
        life.program.argv = ["prlimit", f"--{option}={self._at_start}:", *life.program.argv]

    def take(self, life):
        """Nothing is left of it."""
        for pid in life.family():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                resource.prlimit(pid, self.what, (self.least(pid), self.had[1]))

    def give(self, life):
        """As much as there was."""
        for pid in life.family():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, self.what, (self.had[0], self.had[1]))
        life.program.argv = [
            word for word in life.program.argv if not word.startswith(("--nofile", "--as"))
        ]


def lowest_free(pid):
    """The number of the next descriptor that a process would get."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in range(len(used) + 1) if number not in used)


def bare_memory():
    """The bytes that Python has for itself."""
    say = "print(open('/proc/self/status').read())"
    told = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    return int(re.search(r"VmPeak:\s*(\d+)", told.stdout)[1]) << 10


def address_space(pid):
    """The bytes that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


class Processes(Full):
    """A user's processes and threads: as many as he may have."""

    name = "processes and threads"
    causes = ("Resource temporarily unavailable",)

    def before(self, life):
        """It belongs to a user who has as many as he may have."""
        drop = ["--bounding-set", "-sys_admin,-sys_resource"]
        life.somebody = ["setpriv", "--ruid", str(life.uid), *drop, "prlimit", f"--nproc={MOST}"]
        life.program.argv = [*life.somebody, *life.program.argv]
        self.take(life)

    def take(self, life):
        """Others of his are as many as he may have."""
        life.crowd = life.stage.process(
            "crowd", [*life.somebody, sys.executable, "-c", FILL], "full"
        ).up()

    def give(self, life):
        """They end, and nothing of them is left."""
        life.crowd.end()
        wait(lambda: not exists(life.crowd.pid), "the crowd stays")


def exists(group):
    """True while there is anything of a group of processes."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Notification(Full):
    """Instances or watches of inotify, in a user name space."""

    programs = frozenset({"tcppipe", "tcppipe -c", "gen_numbers"})
    causes = ("No space left on device", "Too many open files")

    def __init__(self, name):
        self.name = f"inotify {name}"
        self._path = f"/proc/sys/user/max_inotify_{name}"

    def before(self, life):
        """There is none at the start."""
        shell = f'echo 0 >{self._path}; exec "$@"'
        life.program.argv = ["unshare", "-U", "-r", "sh", "-c", shell, "sh", *life.program.argv]

    def _allow(self, life, number):
        enter = ["nsenter", "-t", str(life.program.pid), "-U", "--preserve-credentials"]
        subprocess.run([*enter, "sh", "-c", f"echo {number} >{self._path}"], check=True)

    def take(self, life):
        """No other can be had."""
        self._allow(life, 0)

    def give(self, life):
        """There are some."""
        self._allow(life, 1000)


class Disk(Full):
    """A small file system of its own for one of the stage's directories."""

    causes = ("No space left on device",)

    def __init__(self, where, what, programs):
        self.name = f"{what} of {where}"
        self.where = where
        self.what = what
        self.programs = programs

    def _place(self, life):
        return {
            "the copy": life.stage.path / "copy",
            "the ledgers": life.stage.state_dir,
            "the run directory": life.stage.run_dir,
            "SNMP": life.stage.path / "snmp",
            "the pointers": life.stage.path / "pointer",
            "the log": life.stage.said,
        }[self.where]

    def before(self, life):
        """It is full at the start."""
        place = self._place(life)
        place.mkdir(exist_ok=True)
        options = f"size={SMALL},nr_inodes=200,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        if self.where == "the log":  # whose name is known already
            for process in life.stage.processes:
                process.logfile.touch()
        self.take(life)

    def take(self, life):
        """Fill it up, if it is what it should be, and with no more than it can hold."""
        place = self._place(life)
        room = os.statvfs(place)
        assert room.f_blocks * room.f_frsize == SMALL, f"{place} is another file system"
        with contextlib.suppress(OSError):
            if self.what == "inodes":
                for number in range(1000):
                    (place / f"filler{number}").touch()
            else:
                with open(place / "filler", "ab", buffering=0) as file:
                    for size in (1 << 16, 4096):
                        with contextlib.suppress(OSError):
                            for _ in range(2 * SMALL // size):
                                if not file.write(bytes(size)):
                                    break

    def give(self, life):
        """Make room."""
        for path in self._place(life).glob("filler*"):
            path.unlink()


PUSHERS = frozenset({"tcppipe", "tcppipe -c"})
SINKS = frozenset({"tcppiped", "fetch_logs"})
EVERYBODY = Full.programs
DESCRIPTORS = ("Too many open files",)
MEMORY = ("Cannot allocate memory", "failed to map segment")
RESOURCES = [
    Limit("descriptors", resource.RLIMIT_NOFILE, DESCRIPTORS, lowest_free, 8),
    Limit("descriptors, none at all", resource.RLIMIT_NOFILE,
          (*DESCRIPTORS, "Invalid argument"), lambda _pid: 0, 5),
    Processes(),
    Limit("memory", resource.RLIMIT_AS, MEMORY, address_space, bare_memory() + (10 << 20)),
    Notification("instances"),
    Notification("watches"),
    *(Disk(where, what, programs) for what in ("bytes", "inodes") for where, programs in (
        ("the copy", SINKS), ("the ledgers", SINKS), ("the run directory", PUSHERS | {"tcppiped"}),
        ("SNMP", frozenset({"fetch_logs"})), ("the pointers", frozenset({"fetch_logs"})),
        ("the log", EVERYBODY))),
]  # fmt: skip


# --- programs


class Life:
    """A program on a stage of its own, with what it talks to.

    program: the Process that lacks something.  other: whom it talks to.  pipes: their number.
    """

    pipes = 1
    starts_again = True  # a client that could not start is started once more
    configured = True  # HUP makes it read something again

    def __init__(self, path, number):
        path.mkdir()
        self.stage = Stage(path)
        self.uid = NOBODY + number

    def family(self):
        """The pids of the program."""
        return family(self.program.pid)

    def close(self):
        """Nothing of it is left."""
        self.stage.close()


class Push(Life):
    """tcppipe and tcppiped."""

    def __init__(self, path, number, column):
        super().__init__(path, number)
        pipe = self.pipe = self.stage.pipe(FIRST)
        self.program, self.other = pipe.client, pipe.server
        if column == "tcppiped":
            self.program, self.other = pipe.server, pipe.client
        self.server, self.client = pipe.server, pipe.client
        self.configured = column == "tcppiped"
        self.wanted = FIRST
        self.copy_rotated = 0
        self.rotates_copy = column == "tcppiped"

    def append(self, data):
        """The origin grows."""
        self.pipe.append(data)
        self.wanted += data

    def lose(self):
        """The connection is lost."""
        for pid in self.server.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def rotate(self, turn):
        """The origin is rotated, and at the archive the copy."""
        self.pipe.rotate(turn)
        self.append(b"after rotation %d\n" % turn)
        if self.rotates_copy and self.pipe.copy.exists():
            self.copy_rotated += 1
            os.rename(self.pipe.copy, f"{self.pipe.copy}.{self.copy_rotated}")
        self.program.hup()

    def equal(self):
        """Has everything arrived?"""
        there = b"".join(
            content(f"{self.pipe.copy}.{number}") for number in range(1, self.copy_rotated + 1)
        )
        return there + content(self.pipe.copy) == self.wanted


class List(Life):
    """tcppipe -c and tcppiped."""

    pipes = 3  # in the end

    def __init__(self, path, number, _column):
        super().__init__(path, number)
        self.many = Many(self.stage)
        self.program, self.other = self.many.parent, self.many.server
        self.server, self.client = self.other, self.program
        self.wanted = {}
        for name in ("a.log", "b.log"):
            self.many.file(name, FIRST)
            self.wanted[name] = FIRST

    def append(self, data):
        """The origins grow."""
        for name in self.wanted:
            append(self.many.file(name), data)
            self.wanted[name] += data

    lose = Push.lose

    def rotate(self, turn):
        """The first is rotated, and another file comes."""
        os.rename(self.many.file("a.log"), self.many.file(f"a.log.{9 - turn}"))
        self.many.file("a.log", b"")
        self.many.file(f"new{turn}.log", b"")
        self.wanted[f"new{turn}.log"] = b""
        self.append(b"after rotation %d\n" % turn)
        self.program.hup()

    def equal(self):
        """Has everything arrived?"""
        return all(content(self.many.copy(name)) == data for name, data in self.wanted.items())


class PullLife(Life):
    """fetch_logs and gen_numbers."""

    def __init__(self, path, number, column):
        super().__init__(path, number)
        pull = self.pull = self.stage.pull(FIRST)
        self.server, self.client = pull.server, pull.client
        self.program, self.other = pull.server, pull.client
        if column == "fetch_logs":
            self.program, self.other = pull.client, pull.server
        self.wanted = [FIRST]

    def append(self, data):
        """The origin grows."""
        self.pull.append(data)
        self.wanted[-1] += data

    lose = Push.lose

    def rotate(self, turn):
        """The origin is rotated."""
        self.pull.rotate(b"")
        self.wanted.append(b"")
        self.append(b"after rotation %d\n" % turn)
        self.program.hup()

    def equal(self):
        """Has everything arrived?"""
        pieces = [*self.pull.pieces(), self.pull.copy]
        return [content(path) for path in pieces] == self.wanted


class Kept(Push):
    """What keep_tcppipe_alive executes each minute, and tcppiped.  It goes into the background."""

    starts_again = False

    def __init__(self, path, number, column):
        super().__init__(path, number, column)
        self.server.env["TCPPIPE_RUN_DIR"] = str(self.stage.path / "run of the server")
        argv = [*self.stage.program("tcppipe"), "--keep-alive", *self.client.argv[3:]]
        self.program = self.client = self.stage.process("keep_tcppipe_alive", argv)
        self.stage.run_dir.mkdir()

    def family(self):
        """The pids of all of tcppipe."""
        servers = family(self.server.pid) if self.server.running else []
        return [pid for pid in self.stage.living() if pid not in servers]


COLUMNS = {
    "tcppipe": Push, "tcppiped": Push, "tcppipe -c": List, "gen_numbers": PullLife,
    "fetch_logs": PullLife,
}  # fmt: skip


# --- the matrix


class Cells:
    """The moments of a resource and a program."""

    def __init__(self, full, life):
        self.full = full
        self.life = life
        self.stage = life.stage
        self.moment = "at the start"
        self._marks, self._marked_at = {}, time.monotonic()

    def live(self):
        """Go through all of them."""
        self.full.before(self.life)
        self.start()
        self.during("in the handshake", self.handshake)
        self.during("while streaming", lambda: self.life.append(ROWS))
        self.during("at rotation", lambda: self.life.rotate(1))
        self.during("at the end", self.life.program.down)

    def handshake(self):
        """The connection is lost while news come."""
        self.life.append(b"in the handshake\n")
        self.life.lose()

    def start(self):
        """It begins with nothing: it says in a line why it ends, or waits, or does without."""
        life = self.life
        self.up(life.server)
        life.client.start()
        wait(lambda: self.settled() or not life.program.running, self.all_said)
        if life.program.running:
            time.sleep(WATCHED)
        if not life.program.running:
            assert life.program.wait() == 1
            assert self.mute or (len(life.program.lines) <= 2 and self.said()), life.program.lines
        self.check()
        self.full.give(life)
        self.up(life.server)
        self.arrive()

    def up(self, process):
        """Start a server, and wait for what becomes of it."""
        if not process.running:
            process.start()
        wait(lambda: "started, port" in process.log or not process.running or self.mute,
             self.all_said)  # fmt: skip

    def during(self, moment, what):
        """In this moment nothing is left."""
        self.moment = moment
        life, program = self.life, self.life.program
        self.mark()
        before = _used_by(program)
        self.full.take(life)
        what()
        if moment == "at the end":
            self.check()
            return
        wait(self.settled, self.all_said)
        time.sleep(WATCHED)
        self.check()
        now = _used_by(program)
        spent = sum(now[pid] - before.get(pid, 0.0) for pid in now)
        assert spent < SPENT, f"{spent} s of computing: {self.all_said()}"
        self.full.give(life)
        self.arrive()
        if moment == "at rotation" and life.configured and not self.mute:
            self.is_read()
        assert program.running and life.other.running, self.all_said()

    def settled(self):
        """Has everything arrived, or is it said why not?  What was said a moment ago counts, if
        nothing else comes: what fails every other time is not said every other time."""
        if self.life.equal() or self.said() or self.mute:
            return True
        if time.monotonic() < self._marked_at + LATER:
            return False
        ever = "".join(process.log for process in self.stage.processes)
        return any(cause in ever for cause in self.full.causes)

    @property
    def mute(self):
        """True when nobody can say anything."""
        return isinstance(self.full, Disk) and self.full.where == "the log"

    def mark(self):
        """What is said from now on counts."""
        self._marked_at = time.monotonic()
        self._marks = {process: len(process.log) for process in self.stage.processes}

    def all_said(self, process=None):
        """What everybody has said since the mark, or one; a text."""
        of = self.stage.processes if process is None else [process]
        text = "".join(process.log[self._marks.get(process, 0) :] for process in of)
        return f"{self.moment}:\n{text}".replace(f"{self.stage.path}/", "")

    def said(self):
        """The lines that name the cause."""
        lines = self.all_said().splitlines()
        return [line for line in lines if any(cause in line for cause in self.full.causes)]

    def check(self):
        """What was said is little, and nothing twice; nobody died who was alive."""
        said = self.all_said()
        print(f"=== {self.full.name}, {said}")
        lines = said.splitlines()
        assert len(lines) <= LINES * self.life.pipes, said
        for process in (self.life.program, self.life.other):
            causes = [line for line in self.all_said(process).splitlines() if line in self.said()]
            bare = [re.sub("[0-9.]+ (s|min)", "", line) for line in causes]
            assert len(set(bare)) == len(bare) <= 3 * self.life.pipes, said

    def is_read(self):
        """The configuration that HUP told of is read, if not when it came."""
        wait(lambda: "read again" in self.all_said(self.life.program),
             lambda: f"not read again: {self.all_said()}")  # fmt: skip

    def arrive(self):
        """When it is over all is equal, and news arrive.  A client that ended at its first start,
        with a line, is started again by whoever read it."""
        self.life.append(b"it is over\n")

        def equal():
            if self.life.starts_again and not self.life.client.running:
                self.life.client.start()
            return self.life.equal()

        wait(equal, lambda: f"not equal: {self.all_said()}")


def have_own_mounts():
    """What this thread mounts from now on is seen only by itself and what it starts, and is gone
    with them, whatever becomes of the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def side_by_side(cells):
    """Run Cells, some at a time."""
    wrong, turn = {}, threading.Semaphore(SIDE_BY_SIDE)

    def one(cell):
        with turn:
            try:
                try:
                    have_own_mounts()
                    cell.live()
                finally:
                    cell.life.close()
            except BaseException as error:
                wrong[cell.full.name] = f"{cell.moment}: {type(error).__name__}: {error}"

    threads = [threading.Thread(target=one, args=(cell,)) for cell in cells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, "\n\n".join(f"{name}, {what}" for name, what in wrong.items())
