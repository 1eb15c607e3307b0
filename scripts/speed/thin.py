"""The tests on lines that are thin: one of 10 Mbit/s, and one that the source spares.

The origin exists when the connecting side is started: a text of some megabytes.
"""

import os
import time

import wires
from contest import Missing
from ground import arrives, digest_of
from ours import Tcppipe, has_option

RATE = 10_000_000  # bits a second
ROUND_TRIP = 0.01
LIMIT = 8 << 20  # bytes a second, as --limit 8M


def thin(peer_class, ground, scale):
    """A text over a wire of 10 Mbit/s and 10 ms of round trip."""
    wires.check()
    with wires.wire(ground, RATE, ROUND_TRIP) as net:
        result = _copied(peer_class, ground, scale.thin, scale, net)
    result["Mbit/s of text"] = scale.thin * 8 / result["seconds from the command"] / 1e6
    return result


def limit(peer_class, ground, scale):
    """A text, when the source is told to send no more than 8 MiB a second."""
    if not issubclass(peer_class, Tcppipe):
        raise Missing("has no such thing")
    has_option("--limit")

    class Limited(peer_class):
        options = (*peer_class.options, "--limit", "8M")

    result = _copied(Limited, ground, min(scale.size, 6 * LIMIT), scale)
    result["MiB/s, 8 asked for"] = result.pop("bytes a second") / 2**20
    return result


def _copied(peer_class, ground, size, scale, net=None):
    text, wanted = ground.text(size)
    with ground.stage() as folder:
        origin, copy = folder / "origin.log", folder / "copy.log"
        os.link(text, origin)
        peer = peer_class(folder, [(origin, copy)], net)
        try:
            peer.listen()
            before, started = peer.cpu(), time.monotonic()
            peer.connect()
            first, had, last = arrives([copy], size, started, scale.patience)
            used = peer.cpu() - before
        finally:
            peer.end()
        return {
            "identical": digest_of(copy) == wanted,
            "seconds from the command": last,
            "bytes a second": (size - had) / (last - first),
            "CPU s": used,
        }


TESTS = {"thin": thin, "limit": limit}
