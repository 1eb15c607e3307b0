"""A copy on a real disk, through kills, rotations, and other people's writes.

A kill is an object that is dropped without a word; the next one finds what is on the disk.
"""

import errno
import gzip
import hashlib
import os
import random
import shutil
import zlib

import pytest

from tcppipe.cursor import HEAD, NO_DIGEST, UNKNOWN, Generation
from tcppipe.errors import Blocked, Busy, LinkLost, SyncFailed
from tcppipe.files import begun as begun_module
from tcppipe.files import copy as copies
from tcppipe.files import standing as standings
from tcppipe.files.copy import Copy
from tcppipe.files.destination import Destination
from tcppipe.files.fs import FS, REAL
from tcppipe.files.workers import Job
from tcppipe.session.actions import Candidate, Found, Measure, Search
from tcppipe.session.agree import agree
from tcppipe.wire import events as ev
from tcppipe.wire.events import Begin, Holding, Why

ME = b"s" * 16
DATA = b"".join(b"line %d\n" % n for n in range(1000))


def sha(data):
    """A SHA-256."""
    return hashlib.sha256(data).digest()


def generation(data, ino=5):
    """What identifies a file of this content."""
    head = data[:HEAD]
    return Generation(1, ino, 0, 0, len(head), sha(head) if head else NO_DIGEST)


def digest_in(data, first, length):
    """The digest of a range of the origin."""
    if first < 0 or first + length > len(data):
        return NO_DIGEST
    return sha(data[first : first + length])


class Place:
    """A destination and its ledger in a directory, and the copies that come and go there."""

    def __init__(self, directory):
        self.path = str(directory / "a.log")
        self.ledger = str(directory / "a.ledger")
        self.said = []
        self.mirror = False

    def open(self, fs=REAL):
        """A new process: a Copy."""
        destination = Destination(self.path, fs=fs)
        return Copy(destination, self.ledger, self.say, fs=fs, mirror=self.mirror)

    def say(self, *said):
        """What a copy says."""
        self.said.append(said)

    def content(self, name=None):
        """The bytes of the destination, or of a file beside it."""
        with open(name or self.path, "rb") as file:
            return file.read()

    def append(self, data):
        """Somebody else writes to the destination."""
        with open(self.path, "ab") as file:
            file.write(data)

    def connect(self, data, ino=5):
        """A new process, and the agreement with an origin of one live file: (Copy, Begin)."""
        copy = self.open()
        have = copy.offer(ME)
        candidate = Candidate("log", generation(data, ino), len(data), 1, True)
        generator, digests = agree(have, Found("log", [candidate])), None
        while True:
            try:
                asked = generator.send(digests)
            except StopIteration as stop:
                plan = stop.value
                break
            if isinstance(asked, Search):
                digests = Found("log", [candidate])
            elif isinstance(asked, Measure):
                digests = tuple(digest_in(data, *item) for item in asked.ranges)
            else:
                for first, length in asked.ranges:
                    assert have.first <= first and first + length <= have.end
                digests = copy.prove(asked.ranges)
        copy.begin(plan.begin, ME)
        return copy, plan.begin

    def said_of(self, level):
        """The texts that were said at a level."""
        return [text for at, text in self.said if at == level]


@pytest.fixture
def place(tmp_path):
    """A directory for a copy."""
    return Place(tmp_path)


def begun(place, data=DATA, why=Why.FRESH, offset=0, ino=5):
    """A Copy that has begun a generation."""
    copy = place.open()
    copy.offer(ME)
    copy.begin(Begin(why, generation(data, ino), offset), ME)
    return copy


# --- offers


def test_nothing_is_offered_of_nothing(place):
    """A missing destination is made, and holds nothing."""
    assert place.open().offer(ME) == ev.Have(Holding.NOTHING)


def test_a_destination_without_a_ledger(place):
    """Its length is offered, and the digests of any part of it."""
    place.append(DATA)
    copy = place.open()
    assert copy.offer(ME) == ev.Have(Holding.UNRECORDED, end=len(DATA))
    assert copy.prove(((0, 10), (5, 100), (len(DATA), 1))) == (
        sha(DATA[:10]), sha(DATA[5:105]), NO_DIGEST,
    )  # fmt: skip


@pytest.mark.parametrize(
    "synced, appended", [(0, 0), (0, 500), (500, 500), (500, 900), (3000, 3001)]
)
def test_what_a_kill_leaves(place, synced, appended):
    """The destination's size tells the cursor, the ledger what was durable: it may lag."""
    copy = begun(place)
    copy.append(0, DATA[:synced])
    copy.sync()
    copy.mark()
    copy.append(synced, DATA[synced:appended])
    have = place.open().offer(ME)
    assert (have.holding, have.clean, have.closed) == (Holding.RECORDED, False, False)
    assert (have.first, have.end, have.mark) == (0, appended, synced)
    assert not have.damaged
    if synced:
        assert have.tail == sha(DATA[synced - have.tail_len : synced])
        assert have.generation.head == sha(DATA[: have.generation.head_len])


def test_a_clean_end(place):
    """Closed in order: the mark is the end."""
    copy = begun(place)
    copy.append(0, DATA[:700])
    copy.close(clean=True)
    have = place.open().offer(ME)
    assert have.clean and have.mark == have.end == 700


def test_an_unclean_end(place):
    """After a failed sync nothing is claimed."""
    copy = begun(place)
    copy.append(0, DATA[:700])
    copy.close(clean=False)
    have = place.open().offer(ME)
    assert not have.clean and have.mark == 0 and have.end == 700


def test_who_offered_and_left_has_proved_nothing(place):
    """A connection that is lost during the agreement leaves an unclean end as it is: what is
    torn there is neither durable nor clean."""
    copy = begun(place)
    copy.append(0, DATA[:1000])
    copy.sync()
    copy.mark()
    place.append(bytes(500))  # a crash has left zeros
    before = place.open().offer(ME)
    for _ in range(2):
        copy = place.open()
        copy.offer(ME)
        copy.close(clean=True)
    assert place.open().offer(ME) == before
    copy, begin = place.connect(DATA)
    assert begin.why == Why.RESUMED and begin.offset == 1000


def test_who_offered_a_clean_end_and_left_keeps_it_clean(place):
    """And what others append after it still is foreign."""
    copy = begun(place)
    copy.append(0, DATA[:1000])
    copy.close(clean=True)
    for _ in range(2):
        copy = place.open()
        copy.offer(ME)
        copy.close(clean=True)
    place.append(b"foreign\n")
    have = place.open().offer(ME)
    assert (have.clean, have.mark, have.end) == (True, 1000, 1008)


# --- resuming


