"""gen_numbers: the server that lets other hosts fetch files as they grow."""

from __future__ import annotations

import os
import sys

from tcppipe import __version__
from tcppipe.errors import ConfigError
from tcppipe.process import paths
from tcppipe.programs.options import absent, asked, interruptible, parse, rate, said, wrong

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcppipe.programs.options import Options, Spec

LOCALS = "/etc/gen_numbers.locals"
PORT = 19
USAGE = """\
usage: gen_numbers [-Dz] [--limit RATE] [LOCALS]
       gen_numbers -T [LOCALS]

  LOCALS       who may fetch which files (/etc/gen_numbers.locals)
  -D           go into the background
  -z           compress where that is faster, for clients that can unpack
  --limit RATE send at most so many bytes a second over each connection (K, M, G)
  -T           check LOCALS, print what it says, and end
  --run-dir DIR    the pid file (/var/run)
  --help, --version
"""
SPEC: Spec = {"D": None, "z": None, "limit": "RATE", "T": None, "run-dir": "DIR"}


@interruptible
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    try:
        options, operands = parse(sys.argv[1:] if argv is None else argv, SPEC)
        if len(operands) > 1:
            raise ConfigError(f"{operands[1]}: too many arguments")
        limit = rate("--limit", options["limit"]) if "limit" in options else None
    except ConfigError as error:
        return wrong(error, "gen_numbers", USAGE)
    if asked(options, "gen_numbers", USAGE):
        return 0
    absent("gen_numbers", options)
    from tcppipe.process import report

    report.open("gen_numbers", "D" not in options)
    path = os.path.abspath(operands[0] if operands else LOCALS)

    def body() -> int:
        if "T" in options:
            from tcppipe.programs import checks

            return checks.gen_numbers(path)
        return _run(options, path, limit)

    return said(body)


def _run(options: Options, path: str, limit: float | None) -> int:
    from tcppipe.process.daemon import Daemon

    foreground = "D" not in options
    pidfile = None
    if not foreground:
        run_dir = paths.run_dir(options.get("run-dir"))
        pidfile = os.path.join(run_dir, "gen_numbers.pid")
    daemon = Daemon("gen_numbers", pidfile)
    daemon.open(foreground)

    from tcppipe.drivers.numbers import Files
    from tcppipe.drivers.server import SIGNALS, Server
    from tcppipe.net.listen import listen
    from tcppipe.process import report

    files = Files(path, "z" in options, limit)
    holds = files.read()
    port = files.numbers.port or PORT
    if not foreground:
        paths.ensure(run_dir)
    daemon.must_be_alone(f"{pidfile}: gen_numbers runs already")
    sockets = listen(port, files.numbers.address)
    daemon.begin(foreground, [sock.fileno() for sock in sockets])

    def serve() -> None:
        with daemon.held(SIGNALS) as signals:
            server = Server(files, sockets)
            report.info(f"started, port {port}, {holds} in {path}, version {__version__}")
            daemon.ready()
            server.run(signals)
        report.info("ended")

    return daemon.run(serve)
