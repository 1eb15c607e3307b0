"""What a server serves: the part that the push and the pull pair's servers do not share."""

import select
import signal

from tcppipe.net import resolver
from tcppipe.net.link import Link
from tcppipe.process import report

GONE = getattr(select, "POLLRDHUP", 0)  # Linux tells when the peer has closed its side
HANDSHAKE = 5.0  # seconds that a client has for its request
WHERE = signal.SIGUSR2  # to a child: say where you are


class Service:
    """What a Server serves.  path: of the configuration file.  names: a resolver.HostNames.

    A subclass has refresh(): a connection comes, read the configuration again if it has
    changed; read(): HUP, read it again, and say in a few words what it holds (both raise
    ConfigError); publish(): let children know what is known now; knows(address): is that
    somebody in the configuration, as far as is known; serve(link, signals, lifeline): in a
    child, serve one connection and return the exit status, or raise a TcppipeError.
    asking: a descriptor that is readable when a child wants names looked up, or None.
    """

    asking = None

    def __init__(self, path):
        self.path = path
        self.names = resolver.HostNames(changed=_say_changed)

    def open(self):
        """In the parent, before the first child."""

    def wanted(self):
        """The host names that are to be looked up now and then."""
        return []

    def asked(self):
        """Forget who has asked for a look-up."""

    def link(self, sock, peer):
        """In a child: the Link of its connection."""
        return Link(sock, peer)


def _say_changed(name, old, new):
    before, after = (" ".join(sorted(map(str, group))) for group in (old, new))
    report.warning(f"{name}: its addresses have changed from {before} to {after}")
