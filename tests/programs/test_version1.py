"""Peers that speak version 1 only: tiny programs written from the protocol's description.

LineServer reads pieces of at most 1023 bytes as lines, and LineClient sends such pieces, as
the first programs of this name did.
"""

import os
import socket
import threading

import pytest
from stage import append, content, wait_for_bytes, wait_until

PIECE = 1023


class LineServer:
    """A server of version 1 for one file.  copy: what it has written.  lines: what it was sent."""

    def __init__(self, answer=b"$ready\n"):
        self.answer = answer
        self.copy = b""
        self.requests = []
        self.questions = []
        self.off_by = 0  # added to the next count
        self.mute = False  # answers no question
        self._sock = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                self._sock, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._sock, self._sock.makefile("rb") as file:
                    self._talk(file)
            except OSError:
                pass

    def _talk(self, file):
        self.requests.append(file.readline(PIECE))
        self._sock.sendall(self.answer)
        count = 0
        while piece := file.readline(PIECE):
            count += len(piece)
            if piece == b"\n":
                continue
            if piece[:1] == b"$":
                self.questions.append(count)
                if not self.mute:
                    self._sock.sendall(b"$%d\n" % (count + self.off_by))
                count = self.off_by = 0
            elif piece[:1] == b"#":
                self.copy += piece[1:]
            else:
                self.copy += piece

    def cut(self):
        """Cut the present connection."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        """No more of it."""
        self._listener.close()
        if self._sock is not None:
            self._sock.close()


class LineClient:
    """A client of version 1: sends bytes as pieces, and asks after each batch."""

    def __init__(self, port, path):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.file = self.sock.makefile("rb")
        self.sock.sendall(b"$%s\n" % os.fsencode(path))
        self.answer = self.file.readline()

    def send(self, data):
        """Send pieces and a question, check the count in the answer."""
        out, at = b"", 0
        while at < len(data):
            newline = data.find(b"\n", at, at + PIECE)
            end = newline + 1 if newline >= 0 else min(at + PIECE, len(data))
            piece = data[at:end]
            out += b"#" + piece if piece[:1] in b"#$\n" else piece
            at = end
        out += b"\n$\n"
        self.sock.sendall(out)
        assert self.file.readline() == b"$%d\n" % len(out)

    def close(self):
        """Hang up."""
        self.file.close()
        self.sock.close()


@pytest.fixture
def old_server(stage):
    """A LineServer."""
    server = LineServer()
    stage.closing.append(server.close)
    return server


@pytest.fixture
def old_client(stage):
    """Makes LineClients for this stage's server."""

    def make(path):
        client = LineClient(stage.port, path)
        stage.closing.append(client.close)
        return client

    return make


def has(server, expected):
    """Wait until the old server has exactly these bytes."""
    wait_until(
        lambda: server.copy == expected,
        lambda: (len(server.copy), len(expected), server.copy[:300], expected[:300]),
    )


LINES = {
    "plain": b"one\ntwo\nthree\n",
    "empty lines": b"\n\none\n\n\n\ntwo\n\n",
    "escapes": b"$\n#\n$5\n#x\n##\n$$\n$ready\n#$\n",
    "carriage returns": b"a\r\n\r\nb\r\n",
    "NUL, BEL, 0xff": b"\0\n\7\n\xff\n\0\7\xff\n",
    "around 1023": b"".join(b"%d" % (n % 10) * n + b"\n" for n in range(1018, 1030)),
    "long and escaped": b"".join(
        b"#" * n + b"\n" + b"$" * n + b"\n" for n in (1021, 1022, 1023, 5000)
    ),
    "2046 and 3069": b"x" * 2046 + b"\n" + b"y" * 3069 + b"\n" + b"z" * 2045 + b"\n",
}


# --- our client, an old server


@pytest.mark.parametrize("kind", LINES)
def test_client_sends_lines(stage, old_server, kind):
    """The server speaks version 1. Whole lines of any kind arrive unaltered, the first time and
    appended; the request is the real path."""
    origin = stage.path / "a.log"
    origin.write_bytes(LINES[kind])
    client = stage.client(origin, port=old_server.port).up()
    has(old_server, LINES[kind])
    append(origin, LINES[kind])
    has(old_server, LINES[kind] * 2)
    assert old_server.requests == [b"$%s\n" % os.fsencode(origin)]
    client.down()
    assert old_server.copy == LINES[kind] * 2


