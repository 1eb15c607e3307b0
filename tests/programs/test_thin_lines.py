"""-z and --limit: what crosses a thin line, counted by the byte, and never by the clock.

A proxy stands for the line; it relays slowly, and counts.
"""

import os
import random
import signal
import time

import pytest
from stage import Proxy, append, content, sha256, size, wait_until

from tcppipe.net.paced import BURST, LEAST

THIN = 400_000  # bytes a second that a slow proxy relays


def text(lines, seed=1):
    """Lines as a web server writes them, of about 120 bytes."""
    dice = random.Random(seed)
    paths = ["/" + "".join(dice.choices("abcdefgh/-", k=dice.randint(3, 20))) for _ in range(200)]
    agents = [f"Mozilla/5.0 (X11; Linux) Firefox/{dice.randint(90, 130)}.0" for _ in range(20)]
    out = []
    for number in range(lines):
        ip = ".".join(str(dice.randint(1, 254)) for _ in range(4))
        when = f"[14/Nov/2026:10:{number // 3000 % 60:02}:{number // 50 % 60:02} +0000]"
        what = f'"GET {dice.choice(paths)} HTTP/1.1" 200 {dice.randint(100, 90000)}'
        out.append(f'{ip} - - {when} {what} "-" "{dice.choice(agents)}"\n')
    return "".join(out).encode()


TEXT = text(20000)


@pytest.fixture
def line(stage):
    """Makes a Proxy in front of the stage's port; all are closed at the end."""

    def make(rate=None):
        proxy = Proxy(stage.port, rate)
        stage.closing.append(proxy.close)
        return proxy

    return make


@pytest.fixture
def hidden(stage):
    """The environment in which the module zstandard is missing."""
    folder = stage.path / "hidden"
    folder.mkdir()
    (folder / "zstandard.py").write_text('raise ImportError("No module named zstandard")\n')
    return {"PYTHONPATH": f"{folder}:{stage.env['PYTHONPATH']}"}


def through(stage, proxy, pipe, *options, **more):
    """The client of a Pipe, through a proxy."""
    pipe.client = stage.client(pipe.origin, *options, port=proxy.port, **more)
    return pipe.client


# --- -z, push


def test_text_gets_four_times_smaller(stage, line):
    """An access log crosses a slow line with -z. It arrives, and four times fewer bytes have
    crossed. Lines that are appended then arrive as well."""
    pipe, proxy = stage.pipe(TEXT), line(THIN)
    through(stage, proxy, pipe, "-z")
    pipe.up()
    assert proxy.client < len(TEXT) / 4
    pipe.append(b"one line more\n")
    pipe.arrives()
    pipe.client.wait_log("compresses with zstd where that pays")
    pipe.client.down()


def test_without_the_option_nothing_is_packed(stage, line):
    """The same without -z: as many bytes cross as the file has, and some."""
    pipe, proxy = stage.pipe(TEXT[:500_000]), line()
    through(stage, proxy, pipe)
    pipe.up()
    assert 500_000 < proxy.client < 510_000


def test_noise_stays_as_it_is(stage, line):
    """A file that does not get smaller crosses with -z, hardly longer than it is, and whole."""
    pipe, proxy = stage.pipe(random.Random(1).randbytes(3_000_000)), line()
    through(stage, proxy, pipe, "-z")
    pipe.up()
    assert 3_000_000 < proxy.client < 3_010_000


@pytest.mark.parametrize("side", ["client", "server", "both"])
def test_without_the_library(stage, line, hidden, side):
    """The module zstandard is missing on one side, or on both. zlib is used instead, and text
    still gets four times smaller."""
    pipe, proxy = stage.pipe(TEXT), line(THIN)
    through(stage, proxy, pipe, "-z", env=hidden if side != "server" else None)
    if side != "client":
        pipe.server.env.update(hidden)
    pipe.up()
    pipe.client.wait_log("compresses with zlib where that pays")
    assert proxy.client < len(TEXT) / 4


