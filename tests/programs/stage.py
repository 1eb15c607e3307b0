"""A stage for stories of real processes: what starts them, waits for them and ends them.

Everything a story starts lives in one temporary folder, listens on ports of its own, and is
found again by a mark in its environment, whether it has detached or not.  Waiting is always
for something that can be seen: a line in a log, the contents of a file, the end of a process.
"""

import contextlib
import ctypes
import hashlib
import itertools
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 15.0  # seconds after which what has not happened will not happen
POLL = 0.003
MARK = "TCPPIPE_TEST_STAGE"
SYN_SENT = "02"  # in /proc/net/tcp


def wait_until(condition, what, seconds=PATIENCE):
    """Wait for a condition and return its (true) value; fail with `what` (str or function)."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not in {seconds} s: {what() if callable(what) else what}")
        time.sleep(POLL)


def is_marked(ledger):
    """True when something is known to be durable; a mark at offset 0 tells what is about to begin."""
    return re.search(rb'"mark":\{"offset":[1-9]', content(ledger)) is not None


def forget_faketime(pid):
    """Remove what a killed faketime leaves: it would not start again under the same number."""
    for name in ("faketime_shm", "sem.faketime_sem"):
        Path(f"/dev/shm/{name}_{pid}").unlink(missing_ok=True)


def content(path):
    """A file's bytes; none when it is missing."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""


def size(path):
    """A file's length; 0 when it is missing."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def sha256(data):
    """The digest that sha256sum prints, of bytes or of a file."""
    return hashlib.sha256(data if isinstance(data, bytes) else content(data)).hexdigest()


def append(path, data):
    """Append to a file, as an application does."""
    with open(path, "ab") as file:
        file.write(data)


def wait_for_bytes(path, expected, seconds=PATIENCE):
    """Wait until a file has exactly these bytes."""

    def what():
        there = content(path)
        same = os.path.commonprefix([there, expected])
        return (
            f"{path} has {len(there)} bytes, {len(expected)} expected, equal are the first "
            f"{len(same)}: …{same[-60:]!r} then {there[len(same) :][:60]!r} "
            f"instead of {expected[len(same) :][:60]!r}"
        )

    wait_until(lambda: size(path) == len(expected) and content(path) == expected, what, seconds)


_ports = itertools.count(random.randrange(10000))
_reserved = []  # sockets whose names keep other test runs on this machine from the same ports


def free_port():
    """A TCP port that nobody listens on; below those that the kernel gives to clients."""
    while True:
        port = 20000 + next(_ports) % 10000
        name = socket.socket(socket.AF_UNIX)
        with socket.socket() as four, socket.socket(socket.AF_INET6) as six:
            try:
                name.bind(f"\0tcppipe-test-port-{port}")
                six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                six.bind(("::", port))
                four.bind(("0.0.0.0", port))
            except OSError:
                name.close()
                continue
        _reserved.append(name)
        return port


def without_rights():
    """For preexec_fn: file permissions hold for this process even if it belongs to root."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")


