"""A command line, read as getopt(3) reads it.

By hand, because `tcppipe -I` has no time for more.  Options end at the first
operand or at `--`; what follows an option that needs a value is its value,
whatever it looks like.  Knows no option, but words that several programs' options take.
"""

from __future__ import annotations

import os
import sys

from tcppipe import __version__
from tcppipe.errors import ConfigError, TcppipeError, in_words

TYPE_CHECKING = False  # the module typing takes a program that only asks some milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Spec = dict[str, str | None]
    Options = dict[str, str]
    Main = Callable[[Sequence[str] | None], int]

UNITS = {"": 1, "k": 1 << 10, "K": 1 << 10, "m": 1 << 20, "M": 1 << 20, "g": 1 << 30, "G": 1 << 30}


def parse(argv: Sequence[str], spec: Spec) -> tuple[Options, list[str]]:
    """Split the words behind a program's name into ({option: value}, operands).

    spec gives for each option the name of its value, or None if it takes none: such an option
    gets an empty value.  A key of one letter is `-f`, a longer one `--file` (never abbreviated).
    --help and --version are always there.  A value is given once.
    """
    spec = {"help": None, "version": None, **spec}
    options: Options = {}
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            _long(word, words, spec, options)
        else:
            _short(word[1:], words, spec, options)
    return options, words


def flag(key: str) -> str:
    """An option as it is written."""
    return ("-" if len(key) == 1 else "--") + key


def note(about: str, text: str) -> None:
    """Say on standard error what is no error, and may not be meant.  about: program or file."""
    try:
        print(f"{about}: note: {text}", file=sys.stderr)
    except OSError:
        pass  # what cannot be said changes nothing


def unwritable(program: str, directory: str) -> None:
    """Say it when nothing can be written where a server keeps what it goes on with.

    It starts all the same, and waits: a disk may become writable again.
    """
    if not os.access(directory, os.W_OK | os.X_OK):
        what = "may not write there, and nothing is taken until it can"
        note(program, f"{directory}: user {os.geteuid()} {what}")


def absent(program: str, options: Options) -> None:
    """Say which directories that were given are not there."""
    asks = {"I", "K", "T"} & set(options)
    for key, what in (
        ("run-dir", "nobody runs there" if asks else "made now"),
        ("state-dir", "made now"),
        ("olddir", "rotated files are looked for there once it is"),
    ):
        path = options.get(key)
        if path is None or os.path.isdir(path):
            continue
        beside = os.path.dirname(os.path.abspath(path))
        while not os.path.lexists(beside):
            beside = os.path.dirname(beside)
        # what cannot be made is an error, which says so itself
        if what != "made now" or (not os.path.lexists(path) and os.access(beside, os.W_OK)):
            note(program, f"{flag(key)} {path}: no such directory; {what}")


def rate(option: str, text: str) -> float:
    """The bytes a second that a word like 500, 1.5M or 64k means, as curl(1) and pv(1) read it.

    Raises ConfigError, which names the option.
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "")
    plain = number.isascii() and number.replace(".", "", 1).isdigit()
    value = float(number) * UNITS[unit] if plain else 0.0
    if not 1.0 <= value < 1e15:
        raise ConfigError(f"{option} {text}: not a number of bytes a second")
    return value


def interruptible(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """The main() of a program: Ctrl-C ends it by that signal, and without a traceback.

    Nor is there one when the machine has too little of something to say it in the usual way.
    """

    def run(argv: Sequence[str] | None = None) -> int:
        try:
            if None in (sys.stdin, sys.stdout, sys.stderr):  # closed by whoever started us
                from tcppipe.process.detach import ensure_stdio

                ensure_stdio()
            return main(argv)
        except (MemoryError, ImportError, OSError) as error:
            return _cannot_start(error)
        except KeyboardInterrupt:
            import signal

            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
            return 130  # blocked by whoever started us

    run.__doc__ = main.__doc__
    return run


def _cannot_start(error: Exception) -> int:
    """There is too little of something; the exit status."""
    text = f"cannot start: {in_words(error)}"
    try:
        from tcppipe.process import report

        return report.fatal(text)
    except (MemoryError, ImportError, OSError):
        program = sys.argv[0].rpartition("/")[2]
        sys.stderr.write(f"{program}: {text}\n")
        return 1


def said(body: Callable[[], int]) -> int:
    """What body() returns; what it fails by is said, a line for each, and the status is 1."""
    from tcppipe.process import report

    try:
        return body()
    except TcppipeError as error:
        for line in str(error).splitlines():
            report.fatal(line)
        return 1


def prints() -> None:
    """From now on a reader who has gone (`| head`) ends the program, as he ends any other."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def asked(options: Options, program: str, usage: str) -> bool:
    """True when --help or --version was given; it is answered then."""
    if {"help", "version"} & set(options):
        prints()
    if "help" in options:
        sys.stdout.write(usage)
        return True
    if "version" in options:
        print(f"{program} {__version__}")
        return True
    return False


def wrong(error: ConfigError, program: str, usage: str) -> int:
    """Say what is wrong with a command line; the exit status."""
    sys.stderr.write(f"{program}: {error}\n{usage.splitlines()[0]}; more by --help\n")
    return 1


def _long(word: str, words: list[str], spec: Spec, options: Options) -> None:
    key, equals, value = word[2:].partition("=")
    if len(key) < 2 or key not in spec:
        raise ConfigError(f"--{key}: unknown option")
    name = spec[key]
    if name is None:
        if equals:
            raise ConfigError(f"--{key}: takes no value")
        options[key] = ""
    else:
        _give(options, key, value if equals else _next(f"--{key}", words, name))


def _short(cluster: str, words: list[str], spec: Spec, options: Options) -> None:
    while cluster:
        key, cluster = cluster[0], cluster[1:]
        if key not in spec:
            raise ConfigError(f"-{key}: unknown option")
        name = spec[key]
        if name is None:
            options[key] = ""
        else:
            _give(options, key, cluster or _next(f"-{key}", words, name))
            cluster = ""


def _give(options: Options, key: str, value: str) -> None:
    if key in options:
        raise ConfigError(f"{flag(key)}: given twice")
    options[key] = value


def _next(option: str, words: list[str], name: str) -> str:
    if not words:
        raise ConfigError(f"{option}: needs a value ({name})")
    return words.pop(0)