def test_reopen_and_continue(place):
    """Kill after kill: the copy goes on where the destination ends, and is equal at last."""
    at = 0
    rng = random.Random(1)
    while at < len(DATA):
        copy, begin = place.connect(DATA)
        assert begin.offset == at
        for _ in range(rng.randint(0, 3)):
            piece = DATA[at : at + rng.randint(1, 700)]
            copy.append(at, piece)
            at += len(piece)
            if rng.random() < 0.5:
                copy.sync()
                copy.mark()
    assert place.content() == DATA
    assert place.said == []


@pytest.mark.parametrize("good", [500, 501, 777, 899])
def test_a_torn_tail_is_healed(place, good):
    """What a crash has spoilt behind the mark is cut at its first byte, and kept beside."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    copy.sync()
    copy.mark()
    copy.append(500, DATA[500:900])
    os.truncate(place.path, good)
    place.append(bytes(900 - good))
    copy, begin = place.connect(DATA)
    assert begin.offset == good
    copy.append(good, DATA[good:])
    assert place.content() == DATA
    (kept,) = [name for name in os.listdir(os.path.dirname(place.path)) if ".cut" in name]
    assert place.content(os.path.join(os.path.dirname(place.path), kept)) == bytes(900 - good)


def test_damage_below_the_mark_is_seen_and_healed(place):
    """The destination lost what was durable: compared from the beginning."""
    copy = begun(place)
    copy.append(0, DATA[:3000])
    copy.close(clean=True)
    os.truncate(place.path, 1200)
    copy, begin = place.connect(DATA)
    assert begin == Begin(Why.RESUMED, generation(DATA), 1200)
    assert any("damaged" in text for text in place.said_of("critical"))
    copy.append(1200, DATA[1200:])
    assert place.content() == DATA


def test_zeros_below_the_mark_are_seen(place):
    """By the digest of the last bytes below it."""
    copy = begun(place)
    copy.append(0, DATA[:3000])
    copy.close(clean=True)
    with open(place.path, "r+b") as file:
        file.seek(2500)
        file.write(bytes(100))
    assert place.open().offer(ME).damaged
    copy, begin = place.connect(DATA)
    assert begin.offset == 2500
    copy.append(2500, DATA[2500:])
    assert place.content() == DATA


# --- other writers


def test_foreign_bytes_are_noticed_and_stay(place):
    """Somebody else appends between two appends: the copy goes on behind that."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    place.append(b"foreign\n")
    copy.append(500, DATA[500:900])
    assert place.content() == DATA[:500] + b"foreign\n" + DATA[500:900]
    assert any("somebody else" in text for text in place.said_of("warning"))
    assert copy.end == 900


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("more", [0, 400])
def test_killed_behind_foreign_bytes(place, marked, more):
    """The connection after that goes on behind them, exactly."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    place.append(b"foreign\n")
    copy.append(500, DATA[500:900])
    copy.sync()
    if marked:
        copy.mark()
    copy.append(900, DATA[900 : 900 + more])
    copy, begin = place.connect(DATA)
    assert begin.offset == 900 + more
    copy.append(begin.offset, DATA[begin.offset :])
    assert place.content() == DATA[:500] + b"foreign\n" + DATA[500:]


def test_somebody_wrote_where_nothing_of_ours_was_yet(place):
    """A child is killed before the generation's first byte came: all that stands there now is not
    ours, nothing is lost, and it stays."""
    begun(place, b"")
    place.append(b"foreign\n")
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 0)
    copy.append(0, DATA)
    assert place.content() == b"foreign\n" + DATA
    assert "goes on behind that" in place.said_of("warning")[0]


def test_the_inode_is_another_files_now(place):
    """What stands below the generation's first place is not what stood there: whatever the number
    says, nothing of it is ours, and nothing is cut off."""
    place.append(b"before " * 20)
    begun(place, b"")
    with open(place.path, "r+b") as file:
        file.write(b"others " * 30)
    have = place.open().offer(ME)
    assert (have.first, have.end, have.mark) == (0, 0, 0)
    copy, begin = place.connect(DATA)
    copy.append(begin.offset, DATA)
    assert place.content() == b"others " * 30 + DATA


def test_somebody_wrote_behind_our_first_bytes(place):
    """A child is killed before anything was durable: the ledger has told with which bytes the
    generation begins, so these are known, and the file at the origin that they are of."""
    copy = begun(place, b"")
    copy.append(0, DATA[:10])
    place.append(b"foreign, and much more of it than there is of ours\n")
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 10)
    copy.append(10, DATA[10:])
    assert place.content() == DATA


def test_foreign_bytes_after_a_clean_end(place):
    """They are not ours to cut."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    copy.close(clean=True)
    place.append(b"foreign\n")
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.FOREIGN, 500)
    copy.append(500, DATA[500:])
    assert place.content() == DATA[:500] + b"foreign\n" + DATA[500:]


@pytest.mark.parametrize("marked", [0, 300, 500])
def test_truncated_by_somebody(place, marked):
    """copytruncate in the archive: the copy goes on at the new end, also after a kill."""
    copy = begun(place)
    copy.append(0, DATA[:marked])
    copy.sync()
    copy.mark()
    copy.append(marked, DATA[marked:500])
    with open(place.path + ".1", "wb") as rotated:
        rotated.write(place.content())
    os.truncate(place.path, 0)
    copy.append(500, DATA[500:900])
    copy.sync()
    assert place.content() == DATA[500:900]
    assert any("truncated" in text for text in place.said_of("warning"))
    copy, begin = place.connect(DATA)
    assert begin.offset == 900
    copy.append(900, DATA[900:])
    assert place.content(place.path + ".1") + place.content() == DATA


def test_a_mark_below_the_present_stretch_proves_nothing(place):
    """Truncated twice, and then rotated, before the source had said what it read since the first
    time: what the second copy holds does not come again."""
    copy = place.open()
    copy.offer(ME)
    copy.begin(Begin(Why.FRESH, generation(DATA), 0), ME, checked=True)
    copy.append(0, DATA[:300])
    copy.compare(300, zlib.crc32(DATA[:300]))
    copy.append(300, DATA[300:500])
    shutil.copyfile(place.path, place.path + ".3")
    os.truncate(place.path, 0)
    copy.append(500, DATA[500:560])
    copy.mark()
    shutil.copyfile(place.path, place.path + ".2")
    os.truncate(place.path, 0)
    os.rename(place.path, place.path + ".1")
    _copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 560)


# --- the destination is rotated


