"""The ledger: what is recorded is read back, and a torn end costs no more than itself."""

import errno
import hashlib
import json
import os
import random

import pytest

from tcppipe.cursor import NO_DIGEST, Generation
from tcppipe.files import ledger as module
from tcppipe.files import recorded, records
from tcppipe.files.fs import FS
from tcppipe.files.ledger import Ledger
from tcppipe.files.stretches import Mark, Stretch
from tcppipe.wire.events import Why

ONE = Generation(1, 11, 3, 5, 4, b"a" * 32)
TWO = Generation(1, 12, 3, 9, 4, b"b" * 32)
KEY = b"k" * 16


def facts(ledger):
    """All that a ledger tells."""
    return (
        ledger.stretches, ledger.mark, ledger.clean, ledger.closed, ledger.resent_by,
    )  # fmt: skip


def reread(ledger):
    """A ledger as a restart finds it."""
    return Ledger(ledger.path)


@pytest.fixture
def path(tmp_path):
    """Where the ledger is."""
    return str(tmp_path / "state" / "host.ledger")


def write_all(ledger):
    """Every kind of record."""
    ledger.begin(Stretch(ONE, 0, 0, 7, 8, Why.FRESH, KEY))
    ledger.note_mark(Mark(100, 4, b"h" * 32, 100, b"t" * 32))
    ledger.note("gap", first=1, last=0, ino=11, why="caf\xe9 \udcff\n")
    ledger.begin(Stretch(ONE, 150, 40, 7, 9, Why.RESUMED, KEY))
    ledger.note("cut", offset=3, bytes=4, kept="/a.cut")
    ledger.note("end", length=300, why=9, sha256="", verdict="equal")
    ledger.begin(Stretch(TWO, 0, 300, 7, 9, Why.RESENT, KEY))
    ledger.note_mark(Mark(50, 4, b"b" * 32, 50, b"u" * 32))
    ledger.note_clean()


def test_a_new_ledger_is_empty(path):
    """Its directory is made; it knows nothing."""
    ledger = Ledger(path)
    assert ledger.stretch is None and ledger.mark == Mark() and not ledger.clean
    assert os.path.getsize(path) == 0


def test_round_trip(path):
    """What was recorded is there after a restart, field by field, after every record."""
    ledger = Ledger(path)
    writer = Ledger(path)
    for name in ("begin", "note", "note_mark", "note_clean"):
        method = getattr(ledger, name)

        def checked(*args, _method=method, **kw):
            _method(*args, **kw)
            assert facts(reread(ledger)) == facts(ledger)

        setattr(writer, name, checked)
    write_all(writer)
    assert facts(ledger)[0] == [Stretch(TWO, 0, 300, 7, 9, Why.RESENT, KEY)]
    assert ledger.clean and not ledger.closed and ledger.resent_by == KEY


def test_stretches_of_one_generation_add_up(path):
    """What continues a generation leaves its stretches and its mark; a new one does not."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    ledger.note_mark(Mark(100))
    ledger.begin(Stretch(ONE, 150, 0, 7, 9, Why.RESUMED))
    ledger.begin(Stretch(ONE, 200, 90, 7, 9, Why.FOREIGN))
    assert len(ledger.stretches) == 3 and ledger.mark.offset == 100
    ledger.begin(Stretch(TWO, 0, 290, 7, 9, Why.NEXT))
    assert len(ledger.stretches) == 1 and ledger.mark == Mark()


def test_any_record_ends_the_clean_end(path):
    """Clean means that nothing came after it."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    ledger.note_clean()
    assert reread(ledger).clean
    ledger.note("resume", offset=0)
    assert not reread(ledger).clean


