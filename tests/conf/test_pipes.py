"""tcppipe.conf: what a line means, which lines are refused, and what no name can do."""

import ipaddress
import posixpath
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tcppipe.conf import fetch, numbers, pipelist, pipes
from tcppipe.errors import ConfigError

VALID = {
    # as the original's manual has it
    "foo.com:/var/log/messages | /var/log/foo.com/messages": (
        "foo.com",
        "/var/log/messages",
        "/var/log/foo.com/messages",
    ),
    "\tctl.insnw.net:/opt/access.log | /var/log/z1/ctl/messages": (
        "ctl.insnw.net",
        "/opt/access.log",
        "/var/log/z1/ctl/messages",
    ),
    "  foo \t:\t /a\t |\t/b \t\r": ("foo", "/a", "/b"),
    "foo:/a|/b": ("foo", "/a", "/b"),
    "10.1.2.3:/a | /b": ("10.1.2.3", "/a", "/b"),
    # a path may hold blanks, colons, '#', and bytes that are not UTF-8
    "foo:/a b:/c # d | /e: f # g": ("foo", "/a b:/c # d", "/e: f # g"),
    "foo:/\udcff | /b\udcfe": ("foo", "/\udcff", "/b\udcfe"),
    "under_score:/a | /b": ("under_score", "/a", "/b"),
    # new
    "[2001:db8::1]:/a | /b": ("[2001:db8::1]", "/a", "/b"),
    " [2001:db8::]/32 : /a | /b": ("[2001:db8::]/32", "/a", "/b"),
    "[2001:db8::/32]:/a | /b": ("[2001:db8::/32]", "/a", "/b"),
    "10.1.0.0/16:/a | /b": ("10.1.0.0/16", "/a", "/b"),
    "*.Foo.com:/a/*.log | /b/%h/%p/%f%%": ("*.Foo.com", "/a/*.log", "/b/%h/%p/%f%%"),
}

INVALID = {
    "foo:/a": "no '|'",
    "foo:/a |": "local file missing",
    "foo: | /b": "remote file missing",
    ":/a | /b": "host missing",
    "| /b": "no ':'",
    "/a | /b": "no ':'",
    "foo:a | /b": "remote file 'a' is not an absolute path",
    "foo:/a | b": "local file 'b' is not an absolute path",
    "foo:/a/ | /b": "is a directory",
    "foo:/a | /b/%h/": "is a directory",
    "foo:/a\0 | /b": "NUL",
    "foo:/a | /b\0": "NUL",
    "foo:/a | /b | mode=0640 | owner=x": "more than three fields",
    "foo:/a | /b |": "no option",
    "foo:/a | /b | ,": "no option",
    "foo:/a | /b | sideways": "unknown option 'sideways'",
    "foo:/a | /b | mirror # why": "unknown option '#' (a comment stands in a line of its own)",
    "foo:/a | /b | mode=0640,mode=0640": "option 'mode' given twice",
    "foo:/a | /b | mode": "bad mode",
    "foo:/a | /b | mode=": "bad mode",
    "foo:/a | /b | mode=0648": "bad mode",
    "foo:/a | /b | mode=4755": "bad mode",
    "foo:/a | /b | mode=-640": "bad mode",
    "foo:/a | /b | owner": "bad owner",
    "foo:/a | /b | owner=": "bad owner",
    "foo:/a | /b | owner=:adm": "bad owner",
    "foo:/a | /b | owner=root:": "bad owner",
    "foo:/a | /b | owner=a:b:c": "bad owner",
    "foo:/a | /b/%d": "unknown '%d'",
    "foo:/a | /b%": "unknown '%'",
    "10.1.2.256:/a | /b": "bad address",
    "10.1.2:/a | /b": "bad address",
    "010.1.2.3:/a | /b": "bad address",
    "10.1.2.3/16:/a | /b": "10.1.2.3/16 has host bits set; the network is 10.1.0.0/16",
    "10.0.0.0/33:/a | /b": "bad address",
    "foo/8:/a | /b": "bad address",
    "[10.1.2.3]:/a | /b": "bad address",
    "[2001:db8::1:/a | /b": "bad address",
    "[]:/a | /b": "bad address",
    "[2001:db8::/32]/32:/a | /b": "bad address",
    "[fe80::1%eth0]:/a | /b": "bad address",
    "2001:db8::1:/a | /b": "needs brackets",
    "*:/a | /b": "bad host",
    "f*.com:/a | /b": "bad host",
    "*.*.com:/a | /b": "bad host",
    "foo..com:/a | /b": "bad host",
    "foo bar:/a | /b": "bad host",
    "..:/a | /b": "bad host",
    "-foo:/a | /b": "bad host",
    "b\u00fccher.de:/a | /b": "bad host",
    "a" * 64 + ":/a | /b": "bad host",
}


