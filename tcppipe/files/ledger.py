"""Which bytes of which generation stand where in a destination.

A file of lines, one record a line: eight hex digits of CRC-32, a blank, a JSON object
with one key that names the record.  A stretch says "from this place in the destination
on stands this generation from this offset on"; the destination's size then tells the
cursor, so the destination is its own journal and nothing is written per append.

A stretch is durable before the first byte that it describes is appended, so after a
crash the ledger may describe bytes that are not there, but never the other way round.
A mark is written after the sync that it speaks of, so it may lag but never lead.

Records are numbered, and a mark says again in which stretch it stands.  So a line that is
damaged, missing, doubled or out of its place is noticed, and costs no more than itself:
damaged ones are kept in LEDGER.damaged, and until the next agreement the ledger is
`doubtful`.  Its length is bounded, whatever a peer sends: a long ledger is rewritten with the
generations that are complete, one line each, and the last few in full.

Does not read destinations and does not speak to peers.
"""

import os
from collections import Counter, deque
from typing import NamedTuple

from tcppipe.cursor import NO_DIGEST, UNKNOWN, Generation
from tcppipe.files import records
from tcppipe.files.fs import REAL, open_new
from tcppipe.wire.events import Complete, Why

REMEMBERED = 1000  # complete generations
COMPACT = 1 << 20  # bytes; a longer ledger is rewritten …
RUNS = 4  # … with so many generations in full, the present one among them …
STRETCHES = 64  # … each with so many stretches …
PROOFS = 16  # … and marks …
STOOD = 3  # stretches that are remembered of older ones, besides the first
NOTES = 100  # … and with so many records for people
PIECES = 64  # compressed files of which is known what they hold
COUNTED = ("gap", "cut", "aside", "late")  # for ever …
FOR_PEOPLE = COUNTED[:-1]  # … and the last of these are kept
KEPT_ASIDE = 1 << 20  # bytes that LEDGER.damaged grows to


class OutOfOrder(Exception):
    """Lines without numbers stand in another order than they were written in."""


class Stretch(NamedTuple):
    """The destination's bytes from `at` on are the generation's from `first` on."""

    generation: Generation
    first: int
    at: int
    dev: int  # the destination file …
    ino: int  # … that it stands in
    why: int = Why.FRESH
    sender: bytes = b""  # the key of the source that it was begun with
    boot: str = ""  # the system's start during which it was begun
    igen: int = 0  # the inode's generation number; 0 where the system has none
    below_len: int = 0  # what stands below `at` in the file: so many bytes …
    below: bytes = NO_DIGEST  # … with this SHA-256
    beside: tuple | None = None  # the newest rotated file: device, inode, its generation number

    @property
    def file(self):
        """(device, inode) of the destination file."""
        return self.dev, self.ino

    def same(self, other):
        """True when both tell the same of the same file."""
        return (self.generation[:4], *self[1:5]) == (other.generation[:4], *other[1:5])


class Mark(NamedTuple):
    """The generation is durable below `offset`; what stood there proves it later.

    One at offset 0 tells with which bytes the generation was about to begin here.
    """

    offset: int = 0
    head_len: int = 0
    head: bytes = NO_DIGEST
    tail_len: int = 0
    tail: bytes = NO_DIGEST


class Done(NamedTuple):
    """A complete generation, and the destination file that it ends in."""

    complete: Complete
    dev: int
    ino: int
    computed: bool  # the digest is that of what stands here, and not what the source said


