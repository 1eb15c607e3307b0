"""Where two copies last agree: every decision, in a little world of bytes in memory."""

import hashlib
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcppipe.cursor import HEAD, NO_DIGEST, TAIL, UNKNOWN, Cursor, Generation
from tcppipe.session.actions import Await, Candidate, Found, Length, Measure, Search
from tcppipe.session.agree import agree
from tcppipe.session.begin import PROOF, REACH
from tcppipe.session.compare import common
from tcppipe.session.find import CHANCE
from tcppipe.session.known import merged
from tcppipe.wire.events import Complete, Have, Holding, Probe, Why
from tcppipe.wire.frames import MAX_RANGES

KEY = b"k" * 16


def digest_in(data, first, length):
    """What both sides answer for a range: NO_DIGEST when it is not there in full."""
    if first < 0 or first + length > len(data):
        return NO_DIGEST
    return hashlib.sha256(data[first : first + length]).digest()


def lines(seed, count):
    """`count` bytes of lines that are nowhere alike."""
    text = b"".join(b"%s line %d\n" % (seed.encode(), n) for n in range(count // 8 + 1))
    return text[:count]


def generation(data, ino=1, born=0, head_len=None):
    """What identifies a file of this content."""
    head = data[: HEAD if head_len is None else head_len]
    digest = digest_in(head, 0, len(head)) if head else NO_DIGEST
    return Generation(1, ino, 0, born, len(head), digest)


class File(NamedTuple):
    """A file at the origin."""

    name: str
    data: bytes
    ino: int
    mtime: int
    live: bool = False
    born: int = 0


class World:
    """Origin files, oldest first, and a destination with what a ledger says of it."""

    def __init__(self, files, copy=b"", have=None):
        self.copy = copy  # the bytes that the sink offers, from have.first on
        self.have = have or Have(Holding.NOTHING)
        self.candidates = []
        self.content = {}
        self.complete = []  # what the source itself knows to be complete
        self.searched = None
        self.broken = set()  # the names of compressed files that end too soon
        self.probed = self.measured = 0  # bytes
        for file in files:
            known, size = generation(file.data, file.ino, file.born), len(file.data)
            self.candidates.append(Candidate(file.name, known, size, file.mtime, file.live))
            self.content[file.name, file.ino] = file.data

    @property
    def found(self):
        """What a search finds: every file, in no order but that the live one is the last."""
        return Found("log", self.candidates, self.complete)

    def run(self, generator):
        """Answer what the generator asks for; its result."""
        digests = None
        while True:
            try:
                asked = generator.send(digests)
            except StopIteration as stop:
                return stop.value
            if isinstance(asked, Search):
                self.searched = asked
                digests = self.found
                continue
            if isinstance(asked, Await):
                digests = asked.candidate
                continue
            if isinstance(asked, Length):
                broken = asked.candidate.name in self.broken
                digests = -1 if broken else len(self._content(asked.candidate))
                continue
            assert len(asked.ranges) <= MAX_RANGES
            if isinstance(asked, Measure):
                data = self._content(asked.candidate)
                self.measured += sum(length for _first, length in asked.ranges)
                digests = tuple(digest_in(data, *item) for item in asked.ranges)
            else:
                assert isinstance(asked, Probe)
                digests = tuple(self._prove(*item) for item in asked.ranges)

    def _content(self, candidate):
        return self.content[candidate.name, candidate.generation.ino]

    def _prove(self, first, length):
        have = self.have
        assert have.first <= first and first + length <= have.end, "asks for what was not offered"
        self.probed += length
        return digest_in(self.copy, first - have.first, length)

    def agree(self, **kw):
        """The plan."""
        return self.run(agree(self.have, self.found, **kw))


def recorded(data, copy=None, mark=None, ino=1, first=0, **kw):
    """A Have of a generation with content `data`, durable below `mark`; copy: what stands there."""
    copy = data[first:] if copy is None else copy
    mark = first + len(copy) if mark is None else mark
    tail_len = min(TAIL, mark - first)
    have = Have(
        Holding.RECORDED,
        generation=generation(data[:mark], ino),
        first=first,
        end=first + len(copy),
        mark=mark,
        tail_len=tail_len,
        tail=digest_in(data, mark - tail_len, tail_len),
        clean=False,
    )
    return have._replace(**kw)


def decided(plan):
    """(file, reason, offset) of a plan."""
    return plan.candidate.name, plan.begin.why, plan.begin.offset


OLD = lines("old", 5000)
NEW = lines("new", 3000)
LIVE = File("log", OLD, 1, 10, True)

# --- the first connection


def test_nothing_there_begins_at_the_live_file():
    """No ledger, no destination, no witness: the live file from its beginning."""
    world = World([LIVE])
    assert decided(world.agree()) == ("log", Why.FRESH, 0)
    assert world.measured == 0


def test_nothing_there_begins_at_what_was_the_live_file():
    """It was rotated since we came and before the sink was reached: that one first."""
    files = [File("log.1", OLD, 1, 5), File("log", NEW, 2, 10, True)]
    assert decided(World(files).agree()) == ("log.1", Why.FRESH, 0)


def test_a_lost_witness_brings_no_older_file_back():
    """The witnessed generation is nowhere: on with what came after it."""
    files = [File("log.2", OLD, 1, 5), File("log.1", NEW, 2, 20), File("log", b"x", 3, 30, True)]
    gone = generation(lines("gone", 500), ino=9, born=10)
    assert decided(World(files).agree(witness=Cursor(gone, 100))) == ("log.1", Why.FRESH, 0)


def test_what_stood_there_before_a_lost_witness_stays_there():
    """That it was seen when we came does not make it younger than the lost generation."""
    world = World([File("log.1", OLD, 1, 5), File("log", NEW, 3, 30, True)])
    world.candidates[0] = world.candidates[0]._replace(turn=-1)
    gone = Cursor(generation(lines("gone", 500), ino=9, born=10), 100)
    assert decided(world.agree(witness=gone)) == ("log", Why.FRESH, 0)


def test_what_cannot_be_read_after_a_lost_witness_is_a_gap():
    """It came after the lost generation, and is not passed over in silence."""
    files = [File("log.2", OLD, 1, 20), File("log.1", NEW, 2, 25), File("log", b"x", 3, 30, True)]
    world = World(files)
    world.candidates[0] = world.candidates[0]._replace(trouble="Permission denied")
    gone = Cursor(generation(lines("gone", 500), ino=9, born=10), 100)
    plan = world.agree(witness=gone)
    assert decided(plan) == ("log.1", Why.FRESH, 0)
    assert [gap.reason for gap in plan.gaps] == [b"log.2: Permission denied"]


def test_a_copy_of_what_is_begun_with_does_not_come_again():
    """What was rotated since we came was compressed under a name of another kind, too."""
    old, same = File("log.1", OLD, 1, 15), File("log-20260102", OLD, 2, 16)
    world = World([old, same, File("log", NEW, 3, 30, True)])
    world.candidates[0] = world.candidates[0]._replace(turn=0)
    gone = Cursor(generation(lines("gone", 500), ino=9, born=10), 100)
    plan = world.agree(witness=gone)
    assert decided(plan) == ("log.1", Why.FRESH, 0) and later(plan) == ["log"]


def test_an_empty_origin():
    """An empty live file is a beginning like any other."""
    assert decided(World([File("log", b"", 1, 0, True)]).agree()) == ("log", Why.FRESH, 0)


# --- the ledger knows the generation


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 4999, 5000])
@pytest.mark.parametrize("clean", [False, True])
def test_resumes_exactly(size, clean):
    """The same bytes on both sides: on from the destination's end, whatever the mark says."""
    for mark in {0, size // 2, size}:
        if clean and mark != size:
            continue
        have = recorded(OLD, OLD[:size], mark, clean=clean)
        world = World([LIVE], OLD[:size], have)
        if have.generation.head_len:
            assert decided(world.agree()) == ("log", Why.RESUMED, size)


def test_what_is_durable_is_not_compared_again():
    """A long clean copy costs the head and the tail, and a last look at the very end."""
    data = lines("long", 1_000_000)
    world = World([File("log", data, 1, 1, True)], data, recorded(data, clean=True))
    assert decided(world.agree()) == ("log", Why.RESUMED, len(data))
    assert world.probed <= PROOF and world.measured <= HEAD + TAIL + 2 * PROOF


@pytest.mark.parametrize("first_bad", [2000, 2001, 3333, 4998, 4999])
def test_a_torn_tail_is_cut_at_the_first_byte_that_differs(first_bad):
    """Above the mark everything is compared; what is good is kept to the byte."""
    copy = OLD[:first_bad] + bytes([OLD[first_bad] ^ 1]) + OLD[first_bad + 1 :]
    world = World([LIVE], copy, recorded(OLD, copy, 2000))
    assert decided(world.agree()) == ("log", Why.RESUMED, first_bad)


def test_a_tail_of_zeros_is_cut():
    """What file systems leave after a power cut."""
    copy = OLD[:3000] + bytes(1500)
    world = World([LIVE], copy, recorded(OLD, copy, 2000))
    assert decided(world.agree()) == ("log", Why.RESUMED, 3000)


def test_zeros_that_belong_there_are_kept():
    """NUL bytes of the origin's own are bytes like others."""
    data = OLD[:1000] + bytes(3000) + OLD[:1000]
    copy = data[:2500]
    world = World([File("log", data, 1, 1, True)], copy, recorded(data, copy, 1000))
    assert decided(world.agree()) == ("log", Why.RESUMED, 2500)


def test_garbage_behind_the_origins_end_is_cut():
    """The destination is longer than the origin: no more than the origin has can be right."""
    copy = OLD + b"garbage" * 100
    world = World([LIVE], copy, recorded(OLD, copy, 4000))
    assert decided(world.agree()) == ("log", Why.RESUMED, 5000)


@pytest.mark.parametrize("end", [0, 1, 700, 2999])
def test_shorter_than_its_mark_is_damaged(end):
    """Cut below what was durable: the bytes that are left are compared from the beginning."""
    copy = OLD[:end]
    have = recorded(OLD, copy, 3000, damaged=True)
    assert decided(World([LIVE], copy, have).agree()) == ("log", Why.RESUMED, end)


@pytest.mark.parametrize("first_bad", [0, 1, 1500, 2999])
def test_damaged_below_its_mark_is_healed_from_the_first_bad_byte(first_bad):
    """A destination whose durable part is not what was recorded goes back as far as it must."""
    copy = bytearray(OLD[:4000])
    copy[first_bad] ^= 0xFF
    have = recorded(OLD, bytes(copy), 3000, damaged=True)
    assert decided(World([LIVE], bytes(copy), have).agree()) == ("log", Why.RESUMED, first_bad)


def test_foreign_bytes_after_a_clean_end_stay():
    """The sink closed in order at the mark, and somebody wrote behind it: on behind that."""
    copy = OLD[:3000] + b"not ours\n"
    world = World([LIVE], copy, recorded(OLD, copy, 3000, clean=True))
    assert decided(world.agree()) == ("log", Why.FOREIGN, 3000)


@pytest.mark.parametrize("mark", [0, 500, 1999])
def test_a_stretch_that_begins_above_the_mark(mark):
    """The destination went on elsewhere (truncated, or behind foreign bytes) after the last mark:
    only what the stretch holds is asked for."""
    have = recorded(OLD, OLD[2000:3000], 3000, first=2000)
    tail_len = min(TAIL, mark)
    tail = digest_in(OLD, mark - tail_len, tail_len)
    have = have._replace(mark=mark, tail_len=tail_len, tail=tail)
    have = have._replace(generation=generation(OLD[: mark or 100]))
    assert decided(World([LIVE], OLD[2000:3000], have).agree()) == ("log", Why.RESUMED, 3000)


# --- which file is the generation


def test_found_by_content_under_another_name_and_inode():
    """Renamed, or copied by copytruncate: the content tells, the inode number does not."""
    files = [File("log.1", OLD, 77, 20), File("log", NEW, 1, 30, True)]
    world = World(files, OLD[:4000], recorded(OLD, OLD[:4000], ino=1))
    assert decided(world.agree()) == ("log.1", Why.RESUMED, 4000)


def test_a_reused_inode_proves_nothing():
    """The live file has the number of the old one, and other content: nothing is repeated."""
    files = [File("log", NEW + OLD, 1, 30, True)]
    plan = World(files, OLD, recorded(OLD, ino=1)).agree()
    assert decided(plan) == ("log", Why.FORKED, 0)
    assert [gap.first for gap in plan.gaps] == [len(OLD)]


def test_same_beginning_is_told_apart_at_the_cursor():
    """Two files begin with the same kilobyte: the bytes below the cursor decide."""
    banner = lines("banner", HEAD)
    files = [File("log.1", banner + OLD, 5, 20), File("log", banner + NEW + OLD, 6, 30, True)]
    copy = (banner + OLD)[:4000]
    world = World(files, copy, recorded(banner + OLD, copy, ino=99))
    assert decided(world.agree()) == ("log.1", Why.RESUMED, 4000)


def test_same_content_so_far_is_told_apart_by_inode_and_time():
    """Two files are equal as far as the cursor: the generation is no file that was changed last
    before it was begun."""
    files = [File("log.1", OLD + b"1\n", 5, 20), File("log", OLD + b"2\n", 6, 30, True)]
    for ino, born, name in (5, 10, "log.1"), (6, 25, "log"):
        have = recorded(OLD, ino=ino)
        have = have._replace(generation=have.generation._replace(born=born))
        assert decided(World(files, OLD, have).agree()) == (name, Why.RESUMED, len(OLD))


def test_a_file_shorter_than_what_is_durable_is_another():
    """The origin was truncated, and holds the beginning again: a fork, nothing is cut."""
    plan = World([File("log", OLD[:1000], 1, 30, True)], OLD, recorded(OLD)).agree()
    assert decided(plan) == ("log", Why.FORKED, 0)


def test_an_empty_generation():
    """Nothing was delivered yet: a renamed file with the inode is the same generation.  An older
    one that was changed after this was begun may be a copy of it, made before the live file was
    truncated; it comes first, because to pass it over could lose it."""
    files = [File("log.1", OLD, 5, 25), File("log", NEW, 6, 30, True)]
    for ino, why in (5, Why.RESUMED), (6, Why.RESUMED), (7, Why.LOST):  # of 7 nothing is left
        have = recorded(b"", ino=ino)
        have = have._replace(generation=have.generation._replace(born=20))
        assert decided(World(files, b"", have).agree()) == ("log.1", why, 0)


@pytest.mark.parametrize("torn, why", [(False, Why.FORKED), (True, Why.RESUMED)])
@pytest.mark.parametrize("now", [NEW, b""], ids=["rewritten", "emptied"])
def test_nothing_durable_and_nothing_alike(now, torn, why):
    """A child was killed before it had marked anything, and the origin was truncated.  What was
    delivered stays, and the new content comes behind it; it is cut off only where the machine has
    crashed, because it may never have been written then."""
    have = recorded(OLD, mark=0, torn=torn)
    plan = World([File("log", now, 1, 30, True)], OLD, have).agree()
    assert decided(plan) == ("log", why, 0)
    assert len(plan.gaps) == (not torn)


@pytest.mark.parametrize("changed, name", [(25, "log.1"), (15, "log")])
def test_a_copy_that_stood_there_when_we_came(changed, name):
    """The live file was copied and truncated while nobody ran: since it was held, the copy has
    stood beside it, and has what it held before; an older file has not."""
    files = [File("log.1", OLD, 5, changed), File("log", NEW, 1, 30, True)]
    have = recorded(b"")
    world = World(files, b"", have._replace(generation=have.generation._replace(born=20)))
    world.candidates = [c._replace(turn=0 if c.live else -1) for c in world.candidates]
    assert decided(world.agree()) == (name, Why.RESUMED, 0)


def test_behind_a_witnessed_place_a_copy_does_not_come_again():
    """Without a ledger, too, what follows is what the row of files says: no copy of the file that
    is gone on with, under a name of another kind."""
    old, same = File("log.1", OLD, 1, 5), File("log-20260102", OLD, 2, 6)
    files = [old, same, File("log", NEW, 3, 9, True)]
    for have, copy in (Have(Holding.NOTHING), b""), (unrecorded(OLD[:2000]), OLD[:2000]):
        plan = World(files, copy, have).agree(witness=Cursor(generation(OLD), 2000))
        assert not plan.candidate.live and later(plan) == ["log"]


def below_the_stretch(mark):
    """A Have whose present stretch is higher than its durable mark; mark 0: of no known content."""
    have = recorded(OLD, OLD[2000:3000], 3000, first=2000)
    if not mark:
        nothing = Generation(1, 1, 0, 0, 0, NO_DIGEST)
        return have._replace(generation=nothing, end=2000, mark=2000, tail_len=0, tail=NO_DIGEST)
    tail = digest_in(OLD, mark - TAIL, TAIL)
    return have._replace(mark=mark, tail_len=TAIL, tail=tail, generation=generation(OLD[:mark]))


@pytest.mark.parametrize("mark", [0, 1000])
def test_what_is_shorter_than_what_was_delivered_is_a_fork(mark):
    """The file was truncated below the place where the present stretch begins: there is no place
    in it from which the sink would take anything, so nobody asks it to, for ever in vain."""
    have = below_the_stretch(mark)
    plan = World([File("log", OLD[:1500], 1, 30, True)], OLD[2000 : have.end], have).agree()
    assert decided(plan) == ("log", Why.FORKED, 0)
    assert [gap.first for gap in plan.gaps] == [have.end]


def test_a_broken_file_that_comes_next_is_no_place_to_wait_at():
    """Its first bytes can be read and its size cannot: it comes as far as it goes."""
    files = [File("log.1.gz", OLD, 0, 20), File("log", NEW, 2, 30, True)]
    have = Have(Holding.RECORDED, generation=Generation(1, 7, 0, 0, 0, NO_DIGEST), clean=False)
    world = World(files, b"", have)
    world.candidates[0] = world.candidates[0]._replace(size=None)
    world.broken.add("log.1.gz")
    plan = world.agree()
    assert decided(plan) == ("log.1.gz", Why.LOST, 0) and later(plan) == ["log"]


# --- generations that are complete


def closed(data, **kw):
    """A Have of a generation that was delivered to its end."""
    return recorded(data, closed=True, **kw)


def test_a_closed_generation_goes_to_the_next():
    """Its file is found, complete; the one after it begins."""
    files = [File("log.2", OLD, 1, 10), File("log.1", NEW, 2, 20), File("log", b"", 3, 30, True)]
    assert decided(World(files, OLD, closed(OLD)).agree()) == ("log.1", Why.NEXT, 0)
    assert decided(World(files, NEW, closed(NEW, ino=2)).agree()) == ("log", Why.NEXT, 0)


def test_a_closed_generation_without_a_next_waits_at_its_end():
    """There is no newer file yet: stand at the end of the old one."""
    plan = World([File("log.1", OLD, 1, 10)], OLD, closed(OLD)).agree()
    assert decided(plan) == ("log.1", Why.RESUMED, len(OLD))


def test_a_closed_generation_is_never_the_live_file():
    """Another file that begins in the same way stands under the name: that is the next one."""
    plan = World([File("log", OLD, 2, 10, True)], OLD, closed(OLD)).agree()
    assert plan.begin.offset == 0 and plan.begin.why in (Why.LOST, Why.FORKED)
    assert not plan.gaps


def test_a_closed_generation_whose_rotation_was_undone():
    """The very file stands under the name again: it goes on where it was complete."""
    plan = World([File("log", OLD + b"more", 1, 10, True)], OLD, closed(OLD)).agree()
    assert decided(plan) == ("log", Why.RESUMED, len(OLD))


def test_a_closed_generation_matches_only_its_length():
    """A longer file with the same bytes, elsewhere, is another one."""
    files = [File("log.1", OLD + NEW, 8, 10), File("log", b"x", 3, 30, True)]
    assert decided(World(files, OLD, closed(OLD)).agree()) == ("log.1", Why.LOST, 0)


def test_late_bytes_behind_a_closed_generation_repeat_nothing():
    """A writer held on to the old file after it was closed: the file is longer now, and what
    was delivered of it is not sent again."""
    files = [File("log.1", OLD + b"late\n", 1, 10), File("log", NEW, 3, 30, True)]
    name, _why, offset = decided(World(files, OLD, closed(OLD)).agree())
    assert (name, offset) in [("log.1", len(OLD)), ("log", 0)]


def test_foreign_bytes_behind_a_closed_generation_are_no_matter():
    """The next generation goes behind them."""
    files = [File("log.1", OLD, 1, 10), File("log", NEW, 2, 20, True)]
    have = closed(OLD, copy=OLD + b"foreign", mark=len(OLD), clean=True)
    assert decided(World(files, OLD + b"foreign", have).agree()) == ("log", Why.NEXT, 0)


def test_a_torn_closed_generation_is_healed_first():
    """The end was recorded, yet the destination lost a part of it."""
    files = [File("log.1", OLD, 1, 10), File("log", NEW, 2, 20, True)]
    have = closed(OLD, copy=OLD[:3000], mark=len(OLD), damaged=True)
    assert decided(World(files, OLD[:3000], have).agree()) == ("log.1", Why.RESUMED, 3000)


# --- what is gone


def test_a_generation_that_is_gone_is_a_gap():
    """Deleted before it was read to its end: said, and on with the oldest later file."""
    files = [File("log.1", NEW, 2, 20), File("log", b"", 3, 30, True)]
    plan = World(files, OLD[:100], recorded(OLD, OLD[:100])).agree()
    assert decided(plan) == ("log.1", Why.LOST, 0)
    assert (plan.gaps[0].first, plan.gaps[0].last, plan.gaps[0].generation.ino) == (100, 0, 1)
    assert b"deleted" in plan.gaps[0].reason


def test_a_closed_generation_that_is_gone_is_no_gap():
    """It was delivered to its end."""
    files = [File("log", NEW, 3, 30, True)]
    plan = World(files, OLD, closed(OLD)).agree()
    assert decided(plan) == ("log", Why.LOST, 0) and not plan.gaps


def test_files_older_than_what_is_gone_are_not_sent():
    """Only what came after it."""
    files = [File("log.2", OLD, 2, 5), File("log.1", NEW, 3, 20), File("log", b"", 4, 30, True)]
    have = recorded(lines("gone", 500))
    have = have._replace(generation=have.generation._replace(ino=9, born=10))
    assert decided(World(files, lines("gone", 500), have).agree()) == ("log.1", Why.LOST, 0)


def test_a_rewritten_origin_is_a_fork():
    """The same inode, other content: the new content from its beginning, behind the old."""
    plan = World([File("log", NEW, 1, 30, True)], OLD[:900], recorded(OLD, OLD[:900])).agree()
    assert decided(plan) == ("log", Why.FORKED, 0)
    assert b"rewritten" in plan.gaps[0].reason


def test_a_rewritten_origin_brings_no_older_file_back():
    """The rotated file was written to after the live one was begun; it is the older one still,
    and was delivered: the fork begins at the live file."""
    files = [File("log.1", OLD, 1, 25), File("log", lines("again", 700), 2, 30, True)]
    have = recorded(NEW, ino=2, previous=generation(OLD), previous_len=len(OLD))
    have = have._replace(previous_digest=digest_in(OLD, 0, len(OLD)))
    have = have._replace(generation=have.generation._replace(born=20))
    assert decided(World(files, NEW, have).agree()) == ("log", Why.FORKED, 0)


@pytest.mark.parametrize("late", [b"", b"late line\n"])
def test_the_generation_before_is_not_sent_again(late):
    """The present one is gone; the one before it still is there, and was changed last in the
    same tick or later."""
    files = [File("log.2", OLD + late, 1, 25), File("log.1", b"x", 3, 30)]
    have = recorded(NEW, ino=2, previous=generation(OLD), previous_len=len(OLD))
    have = have._replace(previous_digest=digest_in(OLD, 0, len(OLD)))
    have = have._replace(generation=have.generation._replace(born=20))
    assert decided(World(files, NEW, have).agree()) == ("log.1", Why.LOST, 0)


def test_late_bytes_of_an_older_generation_than_the_lost_one():
    """They are waited for, too; on a device that has another number by now."""
    files = [File("log.2", OLD + b"late line\n", 1, 25), File("log", b"x", 3, 30, True)]
    have = recorded(NEW, ino=2)
    world = World(files, NEW, have)
    for at, candidate in enumerate(world.candidates):
        moved = candidate.generation._replace(dev=2)
        world.candidates[at] = candidate._replace(generation=moved)
    plan = world.agree(past=[complete(OLD, 1)])
    assert decided(plan) == ("log", Why.LOST, 0)
    assert [(candidate.name, length) for candidate, length in plan.late] == [("log.2", len(OLD))]


def test_an_older_sink_is_told_of_late_bytes_of_the_last_generation():
    """Of these only, however many were delivered before."""
    first = lines("first", 1000)
    files = [
        File("log.2", first + b"late line\n", 5, 20),
        File("log.1", OLD + b"late line\n", 1, 25),
        File("log", NEW, 3, 30, True),
    ]
    have = recorded(NEW, ino=3, previous=generation(OLD), previous_len=len(OLD), minor=1)
    have = have._replace(previous_digest=digest_in(OLD, 0, len(OLD)))
    plan = World(files, NEW, have).agree(past=[complete(first, 5), complete(OLD, 1)])
    assert [(candidate.name, length) for candidate, length in plan.late] == [("log.1", len(OLD))]


def test_late_bytes_where_the_ledger_is_older_than_the_copy():
    """The status file says where to go on; what was complete before may have grown."""
    files = [File("log.1", OLD + b"late line\n", 1, 25), File("log", NEW, 3, 30, True)]
    have = recorded(b"lost", ino=9, doubtful=True)._replace(end=len(NEW))
    plan = World(files, NEW, have).agree(
        witness=Cursor(generation(NEW, 3), 2000), past=[complete(OLD, 1)]
    )
    assert plan.begin.why == Why.WITNESSED
    assert [(candidate.name, length) for candidate, length in plan.late] == [("log.1", len(OLD))]


def test_a_status_file_that_nothing_is_compared_with_proves_nothing():
    """The file is sent once more, which has only begun, and the ledger is in doubt: the status file
    tells how far the first time had got."""
    have = recorded(OLD, copy=b"", mark=0, doubtful=True, resent=True)
    plan = World([LIVE], b"", have).agree(witness=Cursor(generation(OLD), 2000), resend=True)
    assert decided(plan) == ("log", Why.RESUMED, 0)


def test_only_the_sink_knows_which_late_bytes_have_come():
    """The source has sent some, and the sink was killed before it had them."""
    ours = complete(OLD, 1)._replace(length=len(OLD) + 10, digest=b"l" * 32)
    assert merged([complete(OLD, 1)], [ours]) == [complete(OLD, 1)]


class Changing(World):
    """The destination, or the origin, becomes another one while it is compared."""

    def _prove(self, first, length):
        super()._prove(first, length)
        return digest_in(b"changed", 0, 7)


def test_a_file_that_changes_meanwhile():
    """Nothing is decided: all has to begin anew."""
    assert Changing([LIVE], OLD[:3000], recorded(OLD, OLD[:3000])).agree() is None


def test_the_place_to_go_on_from_can_be_checked():
    """A plan has the digest of the bytes just below, for the one who begins to read there."""
    plan = World([LIVE], OLD[:3000], recorded(OLD, OLD[:3000])).agree()
    length, digest = plan.proof
    assert length and digest == digest_in(OLD, 3000 - length, length)
    assert World([LIVE]).agree().proof == (0, NO_DIGEST)


def test_a_difference_below_the_mark_at_the_origin_is_a_fork():
    """Somebody has edited what was delivered; the destination keeps its own."""
    edited = OLD[:1500] + b"EDITED" + OLD[1506:]
    plan = World([File("log", edited, 1, 30, True)], OLD[:4000], recorded(OLD, OLD[:4000])).agree()
    assert decided(plan) == ("log", Why.FORKED, 0)


# --- the ledger is lost, or never was


def unrecorded(copy):
    """A Have of a destination that nobody knows anything of."""
    return Have(Holding.UNRECORDED, end=len(copy))


@pytest.mark.parametrize("size", [1, 1024, 4999, 5000])
def test_a_copy_made_by_hand_is_adopted(size):
    """Its whole content is the beginning of the origin: on behind it."""
    copy = OLD[:size]
    assert decided(World([LIVE], copy, unrecorded(copy)).agree()) == ("log", Why.ADOPTED, size)


def test_a_copy_of_a_rotated_file_is_adopted():
    """It may have been copied before the rotation."""
    files = [File("log.1", OLD, 5, 20), File("log", NEW, 6, 30, True)]
    copy = OLD[:1234]
    assert decided(World(files, copy, unrecorded(copy)).agree()) == ("log.1", Why.ADOPTED, 1234)


@pytest.mark.parametrize("there", [5001, 5300, 8000, 8700])
def test_a_copy_of_several_files_is_adopted(there):
    """It was restored from a backup, and its ledger is lost: it goes on in the file that it ends in,
    and what we delivered later, when all was well, comes again."""
    third = lines("third", 900)
    files = [File("log.2", OLD, 4, 10), File("log.1", NEW, 5, 20), File("log", third, 6, 30, True)]
    copy = (OLD + NEW + third)[:there]
    world = World(files, copy, unrecorded(copy))
    world.complete = [
        Complete(generation(data, ino), len(data), digest_in(data, 0, len(data)))
        for data, ino in ((OLD, 4), (NEW, 5))
    ]
    plan = world.agree(witness=Cursor(generation(third, 6), 900))
    if there < 8000 + CHANCE:
        assert decided(plan) == ("log.1", Why.WITNESSED, there - 5000)
        assert [candidate.name for candidate in plan.later] == ["log"]
        assert [entry.length for entry in plan.past] == [5000]
    else:
        assert decided(plan) == ("log", Why.WITNESSED, there - 8000)
        assert [entry.length for entry in plan.past] == [5000, 3000]
    assert not plan.doubt


def test_what_was_delivered_behind_an_adopted_place_comes_again():
    """The same of a mirror, or of a copy that was as old as that."""
    files = [File("log.1", OLD, 5, 20), File("log", NEW, 6, 30, True)]
    world = World(files, OLD[:1234], unrecorded(OLD[:1234]))
    world.complete = [Complete(generation(OLD, 5), 5000, digest_in(OLD, 0, 5000))]
    plan = world.agree(witness=Cursor(generation(NEW, 6), 3000))
    assert decided(plan) == ("log.1", Why.ADOPTED, 1234)
    assert [candidate.name for candidate in plan.later] == ["log"]
    assert not plan.past


def test_a_witness_in_doubt():
    """No ledger, and the destination ends with nothing that is known: it goes on where the status
    file says, and that is said."""
    copy = b"older things\n" + OLD[100:1900]
    plan = World([LIVE], copy, unrecorded(copy)).agree(witness=Cursor(generation(OLD), 2000))
    assert decided(plan) == ("log", Why.WITNESSED, 2000)
    assert "compare the two" in plan.doubt


def test_another_content_is_left_alone():
    """The whole origin goes behind it, as with the original."""
    copy = OLD[:500] + b"X" + OLD[501:1000]
    assert decided(World([LIVE], copy, unrecorded(copy)).agree()) == ("log", Why.FRESH, 0)


def test_a_witness_tells_where_an_unknown_destination_ends():
    """A destination with older things before: the status file's offset counts."""
    copy = b"older things\n" + OLD[:2000]
    witness = Cursor(generation(OLD), 2000)
    plan = World([LIVE], copy, unrecorded(copy)).agree(witness=witness)
    assert decided(plan) == ("log", Why.WITNESSED, 2000)
    assert not plan.doubt


@pytest.mark.parametrize("behind", [1, 17, 1000, 2900])
def test_a_witness_may_lag(behind):
    """The destination got further than the status file: nothing is repeated."""
    copy = b"older things\n" + OLD[: 2000 + behind]
    witness = Cursor(generation(OLD), 2000)
    plan = World([LIVE], copy, unrecorded(copy)).agree(witness=witness)
    assert decided(plan) == ("log", Why.WITNESSED, 2000 + behind)
    assert behind < REACH


def test_a_witness_without_a_destination():
    """Destination and ledger are both gone (rotated away, a new disk): on from the witness."""
    plan = World([LIVE]).agree(witness=Cursor(generation(OLD), 2000))
    assert decided(plan) == ("log", Why.WITNESSED, 2000)


def test_an_originals_status_file_is_a_witness():
    """It has an offset and no generation: the live file's."""
    files = [File("log.1", NEW + OLD, 5, 20), LIVE]
    witness = Cursor(UNKNOWN, 2000)
    assert decided(World(files).agree(witness=witness)) == ("log", Why.WITNESSED, 2000)
    copy = b"older\n" + OLD[:2500]
    plan = World(files, copy, unrecorded(copy)).agree(witness=witness)
    assert decided(plan) == ("log", Why.WITNESSED, 2500)


def test_a_witness_beyond_the_origin_is_no_witness():
    """The origin was rotated meanwhile, and nobody knows where the offset counts."""
    plan = World([LIVE]).agree(witness=Cursor(UNKNOWN, len(OLD) + 1))
    assert decided(plan) == ("log", Why.FRESH, 0)


def test_a_witness_finds_its_generation_among_the_rotated():
    """By the content of its head."""
    files = [File("log.1", OLD, 5, 20), File("log", NEW, 6, 30, True)]
    plan = World(files).agree(witness=Cursor(generation(OLD, ino=99), 4000))
    assert decided(plan) == ("log.1", Why.WITNESSED, 4000)


def test_of_files_that_begin_alike_the_inode_is_the_witnessed():
    """Each log begins with the same kilobyte: only the inode says which one was meant."""
    banner = lines("banner", HEAD)
    files = [File("log.1", banner + OLD, 5, 20), File("log", banner + NEW, 6, 30, True)]
    for file in files:
        witness = Cursor(generation(file.data, file.ino), 2000)
        for order in files, files[::-1]:
            assert decided(World(order).agree(witness=witness)) == (file.name, Why.WITNESSED, 2000)


def test_a_ledger_counts_more_than_a_witness():
    """Where the sink knows, the status file is not asked."""
    world = World([LIVE], OLD[:3000], recorded(OLD, OLD[:3000]))
    plan = world.agree(witness=Cursor(generation(OLD), 1000))
    assert decided(plan) == ("log", Why.RESUMED, 3000)


# --- once more


def test_resending_begins_the_live_file_again():
    """-n: whatever the sink has, the whole origin goes behind it."""
    files = [File("log.1", NEW, 5, 20), LIVE]
    for have in (recorded(OLD), unrecorded(OLD)):
        assert decided(World(files, OLD, have).agree(resend=True)) == ("log", Why.RESENT, 0)
    assert decided(World([LIVE]).agree(resend=True)) == ("log", Why.RESENT, 0)


def test_resending_leaves_no_rotated_file_out():
    """-n: what was rotated and not delivered comes first; behind it comes the whole live file."""
    files = [File("log.2", OLD, 1, 10), File("log.1", b"x", 2, 20), File("log", NEW, 3, 30, True)]
    plan = World(files, OLD[:100], recorded(OLD, OLD[:100])).agree(resend=True)
    assert decided(plan) == ("log.2", Why.RESUMED, 100)
    assert [candidate.name for candidate in plan.later] == ["log.1", "log"]
    plan = World(files, OLD, closed(OLD)).agree(resend=True)
    assert decided(plan) == ("log.1", Why.NEXT, 0)


def test_resending_happens_once():
    """After a lost connection the sink has begun it already: on from there."""
    have = recorded(OLD, OLD[:700], resent=True)
    plan = World([LIVE], OLD[:700], have).agree(resend=True)
    assert decided(plan) == ("log", Why.RESUMED, 700)


# --- the first byte that differs


def compare(mine, theirs, low, high):
    """common() of two byte strings; the number of bytes that were probed as well."""
    world = World([File("f", mine, 1, 1, True)], theirs, Have(Holding.RECORDED, end=len(theirs)))
    return world.run(common(world.candidates[0], low, high)), world.probed


@settings(deadline=None, database=None)
@given(st.binary(max_size=3000), st.data())
@example(b"", None)
def test_common_finds_the_first_difference(data, draw):
    """Exactly, for any data, any limits, and any byte that differs."""
    size = len(data)
    if draw is None:
        assert compare(data, data, 0, 0)[0] == 0
        return
    low = draw.draw(st.integers(0, size))
    high = draw.draw(st.integers(low, size))
    assert compare(data, data, low, high)[0] == high
    if low < high:
        bad = sorted(draw.draw(st.sets(st.integers(low, high - 1), min_size=1, max_size=4)))
        other = bytearray(data)
        for at in bad:
            other[at] ^= draw.draw(st.integers(1, 255))
        assert compare(data, bytes(other), low, high)[0] == bad[0]


@settings(deadline=None, database=None, max_examples=25)
@given(st.integers(0, 9_999_999), st.integers(0, 5_000_000))
def test_common_in_a_large_file(bad, low):
    """Ten megabytes take a few rounds, and little more than one reading."""
    data = bytes(10_000_000)
    other = bytearray(data)
    other[bad] = 1
    found, probed = compare(data, bytes(other), low, len(data))
    assert found == (bad if bad >= low else len(data))
    assert probed <= 1.1 * len(data)


# --- whatever happened to the destination, what follows heals it


@settings(deadline=None, database=None)
@given(
    st.integers(1, 4000),
    st.integers(0, 4000),
    st.binary(max_size=50),
    st.integers(0, 1000),
    st.booleans(),
)
def test_any_torn_destination_is_healed(mark, more, garbage, grown, rotated):
    """Durable below the mark, any bytes after it: the result is the origin, and no durable byte
    was touched."""
    data = lines("any", 9000)
    good = min(mark + more, len(data))
    copy = data[:good] + garbage
    origin = data[: min(len(data), good + grown)]
    files = [File("log", origin, 1, 5, True)]
    if rotated:
        files = [File("log.1", origin, 1, 5), File("log", b"other", 2, 9, True)]
    plan = World(files, copy, recorded(data, copy, mark)).agree()
    assert plan.begin.why == Why.RESUMED and plan.candidate.name == files[0].name
    assert good <= plan.begin.offset <= len(copy)
    assert copy[: plan.begin.offset] + origin[plan.begin.offset :] == origin


# --- a pointer file names an inode, and no more


def pointed(copy, ino, files):
    """The plan for a destination with this content, and this inode in its pointer file."""
    have = Have(Holding.UNRECORDED, end=len(copy), generation=Generation(ino=ino))
    return decided(World(files, copy, have).agree())


def test_a_pointer_file_and_a_beginning():
    """Adopted where the inode is, though another file begins with the same bytes."""
    files = [File("log.2", OLD, 5, 5, False), File("log.1", OLD + NEW, 6, 6, False), LIVE]
    assert pointed(OLD[:100], 5, files) == ("log.2", Why.ADOPTED, 100)
    assert pointed(OLD[:100], 6, files) == ("log.1", Why.ADOPTED, 100)
    assert pointed(OLD[:100], 9, files) == ("log", Why.ADOPTED, 100)


def test_a_pointer_file_and_other_content():
    """That generation once more from its beginning; the live one when it is gone."""
    files = [File("log.1", NEW, 6, 6, False), LIVE]
    assert pointed(b"else" * 9, 6, files) == ("log.1", Why.FRESH, 0)
    assert pointed(b"else" * 9, 9, files) == ("log", Why.LOST, 0)


# --- what is complete is known by its content


def complete(data, ino=1, born=0):
    """A complete generation, as sink and source remember it."""
    return Complete(generation(data, ino, born), len(data), digest_in(data, 0, len(data)))


def later(plan):
    """The names of what comes after the start."""
    return [candidate.name for candidate in plan.later]


@pytest.mark.parametrize("mtimes", [(30, 20, 10), (10, 10, 10), (20, 30, 10)])
def test_times_decide_nothing(mtimes):
    """A clock that stepped: the file of the cursor is found, and those after it come."""
    files = [
        File("log.2", OLD, 1, mtimes[0]),
        File("log.1", NEW, 2, mtimes[1]),
        File("log", b"x", 3, mtimes[2], True),
    ]
    have = recorded(OLD, OLD[:4000])
    have = have._replace(generation=have.generation._replace(born=10**9))
    plan = World(files, OLD[:4000], have).agree()
    assert decided(plan) == ("log.2", Why.RESUMED, 4000) and later(plan) == ["log.1", "log"]


def test_a_header_and_what_begins_with_it():
    """The generation before holds but the header that this one begins with, too."""
    header = b"time,host,value\n"
    files = [File("log.1", header, 1, 5), File("log", header + OLD, 2, 10, True)]
    for done in (500, len(header)):
        copy = (header + OLD)[:done]
        world = World(files, copy, recorded(header + OLD, copy, len(header), ino=2))
        assert decided(world.agree(past=[complete(header)])) == ("log", Why.RESUMED, done)


def test_equal_files_are_told_apart_by_their_inodes():
    """Three days' logs are the same: each is delivered once."""
    days = [File(f"log.{3 - n}", b"ok\n", n + 1, 5 + n) for n in range(3)]
    files = [*days, File("log", b"", 4, 9, True)]
    for n in range(3):
        past = [complete(b"ok\n", k + 1) for k in range(n + 1)]
        have = recorded(b"ok\n", ino=n + 1, closed=True)
        plan = World(files, b"ok\n", have).agree(past=past)
        assert [plan.candidate.name, *later(plan)] == [f.name for f in files[n + 1 :]]


def equal_days(packed):
    """The files of days whose logs hold the same as OLD or NEW, oldest first, and the live one."""
    content = [OLD, NEW, OLD, OLD, NEW]
    files = [
        File(f"log.{5 - n}", data, 0 if packed else n + 1, 5 + n) for n, data in enumerate(content)
    ]
    return files, [complete(data, n + 1) for n, data in enumerate(content)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("done", range(1, 5))
def test_long_files_that_are_equal_are_generations_of_their_own(done, packed):
    """As many as are complete are left out, the oldest; with an inode of its own none is taken
    for another, and without one they are counted."""
    files, past = equal_days(packed)
    data = files[done - 1].data
    have = closed(data, ino=done)
    world = World([*files, File("log", b"x", 9, 50, True)], data, have)
    if packed:
        world.candidates[:5] = [c._replace(size=None) for c in world.candidates[:5]]
    plan = world.agree(past=past[:done])
    assert [plan.candidate.name, *later(plan)] == [*[f.name for f in files[done:]], "log"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_live_file_that_is_equal_to_what_was_rotated_is_another(packed):
    """It is no rotation that was undone: what was rotated stands beside it."""
    files = [File("log.1", OLD, 0 if packed else 1, 5), File("log", OLD, 2, 20, True)]
    world = World(files, OLD, closed(OLD)._replace(minor=2))
    if packed:
        world.candidates[0] = world.candidates[0]._replace(size=None)
    plan = world.agree(past=[complete(OLD)])
    assert decided(plan) == ("log", Why.NEXT, 0)


@pytest.mark.parametrize("packed", [False, True])
def test_long_files_that_hold_but_a_header_are_generations_of_their_own(packed):
    """Nothing was logged for two days, and the live file begins as those do: what stands under
    names of rotated files that are known is no copy of it."""
    header = lines("header", 2000)
    files = [
        File("log.3", header + OLD, 0 if packed else 1, 5),
        File("log.2", header, 0 if packed else 2, 6),
        File("log.1", header, 0 if packed else 3, 7),
        File("log", header + NEW, 9, 50, True),
    ]
    world = World(files, header + OLD, recorded(header + OLD))
    if packed:
        world.candidates[:3] = [c._replace(size=None) for c in world.candidates[:3]]
    plan = world.agree()
    assert plan.candidate.name == "log.3" and later(plan) == ["log.2", "log.1", "log"]


def test_the_direction_of_numbers_is_seen_in_times_that_mostly_tell():
    """Names that go up, of which but the oldest is known; one was compressed late."""
    files = [File(f"log.{n}", lines(f"day {n}", 2000), n, 10 * n) for n in range(1, 8)]
    files[5] = files[5]._replace(mtime=75)
    past = [complete(files[0].data)]
    have = recorded(b"", ino=99)
    plan = World([*files, File("log", b"x", 9, 90, True)], b"", have).agree(past=past)
    assert [plan.candidate.name, *later(plan)] == [*[f.name for f in files[1:]], "log"]


@pytest.mark.parametrize("name", ["log-20261125", "log.2026-11-25"])
def test_a_copy_of_what_is_complete_under_a_name_of_another_kind_is_left_out(name):
    """It was copied to where somebody collects logs."""
    files = [File("log.2", OLD, 1, 5), File("log.1", NEW, 2, 6), File(name, OLD, 7, 30),
             File("log", b"x", 9, 50, True)]  # fmt: skip
    plan = World(files, NEW, closed(NEW, ino=2)).agree(past=[complete(OLD), complete(NEW, 2)])
    assert [plan.candidate.name, *later(plan)] == ["log"]


def test_what_is_complete_is_left_out_whatever_it_is_called():
    """Compressed at a later time, under another inode: content tells."""
    first, second = lines("first", 3000), lines("second", 4000)
    files = [
        File("log.3", OLD, 1, 5),
        File("log.2", first, 77, 99),
        File("log.1", second, 78, 98),
        File("log", b"x", 4, 100, True),
    ]
    past = [complete(OLD), complete(first, 2)]
    plan = World(files, OLD, closed(OLD)).agree(past=past)
    assert decided(plan) == ("log.1", Why.NEXT, 0) and later(plan) == ["log"]


@pytest.mark.parametrize(
    "names, delivered",
    [
        (["log.4", "log.3", "log.2", "log.1"], 2),  # logrotate
        (["log.1", "log.2", "log.3", "log.4"], 2),  # log4j2
        (["log.9", "log.10", "log.11", "log.12"], 2),
        (["log.2", "log.3", "log.0", "log.1"], 2),  # a JVM's filecount
        (["log.2026-11-25.9", "log.2026-11-25.10", "log.2026-11-25.11", "log.2026-11-26.1"], 1),
        (["log.2026-11-25.9", "log.2026-11-25.8", "log.2026-11-26.2", "log.2026-11-26.1"], 2),
    ],
)
def test_the_direction_of_numbers_is_seen(names, delivered):
    """In what was delivered: what comes after it comes in the order of the names."""
    content = [lines(f"generation {n}", 2000) for n in range(4)]
    files = [File(name, content[n], n + 1, 10 + n) for n, name in enumerate(names)]
    files = sorted(files) + [File("log", b"x", 9, 50, True)]
    past = [complete(content[n], n + 1) for n in range(delivered)]
    have = recorded(content[delivered], ino=delivered + 1, closed=True)
    plan = World(files, content[delivered], have).agree(past=past)
    assert [plan.candidate.name, *later(plan)] == [*names[delivered + 1 :], "log"]


@pytest.mark.parametrize("name", ["log.1", "log-20261125", "log.orig"])
def test_a_copy_beside_the_live_file(name):
    """cp, then a lost connection: the file with the inode goes on."""
    files = [File(name, OLD, 8, 99), LIVE]
    if name == "log.orig":
        files = files[1:]
    assert decided(World(files, OLD[:4000], recorded(OLD, OLD[:4000])).agree()) == (
        "log",
        Why.RESUMED,
        4000,
    )


def test_a_copy_of_the_live_file_behind_the_cursor():
    """Made under a dated name after the rotation: the live file comes once."""
    files = [
        File("log.1", OLD, 1, 5),
        File("log-20261125", NEW[:2000], 8, 30),
        File("log", NEW, 2, 20, True),
    ]
    plan = World(files, OLD, closed(OLD)).agree()
    assert decided(plan) == ("log", Why.NEXT, 0)


def test_what_cannot_be_read_is_a_gap():
    """Between the cursor and what follows: named, with the reason."""
    files = [File("log.3", OLD, 1, 5), File("log.2.lz4", b"?", 2, 6), File("log.1", NEW, 3, 7)]
    world = World([*files, File("log", b"x", 4, 9, True)], OLD, closed(OLD))
    world.candidates[1] = world.candidates[1]._replace(trouble="compressed as .lz4")
    plan = world.agree()
    assert decided(plan) == ("log.1", Why.NEXT, 0)
    assert [gap.reason for gap in plan.gaps] == [b"log.2.lz4: compressed as .lz4"]


def test_a_reopened_generation_between_others():
    """The cursor's file is gone, and one that was complete stands under the name again."""
    gone = lines("gone", 900)
    past = [complete(OLD)]
    have = recorded(gone, ino=2)
    for minor, why in (2, Why.REOPENED), (1, Why.WITNESSED):
        world = World([File("log", OLD + b"more", 1, 9, True)], gone, have._replace(minor=minor))
        assert decided(world.agree(past=past)) == ("log", why, len(OLD))


def test_what_stood_there_before_is_older_than_all_that_the_sink_remembers():
    """A sink that knows of one complete generation only: the files before that are no evidence
    that numbers grow with time, or go round, and what came last is not passed over."""
    ages = [(f"log.{n}", lines(f"file {n}", 300 + n), n, 20 - n) for n in (6, 5, 4, 3, 2, 1)]
    files = [File(*age) for age in ages] + [File("log", NEW, 9, 30, True)]
    done, present = files[3], files[4]
    have = recorded(b"", ino=present.ino)
    world = World(files, b"", have)
    turns = {"log.2": 0, "log.1": None, "log": 2}
    world.candidates = [c._replace(turn=turns.get(c.name, -1)) for c in world.candidates]
    plan = world.agree(past=[complete(done.data, done.ino)])
    assert decided(plan) == ("log.2", Why.RESUMED, 0)
    assert later(plan) == ["log.1", "log"]


def test_of_two_that_hold_nothing_the_times_tell_whether_one_was_made_of_the_other():
    """The sink's generation was empty, and was compressed; another empty one is held: no gap."""
    second = 10**9
    files = [
        File("log.2.gz", b"", 0, 20 * second),
        File("log.1", b"", 5, 40 * second),
        File("log", NEW, 6, 50 * second, True),
    ]
    have = recorded(b"", ino=4)
    have = have._replace(generation=have.generation._replace(born=20 * second))
    world = World(files, b"", have)
    packed, held, live = world.candidates
    world.candidates = [packed._replace(size=None), held._replace(turn=0), live._replace(turn=1)]
    plan = world.agree()
    assert decided(plan) == ("log.2.gz", Why.RESUMED, 0) and not plan.gaps


def test_what_was_compressed_while_it_is_held_does_not_go_on_in_what_begins_alike():
    """No name leads to the file that is held, and the live one begins with all of it; but it has
    not been replaced by a copy: it was rotated."""
    files = [
        File("log.1.gz", OLD, 0, 10),
        File("log", OLD, 1, 10),
        File("log", OLD + b"more\n", 2, 20, True),
    ]
    world = World(files, OLD, recorded(OLD))
    packed, held, live = world.candidates
    world.candidates = [packed._replace(size=None), held._replace(turn=0), live._replace(turn=1)]
    plan = world.agree()
    assert plan.candidate.generation.ino == 1 and decided(plan)[1:] == (Why.RESUMED, len(OLD))
    assert [candidate.live for candidate in plan.later] == [True]


def test_equal_generations_of_which_one_is_held():
    """It was compressed while it is held; the next one was, too, and nobody held that."""
    files = [
        File("log.3.gz", OLD, 0, 10),
        File("log.2.gz", OLD, 0, 11),
        File("log.1.gz", NEW, 0, 12),
        File("log", OLD, 1, 10),
        File("log", OLD, 2, 20, True),
    ]
    world = World(files, OLD[:3000], recorded(OLD, OLD[:3000]))
    *packed, held, live = world.candidates
    packed = [candidate._replace(size=None) for candidate in packed]
    world.candidates = [*packed, held._replace(turn=0), live._replace(turn=1)]
    plan = world.agree()
    assert plan.candidate.generation.ino == 1
    assert later(plan) == ["log.2.gz", "log.1.gz", "log"]


def test_a_generation_in_a_compressed_file_that_was_deleted_while_it_is_held():
    """No name leads to it, and its size has to be asked for, like that of any compressed file."""
    world = World([File("log", OLD, 1, 10)], OLD[:3000], recorded(OLD, OLD[:3000]))
    world.candidates[0] = world.candidates[0]._replace(size=None, turn=0)
    assert decided(world.agree()) == ("log", Why.RESUMED, 3000)


def test_what_cannot_be_read_is_not_forgotten_while_there_is_no_live_file():
    """The complete generation is stood at until there is one; the next is lost all the same."""
    world = World([File("log.2", OLD, 1, 10), File("log.1", NEW, 2, 20)], OLD, closed(OLD))
    world.candidates[1] = world.candidates[1]._replace(trouble="Input/output error")
    plan = world.agree()
    assert decided(plan) == ("log.2", Why.RESUMED, len(OLD)) and later(plan) == ["log.1"]


def test_what_is_lost_is_said_also_when_all_comes_once_more():
    """-n asks for the live file again; what stood before it is as lost as without it."""
    gone = lines("gone", 3000)
    plan = World([LIVE], gone, recorded(gone, ino=7)).agree(resend=True)
    assert decided(plan) == ("log", Why.RESENT, 0)
    assert [gap.first for gap in plan.gaps] == [len(gone)]


def test_a_complete_generation_with_the_numbers_of_the_present_one():
    """Two compressed files of one second: the second is under way, and the first is complete."""
    first, second = OLD + b"1\n", OLD + b"2\n"
    files = [File("log.2.gz", first, 0, 20), File("log.1.gz", second, 0, 20)]
    files.append(File("log", NEW, 6, 30, True))
    for end in 0, 2000:
        have = recorded(second, second[:end], mark=0, ino=0)
        world = World(files, second[:end], have)
        world.candidates[:2] = [c._replace(size=None) for c in world.candidates[:2]]
        plan = world.agree(past=[complete(first, 0)])
        assert decided(plan) == ("log.1.gz", Why.RESUMED, end) and later(plan) == ["log"]


@pytest.mark.parametrize("torn, first", [(False, 3000), (True, 2000)])
def test_what_may_be_torn_and_is_gone_is_lost_from_its_mark_on(torn, first):
    """A tail of zeros that can be compared with nothing is not said to have arrived."""
    copy = OLD[:2000] + bytes(1000)
    have = recorded(OLD, copy, 2000, ino=7, torn=torn)
    plan = World([File("log", NEW, 9, 30, True)], copy, have).agree()
    assert decided(plan) == ("log", Why.LOST, 0)
    assert [gap.first for gap in plan.gaps] == [first]


def test_a_truncated_file_that_was_rotated_does_not_hide_its_copy():
    """The generation was copied and its file truncated, used again and rotated: that file has the
    inode, and is too short; the copy before it, which has another one, is the generation."""
    copied, used = File("log.2", OLD, 7, 10), File("log.1", NEW[:200], 5, 20)
    nothing = Generation(1, 5, 0, 5, 0, NO_DIGEST)
    at = len(OLD)
    have = Have(Holding.RECORDED, clean=True, generation=nothing, first=at, end=at, mark=at)
    plan = World([copied, used, File("log", NEW, 8, 30, True)], b"", have).agree()
    assert decided(plan) == ("log.2", Why.RESUMED, at)
    assert later(plan) == ["log.1", "log"] and not plan.gaps


def test_a_complete_generation_without_a_head_is_no_other():
    """The sink knows the digest of all of it and not of its first bytes, which for a short one are
    the same: it does not make every compressed file look as if it might be this one."""
    files = [File(f"log-1.{n}.gz", lines(f"{n}", 100 + n), 0, 20) for n in (5, 4, 3, 2, 1)]
    past = [complete(file.data, 0, n) for n, file in enumerate(reversed(files[1:]))]
    bare = past[0].generation._replace(head_len=0, head=NO_DIGEST)
    past[0] = past[0]._replace(generation=bare)
    present = files[0].data
    have = recorded(present, ino=99)
    world = World([*files, File("log", NEW, 9, 30, True)], present, have)
    world.candidates[:5] = [c._replace(size=None) for c in world.candidates[:5]]
    plan = world.agree(past=past)
    assert decided(plan) == ("log-1.5.gz", Why.RESUMED, len(present))
    assert later(plan) == ["log"]


def test_bytes_with_which_it_was_about_to_begin_are_no_complete_generation():
    """The origin's files have other numbers now, and all begin alike: what is complete is not what
    was begun, of which next to nothing can be compared."""
    first, second = b"000001 one\n" * 9, b"000005 two\n" * 9
    files = [File("log.2", first, 11, 20), File("log.1", second, 12, 20)]
    files.append(File("log", b"000008", 13, 30, True))
    torn = second[:5] + bytes(90)
    have = recorded(second, torn, mark=0, ino=2, torn=True, generation=generation(second, 2, 0, 5))
    plan = World(files, torn, have).agree(past=[complete(first, 1)])
    assert decided(plan) == ("log.1", Why.RESUMED, 5) and later(plan) == ["log"]


def test_nothing_was_written_to_what_was_begun_and_rotated_and_moved():
    """Its file is empty still, and has another device's number: nothing is lost of it."""
    files = [File("log.1", b"", 12, 20), File("log", NEW, 13, 30, True)]
    world = World(files, b"", recorded(b"", ino=2))
    for at, candidate in enumerate(world.candidates):
        moved = candidate.generation._replace(dev=2)
        world.candidates[at] = candidate._replace(generation=moved)
    plan = world.agree()
    assert decided(plan) == ("log.1", Why.RESUMED, 0)
    assert later(plan) == ["log"] and not plan.gaps


def test_a_new_file_that_cannot_be_read_has_an_old_inode():
    """Its inode was that of a complete generation, whose file has another one since it was
    compressed and unpacked: it takes nobody's place, and the order of names is what it was."""
    first, second = lines("first", 800), lines("second", 3000)
    files = [File("log-20260102", first, 5, 1), File("log-20260103", second, 6, 2)]
    files += [File("log-20260104", b"", 3, 3), File("log", b"", 7, 4, True)]
    world = World(files, second, recorded(second, ino=9))
    world.candidates[2] = world.candidates[2]._replace(trouble="Permission denied")
    plan = world.agree(past=[complete(first, 3)])
    assert decided(plan) == ("log-20260103", Why.RESUMED, len(second))
    assert later(plan) == ["log-20260104", "log"]


def test_a_copy_of_the_live_file_is_not_what_was_under_way():
    """The live file has another device's number since the last connection, and somebody has copied
    it under a rotated name: both hold what the sink has, and the live one goes on; or the one that
    it was rotated to."""
    copy, live = File("log.7", OLD[:4000], 7, 5), File("log", OLD, 3, 10, True)
    rotated = [File("log-20260103", OLD, 4, 10), File("log", NEW, 3, 20, True)]
    for mark in 2000, 0:
        have = recorded(OLD, OLD[:2000], mark=mark, ino=9)
        plan = World([copy, live], OLD[:2000], have).agree()
        assert decided(plan) == ("log", Why.RESUMED, 2000) and not later(plan)
        plan = World([copy, *rotated], OLD[:2000], have).agree()
        assert decided(plan) == ("log-20260103", Why.RESUMED, 2000) and later(plan) == ["log"]


def test_an_empty_file_shows_no_place_in_the_row():
    """The oldest generation was empty, and so is the youngest: that does not turn the order."""
    data = [lines(f"{number}", 40 + number) for number in range(4)]
    files = [File(f"log-20260102.{n}.gz", data[n], 0, n) for n in range(1, 4)]
    files += [File("log-20260102.4.gz", b"", 0, 5), File("log", NEW, 9, 6, True)]
    world = World(files, data[1], recorded(data[1], ino=20))
    world.candidates[:4] = [c._replace(size=None) for c in world.candidates[:4]]
    plan = world.agree(past=[complete(b"", 19)])
    assert decided(plan) == ("log-20260102.1.gz", Why.RESUMED, len(data[1]))
    assert later(plan) == [f"log-20260102.{n}.gz" for n in (2, 3, 4)] + ["log"]


def test_a_short_packed_generation_is_not_made_of_a_later_one_that_has_a_name():
    """Both hold the same line: the later one is held open, under its own name."""
    files = [File("log-20260102.gz", OLD, 0, 1), File("log-20260103.gz", b"ok\n", 0, 2)]
    files += [File("log-20260104", b"ok\n", 5, 3), File("log", NEW, 6, 4, True)]
    world = World(files, OLD[:2000], recorded(OLD, OLD[:2000], ino=9))
    for at, turn in enumerate((-1, -1, 0, 1)):
        size = None if at < 2 else world.candidates[at].size
        world.candidates[at] = world.candidates[at]._replace(size=size, turn=turn)
    plan = world.agree()
    assert decided(plan) == ("log-20260102.gz", Why.RESUMED, 2000)
    assert later(plan) == ["log-20260103.gz", "log-20260104", "log"]


BANNER = b"== the same banner in every file ==\n"


def test_a_short_file_that_the_live_one_begins_with_is_a_generation():
    """Many files begin alike.  That a file is held that has no name any more is no reason to take
    this one, whose name is like those of all others, for a copy of the live file."""
    files = [
        File("log-20260101", OLD, 1, 10),
        File("log-20260102", BANNER, 2, 20),
        File("log", NEW[:100], 3, 30),
        File("log", BANNER + NEW, 4, 40, True),
    ]
    world = World(files, OLD, closed(OLD))
    turns = (-1, -1, 0, 1)
    world.candidates = [c._replace(turn=turn) for c, turn in zip(world.candidates, turns)]
    plan = world.agree(past=[complete(OLD)])
    assert decided(plan) == ("log-20260102", Why.NEXT, 0)
    assert [c.generation.ino for c in plan.later] == [3, 4]


def test_what_may_be_one_of_several_is_no_evidence_of_another_direction():
    """Two empty compressed files, of which one is remembered: that the other one is not does not
    say that it is older than all that is, and numbers still grow with age."""
    files = [
        File("log.5.gz", OLD, 0, 1),
        File("log.4.gz", b"", 0, 2),
        File("log.3", NEW[:60], 3, 6),
        File("log.2.gz", b"", 0, 7),
        File("log.1", lines("next", 50), 5, 8),
        File("log", NEW, 6, 10, True),
    ]
    have = recorded(NEW[:60], ino=3)
    world = World(files, NEW[:60], have)
    sizes, turns = (None, None, 60, None, 50, 3000), (-1, -1, 0, None, None, 1)
    world.candidates = [
        c._replace(size=size, turn=turn) for c, size, turn in zip(world.candidates, sizes, turns)
    ]
    plan = world.agree(past=[complete(OLD, 1), complete(b"", 2)])
    assert decided(plan) == ("log.3", Why.RESUMED, 60)
    assert "log.1" in later(plan)


def test_bytes_with_which_it_was_about_to_begin_prove_no_later_file():
    """The file that has its turn cannot be read; a later one begins with the same banner: it is a
    gap, and what lies between is not passed over."""
    banner = b"== a banner that is in each of them\n"
    files = [File("log-20260102", b"one\n", 11, 20), File("log-20260103", b"", 12, 21)]
    files += [File("log-20260104", b"two\n", 13, 22), File("log-20260105", banner + b"3\n", 14, 23)]
    files.append(File("log", b"", 15, 30, True))
    have = recorded(b"", ino=2, generation=generation(banner, 2, 0, 5))
    world = World(files, b"", have)
    world.candidates[1] = world.candidates[1]._replace(trouble="cannot be decompressed")
    plan = world.agree(past=[complete(b"one\n", 1)])
    assert decided(plan) == ("log-20260104", Why.LOST, 0)
    assert later(plan) == ["log-20260105", "log"] and len(plan.gaps) == 1


def test_what_stood_there_when_we_came_is_older_than_what_is_held_without_a_name():
    """Nothing was delivered, the files have another device's numbers, and the second generation's
    packed form is damaged: it is held open, and the first one comes before it."""
    files = [
        File("log-20260102.gz", OLD, 0, 1),
        File("log", NEW, 5, 2),
        File("log", b"x", 6, 3, True),
    ]
    world = World(files, b"", recorded(b"", ino=9))
    for at, turn in enumerate((-1, 0, 1)):
        size = world.candidates[at].size if at else None
        moved = world.candidates[at].generation._replace(dev=2)
        world.candidates[at] = world.candidates[at]._replace(turn=turn, size=size, generation=moved)
    plan = world.agree()
    assert decided(plan) == ("log-20260102.gz", Why.RESUMED, 0)


def test_a_status_file_tells_nothing_of_what_is_complete_under_other_numbers():
    """The ledger is in doubt, and the status file speaks of a packed file, whose content the ledger
    has to its end: the status file is the older of the two."""
    files = [File("log.1.gz", OLD[:800], 0, 1), File("log", NEW, 6, 3, True)]
    have = recorded(b"", ino=6, doubtful=True)
    world = World(files, b"", have)
    world.candidates[0] = world.candidates[0]._replace(size=None)
    witness = Cursor(generation(OLD[:800], 0, head_len=500), 500)
    plan = world.agree(witness=witness, past=[complete(OLD[:800], 1)])
    assert decided(plan) == ("log", Why.RESUMED, 0)


def test_a_packed_file_that_was_held_and_deleted_is_made_of_what_is_held():
    """Nobody knew what it was when it was met; both have no name now."""
    files = [File("log", OLD, 3, 1), File("log", OLD, 0, 1), File("log", NEW, 6, 3, True)]
    world = World(files, OLD[:2000], recorded(OLD, OLD[:2000], ino=3))
    for at, turn in enumerate((0, 1, 2)):
        size = None if at == 1 else world.candidates[at].size
        world.candidates[at] = world.candidates[at]._replace(size=size, turn=turn)
    plan = world.agree()
    assert plan.candidate.generation.ino == 3
    assert [c.generation.ino for c in plan.later] == [6]


def test_of_several_that_begin_with_what_is_durable_the_one_that_has_more_in_common():
    """Only the first line is durable, with which many files begin: what stands behind it tells."""
    files = [
        File("log.2", BANNER, 5, 10),
        File("log.1", BANNER + OLD, 6, 20),
        File("log", NEW, 7, 30, True),
    ]
    copy = BANNER + OLD[:600]
    have = recorded(BANNER + OLD, copy, mark=len(BANNER), ino=9, torn=True)
    plan = World(files, copy, have).agree()
    assert decided(plan) == ("log.1", Why.RESUMED, len(copy))
    assert later(plan) == ["log"]