def test_rotated_while_it_runs(place):
    """After HUP the copy goes on in the new file; both pieces together are the origin."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    os.rename(place.path, place.path + ".1")
    copy.append(500, DATA[500:600])  # HUP has not come yet
    copy.reopen()
    copy.append(600, DATA[600:])
    copy.reopen()  # HUP without a rotation
    assert place.content(place.path + ".1") + place.content() == DATA
    assert place.content() == DATA[600:]


@pytest.mark.parametrize("synced", [0, 300, 500])
def test_rotated_while_nobody_runs(place, synced):
    """The rotated file is found, finished if it was torn, and the copy goes on in a new one."""
    copy = begun(place)
    copy.append(0, DATA[:synced])
    copy.sync()
    copy.mark()
    copy.append(synced, DATA[synced:500])
    place.append(b"\0\0\0")
    os.rename(place.path, place.path + ".1")
    with open(place.path, "w"):
        pass
    copy, begin = place.connect(DATA)
    assert begin.offset == 500
    copy.append(500, DATA[500:])
    assert place.content(place.path + ".1") == DATA[:500]
    assert place.content() == DATA[500:]


def test_killed_after_a_rotation(place):
    """The new file's stretch is on record before its first byte."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    os.rename(place.path, place.path + ".1")
    copy.reopen()
    for more in (0, 40):
        copy.append(500, DATA[500 : 500 + more])
        have = place.open().offer(ME)
        assert (have.first, have.end) == (500, 500 + more)
    copy, begin = place.connect(DATA)
    copy.append(540, DATA[540:])
    assert place.content(place.path + ".1") + place.content() == DATA