def one(line):
    """The entry of a file with this one line."""
    (entry,) = pipes.parse(line, "x")
    return entry


@pytest.mark.parametrize("line", VALID)
def test_valid_line(line):
    """Host, remote and local file come out as written, without the blanks around them."""
    assert one(line)[1:4] == VALID[line]


@pytest.mark.parametrize("line", INVALID)
def test_invalid_line(line):
    """A bad line is refused with its number and its own reason, in one line."""
    with pytest.raises(ConfigError) as caught:
        pipes.parse("# first\n" + line, "the.conf")
    assert str(caught.value).startswith("the.conf:2: ")
    assert INVALID[line] in str(caught.value)
    assert str(caught.value).isprintable()


def test_lines_are_counted_and_every_bad_one_is_named():
    """Comments and blank lines count; all errors come at once, in order."""
    text = "# c\n\nfoo:/a | /b\n  # c\nbad\n\nfoo:/a | b\r\nfoo:/c|/d"
    with pytest.raises(ConfigError) as caught:
        pipes.parse(text, "f")
    first, second = str(caught.value).split("\n")
    assert first.startswith("f:5: ")
    assert second.startswith("f:7: ")
    good = pipes.parse(text.replace("bad", "").replace("| b", "| /b"), "f")
    assert [entry.line for entry in good] == [3, 7, 8]


def test_nothing_but_a_newline_ends_a_line():
    """A form feed or a Unicode line separator in a path is part of the path."""
    assert one("foo:/a\x0cb\u2028c | /d\x85e")[2:4] == ("/a\x0cb\u2028c", "/d\x85e")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", " \t\r\n"])
def test_empty_file(text):
    """A file without entries is valid."""
    assert pipes.parse(text, "x") == []


@pytest.mark.parametrize("host, network", [
    ("10.1.2.3", "10.1.2.3/32"),
    ("10.1.0.0/16", "10.1.0.0/16"),
    ("[2001:db8::1]", "2001:db8::1/128"),
    ("[2001:DB8::]/32", "2001:db8::/32"),
    ("[2001:db8::/32]", "2001:db8::/32"),
    ("[::ffff:10.1.2.3]", "10.1.2.3/32"),
    ("[::ffff:10.1.0.0]/112", "10.1.0.0/16"),
])  # fmt: skip
def test_host_is_a_network(host, network):
    """An address is a network of one; IPv4 in IPv6 is IPv4."""
    entry = one(f"{host}:/a | /b")
    assert entry.network == ipaddress.ip_network(network)
    assert (entry.pattern, entry.name) == (None, None)


def test_host_is_a_pattern_or_a_name():
    """Exactly one of network, pattern and name is set."""
    pattern, name = pipes.parse("*.Foo.com:/a | /b\nFoo.com:/a | /b", "x")
    assert (pattern.network, pattern.pattern, pattern.name) == (None, "*.Foo.com", None)
    assert (name.network, name.pattern, name.name) == (None, None, "Foo.com")


def test_options():
    """Options are separated by commas or blanks, in any order, and are absent by default."""
    entry = one("foo:/a | /b | owner=log:adm,mode=0640")
    assert (entry.mode, entry.owner) == (0o640, "log:adm")
    entry = one("foo:/a | /b | mode=600 ,\towner=0")
    assert (entry.mode, entry.owner) == (0o600, "0")
    entry = one("foo:/a | /b")
    assert (entry.mode, entry.owner) == (None, None)


def test_text_tells_whether_two_lines_mean_the_same():
    """Blanks and the order of options make no difference."""
    one_way = one(" foo : /a|/b  | owner=log,mode=640")
    other = one("foo:/a | /b | mode=640 owner=log")
    assert one_way.text == other.text == "foo:/a | /b | mode=640 owner=log"


