"""What is said of a tcppipe.conf that is valid, and may not be what was meant."""

import re
from pathlib import Path

import pytest

from tcppipe.conf import notes, pipes

MANUAL = Path(__file__).resolve().parents[2] / "man/tcppipe.conf.5"

SAID = {
    "a comment behind": (["a:/x | /b/x # here"], 1, "behind # is part of the local file's name"),
    "a comment too early": (["a:/x # here | /b/x"], 1, "part of the remote file's name"),
    "slashes": (["a:/x | /b//x"], 1, "slashes or dots too many in the local file: it is /b/x"),
    "dots": (["a:/x | /b/../x"], 1, "has a '..' in it"),
    "a remote path that is never said": (["a:/x//y | /b/x"], 1, "never fits: tcppipe says a path"),
    "a line that is hidden": (["a:/l/* | /b/%f", "a:/l/x.log | /c"], 2, "never fits: line 1 takes"),
    "a line twice": (["a:/x | /b/x", "a:/x | /b/x"], 2, "never fits: line 1 takes"),
    "one file by mistake": (["a:/x | /b/x", "b:/x | /b/x"], 2, "the same file as line 1: they are"),
    "one file for many": (["10.0.0.0/8:/x | /b/x"], 1, "leads several pipes to one file"),
    "a mirror that may meet": (["a:/*.l | /b/%f | mirror", "b:/x.l | /b/x.l"], 2, "is not shared"),
    "a file and a directory": (["a:/x | /b/x", "b:/y | /b/x/y"], 2, "wants a directory where"),
    "a long name": ([f"a:/x | /b/{'n' * 250} | mirror"], 1, "will be refused: "),
}


def said(lines):
    """What is said of these lines."""
    text = "\n".join(lines)
    return notes.notes(text, pipes.parse(text, "c"))


@pytest.mark.parametrize("lines, line, words", SAID.values(), ids=SAID)
def test_what_may_not_be_meant_is_said(lines, line, words):
    """With the line that it is about."""
    assert any(number == line and words in note for number, note in said(lines))


@pytest.mark.parametrize("lines", [
    ["a:/x | /b/x#1", "b:/x | /b/y"],
    ["a:/x | /b/x | merge", "b:/x | /b/x | merge"],
    ["10.0.0.0/8:/var/log/*.log | /b/%h/%f | mirror", "*.com:/l/* | /b/%h%p"],
    ["10.0.0.0/8:/x | /b/x | merge mode=0640"],
    ["a:/l/x.log | /b/x", "a:/l/* | /c/%f"],
])  # fmt: skip
def test_what_is_meant_is_not(lines):
    """Silence means that nothing was found."""
    assert said(lines) == []


def test_the_examples_of_the_manual_are_good():
    """There is nothing to say of them."""
    text = MANUAL.read_text().partition(".Sh EXAMPLES")[2]
    example = re.search(r"\.Bd -literal\n(.*?)\.Ed", text, re.DOTALL)[1]
    assert said(example.split("\n")) == []
