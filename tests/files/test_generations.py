"""Rotated files: which they are, in which order, and what is in them."""

import bz2
import gzip
import hashlib
import lzma
import os
import subprocess

import pytest

from tcppipe.cursor import NO_DIGEST
from tcppipe.errors import Busy, ConfigError
from tcppipe.files.compressed import STEP
from tcppipe.files.generations import (
    Broken,
    CompressedReader,
    Reader,
    Sibling,
    open_reader,
    siblings,
)
from tcppipe.rotated import arrange, is_rotated

DATA = b"".join(b"line %d\n" % n for n in range(30000))


@pytest.fixture
def log(tmp_path):
    """The origin's path; make(name, ...) makes rotated files in the order of their age."""
    return str(tmp_path / "app.log")


def make(log, suffix, age=0, content=b"x"):
    """A file beside the origin, last changed `age` seconds before others."""
    path = log + suffix
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, ns=(0, 10**18 - age * 10**9))
    return path


def suffixes(log, **kw):
    """What siblings() finds, without the origin's own path."""
    return [path[len(log) :] for path in siblings(log, **kw)]


ORDERS = [
    # oldest first; their ages tell otherwise
    [".10", ".9", ".2", ".1"],
    [".2.gz", ".1"],
    [".3.xz", ".2.gz", ".1.bz2", ".0"],
    ["-20261119", "-20261120", "-20270101"],
    ["-20261119.gz", "-20261120"],
    [".20261119", ".20261120"],
    [".2026-11-25.2.gz", ".2026-11-25.10", ".2026-11-26.1"],
    ["-25112026", "-01122026"],
    [".20261124-23", ".20261125-04"],
    [".2026-11-19", ".2026-11-20"],
    ["-2026-11-20_01", "-2026-11-20_13.gz", "-2026-11-21_00"],
    ["-20261120", "-20261120-1763600000"],
    ["-1763600000.gz", "-1763600001"],
]


@pytest.mark.parametrize("order", ORDERS, ids="<".join)
def test_order_by_name(log, order):
    """Numbers count down, dates count up, compressed or not, whatever the times say."""
    for age, suffix in enumerate(order):
        make(log, suffix, age)
    assert suffixes(log) == order


@pytest.mark.parametrize("order", [["-20261120", ".1"], [".old", ".1"], [".b", ".a"]])
def test_order_by_time(log, order):
    """Where kinds are mixed, or names say nothing, the modification time decides."""
    for turn in (order, order[::-1]):
        for age, suffix in enumerate(reversed(turn)):
            make(log, suffix, age)
        assert suffixes(log) == turn


@pytest.mark.parametrize("stray", [".bak", ".1.bak", "-notes", ".2.orig"])
def test_strays_have_no_place_in_the_order(log, stray):
    """A file that rotation did not name stands behind those that it did, whatever its time."""
    for age in (-5, 0, 5):
        make(log, stray, age)
        for at, suffix in enumerate((".10", ".2", ".1")):
            make(log, suffix, at)
        assert suffixes(log) == [".10", ".2", ".1", stray]


def test_what_is_no_sibling(log):
    """Other names, other kinds of things, and the origin itself."""
    make(log, "")
    make(log, "ger")
    make(log, "_1")
    os.mkdir(log + ".d")
    os.mkfifo(log + ".fifo")
    os.symlink(log + ".nowhere", log + ".dangling")
    make(log, ".1")
    make(os.path.join(os.path.dirname(log), "other.log"), ".1")
    assert suffixes(log) == [".1"]


def test_plain_and_compressed_count_once(log):
    """While a compressor works both are there: the plain file is the one."""
    for suffix in (".1", ".1.gz", ".2.gz", ".2.xz"):
        make(log, suffix)
    found = suffixes(log)
    assert ".1" in found and ".1.gz" not in found


def test_an_old_directory(log, tmp_path):
    """Rotated files may be moved elsewhere; both places count."""
    make(log, ".1")
    make(str(tmp_path / "old" / "app.log"), ".2")
    assert siblings(log, str(tmp_path / "old")) == [str(tmp_path / "old" / "app.log.2"), log + ".1"]


def test_a_missing_directory(log, tmp_path):
    """Is as if empty."""
    assert siblings(str(tmp_path / "gone" / "x")) == []
    make(log, ".1")
    assert suffixes(log, olddir=str(tmp_path / "gone")) == [".1"]


# --- readers


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix, compress", COMPRESS.items())
def test_compressed_readers(log, suffix, compress):
    """Sizes and offsets are those of the content, in any order of reading."""
    reader = open_reader(make(log, ".1" + suffix, content=compress(DATA)))
    assert isinstance(reader, CompressedReader)
    assert reader.status()[0] == len(DATA)
    places = [(5000, 10), (0, 3), (3, 3), (len(DATA) - 2, 10), (200_000, 1000), (1, 1)]
    for offset, length in places:
        assert reader.read(length, offset) == DATA[offset : offset + length]
    assert reader.digest(10, 1000) == hashlib.sha256(DATA[10:1010]).digest()
    assert reader.digest(len(DATA) - 5, 6) == NO_DIGEST
    plain = open_reader(make(log, ".2", content=DATA))
    assert reader.generation()[4:] == plain.generation()[4:]
    reader.close()
    reader.close()


