"""The pull pair's server: whoever may, fetches a file, as it grows.

Each connection has a child, which is a source like the push pair's client, except that it
was dialled: it ends with its connection.  It keeps no files of its own.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from tcppipe.conf import numbers
from tcppipe.cursor import Cursor
from tcppipe.drivers.follow import Follow, Manner
from tcppipe.drivers.packer import Packer
from tcppipe.drivers.service import HANDSHAKE, WHERE, Service
from tcppipe.errors import LinkLost, PeerError, Refused, TcppipeError, reason
from tcppipe.files import configuration
from tcppipe.files.chain import Chain
from tcppipe.files.follower import Follower
from tcppipe.files.guarded import Guarded, Pointed, Untrusted, resolve
from tcppipe.files.wakeup import Wakeup, preload
from tcppipe.net.link import Link
from tcppipe.net.paced import Bucket, Paced
from tcppipe.process import report
from tcppipe.process.shared import Shared
from tcppipe.process.signals import Signals
from tcppipe.process.trouble import Say, counted, duration
from tcppipe.session.actions import Candidate
from tcppipe.session.contract import SourceSession
from tcppipe.session.numbers1 import ByteSource
from tcppipe.session.source import Source
from tcppipe.wire import pull1
from tcppipe.wire.events import Failure
from tcppipe.wire.frames import encode


class Origin(NamedTuple):
    """What a line of the configuration leads to."""

    path: str
    patterns: list[str]
    fs: Guarded


class NoStatus:
    """A status file that is none: the sink knows."""

    path = ""

    def read(self) -> tuple[Cursor | None, bool]:
        """Nothing was kept."""
        return None, False

    def save(self, cursor: Cursor, about: str = "") -> None:
        """Nothing to keep."""


class Answer(Follow):
    """Feeds one follower over a link that came to us, until either ends."""

    def __init__(
        self,
        follower: Follower,
        link: Link,
        lifeline: int,
        check: Callable[[], None],
        say: Say,
        packer: Packer | None = None,
    ) -> None:
        super().__init__(follower, NoStatus(), say, Manner(packer=packer))
        self._link = link
        self._lifeline = lifeline
        self._check = check  # raises Refused when this may no longer be fetched
        self._began = time.monotonic()

    def converse(self, session: SourceSession, signals: Signals) -> None:
        """Raises LinkLost at the end; returns when told to end."""
        self._signals = signals
        directories = self.follower.chain.directories
        self._lookout.listen(Wakeup(self.path, self._say, directories))
        self._begin_feeding(self._link, session)
        while not self._over:
            self._turn()

    def _hup(self, now: float) -> None:
        self._check()
        super()._hup(now)

    def _answer(self, came: list[int], now: float) -> None:
        if WHERE in came:
            about = f"{self._link.peer}:{self.path}: {self._where(now)}"
            self._say("info", f"{about}, connected for {duration(now - self._began)}")
        ours = [signum for signum in came if signum not in (WHERE, signal.SIGUSR1)]
        super()._answer(ours, now)


class Files(Service):
    """Gives the files that a .locals file names to the addresses that it allows.

    packed: compress where that pays (-z).  limit: bytes a second for each connection, or None.
    """

    def __init__(self, path: str, packed: bool = False, limit: float | None = None) -> None:
        super().__init__(path)
        self.numbers = numbers.Numbers([], {})
        self._origins: dict[str, Origin] = {}  # path: what it led to when it was read
        self._shared: Shared | None = None
        self._packer = Packer() if packed else None
        self._limit = limit
        preload()

    def open(self) -> None:
        """What children learn from."""
        self._shared = Shared()

    def asked(self) -> None:
        """Children have nothing to ask."""

    def publish(self) -> None:
        """All that the file says."""
        allow = [(str(network), allowed) for network, allowed in self.numbers.allow]
        assert self._shared is not None
        self._shared.put((allow, *self.numbers[1:]))

    def _renew(self) -> None:
        """In a child: know what the parent knows."""
        news = self._shared.news() if self._shared is not None else None
        if news is not None:
            allow = [(ipaddress.ip_network(text), allowed) for text, allowed in news[0]]
            self.numbers = numbers.Numbers(allow, *news[1:])

    def knows(self, address: str) -> bool:
        """May this address fetch anything?"""
        return self.numbers.allows(address)

    def link(self, sock: socket.socket, peer: str) -> Link:
        """In a child: the Link of its connection."""
        return Paced(sock, peer, Bucket(self._limit)) if self._limit else Link(sock, peer)

    def refresh(self) -> bool:
        """New lines are valid with HUP, as they always were."""
        return False

    def read(self) -> str:
        """Read the .locals file; a broken one is refused whole."""
        text = configuration.read(self.path)
        self.numbers = numbers.parse(text, self.path)
        found = {path: _found(path, glob, report.say) for path, glob in self.numbers.files.items()}
        self._origins = found
        return counted(len(self.numbers.files), "file", "files")

    def serve(self, link: Link, signals: Signals, lifeline: int) -> int:
        """Answer one request."""
        if not self.numbers.allows(link.peer):
            raise Refused(f"{link.peer}: not allowed")
        line = link.read_line(pull1.MAX_REQUEST, time.monotonic() + HANDSHAKE)
        try:
            name, inode, offset, version2 = pull1.parse_request(line)
        except PeerError as error:
            raise PeerError(f"{link.peer}: {error}") from None
        path = os.fsdecode(name)
        if path not in self.numbers.files:
            raise self._refused(link, path, version2)
        origin, patterns, fs = self._origins[path]
        held = numbers.holds_nuls(self.numbers.files[path])
        follower = Follower(Chain(origin, None, fs, patterns, held))
        now = time.monotonic()
        if version2:
            about = f"{socket.gethostname()}, pid {os.getpid()}"
            session: SourceSession = Source(os.urandom(16), about, now, packer=self._packer)
            link.send(pull1.answer(True, _live(fs, origin), v2=True))
        else:
            session = ByteSource(inode, offset, _number, now)

        def check() -> None:
            self._renew()
            if not self.numbers.allows(link.peer) or path not in self.numbers.files:
                raise Refused("no longer allowed")

        report.about(f"{link.peer}:{report.name(path)}", link.peer)
        report.info(f"{link.peer}:{path}: established, version {2 if version2 else 1}")
        try:
            answer = Answer(follower, link, lifeline, check, report.say, self._packer)
            answer.converse(session, signals)
        except TcppipeError as error:
            raise type(error)(f"{path}: {error}") from None
        finally:
            link.drain(1.0)
        return 0

    def _refused(self, link: Link, path: str, version2: bool) -> Refused:
        """There is no such file: a client that can understand it is told so, as one to try again."""
        if version2:
            link.send(pull1.answer(True, 0, v2=True))
            why = b"the configuration of gen_numbers there has no such file"
            link.send(encode(Failure(True, why)))
            link.drain(1.0)
        return Refused(f"{link.peer}:{report.name(path)}: refused: not in {self.path}")


def _found(path: str, glob: str, say: Say) -> Origin:
    """What a line of the configuration leads to now.

    A link that leads to a file which a pattern fits is a pointer, and is not resolved.
    """
    rotated = (os.path.split(pattern) for pattern in numbers.patterns(glob))
    patterns = [os.path.join(_resolved(top), wanted) for top, wanted in rotated]
    directory, name = os.path.split(path)
    origin = os.path.join(_resolved(directory), name)
    pointed = Pointed(origin, say, patterns=patterns)
    fs: Guarded = pointed
    if not pointed.leads_to_a_dated_file:
        origin = _resolved(path)
        fs = Guarded(origin, say, patterns=patterns, named=path)
    fs.meet()
    return Origin(origin, patterns, fs)


def _resolved(path: str) -> str:
    """A path without the links in it; if one is not to be trusted, it is not followed later."""
    try:
        return resolve(path)
    except Untrusted as error:
        report.error(f"{path}: {reason(error)}")
    except OSError:
        pass  # whoever opens it says what is wrong
    return path


def _live(fs: Guarded, path: str) -> int:
    try:
        return fs.stat(path).st_ino
    except OSError:
        return 0


def _number(candidate: Candidate) -> int:
    """A candidate's inode; that of a compressed file is not the one its content had."""
    if candidate.generation.ino:
        return candidate.generation.ino
    try:
        return os.lstat(candidate.name).st_ino
    except OSError:
        raise LinkLost(f"{candidate.name}: renamed just now") from None
