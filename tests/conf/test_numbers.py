"""gen_numbers' .locals file: what a line means, and that nothing else is understood."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcppipe.conf import numbers
from tcppipe.errors import ConfigError

ORIGINAL = """\
$hosts_allow{"127.0.0.1"} = 1;
$files{"/var/log/messages"} = "/var/log/messages.*[0-9]";
$bind_port = 100;
$bind_addr = "10.4.3.5";
"""


def one(line):
    """The meaning of a file of one line."""
    return numbers.parse(line, "x")


def allowed(result):
    """The networks as text."""
    return {str(network): allowed for network, allowed in result.allow}


def test_the_originals_example():
    """As its documentation has it."""
    result = numbers.parse(ORIGINAL, "x")
    assert allowed(result) == {"127.0.0.1/32": True}
    assert result.files == {"/var/log/messages": "/var/log/messages.*[0-9]"}
    assert (result.port, result.address) == (100, "10.4.3.5")


def test_what_is_not_said_is_none():
    """An empty file allows nobody nothing."""
    assert numbers.parse("", "x") == ([], {}, None, None)


@pytest.mark.parametrize(
    "line",
    ["", " \t\r", "# $x", "#$bind_port = 1;", "1;", "1", "1 # true", "use strict;",
     "use warnings; # as usual", ";", "1;\r"],
)  # fmt: skip
def test_lines_that_say_nothing(line):
    """Comments, and what Perl files have at their ends."""
    assert one(line) == ([], {}, None, None)


@pytest.mark.parametrize("line, networks", [
    ("$hosts_allow{'10.0.0.1'}=1;", {"10.0.0.1/32": True}),
    ('\tour $hosts_allow { "10.0.0.1" } = "1" ; # ours', {"10.0.0.1/32": True}),
    ('my $hosts_allow{"10.0.0.1"} = 0;', {"10.0.0.1/32": False}),
    ('$hosts_allow{"10.0.0.1"} = "";', {"10.0.0.1/32": False}),
    ('$hosts_allow{"10.0.0.1"} = 00;', {"10.0.0.1/32": False}),
    ('$hosts_allow{"10.0.0.1"} = "no";', {"10.0.0.1/32": True}),  # true is what Perl takes for it
    ('$hosts_allow{"10.0.0.0/8"} = 1;', {"10.0.0.0/8": True}),
    ('$hosts_allow{"2001:DB8::1"} = 1;', {"2001:db8::1/128": True}),
    ('$hosts_allow{"2001:db8::/32"} = 1;', {"2001:db8::/32": True}),
    ('$hosts_allow{"::ffff:10.0.0.1"} = 1;', {"10.0.0.1/32": True}),
    ('$hosts_allow{"::ffff:10.0.0.0/104"} = 1;', {"10.0.0.0/8": True}),
    ('$hosts_allow{"10.0.0.1"} = 1; $hosts_allow{"10.0.0.2"} = 1;',
     {"10.0.0.1/32": True, "10.0.0.2/32": True}),
    ('$hosts_allow{"10.0.0.1"} = 1; $hosts_allow{"10.0.0.1"} = 0;', {"10.0.0.1/32": False}),
])  # fmt: skip
def test_hosts(line, networks):
    """Addresses and networks of both kinds; the last word on a network counts."""
    assert allowed(one(line)) == networks


@pytest.mark.parametrize("line, files", [
    ("$files{'/a'} = '/a.*';", {"/a": "/a.*"}),
    ('$files{"/a"} = "";', {"/a": ""}),
    ('$files{"/a#b"} = "/a;b"; # c', {"/a#b": "/a;b"}),
    (r'$files{"/a\"\\\$\@\#"} = "/b\[0-9]";', {'/a"\\$@#': "/b[0-9]"}),
    (r"$files{'/a\'\\\n$@'} = '';", {"/a'\\\\n$@": ""}),
    ('$files{"/a"} = "/a.* /old/a.{1,2}";', {"/a": "/a.* /old/a.{1,2}"}),
    ('$files{"/\udcff"} = "/\udcff.1";', {"/\udcff": "/\udcff.1"}),
])  # fmt: skip
def test_files(line, files):
    """A path and the glob of its rotated names, quoted as Perl does."""
    assert one(line).files == files


@pytest.mark.parametrize("line, port, address", [
    ("$bind_port = 100;", 100, None),
    ("our $bind_port='6514';", 6514, None),
    ("$bind_addr = '::1';", None, "::1"),
    ('$bind_addr = "0";', None, "0.0.0.0"),
    ("$bind_addr = 0;", None, "0.0.0.0"),
    ('$bind_addr = "logs.example.com";', None, "logs.example.com"),
    ("$bind_port = 1; $bind_port = 2;", 2, None),
    ("$delay_check = 5; $timeout_write = 60;", None, None),
])  # fmt: skip
def test_where_to_listen(line, port, address):
    """A port, and an address of either kind; the original's pace is understood and ignored."""
    assert one(line) == ([], {}, port, address)


