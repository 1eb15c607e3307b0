"""One pipe's process: what follows its origin, and feeds it to its host until the end.

Loaded only by who runs a pipe, once for all the pipes that are forked from it: nothing here is
imported later, because that would cost each child memory of its own.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from typing import TYPE_CHECKING

from tcppipe.cursor import Cursor
from tcppipe.drivers.follow import Manner
from tcppipe.drivers.kept import Kept
from tcppipe.drivers.push import Greet, Route
from tcppipe.errors import in_words
from tcppipe.files.chain import Chain
from tcppipe.files.follower import Follower
from tcppipe.files.fs import FS
from tcppipe.files.guarded import Guarded, Pointed
from tcppipe.files.status import StatusFile
from tcppipe.files.wakeup import Wakeup, preload
from tcppipe.net.connect import MakeLink
from tcppipe.net.dial import Dialler, Dialling
from tcppipe.net.link import Link
from tcppipe.process import report
from tcppipe.process.daemon import Daemon
from tcppipe.process.signals import TOLD, Signals
from tcppipe.process.trouble import Say
from tcppipe.programs.pipe_options import PipeOptions
from tcppipe.session.contract import SourceSession
from tcppipe.session.source import Source
from tcppipe.session.source1 import LineSource

if TYPE_CHECKING:
    from tcppipe.drivers.packer import Packer

preload()
hashlib.sha256(b"").digest()  # the first one makes OpenSSL read its tables


def parts(pipe: PipeOptions, dialler: Dialler) -> tuple[Follower, Route, StatusFile, Say, Manner]:
    """What a Push of a pipe is made of."""
    packer = _packer(pipe)
    link = _link_maker(pipe)
    return (
        Follower(Chain(pipe.path, pipe.olddir, *pipe_files(pipe), pipe.hold_nuls)),
        Route(lambda now: dialler.dial(os.fsencode(pipe.path), now, link), _greeter(pipe, packer)),
        StatusFile(pipe.statusfile, pipe.originalfile),
        report.say,
        Manner(pipe.interval, pipe.resend, packer),
    )


def pipe_files(pipe: PipeOptions) -> tuple[FS, tuple[str, ...]]:
    """(the FS that a pipe's files are read through, patterns of their names)."""
    if pipe.pointer is None:
        return Guarded(pipe.path, report.say, named=pipe.named), ()
    patterns = (pipe.pointer,)
    return Pointed(pipe.path, report.say, patterns), patterns


def _packer(pipe: PipeOptions) -> Packer | None:
    if not pipe.packed:
        return None
    from tcppipe.drivers.packer import Packer

    return Packer()


def _link_maker(pipe: PipeOptions) -> MakeLink:
    """What makes a Link of a socket; all of them have one limit."""
    if pipe.limit is None:
        return Link
    from tcppipe.net.paced import Bucket, Paced

    bucket = Bucket(pipe.limit)
    return lambda sock, peer: Paced(sock, peer, bucket)


def feed(pipe: PipeOptions, push: Kept, signals: Signals) -> int:
    """In the child of a keeper: feed a pipe as its owner, to the end; the exit status."""
    report.about(pipe.path)
    daemon = Daemon("tcppipe", pipe.pidfile)

    def serve() -> None:
        with daemon.found():
            push.run(signals, Wakeup(pipe.path, report.say, push.follower.chain.directories))
        report.info(f"{pipe.path}: ended")

    try:
        return daemon.run(serve, push.cannot_start)
    except (OSError, MemoryError, ImportError) as error:
        push.cannot_start(in_words(error))
        return TOLD


def _greeter(pipe: PipeOptions, packer: Packer | None) -> Greet:
    """A function that makes a Dialling's session: (dialling, witness, resend) -> session."""
    sender = os.urandom(16)
    about = f"{socket.gethostname()}, pid"

    def make(dialling: Dialling, witness: Cursor | None, resend: bool) -> SourceSession:
        if dialling.version2:
            who = f"{about} {os.getpid()}"
            return Source(sender, who, time.monotonic(), witness, resend, packer)
        line = packer.offered(0) if packer is not None else None
        if line:
            report.info(f"{pipe.path}: {line}")
        return LineSource(time.monotonic(), witness, resend)

    return make
