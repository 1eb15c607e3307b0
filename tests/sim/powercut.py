"""Power cuts on real file systems: scripts/powercut.

A real pair runs with its copy and its ledger on a file system whose disk is recorded write by
write (blocklog.py).  Then, for moments chosen by chance, the disk is made as a power cut
would have left it: everything before the last flush, and of what came after any part.
That is mounted, which is the file system's recovery; what was acknowledged has to be there; the
pair is started again, and in the end the copy has to be equal.
"""

import argparse
import collections
import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import blocklog

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "programs"))
from stage import MARK, Stage, content, size, wait_until  # noqa: E402

KINDS = {  # MiB, how it is made, how it is mounted
    "ext4": (64, ["mkfs.ext4", "-q", "-F"], ["commit=1"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"], []),
    "btrfs": (160, ["mkfs.btrfs", "-q", "-f"], ["commit=1"]),
}
BOOT = Path("/proc/sys/kernel/random/boot_id")
PAGE = 4096  # of what was not flushed, each page is there or not


class Broken(Exception):
    """A promise was broken, or nothing could be tried."""


def command(*argv):
    """Run a command to its end."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode:
        raise Broken(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def mounted(device, where, *options):
    """A file system, mounted over a loop device that goes with it."""
    command("mount", "-o", ",".join(["loop", "noatime", *options]), device, where)
    try:
        yield where
    finally:
        unmount(where)


def unmount(where):
    """Unmount, as soon as nobody uses it any more."""
    for _ in range(100):
        if subprocess.run(["umount", where], capture_output=True).returncode == 0:
            return
        time.sleep(0.05)
    subprocess.run(["umount", "-l", where], capture_output=True)


@contextlib.contextmanager
def recorded(image, where, log):
    """The image as where/disk, recorded into a log."""
    python = os.environ["POWERCUT_RECORDER"]
    program = subprocess.Popen([python, blocklog.__file__, image, where, log])
    try:
        wait_until((where / "disk").exists, "the recorder does not start")
        yield where / "disk"
    finally:
        unmount(where)
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


@contextlib.contextmanager
def restarts(folder):
    """Gives a function: from then on programs believe that the machine has been restarted."""
    boot = folder / "boot_id"
    boot.write_text(f"{uuid.uuid4()}\n")
    command("mount", "--bind", boot, BOOT)
    try:
        yield lambda: boot.write_text(f"{uuid.uuid4()}\n")
    finally:
        unmount(BOOT)


class Origin:
    """The log file, all of its generations, and how far each is acknowledged."""

    def __init__(self, path, rnd):
        self.path = path
        self.rnd = rnd
        self.written = bytearray()
        self.begins = {}  # inode -> bytes written before it
        self._file = None
        self._held = []  # files that are open, so that no inode is given again
        self._number = 0
        self._open()

    def _open(self):
        self._file = open(self.path, "ab", buffering=0)
        self._held.append(self._file)
        self.begins[os.fstat(self._file.fileno()).st_ino] = len(self.written)

    def write(self):
        """Some lines, at once."""
        lines = bytearray()
        for _ in range(self.rnd.choice((1, 1, 2, 30, 400, 4000))):
            self._number += 1
            line = b"%08d %s\n" % (self._number, self.rnd.randbytes(self.rnd.randrange(120)))
            lines += line
        self._file.write(lines)
        self.written += lines

    def rotate(self):
        """logrotate with `create`."""
        for number in range(20, 0, -1):
            if os.path.exists(f"{self.path}.{number}"):
                os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.rename(self.path, f"{self.path}.1")
        self._open()

    def acknowledged(self, status):
        """How many of the written bytes a status file's content says are durable."""
        lines = status.split(b"\n")
        return self.begins[int(lines[1].split()[1])] + int(lines[0])

    def close(self):
        """Let go of all files."""
        for file in self._held:
            file.close()


class Archive:
    """The pair: the copy and the ledger on a mounted file system, the rest beside it."""

    def __init__(self, folder, target, rnd):
        folder.mkdir()
        self.stage = Stage(folder)
        self.stage.show = lambda: None
        self.target = target
        self.copy = target / "copy" / "a.log"
        self.stage.env["TCPPIPE_STATE_DIR"] = str(target / "state")
        self.origin = Origin(folder / "a.log", rnd)
        self.stage.configure(f"127.0.0.1:{self.origin.path} | {self.copy}")
        self.server = self.client = None

    def start(self):
        """Start both, which says nothing yet about what has arrived."""
        self.server = self.stage.server().up()
        self.client = self.stage.client(self.origin.path).up()

    def kill(self):
        """Both are no more."""
        for process in (self.client, self.server):
            if process is not None:
                process.end()
        wait_until(lambda: not self.stage.living(), "processes do not end")

    def status(self):
        """The status file's path, or None."""
        return next(iter(self.stage.run_dir.glob("*.pipe")), None)

    def rotate_copy(self):
        """The archive's logrotate: rename and HUP."""
        number = len(list(self.copy.parent.glob("a.log-*")))
        os.rename(self.copy, f"{self.copy}-{number:03d}")
        self.server.hup()

    def copied(self):
        """All pieces of the copy, in order."""
        pieces = sorted(self.copy.parent.glob("a.log-*"))
        kept = [path for path in pieces if ".cut" not in path.name]
        return b"".join(map(content, [*kept, self.copy]))

    def close(self):
        """End everything."""
        self.origin.close()
        try:
            self.kill()
        finally:
            self.stage.close()


def record(archive, events, seconds, rnd):
    """Live for a while; every acknowledgement goes to the recorder's events."""
    end = threading.Event()
    failed = []

    def watch():
        last = None
        with open(events, "wb", buffering=0) as log:
            while not end.is_set():
                path = archive.status()
                status = content(path) if path else b""
                if status != last and status:
                    log.write(status)
                    last = status
                time.sleep(0.002)

    def guarded():
        try:
            watch()
        except Exception as error:
            failed.append(error)

    watcher = threading.Thread(target=guarded)
    watcher.start()
    until = time.monotonic() + seconds
    rotations = [until - seconds * part for part in (0.7, 0.35)]
    copy_rotation = until - seconds * 0.5
    try:
        while (now := time.monotonic()) < until:
            archive.origin.write()
            if rotations and now > rotations[0]:
                rotations.pop(0)
                archive.origin.rotate()
            if copy_rotation and now > copy_rotation and archive.copy.exists():
                copy_rotation = None
                archive.rotate_copy()
            if rnd.random() < 0.3:
                write_back(archive.copy, rnd)
            time.sleep(rnd.choice((0, 0, 0.002, 0.02, 0.15)))
    finally:
        end.set()
        watcher.join()
    if failed:
        raise Broken(f"the status file could not be watched: {failed[0]}")


def write_back(path, rnd):
    """What the kernel does in its own time: a part of what is not synced goes to the disk."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        length = size(path)
        first = rnd.randrange(max(1, length - 65536), length + 1) if length else 0
        libc = ctypes.CDLL(None, use_errno=True)
        offset, count = ctypes.c_int64(first), ctypes.c_int64(0 if rnd.random() < 0.5 else PAGE)
        libc.sync_file_range(file.fileno(), offset, count, 2)  # SYNC_FILE_RANGE_WRITE


class Disk:
    """The disk as it was at any moment of a recording."""

    def __init__(self, pristine, log):
        self.records = list(blocklog.records(log))
        self._image = pristine
        self._at = 0  # records that the image has

    def moments(self, count, rnd):
        """So many moments after the first acknowledgement, in their order; at most of them
        something had been written that was not flushed."""
        kinds = [kind for kind, _offset, _data in self.records]
        if b"E" not in kinds:
            raise Broken("nothing was acknowledged")
        first = kinds.index(b"E")
        dirty, written = [], False
        for number, (kind, _offset, _data) in enumerate(self.records, 1):
            written = kind == b"W" or (written and kind != b"F")
            if written and number > first + 1:
                dirty.append(number)
        chosen = [rnd.choice(dirty) for _ in range(count * 4 // 5)] if dirty else []
        others = range(count - len(chosen))
        return sorted([*chosen, *(rnd.randint(first + 1, len(self.records)) for _ in others)])

    def cut(self, at, image, rnd, seen):
        """Make the disk as a power cut before record `at` leaves it, and return the last
        status file that was seen before.  Moments come in their order."""
        flushed = max((i for i in range(at) if self.records[i][0] == b"F"), default=0)
        with open(self._image, "r+b") as disk:
            for kind, offset, data in self.records[self._at : flushed]:
                if kind == b"W":
                    disk.seek(offset)
                    disk.write(data)
        self._at = max(self._at, flushed)
        command("cp", "--sparse=always", "--reflink=auto", self._image, image)
        there = rnd.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        seen["cuts"] += 1
        with open(image, "r+b") as disk:
            for kind, offset, data in self.records[flushed:at]:
                if kind == b"W":
                    for first in range(0, len(data), PAGE):
                        if rnd.random() < there:
                            disk.seek(offset + first)
                            disk.write(data[first : first + PAGE])
                        else:
                            seen["pages lost"] += 1
        return next(data for kind, _, data in reversed(self.records[:at]) if kind == b"E")


def judge(archive, status, seen):
    """After a power cut: what was acknowledged is there; then all comes to be."""
    origin = archive.origin
    written = bytes(origin.written)
    copied = archive.copied()
    promised = origin.acknowledged(status)
    same = len(os.path.commonprefix([copied, written]))
    if same < promised:
        seen["acknowledged bytes lost"] += promised - same
    if same == len(copied):
        seen["exact prefix"] += 1
    elif not copied[same:].strip(b"\0"):
        seen["ends in zeros"] += 1
    else:
        seen["other tail"] += 1
    try:
        archive.start()
        wait_until(lambda: len(archive.copied()) >= len(written), "", 30)
        time.sleep(0.05)
    except AssertionError:
        pass
    finally:
        archive.kill()
    copied = archive.copied()
    seen["kept beside"] += any(archive.copy.parent.glob("*.cut*"))
    if copied == written:
        seen["equal"] += 1
    else:
        at = len(os.path.commonprefix([copied, written]))
        seen["NOT EQUAL"] += 1
        raise Broken(
            f"{len(copied)} bytes instead of {len(written)}, equal are the first {at}, "
            f"{same} were there after the cut, {promised} had been acknowledged"
        )
    if same < promised:
        raise Broken(f"of {promised} acknowledged bytes only {same} were there after the cut")


def try_kind(kind, folder, given, rnd):
    """All the cuts of one kind of file system: a Counter of what was seen."""
    image, pristine, cut = (folder / name for name in ("disk.img", "pristine.img", "cut.img"))
    fuse, target, log = folder / "fuse", folder / "target", folder / "log"
    fuse.mkdir()
    target.mkdir()
    mebibytes, make, options = KINDS[kind]
    make_image(image, mebibytes, make)
    command("cp", "--sparse=always", image, pristine)
    seen = collections.Counter()
    archive = Archive(folder / "stage", target, rnd)
    try:
        with restarts(folder) as restart:
            with recorded(image, fuse, log) as disk, mounted(disk, target, *options):
                device = os.stat(target).st_dev
                archive.start()
                record(archive, fuse / "events", given.seconds, rnd)
                archive.kill()
            recording = Disk(pristine, log)
            status_file = archive.status()
            moments = recording.moments(given.cuts, rnd)
            for number, at in enumerate(moments, 1):
                progress(f"{kind}: cut {number} of {given.cuts}")
                status = recording.cut(at, cut, rnd, seen)
                restart()
                status_file.unlink(missing_ok=True)
                if rnd.random() < 0.5:
                    status_file.write_bytes(status)
                else:  # the origin has restarted as well, and its run directory is empty
                    seen["without status file"] += 1
                try:
                    with other_number(folder, rnd.random() < 0.5), mounted(cut, target, *options):
                        seen["other device number"] += os.stat(target).st_dev != device
                        judge(archive, status, seen)
                except Broken as error:
                    seen["failed"] += 1
                    print(f"{kind}: cut {number}, before record {at}: {error}", flush=True)
                    keep(given.keep, kind, number, cut, archive)
    finally:
        archive.close()
    return seen


def make_image(path, mebibytes, make):
    """A file with an empty file system in it."""
    with open(path, "wb") as file:
        file.truncate(mebibytes << 20)
    command(*make, path)


@contextlib.contextmanager
def other_number(folder, wanted):
    """If wanted: what is mounted in this block has another device number than it had before."""
    if not wanted:
        yield
        return
    image, where = folder / "blank.img", folder / "blank"
    if not where.exists():
        where.mkdir()
        make_image(image, *KINDS["btrfs"][:2])
    with mounted(image, where):
        yield


def keep(where, kind, number, image, archive):
    """Leave what a failure needs to be understood."""
    if where:
        folder = Path(where) / f"{kind}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        command("cp", "--sparse=always", image, folder / "after.img")
        shutil.copytree(archive.stage.said, folder / "said", dirs_exist_ok=True)
        for path in archive.stage.path.glob("a.log*"):
            shutil.copy2(path, folder)
        print(f"kept in {folder}")


def progress(text):
    """What is under way."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<60}\r" if not text else f"\r{text:<60}")
        sys.stderr.flush()


COLUMNS = (
    "cuts", "exact prefix", "ends in zeros", "other tail", "kept beside", "equal",
    "acknowledged bytes lost", "pages lost", "without status file", "other device number",
)  # fmt: skip


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        prog="scripts/powercut",
        description="Cuts the power of an archive, on real file systems.  A pair runs while each "
        "write to the archive's disk is recorded; then the disk is made again as a power cut "
        "at some moment would have left it, mounted, and the pair started again.  What was "
        "acknowledged before the cut has to be there after it, and in the end the copy has to "
        "be equal to the origin.  Needs root.",
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="ext4, xfs, btrfs (all)")
    parser.add_argument("--cuts", type=int, default=30, metavar="N", help="for each kind (30)")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S",
                        help="that the pair runs before (8)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, metavar="N",
                        help="another choice of what happens (1)")  # fmt: skip
    parser.add_argument("--keep", metavar="DIR", help="keep what is left of a failure here")
    given = parser.parse_args()
    kinds = given.kinds or list(KINDS)
    if set(kinds) - set(KINDS):
        parser.error("a KIND is one of: " + ", ".join(KINDS))
    results = {}
    for kind in kinds:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{kind}.") as folder:
            os.environ.pop(MARK, None)
            results[kind] = try_kind(kind, Path(folder), given, random.Random(given.seed))
        results[kind]["seconds"] = round(time.monotonic() - began)
    progress("")
    print(f"{'':26}" + "".join(f"{kind:>10}" for kind in kinds))
    for column in (*COLUMNS, "seconds"):
        print(f"{column:26}" + "".join(f"{results[kind][column]:>10}" for kind in kinds))
    return any(results[kind]["failed"] for kind in kinds)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = main()
    except Broken as error:
        status = f"scripts/powercut: {error}"
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
