"""The names of a table, looked up now and then, with one look-up at a time.

Whoever has the loop waits on fileno() and calls begin() and collect().
A crash leaves nothing: a look-up ends with us.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from tcppipe.errors import reason
from tcppipe.net.resolver import HostNames
from tcppipe.process import report
from tcppipe.process.trouble import Trouble

REFRESH = 60.0  # seconds between two look-ups of the names in the configuration …
AGAIN = 2.0  # … and at least, when somebody asks for one


class LookUps:
    """Keeps a HostNames.  path: the file that the names stand in, for people.

    at: when the next look-up is to begin; nobody looks while one is under way.
    """

    def __init__(self, names: HostNames, path: str) -> None:
        self.names = names
        self.at = 0.0
        self._path = path
        self._fd: int | None = None
        self._trouble = Trouble(report.say)
        self._nameless: dict[str, Trouble] = {}  # a Trouble for each name that had no answer

    def fileno(self) -> int | None:
        """The descriptor of the look-up under way, or None."""
        return self._fd

    def begin(self, wanted: Callable[[], Collection[str]], now: float) -> None:
        """If it is time, have the names that wanted() gives looked up."""
        if self._fd is not None or now < self.at:
            return
        self.at = now + REFRESH
        names = wanted()
        if not names:
            return
        try:
            self._fd = self.names.start(names)
            self._trouble.over("names are looked up again", now)
        except (OSError, MemoryError) as error:
            self.at = now + AGAIN
            self._trouble.failed(f"cannot look up names: {reason(error)}", now)

    def collect(self, now: float) -> None:
        """Answers of the name server have come."""
        if self.names.collect():
            self._fd = None
            self._say_nameless(now)

    def hurry(self, now: float) -> None:
        """Somebody asks for one; not more often than makes sense."""
        self.at = min(self.at, max(now, self.names.began + AGAIN))

    def again(self, now: float) -> None:
        """The table may be another one.  A look-up that is young has time for its answers."""
        if not self.names.young(now):
            self.close()
        self.at = 0.0

    def close(self) -> None:
        """End the look-up."""
        self.names.close()
        self._fd = None

    def _say_nameless(self, now: float) -> None:
        """Names without an answer: said once, and each hour."""

        def say(level: str, text: str) -> None:
            report.say(level, text, "names")

        failures = self.names.failures
        for name in [name for name in self._nameless if name not in failures]:
            trouble = self._nameless.pop(name)
            if self.names.addresses(name):  # else nobody wants it any more
                trouble.over(f"{name}: has an address again", now)
        for name, why in failures.items():
            if self.names.addresses(name):
                what = "no answer now, its last addresses stay"
            else:
                what = "no address, so what may be its own is refused for now"
            self._nameless.setdefault(name, Trouble(say, "warning")).failed(
                f"{self._path}: {name}: {what}: {why}", now
            )