def test_client_holds_back_a_partial_line(stage, old_server):
    """An old server would end a partial line with a newline. It is held back until it is whole,
    over a restart as well."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"whole\npart")
    client = stage.client(origin, port=old_server.port).up()
    has(old_server, b"whole\n")
    append(origin, b"ial")
    client.down()
    assert old_server.copy == b"whole\n"
    client.up()
    append(origin, b" line\nnext")
    has(old_server, b"whole\npartial line\n")
    append(origin, b"\n")
    has(old_server, b"whole\npartial line\nnext\n")


def test_client_remembers_over_restarts(stage, old_server):
    """The client is ended in order, killed, and has its connection cut. An old server cannot say
    what it has: the status file does. Nothing is repeated."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    client = stage.client(origin, port=old_server.port).up()
    expected = b"one\n"
    has(old_server, expected)

    def saved():
        files = list(stage.run_dir.glob("*.pipe"))
        return files and int(files[0].read_bytes().split(b"\n")[0]) == len(expected)

    for turn in range(6):
        wait_until(saved, "the status file lags")
        if turn % 3 == 0:
            client.down()
        elif turn % 3 == 1:
            client.kill()
        else:
            old_server.cut()
            client.wait_log(": connected to ")
        append(origin, b"turn %d\n" % turn)
        if not client.running:
            client.up()
        expected += b"turn %d\n" % turn
        has(old_server, expected)


def test_client_finds_the_original_status_file(stage, old_server):
    """An upgrade in place: the run directory holds the status file that the original left. The
    client goes on from its offset."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"delivered\nnot yet\n")
    product = 1
    for byte in os.fsencode(origin):
        product *= byte - 256 if byte > 127 else byte
        product = abs(product) % 0x1FFF * (1 if product >= 0 else -1)
    stage.run_dir.mkdir()
    name = f"127.0.0.1-{old_server.port}.a.log.{product:4d}.pipe"
    (stage.run_dir / name).write_text("10\n")
    stage.client(origin, port=old_server.port).up()
    has(old_server, b"not yet\n")
    append(origin, b"new\n")
    has(old_server, b"not yet\nnew\n")


def test_upgrade_of_both_sides(stage):
    """Both sides are upgraded in place: there is the original's status file and its copy, with a
    line that only the copy's side knew. The copy is continued, nothing is repeated."""
    pipe = stage.pipe(b"delivered\nnot yet\n")
    product = 1
    for byte in os.fsencode(pipe.origin):
        product = product * byte % 0x1FFF
    stage.run_dir.mkdir()
    name = f"127.0.0.1-{stage.port}.a.log.{product:4d}.pipe"
    (stage.run_dir / name).write_text("10\n")
    pipe.copy.parent.mkdir()
    pipe.copy.write_bytes(b"of earlier days\ndelivered\n")
    pipe.server.up()
    pipe.client.up()
    wait_for_bytes(pipe.copy, b"of earlier days\ndelivered\nnot yet\n")


def test_client_gets_a_wrong_count(stage, old_server):
    """The old server's answer names a wrong count. The client does not take the batch for
    delivered: it says so, connects again and sends it again."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    client = stage.client(origin, port=old_server.port).up()
    has(old_server, b"one\n")
    old_server.off_by = 1
    append(origin, b"two\n")
    client.wait_log("the answer names 8 bytes, 7 were sent")
    has(old_server, b"one\ntwo\ntwo\n")


def test_client_killed_before_the_answer(stage, old_server):
    """The old server writes a batch and does not answer; the client is killed. It cannot know, so
    it sends the batch again, and nothing before it."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    client = stage.client(origin, port=old_server.port).up()
    has(old_server, b"one\n")
    client.down()
    old_server.mute = True
    append(origin, b"two\n")
    client.up()
    has(old_server, b"one\ntwo\n")
    client.kill()
    old_server.mute = False
    client.up()
    has(old_server, b"one\ntwo\ntwo\n")


