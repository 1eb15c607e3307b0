"""The files beside a destination: its rotated pieces, and copies of it that somebody has made.

Only looks.  One that cannot be read is said once, and skipped.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing

from tcppipe.errors import ConfigError, reason
from tcppipe.files.fs import FS, REAL
from tcppipe.files.generations import Sibling, open_reader, siblings
from tcppipe.files.ledger import Ledger
from tcppipe.files.reader import Reader
from tcppipe.process.trouble import Say
from tcppipe.rotated import EXTENSIONS, FOREIGN, is_rotated

LONGEST = 255 - len(".YYYYmmddHHMMSS.999")  # bytes of a name that others are made of


class Beside:
    """What stands beside the destination at `path`.

    ledger: tells which files have followed which, as far as it knows.
    """

    def __init__(self, path: str, fs: FS, say: Say, ledger: Ledger) -> None:
        self.path = path
        self.fs = fs
        self._say = say
        self._ledger = ledger
        self._named: set[str] = set()  # of which was said that they cannot be read

    def names(self, known: str | None = None) -> list[str]:
        """The paths of all of them, the oldest first; those that are anybody's are the last.
        known: one of which is known that the others are older or younger."""
        places = {
            (dev, ino): (place, igen) for place, (dev, ino, igen) in enumerate(self._ledger.files)
        }
        ranks: dict[tuple[int, int], int | None] = {}

        def rank(sibling: Sibling) -> int | None:
            if sibling.file in places and sibling.file not in ranks:
                place, igen = places[sibling.file]
                ranks[sibling.file] = place if self._is(sibling.name, igen) else None
            return ranks.get(sibling.file)

        return siblings(self.path, fs=self.fs, known=known, rank=rank)

    def _is(self, path: str, igen: int) -> bool:
        """True when a file has this inode generation, as far as can be told."""
        reader = self.reader(path) if igen else None
        if reader is None:
            return True
        with closing(reader):
            return reader.igen in (0, igen)

    def plain(self) -> Iterator[Reader]:
        """Readers of the rotated files that are not compressed, the newest first."""
        for name in reversed(self.names()):
            if is_rotated(name, self.path) and not is_compressed(name, self.path):
                reader = self.reader(name)
                if reader is not None:
                    yield reader

    def rotated(self) -> list[str]:
        """The paths of the rotated files, compressed ones too, oldest first."""
        path = self.path
        return [n for n in self.names() if is_rotated(n, path) or is_compressed(n, path)]

    def reader(self, path: str) -> Reader | None:
        """A Reader of a sibling; None, and a word, when it cannot be read."""
        try:
            return open_reader(path, self.fs)
        except FileNotFoundError:
            return None
        except (ConfigError, PermissionError, OSError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            if path not in self._named:
                self._named.add(path)
                self._say("warning", f"{path}: skipped, cannot be read: {reason(error)}")
            return None

    def newest(self) -> tuple[int, ...]:
        """(device, inode, its generation number) of the newest file beside it that is plain."""
        for reader in self.plain():
            with closing(reader):
                return reader.dev, reader.ino, reader.igen
        return ()


def is_compressed(path: str, origin: str) -> bool:
    """True for a rotated file of the origin, or itself, that a compressor has replaced."""
    stem, extension = os.path.splitext(path)
    return extension in EXTENSIONS and (stem == origin or is_rotated(path, origin))


def free_name(base: str, fs: FS = REAL) -> str:
    """BASE.YYYYmmddHHMMSS, with a number behind it when that exists already, or compressed: who
    compresses the next one would overwrite it."""
    stamp = _short(base) + time.strftime(".%Y%m%d%H%M%S")
    name, number = stamp, 0
    while any(_exists(name + extension, fs) for extension in ("", *EXTENSIONS, *FOREIGN)):
        number += 1
        name = f"{stamp}.{number}"
    return name


def _exists(path: str, fs: FS) -> bool:
    try:
        fs.stat(path)
    except FileNotFoundError:
        return False
    return True


def _short(base: str) -> str:
    """A path whose last part leaves room for a date and a number."""
    directory, name = os.path.split(base)
    raw = os.fsencode(name)
    return base if len(raw) <= LONGEST else os.path.join(directory, os.fsdecode(raw[:LONGEST]))
