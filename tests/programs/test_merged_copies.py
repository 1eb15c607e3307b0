"""Several origins in one copy, by whole lines: what becomes of the copy, its ledger, and the pipes."""

import fcntl
import gzip
import os
import shutil
import signal
import subprocess
import time

import pytest
from stage import append, content, wait_until

MANY = int(os.environ.get("MERGED", "12"))  # pipes
RATE = int(os.environ.get("MERGED_RATE", "16"))  # lines a second of each
SECONDS = float(os.environ.get("MERGED_SECONDS", "2"))


class Merge:
    """Origins that go to one copy, a server, and a client for each; lines that tell where they
    belong.  The copy is read with all that was rotated from it, the oldest first."""

    def __init__(self, stage, names="abc"):
        self.stage = stage
        self.origins = [stage.path / f"{name}.log" for name in names]
        self.copy = stage.path / "copy" / "all.log"
        self.counts = [0] * len(names)
        self.pieces = []  # paths of what was rotated
        for origin in self.origins:
            origin.touch()
        self.configure(" | merge")
        self.server = stage.server()
        self.clients = [stage.client(o, name=f"tcppipe-{o.name}") for o in self.origins]

    def configure(self, option, last=None):
        """All origins go to one copy; or the last one to another."""
        copies = [self.copy] * len(self.origins)
        copies[-1] = last or copies[-1]
        rows = zip(self.origins, copies)
        self.stage.configure(
            *(f"127.0.0.1:{o} | {c}{option if c == self.copy else ''}" for o, c in rows)
        )

    def up(self):
        self.server.up()
        for client in self.clients:
            client.up()
        return self

    def down(self):
        for process in [*self.clients, self.server]:
            process.down()

    def kill(self):
        for process in [self.server, *self.clients]:
            process.kill()

    def write(self, count=20, which=None):
        """Each origin gets some lines."""
        for at, origin in enumerate(self.origins):
            if which in (None, at):
                rows = range(self.counts[at], self.counts[at] + count)
                append(origin, b"".join(b"%s %06d\n" % (origin.stem.encode(), row) for row in rows))
                self.counts[at] += count

    def lines(self):
        """What is in the copy and its pieces, for each origin."""
        whole = b""
        for path in [*self.pieces, self.copy]:
            data = content(path)
            whole += gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        rows = [row for row in whole.split(b"\n") if row]
        return [
            [row for row in rows if row.startswith(o.stem.encode() + b" ")] for o in self.origins
        ]

    def arrives(self, seconds=30.0):
        """All lines are there, each once, in their order."""
        wanted = [
            [b"%s %06d" % (origin.stem.encode(), row) for row in range(count)]
            for origin, count in zip(self.origins, self.counts)
        ]

        def counts():
            return [len(rows) for rows in self.lines()]

        wait_until(
            lambda: self.lines() == wanted,
            lambda: f"{counts()} lines of {self.counts}, {self.first_difference(wanted)}",
            seconds,
        )

    def first_difference(self, wanted):
        for there, rows in zip(self.lines(), wanted):
            for one, other in zip(there, rows):
                if one != other:
                    return one, other
        return "none differs"

    @property
    def ledger(self):
        (path,) = self.stage.state_dir.glob("*.merge")
        return path


@pytest.fixture
def merge(stage):
    """A Merge of three origins, nothing is started."""
    return Merge(stage)


@pytest.mark.parametrize("older", ["copy", "ledger"])
@pytest.mark.parametrize("origins", ["as they are", "rotated"])
def test_restored_from_a_backup(merge, older, origins):
    """The copy comes back from last night's backup, or the ledger does, and the other is newer.
    Then the lines that are missing are sent again, and those that are there are not."""
    merge.up().write()
    merge.arrives()
    merge.down()
    path = merge.copy if older == "copy" else merge.ledger
    shutil.copy2(path, f"{merge.stage.path}/backup")
    merge.up().write()
    merge.arrives()
    merge.write()
    merge.arrives()
    merge.down()
    os.unlink(path)
    subprocess.run(["cp", "-a", f"{merge.stage.path}/backup", path], check=True)
    if origins == "rotated":
        for origin in merge.origins:
            os.rename(origin, f"{origin}.1")
            origin.touch()
    merge.write()
    merge.up().arrives()
    merge.write()
    merge.arrives()


