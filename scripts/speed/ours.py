"""The yardstick, and tcppipe in all its ways."""

import itertools
import subprocess
import sys
import time
from pathlib import Path

from contest import FOLLOWING, PATIENCE, Missing, Peer

CHECKOUT = Path(__file__).resolve().parents[2]


class CPair(Peer):
    """read() and write() through 1 MiB, inotify, no promise: the yardstick."""

    name = "c"
    title = "C pair, no promise"
    tests = {*FOLLOWING, "thin"}

    @classmethod
    def check(cls, tools):
        cls.pair = tools.pair

    def listen(self):
        self.sinks.start([self.pair, "take", self.port])
        self.accepts(self.sinks)

    def connect(self):
        for origin, copy in self.pipes:
            self.sources.start([self.pair, "send", origin, self.net.sink, self.port, copy])


class Tcppipe(Peer):
    """The push pair: tcppiped, and a tcppipe for each pipe."""

    name = title = "tcppipe"
    tests = {*FOLLOWING, "thin", "start", "limit", "restart"}
    options = ()
    patch = ""  # the folder of patched/ with what is done to the programs

    @classmethod
    def check(cls, tools):
        for option in cls.options:
            if option.startswith("-"):
                has_option(option)

    @classmethod
    def version(cls):
        return ask("--version").split()[-1]

    def environment(self):
        return {
            "PYTHONPATH": patched(self.patch) if self.patch else str(CHECKOUT),
            "TCPPIPE_RUN_DIR": str(self.folder / "run"),
            "TCPPIPE_STATE_DIR": str(self.folder / "state"),
        }

    def listen(self):
        for side in ("run", "state"):
            (self.folder / side).mkdir()
        conf = self.folder / "tcppipe.conf"
        lines = [f"{self.net.source}:{origin} | {copy}\n" for origin, copy in self.pipes]
        conf.write_text("".join(lines))
        self.sinks.start([*program("tcppiped"), "-d", "-f", conf, "-p", self.port])
        self.accepts(self.sinks)

    def connect(self):
        for origin, _ in self.pipes:
            self.sources.start([*program("tcppipe"), "-d", *self.target(origin)])

    def target(self, origin):
        """The options that say which pipe."""
        return ["-f", origin, "-h", self.net.sink, "-p", self.port, *self.options]

    def established(self):
        self.says(self.folder / "source.log", b": established, to ", len(self.pipes))

    def says(self, log, text, count):
        """Wait until a log has this text so often."""
        until = time.monotonic() + PATIENCE
        while log.read_bytes().count(text) < count:
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name}: not established in {PATIENCE:.0f} s")
            time.sleep(0.02)


class Thin(Tcppipe):
    """The push pair with compression."""

    name = "z"
    title = "tcppipe -z"
    tests = {"bulk", "thin"}
    options = ("-z",)


class Many(Tcppipe):
    """The push pair with one process that keeps all pipes of a list."""

    name = "many"
    title = "tcppipe -c"
    tests = {"idle", "many"}

    @classmethod
    def check(cls, tools):
        has_option("-c")

    def connect(self):
        pipes = self.folder / "pipes"
        lines = [" ".join(map(str, self.target(origin))) for origin, _ in self.pipes]
        pipes.write_text("".join(f"{line}\n" for line in lines))
        self.sources.start([*program("tcppipe"), "-d", "-c", pipes])


class Fetch(Tcppipe):
    """The pull pair: gen_numbers where the origins are, one fetch_logs for all copies."""

    name = "fetch"
    title = "gen_numbers, fetch_logs"
    tests = {*FOLLOWING, "restart"}

    def listen(self):
        for side in ("run", "state", "snmp"):
            (self.folder / side).mkdir()
        allowed = self.folder / "gen_numbers.locals"
        lines = [f'$hosts_allow{{"{self.net.sink}"}} = 1;', f"$bind_port = {self.port};"]
        lines += [f'$files{{"{origin}"}} = "{origin}.*";' for origin, _ in self.pipes]
        allowed.write_text("\n".join(lines) + "\n")
        self.sources.start([*program("gen_numbers"), allowed])
        self.accepts(self.sources)

    def connect(self):
        conf, numbers = self.folder / "fetch_logs.conf", itertools.count()
        lines = [
            f"{self.net.source} {self.port} {origin} {copy} {self.folder}/pointer{next(numbers)}\n"
            for origin, copy in self.pipes
        ]
        conf.write_text("".join(lines))
        self.sinks.start([*program("fetch_logs"), self.folder / "snmp", conf])

    def established(self):
        self.says(self.folder / "source.log", b": established, version ", len(self.pipes))


class Unchecked(Tcppipe):
    """The push pair without the check of every acknowledgement."""

    name = "unchecked"
    title = "tcppipe, nothing checked"
    tests = {"bulk", "latency"}
    patch = "unchecked"


class FetchUnchecked(Fetch):
    """The pull pair likewise."""

    name = "fetch-unchecked"
    title = "gen_numbers, fetch_logs, nothing checked"
    tests = {"bulk", "latency"}
    patch = "unchecked"


def patched(name):
    """The PYTHONPATH with which our programs are patched so."""
    return f"{CHECKOUT}/scripts/speed/patched/{name}:{CHECKOUT}"


def program(name):
    """The command line that runs one of our programs from the checkout."""
    return [sys.executable, str(CHECKOUT / "bin" / name)]


def ask(*words):
    """What tcppipe prints when it is asked so."""
    environment = {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [*program("tcppipe"), *words], env=environment, capture_output=True, text=True
    )
    return done.stdout


def has_option(option):
    """Raise Missing unless tcppipe's help tells of this option."""
    if f"\n  {option} " not in ask("--help"):
        raise Missing(f"this tcppipe has no {option}")
