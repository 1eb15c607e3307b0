"""Lets the programs of an earlier version work, and keeps what they leave.

    collect.py CHECKOUT [CASE ...]

CHECKOUT is a work tree of that version; its real programs run on its own stage.  Of each case a
directory is made beside this file: the files under var (origins), archive, state and run as they
stood when all had ended, and TABLE: of each file its numbers and its time, and of the case what
has to stand in the copy by and by.  The file names and ledgers speak of ROOT; tests put their own
directory, and their own inodes, in its place.
"""

import fcntl
import gzip
import json
import os
import shutil
import signal
import struct
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = Path("/tmp/tcppipe-old")
GETVERSION = 0x80087601
SMALL = """
from tcppipe.files import ledger, merged
ledger.COMPACT = merged.COMPACT = 6000
"""  # so that what takes months in the field takes seconds here
ANEW = """
from tcppipe.files.fs import FS
boot = FS.boot
FS.boot = staticmethod(lambda: boot()[::-1])
"""  # the machine was started anew


class Case(ABC):
    """An origin /var/messages, its copy /archive/messages; `written`: what has to stand there."""

    options = ""
    pull = False
    env = None

    def __init__(self, stage):
        self.stage = stage
        self.origin = ROOT / "var" / "messages"
        self.copy = ROOT / "archive" / "messages"
        self.origin.parent.mkdir()
        self.copy.parent.mkdir()
        self.origin.touch()
        self.written = bytearray()
        self.lines = 0
        if self.pull:
            self.source = stage.numbers(
                '$hosts_allow{"127.0.0.1"} = 1;', f'$files{{"{self.origin}"}} = "{self.origin}.*";'
            )
            pointer = self.copy.parent / ".messages"
            line = f"127.0.0.1 {stage.port} {self.origin} {self.copy} {pointer}"
            self.sink = stage.fetcher(line, env=self.env)
        else:
            stage.configure(*self.entries())
            self.source = stage.client(self.origin)
            self.sink = stage.server(env=self.env)

    def patched(self, stage, text):
        """What makes the sink of these programs run so."""
        (ROOT / "more").mkdir()
        (ROOT / "more" / "sitecustomize.py").write_text(text)
        return {"PYTHONPATH": f"{stage.env['PYTHONPATH']}:{ROOT / 'more'}"}

    def entries(self):
        """The lines of tcppipe.conf."""
        return [f"127.0.0.1:{self.origin} | {self.copy}{self.options}"]

    # --- what befalls it

    def up(self):
        """Both sides run."""
        first, second = (self.source, self.sink) if self.pull else (self.sink, self.source)
        first.up()
        second.up()

    def write(self, count=40, path=None):
        """An application writes lines."""
        text = bytearray()
        for _ in range(count):
            self.lines += 1
            text += b"%08d %s\n" % (self.lines, b"x" * (self.lines % 47))
        append(path or self.origin, text)
        self.written += text
        return bytes(text)

    def name(self, number):
        """A rotated file's."""
        return Path(f"{self.origin}.{number}")

    def rotate(self, *pack):
        """logrotate; pack: the numbers that are compressed after it."""
        for number in range(9, 0, -1):
            for end in ("", ".gz"):
                old = Path(f"{self.name(number)}{end}")
                if old.exists():
                    old.rename(f"{self.name(number + 1)}{end}")
        self.origin.rename(self.name(1))
        self.origin.touch()
        for number in pack:
            self.pack(self.name(number))

    @staticmethod
    def pack(path):
        """gzip: the time stays."""
        status = os.stat(path)
        with open(f"{path}.gz", "wb") as file:
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                packed.write(path.read_bytes())
        os.utime(f"{path}.gz", ns=(status.st_atime_ns, status.st_mtime_ns))
        path.unlink()

    def rotate_copy(self, name="messages-20261123"):
        """The archive's logrotate, with HUP."""
        self.copy.rename(self.copy.parent / name)
        self.sink.hup()
        wait_until(self.copy.exists, "no new copy")

    def copied(self):
        """All that is in the copy, oldest piece first."""
        found = [path for path in self.copy.parent.glob("messages[-.]*") if ".cut" not in path.name]
        found.sort(
            key=lambda path: [
                int(n) for n in path.name.replace("-", ".").split(".")[1:] if n.isdigit()
            ]
        )
        parts = [path.read_bytes() for path in [*found, self.copy] if path.exists()]
        return b"".join(gzip.decompress(p) if p[:2] == b"\x1f\x8b" else p for p in parts)

    def arrives(self):
        """Wait until all is there."""
        wait_until(
            lambda: self.copied() == self.written, lambda: (len(self.copied()), len(self.written))
        )

    def records(self):
        """Those of the ledger, as (kind, value)."""
        rows = []
        for path in (ROOT / "state").glob("*.ledger"):
            for line in path.read_bytes().splitlines():
                rows += json.loads(line[9:]).items()
        return rows

    def is_marked(self):
        """Wait until the ledger's last mark is the end of the generation."""
        wait_until(lambda: any(kind == "mark" for kind, _ in self.records()), "no mark")
        wait_until(lambda: self.last_mark() == size(self.origin), self.records)

    def last_mark(self):
        """The offset in the last mark."""
        return [value for kind, value in self.records() if kind == "mark"][-1]["offset"]

    def ended(self, count):
        """Wait until so many generations are complete."""
        wait_until(lambda: sum(kind == "end" for kind, _ in self.records()) >= count, self.records)

    def down(self):
        """Both end in order."""
        for process in (self.source, self.sink):
            process.down()
        wait_until(lambda: not self.stage.living(), "somebody lives on")

    def kill(self):
        """kill -9 of the sink while bytes come, and then of the source."""
        before = size(self.copy)
        self.write(30)
        wait_until(lambda: size(self.copy) > before, "nothing comes")
        for process in (self.sink, self.source):
            for pid in [process.pid, *children(process.pid)]:
                os.kill(pid, signal.SIGKILL)
            process.wait()
        wait_until(lambda: not self.stage.living(), "somebody lives on")

    def boot(self):
        """What names the start of the machine."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    # --- the story, in two parts

    @abstractmethod
    def play(self):
        """What the old programs do."""

    def meanwhile(self):
        """Nothing runs, and the origin goes on."""
        self.write(20)


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


CASES = {}


def case(cls):
    """A Case of the collection."""
    CASES[cls.__name__.replace("_", "-")] = cls
    return cls


@case
class clean(Case):
    """One generation, and an orderly end."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        self.down()


