"""Random lives of a log file under real processes, each told by its seed.

An application writes; logrotate and the administrator do what they do; processes are killed.
Nothing that happens here makes bytes unreachable, so every byte has to arrive once, in order.
TCPPIPE_LIVES=200 lives more of them; `-k 'test_life[SEED]'` repeats one.
"""

import contextlib
import gzip
import os
import random
import shutil
import signal
import time

import pytest
from stage import content, wait_until


class Life:
    """What happens to one pipe, one happening at a time."""

    def __init__(self, pipe, seed):
        self.pipe = pipe
        self.origin = pipe.origin
        self.random = random.Random(seed)
        self.expected = content(pipe.origin)
        self.pieces = []
        self.lines = 0

    def write(self):
        """The application writes some lines, or a part of one."""
        data = b""
        for _ in range(self.random.choice([1, 1, 3, 40])):
            self.lines += 1
            data += b"%06d %s\n" % (self.lines, b"z" * self.random.randrange(200))
        if self.random.random() < 0.3:
            data += b"and a part of a line: "
        self.pipe.append(data)
        self.expected += data

    def rotate(self):
        """rename and create; sometimes compressed at once."""
        self.shift()
        os.rename(self.origin, f"{self.origin}.1")
        self.origin.touch()
        if self.random.random() < 0.3:
            self.compress()

    def shift(self):
        """Make room for a new .1."""
        for number in range(40, 0, -1):
            for suffix in ("", ".gz"):
                old = f"{self.origin}.{number}{suffix}"
                if os.path.exists(old):
                    os.rename(old, f"{self.origin}.{number + 1}{suffix}")

    def compress(self):
        """An old file is compressed."""
        plain = [n for n in range(1, 41) if os.path.exists(f"{self.origin}.{n}")]
        if plain:
            path = f"{self.origin}.{self.random.choice(plain)}"
            with open(path, "rb") as old, gzip.open(f"{path}.gz", "wb") as packed:
                shutil.copyfileobj(old, packed)
            shutil.copystat(path, f"{path}.gz")
            os.unlink(path)

    def copytruncate(self):
        """copy and truncate in place, and some lines at once.  A running client has had the time to
        read the file's beginning: of a file that it never saw it cannot know the copy."""
        if self.pipe.client.running:
            self.write()
            self.rest()
            self.write()
        self.shift()
        shutil.copyfile(self.origin, f"{self.origin}.1")
        os.truncate(self.origin, 0)
        self.write()

    def rest(self):
        """Nothing happens until everything has arrived."""
        for process in (self.pipe.server, self.pipe.client):
            if not process.running:
                process.up()
        wait_until(lambda: self.arrived() == self.expected, self.difference, seconds=20)

    def truncate(self):
        """Once all has arrived, the origin is truncated and rewritten."""
        self.rest()
        os.truncate(self.origin, 0)
        self.write()
        self.rest()

    def remove(self):
        """Once all has arrived, the origin is removed and made again."""
        self.rest()
        self.origin.unlink()
        self.origin.touch()
        self.write()
        self.rest()

    def rotate_copy(self):
        """The copy is renamed, and the server gets HUP; unless there is neither."""
        if self.pipe.server.running and self.pipe.copy.exists():
            self.pieces.append(f"{self.pipe.copy}-{len(self.pieces):03d}")
            os.rename(self.pipe.copy, self.pieces[-1])
            self.pipe.server.hup()

    def kill_child(self):
        """A child of the server is killed."""
        if self.pipe.server.running:
            for child in self.pipe.server.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def client(self):
        """The client is killed or ended, or started."""
        self.toggle(self.pipe.client)

    def server(self):
        """The server is killed or ended, or started."""
        self.toggle(self.pipe.server)

    def toggle(self, process):
        """Kill or end it if it runs; else start it."""
        if not process.running:
            if process is self.pipe.client and not self.pipe.server.running:
                self.pipe.server.up()
            process.up()
        elif self.random.random() < 0.6:
            process.kill()
        else:
            process.down()

    def hup(self):
        """The client gets HUP."""
        if self.pipe.client.running:
            self.pipe.client.hup()

    def arrived(self):
        """All pieces of the copy, in order."""
        return b"".join(map(content, self.pieces)) + content(self.pipe.copy)

    def difference(self):
        """Where what has arrived is not what was expected."""
        there, wanted = self.arrived(), self.expected
        same = len(os.path.commonprefix([there, wanted]))
        near = slice(max(0, same - 40), same + 60)
        for ledger in self.pipe.stage.state_dir.glob("*.ledger"):
            print(f"--- {ledger.name}\n{ledger.read_text(errors='replace')}")
        for path in sorted(self.origin.parent.glob("a.log*")):
            print(path.name, path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        return (
            f"{len(there)} bytes instead of {len(wanted)}, equal are {same}: "
            f"{there[near]!r} instead of {wanted[near]!r}"
        )


HAPPENINGS = (
    ["write"] * 8 + ["rotate"] * 3 + ["client"] * 4 + ["server"] * 2 + ["rotate_copy", "compress"]
    + ["copytruncate", "truncate", "remove", "kill_child", "kill_child", "hup", "rest"]
)  # fmt: skip


@pytest.mark.parametrize("seed", range(int(os.environ.get("TCPPIPE_LIVES", "6"))))
def test_life(stage, seed):
    """Thirty happenings, drawn from a seed. At the end the pieces of the copy, in order, are what
    was ever written."""
    life = Life(stage.pipe(b"the first line\n").up(), seed)
    for _ in range(30):
        happening = life.random.choice(HAPPENINGS)
        print(time.time_ns(), happening)
        getattr(life, happening)()
    life.rest()
    assert life.arrived() == life.expected
