"""The tests: each runs one contestant once, and returns what was measured, by name.

A test that a contestant cannot pass (it is late, or ends) raises; a copy that differs is told
in the result.  Sizes come from a Scale, so that the same tests can be run in little.
"""

import contextlib
import os
import subprocess
import sys
import time
from statistics import median
from typing import NamedTuple

from ground import Late, arrives, digest_of, size_of
from ours import program

FIRST = b"the first line, which shows that the pipe is there\n"


class Scale(NamedTuple):
    """How much of everything."""

    size: int = 1 << 30  # bytes of bulk
    files: int = 100
    file_size: int = 10 << 20
    lines: int = 500  # of which the way is timed
    writes: int = 100_000  # a second
    seconds: float = 5.0  # of writes
    settle: float = 5.0  # seconds before idle is measured
    idle: float = 20.0
    rest: float = 2.0  # seconds after the last byte, in which digests may still be made
    starts: int = 21
    thin: int = 20_000_000
    patience: float = 300.0


QUICK = Scale(
    size=16 << 20, files=10, file_size=1 << 20, lines=50, writes=20_000, seconds=0.5,
    settle=0.5, idle=1.0, rest=0.2, starts=3, thin=1_000_000, patience=30.0,
)  # fmt: skip


@contextlib.contextmanager
def running(peer_class, ground, pipes=1, content=FIRST, net=None, patience=60.0):
    """A contestant with so many pipes, all of which have delivered their first content.

    Without content the origins are empty, and the pipes only connected.  `took` is how many
    seconds that has taken.
    """
    with ground.stage() as folder:
        pairs = [(folder / f"origin{n}.log", folder / f"copy{n}.log") for n in range(pipes)]
        for origin, _ in pairs:
            origin.write_bytes(content)
        peer = peer_class(folder, pairs, net)
        try:
            peer.listen()
            started = time.monotonic()
            peer.connect()
            if content:
                arrives([copy for _, copy in pairs], len(content), started, patience)
            else:
                peer.established()
            peer.took = time.monotonic() - started
            if peer.follows and (ended := peer.sinks.ended() + peer.sources.ended()):
                raise RuntimeError(f"{len(ended)} of its processes have ended")
            yield peer
        finally:
            peer.end()


def bulk(peer_class, ground, scale):
    """One big file.

    command: it exists when the connecting side is started; seconds until all has arrived.
    stream: a pipe that is established gets it, ready, by a rename; the rate between the first
    byte and the last.
    """
    text, wanted = ground.text(scale.size)
    result = existing(peer_class, ground, scale, [text], [wanted])
    seconds = result.pop("seconds")
    del result["peak"]
    result["seconds from the command"] = seconds
    result["MB/s from the command"] = scale.size / seconds / 1e6
    if peer_class.follows:
        again = renamed(peer_class, ground, scale, [text], [wanted])
        result["MB/s of the stream"] = again["MB/s"]
        result["CPU s/GiB of the stream"] = again["CPU s/GiB"]
        result["CPU s/GiB with the rest after it"] = again["CPU s/GiB with rest"]
        result["of it at the source"] = again["source"]
        result["of it at the sink"] = again["sink"]
        result["identical"] &= again["identical"]
    else:
        result["CPU s/GiB of the stream"] = result["CPU s/GiB from the command"]
    return result


def many(peer_class, ground, scale):
    """Many files at once.

    command: they exist when the connecting side is started.  established: all pipes are, and
    the files get their contents at the same time.
    """
    texts, wanted = ground.texts_of(scale.files, scale.file_size)
    result = renamed(peer_class, ground, scale, texts, wanted)
    started = existing(peer_class, ground, scale, texts, wanted)
    return {
        "identical": result["identical"] and started["identical"],
        "seconds, established": result["seconds"],
        "seconds from the command": started["seconds"],
        "CPU s/GiB, established": result["CPU s/GiB"],
        "CPU s/GiB from the command": started["CPU s/GiB from the command"],
    }


