"""The ledger: what is recorded is read back, and a torn end costs no more than itself."""

import os

import pytest

from tcppipe.cursor import Generation
from tcppipe.files import ledger as module
from tcppipe.files.ledger import Ledger, Mark, Stretch
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
    expected = facts(Ledger(path))
    for size in range(len(before), len(content)):
        with open(path, "wb") as file:
            file.write(content[:size])
        torn = Ledger(path)
        assert facts(torn) == expected
        torn.note_clean()
        assert reread(torn).clean
    assert not expected[2]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 600,
        b"\0" * 600 + b"\n",
        b"garbage\n",
        b"\n",
        b"00000000 {}\n",
        b'zzzzzzzz {"clean":{}}\n',
        b'ffffffff {"clean":{}}\n',
        b"\xff\xfe\r\n\r\n",
    ],
)
def test_garbage_at_the_end_is_dropped(path, garbage):
    """Zeros and whatever else a power cut leaves do no harm."""
    ledger = Ledger(path)
    write_all(ledger)
    expected, size = facts(ledger), os.path.getsize(path)
    with open(path, "ab") as file:
        file.write(garbage)
    assert facts(Ledger(path)) == expected
    assert os.path.getsize(path) == size


def test_nothing_behind_garbage_counts(path):
    """Records that follow a torn one describe a world that was never made durable in order."""
    ledger = Ledger(path)
    ledger.begin(Stretch(ONE, 0, 0, 7, 8))
    with open(path, "ab") as file:
        file.write(b"torn")
    expected = facts(Ledger(path))
    with open(path, "ab") as file:
        file.write(b"torn\n")
    late = Ledger(path + "2")
    late.begin(Stretch(TWO, 0, 0, 7, 8))
    with open(path + "2", "rb") as source, open(path, "ab") as file:
        file.write(source.read())
    assert facts(Ledger(path)) == expected


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
    for offset in range(1, 200):
        ledger.note_mark(Mark(offset, 4, b"h" * 32, 1, b"t" * 32))
        assert os.path.getsize(path) < 4400
        assert facts(reread(ledger)) == facts(ledger)
    assert ledger.mark.offset == 199
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
    ledger = Ledger(path)
    for n in range(300):
        ledger.begin(Stretch(TWO._replace(ino=n), 0, 0, 7, 8, Why.NEXT))
        ledger.note("resume", offset=0)
        ledger.note_mark(Mark(n + 1))
    ledger.note_mark(Mark(1000))
    inode = os.stat(path).st_ino
    ledger.note_mark(Mark(1001))
    assert os.path.getsize(path) < 16000
    assert os.stat(path).st_ino == inode, "was rewritten by a single mark"


def test_closing_twice(path):
    """Does no harm."""
    ledger = Ledger(path)
    ledger.close()
    ledger.close()
