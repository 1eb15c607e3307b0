"""What happens to files between two looks, as their directory tells it: no name needs to be known.

Real directories, real inotify; nobody waits for the clock.
"""

import gzip
import os
import random
import shutil

import pytest
from test_follower import Log, again
from test_life import SEEDS, Heard, some

from tcppipe.cursor import NO_DIGEST
from tcppipe.files.chain import Chain
from tcppipe.files.follower import Follower
from tcppipe.files.fs import FS
from tcppipe.files.names import Untold
from tcppipe.files.wakeup import Wakeup
from tcppipe.session.actions import Start
from tcppipe.session.news import Reopened

LINE = b"a line that is long enough to be told from others, number %d\n"


class Told(Log):
    """An origin whose directory tells of names; `number` counts what was written."""

    def __init__(self, directory, olddir=None):
        super().__init__(directory)
        self.directory = directory
        self.said = []
        self.follower = Follower(Chain(self.path, olddir))
        directories = self.follower.chain.directories
        self.wakeup = Wakeup(self.path, lambda *words: self.said.append(words), directories)
        self.follower.chain.told = self.wakeup
        self.number = 0
        self.next()
        self.listen()

    def next(self):
        """The application makes its log, or writes to it."""
        self.number += 1
        self.write(LINE % self.number)

    def take(self, item):
        """Note one item of news."""
        if isinstance(item, Reopened):
            (at,) = [n for n, g in enumerate(self.began) if g[:4] == item.generation[:4]]
            assert item.offset == len(self.heard[at])
            self.heard.append(self.heard.pop(at))
        else:
            super().take(item)

    def name(self, name):
        """A path in the directory."""
        return str(self.directory / name)

    def copy(self, target):
        """Somebody copies the log."""
        shutil.copy(self.path, target)
        self.touch(target)

    def pack(self, source, target):
        """As libraries do it: no time is kept."""
        with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
            shutil.copyfileobj(plain, packed)
        self.touch(target)
        os.unlink(source)

    def close(self):
        """Let go of all."""
        self.follower.chain.close()
        self.wakeup.close()


@pytest.fixture
def told(tmp_path):
    """An origin whose directory tells of names."""
    told = Told(tmp_path)
    if told.wakeup.fileno() < 0:
        pytest.skip("no notification on this system")
    yield told
    told.close()


def lines(*numbers):
    """What generations of these numbers hold."""
    return [LINE % number for number in numbers]


def whatever(told, turn):
    """Names of no shape."""
    os.rename(told.path, told.name(("zebra", "Ant", "fox", "bee.bak")[turn]))


def packed_whatever(told, turn):
    """Renamed to a name for the meantime, packed to a name of another kind."""
    os.rename(told.path, told.name(f"app.log{871 + turn}.tmp"))
    told.pack(told.name(f"app.log{871 + turn}.tmp"), told.name(f"app-of-{'dcba'[turn]}.gz"))


def packed_under_another(told, turn):
    """What came before is packed under another name, which is then renamed."""
    if turn:
        before = told.name(f"app.log.{'zyxw'[turn - 1]}")
        shutil.copy(before, before + ".tmp")
        told.pack(before + ".tmp", before + ".tmp2")
        os.rename(before + ".tmp2", before + ".gz")
        os.unlink(before)
    os.rename(told.path, told.name(f"app.log.{'zyxw'[turn]}"))


def shifted(told, _turn):
    """All move on by one, packed from the second on."""
    for number in range(9, 0, -1):
        for end in ("", ".gz"):
            if os.path.exists(told.name(f"{number}{end}")):
                os.rename(told.name(f"{number}{end}"), told.name(f"{number + 1}{end}"))
    if os.path.exists(told.name("2")):
        told.pack(told.name("2"), told.name("2.gz"))
    os.rename(told.path, told.name("1"))


def linked(told, turn):
    """A second name first, then another file takes the place of the first name."""
    os.link(told.path, told.name(f"app.log.{4 - turn}"))
    with open(told.name("~"), "wb"):
        pass
    os.replace(told.name("~"), told.path)


def linked_and_packed(told, turn):
    """As savelog has it: the second name is packed at the next turn, under another one."""
    for number in range(9, 0, -1):
        if os.path.exists(told.name(f"app.log.{number}.gz")):
            os.rename(told.name(f"app.log.{number}.gz"), told.name(f"app.log.{number + 1}.gz"))
    if turn:
        told.pack(told.name("app.log.0"), told.name("app.log.0.gz"))
        os.rename(told.name("app.log.0.gz"), told.name("app.log.1.gz"))
    os.link(told.path, told.name("app.log.0"))
    with open(told.name("~"), "wb"):
        pass
    os.replace(told.name("~"), told.path)


