"""Peers of the pull pair that speak version 1 only, written from the protocol's description.

OldServer answers one request after the other as the first server did; OldClient asks and
reads.
"""

import gzip
import os
import random
import shutil
import signal
import socket
import threading

import pytest
from stage import content, size, wait_until


class OldServer:
    """A server of version 1: for each request it plays what it was told to.

    play: (status, inode, data from offset 0 on, whether to close then) by the asked-for inode.
    """

    def __init__(self):
        self.requests = []
        self.play = {}
        self._socks = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._answer(sock)
            except OSError:
                pass

    def _answer(self, sock):
        line = sock.makefile("rb").readline()
        self.requests.append(line)
        _path, inode, offset, *_more = line.split()
        status, number, data, close = self.play[int(inode)]
        start = int(offset) if number == int(inode) else 0
        sock.sendall(b"%s %d\n" % (status, number))
        sock.sendall(data[start:] or b"\7")
        if close:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        else:
            self._socks.append(sock)

    def send(self, data):
        """More data over the last connection."""
        self._socks[-1].sendall(data)

    def cut(self):
        """Cut the last connection."""
        self._socks[-1].shutdown(socket.SHUT_RDWR)
        self._socks[-1].close()

    def close(self):
        """No more of it."""
        self._listener.close()


class OldClient:
    """A client of version 1: one request, then bytes."""

    def __init__(self, port, line):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.sock.sendall(line)
        self.file = self.sock.makefile("rb")
        self.answer = self.file.readline()

    def take(self, count):
        """So many bytes of data."""
        return self.file.read(count)

    def rest(self):
        """All that comes until the server closes, without signs of life."""
        return self.file.read().replace(b"\7", b"")

    def close(self):
        """Hang up."""
        self.file.close()
        self.sock.close()


@pytest.fixture
def old_server(stage):
    """An OldServer."""
    server = OldServer()
    stage.closing.append(server.close)
    return server


@pytest.fixture
def old_client(pull):
    """Makes OldClients of the pull's server, which runs; the file's path comes first."""
    pull.server.up()

    def make(*words):
        words = [os.fsencode(pull.origin), *(str(word).encode() for word in words)]
        client = OldClient(pull.stage.port, b" ".join(words) + b"\n")
        pull.stage.closing.append(client.close)
        return client

    return make


def inode(path):
    """A file's inode."""
    return os.stat(path).st_ino


# --- the original's client with our server


@pytest.mark.parametrize("words", [(), (0, 0)])
def test_a_first_request(pull, old_client, words):
    """FILE alone, or with zeros: the current file from its beginning, as it grows."""
    client = old_client(*words)
    data = pull.origin.read_bytes()
    assert client.answer == b"O %d\n" % inode(pull.origin)
    assert client.take(len(data)) == data
    pull.append(b"more \7 bell\n")
    assert client.take(12) == b"more \xff bell\n"


def test_signs_of_life_and_later_fields(pull, old_client):
    """Nothing to send: one byte 0x07 at once.  A fourth field that is no offer is ignored."""
    client = old_client(inode(pull.origin), pull.origin.stat().st_size, "whatever")
    assert client.answer == b"O %d\n" % inode(pull.origin)
    assert client.take(1) == b"\7"


def test_an_inode_that_is_unknown(pull, old_client):
    """L, and the current file from its beginning."""
    client = old_client(99, 5)
    assert client.answer == b"L %d\n" % inode(pull.origin)
    assert client.take(4) == b"one\n"


