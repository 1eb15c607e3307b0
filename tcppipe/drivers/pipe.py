"""What tcppipe.conf says, and what it says of one client's file.

The table is read again when its file changes; a broken one is refused whole, and the old
one stays in force.  The parent reads it and has the names looked up; its children learn
from it what is new.
"""

import errno
import os
import signal
import time
from typing import NamedTuple

from tcppipe.conf import pipes, reach, relations
from tcppipe.errors import (
    Blocked,
    Busy,
    ConfigError,
    LinkLost,
    NotNow,
    Refused,
    SyncFailed,
    reason,
)
from tcppipe.files import configuration
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination, look_up_owner
from tcppipe.files.lock import lock
from tcppipe.files.merged import MergedCopy
from tcppipe.files.unmerged import leave
from tcppipe.net import identity
from tcppipe.process import paths, report
from tcppipe.process.owner import send
from tcppipe.process.pidfile import PidFile
from tcppipe.process.shared import Shared

NAMES = 4.0  # seconds of the handshake that a name server may take
LOOK = 0.02  # seconds between two looks at what the parent knows
JUST = 60.0  # seconds after a change of the table in which no "no" is for good
PATIENCE = 0.2  # seconds that a destination's lock may be waited for
CLAIM = 4.0  # seconds that another source has to prove that it lives
QUICK = 0.4  # seconds that a pipe which runs may spend on that question
TAKEOVER = 15.0  # seconds that a child has to end when its own source comes back


