"""Which files a pattern leads to."""

import os

import pytest

from tcppipe.files.matches import expand, rotated_from, signature


@pytest.fixture
def tree(tmp_path):
    """Some files, a directory, a link, a FIFO."""
    for name in ("a.log", "b.log", ".hidden.log", "c.txt", "web1/x.log", "web2/x.log", "web2/[z]"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "dir.log").mkdir()
    (tmp_path / "link.log").symlink_to("c.txt")
    (tmp_path / "dangling.log").symlink_to("elsewhere/missing")
    os.mkfifo(tmp_path / "fifo.log")
    return tmp_path


@pytest.mark.parametrize(
    "pattern, names",
    [
        ("*.log", ["a.log", "b.log", "c.txt"]),
        ("?.log", ["a.log", "b.log"]),
        ("[!a].log", ["b.log"]),
        (".*.log", [".hidden.log"]),
        ("web*/x.log", ["web1/x.log", "web2/x.log"]),
        ("web[12]/*", ["web1/x.log", "web2/[z]", "web2/x.log"]),
        ("web2/[[]z]", ["web2/[z]"]),
        ("*/*/*.log", []),
        ("missing/*.log", []),
        ("a.log", ["a.log"]),
        (".//a.log", ["a.log"]),
        ("a.log/b", []),
        ("link.log", ["c.txt"]),
        ("dangling.log", []),
        ("dir.log", []),
        ("fifo.log", []),
    ],
)
def test_expand(tree, pattern, names):
    """Regular files by their real paths; wildcards in any part; nothing else."""
    assert expand(f"{tree}/{pattern}", set()) == [str(tree / name) for name in names]


def test_where_another_file_could_come(tree):
    """Directories that were looked into are told, also missing ones, and those behind links."""
    directories = set()
    expand(f"{tree}/web*/x.log", directories)
    assert directories == {str(tree), f"{tree}/web1", f"{tree}/web2"}
    directories = set()
    expand(f"{tree}/new/x.log", directories)
    expand(f"{tree}/dangling.log", directories)
    assert directories == {f"{tree}/new", str(tree), f"{tree}/elsewhere"}


def test_signature(tree):
    """Is None for what is missing, and another one when a name has come."""
    assert signature(f"{tree}/new") is None
    os.utime(tree, (1, 1))
    before = signature(str(tree))
    (tree / "new").touch()
    assert signature(str(tree)) != before


@pytest.mark.parametrize(
    "name, answer",
    [
        ("a.log.1", True),
        ("a.log-20260101.gz", True),
        ("a.log.2.xz", True),
        ("a.log.gz", True),
        ("a.log.old", True),
        ("a.log", False),
        ("a.log.more", False),
        ("b.log.1", False),
        ("a.1", False),
    ],
)
def test_rotated_from(name, answer):
    """A name that rotation, or a compressor, gives, of an origin in the same directory."""
    assert rotated_from(f"/x/{name}", {"/x/a.log", "/y/b.log"}) is answer
