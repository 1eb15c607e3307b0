"""A command line, read as getopt(3) reads it."""

import pytest

from tcppipe.errors import ConfigError
from tcppipe.programs.options import parse

SPEC = {"f": "file", "h": "host", "p": "port", "n": None, "I": None, "run-dir": "directory"}
SPEC |= {"dry": None}


@pytest.mark.parametrize(
    ("line", "options", "operands"),
    [
        ("", {}, ""),
        ("-f X -h Y", {"f": "X", "h": "Y"}, ""),
        ("-fX -hY -p6514", {"f": "X", "h": "Y", "p": "6514"}, ""),
        ("-nIf X", {"n": True, "I": True, "f": "X"}, ""),
        ("-nfIX", {"n": True, "f": "IX"}, ""),
        ("-f -weird", {"f": "-weird"}, ""),
        ("-f -- -n", {"f": "--", "n": True}, ""),
        ("-f=X", {"f": "=X"}, ""),
        ("-n -- -I", {"n": True}, "-I"),
        ("-n a -I", {"n": True}, "a -I"),
        ("-n - -I", {"n": True}, "- -I"),
        ("-f X -f Y", {"f": "Y"}, ""),
        ("--help", {"help": True}, ""),
        ("--version -n", {"version": True, "n": True}, ""),
        ("--run-dir /x --dry", {"run-dir": "/x", "dry": True}, ""),
        ("--run-dir=/x=y b", {"run-dir": "/x=y"}, "b"),
        ("--run-dir=", {"run-dir": ""}, ""),
        ("--run-dir --dry", {"run-dir": "--dry"}, ""),
    ],
)
def test_accepted(line, options, operands):
    """Clusters, glued and separate values, values that look like options, the end of options."""
    assert parse(line.split(), SPEC) == (options, operands.split())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-x", "-x: unknown option"),
        ("-nx", "-x: unknown option"),
        ("-f", "-f: needs a value (file)"),
        ("-nIf", "-f: needs a value (file)"),
        ("--file X", "--file: unknown option"),
        ("--f X", "--f: unknown option"),
        ("--hel", "--hel: unknown option"),
        ("--help=x", "--help: takes no value"),
        ("--run-dir", "--run-dir: needs a value (directory)"),
        ("--=x", "--: unknown option"),
        ("-n-", "--: unknown option"),
    ],
)
def test_refused(line, reason):
    """What is unknown, abbreviated or incomplete is refused with one line that names it."""
    with pytest.raises(ConfigError) as refused:
        parse(line.split(), SPEC)
    assert str(refused.value) == reason


def test_an_empty_value_is_a_value():
    """An empty word is taken as it is, as a value and as an operand."""
    assert parse(["-f", "", ""], SPEC) == ({"f": ""}, [""])


def test_nothing_is_changed():
    """The words and the table of options are left as they were."""
    words, spec = ["-f", "X", "y"], {"f": "file"}
    parse(words, spec)
    assert (words, spec) == (["-f", "X", "y"], {"f": "file"})
