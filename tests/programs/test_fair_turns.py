"""A peer that asks for as much work as it can holds up nobody but itself."""

import contextlib
import os
import signal
import socket
import threading
import time

import pytest
from stage import wait_until

from tcppipe.cursor import Generation
from tcppipe.wire import events as ev
from tcppipe.wire import frames, pull1

FIRST = b"one\ntwo\nthree\n"
BIG = 1 << 30


def digests():
    """Sixty requests for the digest of a gibibyte each."""
    return b"".join(frames.encode(ev.Probe(((0, BIG),))) for _ in range(60))


def generations():
    """Hundreds of generations, each begun and ended, in one go."""
    said = b""
    for number in range(1, 480):
        why = ev.Why.FRESH if number == 1 else ev.Why.NEXT
        generation = Generation(1, number, number, number)
        said += frames.encode(ev.Begin(why, generation, 0))
        said += frames.encode(ev.End(ev.Why.ROTATED, 0))
    return said


def pings():
    """Tens of thousands of questions, whose answers nobody reads."""
    return frames.encode(ev.Ping(7)) * 40_000


def mode(path):
    """A file's mode, or None while it is renamed."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return None


DEMANDS = [digests, generations, pings]


def greet(sock):
    """Greet as a source of minor version 1, and hear the offer."""
    sock.sendall(frames.encode(ev.Hello(1, b"k" * 16, False, b"somebody")))
    reader, have = frames.Reader(), []
    while not have:
        data = sock.recv(65536)
        if not data:
            return
        have = [event for event in reader.feed(data) if isinstance(event, ev.Have)]


def be_a_source(sock, said):
    """Greet, say all of that, and stay."""
    greet(sock)
    with contextlib.suppress(OSError):
        sock.sendall(said)
        while sock.recv(1, socket.MSG_PEEK):
            time.sleep(0.1)


@pytest.fixture
def demanding(stage):
    """A gen_numbers that answers any request and then says what it is given; its port."""
    listener = socket.create_server(("127.0.0.2", 0))
    stage.closing.append(listener.close)

    def serve(said):
        """Serve one after the other."""
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    sock.recv(4096)
                    sock.sendall(pull1.answer(True, 7, v2=True))
                    start.greeted = True
                    be_a_source(sock, said)

    def start(said):
        """Say this to whoever comes."""
        threading.Thread(target=serve, args=(said,), daemon=True).start()
        return listener.getsockname()[1]

    start.greeted = False
    return start


@pytest.mark.parametrize("demand", DEMANDS)
def test_one_server_asks_for_too_much(stage, demanding, demand):
    """fetch_logs serves its other sources while one server has it busy, and ends when told to."""
    pull = stage.pull(FIRST)
    port = demanding(demand())
    other = stage.path / "copy" / "big"
    other.parent.mkdir()
    with open(other, "wb") as file:
        file.truncate(BIG if demand is digests else 0)
    client = stage.fetcher(pull.line, f"127.0.0.2 {port} /x {other} {stage.path}/pointer/big")
    pull.server.up()
    client.up()
    pull.arrives()
    wait_until(lambda: demanding.greeted, "nobody fetches from it")
    for number in range(5):
        pull.append(b"%d\n" % number)
        pull.arrives(seconds=3)
    began = time.monotonic()
    client.down()
    assert time.monotonic() - began < 3
    assert "bug" not in client.log


@pytest.mark.parametrize("demand", DEMANDS)
def test_one_client_asks_for_too_much(stage, demand):
    """A process of tcppiped that its client has busy hears HUP and TERM."""
    pipe = stage.pipe(FIRST)
    pipe.copy.parent.mkdir()
    with open(pipe.copy, "wb") as file:
        file.truncate(BIG if demand is digests else 0)
    pipe.stage.configure(f"{pipe.entry} | mirror,mode=0640")
    server = pipe.server.up()
    sock = socket.create_connection(("127.0.0.1", stage.port))

    def ask():
        sock.sendall(b"$" + os.fsencode(pipe.origin) + b"\n")
        assert sock.recv(100).startswith(b"$ready")
        sock.sendall(b"$tcppipe/2\n")
        be_a_source(sock, demand())

    threading.Thread(target=ask, daemon=True).start()
    server.wait_log("established")
    (child,) = server.children()
    time.sleep(0.3)
    pipe.stage.configure(f"{pipe.entry} | mirror,mode=0600")
    server.hup()
    server.wait_log("read again")
    wait_until(lambda: mode(pipe.copy) == 0o600, "HUP is not heard", 3)
    os.kill(child, signal.SIGTERM)
    wait_until(lambda: not server.children(), "TERM is not heard", 3)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def lates():
    """Thousands of late bytes for a generation that nobody knows."""
    begin = frames.encode(ev.Begin(ev.Why.FRESH, Generation(1, 2, 3, 4), 0))
    return begin + frames.encode(ev.Late(0, 5, b"x")) * 5_000


def gaps():
    """Thousands of gaps."""
    return frames.encode(ev.Gap(Generation(1, 2, 3, 4), 0, 7, b"why not")) * 5_000


@pytest.mark.parametrize("demand", [lates, gaps])
def test_one_client_makes_us_say_too_much(stage, demand):
    """However much a peer gives us to say, some lines of it are said, and how many were not."""
    pipe = stage.pipe(FIRST)
    server = pipe.server.up()
    with socket.create_connection(("127.0.0.1", stage.port)) as sock:
        sock.sendall(b"$" + os.fsencode(pipe.origin) + b"\n")
        assert sock.recv(100).startswith(b"$ready")
        sock.sendall(b"$tcppipe/2\n")
        greet(sock)
        sock.sendall(demand() + frames.encode(ev.Bye()))
        wait_until(lambda: not server.children(), "the child stays", 60)
    assert 50 < len(server.lines) < 250
    if server.log.count("suppressed") == 0:
        time.sleep(2.1)
        pipe.client.up()
        pipe.arrives()
    assert sum("lost at the origin" in x or "late bytes" in x for x in server.lines) < 150