@pytest.mark.parametrize("remote, path, fits", [
    ("/a/b", "/a/b", True),
    ("/a/b", "/a/bc", False),
    ("/a/b", "/A/b", False),
    ("/a/b", "//a/b", False),
    ("/a/*.log", "/a/x.log", True),
    ("/a/*.log", "/a/x/y.log", False),
    ("/a/*.log", "/a/.x.log", False),
    ("/a/.*.log", "/a/.x.log", True),
    ("/a/*", "/a/", False),
    ("/a/*", "/a/b\n", True),
    ("/a/*/b", "/a/../b", False),
    ("/*/*", "/x/y", True),
    ("/a/?", "/a/x", True),
    ("/a/?", "/a//", False),
    ("/a?b", "/a/b", False),
    ("/a/[xy].log", "/a/y.log", True),
    ("/a/[xy].log", "/a/z.log", False),
    ("/a/[!xy].log", "/a/z.log", True),
    ("/a[.-0]b", "/a/b", False),
    ("/a/[xy].log", "/a/[xy].log", True),
    ("/a/x[", "/a/x[", True),
    ("/a/[z-a]", "/a/b", False),
    ("/a/b.c", "/a/bxc", False),
    ("/a/\udcff*", "/a/\udcff\udcfe", True),
])  # fmt: skip
def test_remote_file_as_a_glob(remote, path, fits):
    """glob(7): a wildcard matches no slash and no leading dot; a literal file always fits."""
    assert one(f"foo:{remote} | /b").matches_file(path) is fits


@pytest.mark.parametrize("local, result", [
    ("/z/file", "/z/file"),
    ("/z/%h/%f", "/z/foo.com/x.log"),
    ("/z/%h/%p", "/z/foo.com/var/log/x.log"),
    ("/z/%h-%f.%%", "/z/foo.com-x.log.%"),
    ("/z/%%h", "/z/%h"),
])  # fmt: skip
def test_destination(local, result):
    """%h is the host, %f the base name, %p the path, %% a percent sign."""
    entry = one(f"foo.com:/var/log/*.log | {local}")
    assert entry.destination("foo.com", "/var/log/x.log") == result


@pytest.mark.parametrize("local, host, path", [
    ("/z/%h", "..", "/a"),
    ("/z/%h", ".", "/a"),
    ("/z/.%h", ".", "/a"),
    ("/z/%h", "", "/a"),
    ("/z/%h", "a/b", "/a"),
    ("/z/%h", "a\0", "/a"),
    ("/z/%h", "a\n", "/a"),
    ("/z/%f", "h", "/a/.."),
    ("/z/%f", "h", "/a/"),
    ("/z/%f", "h", "/a/x\x1b[1m"),
    ("/z/%p", "h", "/a/../b"),
    ("/z/%p", "h", "/a/./b"),
    ("/z/%p", "h", "/a//b"),
    ("/z/%p", "h", "//a"),
    ("/z/%p", "h", "/a/"),
    ("/z/%p", "h", "/"),
    ("/z/%p", "h", "a"),
    ("/z/%p", "h", "/a\x7f/b"),
    ("/z/%p", "h", "/a\x85/b"),
])  # fmt: skip
def test_refused_substitution(local, host, path):
    """A value that is not a plain file name is refused, and said in one printable line."""
    with pytest.raises(ConfigError) as caught:
        one(f"foo:/* | {local}").destination(host, path)
    assert str(caught.value).isprintable()


def test_only_what_is_used_is_checked():
    """A fixed local file takes any host and path."""
    assert one("foo:/a | /b").destination("..", "/../\0") == "/b"


def test_find_takes_the_first_that_fits():
    """File order decides; the host is asked about only where the path fits."""
    entries = pipes.parse("a:/x | /1\nb:/y | /2\nb:/* | /3\nb:/y | /4\nc:/y | /5", "x")
    asked = []

    def is_b(entry):
        asked.append(entry.line)
        return entry.name == "b"

    assert pipes.find(entries, "/y", is_b).local == "/2"
    assert pipes.find(entries, "/z", is_b).local == "/3"
    assert asked == [2, 3]
    assert pipes.find(entries, "/y/z", is_b) is None
    assert pipes.find(entries, "/y", lambda entry: False) is None


