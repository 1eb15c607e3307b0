"""tcppiped: the server that writes the destination files."""

from __future__ import annotations

import os
import sys

from tcppipe import __version__
from tcppipe.errors import ConfigError
from tcppipe.process import paths
from tcppipe.programs.options import absent, asked, interruptible, parse, said, unwritable, wrong
from tcppipe.programs.pipe_options import PORT, port_number

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcppipe.programs.options import Options, Spec

CONF = "/etc/tcppipe.conf"
USAGE = """\
usage: tcppiped [-f CONF] [-p PORT] [-a ADDRESS] [-d]
       tcppiped -T [-f CONF] [HOST:FILE]

  -f CONF      the configuration file (/etc/tcppipe.conf)
  -p PORT      the port to listen on (6514)
  -a ADDRESS   the address to listen on (all of IPv4 and IPv6)
  -d           stay in the foreground, log to standard error
  -T           check the configuration, print what it says, and end; with HOST:FILE
               print the line that is for it, the local file, and the ledger
  --run-dir DIR    the pid file (/var/run)
  --state-dir DIR  the ledgers (/var/lib/tcppipe)
  --help, --version
"""
SPEC: Spec = {
    "f": "CONF", "p": "PORT", "a": "ADDRESS", "d": None, "T": None,
    "run-dir": "DIR", "state-dir": "DIR",
}  # fmt: skip


@interruptible
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    try:
        options, operands = parse(sys.argv[1:] if argv is None else argv, SPEC)
        if operands[1 if "T" in options else 0 :]:
            raise ConfigError(f"{operands[-1]}: too many arguments")
        port = port_number(options.get("p", str(PORT)))
    except ConfigError as error:
        return wrong(error, "tcppiped", USAGE)
    if asked(options, "tcppiped", USAGE):
        return 0
    absent("tcppiped", options)
    from tcppipe.process import report

    report.open("tcppiped", "d" in options)

    def body() -> int:
        if "T" in options:
            from tcppipe.programs import checks

            conf = os.path.abspath(options.get("f", CONF))
            return checks.tcppiped(conf, paths.state_dir(options.get("state-dir")), *operands)
        return _run(options, port)

    return said(body)


def _run(options: Options, port: int) -> int:
    from tcppipe.process.daemon import Daemon

    run_dir = paths.run_dir(options.get("run-dir"))
    pidfile = os.path.join(run_dir, "tcppiped.pid")
    daemon = Daemon("tcppiped", pidfile)
    daemon.open("d" in options)

    from tcppipe.drivers.serve import Pipes
    from tcppipe.drivers.server import SIGNALS, Server
    from tcppipe.drivers.table import Table
    from tcppipe.net.listen import listen
    from tcppipe.process import report
    from tcppipe.process.trouble import counted

    table = Table(os.path.abspath(options.get("f", CONF)))
    table.read()
    paths.ensure(run_dir)
    state_dir = paths.ensure(paths.state_dir(options.get("state-dir")), 0o750)
    unwritable("tcppiped", state_dir)
    daemon.must_be_alone(f"{pidfile}: tcppiped runs already")
    sockets = listen(port, options.get("a"))
    daemon.begin("d" in options, [sock.fileno() for sock in sockets])

    def serve() -> None:
        with daemon.held(SIGNALS) as signals:
            for path in paths.open_to_others(run_dir, state_dir, table.path):
                report.warning(f"{path}: others may write there, and take pipes over: chmod o-w")
            server = Server(Pipes(table, state_dir), sockets)
            holds = counted(len(table.entries), "entry", "entries")
            report.info(f"started, port {port}, {holds} in {table.path}, version {__version__}")
            daemon.ready()
            server.run(signals)
        report.info("ended")

    return daemon.run(serve)