def test_hup_during_the_agreement_waits(place):
    """The destination is rotated between offer and begin: the old file is finished first."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    place.append(b"torn")
    copy = place.open()
    assert copy.offer(ME).end == 504
    os.rename(place.path, place.path + ".1")
    copy.reopen()
    copy.begin(Begin(Why.RESUMED, generation(DATA), 500), ME)
    copy.append(500, DATA[500:])
    assert place.content(place.path + ".1") == DATA[:500]
    assert place.content() == DATA[500:]


def test_adoption_of_a_file_that_is_rotated_meanwhile(place):
    """The offer was of the old file: the copy goes on behind it, in the new one."""
    place.append(DATA[:500])
    copy = place.open()
    assert copy.offer(ME).end == 500
    os.rename(place.path, place.path + ".1")
    copy.reopen()
    copy.begin(Begin(Why.ADOPTED, generation(DATA), 500), ME)
    copy.append(500, DATA[500:900])
    assert place.content(place.path + ".1") + place.content() == DATA[:900]
    copy, begin = place.connect(DATA)
    assert begin.offset == 900


# --- beginnings


def test_adopted(place):
    """A copy made by hand becomes ours."""
    place.append(DATA[:1500])
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.ADOPTED, 1500)
    copy.append(1500, DATA[1500:2000])
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 2000)
    copy.append(2000, DATA[2000:])
    assert place.content() == DATA


@pytest.mark.parametrize("marked", [False, True])
def test_witnessed(place, marked):
    """The ledger was lost and the source says where: killed after that, it goes on."""
    place.append(b"older\n" + DATA[:500])
    copy = begun(place, why=Why.WITNESSED, offset=500)
    copy.append(500, DATA[500:900])
    copy.sync()
    if marked:
        copy.mark()
    copy, begin = place.connect(DATA)
    assert begin.offset == 900
    copy.append(900, DATA[900:])
    assert place.content() == b"older\n" + DATA


def test_resent(place):
    """The whole origin once more, behind what is there; who asked for it is remembered."""
    begun(place).append(0, DATA[:500])
    copy = begun(place, why=Why.RESENT)
    copy.append(0, DATA[:100])
    assert place.open().offer(ME).resent
    have = place.open().offer(b"t" * 16)
    assert not have.resent and (have.first, have.end) == (0, 100)
    copy, begin = place.connect(DATA)
    copy.append(100, DATA[100:])
    assert place.content() == DATA[:500] + DATA


def test_a_forked_origin(place):
    """Both contents are kept, one behind the other."""
    copy = begun(place)
    copy.append(0, DATA[:2000])
    copy.close(clean=True)
    other = b"rewritten\n" * 300
    copy, begin = place.connect(other)
    assert begin.why == Why.FORKED
    copy.append(0, other)
    assert place.content() == DATA[:2000] + other


def test_bytes_without_a_generation(place):
    """Version 1: appended behind what is there; nothing is claimed of them."""
    begun(place).append(0, DATA[:100])
    copy = place.open()
    copy.begin_lines()
    copy.append(0, b"abc\n")
    copy.append(4, b"def\n")
    copy.sync()
    copy.close(clean=True)
    assert place.content() == DATA[:100] + b"abc\ndef\n"
    assert place.open().offer(ME) == ev.Have(Holding.UNRECORDED, end=108)


# --- ends


def ended(data, why=Why.ROTATED, digest=None):
    """An End."""
    return ev.End(why, len(data), sha(data) if digest is None else digest)


def test_finish_records_the_end(place):
    """Length and digest are answered; after that the generation is closed."""
    copy = begun(place)
    copy.append(0, DATA)
    assert copy.finish(ended(DATA)) == (len(DATA), sha(DATA))
    assert copy.durable == len(DATA)
    have = place.open().offer(ME)
    assert have.closed and have.mark == have.end == len(DATA)
    (said,) = place.said
    assert said[1].endswith(f"complete, {len(DATA)} bytes, SHA-256 equal")


def test_an_end_that_differs_is_said_with_both_digests(place):
    """So that who compares them by hand knows which side has which."""
    copy = begun(place)
    copy.append(0, DATA)
    copy.finish(ended(DATA, digest=sha(b"other")))
    ((level, text),) = place.said
    assert level == "critical" and f"SHA-256 differs after {len(DATA)} bytes of inode" in text
    there, here = sha(b"other").hex()[:16], sha(DATA).hex()[:16]
    assert text.endswith(f"{there}... at the origin, {here}... here")


def test_finish_twice_is_once(place):
    """The same End again gives the same answer."""
    copy = begun(place)
    copy.append(0, DATA)
    end = ended(DATA)
    assert copy.finish(end) == copy.finish(end)
    with open(place.ledger) as file:
        assert file.read().count('{"end"') == 1


def test_the_next_generation(place):
    """Stands behind the one before it, and counts from 0."""
    copy = begun(place)
    copy.append(0, DATA[:100])
    copy.finish(ended(DATA[:100]))
    copy.begin(Begin(Why.NEXT, generation(b"new", 6), 0), ME)
    copy.append(0, b"new")
    have = place.open().offer(ME)
    assert (have.first, have.end, have.mark, have.closed) == (0, 3, 0, False)
    assert have.generation.ino == 6
    assert copy.finish(ended(b"new")) == (3, sha(b"new"))
    assert place.content() == DATA[:100] + b"new"


def test_the_digest_goes_over_a_rotation_of_the_destination(place):
    """It is the generation's, not the piece's."""
    copy = begun(place)
    copy.append(0, DATA[:500])
    copy.rest(1 << 20)
    assert copy.behind == 0
    os.rename(place.path, place.path + ".1")
    copy.append(500, DATA[500:600])
    copy.reopen()
    copy.append(600, DATA[600:])
    assert copy.finish(ended(DATA)) == (len(DATA), sha(DATA))


def test_different_digests_are_said(place):
    """Loudly, and recorded."""
    copy = begun(place)
    copy.append(0, DATA)
    copy.finish(ended(DATA, digest=b"x" * 32))
    assert any("differ" in text for text in place.said_of("critical"))
    with open(place.ledger) as file:
        assert '"different"' in file.read()


def test_an_empty_generation(place):
    """Begins and ends like any other."""
    copy = begun(place, b"")
    assert copy.finish(ended(b"")) == (0, sha(b""))
    assert place.open().offer(ME).closed


def test_a_gap_is_recorded(place):
    """In the ledger, and loudly."""
    copy = begun(place)
    copy.gap(ev.Gap(generation(DATA), 10, 0, b"deleted"))
    with open(place.ledger) as file:
        assert '{"gap"' in file.read()
    assert any("lost" in text for text in place.said_of("critical"))


def test_append_twice_is_once(place):
    """An append that was made again because a part of it was blocked goes on."""
    copy = begun(place)
    copy.append(0, DATA[:100])
    copy.append(0, DATA[:150])
    copy.append(150, b"")
    assert place.content() == DATA[:150]


def test_head_grows_until_it_is_a_kilobyte(place):
    """A generation that was small when it began is identified by more as it grows."""
    copy = begun(place, b"")
    for size, expected in ((10, 10), (500, 500), (3000, HEAD), (4000, HEAD)):
        copy.append(copy.end, DATA[copy.end : size])
        copy.sync()
        copy.mark()
        known = place.open().offer(ME).generation
        assert (known.head_len, known.head) == (expected, sha(DATA[:expected]))


def test_a_missing_directory_blocks(place, tmp_path):
    """What cannot be opened for now is Blocked, and the same call works later."""
    os.mkdir(tmp_path / "a.ledger")
    copy = place.open()
    with pytest.raises(Blocked, match="a.ledger: cannot open"):
        copy.offer(ME)
    os.rmdir(tmp_path / "a.ledger")
    assert copy.offer(ME).holding == Holding.NOTHING


# --- a random life


@pytest.mark.parametrize("seed", range(40))
def test_any_life_of_a_copy(place, seed):
    """Appends, syncs, kills, torn tails, orderly ends, rotations with and without HUP, lost
    agreements: all pieces of the destination together are a prefix of the origin, always."""
    print("seed", seed)
    rng = random.Random(seed)
    rotated, copy, durable, written = [], None, 0, 0

    def everything():
        return b"".join(place.content(name) for name in [*rotated, place.path])

    for _ in range(60):
        step = rng.choice("aaaassmmkkkcoooRRttt")
        if step == "t" and copy is None and os.path.exists(place.path):
            place_size, floor = os.path.getsize(place.path), sum(map(os.path.getsize, rotated))
            keep = max(rng.randint(durable, written) - floor, 0)
            if keep < place_size:  # a crash of the machine; a clean end is durable
                os.truncate(place.path, keep)
                place.append(bytes(rng.randint(0, 50)))
                written = floor + keep
        elif step == "o":
            if copy is None:
                copy = place.open()
                copy.offer(ME)
                copy.close(clean=True)
                copy = None
        elif step == "R" and os.path.exists(place.path):
            rotated.append(f"{place.path}.{1000 - len(rotated)}")
            os.rename(place.path, rotated[-1])
            with open(place.path, "w"):
                pass
            if copy is not None:
                copy.reopen()
        elif copy is None:
            copy, begin = place.connect(DATA)
            assert begin.offset == written, seed
            assert everything() == DATA[:written], seed
        elif step == "a":
            piece = DATA[written : written + rng.randint(0, 300)]
            copy.append(written, piece)
            written += len(piece)
        elif step == "s":
            durable = copy.sync()
        elif step == "m":
            copy.mark()
        elif step == "k":
            copy = None
        elif step == "c":
            copy.close(clean=True)
            copy, durable = None, written
    copy, begin = place.connect(DATA)
    copy.append(begin.offset, DATA[begin.offset :])
    assert everything() == DATA, seed
    copy.close(clean=True)


def test_unknown_generations_never_mix(place):
    """After version 1 a source of version 2 finds a destination without a record."""
    copy = place.open()
    copy.begin_lines()
    copy.append(0, DATA[:300])
    copy.sync()
    copy.close(clean=True)
    assert generation(DATA) != UNKNOWN
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.ADOPTED, 300)


# --- syncs beside the stream


class Later:
    """A syncer whose syncs end when the test says so."""

    def __init__(self):
        self.syncs = []

    def start(self, work):
        """Begin."""
        self.syncs.append(Job(work))
        return self.syncs[-1]


def test_a_sync_beside_the_stream(place):
    """What was appended when it began is durable when it ends, and no more."""
    copy, later = begun(place), Later()
    copy.append(0, DATA[:100])
    copy.begin_sync(later)
    copy.append(100, DATA[100:150])
    assert copy.syncing and copy.dirty and not copy.synced() and copy.durable == 0
    later.syncs[0].do()
    assert copy.synced() and copy.durable == 100 and copy.dirty
    copy.begin_sync(later)
    assert not copy.dirty
    later.syncs[1].do()
    assert copy.synced() and copy.durable == 150


def checked(place):
    """A copy whose source says what it has read."""
    copy = place.open()
    copy.offer(ME)
    copy.begin(Begin(Why.FRESH, generation(DATA), 0), ME, checked=True)
    return copy


def test_nothing_is_durable_before_it_was_compared(place):
    """What the source has not spoken of yet is on the disk, and is not acknowledged."""
    copy = checked(place)
    copy.append(0, DATA[:100])
    copy.compare(100, zlib.crc32(DATA[:100]))
    copy.append(100, DATA[100:150])
    assert copy.sync() == copy.durable == 100
    copy.compare(150, zlib.crc32(DATA[:150]))
    assert copy.sync() == copy.durable == 150


def test_a_sync_beside_the_stream_compares_what_it_was_told_before(place):
    """A check that comes while a sync is under way waits for the next one."""
    copy, later = checked(place), Later()
    copy.append(0, DATA[:100])
    copy.compare(100, zlib.crc32(DATA[:100]))
    copy.begin_sync(later)
    copy.append(100, DATA[100:150])
    copy.compare(150, zlib.crc32(DATA[:150]))
    later.syncs[0].do()
    assert copy.synced() and copy.durable == 100


@pytest.mark.parametrize("at", [0, 50, 99])
def test_a_byte_that_was_altered_on_its_way_to_the_disk(place, at):
    """It is not acknowledged, whatever altered it: memory here or there, the network, a disk.
    It does not stay in the copy, where nothing could tell any more once the origin is rewritten:
    what was not acknowledged is kept beside it, and comes again."""
    copy = checked(place)
    altered = bytearray(DATA[:100])
    altered[at] ^= 1
    copy.append(0, altered)
    copy.compare(100, zlib.crc32(DATA[:100]))
    with pytest.raises(SyncFailed, match="below offset 100 are not those that were read"):
        copy.sync()
    copy.close(clean=False)
    have = place.open().offer(ME)
    assert (have.clean, have.mark, have.end) == (False, 0, 0)
    assert any(" 0; 100 bytes kept as " in text for text in place.said_of("warning"))


def test_what_stands_in_several_files_is_compared(place):
    """The destination is rotated in the middle, and once more."""
    copy = checked(place)
    for at in range(0, 300, 100):
        copy.append(at, DATA[at : at + 70])
        os.rename(place.path, f"{place.path}.{at}")
        copy.reopen()
        copy.append(at + 70, DATA[at + 70 : at + 100])
        copy.compare(at + 100, zlib.crc32(DATA[: at + 100]))
        assert copy.sync() == at + 100
    copy.append(300, b"?")
    copy.compare(301, zlib.crc32(DATA[:301]))
    with pytest.raises(SyncFailed):
        copy.sync()


def test_bytes_that_are_out_of_reach_for_the_digest(place):
    """Somebody has cut the destination: no digest, and no attempt is made again."""
    copy = begun(place)
    copy.append(0, DATA)
    os.truncate(place.path, 0)
    assert copy.behind == len(DATA)
    copy.rest(1 << 20)
    assert copy.behind == 0


class FullDisk(FS):
    """A disk that nothing can be brought to."""

    @staticmethod
    def fdatasync(fd):
        """Fails."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_sync_beside_the_stream_is_final(place):
    """The kernel tells of a failure once; a sync that comes after it would succeed."""
    copy, later = begun(place), Later()
    copy.append(0, DATA[:100])
    whole, copy.destination.fs = copy.destination.fs, FullDisk()
    copy.begin_sync(later)
    later.syncs[0].do()
    copy.destination.fs = whole
    with pytest.raises(SyncFailed, match="No space left on device"):
        copy.sync()
    assert copy.durable == 0