PROGRAMS = {
    ".gz": ("gzip", "-n"),
    ".bz2": ("bzip2",),
    ".xz": ("xz", "-T2", "--block-size=65536"),
    ".zst": ("zstd", "-q"),
}


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("suffix", PROGRAMS)
def test_what_the_real_programs_make(log, need, suffix, parts):
    """Several members or frames behind each other are one content; it is read to its end, and
    again from anywhere."""
    need(PROGRAMS[suffix][0])
    size = len(DATA) // parts + 1
    packed = b"".join(
        subprocess.run([*PROGRAMS[suffix], "-c"], input=DATA[at : at + size],
                       stdout=subprocess.PIPE, check=True).stdout
        for at in range(0, len(DATA), size)
    )  # fmt: skip
    reader = open_reader(make(log, ".1" + suffix, content=packed))
    assert reader.status()[0] == len(DATA)
    assert reader.whole()[1] == hashlib.sha256(DATA).digest()
    for offset in (0, len(DATA) - 10, 5, 200_000):
        assert reader.read(1000, offset) == DATA[offset : offset + 1000]
    reader.close()
    cut = open_reader(make(log, ".2" + suffix, content=packed[:-3]))
    with pytest.raises(Broken, match="cannot be decompressed"):
        cut.status()
    cut.close()


def test_decompressing_goes_in_steps(log):
    """Each call does a bounded part, and the next one goes on from there."""
    data = bytes(50 << 20)
    path = make(log, ".1.gz", content=gzip.compress(data, 1))
    reader = open_reader(path, step=STEP)
    steps = 0
    while True:
        try:
            assert reader.status()[0] == len(data)
            break
        except Busy:
            steps += 1
    assert steps >= len(data) // STEP - 1
    reader.close()


def test_members_one_after_the_other(log):
    """gzip files that were put together are one content."""
    parts = [DATA[:100], b"", DATA[100:]]
    reader = open_reader(make(log, ".1.gz", content=b"".join(map(gzip.compress, parts))))
    assert reader.status()[0] == len(DATA) and reader.read(50, 80) == DATA[80:130]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("spoil", ["cut", "garbage", "middle"])
def test_broken_compressed_files(log, suffix, spoil):
    """Cut short, or not compressed at all: an OSError with words, nothing else."""
    content = COMPRESS[suffix](DATA)
    content = {
        "cut": content[:-10],
        "garbage": DATA[:1000],
        "middle": content[: len(content) // 2] + b"\xff" * 64 + content[len(content) // 2 + 64 :],
    }[spoil]
    reader = open_reader(make(log, ".1" + suffix, content=content))
    with pytest.raises(OSError, match="cannot be decompressed"):
        reader.status()
    reader.close()


def test_a_reader_holds_its_file(log):
    """Renamed or deleted, it still is read."""
    reader = Reader(make(log, "", content=b"abc"))
    os.unlink(log)
    assert reader.read(10, 0) == b"abc" and reader.status()[0] == 3
    assert reader.digest(-1, 3) == NO_DIGEST
    reader.close()


def test_only_regular_files(log):
    """Anything else has no generations."""
    os.mkfifo(log)
    with pytest.raises(ConfigError, match="a FIFO"):
        Reader(log)
    with pytest.raises(ConfigError, match="a directory"):
        Reader(os.path.dirname(log))
    with pytest.raises(FileNotFoundError):
        Reader(log + ".gone")


def test_generation_is_told_by_the_head(log):
    """Length and digest of the first kilobyte; an empty file has none."""
    assert Reader(make(log, ".1", content=b"")).generation().head_len == 0
    known = Reader(make(log, ".2", content=DATA)).generation()
    assert (known.head_len, known.head) == (1024, hashlib.sha256(DATA[:1024]).digest())
    assert Reader(log + ".2").generation(b"abc").head_len == 3


def test_again_is_another_generation_of_the_same_file(log):
    """And closing one leaves the other."""
    make(log, "", 5, b"abc")
    one = Reader(log)
    os.utime(log, ns=(7, 7))
    two = one.again()
    one.close()
    assert two.read(3, 0) == b"abc" and two.born == 7 != one.born
    two.close()


def test_other_names_by_patterns(log, tmp_path):
    """Patterns name more siblings, in other directories as well, and none twice."""
    (tmp_path / "old").mkdir()
    for name in ("a-1", "a-2", "b-1", ".a-3"):
        (tmp_path / "old" / name).write_bytes(b"x")
    make(log, ".1", 0)
    patterns = [f"{tmp_path}/old/a-*", f"{log}.*[0-9]", log, f"{tmp_path}/none/*"]
    found = siblings(log, patterns=patterns)
    assert sorted(found) == sorted([f"{log}.1", f"{tmp_path}/old/a-1", f"{tmp_path}/old/a-2"])
    assert is_rotated(f"{tmp_path}/old/a-1", log, patterns)
    assert not is_rotated(f"{tmp_path}/old/b-1", log, patterns)


def test_what_is_known_tells_of_what_comes_before_it():
    """Two kinds of names: files that come before a known one of their kind come before those that
    are known to be younger than it, whatever the times are."""
    names = ["log-20260101", "log-20260102", "log-20260103", "log.1"]
    files = [Sibling(f"/o/{name}", 9 - n, (1, n), 0.0) for n, name in enumerate(names)]
    known = {"log-20260103": 0, "log.1": 1}
    found = arrange(files, "/o/log", lambda file: known.get(os.path.basename(file.name)))
    assert [os.path.basename(file.name) for file in found] == names