class Table:
    """The configuration as it stands in its file, read again when that changes.

    changed_at: when it last became another one, of a monotonic clock; None: never.
    """

    def __init__(self, path):
        self.path = path
        self.entries = []
        self.changed_at = None
        self._seen = None
        self._read = False

    def read(self):
        """Read the file.  Raises ConfigError, and keeps the old entries then."""
        seen = self._signature()
        text = configuration.read(self.path)
        self._seen = seen
        entries = pipes.parse(text, self.path)
        for entry in entries:
            if entry.owner:
                try:
                    look_up_owner(entry.owner)
                except (ConfigError, ValueError) as error:
                    raise ConfigError(f"{self.path}:{entry.line}: {error}") from None
        if self._read and entries != self.entries:
            self.changed_at = time.monotonic()
        self.entries, self._read = entries, True

    def refresh(self):
        """Read the file again if it has changed; True when it was read.

        Raises ConfigError, once for each change.
        """
        seen = self._signature()
        if seen in (None, self._seen):
            return False  # what was read is still in force
        self.read()
        return True

    def _signature(self):
        """What changes when the file does; None when it is not there."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        numbers = status.st_dev, status.st_ino, status.st_size
        return *numbers, status.st_mtime_ns, status.st_ctime_ns

    @property
    def settled(self):
        """True when what it does not have may be meant: it has something, and not just since."""
        changing = self.changed_at is not None and time.monotonic() < self.changed_at + JUST
        return bool(self.entries) and not changing


class Knowledge:
    """A table and the addresses of its names.  What the parent knows, its children learn."""

    def __init__(self, table, names):
        self.table = table
        self.names = names
        self.asking, self._ask = os.pipe()  # a child asks for a look-up of the names
        os.set_blocking(self.asking, False)
        os.set_blocking(self._ask, False)
        self._shared = Shared()

    def publish(self):
        """In the parent: this is known now.  Raises OSError."""
        entries = [tuple(entry) for entry in self.table.entries]
        self._shared.put((entries, self.table.changed_at, self.names.known()))

    def renew(self):
        """In a child: know what the parent knows now; True if that is news."""
        news = self._shared.news()
        if news is None:
            return False
        entries, self.table.changed_at, known = news
        self.table.entries = [pipes.Entry(*fields) for fields in entries]
        self.names.learn(known)
        return True

    def ask(self):
        """In a child: have the names looked up."""
        try:
            os.write(self._ask, b"x")
        except OSError:
            pass  # others have asked enough

    def asked(self):
        """In the parent: forget who asked so far."""
        try:
            while os.read(self.asking, 4096):
                pass
        except BlockingIOError:
            pass


class Pipe:
    """What is known of one client's file."""

    def __init__(self, knowledge, address, path, state_dir):
        self.path = path
        self.name = f"{address}:{report.name(path)}"
        self._knowledge = knowledge
        self._address = address
        self._state_dir = state_dir
        self._came = time.monotonic()
        self._labels = {}  # what is known for good of *.domain patterns, by pattern
        self._entry = self._host = self._destination = self._lock = None
        self._merged = False
        self._established = False
        self._claimed = ""  # what the lock says of us
        self._asked = None  # the Asked of whoever has the pipe

    def open(self):
        """Authorize, and try to open the destination: a Copy.

        Raises NotNow, Refused or ConfigError.  A destination that was in use before and cannot
        be opened for now is no reason to refuse: the pipe waits for it.
        """
        self._wait_for_entry()
        self.name = f"{self._host}:{report.name(self.path)}"
        entry = self._entry
        path = entry.destination(self._host, self.path)
        base = os.path.join(self._state_dir, paths.ledger_base(self._host, self.path))
        self._lock = PidFile(base + ".lock")
        destination = self._destination = Destination(
            path, entry.mode, entry.owner, durable=entry.sync == "group"
        )
        self._try(destination, base + ".lock", first=not os.path.exists(base + ".ledger"))
        shared = os.path.join(self._state_dir, paths.file_name(path) + ".merge")
        lock_path = paths.lock_of(self._state_dir, path)
        own = base + ".ledger"
        self._merged = self._shares(entry, self._host)
        if self._merged:
            return MergedCopy(
                destination, shared, self.name, report.say, own=own,
                hold=lambda _path, patience: lock(lock_path, patience),
            )  # fmt: skip
        return Copy(
            destination,
            own,
            report.say,
            mirror=entry.mirror,
            hold=lambda: self._hold(lock_path, path, shared, own),
        )

    def _hold(self, lock_path, path, shared, own):
        """Keep all others from a destination that is not merged; what was recorded while it was
        stays valid."""
        held = lock(lock_path, PATIENCE, self.name)
        try:
            leave(Destination(path), shared, own, self.name, report.say)
        except BaseException:
            os.close(held)
            raise
        return held

    def _shares(self, entry, host):
        return reach.merged(self._knowledge.table.entries, entry, host, self.path)

    def _try(self, destination, lock, first):
        """The first time, what cannot be written is a reason to refuse: somebody reads it."""
        at = destination.path
        try:
            destination.open()
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

    def _in_the_way(self):
        """In words: whose file stands where ours needs a directory, or the other way round."""
        other = relations.in_the_way(self._knowledge.table.entries, self._entry)
        if other is None:
            return ""
        return f": that of {other.host}:{other.remote} (line {other.line}) is in the way"

    # --- which entry is it?

    def _wait_for_entry(self):
        """Find the entry that this pipe is for, and the host's name in it.

        Before it says no, or that it does not know, it has the names asked again: a host may
        have got another address, or a name its first one.  Raises NotNow or Refused.
        """
        until = self._came + NAMES
        asked = False
        while True:
            why = self._why_not(until - time.monotonic())
            if why is None:
                return
            if not asked:
                self._knowledge.ask()
                asked = True
            while not self._knowledge.renew():
                if time.monotonic() >= until:
                    raise NotNow(f"{why}, and the names are asked for")
                time.sleep(LOOK)

    def _why_not(self, patience):
        """None when the entry was found; else why not yet.  Raises NotNow or Refused."""
        names = self._knowledge.names
        try:
            self._entry, self._host = self._find(patience)
        except identity.Unknown as error:
            if names.asked >= self._came or not self._names_for_it:
                raise NotNow(str(error)) from None
            return str(error)
        if self._entry is not None:
            return None
        why = f"no entry for {self.name}"
        if names.asked < self._came and self._names_for_it:
            return why
        raise self._no(why)

    def _no(self, why):
        """The no for good, unless the table is as nobody may have meant it."""
        table = self._knowledge.table
        if not table.entries:
            return NotNow(f"{why}: {table.path} is empty")
        if not table.settled:
            return NotNow(f"{why}, since {table.path} was changed a moment ago")
        return Refused(why)

    @property
    def _names_for_it(self):
        """True when there are names in entries for this file."""
        entries = self._knowledge.table.entries
        return any(e.name is not None and e.matches_file(self.path) for e in entries)

    def _find(self, patience):
        """(the first entry that allows this pipe, the host's name in it), or (None, None).

        Raises Unknown when nobody can say whether an entry before it is meant.
        """
        until = time.monotonic() + patience

        def is_host(entry):
            return self._label(entry, until - time.monotonic()) is not None

        entry = pipes.find(self._knowledge.table.entries, self.path, is_host)
        return (None, None) if entry is None else (entry, self._label(entry, 0))

    def _label(self, entry, patience):
        """What %h stands for, or None when the entry is for another host.  Raises Unknown."""
        if entry.pattern is None:
            return identity.matches(entry, self._address, self._knowledge.names, patience)
        if entry.pattern not in self._labels:  # an address's names are asked for once
            try:
                names = self._knowledge.names
                label = identity.matches(entry, self._address, names, patience)
            except identity.Unknown as error:
                label = error
            self._labels[entry.pattern] = label
        label = self._labels[entry.pattern]
        if isinstance(label, identity.Unknown):
            raise label
        return label

    # --- who has it?

    def claim(self, sender, about):
        """Become the only writer of this pipe; sender: the source's key, or None.

        An older connection of the same source gives way.  Another source keeps the pipe if
        it proves that it lives.  Raises Asking until that is decided: call again.  Raises
        NotNow, LinkLost, or Blocked when no lock can be had.
        """
        try:
            has_it = None if self._lock.i_am_locking() else self._lock.take()
            if has_it is not None:
                self._ask_holder(sender)
            self._claimed = f"{sender.hex() if sender else '-'}\n{about}\n"
            self._lock.annotate(self._claimed)
        except OSError as error:
            raise Blocked(f"{self._lock.path}: cannot lock, waiting: {reason(error)}") from None
        self._asked = None
        if not self._established:
            self._established = True
            report.info(f"{self.name}: established, to {self._destination.path}")

    def keep(self):
        """Raises SyncFailed when somebody has removed our lock: another child may write by now, so
        nothing more is written here, neither to the destination nor to the ledger."""
        if self._lock.i_am_locking() and not self._lock.is_in_place():
            raise SyncFailed(f"{self._lock.path}: was removed by somebody; begins anew")

    def asked(self):
        """Another child asks whether our source lives: let it know that we have heard it."""
        try:
            if self._lock.i_am_locking():
                self._lock.annotate(f"{self._claimed}{time.monotonic()}\n")
        except OSError:
            pass  # it asks again

    def _ask_holder(self, sender):
        holder, who, heard = self._holder()
        now = time.monotonic()
        if self._asked is None:
            ours = sender is None or holder == sender.hex()
            signum = signal.SIGTERM if ours else signal.SIGUSR1
            self._asked = Asked(signum, now + CLAIM + (TAKEOVER if ours else 0), heard)
            send(self._lock.path, signum)
        elif now > self._asked.until:
            if self._asked.signum == signal.SIGTERM:
                raise LinkLost("the connection before this one has not ended yet")
            if heard == self._asked.heard:  # it may be our own one before us, and hang
                send(self._lock.path, self._asked.signum)
                raise Blocked(
                    f"{self.name}: cannot be taken over, waiting: the process that has it does not "
                    f"answer (pid {self._lock.read_pid()}, for {who})"
                )
            raise NotNow(f"another source sends this pipe: {who}")
        raise Asking(f"{self.name}: asks whoever has it")

    def _holder(self):
        """(key, description) of the source whose child holds the pipe now, and when that child
        has heard a question last."""
        try:
            with open(self._lock.path, encoding="utf-8", errors="replace") as file:
                _pid, *known = (file.read(4096) + "\n\n\n\n").split("\n")[:4]
        except OSError:
            return "", "unknown", ""
        return known

    # --- after HUP

    def check(self):
        """After HUP: is this pipe still configured?  Raises Refused or NotNow, or LinkLost to
        begin anew."""
        if not self._knowledge.renew():
            return
        old = self._entry
        entries = self._knowledge.table.entries
        same = [e for e in entries if e.text == old.text and e == old._replace(line=e.line)]
        try:
            entry, host = (same[0], self._host) if same else self._find(QUICK)
        except identity.Unknown:
            return  # it goes on as it is until somebody can say
        if entry is None:
            raise self._no("no longer configured")
        merged = self._shares(entry, host)
        if (*self._writes(entry, host), merged) != (*self._writes(old, self._host), self._merged):
            raise LinkLost("configured otherwise; connect again")
        if (entry.mode, entry.owner) != (old.mode, old.owner):
            self._dress(entry)
        self._entry = entry

    def _dress(self, entry):
        try:
            self._destination.dress(entry.mode, entry.owner)
        except (OSError, ConfigError) as error:
            text = f"{self._destination.path}: cannot change mode or owner: {reason(error)}"
            report.error(text)

    def _writes(self, entry, host):
        """What cannot change while it is written to."""
        path = entry.destination(host, self.path)
        return path, host, entry.mirror, entry.sync


class Asked(NamedTuple):
    """What whoever has the pipe was asked by a signal: for how long, and what he had heard then."""

    signum: int
    until: float
    heard: str


class Asking(Busy):
    """Somebody else has the pipe, and was asked whether he lives."""

    pause = 0.02
    long = False
