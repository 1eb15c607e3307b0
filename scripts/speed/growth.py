"""How cost grows: with pipes, line length, backlog, round-trip time, and sources of one fetch.

Each axis gives, for each of its points, a result by name; a figure is drawn from them.
"""

import time
from typing import NamedTuple

import ours
import plot
import runs
import wires
from ground import digest_of, write_lines
from table import number, row

MIB = 1 << 20


class Axis(NamedTuple):
    """One axis."""

    heading: str
    across: str  # what the points mean
    points: tuple
    little: tuple  # the same for --quick
    measure: object  # (peer class, ground, scale, point) -> result
    peers: tuple


def advice():
    """What to do before, for the figures of a thousand pipes; nothing when all is well."""
    with open("/proc/sys/fs/inotify/max_user_instances") as file:
        limit = int(file.read())
    if limit > 1100:
        return ""
    return (
        f"fs.inotify.max_user_instances is {limit}: with more pipes than that the C pair ends, "
        "and tcppipe looks every second; sysctl -w fs.inotify.max_user_instances=4096"
    )


def pipes(peer_class, ground, scale, count):
    """So many pipes into one receiving side: memory and idle cost."""
    with runs.running(peer_class, ground, count, patience=scale.patience) as peer:
        time.sleep(scale.settle)
        before, started = peer.cpu(), time.monotonic()
        time.sleep(scale.idle)
        used, seconds = peer.cpu() - before, time.monotonic() - started
        own, shared = peer.sinks.memory()
        both = peer.memory()[1]
        return {
            "s until all are established": peer.took,
            "own MiB of a receiving child": sum(own[1:]) / max(len(own) - 1, 1) / MIB,
            "own MiB of the largest": max(own) / MIB,
            "PSS MiB per pipe, receiving side": shared / count / MIB,
            "PSS MiB per pipe, both sides": both / count / MIB,
            "idle CPU ms/s per pipe": 1e3 * used / seconds / count,
        }


def line_length(peer_class, ground, scale, length):
    """Lines of so many bytes, through an established pipe."""
    text = ground.top / f"lines.{length}"
    size = max(scale.size // 4 // length, 1) * length
    if not text.exists():
        write_lines(text, length, size)
    result = runs.renamed(peer_class, ground, scale, [text], [digest_of(text)])
    return {"MB/s": result["MB/s"], "identical": result["identical"]}


def backlog(peer_class, ground, scale, size):
    """An origin of so many bytes when the connecting side is started."""
    text, wanted = ground.text(size)
    result = runs.existing(peer_class, ground, scale, [text], [wanted])
    if size > scale.size:
        ground.forget(size)
    return {
        "s/GiB": result["seconds"] / size * 2**30,
        "peak MiB of the largest process": result["peak"] / MIB,
        "identical": result["identical"],
    }


def round_trip(peer_class, ground, scale, milliseconds):
    """Over a wire with such a round trip."""
    wires.check()
    size = min(scale.size, 128 * MIB)
    text, wanted = ground.text(size)
    with wires.wire(ground, 0, milliseconds / 1e3, mtu=9000) as net:
        result = runs.renamed(peer_class, ground, scale, [text], [wanted], net)
        with runs.running(peer_class, ground, net=net) as peer:
            lines = runs.timed_lines(peer, ground, scale._replace(lines=scale.lines // 3))
    return {
        "MB/s": result["MB/s"],
        "latency p50, ms": lines["p50 ms"],
        "identical": result["identical"] and lines["identical"],
    }


def sources(peer_class, ground, scale, count):
    """So many sources of one receiving side: idle cost; then a flood and a trickle."""
    with runs.running(peer_class, ground, max(count, 2), patience=scale.patience) as peer:
        time.sleep(scale.settle)
        before, started = peer.cpu(), time.monotonic()
        time.sleep(scale.idle)
        used, seconds = peer.cpu() - before, time.monotonic() - started
        sinks = peer.sinks.memory()[1]
        beside = runs.lines_beside_bulk(peer, ground, scale._replace(lines=scale.lines * 2 // 5))
        return {
            "s until all are established": peer.took,
            "idle CPU ms/s": 1e3 * used / seconds,
            "MiB of the receiving side": sinks / MIB,
            "trickle p50, ms": beside["p50 ms"],
            "trickle p99, ms": beside["p99 ms"],
            "flood MB/s": beside["bulk MB/s beside it"],
            "identical": beside["identical"],
        }


PUSH = (ours.CPair, ours.Tcppipe)
AXES = {
    "pipes": Axis(
        "Pipes into one receiving side", "pipes", (1, 10, 100, 1000), (1, 5), pipes,
        (*PUSH, ours.Many),
    ),
    "line-length": Axis(
        "Length of the lines", "bytes of a line",
        (10, 100, 1000, 10_000, 100_000, MIB, 10 * MIB), (10, 100_000), line_length, PUSH,
    ),
    "backlog": Axis(
        "Backlog at the start", "bytes", (MIB, 16 * MIB, 256 * MIB, 1024 * MIB, 4096 * MIB),
        (MIB, 4 * MIB), backlog, PUSH,
    ),
    "round-trip": Axis(
        "Round-trip time", "ms", (0.1, 1, 10, 50, 200), (1, 20), round_trip, PUSH,
    ),
    "sources": Axis(
        "Sources of one fetch_logs, a flood in one and a trickle in another", "sources",
        (2, 10, 100, 1000), (2, 5), sources, (ours.Fetch,),
    ),
}  # fmt: skip


def grow(name, ground, scale, options, present, attempt):
    """Measure one axis: {contestant: [(point, result), ...]}.

    present(peer): whether it can run here.  attempt(name, function): its result; None if it fails.
    """
    axis, found = AXES[name], {}
    points = axis.little if options.quick else axis.points
    peers = [peer for peer in axis.peers if peer.name in options.peers and present(peer)]
    for point in points:
        for peer in peers:
            result = attempt(
                f"{name} {plot.short(point)}: {peer.title}",
                lambda peer=peer, point=point: axis.measure(peer, ground, scale, point),
            )
            if result is not None:
                found.setdefault(peer.title, []).append((point, result))
    return found


def figure(name, found):
    """The figure of an axis, as SVG."""
    axis, panels = AXES[name], {}
    for title, points in found.items():
        for point, result in points:
            for measure, value in result.items():
                if not isinstance(value, bool):
                    panels.setdefault(measure, {}).setdefault(title, []).append((point, value))
    return plot.curves(axis.heading, axis.across, list(panels.items()))


def table(name, found):
    """The figures as a Markdown table."""
    axis = AXES[name]
    measures = list(dict.fromkeys(m for ps in found.values() for _, r in ps for m in r))
    lines = [f"### {axis.heading}", "", row([axis.across, "", *measures])]
    lines.append(row(["---"] * (len(measures) + 2)))
    for title, points in found.items():
        for point, result in points:
            cells = [cell(result.get(measure)) for measure in measures]
            lines.append(row([plot.short(point), title, *cells]))
    return "\n".join(lines)


def cell(value):
    """A value for the table."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return number(value)
