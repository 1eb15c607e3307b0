"""An application's user plants what root's programs must not read for him."""

import os
import socket

import pytest
from stage import content, wait_until

FIRST = b"one\ntwo\nthree\n"
SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + b"c2VjcmV0" * 300
APPLICATION = 1001

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has secrets")


@pytest.fixture
def secret(stage):
    """A file that only root may read."""
    path = stage.path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def give(path):
    """It belongs to the application."""
    os.chown(path, APPLICATION, APPLICATION, follow_symlinks=False)


def in_logs(make, stage):
    """A pair whose origin stands in a directory of the application."""
    (stage.path / "logs").mkdir()
    give(stage.path / "logs")
    pair = make(FIRST, "logs/app.log")
    give(pair.origin)
    return pair


PAIRS = pytest.mark.parametrize("kind", ["pipe", "pull"])


@PAIRS
@pytest.mark.parametrize("where", ["the log", "its directory"])
def test_a_link_in_the_place_of(stage, secret, kind, where):
    """The application takes its log away and puts a link to root's secret there, or in the place of
    the directory. Nothing of it arrives, also after a restart of the archive; the message names
    the link. A new log is made, and the pipe goes on."""
    pair = in_logs(getattr(stage, kind), stage).up()
    logs, hidden = stage.path / "logs", stage.path / "hidden"
    if where == "the log":
        os.rename(pair.origin, f"{pair.origin}.1")
        pair.origin.symlink_to(secret)
        give(pair.origin)
    else:
        os.rename(secret, stage.path / "app.log")
        os.rename(logs, hidden)
        logs.symlink_to(stage.path)
        give(logs)
    source = pair.client if kind == "pipe" else pair.server
    sink = pair.server if kind == "pipe" else pair.client
    source.wait_log("has become a symbolic link, not followed")
    sink.kill()
    sink.up()
    (pair.origin if where == "the log" else logs).unlink()
    logs.mkdir(exist_ok=True)
    pair.origin.write_bytes(b"more\n")
    if kind == "pipe":
        pair.arrives(FIRST + b"more\n")
    else:
        pair.mirrors(FIRST, b"more\n")


@PAIRS
def test_a_rotated_link_while_away(stage, secret, kind):
    """The archive is away. The log is rotated twice; then one of the rotated files is replaced by a
    link to a secret. That is said, and all the rest arrives."""
    pair = in_logs(getattr(stage, kind), stage).up()
    source = pair.client if kind == "pipe" else pair.server
    source.kill()
    os.rename(pair.origin, f"{pair.origin}.2")
    os.symlink(secret, f"{pair.origin}.1")
    give(f"{pair.origin}.1")
    pair.origin.write_bytes(b"new\n")
    give(pair.origin)
    source.up()
    if kind == "pipe":
        pair.arrives(FIRST + b"new\n")
    else:
        pair.mirrors(FIRST, b"new\n")
    source.wait_log(r"app.log.1: not read: a symbolic link is not followed")


def test_a_link_that_a_list_finds(stage, secret):
    """The server takes whatever comes. A list names the application's logs by a wildcard, and the
    application makes a link to the secret among them: it gets no pipe, and that is said."""
    logs = stage.path / "logs"
    logs.mkdir()
    (logs / "app.log").write_bytes(FIRST)
    stage.configure(*(f"127.0.0.1:{top}/* | {stage.path}/copy/%f" for top in (stage.path, logs)))
    listed = stage.path / "list"
    listed.write_text(f"-f {logs}/*.log -h 127.0.0.1 -p {stage.port}\n")
    for name in ("planted.log", "other.log"):
        (logs / name).symlink_to(secret)
        give(logs / name)
    stage.server().up()
    keeper = stage.process("keeper", [*stage.program("tcppipe"), "-d", "-c", listed], "started")
    keeper.up()
    keeper.wait_log("planted.log.*not followed")
    wait_until(lambda: content(stage.path / "copy" / "app.log") == FIRST, "nothing arrives")
    assert os.listdir(stage.path / "copy") == ["app.log"]


def fetched(stage, *words):
    """What a client of version 1 gets for a request, in the first moments."""
    with socket.create_connection(("127.0.0.1", stage.port), timeout=15) as sock:
        sock.sendall(b" ".join(os.fsencode(str(word)) for word in words) + b"\n")
        got = sock.recv(1 << 16)
        if b"\n" in got and not got.partition(b"\n")[2]:
            got += sock.recv(1 << 16)
    return got


@pytest.mark.parametrize("suffix", ["-private.key", ".key", ".1.key"])
def test_a_neighbour_by_its_inode(stage, pull, suffix):
    """A client of version 1 asks for the inode of a file that stands beside the log and is no
    rotated one, though the pattern fits it: it gets the log."""
    key = stage.path / f"a.log{suffix}"
    key.write_bytes(SECRET)
    os.utime(key, (0, 0))
    pull.server.up()
    got = fetched(stage, pull.origin, key.stat().st_ino, 0)
    assert got == b"L %d\n" % pull.origin.stat().st_ino + FIRST


def test_a_neighbour_for_one_who_knows_nothing(stage, pull):
    """A fetch_logs whose pointer names the inode of a key beside the log, and one that has the
    key's first line already: both get the log, and no key."""
    key = stage.path / "a.log.key"
    key.write_bytes(SECRET)
    os.utime(key, (0, 0))
    pull.server.up()
    for start in (b"", SECRET[:36]):
        pull.copy.parent.mkdir(exist_ok=True)
        pull.pointer.parent.mkdir(exist_ok=True)
        pull.copy.write_bytes(start)
        pull.pointer.write_text(f"{key.stat().st_ino}\n")
        pull.client.up()
        wait_until(lambda: content(pull.copy).endswith(FIRST), lambda: content(pull.copy))
        assert not [path for path in pull.copy.parent.iterdir() if SECRET[36:] in content(path)]
        pull.client.kill()
        for path in [*pull.copy.parent.iterdir(), *pull.pointer.parent.iterdir()]:
            path.unlink()
        for path in stage.state_dir.glob("*"):
            if path.is_file():
                path.unlink()
