"""Finding the place again, after a time without one: what an agreement asks of the files.

Candidates are the files that are held, the live one and its rotated siblings; when the
generation that is looked for is not among them, whatever has its inode or its first bytes
in the same directory, and then whatever has a name of that shape.
"""

import hashlib
import os
import time

from tcppipe.cursor import HEAD, Generation
from tcppipe.errors import Blocked, TcppipeError, reason
from tcppipe.files.generations import beside, stem
from tcppipe.files.reader import Absent, Broken, is_open
from tcppipe.rotated import arrange, is_rotated
from tcppipe.session.actions import Candidate, Found

PATIENCE = 60.0  # seconds after its last change for which a file that cannot be read is waited for
TRIES = 5  # to find an origin that is not being rotated
SHORT = 32  # first bytes that prove a generation of which we ourselves know
SETTLING = 10.0  # seconds after which a compressed file that is not whole never will be


class Places:
    """The candidates of a Chain.  Methods raise OSError, and Busy: then they are called again."""

    def __init__(self, chain):
        self.chain = chain
        self._readers = {}  # {Candidate: Reader or Absent}, in the order of the candidates
        self._held = []  # what the chain held when they were looked for
        self._older, self._strays = {}, set()

    @property
    def open(self):
        """True while nobody knows which of the candidates are to be delivered."""
        return bool(self._readers)

    # --- candidates

    def find(self, alone=False, wanted=(), ours=()):
        """What a generation may be found in, as Found; see Search."""
        chain = self.chain
        chain.history.unsettle()
        chain.digests.forget()
        for _ in range(TRIES):
            with chain.opening():
                found = self._find(alone, wanted, ours)
            live = chain.live
            status = chain.stat()
            if live is None and status is None or live is not None and is_open(live, status):
                break  # nothing was rotated meanwhile
        return found

    def _find(self, alone, wanted, ours):
        chain = self.chain
        self.forget()
        chain.look()
        names = {sibling.file: sibling.name for sibling in chain.rotated()}
        held = _newest(
            [r for r in chain.held() if not isinstance(r, Absent) or r.file not in names]
        )
        status = chain.stat()
        live = next((reader for reader in held if is_open(reader, status)), None)
        if live is None and status is not None:
            live = chain.open(chain.path)
        readers = {}
        for turn, reader in enumerate(held):
            if not isinstance(reader, Absent):  # the name of another file tells nothing
                reader.path = names.get(reader.file, chain.path)
            if reader is not live:
                known = reader.sure or reader.unseen is not None or reader.file not in names
                self._add(readers, reader, True, turn if known else None)
        if not alone:
            files = {reader.file for reader in [*held, live] if reader is not None}
            for sibling, rotated in self._beside(wanted, ours, files):
                reader = chain.open_sibling(sibling)
                if reader is not None:
                    older = bool(held) and chain.stood_before(sibling)
                    self._add(readers, reader, rotated, -1 if older else None)
        if live is not None:
            self._add(readers, live, True, held.index(live) if live in held else None, live=True)
        others = {r.file: r.inode_generation for c, r in readers.items() if not c.live}
        self._older = chain.older() if alone else others
        self._strays = chain.strays(self._older)
        self._held = [*held, *([live] if live and live not in held else [])]
        chain.hold(self._held, live)
        self._readers = readers
        chain.appeared += 1
        return Found(chain.path, list(readers), chain.history.complete)

    def _beside(self, wanted, ours, files):
        """(Sibling, whether its name is one that rotation gives), each file once."""
        chain = self.chain
        others = self._learn(wanted, ours) if wanted else []
        rotated = arrange(chain.rotated(), chain.path)
        for sibling in [*reversed(rotated), *others]:
            if sibling.file not in files:
                files.add(sibling.file)
                yield sibling, sibling in rotated

    def _learn(self, wanted, ours):
        """Look for generations under any name, and learn the shape of the names."""
        chain = self.chain
        found = []
        for sibling in beside(chain.path, chain.olddir, chain.fs, every=True):
            if is_rotated(sibling.name, chain.path, chain.patterns, chain.shapes):
                continue
            if self._is_of(sibling, wanted) or self._is_of(sibling, ours, SHORT):
                chain.learn(sibling.name)
                found.append(sibling)
        return found

    def _is_of(self, sibling, generations, least=HEAD):
        """True when a file shows that it was one of these: who names them may be lying.

        least: first bytes that are enough to prove it, where the file has more.
        """
        reader = self.chain.open_sibling(sibling)
        if reader is None or isinstance(reader, Absent):
            return False
        try:
            return any(self._shows(reader, g, least) for g in generations if g.head_len)
        except (OSError, TcppipeError):
            return False
        finally:
            reader.close()

    def _shows(self, reader, generation, least):
        length, head = generation.head_len, reader.read(HEAD, 0)
        same = reader.generation(b"").key[:3] == generation.key[:3]
        drawn = generation.igen and same
        if not drawn and length < min(least, len(head)):
            return False
        if not drawn and length < SHORT and not is_like(reader.path, self.chain.path):
            return False
        return length <= len(head) and hashlib.sha256(head[:length]).digest() == generation.head

    def _add(self, readers, reader, rotated, turn=None, live=False):
        candidate = self._candidate(reader, rotated, turn, live)
        if candidate.trouble and reader not in self.chain.held():
            if not isinstance(reader, Absent):
                reader.close()
                reader = Absent(reader.path, candidate.trouble, False, reader.file, candidate.mtime)
        readers[candidate] = reader

    def _candidate(self, reader, rotated, turn, live):
        if isinstance(reader, Absent):
            generation = reader.generation()
            trouble = reader.trouble
            return Candidate(reader.path, generation, 0, reader.mtime, live, rotated, trouble, turn)
        mtime = self.chain.fs.fstat(reader.fd).st_mtime_ns
        reader.born = max(0, mtime)  # it may have been truncated since it was opened
        try:
            generation = reader.generation()
            size = None if reader.compressed else reader.status()[0]
        except Broken as error:
            generation, trouble = Generation(*reader.file), reason(error)
            return Candidate(reader.path, generation, 0, mtime, live, rotated, trouble)
        return Candidate(reader.path, generation, size, mtime, live, rotated, "", turn)

    def forget(self):
        """Close what was opened for candidates, and is not held by the chain."""
        held = self.chain.held()
        for reader in self._readers.values():
            if reader not in held:
                reader.close()
        self._readers = {}

    # --- what is asked of them

    def measure(self, candidate, ranges):
        """The SHA-256 digests of (first, length) ranges of a candidate."""
        reader = self._readers[candidate]
        return tuple(self.chain.digests.of(reader, first, length) for first, length in ranges)

    def length(self, candidate):
        """The size of a candidate's content; -1: it cannot be had."""
        try:
            return self._readers[candidate].status()[0]
        except Broken:
            return -1

    def wait(self, candidate):
        """The Candidate again, when it can be read or never will.  Raises Blocked until then."""
        chain, absent = self.chain, self._readers[candidate]
        sibling = next((s for s in chain.rotated() if s.file == absent.file), None)
        reader = chain.open_sibling(sibling) if sibling is not None else None
        if reader is None:
            again = candidate._replace(trouble="deleted before it could be read")
            self._readers[again] = absent
            return again
        if isinstance(reader, Absent) and reader.passing and age(sibling.changed) < PATIENCE:
            raise Blocked(f"{sibling.name}: cannot read, waiting: {reader.trouble}")
        again = self._candidate(reader, candidate.rotated, None, False)
        if again.trouble and not isinstance(reader, Absent) and unfinished(reader, sibling.changed):
            reader.close()
            raise Blocked(f"{sibling.name}: is being compressed, waiting")
        self._readers[again] = reader
        return again

    # --- going on

    def reader(self, candidate):
        """The open file of a candidate."""
        return self._readers[candidate]

    def start(self, action):
        """Go on as a Start says."""
        chain, readers = self.chain, self._readers
        chosen = [readers[candidate] for candidate in (action.candidate, *action.later)]
        late = [readers[candidate] for candidate, _length in action.late]
        live = next((reader for candidate, reader in readers.items() if candidate.live), None)
        chain.history.begin(action.past)
        for reader in chosen:
            reader.sure = reader is not live or not chain.history.knows(reader.file)
            reader.reopened = None  # what it goes on with, the sink may not have
        chosen[0].sure = True
        chosen += [reader for reader in chain.readers if reader not in self._held]
        kept = [*late, *chosen]
        begun = set()
        for reader in readers.values():
            if reader not in kept:
                if live is not None and chain.is_beginning(reader, live):
                    begun.add(reader.file)
                reader.close()
        chain.hold(kept, chain.live if chain.live in chosen else None)
        chain.readers = chosen
        chain.know(self._older, self._strays, begun)
        self._readers = {}


def age(changed):
    """Seconds since something was done to a file or its name, as far as clocks tell.

    A time in the future is as far from now as one in the past: nobody waits for it to come.
    """
    return abs(time.time() - changed)


def is_like(path, origin):
    """True when a name begins as the origin's does."""
    return os.path.basename(path).startswith(stem(origin))


def unfinished(reader, changed=None):
    """True when a compressed file may still become whole."""
    if changed is None:
        changed = reader.fs.fstat(reader.fd).st_mtime_ns / 1e9
    return reader.fs.has_writer(reader.fd) is True or age(changed) < SETTLING


def _newest(readers):
    """Without those whose file another one, opened later, reads as another generation."""
    return [
        reader
        for at, reader in enumerate(readers)
        if reader.file is None or all(reader.file != other.file for other in readers[at + 1 :])
    ]