def test_an_end_closes_and_a_stretch_opens(path):
    """Marks do not open it again."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    ledger.note("end", length=5, sha256="")
    ledger.note_mark(Mark(5))
    assert reread(ledger).closed
    ledger.begin(Stretch(TWO, 0, 5, 7, 8, Why.NEXT))
    assert not reread(ledger).closed


def what_stands(ledger):
    """What a ledger tells of the destination, whether or not it was closed in order."""
    return ledger.stretches, ledger.mark, ledger.closed, ledger.resent_by, ledger.complete


def test_torn_anywhere_in_the_last_line(path):
    """A crash while the last record was written leaves all records before it, and the next one
    written after that is read back."""
    ledger = Ledger(path)
    write_all(ledger)
    with open(path, "rb") as file:
        content = file.read()
    before = content[: content.rstrip(b"\n").rfind(b"\n") + 1]
    with open(path, "wb") as file:
        file.write(before)
    expected = what_stands(Ledger(path))
    for size in range(len(before), len(content)):
        with open(path, "wb") as file:
            file.write(content[:size])
        torn = Ledger(path)
        assert what_stands(torn) == expected and not torn.clean
        assert torn.doubtful == (size > len(before))
        torn.note_resume(50, "")
        torn.note_clean()
        assert reread(torn).clean


GARBAGE = [
    b"garbage\n",
    b"\0" * 600 + b"\n",
    b"\n",
    b"00000000 {}\n",
    b'zzzzzzzz {"clean":{}}\n',
    b'ffffffff {"clean":{}}\n',
    b"\xff\xfe\r\n\r\n",
]


def test_zeros_at_the_end_are_dropped(path):
    """A power cut leaves them where nothing was made durable; they do no harm."""
    ledger = Ledger(path)
    write_all(ledger)
    expected, size = facts(ledger), os.path.getsize(path)
    with open(path, "ab") as file:
        file.write(bytes(600))
    assert facts(Ledger(path)) == expected
    assert os.path.getsize(path) == size


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_kept_aside(path, garbage):
    """A line that is no record costs no more than itself, wherever it stands: it is said, kept,
    and puts what comes behind it in doubt only where that does not say all again."""
    Ledger(path).close()
    writer = Ledger(path)
    write_all(writer)
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    expected = what_stands(reread(writer))
    for at in range(len(lines) + 1):
        with open(path, "wb") as file:
            file.write(b"".join([*lines[:at], garbage, *lines[at:]]))
        ledger = Ledger(path)
        assert what_stands(ledger) == expected, at
        assert "damaged" in ledger.damage and path + ".damaged" in ledger.damage
        assert ledger.doubtful == (at >= len(lines) - 1)  # only "clean" follows
        with open(path + ".damaged", "rb") as file:
            assert garbage in file.read()
        os.unlink(path + ".damaged")
        again = reread(ledger)
        assert what_stands(again) == expected and not again.damage
        assert again.doubtful == ledger.doubtful


def flipped(line):
    """A line with one of its bits turned over, each in turn of a few."""
    for at in range(0, len(line) - 1, max(1, len(line) // 7)):
        yield line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]


def test_one_bit_in_any_line(path):
    """What the mark says last is found, whichever other line is damaged; and where it is the
    last one that tells of the destination, that is in doubt."""
    writer = Ledger(path)
    write_all(writer)
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    expected = what_stands(reread(writer))
    kinds = [json.loads(line.split(b" ", 1)[1]) for line in lines]
    last = max(at for at, kind in enumerate(kinds) if "mark" in kind)
    for at, line in enumerate(lines):
        for bad in flipped(line):
            with open(path, "wb") as file:
                file.write(b"".join([*lines[:at], bad, *lines[at + 1 :]]))
            ledger = Ledger(path)
            assert ledger.damage and not (ledger.clean and at >= last)
            assert ledger.doubtful == (at >= last)
            assert ledger.stretch == expected[0][-1]
            assert ledger.mark == (expected[1] if at != last else Mark())
            assert [done.generation.ino for done in ledger.complete] == ([11] if at != 5 else [])


def test_doubled_and_moved_lines(path):
    """They are put in order by their numbers."""
    writer = Ledger(path)
    write_all(writer)
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    expected = what_stands(reread(writer))
    rng = random.Random(3)
    for _ in range(40):
        mixed = lines + rng.sample(lines, rng.randint(1, 3))
        rng.shuffle(mixed)
        with open(path, "wb") as file:
            file.write(b"".join(mixed))
        ledger = Ledger(path)
        assert what_stands(ledger) == expected and "doubled" in ledger.damage
        assert what_stands(reread(ledger)) == expected


def test_lines_are_missing(path):
    """Noticed by their numbers, and in doubt unless what follows says all again."""
    writer = Ledger(path)
    write_all(writer)
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    for at in range(len(lines) - 1):
        with open(path, "wb") as file:
            file.write(b"".join([*lines[:at], *lines[at + 1 :]]))
        ledger = Ledger(path)
        assert "1 missing" in ledger.damage
        assert ledger.stretch.generation == TWO and not (ledger.clean and ledger.doubtful)


def test_a_ledger_without_numbers(path):
    """That of an older program: a bad line in it is said, and what follows counts."""
    lines = [
        records.render({"stretch": old_stretch(ONE, 0, 0)}),
        records.render({"mark": OLD_MARK}),
        records.render({"end": {"length": 300, "why": 9, "sha256": "", "verdict": "equal"}}),
        records.render({"stretch": old_stretch(TWO, 0, 300)}),
        records.render({"mark": OLD_MARK}),
    ]
    os.makedirs(os.path.dirname(path))
    for bad in (None, *range(len(lines))):
        kept = [b"bad\n" if at == bad else line for at, line in enumerate(lines)]
        with open(path, "wb") as file:
            file.write(b"".join(kept))
        ledger = Ledger(path)
        assert bool(ledger.damage) == (bad is not None)
        assert ledger.doubtful == (bad in (3, 4))
        assert ledger.stretch.generation == (ONE if bad == 3 else TWO)
        if bad is None:
            assert [(c.generation, c.length) for c in ledger.complete] == [(ONE, 300)]
        ledger.note_resume(100, "")
        assert not reread(ledger).doubtful and not reread(ledger).damage


OLD_MARK = {"offset": 100, "head_len": 4, "head": "61" * 32, "tail_len": 0, "tail": "00" * 32}


def old_stretch(generation, first, at):
    """A stretch as it was recorded before there were numbers."""
    return {
        "generation": list(generation[:5]), "head": generation.head.hex(), "first": first,
        "at": at, "dev": 7, "ino": 8, "why": 2 if at else 1, "sender": KEY.hex(), "boot": "",
        "igen": 0,
    }  # fmt: skip


def test_what_a_failed_write_left_is_overwritten(path):
    """A full disk tears a record while the program runs; the next one stands in its place."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    with open(path, "ab") as file:
        file.write(b'0123abcd {"mark')
    ledger.note_mark(Mark(9))
    assert facts(reread(ledger)) == facts(ledger) and reread(ledger).mark.offset == 9