@pytest.mark.parametrize("run_dir", ["kept", "lost"])
def test_lost_ledger(merge, run_dir):
    """Without its ledger the copy goes on where the status files say; without these, what is
    sent again and stands there is not appended once more."""
    merge.up().write()
    merge.arrives()
    merge.kill()
    os.unlink(merge.ledger)
    if run_dir == "lost":
        shutil.rmtree(merge.stage.run_dir)
    merge.write()
    merge.up().arrives()


@pytest.mark.parametrize("how", ["moved", "torn", "zeros", "damaged line"])
def test_copy_or_ledger_is_not_what_it_was(merge, how):
    """The copy was moved to another disk (another inode), lost its end, or it became zeros; or a
    line of the ledger is damaged."""
    merge.up().write()
    merge.arrives()
    merge.write()
    merge.arrives()
    merge.kill()
    data = content(merge.copy)
    if how == "moved":
        subprocess.run(["cp", "-a", merge.copy, f"{merge.copy}.new"], check=True)
        os.rename(f"{merge.copy}.new", merge.copy)
    elif how == "torn":
        os.truncate(merge.copy, len(data) - 205)
    elif how == "zeros":
        merge.copy.write_bytes(data[:-205] + bytes(205))
    else:
        rows = content(merge.ledger).splitlines(keepends=True)
        rows[-3] = rows[-3][:30] + b"?" + rows[-3][31:]
        merge.ledger.write_bytes(b"".join(rows))
    merge.write()
    merge.up().arrives()


def test_becomes_merged_and_is_no_more(merge):
    """A pipe that had its copy for itself goes on where it was when others join it, with an
    unfinished line; and again when they are gone, and when they come back."""
    *others, last = merge.origins
    alone = merge.stage.path / "copy" / "alone.log"
    merge.configure("", last=alone)
    merge.stage.configure(f"127.0.0.1:{last} | {merge.copy}")
    merge.server.up()
    merge.clients[-1].up()
    merge.write(which=2)
    append(last, b"c 00")
    wait_until(lambda: content(merge.copy) == content(last), "not there")
    merge.configure("")
    merge.server.hup()
    wait_until(lambda: list(merge.stage.state_dir.glob("*.merge")), "no shared ledger")
    wait_until(lambda: b"/c.log" in content(merge.ledger), "does not become merged")
    for client in merge.clients[:-1]:
        client.up()
    merge.write(which=0)
    append(last, b"0020\n")
    merge.counts[2] += 1
    merge.write()
    merge.arrives()
    merge.stage.configure(f"127.0.0.1:{last} | {merge.copy}")
    merge.server.hup()
    for client in merge.clients[:-1]:
        client.kill()
    merge.write(which=2)
    merge.arrives()
    merge.clients[-1].kill()
    merge.server.kill()
    merge.write(which=2)
    merge.server.up()
    merge.clients[-1].up()
    merge.arrives()
    merge.configure("")
    merge.server.hup()
    for client in merge.clients[:-1]:
        client.up()
    merge.write()
    merge.arrives()


@pytest.mark.parametrize("how", ["rename and HUP", "rename", "copytruncate", "gzip while down"])
def test_rotated_under_load(merge, writer, how):
    """The copy is rotated again and again while lines come: each of them is in one of the
    pieces, once."""
    writers = [writer(origin) for origin in merge.origins]
    merge.up()
    for one in writers:
        one.start()
    for number in range(5):
        writers[0].wait_more(40)
        wait_until(lambda: content(merge.copy), "nothing comes")
        piece = f"{merge.copy}.{number}"
        if how == "copytruncate":
            shutil.copyfile(merge.copy, piece)
            os.truncate(merge.copy, 0)
        elif how == "gzip while down":
            merge.server.down()
            os.rename(merge.copy, piece)
            subprocess.run(["gzip", piece], check=True)
            piece += ".gz"
            merge.server.up()
        else:
            os.rename(merge.copy, piece)
        if how == "rename and HUP":
            merge.server.hup()
        merge.pieces.append(piece)
    written = sorted(b"".join(one.stop() for one in writers).splitlines())

    def there():
        whole = b""
        for path in [*merge.pieces, merge.copy]:
            data = content(path)
            whole += gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return sorted(row for row in whole.split(b"\n") if row)

    wait_until(lambda: there() == written, lambda: f"{len(there())} of {len(written)} lines", 30)


