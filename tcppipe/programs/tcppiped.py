"""tcppiped: the server that writes the destination files."""

import os
import sys

from tcppipe.errors import ConfigError, TcppipeError
from tcppipe.process import rundir
from tcppipe.programs.options import absent, asked, interruptible, parse, wrong
from tcppipe.programs.tcppipe import PORT, _port

CONF = "/etc/tcppipe.conf"
USAGE = """\
usage: tcppiped [-f CONF] [-p PORT] [-a ADDRESS] [-d]
       tcppiped -T [-f CONF] [HOST:FILE]

  -f CONF      the configuration file (/etc/tcppipe.conf)
  -p PORT      the port to listen on (6514)
  -a ADDRESS   the address to listen on (all of IPv4 and IPv6)
  -d           stay in the foreground, log to standard error
  -T           check the configuration, print what it says, and end; with HOST:FILE
               print the line that is for it, and where it leads
  --run-dir DIR    the pid file (/var/run)
  --state-dir DIR  the ledgers (/var/lib/tcppipe)
  --help, --version
"""
SPEC = {
    "f": "CONF", "p": "PORT", "a": "ADDRESS", "d": None, "T": None,
    "run-dir": "DIR", "state-dir": "DIR",
}  # fmt: skip


@interruptible
def main(argv=None):
    """Run the program; the exit status."""
    try:
        options, operands = parse(sys.argv[1:] if argv is None else argv, SPEC)
        if operands[1 if "T" in options else 0 :]:
            raise ConfigError(f"{operands[-1]}: too many arguments")
        port = _port(options.get("p", str(PORT)))
    except ConfigError as error:
        return wrong(error, "tcppiped", USAGE)
    if asked(options, "tcppiped", USAGE):
        return 0
    absent("tcppiped", options)
    from tcppipe.process import report

    report.open("tcppiped", "d" in options)
    try:
        if "T" in options:
            from tcppipe.programs import checks

            return checks.tcppiped(os.path.abspath(options.get("f", CONF)), *operands)
        return _run(options, port)
    except (TcppipeError, OSError) as error:
        for line in str(error).splitlines():
            report.fatal(line)
        return 1


def _run(options, port):
    import signal

    from tcppipe.drivers.pipe import Table
    from tcppipe.drivers.serve import WHERE, Pipes, Server
    from tcppipe.net.listen import listen
    from tcppipe.process import detach, report
    from tcppipe.process.signals import Signals

    detach.ensure_stdio()
    table = Table(os.path.abspath(options.get("f", CONF)))
    table.read()
    run_dir = rundir.ensure(rundir.run_dir(options.get("run-dir")))
    state_dir = rundir.ensure(rundir.state_dir(options.get("state-dir")), 0o750)
    lock = rundir.PidFile(os.path.join(run_dir, "tcppiped.pid"))
    pid = lock.read_pid()
    if pid is not None:
        raise ConfigError(f"{lock.path}: tcppiped runs already, pid {pid}")
    sockets = listen(port, options.get("a"))
    ready = detach.in_foreground
    if "d" not in options:
        ready = detach.detach([sock.fileno() for sock in sockets], "tcppiped")
        report.open("tcppiped")
    try:
        signals = Signals([signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD,
                           signal.SIGUSR1, WHERE])  # fmt: skip
        lock.acquire()  # only now somebody can find us to send a signal to
        for path in rundir.open_to_others(run_dir, state_dir, table.path):
            report.warning(f"{path}: others may write there, and take pipes over: chmod o-w")
        server = Server(Pipes(table, state_dir), sockets)
        report.info(f"started, port {port}, {len(table.entries)} entries in {table.path}")
        ready()
        server.run(signals)
    except (TcppipeError, OSError, rundir.lock_errors()) as error:
        report.fatal(error)
        ready(1, f"tcppiped: {report.one_line(error)}")
        return 1
    finally:
        if lock.i_am_locking():
            lock.release()
    report.info("ended")
    return 0