def test_compaction_keeps_what_matters(path, monkeypatch):
    """A long ledger is rewritten without old marks: all else stays, the last mark included."""
    monkeypatch.setattr(module, "COMPACT", 4000)
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8, Why.RESENT, KEY))
    ledger.note("gap", first=1, last=2, ino=11, why="kept")
    for offset in range(1, 400):
        ledger.note_mark(Mark(offset, 4, b"h" * 32, 1, b"t" * 32))
        assert os.path.getsize(path) < 20000
        assert facts(reread(ledger)) == facts(ledger)
    assert ledger.mark.offset == 399
    with open(path) as file:
        assert "kept" in file.read()


def test_compaction_of_an_ended_generation(path, monkeypatch):
    """The mark is written behind the end then; the end still counts."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    ledger.note("end", length=5, sha256="")
    monkeypatch.setattr(module, "COMPACT", 1)
    ledger.note_mark(Mark(5))
    assert reread(ledger).closed and reread(ledger).mark.offset == 5
    ledger.begin(Stretch(TWO, 0, 5, 7, 8, Why.NEXT))
    assert facts(reread(ledger)) == facts(ledger)


def test_a_ledger_has_a_bound(path, monkeypatch):
    """Years of rotations and of lost connections do not make it grow without end, nor is it
    rewritten with every mark."""
    monkeypatch.setattr(module, "COMPACT", 4000)
    monkeypatch.setattr(recorded, "REMEMBERED", 10)
    ledger = Ledger(path)
    for n in range(300):
        ledger.begin(Stretch(TWO._replace(ino=n), 0, 0, 7, 8, Why.NEXT))
        ledger.note("resume", offset=0)
        ledger.note_mark(Mark(n + 1))
    rewritten = 0
    for n in range(30):
        inode = os.stat(path).st_ino
        ledger.note_mark(Mark(1000 + n))
        rewritten += os.stat(path).st_ino != inode
    assert rewritten < 10, "is rewritten by each mark"
    assert os.path.getsize(path) < 20000


@pytest.mark.parametrize("compacted", [False, True])
def test_back_to_a_generation_of_long_ago(path, monkeypatch, compacted):
    """A copy is restored that is older than the generations which are kept in full: where that one
    stood is read from the file, also from one that was rewritten.  It is the present one then, and
    those after it are not complete any more."""
    ledger = Ledger(path)
    for n in range(10):
        if compacted and n == 8:
            monkeypatch.setattr(module, "COMPACT", 100)
        ledger.begin(Stretch(ONE._replace(ino=100 + n), 0, 1000 * n, 7, 8, Why.NEXT))
        ledger.note_mark(Mark(1000, 3, b"h" * 32, 5, bytes([n]) * 32))
        ledger.note("end", length=1000, sha256="ab" * 32)
        ledger.begin(Stretch(ONE._replace(ino=100 + n), 1000, 0, 7, 9, Why.RESUMED))  # rotated here
    old = ledger.older()
    assert [run.generation.ino for run in old] == [100, 101, 102, 103, 104, 105]
    assert [run.mark.tail[0] for run in old] == [0, 1, 2, 3, 4, 5]
    ledger.note_back(old[2].stretches[0], 400, False)
    for known in (ledger, reread(ledger)):
        assert [one.generation.ino for one in known.complete] == [100, 101]
        assert (known.stretch.generation.ino, known.closed) == (102, False)
        assert known.stretch.at == 2000 and known.mark.offset <= 400
        assert [run.generation.ino for run in [*known.older(), *known.runs]] == [100, 101, 102]


@pytest.mark.parametrize("kind", ["gap", "cut", "late", "end", "aside"])
def test_whatever_a_peer_sends_a_ledger_stays_short(path, kind):
    """Gaps, cuts, late bytes, generations without number: they are counted, and the last of
    them are kept."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    ledger.fs = FastFS()
    for n in range(8_000):
        if kind == "end":
            ledger.begin(Stretch(TWO._replace(ino=n), 0, 0, 7, 8, Why.NEXT))
            ledger.note("end", length=n, sha256="")
        elif kind == "late":
            ledger.note("late", of=[1, 2, 3, 4], offset=n, bytes=1, at=-1)
        else:
            ledger.note(kind, first=n, last=0, ino=1, why="x" * 300)
    assert os.path.getsize(path) < 3 * module.COMPACT
    again = reread(ledger)
    assert again.counts[kind] == (0 if kind == "end" else 8_000)
    assert len(again.complete) == (recorded.REMEMBERED if kind == "end" else 0)
    assert again.complete[-1:] == ledger.complete[-1:]


