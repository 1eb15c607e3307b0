"""What is wrong with one source of fetch_logs, and what is said of it.

What comes back by itself soon is no error; what lasts is said once, and told to SNMP.
"""

from __future__ import annotations

from tcppipe.process.trouble import Say


class Health:
    """Of the source whose copy is `local`.  tried: it is known whether anything is wrong.

    error: what is wrong with it, or None.  held: what a turn waits for, in words, or None.
    """

    def __init__(self, local: str, say: Say) -> None:
        self.tried = False
        self.error: str | None = None
        self.held: str | None = None
        self._local = local
        self._say = say
        self._told: str | None = None

    def wrong(self, text: str) -> None:
        """This is wrong from now on."""
        self.error, self.tried = text, True

    def failed(self, text: str, mends: bool) -> None:
        """A connection or an attempt has ended; mends: it will be no error if it comes back."""
        if mends and self.error is None:
            self._say("warning", f"lost connection: {text}")
            return
        self.wrong(text)
        if text != self._told:
            self._told = text
            self._say("error", text)

    def right(self) -> None:
        """All is well."""
        self.error, self.tried, self._told = None, True, None

    def hold(self, why: str) -> str:
        """A turn takes long, for this reason; the words for it."""
        if self.held is None:
            self._say("critical", f"{self._local}: waiting: {why}; the others go on")
        self.held, self.tried = f"{self._local}: {why}", True
        return self.held

    def goes_on(self) -> bool:
        """A turn is over; True when one was held."""
        if self.held is None:
            return False
        self.held = None
        self._say("warning", f"{self._local}: goes on")
        return True