class Rewriting(FS):
    """Notes what is written again."""

    def __init__(self):
        self.rewritten = []

    def rewrite(self, fd, first, last):
        """As ever."""
        self.rewritten.append((first, last))
        super().rewrite(fd, first, last)


def test_what_is_not_known_to_be_durable_is_written_again_and_then_compared(place):
    """The other way round, memory could be short in between: then other bytes are written again
    than were compared."""
    copy = begun(place)
    copy.append(0, DATA[:100])
    copy.sync()
    copy.mark()
    copy.append(100, DATA[100:300])
    fs = Rewriting()
    copy = place.open(fs)
    have = copy.offer(ME)
    assert fs.rewritten == [(0, os.path.getsize(place.ledger)), (100, 300)]
    copy.begin(Begin(Why.RESUMED, have.generation, 300), ME)
    assert len(fs.rewritten) == 2


def test_much_that_is_written_again_lets_others_have_their_turn(place, monkeypatch):
    """offer() does it in parts and says that it is busy: with a gigabyte and a slow disk the source
    would take us for dead, and the next one would begin anew.  Each part is written once."""
    monkeypatch.setattr(begun_module, "REWRITTEN_AT_ONCE", 3000)
    copy = begun(place)
    copy.append(0, DATA)
    fs, have = Rewriting(), None
    copy = place.open(fs)
    while have is None:
        try:
            have = copy.offer(ME)
        except Busy as busy:
            assert "is written again" in str(busy)
    parts = [(at, min(at + 3000, len(DATA))) for at in range(0, len(DATA), 3000)]
    assert fs.rewritten[1:] == parts and len(parts) > 2
    assert have.end == len(DATA)


def test_a_long_digest_lets_others_have_their_turn(place, monkeypatch):
    """finish() makes it in parts, and says that it is busy."""
    monkeypatch.setattr(copies, "HASHED_AT_ONCE", 3000)
    copy = begun(place)
    copy.append(0, DATA)
    end, parts = ended(DATA), 0
    while True:
        try:
            assert copy.finish(end) == (len(DATA), sha(DATA))
            break
        except Busy:
            parts += 1
    assert parts == (len(DATA) - 1) // 3000


# --- what nobody looks at any more


def test_a_copy_that_was_moved_to_another_disk_counts_as_rotated(place):
    """The destination was copied and deleted, and HUP tells so: nothing of it comes again.
    Fails at 51998aa: what was appended after the last sync came twice."""
    copy = begun(place)
    copy.append(0, DATA[:100])
    os.unlink(place.path)
    copy.reopen()
    assert (copy.durable, copy.end) == (100, 100)
    copy.append(100, DATA[100:200])
    copy.sync()
    assert place.content() == DATA[100:200]


class FailsToClose(FS):
    """close(2) tells that bytes were not written, as NFS, FUSE and quotas do."""

    def close(self, fd):
        """Fail once the destination is let go of."""
        name = os.readlink(f"/dev/fd/{fd}")
        os.close(fd)
        if name.endswith("a.log"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_a_close_that_fails_is_no_clean_end(place):
    """It is not recorded as one, and no bug either (at 51998aa it was)."""
    copy = place.open(FailsToClose())
    copy.offer(ME)
    copy.begin(Begin(Why.FRESH, generation(DATA), 0), ME)
    copy.append(0, DATA[:100])
    copy.close(clean=True)
    assert not place.open().offer(ME).clean


def test_an_end_that_was_not_compared_is_no_clean_end(place):
    """The link is lost between data and its check: the next agreement compares it."""
    copy = checked(place)
    copy.append(0, DATA[:100])
    copy.close(clean=True)
    assert not place.open().offer(ME).clean


def test_what_is_left_behind_is_durable_first(place):
    """Another generation goes behind bytes that no sync has reached: they are synced before."""

    class Recorded(FS):
        synced = []

        def fdatasync(self, fd):
            self.synced.append(os.fstat(fd).st_size)
            os.fdatasync(fd)

    copy = begun(place)
    copy.append(0, DATA[:100])
    copy.close(clean=False)
    copy = place.open(Recorded())
    copy.offer(ME)
    copy.begin(Begin(Why.FORKED, generation(b"other", 6), 0), ME)
    assert Recorded.synced[2] == 100  # behind the ledger's two, whose end was not clean either


# --- a destination is its content


def beside(place):
    """The destination's bytes by name, of it and what was rotated."""
    return {name: place.content(os.path.join(os.path.dirname(place.path), name))
            for name in sorted(os.listdir(os.path.dirname(place.path))) if "ledger" not in name}  # fmt: skip


def move_away(path):
    """The same file with another inode, as `cp -a` brings it back from a backup."""
    os.rename(path, path + "~")
    shutil.copy2(path + "~", path)
    os.unlink(path + "~")


def copied(place, upto, marks=(400, 800, 1500, 2000)):
    """A copy that was brought so far, with some marks, and killed."""
    copy = begun(place)
    for at in (*[mark for mark in marks if mark < upto], upto):
        copy.append(copy.end, DATA[copy.end : at])
        copy.sync()
        copy.mark()
    return copy


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize(
    "ledger_at, copy_at", [(2000, 2000), (800, 2000), (2000, 800), (2000, 900)]
)
def test_restored_from_a_backup(place, clean, ledger_at, copy_at):
    """Copy and ledger come back with other inodes, of the same time or of different times: the
    copy goes on exactly where it ends."""
    copied(place, ledger_at).close(clean=clean)
    ledger = place.content(place.ledger)
    copied_bytes = DATA[:copy_at]
    os.unlink(place.path)
    with open(place.path, "wb") as file:
        file.write(copied_bytes)
    os.unlink(place.ledger)
    with open(place.ledger, "wb") as file:
        file.write(ledger)
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, copy_at)
    copy.append(copy_at, DATA[copy_at:])
    copy.close(clean=True)
    assert place.content() == DATA
    assert place.open().offer(ME).clean


