"""What a log directory's owner may write is not what root may read."""

import os

import pytest

from tcppipe.files.chain import Chain
from tcppipe.files.guarded import Guarded, Untrusted, resolve
from tcppipe.files.matches import expand

APPLICATION, STRANGER = 1001, 1002


@pytest.fixture
def place(tmp_path):
    """A log in a directory of an application, and a secret elsewhere."""
    if os.geteuid():
        pytest.skip("only root can make files of several users")
    logs = tmp_path / "logs"
    logs.mkdir()
    make(logs / "app.log", b"line\n")
    os.chown(logs, APPLICATION, APPLICATION)
    make(tmp_path / "elsewhere" / "secret", b"secret\n", 0)
    return tmp_path


def make(path, content, owner=APPLICATION):
    """A file of somebody's."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.chown(path, owner, owner)


def link(path, target, owner=APPLICATION):
    """A link of somebody's."""
    path.symlink_to(target)
    os.lchown(path, owner, owner)


@pytest.fixture
def said():
    """What was said."""
    return []


@pytest.fixture
def chain(place, said):
    """Follows the log; the live file is held."""
    path = str(place / "logs" / "app.log")
    chain = Chain(path, fs=Guarded(path, lambda level, text: said.append(text)))
    assert chain.look() and chain.live
    yield chain
    chain.close()


def held(chain):
    """What the held files hold."""
    return [reader.read(100, 0) for reader in chain.readers]


def rotate(place):
    """The log's own name becomes free."""
    os.rename(place / "logs" / "app.log", place / "logs" / "app.log.1")


def test_a_link_in_the_place_of_the_log(place, chain):
    """It is not followed, whoever made it, and the message says where it stands."""
    rotate(place)
    link(place / "logs" / "app.log", place / "elsewhere" / "secret", 0)
    with pytest.raises(Untrusted, match="has become a symbolic link"):
        chain.look()
    assert held(chain) == [b"line\n"]


def test_a_link_in_the_place_of_a_directory(place, chain):
    """Nor is one above the log."""
    make(place / "elsewhere" / "app.log", b"secret\n", 0)
    os.rename(place / "logs", place / "logs.old")
    link(place / "logs", place / "elsewhere")
    with pytest.raises(Untrusted, match="logs has become a symbolic link"):
        chain.look()
    assert held(chain) == [b"line\n"]


def test_a_link_that_looks_rotated(place, chain, said):
    """It is no rotated file.  That is said once."""
    rotate(place)
    link(place / "logs" / "app.log.2", place / "elsewhere" / "secret")
    make(place / "logs" / "app.log", b"new\n")
    for _ in range(3):
        chain.look()
        chain.places.find()
    assert held(chain) == [b"line\n", b"new\n"]
    assert said == [f"{place}/logs/app.log.2: not read: a symbolic link is not followed"]


def test_a_log_of_somebody_else(place, chain):
    """A hard link to a file of another user is refused, one of the same user or root is not."""
    rotate(place)
    make(place / "logs" / "app.log", b"secret\n", STRANGER)
    with pytest.raises(Untrusted, match=f"belongs to user {STRANGER}"):
        chain.look()
    for owner in (APPLICATION, 0):
        os.unlink(place / "logs" / "app.log")
        make(place / "logs" / "app.log", b"of %d\n" % owner, owner)
        chain.look()
    assert held(chain)[-1] == b"of 0\n"


def test_a_rotated_file_of_somebody_else(place, chain, said):
    """It is left out, and that is said once."""
    rotate(place)
    make(place / "logs" / "app.log", b"new\n")
    make(place / "logs" / "app.log.2", b"secret\n", STRANGER)
    for _ in range(3):
        chain.look()
        chain.places.find()
    assert held(chain) == [b"line\n", b"new\n"]
    assert len(said) == 1 and f"app.log.2: not read: belongs to user {STRANGER}" in said[0]


def test_a_new_user_where_only_root_can_make_files(place, chain):
    """Root has given the log to another user: nobody else could."""
    os.chown(place / "logs", 0, 0)
    rotate(place)
    make(place / "logs" / "app.log", b"new\n", STRANGER)
    chain.look()
    assert held(chain) == [b"line\n", b"new\n"]
    os.chmod(place / "logs", 0o775)
    rotate(place)
    make(place / "logs" / "app.log", b"secret\n", STRANGER + 1)
    with pytest.raises(Untrusted):
        chain.look()


@pytest.mark.parametrize(
    "maker, owner, followed",
    [(0, APPLICATION, True), (APPLICATION, APPLICATION, True), (APPLICATION, 0, False),
     (APPLICATION, STRANGER, False)],
)  # fmt: skip
def test_links_that_wildcards_find(place, maker, owner, followed):
    """Root's are followed, and those that lead to what belongs to their maker; others are told."""
    target = place / "elsewhere" / "found"
    make(target, b"x", owner)
    link(place / "logs" / "found.log", "../elsewhere/found", maker)
    refused = []
    found = expand(f"{place}/logs/f*.log", set(), refused)
    assert found == ([str(target)] if followed else [])
    assert len(refused) == (0 if followed else 1)
    assert expand(f"{place}/logs/found.log", set(), refused) == found
    (place / "home").mkdir()
    link(place / "home" / "a", place / "elsewhere", maker)
    os.chown(place / "elsewhere", owner, owner)
    assert expand(f"{place}/home/*/f*", set(), refused) == found


def test_what_a_path_leads_to(place):
    """As realpath(3) has it, whether the end is there or not."""
    for target in ("a", "/", "..", "../logs/./app.log", "missing/x", str(place)):
        path = place / "logs" / "link"
        link(path, target, 0)
        if target != "a":
            assert resolve(f"{path}/more") == os.path.realpath(f"{path}/more")
        path.unlink()
    link(place / "logs" / "loop", "loop")
    with pytest.raises(OSError, match="Too many levels"):
        resolve(str(place / "logs" / "loop"))