def test_each_generation_is_served(pull, old_client):
    """A client that comes back after each close gets every generation, compressed ones too."""
    first, number = pull.origin.read_bytes(), inode(pull.origin)
    pull.rotate(b"second\n")
    pull.rotate(b"third\n")
    with open(f"{pull.origin}.1", "rb") as plain, gzip.open(f"{pull.origin}.1.gz", "wb") as packed:
        packed.write(plain.read())
    shutil.copystat(f"{pull.origin}.1", f"{pull.origin}.1.gz")
    os.unlink(f"{pull.origin}.1")
    client = old_client(number, 4)
    assert client.answer == b"O %d\n" % number
    assert client.rest() == first[4:]
    client = old_client(number, len(first))
    number = inode(f"{pull.origin}.1.gz")
    assert client.answer == b"O %d\n" % number
    assert client.rest() == b"second\n"
    client = old_client(number, 7)
    assert client.answer == b"O %d\n" % inode(pull.origin)
    assert client.take(6) == b"third\n"


def test_rotation_closes(pull, old_client):
    """A client that is connected gets the rest of a rotated file; then the server closes."""
    client = old_client()
    pull.append(b"four\n")
    first = pull.origin.read_bytes()
    pull.rotate(b"second\n")
    assert client.rest() == first


def test_more_than_there_is(pull, old_client):
    """An offset behind the file's end gets no answer, as it always was."""
    assert old_client(inode(pull.origin), 10**6).answer == b""
    pull.server.wait_log("asked for from 1000000")


def test_what_may_not_be_fetched(pull, old_client):
    """Another file, or another word: closed without an answer."""
    port = pull.stage.port
    for line in (b"/etc/passwd 0 0\n", b"nonsense\n", b"\n", b"/a x y\n"):
        client = OldClient(port, line)
        assert client.answer == b""
        client.close()


# --- our client with the original's server


@pytest.fixture
def fetching(stage, old_server):
    """A Pull whose fetch_logs has an OldServer; its gen_numbers is not used."""
    pull = stage.pull()
    line = f"127.0.0.1 {old_server.port} {pull.origin} {pull.copy} {pull.pointer}"
    pull.client = stage.fetcher(line)
    return pull


def test_bytes_of_an_original(fetching, old_server):
    """The data without 0x07 are the local file; the request offers version 2 in a later field."""
    old_server.play = {0: (b"O", 17, b"one\n\7two\xff\n", False)}
    fetching.client.up()
    fetching.arrives(b"one\ntwo\xff\n")
    assert old_server.requests == [os.fsencode(fetching.origin) + b" 0 0 tcppipe/2\n"]
    assert content(fetching.pointer) == b"17\n"
    old_server.send(b"\7three\n\7")
    fetching.arrives(b"one\ntwo\xff\nthree\n")
    fetching.says("OK\n$")


def test_the_request_after_a_cut_and_a_kill(fetching, old_server):
    """Inode and size are asked for again, and nothing is there twice."""
    old_server.play = {0: (b"O", 17, b"one\n", False), 17: (b"O", 17, b"one\ntwo\n", False)}
    fetching.client.up()
    fetching.arrives(b"one\n")
    fetching.client.kill()
    fetching.client.up()
    fetching.arrives(b"one\ntwo\n")
    old_server.cut()
    fetching.client.wait_log("lost connection: ")
    fetching.client.hup()
    path = os.fsencode(fetching.origin)
    wait_until(lambda: len(old_server.requests) == 3, "a third request")
    assert old_server.requests[1:] == [path + b" 17 4 tcppipe/2\n", path + b" 17 8 tcppipe/2\n"]


def test_rotation_of_an_original(fetching, old_server):
    """Another inode in the answer: the local file is set aside, and the pointer file says so."""
    old_server.play = {0: (b"O", 17, b"one\n", True), 17: (b"O", 18, b"two\n", False)}
    fetching.client.up()
    fetching.arrives(b"one\n")
    fetching.client.wait_log("lost connection: ")
    fetching.client.hup()
    fetching.mirrors(b"one\n", b"two\n")
    wait_until(lambda: content(fetching.pointer) == b"18\n", "the pointer file")
    fetching.client.wait_log(f"{fetching.origin} origin rotated .inode 18.; the copy ")