@pytest.mark.parametrize("name", ["a.log", "a.log.1", "a.log-20261125"])
@pytest.mark.parametrize("packed", [False, True])
def test_found_by_content_wherever_it_stands(place, name, packed):
    """Moved, rotated or compressed while the pipe is down, with another inode."""
    if name == "a.log" and not packed:
        return  # that is where it always is
    copied(place, 2000).close(clean=True)
    move_away(place.path)
    target = os.path.join(os.path.dirname(place.path), name)
    os.rename(place.path, target)
    if packed:
        with open(target, "rb") as plain, gzip.open(target + ".gz", "wb") as file:
            file.write(plain.read())
        os.unlink(target)
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 2000)
    copy.append(2000, DATA[2000:])
    assert place.content() == DATA[2000:]


def test_a_compressed_piece_is_read_once_and_in_steps(place, monkeypatch):
    """Others have their turn meanwhile, and what it holds is remembered by the next process."""
    monkeypatch.setattr(standings, "STEP", 1 << 16)
    copied(place, 2000).close(clean=True)
    for n in (1, 2):
        with gzip.open(f"{place.path}.{n}.gz", "wb") as file:
            file.write(random.Random(n).randbytes(300_000))
    os.unlink(place.path)
    turns = []
    for _ in range(2):
        copy, turns_now = place.open(), 0
        while True:
            try:
                have = copy.offer(ME)
                break
            except Busy:
                turns_now += 1
        turns.append(turns_now)
        copy.close(clean=True)
        assert have.end == have.mark == 2000
    assert turns[0] >= 8 and turns[1] == 0


def test_the_ledger_is_older_than_a_rotation(place):
    """The copy was rotated after the ledger's backup: its pieces go on one behind the other."""
    copied(place, 800).close(clean=False)
    ledger = place.content(place.ledger)
    with open(place.path, "ab") as file:
        file.write(DATA[800:1500])
    os.rename(place.path, place.path + ".1")
    with open(place.path, "wb") as file:
        file.write(DATA[1500:1900])
    with open(place.ledger, "wb") as file:
        file.write(ledger)
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 1900)
    copy.append(1900, DATA[1900:])
    assert beside(place) == {"a.log": DATA[1500:], "a.log.1": DATA[:1500]}


@pytest.mark.parametrize("marked", [0, 30])
def test_a_rotated_stretch_of_which_a_mark_knows_no_byte(place, marked):
    """It began high in its generation, and what the mark knows stands in an older file: the number
    of its file is all that is known, and enough."""
    copy = begun(place, why=Why.WITNESSED, offset=1000)
    copy.append(1000, DATA[1000 : 1000 + marked])
    copy.sync()
    copy.mark()
    copy.append(1000 + marked, DATA[1000 + marked : 1150])
    os.rename(place.path, place.path + ".1")
    have = place.open().offer(ME)
    assert (have.first, have.end) == (1000, 1150)
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 1150)


@pytest.mark.parametrize("name", [".1", "-20991231"])
def test_what_the_ledger_knows_is_no_newer_than_it(place, name):
    """The piece of a complete generation has a name that sorts behind the present one's, which is
    empty: it is not taken for what came after it, and nothing of the present one is there."""
    copy = begun(place, DATA[:300], ino=4)
    copy.append(0, DATA[:300])
    copy.finish(ended(DATA[:300]))
    os.rename(place.path, place.path + name)
    copy.reopen()
    copy.begin(Begin(Why.NEXT, generation(b"", 5), 0), ME)
    os.rename(place.path, place.path + ".2")
    with open(place.path, "wb"):
        pass
    copy = place.open()
    have = copy.offer(ME)
    assert (have.generation.ino, have.first, have.end, have.mark) == (5, 0, 0, 0)
    assert [entry.length for entry in copy.past] == [300]


@pytest.mark.parametrize("second_ended", [False, True])
def test_two_compressed_files_with_equal_times_are_two_generations(place, second_ended):
    """Nothing but a time tells them apart before a byte was read: that the second one is under way
    does not make the first one incomplete, and what is complete of both is told."""
    copy = begun(place, DATA[:300], ino=0)
    copy.append(0, DATA[:300])
    copy.finish(ended(DATA[:300]))
    copy.begin(Begin(Why.NEXT, generation(b"", 0), 0), ME)
    if second_ended:
        copy.append(0, DATA[:200])
        copy.finish(ended(DATA[:200]))
    copy = place.open()
    have = copy.offer(ME)
    assert have.closed == second_ended and have.previous_len == 300
    assert [entry.length for entry in copy.past] == [300, 200][: 1 + second_ended]


def test_pieces_that_cannot_be_read_are_named_and_skipped(place):
    """A dangling link and a directory beside the copy hold up nobody."""
    copied(place, 2000).close(clean=True)
    os.rename(place.path, place.path + ".2")
    os.symlink("/nonexistent", place.path + ".1")
    os.mkdir(place.path + ".README")
    copy, begin = place.connect(DATA)
    assert begin.offset == 2000


@pytest.mark.parametrize("name", [".README", ".1", ".1.gz", "-20261125"])
def test_a_file_beside_it_that_nobody_may_read(place, name):
    """It holds up nobody, and is named where it was looked into."""

    class Guarded(FS):
        @staticmethod
        def open(path, flags, mode=0o600):
            if path == place.path + name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return FS().open(path, flags, mode)

    copied(place, 2000).close(clean=True)
    os.rename(place.path, place.path + ".2")
    with open(place.path + name, "wb") as file:
        file.write(b"x")
    os.utime(place.path + name, ns=(1, 1))  # older, so it is looked into first
    assert place.open(Guarded()).offer(ME).end == 2000
    assert all(place.path + name in text for text in place.said_of("warning"))


