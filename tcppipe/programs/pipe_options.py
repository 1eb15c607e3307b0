"""The options of one pipe, as tcppipe and a line of its list have them.

`tcppipe -I` reads them, too, so this loads next to nothing.
"""

from __future__ import annotations

import os

from tcppipe.errors import ConfigError
from tcppipe.process import paths
from tcppipe.programs.options import rate

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from tcppipe.programs.options import Options, Spec

PORT = 6514
SPEC: Spec = {
    "f": "FILE", "h": "HOST", "p": "PORT", "t": "SECONDS", "n": None, "z": None, "limit": "RATE",
    "d": None, "I": None, "K": "SIGNAL", "keep-alive": None, "olddir": "DIR",
    "pointer": "PATTERN", "hold-nuls": None, "run-dir": "DIR",
    "c": "LIST", "T": None,
}  # fmt: skip


class PipeOptions:
    """A checked command line.  Raises ConfigError."""

    def __init__(self, options: Options, operands: list[str]) -> None:
        if "T" in options:
            raise ConfigError("-T: only with -c LIST")
        if operands:
            raise ConfigError(
                f"{operands[0]}: belongs to no option (one file by -f FILE, one host by -h HOST)"
            )
        if not options.get("f") or not options.get("h"):
            raise ConfigError("-f FILE and -h HOST are needed")
        self.named = os.path.abspath(options["f"])
        self.pointer = _pattern(options["pointer"]) if "pointer" in options else None
        self.path = os.path.realpath(self.named) if self.pointer is None else _beside(self.named)
        if "\n" in self.path or self.path[-1] in " \t\r":
            raise ConfigError(f"{self.path!r}: a name that the protocol cannot carry")
        self.host = options["h"]
        self.port = port_number(options.get("p", str(PORT)))
        self.interval = _seconds(options["t"]) if "t" in options else None
        self.resend = "n" in options
        self.packed = "z" in options
        self.limit = rate("--limit", options["limit"]) if "limit" in options else None
        self.hold_nuls = "hold-nuls" in options
        self.foreground = "d" in options
        self.olddir = os.path.realpath(options["olddir"]) if "olddir" in options else None
        self.run_dir = paths.run_dir(options.get("run-dir"))
        base = os.path.join(self.run_dir, paths.pipe_base(self.host, self.port, self.path))
        self.pidfile, self.statusfile = base + ".pid", base + ".pipe"
        original = paths.original_base(self.host, self.port, self.path)
        self.originalfile = os.path.join(self.run_dir, original + ".pipe")


def _beside(path: str) -> str:
    """A path whose last part stays as it is, be it a link or not."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)


def _pattern(text: str) -> str:
    directory, name = os.path.split(text)
    if not name or any(letter in directory for letter in "*?["):
        raise ConfigError(f"--pointer {text}: wildcards stand in the last part of a pattern")
    return _beside(os.path.abspath(text))


def port_number(text: str) -> int:
    """The port that a word behind -p means.  Raises ConfigError."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
        raise ConfigError(f"-p {text}: not a port number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise ConfigError(f"-t {text}: not a number of seconds")
    return seconds