class FastFS(FS):
    """A disk that nobody waits for."""

    fdatasync = fsync = staticmethod(lambda _fd: None)


def test_a_failed_sync_of_the_ledger(path):
    """What was written is not believed because it can be read: all of it is written anew."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    inode = os.stat(path).st_ino
    ledger.fs = FullDisk()
    with pytest.raises(OSError):
        ledger.begin(Stretch(TWO, 0, 5, 7, 8, Why.NEXT))
    assert ledger.stretch.generation == ONE
    ledger.fs = FS()
    ledger.begin(Stretch(TWO, 0, 5, 7, 8, Why.NEXT))
    assert os.stat(path).st_ino != inode
    assert reread(ledger).stretch.generation == TWO


class FullDisk(FS):
    """A disk that nothing can be brought to."""

    @staticmethod
    def fdatasync(_fd):
        """Fails."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_closing_twice(path):
    """Does no harm."""
    ledger = Ledger(path)
    ledger.close()
    ledger.close()


def test_the_same_place_under_other_numbers(path):
    """A disk has another number, or a copy was restored: what proved the stretch still does."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8, Why.FRESH, KEY))
    mark = Mark(100, 4, b"h" * 32, 100, b"t" * 32)
    ledger.note_mark(mark)
    ledger.begin(Stretch(ONE, 0, 0, 9, 8, Why.RESUMED, KEY))
    moved = ONE._replace(dev=2, ino=30)
    ledger.begin(Stretch(moved, 0, 0, 9, 8, Why.RESUMED, KEY))
    for known in (ledger, reread(ledger)):
        (run,) = known.runs
        assert run.stretches == [Stretch(moved, 0, 0, 9, 8, Why.RESUMED, KEY)]
        assert run.proofs == [(known.stretch, mark)]


@pytest.mark.parametrize("length", [0, 4, 100])
def test_the_record_of_an_end_is_damaged(path, length):
    """That the next one began tells that it ended, and its last mark tells where."""
    ledger, digest = Ledger(path), hashlib.sha256(b"").digest()
    ledger.begin(Stretch(ONE._replace(head_len=0), 0, 0, 7, 8, Why.FRESH, KEY, beside=()))
    if length:
        digest = b"h" * 32
        ledger.note_mark(Mark(length, 4, digest, 4, b"t" * 32))
    ledger.note("end", length=length, why=9, sha256=digest.hex(), verdict="equal")
    ledger.begin(Stretch(TWO, 0, length, 7, 8, Why.NEXT, KEY))
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    with open(path, "wb") as file:
        file.write(b"".join([*lines[:-2], b"x" + lines[-2][1:], lines[-1]]))
    (complete,) = reread(ledger).complete
    assert (complete.generation[:4], complete.length) == (ONE[:4], length)
    assert complete.digest == (digest if length < 100 else NO_DIGEST)