@case
class killed(Case):
    """kill -9 while bytes come."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class unmarked(Case):
    """kill -9 before anything was marked."""

    def play(self):
        self.up()
        self.kill()


@case
class generations(Case):
    """Three are complete, in one copy; rotated once more since."""

    def play(self):
        self.up()
        for count in range(1, 4):
            self.write()
            self.arrives()
            self.rotate()
            self.ended(count)
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()

    def meanwhile(self):
        self.write(20)
        self.rotate()
        self.write(20)


@case
class packed(generations):
    """The same with compressed rotated files, and others compressed since."""

    def rotate(self, *pack):
        super().rotate(*pack)
        if self.name(2).exists():
            self.pack(self.name(2))


@case
class closed(Case):
    """An orderly end right behind a complete generation."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.rotate()
        self.ended(1)
        self.down()


@case
class rotated_copy(Case):
    """The archive's logrotate turned the copy twice, and compressed the older piece."""

    def play(self):
        self.up()
        for name in ("messages-20261123", "messages-20261124"):
            self.write()
            self.arrives()
            self.rotate_copy(name)
        self.write()
        self.arrives()
        self.is_marked()
        self.pack(self.copy.parent / "messages-20261123")
        self.kill()


@case
class rotated_both(rotated_copy):
    """The origin, too."""

    def rotate_copy(self, name):
        super().rotate_copy(name)
        self.rotate()
        self.ended(int(name[-1]) - 2)

    def meanwhile(self):
        self.copy.rename(f"{self.copy}-20261125")
        self.write(20)
        self.rotate()
        self.write(20)


@case
class mirror(generations):
    """A piece for each generation."""

    options = " | mirror"


@case
class late(Case):
    """Bytes were written to a rotated file after it was complete."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        with open(self.origin, "ab"):
            self.rotate()
            self.write()
            self.ended(1)
            self.arrives()
            self.write(3, self.name(1))
            self.arrives()
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class mirror_late(Case):
    """The same in a mirror: they belong to its piece."""

    options = " | mirror"

    def play(self):
        self.up()
        self.write()
        self.arrives()
        with open(self.origin, "ab"):
            self.rotate()
            second = self.write()
            self.ended(1)
            self.arrives()
            del self.written[-len(second) :]
            self.write(3, self.name(1))
            self.written += second
            self.arrives()
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class reconnected(Case):
    """The connection was lost several times, and nothing came in between."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        for _ in range(3):
            self.source.kill()
            wait_until(lambda: not self.sink.children(), "its child lives on")
            self.source.up()
            wait_until(lambda: self.records()[-1][0] == "resume", self.records)
        self.kill()


