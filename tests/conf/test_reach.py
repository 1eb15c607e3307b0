"""Which pipes meet in one file: merged are those, and no others."""

import pytest

from tcppipe.conf import pipes, reach
from tcppipe.errors import ConfigError

APART = {
    "different files of one host": ("H:/one | /b/%h%p", "H:/two | /b/%h%p"),
    "different hosts": ("web1:/a | /b/%h/a", "web2:/a | /b/%h/a"),
    "mirrors of two hosts": (
        "web1:/var/log/audit.log | /archive/%h/audit.log | mirror",
        "web2:/var/log/audit.log | /archive/%h/audit.log | mirror",
    ),
    "different base names": ("H:/x/a.log | /b/%h/%f", "H:/y/b.log | /b/%h/%f"),
    "wildcards that never fit the same": ("H:/x/*.log | /b/%h/%f", "H:/y/a.txt | /b/%h/%f"),
    "an exception, then the rest": ("H:/x/a.log | /b/H/x/a.log | mirror", "H:/x/*.log | /b/%h%p"),
    "the same line twice": ("H:/a | /b/%h%p", "H:/a | /b/%h%p"),
    "the second never fits": ("10.0.0.0/8:/a | /b/%h", "10.0.0.1:/a | /b/10.0.0.2"),
    "other networks": ("10.1.0.7:/a | /b/%h", "10.2.0.0/16:/a | /b/%h"),
    "an address is no name": ("10.0.0.1:/a | /b/%h/x", "*.a.com:/c | /b/%h/x"),
    "hidden files": ("H:/x/.log | /b/%f", "H:/y/* | /b/%f"),
    "more components": ("H:/a/b | /z%p", "H:/*/*/* | /z%p"),
    "a domain and its host": ("web1.a.com:/l/x | /b/%h%p", "*.a.com:/l/* | /b/%h%p"),
    "percent signs": ("H:/h | /b/%%h", "h:/h | /b/%h"),
}

MEET = {
    "the same words": ("web1:/a | /b", "web2:/a | /b"),
    "other words": ("web1:/a | /x/web1//gh", "web2:/a | /x/./web1/gh"),
    "what %h stands for": ("web1:/a | /b/%h", "H:/c | /b/web1"),
    "what %p stands for": ("H:/l/x | /b%p", "G:/z | /b/l/x"),
    "base names alike": ("H:/x/a.log | /b/%h/%f", "H:/y/*.log | /b/%h/%f"),
    "a host of a network": ("10.1.0.7:/a | /b/%h", "10.1.0.0/16:/c | /b/%h"),
    "a host of a domain": ("web1.a.com:/a | /b/%h", "*.a.com:/c | /b/%h"),
    "all files of a directory": ("H:/x/a | /b/f", "H:/y/* | /b/f"),
    "all hosts of a network": ("H:/x/a | /b/f", "10.0.0.0/8:/x/a | /b/f"),
    "%h and %f side by side": ("10.0.0.1:/x/1a | /b/%h%f", "10.0.0.0/8:/x/* | /b/%h%f"),
}


def first_of(lines):
    """(all entries, the first one, a host and a path that it is for)."""
    entries = pipes.parse("\n".join(lines), "x")
    return entries, entries[0], entries[0].label or "10.0.0.1", entries[0].remote


@pytest.mark.parametrize("lines", APART.values(), ids=APART)
def test_pipes_that_never_meet_are_not_merged(lines):
    """Neither by equal words nor by wildcards: what can stand in a name decides."""
    assert not reach.merged(*first_of(lines))
    entries, *_ = first_of(lines)
    if entries[1].hidden:
        return
    pipe = entries[1].only_pipe or {"/x/*.log": ("H", "/x/b.log")}.get(entries[1].remote)
    if pipe:
        assert not reach.merged(entries, entries[1], *pipe)


@pytest.mark.parametrize("lines", MEET.values(), ids=MEET)
def test_pipes_that_can_meet_are_merged(lines):
    """By whatever words."""
    entries, entry, host, path = first_of(lines)
    assert reach.merged(entries, entry, host, path)
    assert reach.others(entries, entry, host, path) == [entries[1]]


def test_a_line_that_leads_several_pipes_to_one_file():
    """All of them are merged, if the file is the same."""
    (entry,) = pipes.parse("10.0.0.0/8:/srv/*/log/* | /b/%h/%f", "x")
    assert reach.merged([entry], entry, "10.0.0.1", "/srv/a/log/x")
    (entry,) = pipes.parse("10.0.0.0/8:/var/log/*.log | /b/%h-%f", "x")
    assert not reach.merged([entry], entry, "10.0.0.1", "/var/log/x.log")
    (entry,) = pipes.parse("*.a.com:/var/log/*.log | /b/%h-%f", "x")
    assert not reach.merged([entry], entry, "web.a.com", "/var/log/x.log")
    assert reach.merged([entry], entry, "w.a.com", "/var/log/v.a.com-x.log")  # or w.a.com-v.a.com


def test_only_the_file_in_which_they_meet_is_merged():
    """The others of the same line keep their digests."""
    text = "10.0.0.0/8:/var/log/*.log | /b/%h/%f\n10.0.0.5:/srv/x.log | /b/%h/%f"
    entries = pipes.parse(text, "x")
    assert reach.merged(entries, entries[0], "10.0.0.5", "/var/log/x.log")
    assert reach.merged(entries, entries[1], "10.0.0.5", "/srv/x.log")
    assert not reach.merged(entries, entries[0], "10.0.0.5", "/var/log/y.log")
    assert not reach.merged(entries, entries[0], "10.0.0.6", "/var/log/x.log")


def test_a_mirror_is_not_shared():
    """Where two pipes certainly meet that is an error; where they might, nothing is merged."""
    for second in ("web2:/b | /c/x", "web2:/b | /c//x | merge", "[::1]:/x | /c/%f"):
        with pytest.raises(ConfigError, match=r"^f:2: mirror, but line 1 is for this file, too"):
            pipes.parse(f"web1:/a | /c/x | mirror\n{second}", "f")
    entries = pipes.parse("web1:/a | /c/%h | mirror\nweb2:/* | /c%p", "f")
    assert reach.others(entries, entries[0], "web1", "/a") == [entries[1]]
    assert not reach.merged(entries, entries[0], "web1", "/a")
    assert not reach.merged(entries, entries[1], "web2", "/web1")
