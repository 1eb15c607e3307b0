"""How each of our programs starts, becomes a daemon, runs and ends.

The order is the same for all, and each step has its reason to stand where it does: signals wait
before anything that takes long is loaded; what the
caller should see comes before anything is forked; signals are taken before the pid file says who
to send them to; the caller is told that all is well when somebody can find us.  In the
foreground no step is left out but the fork.
A crash leaves a pid file that nobody holds, which is the same as none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from tcppipe.errors import ConfigError, TcppipeError
from tcppipe.process import detach, presence, report, signals
from tcppipe.process.pidfile import PidFile, lock_errors


class Daemon:
    """One program's run.

    program: its name.  pidfile: the path of the file that says who runs; None: nobody asks.
    lock: the PidFile, or None.  ready: a function, see detach.detach; to be called in held().
    """

    def __init__(self, program: str, pidfile: str | None = None) -> None:
        self.program = program
        self.lock = PidFile(pidfile) if pidfile is not None else None
        self.ready: detach.Ready = _nobody_waits

    def open(self, foreground: bool, streams: report.Streams | None = None) -> None:
        """The first of all: descriptors 0 to 2 are there, what we say goes where it should, and
        no signal that is meant for a running program ends us."""
        signals.hold()
        detach.ensure_stdio()
        report.open(self.program, foreground, streams)

    def must_be_alone(self, what: str) -> None:
        """Raise ConfigError when somebody runs already; what: "FILE: tcppipe runs already"."""
        pid = self.lock.read_pid() if self.lock is not None else None
        if pid is not None:
            raise ConfigError(f"{what}, pid {pid}")

    def begin(self, foreground: bool, preserve: Iterable[int] = ()) -> int | None:
        """Go into the background, unless foreground, with these descriptors open.

        The caller's process waits for ready().  Returns a descriptor on which poll(2) tells an
        error when the caller is gone, or None.
        """
        self.ready = detach.in_foreground
        if foreground:
            return None
        self.ready = ready = detach.detach(preserve, self.program)
        report.open(self.program)
        report.awaited(ready)
        return ready.fileno()

    @contextmanager
    def held(self, signums: Iterable[int]) -> Iterator[signals.Signals]:
        """These Signals, and the pid file, are ours in the block."""
        ours = signals.Signals(signums)
        with self.found():  # only now somebody can find us to send a signal to
            yield ours

    @contextmanager
    def found(self) -> Iterator[None]:
        """The pid file is ours in the block."""
        if self.lock is not None:
            self.lock.acquire()
            presence.begins(self.lock)
        try:
            yield
        finally:
            presence.ends()
            if self.lock is not None and self.lock.i_am_locking():
                self.lock.release()

    def forget(self) -> None:
        """In a child just forked: the pid file is its parent's."""
        if self.lock is not None:
            self.lock.forget()

    def run(self, body: Callable[[], None], says: Callable[[str], object] = report.fatal) -> int:
        """Call body(), and say why when it fails; the exit status, 0 or TOLD.

        Too little of something is for the program to say, who knows what it was about.
        """
        try:
            body()
        except (TcppipeError, lock_errors()) as error:
            says(str(error))
            return signals.TOLD
        return 0


def _nobody_waits(status: int = 0, message: str = "") -> None:
    """Nothing to tell."""
