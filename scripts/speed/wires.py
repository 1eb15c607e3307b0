"""Two hosts on one machine, with a wire between them that is as thin or as long as wanted.

The hosts are network name spaces; only root can make them.  They are gone when the wire is.
"""

import contextlib
import os
import subprocess
import time

from contest import Missing, Net, need

SINK, SOURCE = "10.77.0.1", "10.77.0.2"


def check():
    """Raise Missing where no such wire can be made."""
    need("ip", "iproute2")
    if os.geteuid():
        raise Missing("only root can make network name spaces")
    if not os.path.exists("/dev/net/tun"):
        raise Missing("this system has no /dev/net/tun")


@contextlib.contextmanager
def wire(ground, rate=0, round_trip=0.0, mtu=1500):
    """A Net with so many bits a second and seconds of round trip."""
    names = [f"tcppipe-bench-{os.getpid()}-{side}" for side in ("sink", "source")]
    process = None
    try:
        for name, address in zip(names, (SINK, SOURCE)):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("netns", "exec", name, "ip", "tuntap", "add", "dev", "wire", "mode", "tun")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            _ip("-n", name, "link", "set", "wire", "mtu", str(mtu), "txqueuelen", "1000", "up")
        process = subprocess.Popen([ground.wire, *names, str(rate), str(round_trip * 5e5)])
        _wait_for_the_other(names[0])
        here = [("ip", "netns", "exec", name) for name in names]
        yield Net(SINK, SOURCE, *here)
    finally:
        if process:
            process.kill()
            process.wait()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def _ip(*words):
    subprocess.run(["ip", *words], check=True)


def _wait_for_the_other(name):
    """Wait until the carrier is there on both sides."""
    until = time.monotonic() + 10
    ping = ["ip", "netns", "exec", name, "cat", "/sys/class/net/wire/carrier"]
    while subprocess.run(ping, capture_output=True, text=True, check=False).stdout != "1\n":
        if time.monotonic() > until:
            raise Missing("the wire between two name spaces does not come up")
        time.sleep(0.05)
