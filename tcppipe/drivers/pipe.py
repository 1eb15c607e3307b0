"""One client's file at its server: what tcppipe.conf says of it, and its destination."""

from __future__ import annotations

import errno
import os

from tcppipe.conf import relations
from tcppipe.conf.entry import Entry
from tcppipe.drivers.admission import Admission, Admitted
from tcppipe.drivers.claim import Claim
from tcppipe.drivers.table import Knowledge
from tcppipe.errors import ConfigError, LinkLost, NotNow, reason
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.lock import lock
from tcppipe.files.merged import MergedCopy
from tcppipe.files.unmerged import leave
from tcppipe.net import identity
from tcppipe.process import paths, report

PATIENCE = 0.2  # seconds that a destination's lock may be waited for
QUICK = 0.4  # seconds that a pipe which runs may spend on the question which entry is for it


class Pipe:
    """A pipe that was admitted.  name: for people."""

    def __init__(
        self, knowledge: Knowledge, admission: Admission, admitted: Admitted, state_dir: str
    ) -> None:
        path = self.path = admission.path
        entry, host = self._is = admitted
        self._knowledge = knowledge
        self._admission = admission
        self._state_dir = state_dir
        self.name = f"{host}:{report.name(path)}"
        self._base = os.path.join(state_dir, paths.ledger_base(host, path))
        self._claim = Claim(self._base + ".lock", self.name)
        self._destination = Destination(
            entry.destination(host, path), entry.mode, entry.owner, durable=entry.sync == "group"
        )
        self._merged = False
        self._established = False

    def open(self) -> Copy | MergedCopy:
        """Try to open the destination: a copy.

        Raises NotNow or ConfigError.  A destination that was in use before and cannot be opened
        for now is no reason to refuse: the pipe waits for it.
        """
        destination, own = self._destination, self._base + ".ledger"
        self._try(self._base + ".lock", first=not os.path.exists(own))
        path = destination.path
        shared = os.path.join(self._state_dir, paths.file_name(path) + ".merge")
        lock_path = paths.lock_of(self._state_dir, path)
        self._merged = self._admission.shares(self._is)
        if self._merged:
            return MergedCopy(
                destination, shared, self.name, report.say, own=own,
                hold=lambda _path, patience: lock(lock_path, patience),
            )  # fmt: skip
        return Copy(
            destination,
            own,
            report.say,
            mirror=self._is.entry.mirror,
            hold=lambda: self._hold(lock_path, shared, own),
        )

    def _hold(self, lock_path: str, shared: str, own: str) -> int:
        """Keep all others from a destination that is not merged; what was recorded while it was
        stays valid."""
        held = lock(lock_path, PATIENCE, self.name)
        try:
            leave(Destination(self._destination.path), shared, own, self.name, report.say)
        except BaseException:
            os.close(held)
            raise
        return held

    def _try(self, lock: str, first: bool) -> None:
        """The first time, what cannot be written is a reason to refuse: somebody reads it."""
        at = self._destination.path
        try:
            self._destination.open()
            at = lock
            os.close(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            if first:
                why = reason(error)
                if error.errno == errno.ENOTDIR:
                    why += self._in_the_way()
                raise NotNow(f"{at}: cannot open: {why}") from None
        except ConfigError as error:
            raise ConfigError(f"{error}{self._in_the_way()}") from None

    def _in_the_way(self) -> str:
        """In words: whose file stands where ours needs a directory, or the other way round."""
        other = relations.in_the_way(self._knowledge.table.entries, self._is.entry)
        if other is None:
            return ""
        return f": that of {other.host}:{other.remote} (line {other.line}) is in the way"

    # --- who has it?

    def claim(self, sender: bytes | None, about: str) -> None:
        """Become the only writer of this pipe, see Claim."""
        self._claim.take(sender, about)
        if not self._established:
            self._established = True
            report.info(f"{self.name}: established, to {self._destination.path}")

    def keep(self) -> None:
        """Raises SyncFailed when it is no longer ours."""
        self._claim.keep()

    def asked(self) -> None:
        """Another child asks whether our source lives."""
        self._claim.asked()

    # --- after HUP

    def check(self) -> None:
        """After HUP: is this pipe still configured?  Raises Refused or NotNow, or LinkLost to
        begin anew."""
        if not self._knowledge.renew():
            return
        old = self._is.entry
        entries = self._knowledge.table.entries
        same = [e for e in entries if e.text == old.text and e == old._replace(line=e.line)]
        try:
            found = Admitted(same[0], self._is.host) if same else self._admission.find(QUICK)
        except identity.Unknown:
            return  # it goes on as it is until somebody can say
        if found is None:
            raise self._admission.no("no longer configured")
        before, after = self._writes(self._is), self._writes(found)
        if (after, self._admission.shares(found)) != (before, self._merged):
            raise LinkLost("configured otherwise; connect again")
        if (found.entry.mode, found.entry.owner) != (old.mode, old.owner):
            self._dress(found.entry)
        self._is = found

    def _dress(self, entry: Entry) -> None:
        try:
            self._destination.dress(entry.mode, entry.owner)
        except (OSError, ConfigError) as error:
            text = f"{self._destination.path}: cannot change mode or owner: {reason(error)}"
            report.error(text)

    def _writes(self, admitted: Admitted) -> tuple[str, str, bool, str]:
        """What cannot change while it is written to."""
        entry, host = admitted
        return entry.destination(host, self.path), host, entry.mirror, entry.sync