def test_a_compressed_file_without_the_library(stage, hidden):
    """A rotated file was compressed by zstd while the pipe was down, and the module zstandard is
    missing. What was not delivered of it counts as lost, and is said; the pipe goes on."""
    zstandard = pytest.importorskip("zstandard")
    pipe = stage.pipe(b"one\n").up()
    pipe.client.down()
    pipe.append(b"two\n")
    packed = zstandard.compress(pipe.origin.read_bytes())
    (stage.path / "a.log.1.zst").write_bytes(packed)
    pipe.origin.unlink()
    pipe.origin.write_bytes(b"three\n")
    pipe.client = stage.client(pipe.origin, name="again", env=hidden).up()
    pipe.arrives(b"one\nthree\n")
    pipe.client.wait_log("bytes lost from offset 4 on")


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_middle(stage, line, seed):
    """A log crosses a slow line with -z. The child and the client are killed again and again,
    in the middle of frames. Every byte arrives once."""
    dice = random.Random(seed)
    data = text(30000, seed)
    pipe, proxy = stage.pipe(data), line(THIN)
    pipe.server.up()
    through(stage, proxy, pipe, "-z").up()
    for turn in range(1, 7):
        goal = len(data) * turn // 10
        wait_until(lambda goal=goal: size(pipe.copy) >= goal, "the copy does not grow")
        if dice.random() < 0.5:
            for child in pipe.server.children():
                os.kill(child, signal.SIGKILL)
        else:
            pipe.client.kill()
            pipe.client.up()
    pipe.arrives()


def test_version_1_is_told_once(stage, line):
    """The server is an original one. With -z the lines are sent as ever, and it is said once, over
    two connections, that nothing is compressed."""
    from test_version1 import LineServer

    server = LineServer()
    stage.closing.append(server.close)
    origin = stage.path / "a.log"
    origin.write_bytes(TEXT[:50_000].rpartition(b"\n")[0] + b"\n")
    client = stage.client(origin, "-z", port=server.port).up()
    wait_until(lambda: server.copy == origin.read_bytes(), "not all has come")
    (status,) = stage.run_dir.glob("*.pipe")
    acknowledged = b"%d\n" % size(origin)
    wait_until(lambda: content(status).startswith(acknowledged), "no acknowledgement")
    server.cut()
    client.wait_log(": connected to ")
    append(origin, b"more\n")
    wait_until(lambda: server.copy == origin.read_bytes(), "not all has come")
    assert client.log.count("cannot unpack: nothing is compressed") == 1


# --- -z, pull


def test_pull_gets_four_times_smaller(stage, line):
    """gen_numbers -z sends a log to fetch_logs over a slow line: four times fewer bytes cross, and
    a rotation and what is appended cross as well. A child is killed in between."""
    pull, proxy = stage.pull(TEXT), line(THIN)
    pull.server.argv.insert(-1, "-z")
    pull.client = stage.fetcher(pull.line.replace(f" {stage.port} ", f" {proxy.port} "))
    pull.up()
    assert proxy.server < len(TEXT) / 4
    for child in pull.server.children():
        os.kill(child, signal.SIGKILL)
    pull.client.wait_log("lost connection")
    pull.append(b"one line more\n")
    first = pull.origin.read_bytes()
    pull.rotate(b"a new file\n")
    pull.client.hup()
    pull.mirrors(first, b"a new file\n")


# --- --limit


class Meter:
    """Compares what has crossed a proxy with what may have."""

    def __init__(self, rate):
        self.rate = rate
        self._begun = time.monotonic()

    def check(self, crossed):
        """crossed: a function; what it says was true before the clock is read."""
        count = crossed()
        seconds = time.monotonic() - self._begun
        assert count <= self.rate * seconds + max(self.rate * BURST, LEAST)


@pytest.mark.parametrize("options", [[], ["-z"], ["-t", "0.05"]], ids=["plain", "z", "t"])
def test_limit(stage, line, options):
    """With --limit, at no time more than its worth has crossed, bursts included; the file arrives,
    and so does what is appended. The same with -z, and with -t."""
    data = TEXT[: 400_000 if options == ["-z"] else 100_000]
    pipe, proxy = stage.pipe(data), line()
    pipe.server.up()
    meter = Meter(50 * 1024)
    through(stage, proxy, pipe, "--limit", "50K", *options).up()

    def arrived():
        meter.check(lambda: proxy.client)
        return size(pipe.copy) == len(data)

    wait_until(arrived, "it does not arrive")
    pipe.append(b"more\n")
    pipe.arrives()
    meter.check(lambda: proxy.client)
    if "-z" in options:
        assert proxy.client < len(data) / 3
    else:
        assert proxy.client > len(data)


def test_limit_for_each_connection_of_gen_numbers(stage, line):
    """gen_numbers --limit bounds what fetch_logs gets."""
    pull, proxy = stage.pull(TEXT[:100_000]), line()
    pull.server.argv[-1:-1] = ["--limit", "0.05M"]
    pull.client = stage.fetcher(pull.line.replace(f" {stage.port} ", f" {proxy.port} "))
    pull.server.up()
    meter = Meter(0.05 * (1 << 20))
    pull.client.up()

    def arrived():
        meter.check(lambda: proxy.server)
        return content(pull.copy) == pull.origin.read_bytes()

    wait_until(arrived, "it does not arrive")
    assert proxy.server > 100_000


