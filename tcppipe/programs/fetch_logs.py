"""fetch_logs: fetches files from other hosts as they grow, each into a file of its own."""

from __future__ import annotations

import os
import sys

from tcppipe import __version__
from tcppipe.errors import ConfigError
from tcppipe.process import paths
from tcppipe.programs.options import (
    absent,
    asked,
    interruptible,
    parse,
    said,
    unwritable,
    wrong,
)

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcppipe.process.daemon import Daemon
    from tcppipe.process.report import Streams
    from tcppipe.programs.options import Options, Spec

USAGE = """\
usage: fetch_logs [-D] SNMP_DIR CONF
       fetch_logs -T CONF

  SNMP_DIR     where a status file for each server is kept
  CONF         which file of which server goes where
  -D           go into the background
  -T           check CONF, print what it says, and end
  --run-dir DIR    the pid file (/var/run)
  --state-dir DIR  the ledgers (/var/lib/tcppipe)
  --help, --version
"""
SPEC: Spec = {"D": None, "T": None, "run-dir": "DIR", "state-dir": "DIR"}


@interruptible
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    try:
        options, operands = parse(sys.argv[1:] if argv is None else argv, SPEC)
        if not {"help", "version"} & set(options):
            _check_operands(operands, 1 if "T" in options else 2)
    except ConfigError as error:
        return wrong(error, "fetch_logs", USAGE)
    if asked(options, "fetch_logs", USAGE):
        return 0
    absent("fetch_logs", options)
    from tcppipe.process import report

    report.open("fetch_logs")

    def body() -> int:
        if "T" in options:
            from tcppipe.programs import checks

            return checks.fetch_logs(operands[0])
        return _run(options, *map(os.path.abspath, operands))

    return said(body)


def _check_operands(operands: list[str], wanted: int) -> None:
    if len(operands) < wanted:
        raise ConfigError("CONF is needed" if wanted == 1 else "SNMP_DIR and CONF are needed")
    if len(operands) > wanted:
        raise ConfigError(f"{operands[wanted]}: too many arguments")


def _run(options: Options, snmp_dir: str, conf: str) -> int:
    from tcppipe.process.daemon import Daemon

    foreground = "D" not in options
    pidfile = None
    if not foreground:
        pidfile = os.path.join(paths.run_dir(options.get("run-dir")), "fetch_logs.pid")
    daemon = Daemon("fetch_logs", pidfile)
    daemon.open(foreground, _streams())
    return _fetch(daemon, pidfile, options, snmp_dir, conf)


def _fetch(daemon: Daemon, pidfile: str | None, options: Options, snmp_dir: str, conf: str) -> int:
    import signal
    import time

    from tcppipe.drivers.fetchers import Fetchers, read, tell_all
    from tcppipe.process.trouble import counted

    sources = read(conf)
    if not os.path.isdir(snmp_dir):
        raise ConfigError(f"{snmp_dir}: no such directory; make it, for the status files")
    state_dir = paths.ensure(paths.state_dir(options.get("state-dir")), 0o750)
    unwritable("fetch_logs", state_dir)
    _raise_limit()
    if pidfile is not None:
        paths.ensure(os.path.dirname(pidfile))
        daemon.must_be_alone(f"{pidfile}: fetch_logs runs already")
    daemon.begin(pidfile is None)

    def fetch() -> None:
        signums = [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1]
        with daemon.held(signums) as signals:
            fetchers = Fetchers(conf, snmp_dir, state_dir, tell_all)
            holds = counted(len(sources), "source", "sources")
            tell_all(None, "info", f"started, {holds} in {conf}, version {__version__}")
            daemon.ready()
            fetchers.take(sources, time.monotonic())
            fetchers.run(signals)
        tell_all(None, "info", "ended")

    # Threads that wait for work, or for a disk, must not meet the interpreter's end: it ends each by
    # pthread_exit(3), which is an abort where no descriptor can be had.
    os._exit(daemon.run(fetch))


def _streams() -> Streams:
    """As the original did: errors go to standard error, all else to standard output."""
    import time

    from tcppipe.process import report
    from tcppipe.process.outlets import Stream

    def line(_priority: int, text: str) -> str:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}"

    out, err = Stream(1, "standard output", line), Stream(2, "standard error", line)
    return lambda priority: err if priority <= report.ERROR else out


def _raise_limit() -> None:
    """As many descriptors as we may have: each source takes a few."""
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # then with those that we have