class Run:
    """A generation's time in the destination: its stretches, and what proves them.

    proofs: pairs of a Stretch and a Mark in it, oldest first; the last is the newest.
    ended: (length, digest) when the generation is complete.
    """

    def __init__(self, stretch):
        self.stretches = [stretch]
        self.proofs = []
        self.ended = None

    @property
    def mark(self):
        """The newest Mark."""
        return self.proofs[-1][1] if self.proofs else Mark()

    @property
    def untouched(self):
        """True when no byte of the generation was appended by this program: it says before with
        which one a generation begins.  An older one said nothing of it."""
        begun = self.generation.head_len or any(one.first for one in self.stretches)
        return not begun and self.stretches[0].beside is not None

    @property
    def generation(self):
        """The generation, with as much of its beginning as is known."""
        generation, mark = self.stretches[-1].generation, self.mark
        if mark.head_len > generation.head_len:
            generation = generation._replace(head_len=mark.head_len, head=mark.head)
        return generation

    def has(self, stretch):
        """True when this is one of its stretches."""
        return any(known.same(stretch) for known in self.stretches)

    def may_have(self, mark):
        """False when a mark contradicts what is known: it is another generation's."""
        known = self.mark
        other = known.head_len == mark.head_len and known.head != mark.head
        ended = self.ended is not None and self.ended[0] != mark.offset
        return not (other or ended or mark.offset < known.offset)

    def may_end(self, length):
        """The same of an end at this length."""
        return length >= self.mark.offset if self.ended is None else length == self.ended[0]

    def add(self, stretch):
        """The generation goes on in another stretch."""
        self.stretches.append(stretch)
        if len(self.stretches) > STRETCHES:
            del self.stretches[1]

    def prove(self, mark):
        """A mark in the last stretch.  The older ones stand the farther apart the older."""
        self.proofs.append((self.stretches[-1], mark))
        if len(self.proofs) <= PROOFS:
            return
        end = mark.offset + 1

        def crowded(n):
            before, behind = self.proofs[n - 1][1].offset, self.proofs[n + 1][1].offset
            return (end - before) / max(1, end - behind)

        del self.proofs[min(range(1, len(self.proofs) - 1), key=crowded)]