class Process:
    """A program on the stage: up, down, kill, and what it has said.

    Its standard output and error go to one log file, which outlives restarts.
    """

    def __init__(self, stage, name, argv, ready=None, env=None, preexec=None):
        self.stage = stage
        self.name = name
        self.argv = [str(word) for word in argv]
        self.ready = ready
        self.env = {**stage.env, **(env or {})}
        self.preexec = preexec
        self.logfile = stage.said / f"{name}.log"
        self._popen = None
        self._since = 0

    def start(self):
        """Start it, and do not wait."""
        assert not self.running
        self._since = size(self.logfile)
        with open(self.logfile, "ab") as log:
            self._popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                cwd=self.stage.path, start_new_session=True, preexec_fn=self.preexec,
            )  # fmt: skip
        return self

    def up(self, seconds=PATIENCE):
        """Start it, and wait until it says that it is ready."""
        self.start()
        self.wait_log(self.ready, seconds)
        return self

    @property
    def pid(self):
        """The number of the process that was started last."""
        return self._popen.pid

    @property
    def running(self):
        """True while it has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def signal(self, signum):
        """Send it a signal."""
        self._popen.send_signal(signum)

    def hup(self):
        """Send HUP."""
        self.signal(signal.SIGHUP)

    def wait(self, seconds=PATIENCE):
        """Wait for its end; the exit status."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended: {self.log}") from None

    def down(self, seconds=PATIENCE):
        """End it by TERM, in order: status 0."""
        self.signal(signal.SIGTERM)
        status = self.wait(seconds)
        assert status == 0, f"{self.name} ended with {status}: {self.log}"

    def kill(self):
        """End it by KILL."""
        self._popen.kill()
        self._popen.wait()

    @property
    def log(self):
        """What it has said since it was started last."""
        return content(self.logfile)[self._since :].decode(errors="backslashreplace")

    @property
    def lines(self):
        """The lines of the log."""
        return self.log.splitlines()

    def wait_log(self, pattern, seconds=PATIENCE, count=1):
        """Wait for (so many of) a line that a regular expression finds; the last one found."""

        def found():
            matches = [line for line in self.lines if re.search(pattern, line)]
            if len(matches) >= count:
                return matches[-1]
            if not self.running:
                matches = [line for line in self.lines if re.search(pattern, line)]
                assert len(matches) >= count, (
                    f"{self.name} ended ({self._popen.returncode}) without {pattern!r}: {self.log}"
                )
                return matches[-1]
            return None

        return wait_until(found, lambda: f"{self.name}: no {pattern!r} in: {self.log}", seconds)

    def children(self):
        """The pids of its children."""
        return children(self.pid)

    def end(self):
        """For the end of a story: it and its group are no more."""
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.kill()
        self._popen.wait()


def _stat(pid):
    """(state, parent) of a process as the kernel has them, or None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeError):
        return None
    return fields[0], int(fields[1])


def children(pid):
    """The pids of a process's living children."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = _stat(name)
            if stat and stat[1] == pid and stat[0] not in "ZX":
                found.append(int(name))
    return sorted(found)


