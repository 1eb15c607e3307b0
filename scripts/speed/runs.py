"""The tests: each runs one contestant once, and returns what was measured, by name.

A test that a contestant cannot pass (the copy differs, or is late) says so in its result and
does not stop the others.
"""

import os
import time

from ground import arrives, identical

REST = 2.0  # seconds after the last byte, in which digests may still be made


def bulk(peer_class, ground, size):
    """One big file.

    command: it exists when the sending side is started; seconds until all has arrived.
    stream: a pipe that is established gets it, ready, by a rename; the rate between the first
    byte and the last.
    """
    result = {"identical": True}
    text, wanted = ground.text(size)
    for way in ("command", "stream") if peer_class.follows else ("command",):
        with ground.stage() as folder:
            origin, copy, ready = folder / "origin.log", folder / "copy.log", folder / "ready"
            os.link(text, origin if way == "command" else ready)
            if way == "stream":
                origin.touch()
            peer = peer_class(folder, [(origin, copy)])
            try:
                peer.sink()
                if way == "stream":
                    peer.source()
                    peer.established()
                before, started = peer.cpu(), time.monotonic()
                if way == "stream":
                    os.rename(ready, origin)
                else:
                    peer.source()
                first, had, last = arrives([copy], size, started)
                used = peer.cpu() - before
                if way == "command":
                    result |= {
                        "seconds from the command": last,
                        "first byte ms": 1e3 * first,
                        "MB/s from the command": size / last / 1e6,
                    }
                else:
                    result["MB/s of the stream"] = (size - had) / max(last - first, 1e-9) / 1e6
                time.sleep(REST)
                rested = peer.cpu() - before
                result[f"CPU s/GiB, {way}"] = used / size * 2**30
                result[f"CPU s/GiB with rest, {way}"] = rested / size * 2**30
            finally:
                peer.end()
            result["identical"] &= identical(copy, wanted)
    return result


TESTS = {"bulk": bulk}
