"""`tcppipe -c FILE`: the pipes of a list, one process for each, and one that keeps them.

A line of the list has the options of a pipe as tcppipe itself reads them, so it can have
what tcppipe has.  Asking (-I, -K) loads nothing of what runs pipes.
"""

from __future__ import annotations

import os

from tcppipe import __version__
from tcppipe.conf import pipelist
from tcppipe.errors import ConfigError
from tcppipe.process import paths
from tcppipe.programs.options import flag, parse
from tcppipe.programs.pipe_options import SPEC, PipeOptions

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from tcppipe.drivers.kept import Kept, Strings
    from tcppipe.net.dial import Dialler
    from tcppipe.process.daemon import Daemon
    from tcppipe.process.signals import Signals
    from tcppipe.programs.options import Options

    Prepared = tuple[PipeOptions, Kept]

# Options of the program itself, not of a pipe.
NOT_IN_A_LINE = {"c", "d", "I", "K", "T", "keep-alive", "run-dir", "help", "version"}


class ListOptions:
    """A checked command line with -c.  Raises ConfigError."""

    def __init__(self, options: Options, operands: list[str]) -> None:
        if operands:
            raise ConfigError(f"{operands[0]}: pipes are listed in the file of -c, one a line")
        for key in options:
            if key not in NOT_IN_A_LINE:
                raise ConfigError(
                    f"{flag(key)}: not together with -c: write it into the lines of LIST"
                )
        self.path = os.path.realpath(options["c"])
        if "\n" in self.path:
            raise ConfigError(f"{self.path!r}: a list whose name holds a newline")
        self.foreground = "d" in options
        self.run_dir = paths.run_dir(options.get("run-dir"))
        self.pidfile = os.path.join(self.run_dir, paths.file_name(self.path) + ".pid")

    def read(self, words: list[str]) -> Options:
        """The options in the words of a line, checked.  Raises ConfigError."""
        options, operands = parse(words, SPEC)
        for key, value in options.items():
            if key in NOT_IN_A_LINE:
                raise ConfigError(f"{flag(key)}: not an option of a pipe")
            if SPEC[key] in ("FILE", "DIR", "PATTERN") and not value.startswith("/"):
                raise ConfigError(f"{flag(key)} {value}: not an absolute path")
        PipeOptions({**options, "run-dir": self.run_dir}, operands)
        if "pointer" in options and pipelist.MAGIC.search(options["f"]):
            raise ConfigError("--pointer: with one file by -f, without wildcards")
        return options

    def make(self, options: Options, path: str) -> PipeOptions:
        """The pipe of one file that a line with these options leads to."""
        pipe = PipeOptions({**options, "f": path, "run-dir": self.run_dir}, [])
        if pipe.path != path:
            raise ConfigError(f"{path}: has become a symbolic link just now")
        return pipe


def run(keep: ListOptions) -> int:
    """Keep the pipes of the list; the exit status."""
    from tcppipe.process.daemon import Daemon

    daemon = Daemon("tcppipe", keep.pidfile)
    daemon.open(keep.foreground)
    return _run(keep, daemon)


def _run(keep: ListOptions, daemon: Daemon) -> int:
    from tcppipe.drivers import kept
    from tcppipe.drivers.keeper import SIGNALS, Keeper
    from tcppipe.drivers.wanted import Wanted
    from tcppipe.process import report
    from tcppipe.programs import feeding

    wanted = Wanted(keep.path, keep.read, keep.make)
    try:
        wanted.read()
    except ConfigError as error:
        for line in str(error).split("\n"):
            report.fatal(line)
        return 1
    paths.ensure(keep.run_dir)
    daemon.must_be_alone(f"{keep.path}: tcppipe runs already for this list")
    daemon.begin(keep.foreground)

    def prepare(pipe: PipeOptions, resend: bool, dialler: Dialler, lines: Strings) -> Prepared:
        pipe.resend = resend
        return pipe, kept.Kept(*feeding.parts(pipe, dialler), lines)

    def feed(prepared: Prepared, signals: Signals) -> int:
        daemon.forget()
        return feeding.feed(*prepared, signals)

    def serve() -> None:
        with daemon.held(SIGNALS) as signals:
            report.info(f"started, {wanted.holds} in {wanted.path}, version {__version__}")
            daemon.ready()
            report.share()
            Keeper(wanted, signals, prepare, feed).run()
        report.info("ended")

    return daemon.run(serve)