@case
class lost(Case):
    """A generation was deleted before it was read to its end: a gap."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.down()
        gone = self.write(5)
        del self.written[-len(gone) :]
        self.origin.unlink()
        self.write()
        self.up()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class resent(Case):
    """-n: the whole origin once more."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.source.down()
        wait_until(lambda: not self.sink.children(), "its child lives on")
        self.written *= 2
        self.source.argv.append("-n")
        self.source.up()
        self.source.argv.pop()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class foreign(Case):
    """Somebody else has written to the copy."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        append(self.copy, b"somebody else's line\n")
        self.written += b"somebody else's line\n"
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class truncated(Case):
    """copytruncate of the origin."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        shutil.copy2(self.origin, self.name(1))
        os.truncate(self.origin, 0)
        self.ended(1)
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class copytruncated(Case):
    """The archive's logrotate copied the copy and truncated it."""

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        shutil.copy2(self.copy, f"{self.copy}-20261124")
        os.truncate(self.copy, 0)
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class torn(Case):
    """A torn tail was cut off and kept, and the rest came again."""

    def boot(self):
        return super().boot()[::-1]

    def play(self):
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()
        with open(self.copy, "r+b") as file:
            file.seek(self.last_mark() + 30)
            file.write(bytes(size(self.copy) - self.last_mark() - 30))
        self.sink.env.update(self.patched(self.stage, ANEW))
        self.up()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class adopted(Case):
    """The copy was there before its ledger."""

    def play(self):
        self.write()
        self.copy.write_bytes(self.written)
        self.up()
        self.write()
        self.arrives()
        self.is_marked()
        self.kill()


@case
class compacted(Case):
    """The ledger has been rewritten: only the last two generations stand in it."""

    def __init__(self, stage):
        self.env = self.patched(stage, SMALL)
        super().__init__(stage)

    def play(self):
        self.up()
        for count in range(1, 9):
            self.write(12)
            self.arrives()
            if count == 8:
                break
            self.rotate()
            time.sleep(0.3)
        self.is_marked()
        for _ in range(20):
            self.write(1)
            self.arrives()
            self.is_marked()
        assert sum(kind == "end" for kind, _ in self.records()) < 7, "never rewritten"
        self.kill()


@case
class pulled(generations):
    """The pull pair."""

    pull = True


@case
class pulled_clean(clean):
    """The same, and an orderly end."""

    pull = True


@case
class pulled_packed(packed):
    """The same with compressed rotated files."""

    pull = True


class Several(Case):
    """Two origins, and one copy."""

    def __init__(self, stage):
        self.second = ROOT / "var" / "other"
        super().__init__(stage)
        self.second.touch()
        self.other = stage.client(self.second, name="second")
        self.other_written = b""

    def entries(self):
        return [f"127.0.0.1:{path} | {self.copy}" for path in (self.origin, self.second)]

    def up(self):
        super().up()
        self.other.up()

    def write_other(self, count=20):
        """The other application writes; its lines are known by what they begin with."""
        text = b"".join(b"other %06d\n" % n for n in range(count))
        text = text.replace(b"other ", b"other %d " % len(self.other_written))
        append(self.second, text)
        self.other_written += text

    def copied(self):
        return b"".join(self.share(False))

    def share(self, other):
        """The lines of one of the two."""
        lines = super().copied().splitlines(keepends=True)
        return [line for line in lines if line.startswith(b"other") == other]

    def arrives(self):
        super().arrives()
        wait_until(lambda: b"".join(self.share(True)) == self.other_written, "the other's")

    def down(self):
        self.other.down()
        super().down()

    def kill(self):
        self.other.kill()
        super().kill()

    def play(self):
        self.up()
        for _ in range(2):
            self.write(20)
            self.write_other()
            self.arrives()
            self.rotate()
        self.write(20)
        self.arrives()
        time.sleep(1.5)  # in which an old merged ledger may get what nothing there would tell of
        self.end()


@case
class merged(Several):
    """Both in order."""

    def end(self):
        self.down()

    def meanwhile(self):
        self.write(5)
        self.write_other(5)


@case
class merged_killed(Several):
    """kill -9 while both come; the copy is rotated since."""

    def end(self):
        self.write_other()
        self.kill()

    def meanwhile(self):
        self.copy.rename(f"{self.copy}-20261124")
        self.write(5)
        self.write_other(5)


