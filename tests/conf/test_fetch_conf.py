"""fetch_logs' configuration: what a line means, and which lines are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcppipe.conf import fetch
from tcppipe.errors import ConfigError

ORIGINAL = "1.2.3.4 19 /var/log/err.log /logs/remote/gogu.err.log /logs/remote_p/gogu.err.log"


def one(line):
    """The source that a line means."""
    (source,) = fetch.parse(line, "x")
    return source


def test_the_originals_example():
    """As its documentation has it."""
    expected = (1, "1.2.3.4", 19, "/var/log/err.log", "/logs/remote/gogu.err.log",
                "/logs/remote_p/gogu.err.log")  # fmt: skip
    assert one(ORIGINAL) == expected
    assert not one(ORIGINAL).is_name


@pytest.mark.parametrize("line", [
    "1.2.3.4 19 /a /b /c",
    "  1.2.3.4\t19  /a \t/b /c \r",
    "1.2.3.4 19 /a /b /c # on the left",
    "::ffff:1.2.3.4 19 /a /b /c",
])  # fmt: skip
def test_blanks_and_comments(line):
    """Any number of blanks; a comment behind the fields."""
    assert one(line) == (1, "1.2.3.4", 19, "/a", "/b", "/c")


@pytest.mark.parametrize("host, expected", [
    ("2001:DB8:0::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("WWW.example.com", "www.example.com"),
    ("a", "a"),
])  # fmt: skip
def test_hosts(host, expected):
    """One spelling for each host, since a status file has its name."""
    source = one(f"{host} 19 /a /b /c")
    assert source.host == expected
    assert source.is_name is (":" not in expected)


def test_numbers_of_lines():
    """Comments and empty lines count."""
    text = f"# comment\n\n{ORIGINAL}\n   # comment\n a 1 /\udcff /b /c\n"
    assert [(source.line, source.remote) for source in fetch.parse(text, "x")] == [
        (3, "/var/log/err.log"),
        (5, "/\udcff"),
    ]


INVALID = {
    "1.2.3.4": "port missing (ADDR PORT REMOTE LOCAL POINTER)",
    "1.2.3.4 19": "remote file missing (ADDR PORT REMOTE LOCAL POINTER)",
    "1.2.3.4 19 /a": "local file missing (ADDR PORT REMOTE LOCAL POINTER)",
    "1.2.3.4 19 /a /b": "pointer file missing (ADDR PORT REMOTE LOCAL POINTER)",
    "1.2.3.4 19 /a /b #c": "pointer file '#c' is not",
    "1.2.3.4 19 /a /b /c /d": "more than five fields",
    "1.2.3 19 /a /b /c": "bad address '1.2.3'",
    "1.2.3.4/32 19 /a /b /c": "bad address",
    "fe80::1%eth0 19 /a /b /c": "an interface cannot be given",
    "../x 19 /a /b /c": "bad address",
    ".. 19 /a /b /c": "bad address",
    "[1.2.3.4 19 /a /b /c": "bad address",
    "-x 19 /a /b /c": "bad address",
    "1.2.3.4 0 /a /b /c": "bad port '0'",
    "1.2.3.4 019 /a /b /c": "bad port '019'",
    "1.2.3.4 0x13 /a /b /c": "bad port",
    "1.2.3.4 65536 /a /b /c": "bad port",
    "1.2.3.4 \u0661 /a /b /c": "bad port",
    "1.2.3.4 19 a /b /c": "remote file 'a' is not an absolute path",
    "1.2.3.4 19 /a b /c": "local file 'b' is not an absolute path",
    "1.2.3.4 19 /a /b c": "pointer file 'c' is not an absolute path",
    "1.2.3.4 19 /a/ /b /c": "is a directory",
    "1.2.3.4 19 /a /b\0 /c": "NUL",
    "1.2.3.4 19 /a /b /b": "pointer file '/b' is written by this line already",
    "1.2.3.4 19 /a /b //./b": "is written by this line already",
}


@pytest.mark.parametrize("line", INVALID)
def test_invalid_lines(line):
    """Each is an error with its number and a reason in one printable line."""
    with pytest.raises(ConfigError) as caught:
        fetch.parse(f"# \n{line}\n", "x.conf")
    assert str(caught.value).startswith("x.conf:2: ")
    assert INVALID[line] in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("first, second, reason", [
    ("a 1 /a /l /p", "a 1 /b /l /q", "local file '/l' is written by line 1 already"),
    ("a 1 /a /l /p", "b 1 /b /m /p", "pointer file '/p' is written by line 1 already"),
    ("a 1 /a /l /p", "b 1 /b /p /q", "local file '/p' is written by line 1 already"),
    ("a 1 /a /x/./l /p", "b 1 /b /x//l /q", "local file '/x//l' is written by line 1 already"),
])  # fmt: skip
def test_no_file_has_two_writers(first, second, reason):
    """What one line writes to, no other line does."""
    with pytest.raises(ConfigError) as caught:
        fetch.parse(f"{first}\n{second}", "x")
    assert str(caught.value) == f"x:2: {reason}"


def test_one_origin_may_go_to_two_files():
    """Reading is free."""
    assert len(fetch.parse("a 1 /a /l /p\na 1 /a /m /q", "x")) == 2


def test_all_bad_lines_are_told():
    """Not only the first one."""
    with pytest.raises(ConfigError) as caught:
        fetch.parse(f"a\n{ORIGINAL}\nb", "x")
    assert [line[:4] for line in str(caught.value).split("\n")] == ["x:1:", "x:3:"]


PIECES = st.sampled_from(
    ["a", "1.2.3.4", "::1", "[", "]", "%", " ", " ", " ", "\t", "\n", "19", "/a", "/b", "/", "..",
     "#", "\r", "\0", "\u00a0", "\udcff", "a 1 /a /b /c", "b 2 /a /d /e # x"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_parse_raises_nothing_but_config_errors(text):
    """Any text is sources, or a ConfigError; a host can be the name of a file."""
    try:
        sources = fetch.parse(text, "x")
    except ConfigError as error:
        assert all(line.startswith("x:") for line in str(error).split("\n"))
        return
    for source in sources:
        assert "/" not in source.host and source.host not in ("", ".", "..")
        assert 0 < source.port < 65536
        assert one(" ".join(map(str, source[1:])))[1:] == source[1:]
