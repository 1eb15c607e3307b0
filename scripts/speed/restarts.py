"""What it costs to go on after the sink has ended: in order, by kill -9, and by kill -9 when the
ledger tells nothing of what is durable.

The copy is as long as that of the bulk test, and all of it was acknowledged.  Then one line is
written, and the sink started again.
"""

import contextlib
import os
import shutil
import signal
import time

from ground import Late, arrives, digest_of
from ours import CHECKOUT, patched
from runs import running


def restart(peer_class, ground, scale):
    """Seconds from the start of the sink to the line, what both sides used, and what was written."""
    text, _digest = ground.text(scale.size)
    result = {"identical": True}
    for how in ("in order", "kill -9", "kill -9, unmarked"):
        with running(peer_class, ground, content=b"") as peer:
            ((origin, copy),) = peer.pipes
            if how.endswith("unmarked"):
                _end(peer, True)
                peer.sinks.env["PYTHONPATH"] = patched("unmarked")
                _begin(peer)
            ready = peer.folder / "ready"
            shutil.copyfile(text, ready)
            ready.rename(origin)
            arrives([copy], scale.size, time.monotonic(), scale.patience)
            if how.endswith("unmarked"):
                time.sleep(scale.rest)
            else:
                _is_durable(peer, scale)
            _end(peer, how.startswith("kill"))
            peer.sinks.env["PYTHONPATH"] = str(CHECKOUT)
            line = b"one line more\n"
            with open(origin, "ab") as file:
                file.write(line)
            before, started = (peer.sinks.cpu(), peer.sources.cpu()), time.monotonic()
            _begin(peer)
            _, _, seconds = arrives([copy], scale.size + len(line), started, scale.patience)
            result[f"{how}: seconds"] = seconds
            result[f"{how}: MiB written"] = _written(peer.sinks.pids()) / (1 << 20)
            result[f"{how}: CPU s at the sink"] = peer.sinks.cpu() - before[0]
            result[f"{how}: CPU s at the source"] = peer.sources.cpu() - before[1]
            result["identical"] &= digest_of(copy) == digest_of(origin)
    return result


def _is_durable(peer, scale):
    """Wait until the sink's ledger says that all of it is on the disk."""
    mark, until = b'"mark":{"offset":%d,' % scale.size, time.monotonic() + scale.patience
    (ledger,) = (peer.folder / "state").glob("*.ledger")
    while mark not in ledger.read_bytes():
        if time.monotonic() >= until:
            raise Late(f"{ledger}: not marked to the end in {scale.patience} s")
        time.sleep(0.01)


def _end(peer, by_kill):
    if not by_kill:
        peer.sinks.end()
        return
    for pid in peer.sinks.pids():
        os.kill(pid, signal.SIGKILL)
    while peer.sinks.pids():
        peer.sinks.ended()
        time.sleep(0.01)


def _begin(peer):
    """The sink as it was started before; a source that waits to connect does it now."""
    peer.sinks.start(peer.sinks.last)
    if peer.sinks.last[-2:] == ["-p", peer.port]:
        peer.accepts(peer.sinks)
        for pid in peer.sources.pids():
            os.kill(pid, signal.SIGHUP)


def _written(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/io") as file:
            counted = dict(line.split(": ") for line in file.read().splitlines())
            total += int(counted["wchar"])
    return total


TESTS = {"restart": restart}