def test_a_piece_that_can_only_be_read(place):
    """It is enough: the copy goes on behind it in a new file."""

    class ReadOnly(FS):
        @staticmethod
        def open(path, flags, mode=0o600):
            if path.endswith(".1") and flags & os.O_RDWR:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return FS().open(path, flags, mode)

    copied(place, 2000).close(clean=False)
    os.rename(place.path, place.path + ".1")
    copy = place.open(ReadOnly())
    assert copy.offer(ME).end == 2000
    copy.begin(Begin(Why.RESUMED, generation(DATA), 2000), ME)
    copy.append(2000, DATA[2000:])
    assert beside(place) == {"a.log": DATA[2000:], "a.log.1": DATA[:2000]}


@pytest.mark.parametrize("loss", [0, 300, 900])
def test_truncated_under_load(place, loss):
    """copytruncate: what came between copy and truncation is in neither file, and is read again
    at the origin by a new connection, which goes on where the rotated copy ends."""
    copy = copied(place, 2000)
    shutil.copyfile(place.path, place.path + ".1")
    copy.append(2000, DATA[2000 : 2000 + loss])
    os.truncate(place.path, 0)
    at = 2000 + loss
    if loss:
        with pytest.raises(LinkLost, match="connects anew"):
            copy.append(at, DATA[at : at + 100])
        copy.close(clean=True)
        copy, begin = place.connect(DATA)
        at = begin.offset
        assert at == 2000
    copy.append(at, DATA[at:])
    assert beside(place) == {"a.log": DATA[2000:], "a.log.1": DATA[:2000]}


def test_pieces_of_old_generations_are_not_newer_than_the_ledger(place):
    """Though somebody has touched them, and it remembers only the last few: what stood beside the
    copy when its stretch was begun, and all before that, is older."""
    place.mirror = True
    copy = begun(place, b"", ino=10)
    for ino in range(11, 19):
        old = DATA[100 * ino :][:100]
        copy.append(0, old)
        copy.finish(ended(old))
        copy.begin(Begin(Why.NEXT, generation(b"", ino), 0), ME)
    copy.append(0, DATA[:300])
    for name in beside(place):
        os.utime(os.path.join(os.path.dirname(place.path), name), ns=(0, 2 * 10**18))
    os.rename(place.path, place.path + ".1")
    os.utime(place.path + ".1", ns=(0, 10**18))
    have = place.open().offer(ME)
    assert (have.generation.ino, have.first, have.end, have.doubtful) == (18, 0, 300, False)


def test_truncated_under_load_and_written_to(place):
    """The same when somebody else writes to the destination before we come back: his bytes stay, and
    the copy is found all the same."""
    copy = begun(place)
    copy.append(0, DATA[:300])
    shutil.copyfile(place.path, place.path + ".1")
    copy.append(300, DATA[300:900])
    copy.sync()
    copy.mark()
    os.truncate(place.path, 0)
    place.append(b"foreign\n")
    copy, begin = place.connect(DATA)
    assert begin.offset == 300
    copy.append(300, DATA[300:])
    assert beside(place) == {"a.log": b"foreign\n" + DATA[300:], "a.log.1": DATA[:300]}


def write_again(place, data):
    """Somebody puts other content into the destination's file."""
    with open(place.path, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("at", [0, 30, 100, 399])
def test_a_copy_that_is_older_than_all_that_is_known(place, at, noticed):
    """It was made before the first mark, and nobody knows a byte of it: it goes on from its end,
    also when the one who saw the truncation was killed."""
    copy = begun(place)
    copy.append(0, DATA[:at])
    shutil.copyfile(place.path, place.path + ".1")
    for upto in (400, 800, 1500):
        copy.append(copy.end, DATA[copy.end : upto])
        copy.sync()
        copy.mark()
    os.truncate(place.path, 0)
    if noticed:
        with pytest.raises(LinkLost, match="connects anew"):
            copy.append(1500, DATA[1500:1600])
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, at)
    copy.append(at, DATA[at:])
    assert beside(place) == {"a.log": DATA[at:], "a.log.1": DATA[:at]}


def test_a_copy_of_the_present_piece_is_not_the_one_before_it(place):
    """A mirror: the generation before was all that this one begins with, and its piece stands under
    another name.  The copy that was made before the truncation is of this one."""
    place.mirror = True
    copy = begun(place, DATA[:300], ino=4)
    copy.append(0, DATA[:300])
    copy.finish(ended(DATA[:300]))
    copy.begin(Begin(Why.NEXT, generation(DATA, 5), 0), ME)
    copy.append(0, DATA[:500])
    shutil.copyfile(place.path, place.path + ".1")
    copy.append(500, DATA[500:900])
    copy.sync()
    copy.mark()
    os.truncate(place.path, 0)
    copy, begin = place.connect(DATA)
    assert (begin.why, begin.offset) == (Why.RESUMED, 500)
    assert beside(place)["a.log.1"] == DATA[:500]


def test_a_copy_that_is_older_than_a_generation(place):
    """What was complete in the file that was truncated is in neither file: it comes again."""
    copy = begun(place, DATA[:300], ino=4)
    copy.append(0, DATA[:200])
    copy.sync()
    copy.mark()
    shutil.copyfile(place.path, place.path + ".1")
    copy.append(200, DATA[200:300])
    copy.finish(ended(DATA[:300]))
    copy.begin(Begin(Why.NEXT, generation(DATA, 5), 0), ME)
    copy.append(0, DATA[:500])
    copy.sync()
    copy.mark()
    os.truncate(place.path, 0)
    have = place.open().offer(ME)
    assert (have.generation.ino, have.first, have.end, have.closed) == (4, 0, 200, False)
    copy, begin = place.connect(DATA[:300], ino=4)
    assert (begin.why, begin.offset) == (Why.RESUMED, 200)
    assert beside(place) == {"a.log": b"", "a.log.1": DATA[:200]}


@pytest.mark.parametrize("step", ["sync", "finish", "reopen", "begin"])
def test_a_truncation_is_seen_before_anything_is_built_on_it(place, step):
    """Not only the next append asks whether what it follows is still there."""
    copy = place.open()
    copy.offer(ME)
    copy.begin(Begin(Why.FRESH, generation(DATA), 0), ME, checked=True)
    copy.append(0, DATA[:100])
    shutil.copyfile(place.path, place.path + ".1")
    copy.append(100, DATA[100:200])
    copy.compare(200, zlib.crc32(DATA[:200]))
    if step == "begin":
        copy.finish(ended(DATA[:200]))
    os.truncate(place.path, 0)
    steps = {
        "finish": lambda: copy.finish(ended(DATA[:200])),
        "begin": lambda: copy.begin(Begin(Why.NEXT, generation(b"new", 6), 0), ME),
        "sync": copy.sync,
        "reopen": lambda: (os.rename(place.path, place.path + ".0"), copy.reopen()),
    }
    with pytest.raises(LinkLost, match="connects anew"):
        steps[step]()
    copy.close(clean=True)
    assert place.open().offer(ME).end == 100