def existing(peer_class, ground, scale, texts, wanted):
    """Pipes whose origins have these texts when the connecting side is started."""
    with ground.stage() as folder:
        pairs = [(folder / f"origin{n}.log", folder / f"copy{n}.log") for n in range(len(texts))]
        for text, (origin, _) in zip(texts, pairs):
            os.link(text, origin)
        size, peer = size_of(texts[0]), peer_class(folder, pairs)
        try:
            peer.listen()
            ground.warm(size * len(texts))
            before, started = peer.cpu(), time.monotonic()
            peer.connect()
            _, _, seconds = arrives([copy for _, copy in pairs], size, started, scale.patience)
            used, peak = peer.cpu() - before, peer.peak()
        finally:
            peer.end()
        return {
            "identical": _same(pairs, wanted),
            "peak": peak,
            "seconds": seconds,
            "CPU s/GiB from the command": used / (size * len(texts)) * 2**30,
        }


def renamed(peer_class, ground, scale, texts, wanted, net=None):
    """Established pipes whose empty origins become these texts, ready, by a rename."""
    with running(peer_class, ground, len(texts), b"", net) as peer:
        size = size_of(texts[0])
        ready = [peer.folder / f"ready{n}" for n in range(len(texts))]
        for text, name in zip(texts, ready):
            os.link(text, name)
        time.sleep(scale.rest)
        ground.warm(size * len(texts))
        sides = peer.sources.cpu(), peer.sinks.cpu()
        before, started = peer.cpu(), time.monotonic()
        for name, (origin, _) in zip(ready, peer.pipes):
            os.rename(name, origin)
        copies = [copy for _, copy in peer.pipes]
        first, had, last = arrives(copies, size, started, scale.patience)
        used = peer.cpu() - before
        time.sleep(scale.rest)
        rested = peer.cpu() - before
        whole = size * len(texts)
        return {
            "identical": _same(peer.pipes, wanted),
            "seconds": last,
            "MB/s": (whole - had) / (last - first) / 1e6 if had < whole else whole / last / 1e6,
            "CPU s/GiB": used / whole * 2**30,
            "CPU s/GiB with rest": rested / whole * 2**30,
            "source": (peer.sources.cpu() - sides[0]) / whole * 2**30,
            "sink": (peer.sinks.cpu() - sides[1]) / whole * 2**30,
        }


def latency(peer_class, ground, scale):
    """A line every 10 ms: how long until it stands in the copy."""
    with running(peer_class, ground) as peer:
        return timed_lines(peer, ground, scale)