@case
class merged_compacted(compacted, Several):
    """The shared ledger has been rewritten."""

    def play(self):
        self.up()
        for _ in range(40):
            self.write(2)
            self.write_other(2)
            self.arrives()
        self.down()

    def meanwhile(self):
        self.write(5)
        self.write_other(5)


@case
class original_client(Case):
    """An original client sent lines; then it was replaced by tcppipe."""

    def play(self):
        from test_version1 import LineClient

        self.sink.up()
        client = LineClient(self.stage.port, str(self.origin))
        client.send(self.write())
        client.close()
        self.arrives()
        self.sink.down()
        self.sent = len(self.written)
        status = ROOT / "run" / self.original()
        status.parent.mkdir(exist_ok=True)
        status.write_text(f"{self.sent}\n")

    def original(self):
        """What the original called its status file."""
        from tcppipe.process import rundir

        return rundir.original_base("127.0.0.1", self.stage.port, str(self.origin)) + ".pipe"


@case
class original_server(Case):
    """tcppipe sent lines to an original server, which was replaced by tcppiped: what it has
    remembered is in its status file."""

    def play(self):
        from test_version1 import LineServer

        server = LineServer()
        self.source.argv[self.source.argv.index("-p") + 1] = str(server.port)
        self.source.up()
        self.write()
        wait_until(lambda: server.copy == self.written, lambda: len(server.copy))
        time.sleep(0.5)
        self.source.down()
        self.copy.write_bytes(server.copy)
        for path in (ROOT / "run").glob("*.pipe"):
            path.rename(str(path).replace(f"-{server.port}.", f"-{self.stage.port}."))
        server.close()


@case
class pulled_original(Case):
    """fetch_logs of an original server, which was replaced by gen_numbers: a pointer file."""

    pull = True

    def play(self):
        from test_pull_version1 import OldServer

        server = OldServer()
        self.write()
        inode = os.stat(self.origin).st_ino
        for asked in (0, inode):
            server.play[asked] = (b"O", inode, bytes(self.written), False)
        config = ROOT / "fetch_logs.conf"
        line = config.read_text()
        config.write_text(line.replace(f" {self.stage.port} ", f" {server.port} "))
        self.sink.up()
        self.arrives()
        time.sleep(0.5)
        self.sink.down()
        server.close()


# --- keeping it


def kept_files():
    """What is kept, as paths relative to ROOT."""
    for top in ("var", "archive", "state", "run"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and path.stat().st_size and path.suffix not in (".pid", ".lock"):
                yield path.relative_to(ROOT)


def numbers(path):
    """What a ledger calls a file by, and its time."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        try:
            igen = struct.unpack("@I", fcntl.ioctl(file, GETVERSION, bytes(8))[:4])[0]
        except OSError:
            igen = 0
    return {"dev": status.st_dev, "ino": status.st_ino, "igen": igen, "mtime": status.st_mtime_ns}


def keep(name, story):
    """Copy what is left to a directory of this name."""
    target = HERE / name
    shutil.rmtree(target, ignore_errors=True)
    files = {}
    live = ROOT / "var"
    for path in [
        *kept_files(),
        *(p.relative_to(ROOT) for p in sorted(live.iterdir()) if not p.stat().st_size),
    ]:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target / path)
        files[str(path)] = numbers(ROOT / path)
    table = {
        "about": " ".join(type(story).__doc__.split()),
        "pull": story.pull,
        "port": story.stage.port,
        "boot": story.boot(),
        "options": story.options,
        "files": files,
        "written": story.written.decode(),
        "other": getattr(story, "other_written", b"").decode(),
    }
    (target / "TABLE").write_text(json.dumps(table, indent=1) + "\n")


def main():
    """Play all, or those that are named."""
    global Stage, wait_until, size, children
    checkout, names = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(CASES)
    sys.path[:0] = [str(checkout), str(checkout / "tests" / "programs")]
    from stage import Stage, children, size, wait_until

    for name in names:
        shutil.rmtree(ROOT, ignore_errors=True)
        ROOT.mkdir()
        stage = Stage(ROOT)
        try:
            story = CASES[name](stage)
            story.play()
            stage.close()
            story.meanwhile()
            keep(name, story)
        except BaseException:
            stage.close()
            raise
        print(name, "kept", file=sys.stderr)
    shutil.rmtree(ROOT)


if __name__ == "__main__":
    main()
