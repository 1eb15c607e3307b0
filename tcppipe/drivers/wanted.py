"""Which pipes a list wants now: its lines, and the files that are there.

Directories are listed again only when something came or went in them, so that looking
costs next to nothing.  Starts nothing, and tells nobody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from tcppipe.conf import pipelist
from tcppipe.conf.pipelist import Line
from tcppipe.errors import ConfigError
from tcppipe.files import configuration, matches
from tcppipe.process.trouble import counted

THOROUGH = 60.0  # seconds after which directories are listed even if they look unchanged
FRESH = 2.0  # seconds for which a directory's time may not tell of a second change
KNOWN = 3600.0  # seconds that a missing file's rotated siblings are still known for what they are


Options = dict[str, str]  # what a program makes of the words of a line
Key = tuple[str, int, str]  # a pipe's host, port and path


class Listed(Protocol):
    """The pipe of one file: programs/pipe_options."""

    host: str
    port: int
    path: str
    olddir: str | None
    pidfile: str
    resend: bool


P = TypeVar("P", bound=Listed)


class Wanted(Generic[P]):
    """The pipes of the list in the file at `path` (str).

    read(words): the options of a line, see pipelist.parse.  make(options, file): the pipe of
    one file.  Both raise ConfigError.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[list[str]], Options],
        make: Callable[[Options, str], P],
    ) -> None:
        self.path = path
        self.lines: list[Line] = []
        self.directories: set[str] = set()
        self.pipes: dict[Key, tuple[Line, P]] = {}  # of the last look
        self.errors: list[str] = []  # why files have no pipe, of the last look
        self._read = read
        self._make = make
        self._excluded: list[str] = []
        self._made: dict[tuple[int, str], P] = {}  # by line and file
        self._seen: dict[str, object] = {}  # directory: its signature when it was listed
        self._listed_at = 0.0
        self._origins: dict[Key, float] = {}  # when it was last there

    @property
    def holds(self) -> str:
        """How much it is, in words."""
        return counted(len(self.lines), "line", "lines")

    def read(self) -> None:
        """Read the list.  Raises ConfigError, and keeps the old lines then."""
        text = configuration.read(self.path)
        self.lines = pipelist.parse(text, self.path, self._read)
        self._excluded = pipelist.exclusions(text)
        self.doubt()
        self._made = {}

    def unchanged(self, now: float) -> bool:
        """True when nothing came or went since the last look, as far as that can be known.

        now: seconds of a monotonic clock.
        """
        if not self._seen or now - self._listed_at > THOROUGH:
            return False
        return all(matches.signature(name) == known for name, known in self._seen.items())

    def doubt(self) -> None:
        """Let the next look be a thorough one."""
        self._seen = {}

    def look(self, now: float, held: Iterable[Key] = ()) -> None:
        """List the directories: the pipes that are wanted now go into `pipes`.

        held: keys of pipes that still live, whether their files are there or not.
        Raises OSError when it cannot be known for now; `pipes` is what it was then.
        """
        self._seen = {}
        directories: set[str] = set()
        errors: list[str] = []
        files = [
            (line, matches.expand(line.pattern, directories, errors, line.pointer))
            for line in self.lines
        ]
        self.directories, self.errors = directories, errors
        # Signatures are taken behind the listing: of what came in between, a time tells only
        # if it is not as fresh as this.
        recently = (time.time() - FRESH) * 1e9
        for name in self.directories:
            known = matches.signature(name)
            self._seen[name] = known if known is None or known[2] < recently else ()
        self._listed_at = now
        self._origins.update(dict.fromkeys(held, now))
        self._choose(files, now)

    def _choose(self, files: list[tuple[Line, list[str]]], now: float) -> None:
        made, self.pipes = self._made, {}
        self._made = {}
        found = []
        for line, paths in files:
            for path in paths:
                if any(matches.fits(pattern, path) for pattern in self._excluded):
                    continue
                try:
                    pipe = made.get((line.line, path)) or self._make(line.options, path)
                except ConfigError as error:
                    self.errors.append(str(error))
                    continue
                self._made[line.line, path] = pipe
                found.append((line, pipe))
                self._origins[pipe.host, pipe.port, path] = now
        self._origins = {key: at for key, at in self._origins.items() if now - at < KNOWN}
        origins: dict[tuple[str, int], set[str]] = {}
        for host, port, path in self._origins:
            origins.setdefault((host, port), set()).add(path)
        for line, pipe in found:
            key = pipe.host, pipe.port, pipe.path
            if key in self.pipes or (line.wild and _rotated(pipe, origins[key[:2]])):
                continue
            self.pipes[key] = line, pipe

    def of_line(self, line: Line) -> list[str]:
        """The paths that a line gives pipes to, in order."""
        return sorted(key[2] for key, (source, _pipe) in self.pipes.items() if source is line)


def _rotated(pipe: Listed, origins: set[str]) -> bool:
    if matches.rotated_from(pipe.path, origins):
        return True
    directory, name = os.path.split(pipe.path)
    if pipe.olddir != directory:
        return False
    beside = {os.path.join(directory, os.path.basename(path)) for path in origins}
    return matches.rotated_from(pipe.path, beside)