def alive(pid):
    """True while a process exists and has not ended."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


class Stage:
    """One story's folder, ports, configuration and processes."""

    def __init__(self, path):
        self.path = Path(path)
        self.run_dir = self.path / "run"
        self.state_dir = self.path / "state"
        self.said = self.path / "said"
        self.said.mkdir()
        self.conf = self.path / "tcppipe.conf"
        self.port = free_port()
        self.processes = []
        self.closing = []
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TCPPIPE_", "NOTIFY_"))}
        self.env = {
            **kept,
            "PYTHONPATH": str(CHECKOUT),
            "TCPPIPE_RUN_DIR": str(self.run_dir),
            "TCPPIPE_STATE_DIR": str(self.state_dir),
            MARK: str(self.path),
        }

    def program(self, name):
        """The command line that runs one of our programs, from the checkout."""
        return [sys.executable, str(CHECKOUT / "bin" / name)]

    def configure(self, *lines):
        """Write tcppipe.conf, in one step."""
        beside = self.path / "tcppipe.conf.new"
        beside.write_text("".join(f"{line}\n" for line in lines))
        os.replace(beside, self.conf)

    def process(self, name, argv, ready=None, **more):
        """A process on this stage, not yet started."""
        process = Process(self, name, argv, ready, **more)
        self.processes.append(process)
        return process

    def server(self, *options, name="tcppiped", **more):
        """A tcppiped in the foreground, not yet started."""
        argv = [*self.program("tcppiped"), "-d", "-f", self.conf, "-p", self.port, *options]
        return self.process(name, argv, "started, port", **more)

    def client(self, origin, *options, host="127.0.0.1", port=None, name="tcppipe", **more):
        """A tcppipe in the foreground, not yet started."""
        target = ["-f", origin, "-h", host, "-p", port or self.port]
        argv = [*self.program("tcppipe"), "-d", *target, *options]
        return self.process(name, argv, ": established, to ", **more)

    def numbers(self, *lines, name="gen_numbers", **more):
        """A gen_numbers in the foreground, not yet started; lines: more of its .locals file."""
        path = self.path / f"{name}.locals"
        text = f'$bind_port = {self.port};\n$bind_addr = "127.0.0.1";\n'
        path.write_text(text + "".join(f"{line}\n" for line in lines))
        return self.process(name, [*self.program("gen_numbers"), path], "started, port", **more)

    def fetcher(self, *lines, name="fetch_logs", **more):
        """A fetch_logs in the foreground, not yet started; lines: its configuration."""
        path, snmp = self.path / f"{name}.conf", self.path / "snmp"
        path.write_text("".join(f"{line}\n" for line in lines))
        snmp.mkdir(exist_ok=True)
        return self.process(name, [*self.program("fetch_logs"), snmp, path], "started, ", **more)

    def pull(self, first=b"", name="a.log", host="127.0.0.1"):
        """A Pull from NAME to copy/NAME on this stage; neither side is started."""
        return Pull(self, first, name, host)

    def run(self, argv, seconds=PATIENCE, **more):
        """Run a command to its end: a CompletedProcess with text, no traceback in it."""
        more["env"] = {**self.env, **more.pop("env", {})}
        done = subprocess.run(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="backslashreplace", timeout=seconds, cwd=self.path, **more,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def ask(self, option, origin, *more, host="127.0.0.1", port=None):
        """Run tcppipe with the options that name a pipe, and others."""
        target = ["-f", origin, "-h", host, "-p", port or self.port]
        return self.run([*self.program("tcppipe"), *option, *target, *more])

    def pid_of(self, origin, **target):
        """What tcppipe -I says: a pid or None."""
        said = self.ask(["-I"], origin, **target)
        assert said.stderr == ""
        assert (said.returncode == 0) == bool(said.stdout), said
        return int(said.stdout) if said.stdout else None

    def pipe(self, first=b"", name="a.log", options=""):
        """A Pipe from NAME to copy/NAME on this stage; server and client are not yet started."""
        return Pipe(self, first, name, options)

    def living(self):
        """The pids of all processes that belong to this stage."""
        mark = f"{MARK}={self.path}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                        found.append(int(name))
        return [pid for pid in found if alive(pid)]

    def close(self):
        """End everything that was started; fail if anything ended by a bug."""
        for close in reversed(self.closing):
            close()
        for process in self.processes:
            process.end()
        until = time.monotonic() + PATIENCE
        while (left := self.living()) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL)
        assert not left, f"cannot end {left}"
        self.show()
        for process in self.processes:
            said = content(process.logfile).decode(errors="backslashreplace")
            assert "Traceback" not in said, said
            assert ": bug: " not in said, said

    def show(self):
        """Print all logs, for whoever reads of a failure."""
        for logfile in sorted({process.logfile for process in self.processes}):
            print(f"--- {logfile.name}\n{content(logfile)[-20000:].decode(errors='replace')}")


class Pipe:
    """One origin, its destination, a server that knows it, and a client that sends it."""

    def __init__(self, stage, first, name, options):
        self.stage = stage
        self.origin = stage.path / name
        self.copy = stage.path / "copy" / name
        self.origin.write_bytes(first)
        self.entry = f"127.0.0.1:{self.origin} | {self.copy}{options}"
        stage.configure(self.entry)
        self.server = stage.server()
        self.client = stage.client(self.origin)

    def up(self):
        """Start both, and wait until the origin has arrived."""
        self.server.up()
        self.client.up()
        self.arrives()
        return self

    def append(self, data):
        """Append to the origin."""
        append(self.origin, data)

    def arrives(self, expected=None, seconds=PATIENCE):
        """Wait until the copy has the origin's bytes, or those expected."""
        wanted = self.origin.read_bytes() if expected is None else expected
        wait_for_bytes(self.copy, wanted, seconds)
        assert sha256(self.copy) == sha256(wanted)

    def rotate(self, number=1):
        """Rename the origin to .NUMBER, and make a new empty one, as logrotate's `create`."""
        os.rename(self.origin, f"{self.origin}.{number}")
        self.origin.touch()