INVALID = {
    'system("rm -rf /");': "not understood",
    "$bind_port = 100": "not understood: '$bind_port = 100' (a ';' at the end?)",
    'files{"/a"} = "/a.*";': "(a '$' before the name?)",
    "$bind_port = `id`;": "not understood",
    "$bind_port = $x;": "not understood",
    "$bind_port = 100; }": "not understood: '}'",
    "$bind_port = 1 + 1;": "not understood",
    '$bind_addr = "10.0.0.1;': "not understood",
    '%hosts_allow = ("10.0.0.1" => 1);': "not understood",
    "$hosts_allow{10.0.0.1} = 1;": """(wanted: $hosts_allow{"ADDRESS"} = 1; or $files{""",
    "11;": "not understood",
    "1 1;": "not understood",
    "$snmp_data_dir = '/x';": "unknown variable $snmp_data_dir",
    "$hosts_allow = 1;": "$hosts_allow: no {key}",
    "$bind_port{'x'} = 1;": "$bind_port: has no keys",
    "$hosts_allow{'host.example.com'} = 1;": "bad address",
    "$hosts_allow{'10.0.0.1/8'} = 1;": "10.0.0.1/8 has host bits set; the network is 10.0.0.0/8",
    "$hosts_allow{'fe80::1%eth0'} = 1;": "an interface cannot be given",
    "$hosts_allow{''} = 1;": "bad address",
    "$files{'/a'} = 1;": "a pattern in quotes wanted",
    "$files{'a'} = '';": "not an absolute path of a file",
    "$files{'/a/'} = '';": "not an absolute path of a file",
    "$files{'/a b'} = '';": "holds a blank",
    "$files{'/a\0'} = '';": "holds a blank",
    "$files{'/a'} = 'a.*';": "pattern 'a.*' is not an absolute path",
    "$files{'/a'} = '/a.* a.*';": "pattern 'a.*' is not an absolute path",
    "$files{'/a'} = '/a\\*';": "backslash",
    "$files{'/a'} = '/" + "{a,b}" * 7 + "';": "more than 64 patterns",
    '$files{"/$a"} = "";': "a variable in",
    '$files{"/@a"} = "";': "a variable in",
    '$files{"/a\\n"} = "";': "unknown \\n",
    "$bind_port = 0;": "bad port",
    "$bind_port = 65536;": "bad port",
    "$bind_port = 'ssh';": "bad port",
    "$bind_addr = '10.0.0';": "bad address",
    "$bind_addr = '';": "bad address",
    "$delay_check = 'x';": "bad number of seconds",
}


@pytest.mark.parametrize("line", INVALID)
def test_invalid_lines(line):
    """Each is an error with its number and a reason in one printable line."""
    with pytest.raises(ConfigError) as caught:
        numbers.parse(f"1;\n{line}\n", "x.locals")
    assert str(caught.value).startswith("x.locals:2: ")
    assert INVALID[line] in str(caught.value)
    assert str(caught.value).isprintable()


