"""Which lines of tcppipe.conf can lead to one file, which one hides another, and at what cost."""

import time

import pytest

from tcppipe.conf import pipes, relations
from tcppipe.errors import ConfigError

# lines, and which of them are merged
MEETINGS = [
    # the same text of LOCAL, and never the same file
    (["h:/one | /b/%h%p", "h:/two | /b/%h%p"], "--"),
    (["a:/x | /b/%h/audit.log | mirror", "b:/x | /b/%h/audit.log | mirror"], "--"),
    (["a:/var/log/a.log | /b/%h/%f", "a:/var/log/*.log | /b/%h/%f"], "--"),
    (["10.0.0.0/8:/x | /b/%h/x", "a:/x | /b/%h/x", "11.1.1.1:/x | /b/%h/x"], "---"),
    (["10.0.0.0/24:/x | /b/%h", "10.0.1.0/24:/x | /b/%h", "[2001:db8::]/32:/x | /b/%h"], "---"),
    (["a:/x/*.log | /b/%f", "b:/y/z.txt | /b/z.txt"], "--"),
    (["a:/x/[a-f]* | /b/%f", "b:/x/[g-z]* | /b/%f"], "--"),
    (["*.one.com:/x | /b/%h", "*.two.com:/y | /b/%h"], "--"),
    # other texts, and the same file
    (["a:/x | /b/w//q", "b:/x | /b/w/./q"], "++"),
    (["a:/x/*.log | /b/%f", "b:/y/z.log | /b/z.log"], "++"),
    (["a:/x/[a-f]* | /b/%f", "b:/x/[f-z]* | /b/%f"], "++"),
    (["10.0.0.0/8:/x | /b/%h/x", "10.1.1.1:/y | /b/%h/x"], "++"),
    (["*.ex.com:/x | /b/%h", "w.ex.com:/y | /b/%h", "w.ey.com:/y | /b/%h"], "++-"),
    (["*.ex.com:/x | /b/%h", "*.a.ex.com:/y | /b/%h"], "++"),
    (["a:/srv/?/x.log | /b%p", "b:/srv/1/x.log | /b/srv/1/x.log"], "++"),
    (["a:/x | /b/%h.log", "*.com:/x | /b/%h", "a.log:/y | /b/a.log"], "+-+"),
    (["a:/x | /b/100%%", "b:/x | /b/100%%", "c:/x | /b/100"], "++-"),
    # one line that leads several pipes to one file
    (["a:/srv/*/x.log | /b/%f"], "+"),
    (["a:/srv/*/x.log | /b%p"], "-"),
    (["10.0.0.0/24:/x | /b/x"], "+"),
    (["10.0.0.1/32:/x | /b/x"], "-"),
    # a line that an earlier one hides leads nowhere
    (["a:/x | /b/x", "a:/x | /b/y", "b:/y | /b/y"], "---"),
]


@pytest.mark.parametrize("lines, merged", MEETINGS)
def test_merged_is_what_can_meet(lines, merged):
    """Two pipes of these lines can lead to one file, or they cannot, however it is written.

    The first ones, and those with other texts, fail at 51998aa."""
    entries = pipes.parse("\n".join(lines), "c")
    assert "".join("-+"[entry.merge or entry.meets] for entry in entries) == merged


def test_mirror_is_refused_only_where_pipes_surely_meet():
    """And then the line is named."""
    with pytest.raises(ConfigError, match="c:2: mirror, but line 1 is for this file, too"):
        pipes.parse("a:/x/z.log | /b/%f\nb:/y/z.log | /b/z.log | mirror", "c")
    pipes.parse("a:/x/*.log | /b/%f\nb:/y/z.log | /b/z.log | mirror", "c")


SHADOWS = [
    (["a:/x | /1", "a:/x | /2"], True),
    (["A.com:/x | /1", "a.com:/x | /2"], True),
    (["10.0.0.0/8:/x | /1", "10.2.0.0/16:/x | /2"], True),
    (["10.2.0.0/16:/x | /1", "10.0.0.0/8:/x | /2"], False),
    (["*.com:/x | /1", "*.example.com:/x | /2"], True),
    (["*.com:/x | /1", "www.example.com:/x | /2"], False),  # a name need not lead back
    (["a:/l/* | /1", "a:/l/*.log | /2"], True),
    (["a:/l/*.log | /1", "a:/l/x.log | /2"], True),
    (["a:/l/*.log | /1", "a:/l/.x.log | /2"], False),
    (["a:/l/*.log | /1", "a:/l/* | /2"], False),
    (["a:/*/x | /1", "a:/l/x | /2"], True),
    (["a:/l/[ab] | /1", "a:/l/? | /2"], False),
    (["b:/l/* | /1", "a:/l/*.log | /2"], False),
]


@pytest.mark.parametrize("lines, hidden", SHADOWS)
def test_a_line_that_never_matches(lines, hidden):
    """An earlier line takes all that it means."""
    entries = pipes.parse("\n".join(lines), "c")
    pairs = [(one.line, other.line) for one, other in relations.shadowed(entries)]
    assert pairs == ([(1, 2)] if hidden else [])


def test_a_file_where_another_line_has_a_directory():
    """Both cannot be."""
    entries = pipes.parse("a:/x | /b/x\nb:/y | /b/x/y\nc:/z | /b/xy/z", "c")
    assert [(one.line, other.line) for one, other in relations.nested(entries)] == [(1, 2)]


TEMPLATES = [
    "h{0}.example.com:/var/log/messages | /archive/%h/messages",
    "h{0}.example.com:/var/log/*.log | /archive/h{0}/%f",
    "h{0}.example.com:/var/log/*.log | /archive/all/%f",
    "*.d{0}.example.com:/var/log/*.log | /archive/%h/%f",
    "[2001:db8:{0:x}::]/48:/var/log/*.log | /archive/%h/%f",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_cost_grows_with_the_lines(template):
    """Eight times as many lines cost eight times as much processor time, and not sixty-four."""

    def cost(lines):
        text = "\n".join(template.format(number) for number in range(lines))
        begun = time.process_time()
        pipes.parse(text, "c")
        return time.process_time() - begun

    few, many = min(cost(500) for _ in range(3)), cost(4000)
    assert many < 24 * few


def test_a_byte_order_mark_is_passed_over():
    """Some editors put one before the first line."""
    (entry,) = pipes.parse("\ufeffweb1:/a | /b", "c")
    assert entry.host == "web1"