class Ledger:
    """The ledger in the file `path` (str).  Missing directories are made.

    stretches: those of the current generation, oldest first.  mark: its last Mark.
    complete: the generations that are complete, as Complete, oldest first.
    clean: the destination was closed in order.  closed: the
    generation is complete.  doubtful: something is damaged or missing, and no agreement was
    made since.  damage: what was wrong with it when it was read, or "".
    Raises OSError from whatever writes; the same call can be made again.
    """

    def __init__(self, path, fs=REAL):
        self.path = path
        self.fs = fs
        self._forget()
        self.damage = ""
        self._limit = COMPACT
        self._good = 0  # bytes up to the last whole line
        self._unsafe = False  # a sync of the ledger has failed: what stands in it may not last
        self._nameless = True  # whoever made or replaced it may have died before its name lasted
        fs.makedirs(os.path.dirname(path))
        self._fd = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            self._load()
        except OSError:
            self.close()
            raise

    def _forget(self):
        self.runs = []  # the last generations, oldest first; the present one is the last
        self.clean = False
        self.doubtful = False
        self.unsynced = False  # a sync has failed, and no agreement was made since
        self.boot = ""  # the system's start during which was written last
        self.resent_by = b""  # the source whose request to send all again was begun
        self.late = None  # a record of late bytes behind which no stretch was begun yet
        self._lates = Counter()  # places of late bytes: how many stand there
        self._whole = True  # it was not rewritten
        self.pieces = {}  # (dev, ino, size, mtime) of compressed files: their "piece" records
        self.counts = Counter()  # records for people, by kind
        self._done = []  # of Done
        self._placed = True  # no line is missing since the last stretch
        self._notes = deque(maxlen=NOTES)
        self._resume = None
        self._number = 0  # of the last record

    @property
    def stretches(self):
        """The stretches of the current generation, oldest first."""
        return self.runs[-1].stretches if self.runs else []

    @property
    def stretch(self):
        """The last Stretch, or None."""
        return self.runs[-1].stretches[-1] if self.runs else None

    @property
    def mark(self):
        """The last Mark of the current generation."""
        return self.runs[-1].mark if self.runs else Mark()

    @property
    def closed(self):
        """True when the current generation is complete."""
        return bool(self.runs) and self.runs[-1].ended is not None

    @property
    def complete(self):
        """The complete generations, oldest first."""
        return [done.complete for done in self._done]

    @property
    def previous(self):
        """The complete generation before the current one, or UNKNOWN: a Complete."""
        before = self._done[:-1] if self.closed else self._done
        return before[-1].complete if before else Complete(UNKNOWN, 0)

    def done(self, generation):
        """The Done of a complete generation, by its numbers; or None."""
        return self._done_of(generation.key)

    def _done_of(self, key):
        for done in reversed(self._done):
            if done.complete.generation.key == tuple(key):
                return done
        return None

    def untold(self):
        """The first and the last place of bytes between two stretches of which no record tells, and
        where they begin that are still nobody's: a line may be missing, of late bytes above all.

        Nobody knows in a ledger that was rewritten.
        """
        present = [one for one in self.stretches if one.file == self.stretch.file]
        for before, after in zip(present, present[1:]):
            first = before.at + after.first - before.first
            if after.why == Why.RESUMED and self._whole:
                yield first, after.at, first + self._lates[first]

    # --- reading

    def _content(self):
        content = bytearray()
        while data := self.fs.pread(self._fd, 1 << 20, len(content)):
            content += data
        return bytes(content)

    def _load(self):
        content = self._content()
        *lines, rest = content.split(b"\n")
        if rest and records.parse(rest[:-1] + b"\n") is not None:
            lines.append(rest[:-1])  # only its newline is damaged
            rest, self.damage = b"", "its last newline is damaged"
        self._good = len(content) - len(rest)
        bad = self._replay(lines)
        if not self.clean:  # whoever wrote last may have seen a sync fail: this one proves it
            self.fs.rewrite(self._fd, 0, self._good)
            self._sync()
        if bad:
            self._keep_aside(bad)
        if self.damage:
            self._compact()
        elif rest:  # torn by a crash, or cut
            self.fs.ftruncate(self._fd, self._good)
            if self._good and rest.strip(b"\0"):
                self.note("doubtful")

    def _replay(self, lines):
        """Apply the records in these lines in the order of their numbers: the damaged lines."""
        rows, number = [], 0
        for line in lines:
            kind, value = _record(line)
            number = value.get("n", number)  # an older program numbers nothing
            rows.append((number, kind, value, line))
        ordered = sorted(rows, key=lambda row: row[0])
        bad, faults = [], Counter()
        begun = []  # what an older program has told of stretches
        for number, kind, value, line in ordered:
            if kind is not None and not self._is_next(number, value, begun, faults):
                continue
            try:
                self._apply(kind, value)
            except (KeyError, TypeError, ValueError, IndexError):
                bad.append(line)
                self._doubt()
            except OutOfOrder:  # nobody can tell what came last
                self._forget()
                self.damage = f"its lines are out of order (kept in {self.path}.damaged)"
                return lines
        faults["missing"] -= min(faults["missing"], len(bad))
        faults["out of place"] = sum(a is not b for a, b in zip(rows, ordered))
        faults = {f"damaged (kept in {self.path}.damaged)": len(bad), **faults}
        text = ", ".join(f"{count} {what}" for what, count in faults.items() if count)
        if text:
            self.damage = f"of {len(lines)} lines {text}"
        return bad

    def _is_next(self, number, value, begun, faults):
        """False for a line that is there twice; and counts those that are missing."""
        if "n" in value:
            if number <= self._number:
                faults["doubled"] += 1
                return False
            if number != self._number + 1:
                faults["missing"] += number - self._number - 1
                self._doubt()
            self._number = number
        elif "at" in value and "generation" in value:
            if value in begun[:-1]:
                faults["doubled"] += 1
            if value in begun:
                return False
            begun.append(value)
        return True

    def _doubt(self):
        self.doubtful, self.clean, self._placed = True, False, False

    def _keep_aside(self, lines):
        """Bad lines are for people to look at: nobody reads them again here."""
        fd = self.fs.open(self.path + ".damaged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            if self.fs.fstat(fd).st_size < KEPT_ASIDE:
                self.fs.write_all(fd, b"".join(line + b"\n" for line in lines)[:KEPT_ASIDE])
            self.fs.fsync(fd)
        finally:
            self.fs.close(fd)

    def _apply(self, kind, value):
        if kind is None:
            raise ValueError("not a record")
        if kind in COUNTED:
            self.counts[kind] += 1
        if kind in FOR_PEOPLE:
            self._notes.append((kind, value))
        if kind not in ("mark", "piece"):
            self.clean = kind == "clean" and not self.doubtful
        apply = getattr(self, "_apply_" + kind, None)
        if apply is not None:
            apply(value)

    def _apply_stretch(self, value):
        stretch = _stretch_of(value)
        if "n" not in value and stretch.why == Why.FRESH and self.runs:
            if UNKNOWN not in (stretch.generation, self.stretch.generation):
                raise OutOfOrder("the first one of its pipe")
        self._take(stretch, value.get("new", False), "n" in value)

    def _take(self, stretch, new=False, numbered=True):
        """A stretch begins."""
        if new or not self._continues(stretch):
            if stretch.why == Why.REOPENED:
                self._reopen(stretch.generation)
            self.runs.append(Run(stretch))
            del self.runs[:-RUNS]
            self.doubtful = False
        else:
            self.runs[-1].add(stretch)
            self.runs[-1].ended = None
        if numbered:
            self.doubtful = False
        self._placed = True
        self._late_is_there()
        self.unsynced = False
        self.boot = stretch.boot
        if stretch.why == Why.RESENT:
            self.resent_by = stretch.sender

    def _continues(self, stretch):
        """True when a new stretch goes on with the generation of the last one."""
        last = self.stretch
        if last is None or stretch.first < last.first:
            return False
        if stretch.why == Why.RESUMED:
            return stretch.generation[:4] == last.generation[:4]
        return stretch.why == Why.FOREIGN

    def _late_is_there(self):
        """The stream has gone on behind late bytes, so all of them are there."""
        late, self.late = self.late, None
        if late is not None:
            self._lengthen(late)

    def _lengthen(self, late):
        for at, done in enumerate(self._done):
            if done.complete.generation[:4] == tuple(late["of"]):
                digest = bytes.fromhex(late.get("sha256", "")) or NO_DIGEST
                complete = Complete(
                    done.complete.generation, late["offset"] + late["bytes"], digest
                )
                self._done[at] = done._replace(complete=complete, computed=True)

    def _reopen(self, generation):
        """A generation that was complete goes on."""
        done = self.done(generation)
        if done is not None:
            self._done.remove(done)
        for run in self.runs:
            if run.generation[:4] == generation[:4]:
                run.ended = None

    def _apply_mark(self, value):
        mark = _mark_of(value)
        if "in" in value:
            stretch = _stretch_of(value["in"])
            if self.stretch is None or not stretch.same(self.stretch):
                self._take(stretch)  # its own line is missing
            self.doubtful = False
        elif self.clean or not self._placed or not self.runs or not self.runs[-1].may_have(mark):
            raise ValueError("of a stretch whose line is missing")
        self.runs[-1].prove(mark)

    def _apply_resume(self, value):
        if "in" in value:
            stretch = _stretch_of(value["in"])
            if self.stretch is None or not stretch.same(self.stretch):
                self._take(stretch)
            self.doubtful = False
        self.boot = value.get("boot", "")
        self.unsynced = False
        self._resume = value

    def _apply_end(self, value):
        run = self.runs[-1]
        if not run.may_end(value["length"]):
            raise ValueError("of a generation whose stretch is missing")
        if "n" not in value and value["length"] != run.mark.offset:
            self.doubtful = True  # it was marked before, or that is another one's
        computed = bytes.fromhex(value["sha256"]) or NO_DIGEST
        digest = computed if computed != NO_DIGEST else bytes.fromhex(value.get("said", ""))
        ended, run.ended = run.ended, (value["length"], digest or NO_DIGEST)
        if value.get("again"):
            return
        if ended is not None:
            self._done.pop()
        complete = Complete(run.generation, *run.ended)
        stretch = run.stretches[-1]
        self._remember(Done(complete, stretch.dev, stretch.ino, computed != NO_DIGEST))

    def _remember(self, done):
        self._done.append(done)
        del self._done[:-REMEMBERED]

    def _apply_complete(self, value):
        complete = Complete(
            _generation_of(value), value["length"], bytes.fromhex(value["sha256"]) or NO_DIGEST
        )
        self._remember(Done(complete, value["dev"], value["ino"], value["computed"]))

    def _apply_reopened(self, _value):
        self._reopen(self.stretch.generation)

    def _apply_back(self, value):
        """The destination was found as it was at this offset of this stretch."""
        stretch = _stretch_of(value["in"])
        for at, run in enumerate(self.runs):
            for number, known in enumerate(run.stretches):
                if known.same(stretch):
                    for later in self.runs[at + 1 if value["ended"] else at :]:
                        self._reopen(later.generation)
                    del self.runs[at + 1 :], run.stretches[number + 1 :]
                    run.proofs = [
                        (where, mark) for where, mark in run.proofs
                        if mark.offset <= value["offset"] and where in run.stretches
                    ]  # fmt: skip
                    return
        raise ValueError("no such stretch")

    def _apply_late(self, value):
        done = self._done_of(value["of"])
        if done is not None and done.complete.length > value["offset"]:
            raise ValueError("of bytes that are there already")
        self._late_is_there()
        self._lates[value.get("there", value["at"])] += value["bytes"]
        if value["at"] >= 0:
            self.late = value
        else:
            self._lengthen(value)

    def _apply_late_undone(self, _value):
        self.late = None

    def _apply_unsynced(self, _value):
        self.unsynced = True

    def _apply_doubtful(self, _value):
        self.doubtful = True

    def _apply_piece(self, value):
        key = tuple(value["file"])
        self.pieces.pop(key, None)
        self.pieces[key] = value
        while len(self.pieces) > PIECES:
            del self.pieces[next(iter(self.pieces))]

    def _apply_summary(self, value):
        self._whole = False
        self.counts.update(value["counts"])
        self.resent_by = bytes.fromhex(value["resent_by"])

    def older(self):
        """The Runs before those in `runs`, oldest first.  They are not kept in mind, because nobody
        asks for them but who finds a copy that is older than all of `runs`."""
        return _older_runs(self._content(), self.runs)

    # --- writing

    def begin(self, stretch):
        """Record a stretch; durable on return."""
        self._write("stretch", _stretch_value(stretch), durable=True)

    def note_mark(self, mark):
        """Record a mark, after the sync that it speaks of.  Only a stretch's first one is made
        durable: it is what the stretch's file is known by at the least."""
        proofs = self.runs[-1].proofs
        first = not any(stretch is self.stretch and before.offset for stretch, before in proofs)
        self._write("mark", _mark_value(self.stretch, mark), durable=first)

    def note_clean(self):
        """Record that the destination was synced and closed in order; the mark is its end."""
        self._write("clean", {})

    def note_back(self, stretch, offset, ended):
        """Record that the destination was found as it was at this offset of this stretch.

        ended: all of the generation is there.  Durable on return.
        """
        if not any(run.has(stretch) for run in self.runs):
            self._bring_back(stretch)
        value = {"in": _stretch_value(stretch), "offset": offset, "ended": ended}
        self._write("back", value, durable=True)

    def _bring_back(self, stretch):
        """A generation before those that are kept in mind is the last one now."""
        older, before = self.older(), (self.runs, self._done)
        at = max((n for n, run in enumerate(older) if run.has(stretch)), default=-1) + 1
        self._done = list(self._done)
        for run in reversed([*older[at:], *self.runs]):
            done = self.done(run.generation)
            if done is not None:
                self._done.remove(done)
        kept = max(0, at - RUNS)
        self.runs = older[kept:at] or [Run(stretch)]
        try:
            self._compact(older[:kept])
        except OSError:
            self.runs, self._done = before
            raise

    def note_resume(self, offset, boot):
        """Record that a new connection goes on from here; durable on return."""
        value = {"offset": offset, "boot": boot, "in": _stretch_value(self.stretch)}
        self._write("resume", value, durable=True)

    def note(self, kind, **value):
        """Record something that happened: "end", "gap", "cut"; durable on return."""
        self._write(kind, value, durable=True)

    def _write(self, kind, value, durable=False):
        if self._unsafe:
            self._compact()
        value = {**value, "n": self._number + 1}
        line = records.render({kind: value})
        if self.fs.fstat(self._fd).st_size != self._good:
            self.fs.ftruncate(self._fd, self._good)  # what a failed write left
        self.fs.write_all(self._fd, line)
        if durable:
            self._sync()
        self._good += len(line)
        self._number += 1
        self._apply(kind, value)
        if self._good > self._limit:
            try:
                self._compact()
            except OSError:
                self._limit = self._good + COMPACT // 2  # it was not needed yet; later, then

    def _sync(self):
        """Make the ledger and its name durable."""
        try:
            self.fs.fdatasync(self._fd)
        except OSError:
            self._unsafe = True  # the next sync would succeed, and prove nothing
            raise
        if self._nameless:
            self.fs.sync_directory(os.path.dirname(self.path))
            self._nameless = False

    def _compact(self, older=None):
        """Rewrite the ledger with what still matters; older: the Runs before those in `runs`."""
        older = self.older() if older is None else older
        lines = [
            records.render({kind: {**value, "n": n}})
            for n, (kind, value) in enumerate(self._matters(older), 1)
        ]
        content = b"".join(lines)
        beside = self.path + ".new"
        fd = open_new(self.fs, beside, 0o640, os.O_APPEND)
        try:
            self.fs.write_all(fd, content)
            self.fs.fsync(fd)
            self.fs.rename(beside, self.path)
        except OSError:
            self.fs.close(fd)
            raise
        self._nameless = True
        old, self._fd = self._fd, fd
        self._good, self._number, self._unsafe = len(content), len(lines), False
        self._limit = max(COMPACT, 2 * self._good)
        self.fs.close(old)
        self._sync()

    def _matters(self, older):
        """The records, as (kind, value), that a rewritten ledger consists of."""
        noted = Counter(kind for kind, _value in self._notes)
        noted["late"] = int(self.late is not None)
        counts = {kind: count - noted[kind] for kind, count in self.counts.items()}
        yield "summary", {"counts": counts, "resent_by": self.resent_by.hex()}
        yield from self._notes
        for done in self._done:
            complete = done.complete
            yield "complete", {
                **_generation_value(complete.generation), "length": complete.length,
                "sha256": complete.digest.hex(), "dev": done.dev, "ino": done.ino,
                "computed": done.computed,
            }  # fmt: skip
        for run in older[-REMEMBERED:]:
            yield "stood", _stood_value(run)
        for piece in self.pieces.values():
            yield "piece", piece
        for run in self.runs:
            for at, stretch in enumerate(run.stretches):
                yield "stretch", {**_stretch_value(stretch), "new": at == 0}
                for where, mark in run.proofs:
                    if where is stretch or where == stretch:
                        yield "mark", _mark_value(stretch, mark)
            if run.ended is not None:
                length, digest = run.ended
                yield "end", {"length": length, "sha256": digest.hex(), "again": True}
        if self._resume is not None and self.runs:
            yield "resume", {**self._resume, "in": _stretch_value(self.stretch)}
        if self.late is not None:
            yield "late", self.late
        if self.unsynced:
            yield "unsynced", {}
        if self.doubtful:
            yield "doubtful", {}
        elif self.clean:
            yield "clean", {}

    def close(self):
        """Let go of the file."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self.fs.close(fd)


def _record(line):
    """The (kind, value) of a line without its newline; (None, {}) when it is damaged."""
    record = records.parse(line + b"\n")
    if record is None or len(record) != 1:
        return None, {}
    ((kind, value),) = record.items()
    fits = isinstance(value, dict) and isinstance(value.get("n", 1), int)
    return (kind, value) if fits else (None, {})


def _generation_value(generation):
    return {"generation": list(generation[:5]), "head": generation.head.hex()}


def _generation_of(value):
    return Generation(*value["generation"][:5], bytes.fromhex(value["head"]))


def _stretch_value(stretch):
    return {
        **_generation_value(stretch.generation), "first": stretch.first, "at": stretch.at,
        "dev": stretch.dev, "ino": stretch.ino, "why": int(stretch.why),
        "sender": stretch.sender.hex(), "boot": stretch.boot, "igen": stretch.igen,
        "below_len": stretch.below_len, "below": stretch.below.hex(),
        "beside": stretch.beside,
    }  # fmt: skip


def _stretch_of(value):
    numbers = (int(value[key]) for key in ("first", "at", "dev", "ino", "why"))
    more = (value.get("boot", ""), int(value.get("igen", 0)), int(value.get("below_len", 0)))
    below = bytes.fromhex(value.get("below", "")) or NO_DIGEST
    sender = bytes.fromhex(value["sender"])
    beside = value.get("beside")
    beside = None if beside is None else tuple(map(int, beside))
    return Stretch(_generation_of(value), *numbers, sender, *more, below, beside)


def _mark_of(value):
    head, tail = bytes.fromhex(value["head"]), bytes.fromhex(value["tail"])
    return Mark(value["offset"], value["head_len"], head, value["tail_len"], tail)


def _mark_value(stretch, mark):
    value = mark._asdict()
    value["head"], value["tail"] = mark.head.hex(), mark.tail.hex()
    return {**value, "in": _stretch_value(stretch)}


# --- generations before the last few


def _older_runs(content, runs):
    """The Runs that a ledger's content tells of, oldest first, but for those that are kept."""
    found = []
    for kind, value in map(_record, content.split(b"\n")):
        try:
            _follow(found, kind, value)
        except (KeyError, TypeError, ValueError, IndexError):
            pass  # whoever loads the ledger says what is damaged
    first = runs[0].stretches[0] if runs else None
    at = [n for n, run in enumerate(found) if first is not None and run.has(first)]
    return found[: at[-1]] if at else found


def _follow(found, kind, value):
    """Take one record."""
    if kind == "stood":
        found.append(_stood_of(value))
        return
    told = value if kind == "stretch" else value.get("in") if kind == "mark" else None
    if told is not None:
        stretch = _stretch_of(told)
        if not found or found[-1].generation[:4] != stretch.generation[:4] or told.get("new"):
            found.append(Run(stretch))
        elif not found[-1].stretches[-1].same(stretch):
            found[-1].add(stretch)
    if kind == "mark":
        found[-1].prove(_mark_of(value))
    elif kind == "end":
        digest = bytes.fromhex(value["sha256"] or value.get("said", ""))
        found[-1].ended = value["length"], digest or NO_DIGEST


def _stood_value(run):
    """A record of a run that is not kept in mind: of each stretch the last mark."""
    last = {stretch: mark for stretch, mark in run.proofs}
    ended = run.ended and [run.ended[0], run.ended[1].hex()]
    value = _generation_value(run.generation)
    rows = [[*stretch[1:5], *_flat(last.get(stretch, Mark()))] for stretch in run.stretches]
    return {**value, "stretches": rows[:1] + rows[1:][-STOOD:], "ended": ended}


def _flat(mark):
    return [mark.offset, mark.tail_len, mark.tail.hex()]


def _stood_of(value):
    generation, run = _generation_of(value), None
    for first, at, dev, ino, offset, tail_len, tail in value["stretches"]:
        stretch = Stretch(generation, first, at, dev, ino)
        if run is None:
            run = Run(stretch)
        else:
            run.stretches.append(stretch)
        if offset:
            head = generation.head_len, generation.head
            run.proofs.append((stretch, Mark(offset, *head, tail_len, bytes.fromhex(tail))))
    if value["ended"]:
        run.ended = value["ended"][0], bytes.fromhex(value["ended"][1])
    return run
