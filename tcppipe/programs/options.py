"""A command line, read as getopt(3) reads it.

By hand, because `tcppipe -I` has no time for more.  Options end at the first
operand or at `--`; what follows an option that needs a value is its value,
whatever it looks like.  Does not know what any option means.
"""

import sys

from tcppipe import __version__
from tcppipe.errors import ConfigError


def parse(argv, spec):
    """Split the words behind a program's name into ({option: value}, operands).

    spec gives for each option the name of its value, or None if it takes none: such an option
    gets the value True.  A key of one letter is `-f`, a longer one `--file` (never abbreviated).
    --help and --version are always there.  The last one wins.
    """
    spec = {"help": None, "version": None, **spec}
    options = {}
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


def asked(options, program, usage):
    """True when --help or --version was given; it is answered then."""
    if "help" in options:
        sys.stdout.write(usage)
        return True
    if "version" in options:
        print(f"{program} {__version__}")
        return True
    return False


def wrong(error, program, usage):
    """Say what is wrong with a command line; the exit status."""
    sys.stderr.write(f"{program}: {error}\n{usage.splitlines()[0]}\n")
    return 1


def _long(word, words, spec, options):
    key, equals, value = word[2:].partition("=")
    if len(key) < 2 or key not in spec:
        raise ConfigError(f"--{key}: unknown option")
    if spec[key] is None:
        if equals:
            raise ConfigError(f"--{key}: takes no value")
        options[key] = True
    else:
        options[key] = value if equals else _next(f"--{key}", words, spec[key])


def _short(cluster, words, spec, options):
    while cluster:
        key, cluster = cluster[0], cluster[1:]
        if key not in spec:
            raise ConfigError(f"-{key}: unknown option")
        if spec[key] is None:
            options[key] = True
        else:
            options[key] = cluster or _next(f"-{key}", words, spec[key])
            cluster = ""


def _next(option, words, name):
    if not words:
        raise ConfigError(f"{option}: needs a value ({name})")
    return words.pop(0)
