"""The origin's name leads to no file.

In a rotation that is over soon.  When it lasts, people have to know: a file that was deleted, a
directory that was renamed, or a disk that is not mounted any more looks like one that is quiet.
"""

from __future__ import annotations

from tcppipe.files.chain import Chain

LASTS = 60.0  # seconds after which it is no rotation


class Absence:
    """Of the origin of a Chain.  text: what is to be said of it, or nothing."""

    def __init__(self, chain: Chain) -> None:
        self.text = ""
        self._chain = chain
        self._since: float | None = None

    def look(self, now: float) -> None:
        """There is nothing to be read: is there a file?  Raises OSError."""
        if self._chain.live is not None or self._chain.stat() is not None:
            self._since, self.text = None, ""
        elif self._since is None:
            self._since = now
        elif now - self._since >= LASTS:
            self.text = "no such file, waiting for it"
