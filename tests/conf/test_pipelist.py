"""The lines of a list of pipes."""

import pytest

from tcppipe.conf.pipelist import exclusions, parse, split
from tcppipe.errors import ConfigError
from tcppipe.programs import many, tcppipe


@pytest.mark.parametrize(
    "line, words",
    [
        ("", []),
        ("  \t ", []),
        ("# nothing, 'not even this", []),
        ("-f /a -h b", ["-f", "/a", "-h", "b"]),
        ("  -f\t/a   -hb  ", ["-f", "/a", "-hb"]),
        ("-f /a -h b # it's a comment", ["-f", "/a", "-h", "b"]),
        ("-f /a#b -h b", ["-f", "/a#b", "-h", "b"]),
        ("-f '/a #b' -h b", ["-f", "/a #b", "-h", "b"]),
        ("-f '#' '' \"it's\"", ["-f", "#", "", "it's"]),
        (r"-f /a\ b\#c -h b", ["-f", "/a b#c", "-h", "b"]),
    ],
)
def test_words(line, words):
    """Blanks, quotes, backslashes and comments are what they are to a shell."""
    assert split(line) == words


@pytest.mark.parametrize("line", ["-f '/a", '-f "/a', "-f /a\\"])
def test_words_without_an_end(line):
    """A quotation has to end in its line."""
    with pytest.raises(ValueError):
        split(line)


def read(text, tmp_path):
    """A list's lines as the program reads them."""
    keep = many.ListOptions({"c": str(tmp_path / "list"), "run-dir": str(tmp_path)}, [])
    return parse(text, "list", keep.read)


def test_lines(tmp_path):
    """Each line has its number, its pattern, and its options; its text can be read again."""
    text = "# pipes\n\n-f '/var/log/*.log' -h archive -t5 --olddir=/var/old\n-h b -p 6515 -f '/a b'"
    first, second = read(text, tmp_path)
    assert (first.line, first.pattern, first.wild) == (3, "/var/log/*.log", True)
    assert first.options == {"f": "/var/log/*.log", "h": "archive", "t": "5", "olddir": "/var/old"}
    assert first.text == "-f /var/log/*.log -h archive -t5 --olddir=/var/old"
    assert (second.line, second.pattern, second.wild) == (4, "/a b", False)
    assert read(second.text, tmp_path)[0].options == second.options


def test_every_option_of_a_pipe_is_valid(tmp_path):
    """What tcppipe takes for a pipe, a line takes, too; what is not for one pipe is refused."""
    values = {"SECONDS": "1", "PORT": "1", "DIR": "/d", "FILE": "/a", "HOST": "b",
              "PATTERN": "/d/a-*"}  # fmt: skip
    for key, name in tcppipe.SPEC.items():
        flag = ("-" if len(key) == 1 else "--") + key
        words = {"-f": "/a", "-h": "b", flag: values.get(name, "1") if name else ""}
        line = " ".join(f"{word} {value}" for word, value in words.items())
        if key in many.NOT_IN_A_LINE:
            with pytest.raises(ConfigError, match=f"list:1: {flag}: not an option of a pipe"):
                read(line, tmp_path)
        else:
            assert key in read(line, tmp_path)[0].options


@pytest.mark.parametrize(
    "line, reason",
    [
        ("-h b", "-f FILE and -h HOST are needed"),
        ("-f /a", "-f FILE and -h HOST are needed"),
        ("-f a.log -h b", "-f a.log: not an absolute path"),
        ("-f /a/ -h b", "-f /a/: a directory, not a file in it"),
        ("-f /a -h b --olddir old", "--olddir old: not an absolute path"),
        ("-f /a -h b -p 0", "-p 0: not a port number"),
        ("-f /a -h b -t x", "-t x: not a number of seconds"),
        ("-f /a -h b -x", "-x: unknown option"),
        ("-f /a -h b c", "c: belongs to no option (one file by -f FILE, one host by -h HOST)"),
        ("-f /a -h b --help", "--help: not an option of a pipe"),
        ("-f /a -h b --version", "--version: not an option of a pipe"),
        ("-f /a -h", "-h: needs a value (HOST)"),
        ("-f '/a -h b", "a quotation has no end in this line"),
    ],
)
def test_a_bad_line_is_named(line, reason, tmp_path):
    """With its number, and why."""
    with pytest.raises(ConfigError) as error:
        read(f"# first\n{line}\n", tmp_path)
    assert str(error.value) == f"list:2: {reason}"


def test_all_bad_lines_are_named(tmp_path):
    """At once, not one after the other."""
    with pytest.raises(ConfigError) as error:
        read("-f a -h b\n-f /a -h b\n-x\n", tmp_path)
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["1", "3"]


def test_exclusions(tmp_path):
    """A line that begins with ! names what has no pipe, whatever line fits it."""
    text = "-f /var/log/*.log -h x\n! /var/log/tcppipe.log  # about us\n! '/var/log/a b*'\n"
    assert [line.line for line in read(text, tmp_path)] == [1]
    assert exclusions(text) == ["/var/log/tcppipe.log", "/var/log/a b*"]
    for wrong, why in {
        "!": "one pattern is wanted behind '!'",
        "! /a /b": "one pattern is wanted behind '!'",
        "! a.log": "! a.log: not an absolute path",
        "! /a/": "! /a/: a directory, not a file in it",
        "!/a": "a blank is wanted between '!' and its pattern",
    }.items():
        with pytest.raises(ConfigError) as error:
            read(wrong, tmp_path)
        assert str(error.value) == f"list:1: {why}"