def test_client_rotates(stage, old_server):
    """The origin is renamed and made anew while the server is an old one."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    client = stage.client(origin, port=old_server.port).up()
    has(old_server, b"one\n")
    append(origin, b"two\n")
    os.rename(origin, f"{origin}.1")
    origin.write_bytes(b"three\n")
    has(old_server, b"one\ntwo\nthree\n")
    client.down()
    append(origin, b"four\n")
    os.rename(origin, f"{origin}.2")
    os.rename(f"{origin}.1", f"{origin}.3")
    origin.write_bytes(b"five\n")
    client.up()
    has(old_server, b"one\ntwo\nthree\nfour\nfive\n")


def test_client_resends(stage, old_server):
    """-n sends all once more to an old server too."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    client = stage.client(origin, port=old_server.port).up()
    has(old_server, b"one\n")
    client.down()
    stage.client(origin, "-n", port=old_server.port, name="again").up()
    has(old_server, b"one\none\n")


def test_client_is_refused(stage):
    """An old server refuses."""
    server = LineServer(b"$refuse\n")
    stage.closing.append(server.close)
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    done = stage.ask(["-d"], origin, port=server.port)
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert server.copy == b""


# --- an old client, our server


@pytest.mark.parametrize("kind", LINES)
def test_server_takes_lines(stage, old_client, kind):
    """The client speaks version 1. Whole lines of any kind arrive unaltered, and each question is
    answered with the right count when they have."""
    stage.configure(f"127.0.0.1:/old.log | {stage.path}/copy")
    stage.server().up()
    client = old_client("/old.log")
    assert client.answer.startswith(b"$ready")
    client.send(LINES[kind])
    assert content(stage.path / "copy") == LINES[kind]
    for line in LINES[kind].splitlines(keepends=True):
        client.send(line)
    assert content(stage.path / "copy") == LINES[kind] * 2


def test_server_byte_by_byte(stage, old_client):
    """The same bytes arrive one in a packet."""
    stage.configure(f"127.0.0.1:/old.log | {stage.path}/copy")
    stage.server().up()
    client = old_client("/old.log")
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"one\n#\n##$\n#$ten\n\n$\n":
        client.sock.sendall(bytes([byte]))
    assert client.file.readline() == b"$19\n"
    assert content(stage.path / "copy") == b"one\n\n#$\n$ten\n"


def test_server_goes_on_after_a_reconnection(stage, old_client):
    """An old client ends and comes back, with the old connection closed or still half open. What
    it sends goes behind what is there."""
    stage.configure(f"127.0.0.1:/old.log | {stage.path}/copy")
    stage.server().up()
    first = old_client("/old.log")
    first.send(b"one\n")
    first.close()
    second = old_client("/old.log")
    second.send(b"two\n")
    third = old_client("/old.log")
    third.send(b"three\n")
    assert content(stage.path / "copy") == b"one\ntwo\nthree\n"


def test_server_refuses_an_old_client(stage, old_client):
    """There is no entry: an old client reads a line that begins with $refuse."""
    stage.configure(f"127.0.0.1:/other | {stage.path}/copy")
    stage.server().up()
    client = old_client("/old.log")
    assert client.answer.startswith(b"$refuse")
    assert client.answer.endswith(b"\n")
    assert len(client.answer) < PIECE


def test_server_reopens_for_an_old_client(stage, old_client):
    """The copy is renamed, and the server gets HUP. An old client's lines go into a new file."""
    copy = stage.path / "copy"
    stage.configure(f"127.0.0.1:/old.log | {copy}")
    server = stage.server().up()
    client = old_client("/old.log")
    client.send(b"one\n")
    os.rename(copy, f"{copy}.1")
    server.hup()
    wait_until(copy.exists, "no new copy")
    client.send(b"two\n")
    assert (content(f"{copy}.1"), content(copy)) == (b"one\n", b"two\n")


def test_old_client_is_replaced_by_ours(stage, old_client):
    """An old client has delivered a part, and its program is replaced by ours, with the old status
    file gone. The copy is a part of the origin: it is continued, nothing is repeated."""
    pipe = stage.pipe(b"one\ntwo\n")
    pipe.server.up()
    client = old_client(pipe.origin)
    client.send(b"one\n")
    client.close()
    pipe.client.up()
    pipe.arrives()


def test_our_server_killed_under_an_old_client(stage, old_client):
    """What was answered is there after kill -9 of the child and of the server."""
    stage.configure(f"127.0.0.1:/old.log | {stage.path}/copy")
    server = stage.server().up()
    client = old_client("/old.log")
    client.send(b"one\n")
    server.kill()
    assert content(stage.path / "copy") == b"one\n"
    server.up()
    again = old_client("/old.log")
    again.send(b"two\n")
    assert content(stage.path / "copy") == b"one\ntwo\n"
