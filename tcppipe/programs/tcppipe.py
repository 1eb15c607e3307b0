"""tcppipe: sends one file to a host, and what is appended to it from then on.

Options that only ask (-I, -K) are answered before anything else is loaded: they are
used in scripts and by cron every minute.
"""

from __future__ import annotations

import os
import sys

from tcppipe.errors import ConfigError, TcppipeError, in_words
from tcppipe.process import paths
from tcppipe.process.owner import owner, send
from tcppipe.programs.options import absent, asked, interruptible, parse, wrong
from tcppipe.programs.pipe_options import SPEC, PipeOptions

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcppipe.process.report import Message
    from tcppipe.programs.many import ListOptions

USAGE = """\
usage: tcppipe -f FILE -h HOST [-p PORT] [-t SECONDS] [-n] [-z] [--limit RATE] [-d]
       tcppipe -I -f FILE -h HOST [-p PORT]
       tcppipe -K SIGNAL -f FILE -h HOST [-p PORT]
       tcppipe -c LIST [-d | -T | -I | -K SIGNAL]

  -f FILE      the origin file
  -h HOST      the host that tcppiped runs on
  -p PORT      the port that it listens on (6514)
  -t SECONDS   send updates every so many seconds (at once)
  -n           send the whole file once more
  -z           compress where that is faster, if the server can unpack
  --limit RATE send at most so many bytes a second (K, M, G: powers of 1024)
  -d           stay in the foreground, log to standard error
  -I           print the pid of the tcppipe that runs with these -f -h -p
  -K SIGNAL    send it a signal (HUP, TERM, ...); nothing to do when none runs
  --keep-alive start only if the run directory holds tcppipe.keepalive, and none runs
  --olddir DIR where rotated files go, if not beside the origin
  --pointer PATTERN
               FILE is a link, symbolic or hard, that is turned from one dated file to the
               next, all of which this pattern fits
  --hold-nuls  NULs at the end of the file are room that is written over later: hold them
               back until something stands behind them
  -c LIST      keep a tcppipe for each pipe that is listed in a file, with options as above
               in each line, and wildcards in -f; -d, -I, -K and --keep-alive as above
  -T           check LIST, print what it says, and end
  --run-dir DIR    pid and status files (/var/run)
  --help, --version
"""


@interruptible
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    try:
        options, operands = parse(sys.argv[1:] if argv is None else argv, SPEC)
        if asked(options, "tcppipe", USAGE):
            return 0
        if "c" in options:
            from tcppipe.programs import many

            pipe: PipeOptions | ListOptions = many.ListOptions(options, operands)
        else:
            pipe = PipeOptions(options, operands)
    except ConfigError as error:
        return wrong(error, "tcppipe", USAGE)
    absent("tcppipe", options)
    try:
        if "T" in options and not isinstance(pipe, PipeOptions):
            from tcppipe.programs import checks

            return checks.tcppipe(pipe)
        if "I" in options:
            return _show_pid(pipe)
        if "K" in options:
            return _send_signal(pipe, options["K"])
        if "keep-alive" in options and not _wanted(pipe):
            return 0
        return _run(pipe) if isinstance(pipe, PipeOptions) else _keep(pipe)
    except TcppipeError as error:
        return _fatal(error)
    except (OSError, MemoryError, ImportError) as error:  # too little of something
        what = "ask who runs" if options.keys() & {"I", "K"} else "start"
        return _fatal(f"{pipe.path}: cannot {what}: {in_words(error)}")


def _fatal(message: Message) -> int:
    from tcppipe.process import report

    report.open("tcppipe")
    return report.fatal(message)


def _show_pid(pipe: PipeOptions | ListOptions) -> int:
    pid = owner(pipe.pidfile)
    if pid is None:
        return 1
    try:
        os.write(1, b"%d\n" % pid)
    except OSError:
        pass  # nobody reads it
    return 0


def _send_signal(pipe: PipeOptions | ListOptions, name: str) -> int:
    import signal

    word = name.upper()
    word = word if word.startswith("SIG") else "SIG" + word
    try:
        number = name.isascii() and name.isdigit()
        signum = signal.Signals(int(name)) if number else signal.Signals[word]
    except (KeyError, ValueError):
        raise ConfigError(f"-K {name}: no such signal") from None
    try:
        send(pipe.pidfile, signum)
    except PermissionError:
        who = f"pid {owner(pipe.pidfile)}"
        raise ConfigError(f"{who}: cannot send {signum.name}: it is another user's") from None
    return 0


def _keep(keep: ListOptions) -> int:
    from tcppipe.programs import many

    return many.run(keep)


def _wanted(pipe: PipeOptions | ListOptions) -> bool:
    """For --keep-alive: is it switched on, and is there nobody yet?"""
    switch = os.path.join(pipe.run_dir, "tcppipe.keepalive")
    return os.path.exists(switch) and owner(pipe.pidfile) is None


def _run(pipe: PipeOptions) -> int:
    """Detach, establish the pipe while the caller waits to see how that goes, and feed it."""
    import signal

    from tcppipe.process.daemon import Daemon

    daemon = Daemon("tcppipe", pipe.pidfile)
    daemon.open(pipe.foreground)

    from tcppipe.drivers.push import Push, check_origin
    from tcppipe.files.wakeup import Wakeup
    from tcppipe.net.dial import Dialler
    from tcppipe.process import report
    from tcppipe.programs.feeding import parts, pipe_files

    check_origin(pipe.path, pipe_files(pipe)[0])
    paths.ensure(pipe.run_dir)
    daemon.must_be_alone(f"{pipe.path}: tcppipe runs already for this file and host")
    caller = daemon.begin(pipe.foreground)
    report.about(pipe.path)
    push = Push(*parts(pipe, Dialler(pipe.host, pipe.port)))

    def serve() -> None:
        push.establish(caller)
        signums = [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
        with daemon.held(signums) as signals:
            wakeup = Wakeup(pipe.path, report.say, push.follower.chain.directories)
            report.info(f"{pipe.path}: established, to {pipe.host}:{pipe.port}")
            daemon.ready()
            push.run(signals, wakeup)
        report.info(f"{pipe.path}: ended")

    return daemon.run(serve)
