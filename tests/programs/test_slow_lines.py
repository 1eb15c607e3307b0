"""Lines so slow that bytes wait in us for longer than a pipe keeps its memory, and altered bytes.

Everything that is slow goes on side by side in one test of each pair: they wait most of the time.
"""

import random
import time

import pytest
from stage import Proxy, append, content, free_port, sha256, size, wait_until

MODEM = 512_000 // 8  # bytes a second of a line of 512 kbit/s
STILL = 60.0  # seconds that a peer stands still: longer than anybody waits for a sign of life


def noise(size):
    """About so many bytes of lines that no compressor makes much smaller, with no zero in them."""
    dice = random.Random(size)
    return b"".join(b"%x\n" % dice.getrandbits(256) for _ in range(size // 64 + 1))


@pytest.fixture
def line(stage):
    """Makes a Proxy in front of the stage's port; all are closed at the end."""

    def make(rate=None):
        proxy = Proxy(stage.port, rate)
        stage.closing.append(proxy.close)
        return proxy

    return make


def arrives(origin, copy, seconds=90):
    """Wait until a copy is equal to its origin."""
    wanted = sha256(origin)
    wait_until(lambda: sha256(copy) == wanted, lambda: (copy, content(copy)[:100]), seconds)


def is_calm(process):
    """Nothing was taken for rewritten, and no gap was found."""
    for word in ("lost", "rewritten", "altered", "not those"):
        assert word not in process.log, process.log


@pytest.mark.timeout(240)
def test_slow_lines_push(stage, line):
    """Files of some hundred KB that nobody appends to any more: through --limit, with -z as well,
    over a modem, and to a peer that stands still for a minute in the middle. Each copy is equal.
    (At 51998aa: 262 KB of zeros.)"""
    names = ("limit", "packed", "modem", "still")
    origins = {name: stage.path / f"{name}.log" for name in names}
    copies = {name: stage.path / "copy" / f"{name}.log" for name in names}
    stage.configure(*(f"127.0.0.1:{origins[name]} | {copies[name]}" for name in names))
    for name, length in (
        ("limit", 300_000),
        ("packed", 300_000),
        ("modem", 1_500_000),
        ("still", 9),
    ):
        origins[name].write_bytes(noise(length))
    server = stage.server().up()
    modem, still = line(MODEM), line()
    stage.client(origins["limit"], "--limit", "15K", name="limit").up()
    stage.client(origins["packed"], "-z", "--limit", "9K", name="packed").up()
    stage.client(origins["modem"], port=modem.port, name="modem").up()
    stage.client(origins["still"], port=still.port, name="still").up()
    still.stand_still()
    append(origins["still"], noise(20_000_000))
    until = time.monotonic() + STILL
    for name in ("limit", "packed", "modem"):
        arrives(origins[name], copies[name])
    is_calm(server)
    wait_until(lambda: time.monotonic() > until, "time stands still", STILL + 10)
    still.go_on()
    arrives(origins["still"], copies["still"])


@pytest.mark.timeout(240)
def test_slow_lines_pull(stage, line):
    """The same for the pull pair: one server with --limit and -z, one over a modem, and that over
    a line that stands still for a minute."""
    pull, modem = stage.pull(noise(300_000), "slow.log"), line(MODEM)
    pull.server.argv[-1:-1] = ["-z", "--limit", "9K"]
    other = stage.path / "modem.log"
    other.write_bytes(noise(9))
    locals_ = stage.path / "modem.locals"
    locals_.write_text(
        f'$bind_port = {(port := free_port())};\n{pull.allowed}\n$files{{"{other}"}} = "{other}.*";\n'
    )
    stage.process("modem", [*stage.program("gen_numbers"), locals_], "started, port").up()
    modem.target = port
    copy = stage.path / "copy" / "modem.log"
    lines = (pull.line, f"127.0.0.1 {modem.port} {other} {copy} {stage.path}/pointer/modem")
    pull.client = stage.fetcher(*lines)
    pull.server.up()
    pull.client.up()
    arrives(other, copy)
    append(other, noise(2_000_000))
    wait_until(lambda: size(copy) > 200_000, "nothing crosses the modem")
    modem.stand_still()
    until = time.monotonic() + STILL
    arrives(pull.origin, pull.copy)
    wait_until(lambda: time.monotonic() > until, "time stands still", STILL + 10)
    modem.go_on()
    arrives(other, copy)
    assert "rewritten" not in pull.client.log and "not those" not in pull.client.log


class Flip:
    """Alters one byte of what a client sends, somewhere in its data."""

    def __init__(self, behind):
        self.left = behind  # bytes that pass before
        self.done = False

    def __call__(self, data):
        if self.done or self.left >= len(data):
            self.left -= len(data)
            return data
        self.done = True
        at = self.left
        return data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]


@pytest.mark.parametrize("options", ["", " | merge"], ids=["plain", "merged"])
def test_a_byte_altered_on_the_way(stage, line, options):
    """One bit of a line's content is turned over on the way, where no checksum of TCP sees it. It
    is noticed before it is acknowledged, said, and kept beside the copy; the copy is equal."""
    pipe, proxy = stage.pipe(noise(1000), options=options), line()
    pipe.client = stage.client(pipe.origin, port=proxy.port)
    pipe.up()
    proxy.alter = Flip(300_000)
    pipe.append(noise(600_000))
    pipe.arrives()
    pipe.server.wait_log("not those that were read at the origin")
    assert proxy.alter.done
