"""Processes under measurement: started, asked for their processor time and memory, ended.

What is asked for is always a whole contestant: the processes that were started and all that
they have forked.  Does not know what they are; a contestant that detaches would be lost.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

TICK = 1 / os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Group:
    """The processes of one contestant.

    argv lists go in, seconds and bytes come out.  `end` leaves none of them running; when
    the bench itself is killed, the kernel ends those that were started here.
    """

    def __init__(self, logfile, prefix=(), env=None):
        self._logfile = logfile
        self._prefix = prefix
        self.env = {**os.environ, **(env or {})}
        self.last = []  # the argv that was started last
        self._running = []
        self._used = 0.0  # seconds of processor time of those that have been reaped

    def start(self, argv, stdin=subprocess.DEVNULL, stdout=None):
        """Start a program in the foreground; its output goes to the log file."""
        with open(self._logfile, "ab") as log:
            process = subprocess.Popen(
                [str(word) for word in (*self._prefix, *argv)], stdin=stdin,
                stdout=stdout or log, stderr=log, env=self.env, preexec_fn=_die_with_me,
            )  # fmt: skip
        self._running.append(process)
        self.last = argv
        return process

    def ended(self):
        """The exit statuses of those started that have ended since the last look."""
        return [process.returncode for process in list(self._running) if self._reap(process)]

    def pid(self):
        """One of those started that are alive, else ourselves."""
        return self._running[0].pid if self._running else os.getpid()

    def pids(self):
        """All processes that are alive now, children included."""
        forked = {}
        for pid in _all_pids():
            with contextlib.suppress(OSError):
                forked.setdefault(int(_stat(pid)[1]), []).append(pid)
        found = [process.pid for process in self._running]
        for pid in found:
            found += forked.get(pid, [])
        return found

    def cpu(self):
        """Seconds of processor time, of the living and of the dead."""
        self.ended()
        used = self._used
        for pid in self.pids():
            with contextlib.suppress(OSError):
                used += time.clock_gettime(~pid << 3 | 2)  # exact, all threads
                used += sum(map(int, _stat(pid)[13:15])) * TICK  # of its children that are gone
        return used

    def memory(self):
        """Bytes: the list of what each process has of its own, and all of them as PSS."""
        own, shared = [], 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
                rows = [line.split() for line in file if line.endswith("kB\n")]
                sizes = {name: int(kib) << 10 for name, kib, _ in rows}
                own.append(sizes["Private_Clean:"] + sizes["Private_Dirty:"])
                shared += sizes["Pss:"]
        return own, shared

    def peak(self):
        """The most bytes that one of the living processes has had resident."""
        most = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
                for line in file:
                    if line.startswith("VmHWM:"):
                        most = max(most, int(line.split()[1]) << 10)
        return most

    def end(self, seconds=10):
        """End all of them: TERM to those started, and KILL to what is left then."""
        self.ended()
        everybody = self.pids()
        for process in self._running:
            os.kill(process.pid, signal.SIGTERM)  # not reaped, so the number is still its own
        until = time.monotonic() + seconds
        while self._running and time.monotonic() < until:
            self.ended()
            time.sleep(0.01)
        for pid in {*everybody, *self.pids()} & set(_all_pids()):
            if self._is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in list(self._running):
            process.wait()
            self._running.remove(process)

    def _is_ours(self, pid):
        """Whether this is still a process of this group: its log is its standard error."""
        try:
            return os.path.samefile(f"/proc/{pid}/fd/2", self._logfile)
        except OSError:
            return False

    def _reap(self, process):
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            self._used += usage.ru_utime + usage.ru_stime
            self._running.remove(process)
        return bool(pid)


def _die_with_me():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid):
    """The fields of /proc/PID/stat behind the name: [0] is the state, [1] the parent."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def listening(port, pid="self"):
    """Whether some process accepts connections on this port, in this process's network."""
    return _sockets(port, pid, "0A", 1)


def connected(port, pid="self"):
    """How many connections to this port are established."""
    return _sockets(port, pid, "01", 2)


def _sockets(port, pid, state, column):
    found = 0
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/net/{name}") as file:
            for line in file:
                row = line.split()
                found += row[3] == state and row[column].endswith(f":{port:04X}")
    return found