class Pull:
    """One origin, its local file, a gen_numbers that may give it, and a fetch_logs."""

    def __init__(self, stage, first, name, host):
        self.stage = stage
        self.origin = stage.path / name
        self.copy = stage.path / "copy" / name
        self.pointer = stage.path / "pointer" / name
        self.origin.write_bytes(first)
        self.line = f"{host} {stage.port} {self.origin} {self.copy} {self.pointer}"
        self.allowed = '$hosts_allow{"127.0.0.1"} = 1;'
        self.server = stage.numbers(self.allowed, f'$files{{"{self.origin}"}} = "{self.origin}.*";')
        self.client = stage.fetcher(self.line)
        self.status = stage.path / "snmp" / host

    def up(self):
        """Start both, and wait until the origin has arrived."""
        self.server.up()
        self.client.up()
        self.arrives()
        return self

    def append(self, data):
        """Append to the origin."""
        append(self.origin, data)

    def rotate(self, new=b""):
        """Rename as logrotate does, older ones first, and make a new file."""
        for number in range(8, 0, -1):
            for suffix in ("", ".gz"):
                if os.path.exists(f"{self.origin}.{number}{suffix}"):
                    os.rename(
                        f"{self.origin}.{number}{suffix}", f"{self.origin}.{number + 1}{suffix}"
                    )
        os.rename(self.origin, f"{self.origin}.1")
        self.origin.write_bytes(new)

    def arrives(self, expected=None, seconds=PATIENCE):
        """Wait until the local file has the origin's bytes, or those expected."""
        wanted = self.origin.read_bytes() if expected is None else expected
        wait_for_bytes(self.copy, wanted, seconds)

    def pieces(self):
        """The files that were set aside, the oldest first."""
        found = self.copy.parent.glob(f"{self.copy.name}.2*")
        return sorted(found, key=lambda path: list(map(int, path.name.split(".")[2:])))

    def mirrors(self, *generations, seconds=PATIENCE):
        """Wait until the pieces and the local file are these generations, byte for byte."""
        wanted = [sha256(generation) for generation in generations]

        def there():
            return [sha256(path) for path in [*self.pieces(), self.copy]]

        wait_until(lambda: there() == wanted, lambda: (self.pieces(), there(), wanted), seconds)

    def says(self, pattern, seconds=PATIENCE):
        """Wait until SNMP is told a line that begins so."""
        wait_until(
            lambda: re.match(pattern, content(self.status).decode()),
            lambda: (pattern, content(self.status)),
            seconds,
        )


class Writer(threading.Thread):
    """An application that writes numbered lines to a file, and knows what it has written."""

    def __init__(self, path, pause=0.001):
        super().__init__(daemon=True)
        self.path = path
        self.pause = pause
        self.written = bytearray()
        self.count = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._file = open(path, "ab", buffering=0)

    def run(self):
        """Write until told to stop."""
        while not self._end.wait(self.pause):
            with self._lock:
                self.count += 1
                line = b"%08d %s\n" % (self.count, b"x" * (self.count % 97))
                self._file.write(line)
                self.written += line

    def reopen(self):
        """Open the file by its name again; what is written from now on goes there."""
        with self._lock:
            self._file.close()
            self._file = open(self.path, "ab", buffering=0)

    def wait_more(self, lines):
        """Wait until so many more lines are written."""
        goal = self.count + lines
        wait_until(lambda: self.count >= goal, "the writer stands still")

    def stop(self):
        """Stop; everything that was ever written."""
        self._end.set()
        self.join()
        self._file.close()
        return bytes(self.written)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.is_alive():
            self.stop()