def test_names_to_look_up():
    """Each name once whatever its case; no addresses, no patterns."""
    text = "Foo:/a | /b\nfoo:/c | /d\nbar:/a | /b\n1.2.3.4:/a | /b\n*.x.y:/a | /b\n[::1]:/a | /b"
    assert pipes.names(pipes.parse(text, "x")) == {"foo", "bar"}


PIECES = st.sampled_from(
    ["foo", "10.1.0.0/16", "[::]/0", "[", "]", ":", ":/", "/", "|", "*", "*.", " ", "\t", "\n"]
    + [
        "%",
        "%h",
        "%f",
        "%p",
        "%%",
        "..",
        "mode=640",
        "owner=a",
        ",",
        "#",
        "\r",
        "\u00e9",
        "foo:/a|/b",
    ]
)


@given(
    st.one_of(
        st.text(),
        st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
        st.lists(PIECES).map("".join),
    )
)
@example("foo:/a[z-a] | /b")
@example("A:/0|/0\nA:/0|/0")
@example("A:/0|/0\nB:/0|/0")
def test_parse_raises_nothing_but_config_errors(text):
    """Any text is either entries or a ConfigError; an entry's text means the same entry."""
    try:
        entries = pipes.parse(text, "x")
    except ConfigError as error:
        assert all(line.startswith("x:") for line in str(error).split("\n"))
        return
    for entry in entries:
        assert [entry.network, entry.pattern, entry.name].count(None) == 2
        assert entry.matches_file(entry.remote)
        alone = one(entry.text)  # what it is to other lines only they can tell
        others = {"line": entry.line, "hidden": entry.hidden, "meets": entry.meets}
        assert alone._replace(**others) == entry


VALUES = st.one_of(st.text(), st.lists(st.sampled_from(["..", ".", "/", "a", "\0"])).map("".join))
LOCALS = st.lists(st.sampled_from(["/", "x", ".", "-", "%h", "%f", "%p", "%%"]), min_size=1).map(
    "".join
)


@given(LOCALS, VALUES, VALUES)
def test_no_substitution_escapes(local, host, path):
    """Whatever the peer says, the destination lies below the fixed part of the local file."""
    harmless = re.sub("%.", "x", local.replace("%p", "/x")).split("/")
    assume(not {"", ".", ".."}.intersection(harmless[1:] if local[:2] == "%p" else harmless))
    fixed = f"/top/{local}".partition("%")[0]
    base = fixed[: fixed.rindex("/") + 1]
    entry = one(f"foo:/* | /top/{local}")
    try:
        result = entry.destination(host, "/" + path)
    except ConfigError:
        return
    assert result.startswith(base)
    assert posixpath.normpath(result) == result
    assert "\0" not in result


@pytest.mark.parametrize("local, path", [
    ("/top/..%p", "/0"),
    ("/top/x/.%f", "/a/."),
    ("/top/..%p/x", "/a"),
    ("/top/%h%f", "/a/."),
])  # fmt: skip
def test_what_becomes_two_dots_leads_nowhere(local, path):
    """It is the result that counts: the parts may have been harmless."""
    with pytest.raises(ConfigError, match=r"cannot use|lead out"):
        one(f"foo:/* | {local}").destination(".", path)


def test_a_name_that_is_too_long_is_refused_before_it_is_tried():
    """A mirror needs room for the time in the names of its old pieces."""
    name = "n" * 245
    assert one(f"foo:/a | /b/{name}").destination("foo", "/a") == f"/b/{name}"
    with pytest.raises(ConfigError, match="too long for a name of a mirror"):
        one(f"foo:/a | /b/{name} | mirror").destination("foo", "/a")
    with pytest.raises(ConfigError, match="too long for a name"):
        one("foo:/* | /b/%f/x").destination("foo", "/" + "\u00e9" * 128)


def test_a_byte_order_mark_says_nothing_in_any_configuration():
    """Editors of other systems write one."""
    mark = "\ufeff"
    assert pipes.parse(f"{mark}web1:/a | /b", "x")[0].host == "web1"
    assert fetch.parse(f"{mark}web1 19 /a /b /c", "x")[0].host == "web1"
    assert numbers.parse(f"{mark}$bind_port = 7;", "x").port == 7
    assert pipelist.parse(f"{mark}-f /a", "x", lambda words: {"f": words[1]})[0].pattern == "/a"