def busy(peer_class, ground, scale):
    """The same while a second pipe carries bulk, one file after the other."""
    with running(peer_class, ground, 2) as peer:
        return lines_beside_bulk(peer, ground, scale._replace(lines=scale.lines * 2 // 5))


def lines_beside_bulk(peer, ground, scale):
    """Timed lines in the first pipe while the last has more to carry than it can."""
    texts = [ground.text(scale.size)[0], ground.text(scale.size + 1000)[0]]
    origin, copy = peer.pipes[-1]
    ready, turn, there, expected = peer.folder / "ready", 0, 0, len(FIRST)
    timing = _time_lines(peer, ground, scale)
    started = time.monotonic()
    try:
        while timing.poll() is None:
            there = sum(size_of(path) for path in copy.parent.glob(f"{copy.name}*"))
            if there >= expected:
                ready.unlink(missing_ok=True)
                os.link(texts[turn % 2], ready)
                expected += size_of(ready)
                os.rename(ready, origin)
                turn += 1
            time.sleep(0.005)
        result = _ways(peer, timing, scale)
    finally:
        timing.kill()
        timing.wait()
    result["bulk MB/s beside it"] = there / (time.monotonic() - started) / 1e6
    return result


def timed_lines(peer, ground, scale):
    """Lines in the first pipe, each timed."""
    timing = _time_lines(peer, ground, scale)
    try:
        return _ways(peer, timing, scale)
    finally:
        timing.kill()
        timing.wait()


def _time_lines(peer, ground, scale):
    origin, copy = peer.pipes[0]
    words = [str(ground.pair), "lag", str(origin), str(copy), str(scale.lines), "10"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _ways(peer, timing, scale):
    """What the timer printed."""
    said, _ = timing.communicate()
    ways = sorted(float(word) / 1e3 for word in said.split())
    if len(ways) < scale.lines:
        raise Late(f"{scale.lines - len(ways)} of {scale.lines} lines have not arrived")
    return {
        "identical": _same(peer.pipes[:1]),
        "p50 ms": median(ways),
        "p99 ms": ways[int(len(ways) * 0.99)],
        "max ms": ways[-1],
    }


def writes(peer_class, ground, scale):
    """So many separate writes a second, a batch each millisecond."""
    with running(peer_class, ground) as peer:
        origin, copy = peer.pipes[0]
        before = peer.cpu()
        done = subprocess.run(
            [ground.pair, "rate", origin, copy, str(scale.writes), str(scale.seconds)],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        used = peer.cpu() - before
        reached, most, last = map(float, done.stdout.split())
        if last < 0:
            raise Late("falls behind")
        return {
            "identical": _same(peer.pipes),
            "writes a second": reached,
            "CPU % of a core": 100 * used / scale.seconds,
            "largest lag ms": most,
            "final lag ms": last,
        }


def idle(peer_class, ground, scale):
    """Many pipes with nothing to do."""
    with running(peer_class, ground, scale.files) as peer:
        time.sleep(scale.settle)
        before, started = peer.cpu(), time.monotonic()
        time.sleep(scale.idle)
        used, seconds = peer.cpu() - before, time.monotonic() - started
        own, shared = peer.memory()
        return {
            "identical": _same(peer.pipes),
            "pipes": scale.files,
            "CPU ms/s": 1e3 * used / seconds,
            "PSS MiB": shared / 2**20,
            "processes": len(own),
            "own MiB, mean": sum(own) / len(own) / 2**20,
            "own MiB, largest": max(own) / 2**20,
        }


def first_byte(peer_class, ground, scale):
    """From the command that starts the connecting side until something stands in the copy."""
    found = []
    for _ in range(max(scale.starts // 3, 1)):
        with ground.stage() as folder:
            origin, copy = folder / "origin.log", folder / "copy.log"
            origin.write_bytes(FIRST)
            peer = peer_class(folder, [(origin, copy)])
            try:
                peer.listen()
                started = time.monotonic()
                peer.connect()
                found.append(arrives([copy], 1, started, scale.patience)[2])
            finally:
                peer.end()
    return {"ms": 1e3 * median(found), "ms, slowest": 1e3 * max(found)}


def start(peer_class, ground, scale):
    """tcppipe -I for a living pipe, against the bare interpreter."""
    with running(peer_class, ground) as peer:
        ask = [*program("tcppipe"), "-I", *map(str, peer.target(peer.pipes[0][0]))]
        bare, asked = [], []
        for _ in range(scale.starts):
            bare.append(_run([sys.executable, "-c", "pass"], peer))
            asked.append(_run(ask, peer))
        return {
            "python3 -c pass, ms": 1e3 * median(bare),
            "tcppipe -I, ms": 1e3 * median(asked),
            "difference, ms": 1e3 * median(one - other for one, other in zip(asked, bare)),
        }


def _run(words, peer):
    environment = {**os.environ, **peer.environment()}
    started = time.perf_counter()
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _same(pairs, wanted=None):
    """Whether each copy is what was wanted, or what its origin is."""
    wanted = wanted or [digest_of(origin) for origin, _ in pairs]
    return all(digest_of(copy) == digest for (_, copy), digest in zip(pairs, wanted))


TESTS = {
    "bulk": bulk,
    "latency": latency,
    "busy": busy,
    "writes": writes,
    "idle": idle,
    "many": many,
    "first byte": first_byte,
    "start": start,
}