class Proxy:
    """A TCP relay between client and server that can stand still, swallow or alter what it is given.

    rate: bytes a second that it relays in each direction, or None.  client: the bytes that came
    from clients so far.  server: those that came from the server.  alter: what is done to the
    bytes of clients on their way, a function.
    """

    alter = staticmethod(bytes)

    def __init__(self, port, rate=None):
        self.target = port
        self._rate = rate
        self.client = self.server = 0
        self._listener = socket.socket()
        if rate:  # as a thin line does, it takes only a little more than it relays
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._pairs = []
        self._frozen = set()
        self._moves = threading.Event()
        self._moves.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket()
            if self._rate:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
            try:
                far.connect(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for ends in ((near, far, "client"), (far, near, "server")):
                threading.Thread(target=self._relay, args=ends, daemon=True).start()

    def _relay(self, one, other, side):
        try:
            while data := one.recv(int(min(65536, (self._rate or 1e9) / 50))):
                setattr(self, side, getattr(self, side) + len(data))
                if self._rate:
                    time.sleep(len(data) / self._rate)
                self._moves.wait()
                if one in self._frozen:
                    continue  # read and thrown away: to TCP all is well
                other.sendall(self.alter(data) if side == "client" else data)
        except OSError:
            pass
        if one not in self._frozen:
            for sock in (one, other):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stand_still(self):
        """Read nothing any more, in both directions, as a peer that has stopped."""
        self._moves.clear()

    def go_on(self):
        """The opposite."""
        self._moves.set()

    def freeze(self):
        """From now on the present connections swallow everything, in both directions."""
        for pair in self._pairs:
            self._frozen.update(pair)

    def reset_clients(self):
        """The clients' ends of the present connections are reset; the server hears nothing."""
        for near, far in self._pairs:
            self._frozen.update((near, far))
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            near.shutdown(socket.SHUT_RD)
            near.close()

    def close(self):
        """Cut everything."""
        self._frozen.clear()
        self._moves.set()
        self._listener.close()
        for pair in self._pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()


class BlackHole:
    """Takes a port's connections and lets none of them come to be, like a firewall that drops."""

    def __init__(self, port):
        self.port = port
        self._socks = [socket.socket()]
        self._socks[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socks[0].bind(("127.0.0.1", port))
        self._socks[0].listen(0)
        for _ in range(3):  # more than may wait to be accepted
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            self._socks.append(sock)
        self._ours = {sock.getsockname()[1] for sock in self._socks}

    def holds_somebody(self):
        """True when somebody's connection is on its way into nowhere."""
        remote = f"0100007F:{self.port:04X}"
        for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, other, state = row.split()[1:4]
            if other == remote and state == SYN_SENT:
                if int(local.split(":")[1], 16) not in self._ours:
                    return True
        return False

    def close(self):
        """It is gone."""
        for sock in self._socks:
            sock.close()


MOST = 12  # processes that Somebody may have
FILL = """
import os, signal
try:
    while True:
        if not os.fork():
            signal.pause()
except OSError:
    print("full", flush=True)
    signal.pause()
"""


class Somebody:
    """For preexec: root's rights to files, but the limit of processes of somebody else.

    fill() makes so many processes of his that he can have no more, empty() ends them.
    """

    def __init__(self, stage):
        self.stage = stage
        self.uid = random.randrange(200_000, 2_000_000_000)
        self.crowds = []

    def __call__(self):
        """Become that."""
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (21, 24):  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        resource.setrlimit(resource.RLIMIT_NPROC, (MOST, MOST))
        os.setresuid(self.uid, 0, 0)

    def fill(self):
        """His processes are as many as he may have."""
        crowd = self.stage.process(
            f"crowd{len(self.crowds)}", [sys.executable, "-c", FILL], "full", preexec=self
        )
        self.crowds.append(crowd.up())

    def empty(self):
        """There is room again."""
        while self.crowds:
            self.crowds.pop().end()