def test_lines_are_not_glued(merge):
    """A generation ends without a newline, and somebody else writes a line without one: what is
    appended next begins a line of its own, and nobody's bytes are altered."""
    one, two, _ = merge.origins
    merge.up()
    append(one, b"a 000000\na 000001")
    os.rename(one, f"{one}.1")
    append(one, b"a 000002\n")
    merge.counts[0] = 3
    merge.arrives()
    append(merge.copy, b"no newline")
    merge.write(which=1)
    merge.arrives()
    rows = content(merge.copy).split(b"\n")
    assert b"no newline" in rows and b"a 000001" in rows
    assert all(len(row) == 8 for row in rows if row[1:2] == b" "), rows


def test_late_lines(merge):
    """A writer holds on to a rotated origin: its lines are in the copy, once, though others came
    meanwhile."""
    one = merge.origins[0]
    merge.up()
    with open(one, "ab", 0) as held:
        held.write(b"a 000000\n")
        merge.counts[0] = 1
        merge.arrives()
        os.rename(one, f"{one}.1")
        one.touch()
        merge.write()
        merge.arrives()
        wait_until(lambda: b'{"done":' in content(merge.ledger), "the generation does not end")
        merge.write()
        for data in (b"late 1\n", b"late", b" 2\n"):
            held.write(data)
        wait_until(lambda: b"late 2\n" in content(merge.copy), "no late lines")
        merge.clients[0].kill()
        held.write(b"late 3\n")
        merge.clients[0].up()
        wait_until(lambda: b"late 3\n" in content(merge.copy), "no late line after a restart")
        merge.server.kill()
        merge.server.up()
        merge.write()
        merge.arrives()
    rows = content(merge.copy).split(b"\n")
    assert [row for row in rows if row[:4] == b"late"] == [b"late 1", b"late 2", b"late 3"]


def test_a_link_for_a_lock_is_not_followed(merge):
    """Somebody has put a link where the lock of the copy is to be: what it leads to is not
    touched, and the pipe says so."""
    merge.stage.state_dir.mkdir()
    name = "".join(c if c.isalnum() or c in "._-" else f"%{ord(c):02X}" for c in str(merge.copy))
    victim = merge.stage.path / "victim"
    os.symlink(victim, merge.stage.state_dir / f"{name}.merge.lock")
    merge.server.up()
    merge.clients[0].start()
    merge.server.wait_log("all.log: cannot read, waiting: Is a symbolic link, and not followed")
    assert not victim.exists()


def test_directories_of_others_are_said(merge):
    """Ledgers where everybody may write, and a configuration of that kind, are worth a warning."""
    merge.stage.state_dir.mkdir()
    merge.stage.state_dir.chmod(0o777)
    merge.stage.conf.chmod(0o666)
    merge.server.up()
    assert [line.split(": ")[1] for line in merge.server.lines if "others may write" in line] == [
        str(merge.stage.state_dir), str(merge.stage.conf),
    ]  # fmt: skip


def test_nobody_waits_in_the_loop(merge):
    """Another process keeps the lock for ever: a pipe says so after some seconds, and ends at once
    when the server does."""
    merge.up().write()
    merge.arrives()
    (path,) = merge.stage.state_dir.glob("*.merge.lock")
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        merge.write()
        merge.server.wait_log("all.log: cannot append, waiting: another pipe writes to it")
        began = time.monotonic()
        merge.server.signal(signal.SIGTERM)
        merge.server.wait()
        assert time.monotonic() - began < 8.0
    merge.server.up()
    merge.arrives()


def test_lines_a_second(stage):
    """Many pipes, each of which brings some lines a second: all come, and soon.

    MERGED=90 MERGED_SECONDS=10 python -m pytest -n0 -s tests/programs/test_merged_copies.py -k
    lines_a_second  says how many: on two busy processors 340 a second before there were turns, all
    1,430 that were offered now, and with MERGED_RATE=100 about 4,800.
    """
    merge = Merge(stage, [f"{n:03}" for n in range(MANY)])
    merge.server.up()
    listed = stage.path / "list"
    listed.write_text("".join(f"-f {o} -h 127.0.0.1 -p {stage.port}\n" for o in merge.origins))
    keeper = stage.process("keeper", [*stage.program("tcppipe"), "-d", "-c", listed])
    keeper.start()
    merge.write(1)
    merge.arrives(120)
    began = time.monotonic()
    while time.monotonic() < began + SECONDS:
        while merge.counts[0] < 1 + RATE * (time.monotonic() - began):
            merge.write(1)
        time.sleep(0.01)
    offered = sum(merge.counts) - MANY
    merge.arrives(120)
    seconds = time.monotonic() - began
    print(f"{offered} lines in {seconds:.1f} s: {offered / seconds:.0f} a second")