@pytest.mark.parametrize("change", [b"", DATA[:50], DATA[:250] + b"somebody else"])
def test_what_is_changed_during_the_agreement_is_offered_again(place, change):
    """What was compared is not what stands there: nothing is built on it."""
    copied(place, 200)
    copy = place.open()
    copy.offer(ME)
    write_again(place, change)
    with pytest.raises(LinkLost, match="while it was compared"):
        copy.begin(Begin(Why.RESUMED, generation(DATA), 200), ME)
    copy.close(clean=False)
    assert place.content() == change


def test_a_truncation_without_a_copy_takes_what_was_delivered(place):
    """Old pieces tell nothing of it, empty ones neither: the copy goes on, in the connection."""
    write_again(place, b"")
    os.rename(place.path, place.path + ".1")
    with open(place.path + ".2", "wb") as file:
        file.write(DATA[:300])
    copy = copied(place, 2000)
    os.truncate(place.path, 0)
    copy.append(2000, DATA[2000:])
    assert place.content() == DATA[2000:]


def test_what_was_not_durable_is_written_again(place):
    """After an end that was not clean, what stands behind the mark is not believed because it
    can be read: the kernel counts pages as clean that it could not write.  It is on the disk
    before it is compared: later the kernel may have forgotten such pages, and read others."""

    class Recorded(FS):
        written = []

        def overwrite(self, fd, data, offset):
            if data == DATA[offset : offset + len(data)]:
                self.written.append((offset, len(data)))
            return FS.overwrite(fd, data, offset)

        def fdatasync(self, fd):
            if self.written:
                self.written.append("synced")
            return FS.fdatasync(fd)

    copy = copied(place, 800)
    copy.append(800, DATA[800:2000])
    copy.destination.fs = FullDisk()
    with pytest.raises(SyncFailed):
        copy.sync()
    copy.close(clean=False)
    copy = place.open(Recorded())
    have = copy.offer(ME)
    assert (have.clean, have.torn, have.mark, have.end) == (False, True, 800, 2000)
    assert Recorded.written == [(0, 2000), "synced"]
    copy.begin(Begin(Why.RESUMED, generation(DATA), 2000), ME)
    assert place.content() == DATA[:2000]


def test_late_bytes_are_counted_when_they_are_there(place):
    """The disk is full in the middle of them: the same call goes on, and they are there once."""

    class Filling(FS):
        full = True

        def write(self, fd, data):
            if bytes(data[:4]) in (b"late", b"e la") and self.full:
                if len(data) > 3:
                    Filling.full = None
                    return os.write(fd, data[:3])
            if self.full is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return os.write(fd, data)

    copy = begun(place)
    copy.append(0, DATA[:500])
    copy.finish(ended(DATA[:500]))
    copy.begin(Begin(Why.NEXT, generation(b"new", 6), 0), ME)
    copy.append(0, b"new\n")
    copy.destination.fs = Filling()
    for _ in range(2):
        with pytest.raises(Blocked):
            copy.append_late(generation(DATA[:500]), 500, b"late line\n")
        assert copy._ledger.complete[-1].length == 500
    Filling.full = False
    copy.append_late(generation(DATA[:500]), 500, b"late line\n")
    assert [(c.length, c.digest) for c in copy._ledger.complete] == [
        (510, sha(DATA[:500] + b"late line\n"))
    ]
    copy.append_late(generation(DATA[:500]), 500, b"late line\n")
    copy.append(4, b"more\n")
    assert place.content() == DATA[:500] + b"new\nlate line\nmore\n"


@pytest.mark.parametrize("rotated", [0, 300])
def test_late_bytes_find_their_piece_of_a_mirror(place, rotated):
    """By its content where it has other numbers now; and where somebody else has rotated the copy,
    too, it is the file that the generation ends in."""
    place.mirror = True
    copy = begun(place)
    copy.append(0, DATA[: rotated or 500])
    if rotated:
        os.rename(place.path, place.path + ".9")
        copy.reopen()
        copy.append(rotated, DATA[rotated:500])
    copy.finish(ended(DATA[:500]))
    copy.begin(Begin(Why.NEXT, generation(b"new", 6), 0), ME)
    (piece,) = [name for name in beside(place) if name not in ("a.log", "a.log.9")]
    if not rotated:
        move_away(os.path.join(os.path.dirname(place.path), piece))
    for line in b"late line\n", b"another\n":
        copy.append_late(generation(DATA[:500]), copy._ledger.complete[-1].length, line)
    assert beside(place)[piece] == DATA[rotated:500] + b"late line\nanother\n"


def test_late_bytes_of_what_was_empty(place):
    """Nothing had been written to it when it was rotated: its first bytes are late ones."""
    copy = begun(place, b"")
    copy.finish(ended(b""))
    copy.begin(Begin(Why.NEXT, generation(b"new", 6), 0), ME)
    copy.append_late(generation(b""), 0, b"late line\n")
    (entry,) = copy._ledger.complete
    assert (entry.length, entry.digest) == (10, sha(b"late line\n"))
    assert (entry.generation.head_len, entry.generation.head) == (10, sha(b"late line\n"))


def test_what_is_cut_off_is_not_for_more_people_than_the_copy(place):
    """Mode and owner are those of the copy."""
    copied(place, 800).close(clean=False)
    os.chmod(place.path, 0o600)
    place.append(b"torn")
    place.connect(DATA)
    (kept,) = [name for name in os.listdir(os.path.dirname(place.path)) if ".cut" in name]
    assert os.stat(os.path.join(os.path.dirname(place.path), kept)).st_mode & 0o777 == 0o600


def test_a_forgotten_ledger_with_a_rotated_copy_is_said(place):
    """The whole origin comes again, and the log says why."""
    copied(place, 2000).close(clean=True)
    os.rename(place.path, place.path + ".1")
    os.unlink(place.ledger)
    begun(place)
    assert any("rotated files stand here" in text for text in place.said_of("critical"))


@pytest.mark.parametrize("mirror", [False, True])
def test_a_rotation_that_was_undone(place, mirror):
    """The generation that was complete goes on at its end; in a mirror its piece does."""
    place.mirror = mirror
    copy = begun(place)
    copy.append(0, DATA[:500])
    copy.finish(ended(DATA[:500]))
    copy.begin(Begin(Why.NEXT, generation(b"new", 6), 0), ME)
    copy.append(0, b"new\n")
    copy.finish(ended(b"new\n"))
    copy.begin(Begin(Why.REOPENED, generation(DATA[:500]), 500), ME)
    copy.append(500, DATA[500:900])
    assert copy.finish(ended(DATA[:900]))[0] == 900
    assert [c.length for c in copy._ledger.complete] == [4, 900]
    if mirror:
        assert sorted(beside(place).values()) == sorted([DATA[:900], b"new\n"])
    else:
        assert place.content() == DATA[:500] + b"new\n" + DATA[500:900]
    have = place.open().offer(ME)
    assert have.closed and have.end == 900