def test_limit_holds_for_version_1(stage):
    """An original server gets no more than the limit allows."""
    from test_version1 import LineServer

    server = LineServer()
    stage.closing.append(server.close)
    origin = stage.path / "a.log"
    origin.write_bytes(TEXT[:60_000].rpartition(b"\n")[0] + b"\n")
    meter = Meter(30_000)
    stage.client(origin, "--limit", "30000", port=server.port).up()

    def arrived():
        meter.check(lambda: len(server.copy))
        return server.copy == origin.read_bytes()

    wait_until(arrived, "it does not arrive")


@pytest.mark.parametrize("rate", ["1K", "100"])
def test_a_low_limit_leaves_the_client_awake(stage, rate):
    """With a limit by which a file takes minutes, acknowledgements are noted, HUP is survived, and
    TERM ends the client at once. Without the limit the file goes on where it was."""
    pipe = stage.pipe(random.Random(5).randbytes(1_000_000))
    pipe.client.argv += ["--limit", rate]
    pipe.server.up()
    pipe.client.up()
    wait_until(lambda: size(pipe.copy) > 200, "nothing arrives")
    (status,) = wait_until(lambda: list(stage.run_dir.glob("*.pipe")), "no status file", 30)
    wait_until(lambda: int(content(status).split(b"\n")[0] or 0) > 0, "nothing is noted", 30)
    pipe.client.hup()
    had = size(pipe.copy)
    wait_until(lambda: size(pipe.copy) > had, "it does not go on")
    before = time.monotonic()
    pipe.client.down()
    assert time.monotonic() - before < 8
    assert size(pipe.copy) < 1_000_000
    stage.client(pipe.origin, name="again").up()
    pipe.arrives()


def test_a_limit_waits_asleep(stage):
    """While it waits for its time, a client uses next to no processor."""
    pipe = stage.pipe(random.Random(5).randbytes(1_000_000))
    pipe.client.argv += ["--limit", "2000"]
    pipe.server.up()
    pipe.client.up()
    wait_until(lambda: size(pipe.copy) > 1000, "nothing arrives")

    def used():
        fields = open(f"/proc/{pipe.client.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, had = used(), size(pipe.copy)
    wait_until(lambda: size(pipe.copy) > had + 4000, "it does not go on")
    assert used() - before < 0.5


@pytest.mark.parametrize("word", ["x", "0", "-5"])
def test_a_limit_that_is_none(stage, word):
    """gen_numbers refuses it in one line, with its usage."""
    done = stage.run([*stage.program("gen_numbers"), "--limit", word, "/nowhere"])
    assert done.returncode == 1
    first, usage = done.stderr.splitlines()
    assert first == f"gen_numbers: --limit {word}: not a number of bytes a second"
    assert usage.startswith("usage: gen_numbers ")


def test_all_kinds_of_content_in_turns(stage, line):
    """Text, noise, and zeros cross with -z and --limit, and are the same."""
    dice = random.Random(7)
    parts = [TEXT[:300_000], dice.randbytes(100_000), bytes(1 << 20), b"\n" * 5000, TEXT[:5000]]
    pipe, proxy = stage.pipe(b"".join(parts)), line()
    through(stage, proxy, pipe, "-z", "--limit", "400k")
    pipe.up()
    for part in parts:
        pipe.append(part[:1000])
    pipe.arrives()
    assert sha256(pipe.copy) == sha256(pipe.origin)


@pytest.mark.parametrize("pair", ["push", "pull"])
def test_a_lot_of_nothing(stage, pair):
    """A file of 100 MiB that gets ten thousand times smaller is sent with -z and --limit. It
    arrives, and the side that unpacks it has at no time had much of it in memory."""
    both = stage.pipe(b"") if pair == "push" else stage.pull(b"")
    os.truncate(both.origin, 100 << 20)
    if pair == "push":
        both.client.argv += ["-z", "--limit", "30000"]
    else:
        both.server.argv[-1:-1] = ["-z", "--limit", "30000"]
    both.server.up()
    both.client.up()
    wait_until(lambda: size(both.copy) == 100 << 20, "it does not arrive")
    both.append(b"end\n")
    wait_until(lambda: size(both.copy) == (100 << 20) + 4, "the end does not arrive")
    assert sha256(both.copy) == sha256(both.origin)
    sinks = both.server.children() if pair == "push" else [both.client.pid]
    for pid in sinks:
        peak = next(x for x in open(f"/proc/{pid}/status") if x.startswith("VmHWM"))
        assert int(peak.split()[1]) < 60_000, peak