def test_all_bad_lines_are_told():
    """Not only the first one."""
    with pytest.raises(ConfigError) as caught:
        numbers.parse("a\n1;\nb", "x")
    assert [line[:4] for line in str(caught.value).split("\n")] == ["x:1:", "x:3:"]


HOSTS = """
$hosts_allow{"10.0.0.0/8"} = 1;
$hosts_allow{"10.1.0.0/16"} = 0;
$hosts_allow{"10.1.2.3"} = 1;
$hosts_allow{"2001:db8::/32"} = 1;
$hosts_allow{"2001:db8::bad"} = 0;
$hosts_allow{"fe80::/10"} = 1;
"""


@pytest.mark.parametrize("address, fits", [
    ("10.0.0.1", True),
    ("10.1.0.1", False),
    ("10.1.2.3", True),
    ("::ffff:10.1.2.3", True),
    ("11.0.0.1", False),
    ("2001:db8::1", True),
    ("2001:db8::bad", False),
    ("fe80::1%eth0", True),
    ("::1", False),
])  # fmt: skip
def test_who_is_allowed(address, fits):
    """The smallest network decides; who is not mentioned is not allowed."""
    assert numbers.parse(HOSTS, "x").allows(address) is fits


@pytest.mark.parametrize("glob, expected", [
    ("", []),
    ("/a.*[0-9]", ["/a.*[0-9]"]),
    ("  /a.*\t/b ", ["/a.*", "/b"]),
    ("/a.{1,2}", ["/a.1", "/a.2"]),
    ("/{a,b}{,.gz}", ["/a", "/a.gz", "/b", "/b.gz"]),
    ("/a{b,{c,d}}", ["/ab", "/ac", "/ad"]),
    ("/a{b", ["/a{b"]),
])  # fmt: skip
def test_patterns(glob, expected):
    """A glob may hold several, and words in braces."""
    assert sorted(numbers.patterns(glob)) == expected


PIECES = st.sampled_from(
    ["$hosts_allow", "$files", "$bind_port", "$bind_addr", "{", "}", "=", ";", "'", '"', "\\", "1",
     "0", " ", "#", "\n", "our ", "/a", "10.0.0.0/8", "::", "{,}", "$", "\u00e9",
     "$files{'/a'} = '/a.*';", "$hosts_allow{'::/0'}=1;"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
@example("$bind_port = \u0661;")
@example("$bind_port = '\u0661';")
@example("$hosts_allow{'::ffff:0:0/96'} = 1;")
@example("$hosts_allow{'10.0.0.0/\u0661'} = 1;")
@example("$files{'/a'} = '" + "{" * 5000 + "';")
@example("$files{'/a'} = '/{" + "," * 5000 + "}';")
def test_parse_raises_nothing_but_config_errors(text):
    """Any text has a meaning, or is a ConfigError with a number in each line."""
    try:
        result = numbers.parse(text, "x")
    except ConfigError as error:
        assert all(line.startswith("x:") for line in str(error).split("\n"))
        return
    assert result.port is None or 0 < result.port < 65536
    assert result.allows("10.0.0.1") in (True, False)
    for path, glob in result.files.items():
        assert path.startswith("/")
        assert all(pattern.startswith("/") for pattern in numbers.patterns(glob))


def test_a_word_that_is_no_pattern():
    """hold-nuls says how the file is written; other words are paths, or errors."""
    glob = one('$files{"/a"} = "/a.* hold-nuls /b*";').files["/a"]
    assert numbers.holds_nuls(glob) and numbers.patterns(glob) == ["/a.*", "/b*"]
    assert not numbers.holds_nuls("/a-hold-nuls /hold-nuls")
    with pytest.raises(ConfigError, match="not an absolute path"):
        one('$files{"/a"} = "hold-nul";')