def test_a_lost_generation_of_an_original(fetching, old_server):
    """L: said on standard error, with inode and offset."""
    fetching.copy.parent.mkdir()
    fetching.pointer.parent.mkdir()
    fetching.copy.write_bytes(b"old\n")
    fetching.pointer.write_bytes(b"16\n")
    old_server.play = {16: (b"L", 17, b"new\n", False)}
    fetching.client.up()
    fetching.mirrors(b"old\n", b"new\n")
    fetching.client.wait_log(f"{fetching.origin} the server no longer has inode 16, of which 4 ")


def test_an_unfinished_rotation(fetching, old_server):
    """Killed between setting aside and the pointer file: the new inode is what counts."""
    fetching.pointer.parent.mkdir()
    fetching.pointer.write_bytes(b"16\n")
    (fetching.pointer.parent / ".a.log.new").write_bytes(b"17\n")
    old_server.play = {17: (b"O", 17, b"new\n", False)}
    fetching.client.up()
    fetching.arrives(b"new\n")
    assert not fetching.pieces()
    assert content(fetching.pointer) == b"17\n"


def test_an_upgrade_of_the_server(fetching, old_server):
    """What came in version 1 is adopted when the server speaks version 2."""
    stage = fetching.stage
    fetching.origin.write_bytes(b"one\ntwo\n")
    number = inode(fetching.origin)
    old_server.play = {0: (b"O", number, b"one\n", False)}
    fetching.client.up()
    fetching.arrives(b"one\n")
    fetching.client.kill()
    conf = stage.path / "fetch_logs.conf"
    conf.write_text(fetching.line + "\n")
    fetching.server.up()
    fetching.client.up()
    fetching.arrives()
    assert not fetching.pieces()
    fetching.append(b"three\n")
    fetching.arrives()


class Relay:
    """Stands before our server, and takes the offer of version 2 out of each request."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data.replace(b" tcppipe/2\n", b"\n"))
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        """No more of it."""
        self._listener.close()


@pytest.fixture
def stripped(pull):
    """A Pull whose programs speak version 1 with each other."""
    relay = Relay(pull.stage.port)
    pull.stage.closing.append(relay.close)
    line = f"127.0.0.1 {relay.port} {pull.origin} {pull.copy} {pull.pointer}"
    pull.client = pull.stage.fetcher(line)
    return pull


def test_both_ours_without_the_offer(stripped):
    """Our client and our server in version 1: no generation is skipped."""
    pull = stripped.up()
    first = pull.origin.read_bytes()
    pull.client.kill()
    pull.rotate(b"second\n")
    pull.rotate(b"third\n")
    pull.client.up()
    pull.mirrors(first, b"second\n", b"third\n", seconds=20)
    assert "version 1" in pull.server.log


@pytest.mark.parametrize("seed", range(2))
def test_a_life_in_version_1(stripped, writer, seed):
    """Kills, rotations and cuts: the pieces are the generations, also without offsets."""
    dice = random.Random(seed)
    pull = stripped.up()
    with writer(pull.origin) as one:
        for _turn in range(8):
            one.wait_more(dice.randrange(1, 60))
            what = dice.choice(["client", "server", "child", "rotate", "rotate", "hup"])
            if what == "rotate":
                pull.rotate()
                one.reopen()
            elif what == "child":
                for child in pull.server.children():
                    os.kill(child, signal.SIGKILL)
            elif what == "hup":
                pull.client.hup()
            else:
                getattr(pull, what).kill()
                getattr(pull, what).up()
        one.stop()
    names = [f"{pull.origin}.{number}" for number in range(9, 0, -1)] + [pull.origin]
    generations = [content(name) for name in names if size(name)]

    def there():
        pull.client.hup()
        found = [content(path) for path in [*pull.pieces(), pull.copy]]
        return [data for data in found if data]

    wait_until(
        lambda: there() == generations,
        lambda: ([len(data) for data in there()], [len(data) for data in generations]),
        40,
    )