def copied(told, turn):
    """A copy first, then it is deleted."""
    shutil.copy(told.path, told.name(f"app.log-2026112{turn}"))
    os.unlink(told.path)


WAYS = [whatever, packed_whatever, packed_under_another, shifted, linked, linked_and_packed, copied]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_rotated_between_two_looks(told, way):
    """Four times: what nobody has looked at is found by what it is called now, and in order."""
    for turn in range(4):
        way(told, turn)
        told.next()
    assert told.listen(60) == lines(1, 2, 3, 4, 5)
    assert not told.reasons


def test_a_gap_stands_where_it_belongs(told):
    """Of five the second and the third are deleted; they are said before the fourth."""
    for turn in range(4):
        os.rename(told.path, told.name(f"{turn}.old"))
        told.next()
    os.unlink(told.name("1.old"))
    os.unlink(told.name("2.old"))
    heard = []
    while (item := told.follower.next(told.now + 60)) is not None:
        told.take(item)
        heard.append(len(told.reasons))
        told.now += 60
    assert told.heard == lines(1, 4, 5)
    (reason,) = told.reasons
    assert "2 generations were made and deleted before anybody could look" in reason


def test_into_another_directory(tmp_path):
    """To the olddir, under whatever name, and packed there."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "old").mkdir()
    told = Told(tmp_path / "logs", str(tmp_path / "old"))
    for turn in range(4):
        os.rename(told.path, tmp_path / "old" / f"q{turn}")
        if turn % 2:
            told.pack(tmp_path / "old" / f"q{turn}", tmp_path / "old" / f"app{turn}.gz")
        told.next()
    assert told.listen(60) == lines(1, 2, 3, 4, 5) and not told.reasons
    told.close()


def test_another_one_meanwhile(told):
    """Moved away, another one under its name, and moved back: what came meanwhile is not passed
    over, and nothing comes twice."""
    os.rename(told.path, told.name("aside"))
    told.next()
    os.rename(told.path, told.name("meanwhile"))
    os.rename(told.name("aside"), told.path)
    told.listen(60)
    told.number += 1
    told.write(LINE % told.number)
    told.listen(60)
    assert told.heard == [LINE % 2, LINE % 1 + LINE % 3] and not told.reasons


def test_exchanged(told):
    """By renameat2, which tells of two moves for one."""
    import ctypes

    told.write(LINE % 2, told.name("other"))
    done = ctypes.CDLL(None).renameat2(
        -100, told.path.encode(), -100, told.name("other").encode(), 2
    )
    assert done == 0
    told.listen(60)
    assert told.listen(60) == lines(1, 2) and not told.reasons


def test_what_was_left_out_is_said(told):
    """More happens than the kernel keeps: then the names have to do, and that is said."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        most = int(file.read())
    for number in range(2):
        os.rename(told.path, f"{told.path}.{3 - number}")
        told.next()
    for _ in range(most // 2 + 10):
        os.link(told.path, told.name("x"))
        os.unlink(told.name("x"))
    os.rename(told.path, f"{told.path}.1")
    told.next()
    assert told.listen(60) == lines(1, 2, 3, 4)
    (said,) = told.said
    assert said[0] == "warning" and "too much happens in its directory" in said[1]
    told.said.clear()
    whatever(told, 0)
    told.next()
    whatever(told, 1)
    told.next()
    assert told.listen(60) == lines(1, 2, 3, 4, 5, 6) and not told.said


def test_another_directory_under_the_name(tmp_path):
    """The directory is moved away and made anew: what happens in the new one is told."""
    (tmp_path / "logs").mkdir()
    told = Told(tmp_path / "logs")
    os.rename(tmp_path / "logs", tmp_path / "before")
    told.wakeup.drain()
    assert not told.wakeup.complete
    (tmp_path / "logs").mkdir()
    told.next()
    told.wakeup.tend(0.0)
    assert told.wakeup.complete
    assert told.listen(60) == lines(1, 2)
    for turn in range(2):
        whatever(told, turn)
        told.next()
    assert told.listen(60) == lines(1, 2, 3, 4)
    told.close()


def test_what_a_look_has_taken_is_still_told(told):
    """A write that is told while somebody looks wakes the loop all the same."""
    told.wakeup.drain()
    told.wakeup.watch()
    told.next()
    assert told.wakeup.comings() is not None
    assert told.wakeup.pending
    assert not told.wakeup.drain() and not told.wakeup.pending


def numbered(told):
    """The application rotates by numbers, and begins another file."""
    for number in range(9, 0, -1):
        if os.path.exists(f"{told.path}.{number}"):
            os.rename(f"{told.path}.{number}", f"{told.path}.{number + 1}")
    os.rename(told.path, f"{told.path}.1")
    told.next()


def test_more_happens_than_can_be_told(told, monkeypatch):
    """While what was told is being held, all is rotated once more, which the kernel leaves out:
    the files have other names now than it said, and each comes once."""
    numbered(told)
    numbered(told)
    really = Chain._come

    def late(chain, coming):
        monkeypatch.undo()
        numbered(told)
        told.wakeup.doubt()
        return really(chain, coming)

    monkeypatch.setattr(Chain, "_come", late)
    assert told.listen() == lines(1, 2, 3, 4)
    assert not told.reasons


def test_names_that_another_host_gives(tmp_path, monkeypatch):
    """On a file system that others write to as well only what is done here is told: two rotations
    by another host between two looks are found by names."""
    monkeypatch.setattr("tcppipe.files.notifiers.NAMED", set())
    told = Told(tmp_path)
    unheard = told.wakeup._notifier._names
    monkeypatch.setattr(unheard, "take", only_made(unheard.take, told.wakeup._notifier._flags))
    for _ in range(3):
        numbered(told)
    assert told.listen() == lines(1, 2, 3, 4)
    assert not told.reasons
    told.close()


def only_made(take, flags):
    """Of what is told, that something was made here."""
    return lambda mask, cookie, path: bool(mask & flags.CREATE) and take(mask, cookie, path)


class Busy:
    """An application and a rotator that invents names; every generation has a line."""

    def __init__(self, directory, rng):
        self.directory, self.rng = directory, rng
        self.path = str(directory / "app.log")
        self.generations = []
        self.where = {}  # the path of a rotated file: its number
        self.append()

    def append(self):
        """Write a line; make the file if there is none."""
        if not os.path.exists(self.path):
            self.generations.append(b"")
        data = b"%d: %s\n" % (len(self.generations) - 1, b"." * self.rng.randint(0, 90))
        with open(self.path, "ab") as file:
            file.write(data)
        self.generations[-1] += data

    def invented(self):
        """A new name."""
        word = "".join(self.rng.choice("abcdefgh0123456789") for _ in range(6))
        return str(self.directory / self.rng.choice([f"app-{word}.log", word, f"app.log.{word}"]))

    def rotate(self):
        """Rename it, and begin another one."""
        if os.path.exists(self.path):
            name = self.invented()
            os.rename(self.path, name)
            self.where[name] = len(self.generations) - 1
            if self.rng.random() < 0.9:
                self.append()

    def rename(self):
        """Call a rotated file otherwise."""
        if self.where:
            old = self.rng.choice(sorted(self.where))
            new = self.invented() + old[-3:] * old.endswith(".gz")
            os.rename(old, new)
            self.where[new] = self.where.pop(old)

    def pack(self):
        """Compress a rotated file, the name before it with an ending."""
        plain = sorted(name for name in self.where if not name.endswith(".gz"))
        if plain:
            name = self.rng.choice(plain)
            with open(name, "rb") as file, gzip.open(name + ".gz", "wb") as packed:
                shutil.copyfileobj(file, packed)
            os.unlink(name)
            self.where[name + ".gz"] = self.where.pop(name)

    def delete(self):
        """Delete a rotated file; the number of the generation."""
        if not self.where:
            return None
        name = self.rng.choice(sorted(self.where))
        os.unlink(name)
        return self.where.pop(name)


@pytest.mark.parametrize("seed", SEEDS)
def test_names_that_nobody_knows(tmp_path, seed):
    """Invented names, renamed again and again, packed and deleted between two looks: all that still
    stands there comes, once and in order; as many are missed as were deleted unseen."""
    print("seed", seed, end=": ")
    rng = random.Random(seed)
    busy, heard = Busy(tmp_path, rng), Heard(Follower(Chain(str(tmp_path / "app.log"))))
    wakeup = Wakeup(busy.path, lambda *_said: None)
    heard.follower.chain.told = wakeup
    heard.follower.chain.look()
    seen = 1  # generations that are held
    missing = set()
    for _ in range(rng.randint(5, 60)):
        step = rng.choice("arrrmmppdlnN")
        print(step, end="")
        if step == "a":
            busy.append()
        elif step == "r":
            busy.rotate()
        elif step == "m":
            busy.rename()
        elif step == "p":
            busy.pack()
        elif step == "d":
            gone = busy.delete()
            if gone is not None and gone >= seen:
                missing.add(gone)
        elif step == "l":
            heard.follower.chain.look()
        elif step == "n":
            heard.listen(rng.randint(1, 4), rng.choice([5, 50, 1 << 20]))
        else:
            heard.now += 4
            heard.listen()
        if step in "lnN":
            heard.follower.chain.look()
            seen = len(busy.generations)
    heard.finish()
    heard.follower.chain.close()
    wakeup.close()
    kept = [data for at, data in enumerate(busy.generations) if at not in missing]
    assert some(heard.generations) == kept, seed
    gaps = [reason.split(": ")[1].split()[0] for reason in heard.lost]
    assert sum(1 if count == "a" else int(count) for count in gaps) == len(missing), seed


@pytest.mark.parametrize("more", [b"", b"and more\n"], ids=["equal", "longer"])
def test_rotated_and_compressed_while_the_next_begins_in_the_same_way(told, more):
    """The old file is gone, too, but what it held stands compressed beside the new one."""
    content = b"line\n" * 400
    told.write(content)
    told.listen()
    told.rotate()
    told.compress(1)
    told.write(LINE % 1 + content + more)
    whole = LINE % 1 + content
    assert told.listen(60) == [whole, whole + more]


# --- copied and truncated: no file comes or goes, so nobody tells


def copied_and_truncated(told, _turn):
    """As logrotate has it."""
    told.rotate_names()
    told.copytruncate()


def copied_packed_and_truncated(told, _turn):
    """The same, and the copy is compressed at once."""
    told.rotate_names()
    told.copytruncate()
    told.compress(1)


def packed_and_truncated(told, turn):
    """As pm2 has it: into a name that nobody knows."""
    with open(told.path, "rb") as plain, gzip.open(told.name(f"app__{turn}.gz"), "wb") as packed:
        shutil.copyfileobj(plain, packed)
    told.touch(told.name(f"app__{turn}.gz"))
    os.truncate(told.path, 0)


@pytest.mark.parametrize("listens", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("looks", [True, False], ids=["looks", "blind"])
@pytest.mark.parametrize(
    "way", [copied_and_truncated, copied_packed_and_truncated, packed_and_truncated]
)
def test_truncated_while_nobody_reads(told, way, looks, listens):
    """Four times, while the line is slow or the archive's disk is full: whether somebody looked
    meanwhile or not, each generation comes from its copy.  An older copy of what is known already
    is none, nor is one of before we came."""
    for name in (".1", "__of_before.gz"):
        told.copy(told.path.replace(".log", name))
    if not listens:
        told.follower.chain.told = Untold()
    told.listen()
    told.copy(told.path + "-20261125")
    told.write(b"more of the first\n" * 100)
    told.take(told.follower.next(told.now, 100))
    for turn in range(4):
        way(told, turn)
        if looks:
            told.follower.chain.look()
        told.next()
        if looks:
            told.follower.chain.look()
    first = LINE % 1 + b"more of the first\n" * 100
    assert told.listen(60) == [first, *lines(2, 3, 4, 5)]
    assert not told.reasons


@pytest.mark.parametrize("listens", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("ends", ["empty", "with more"])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("way", [copied_and_truncated, copied_packed_and_truncated])
def test_truncated_before_anything_was_read(told, way, times, ends, listens):
    """It was empty when it was announced, and what came was copied and truncated between two looks.
    Nobody can see that but by the copies."""
    if not listens:
        told.follower.chain.told = Untold()
    told.rotate_names()
    os.rename(told.path, told.path + ".1")
    told.write(b"")
    assert told.listen(60) == [LINE % 1, b""]
    for turn in range(times):
        told.next()
        way(told, turn)
    if ends == "with more":
        told.next()
    expected = lines(*range(1, told.number + 1))
    assert [data for data in told.listen(60) if data] == expected
    assert not told.reasons


@pytest.mark.parametrize("share", [0, 5, 40])
@pytest.mark.parametrize("waits", [True, False], ids=["waits", "is read"])
def test_a_copy_that_is_being_made_while_somebody_looks(told, share, waits):
    """What it holds by then is the beginning of the live file; it is not an old file for that."""
    told.listen()
    told.write(b"more of the first\n" * 100)
    first = LINE % 1 + b"more of the first\n" * 100
    expected = [first, *lines(2, 3)]
    if waits:
        os.rename(told.path, told.path + "-20261124")
        told.next()
        expected.append(*lines(4))
        told.take(told.follower.next(told.now))
        told.follower.chain.look()
    else:
        told.take(told.follower.next(told.now, 100))
    shutil.copyfile(told.path, told.path + "-20261125")
    os.truncate(told.path, 0)
    told.next()
    under_way = told.path + "-20261126"
    with open(told.path, "rb") as file:
        told.write(file.read(share), under_way)
    told.now += 5
    for _ in range(3 if waits else 1):  # until it is seen that there was a copy
        told.take(told.follower.next(told.now, 20))
    shutil.copyfile(told.path, under_way)
    os.truncate(told.path, 0)
    told.touch()
    told.next()
    assert [data for data in told.listen(60) if data] == expected
    assert not told.reasons


@pytest.mark.parametrize("way", [copied_and_truncated, copied_packed_and_truncated])
def test_truncated_between_the_look_and_the_first_read(told, way):
    """A busy machine stops a process anywhere: what is read first tells what was before it."""
    told.listen()
    told.rotate()
    told.next()
    precede = told.follower.chain.precede
    done = []

    def and_then():
        found = precede()
        if not found and not done:
            done.append(True)
            way(told, 0)
            told.next()
        return found

    told.follower.chain.precede = and_then
    assert told.listen(60) == lines(1, 2, 3) and done
    assert not told.reasons


@pytest.mark.parametrize("listens", [True, False], ids=["told", "untold"])
def test_an_old_file_that_is_unpacked_is_no_copy_of_the_live_one(told, listens):
    """Somebody looks at a log of last week, while the new one is empty yet."""
    for number in range(4, 0, -1):
        with gzip.open(f"{told.path}.{number}.gz", "wb") as packed:
            packed.write(b"of before we came, %d\n" % number)
    if not listens:
        told.follower.chain.told = Untold()
    told.listen()
    told.rotate()
    told.write(b"")
    told.listen(60)
    told.follower.chain.look()
    with gzip.open(told.path + ".3.gz") as packed:
        told.write(packed.read(), told.path + ".3")
    os.unlink(told.path + ".3.gz")
    told.next()
    assert [data for data in told.listen(60) if data] == lines(1, 2)


@pytest.mark.parametrize("name", [".orig", "~", ".save.gz", "-of-before"])
@pytest.mark.parametrize("way", [copied_and_truncated, copied_packed_and_truncated])
def test_truncated_after_somebody_has_copied_it(told, way, name):
    """A copy of an earlier moment holds all that was read, too, but not all that was written."""
    told.write(b"more of the first\n" * 100)
    told.listen()
    data = gzip.compress if name.endswith(".gz") else bytes
    with open(told.path, "rb") as file:
        told.write(data(file.read()), told.path + name)
    told.write(b"and more\n" * 100)
    way(told, 0)
    told.next()
    first = LINE % 1 + b"more of the first\n" * 100 + b"and more\n" * 100
    assert told.listen(60) == [first, *lines(2)]
    assert not told.reasons


@pytest.mark.parametrize("items", [1, 2, 3, 5])
@pytest.mark.parametrize("looks", [True, False], ids=["looks", "blind"])
@pytest.mark.parametrize(
    "way", [copied_and_truncated, copied_packed_and_truncated, packed_and_truncated]
)
def test_truncated_while_little_is_read(told, way, looks, items):
    """The same on a line on which some news goes between two turns, and never all."""
    told.listen()
    told.write(b"more of the first\n" * 100)
    told.take(told.follower.next(told.now, 100))
    for turn in range(6):
        way(told, turn)
        if looks:
            told.follower.chain.look()
        told.next()
        for _ in range(items):
            item = told.follower.next(told.now, 100)
            if item is not None:
                told.take(item)
    first = LINE % 1 + b"more of the first\n" * 100
    assert told.listen(60) == [first, *lines(2, 3, 4, 5, 6, 7)]
    assert not told.reasons


@pytest.mark.parametrize("met", ["told", "found"])
@pytest.mark.parametrize("looks", [True, False], ids=["looks", "blind"])
@pytest.mark.parametrize("way", [copied_and_truncated, copied_packed_and_truncated])
def test_truncated_while_it_waits_behind_a_rotated_file(told, way, looks, met):
    """The file before it was renamed, and is long; the live one was never truncated before,
    whether it was seen to come or was found after a time down."""
    told.listen()
    told.write(b"more of the first\n" * 100)
    os.rename(told.path, told.path + "-20261124")
    told.next()
    if met == "told":
        told.take(told.follower.next(told.now, 100))
    else:
        old, live = told.find()
        told.follower.start(Start(old, len(LINE % 1), (0, NO_DIGEST), later=(live,)))
    told.follower.chain.look()
    for turn in range(3):
        way(told, turn)
        if looks:
            told.follower.chain.look()
        told.next()
    first = LINE % 1 + b"more of the first\n" * 100
    assert told.listen(60) == [first, *lines(2, 3, 4, 5)]
    assert not told.reasons


# --- a rotation that is undone


@pytest.mark.parametrize("listens", [True, False], ids=["told", "untold"])
def test_a_rotation_is_undone_while_another_is_packed(told, listens):
    """Nobody reads.  The packed one turns up while no file has the name: the one that comes back
    to it is the same all the same."""
    told.listen()
    if not listens:
        told.follower.chain.told = Untold()
    os.rename(told.path, told.path + ".1")
    told.next()
    told.follower.chain.look()
    told.pack(told.path + ".1", told.path + ".1.gz")
    os.rename(told.path, told.path + ".20261125")
    told.follower.chain.look()
    os.rename(told.path + ".20261125", told.path)
    told.follower.chain.look()
    told.write(b"more\n")
    told.listen(60)
    assert told.listen(60) == [LINE % 1, LINE % 2 + b"more\n"] and not told.reasons


def test_what_came_back_comes_whole_over_a_new_connection(told):
    """Its first part had been delivered and ended when it came back; nobody has confirmed that."""
    told.listen()
    os.rename(told.path, told.path + ".20261125")
    told.listen(60)
    told.listen(60)
    os.rename(told.path + ".20261125", told.path)
    told.write(b"more\n")
    told.listen(60)
    assert told.heard == [LINE % 1 + b"more\n"]
    os.rename(told.path, told.path + ".1")
    told.next()
    told.follower.chain.look()
    told.write(b"before\n", told.path + ".2")
    told.heard, told.began = [b""], [None]
    again(told, 0, 0)
    told.listen(60)
    assert told.listen(60) == [b"before\n", LINE % 1 + b"more\n", LINE % 2]


@pytest.mark.parametrize("listens", [True, False], ids=["told", "untold"])
def test_a_copy_of_a_part_is_no_generation(told, listens):
    """Somebody copies the log under a rotated name, it grows, is rotated and packed, all between two
    looks."""
    told.write(b"more of the first\n" * 100)
    told.listen()
    if not listens:
        told.follower.chain.told = Untold()
    told.copy(told.path + ".7")
    told.write(b"the rest of it\n" * 9)
    os.rename(told.path, told.path + "-20260102")
    told.pack(told.path + "-20260102", told.path + "-20260102.gz")
    told.next()
    first = LINE % 1 + b"more of the first\n" * 100 + b"the rest of it\n" * 9
    assert told.listen(60) == [first, LINE % 2] and not told.reasons


class Silent(FS):
    """A file system on which nobody tells who writes to a file."""

    @staticmethod
    def has_writer(fd):
        """As some of them have it."""


def test_an_empty_file_that_comes_back_is_read_once(told):
    """Its writer has it open all the time, so it is watched for late bytes when it has ended."""
    told.listen()
    told.follower.chain.fs = Silent()
    os.rename(told.path, told.path + ".1")
    with open(told.path, "ab") as writer:
        told.listen(60)
        told.listen(60)
        os.rename(told.path, told.path + ".20261125")
        told.listen(60)
        told.listen(60)
        os.rename(told.path + ".20261125", told.path)
        told.follower.chain.look()
        writer.write(b"more\n")
        writer.flush()
        for _ in range(3):
            told.listen(60)
    assert b"".join(told.heard) == LINE % 1 + b"more\n"
