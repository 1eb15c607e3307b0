"""A writer prepares its file with NULs and writes over them through a mapping."""

import mmap
import os

import pytest
from stage import Pipe, Pull, content, wait_for_bytes

ROOM = 1 << 16


class Mapped:
    """A log that is prepared, and mapped into memory."""

    def __init__(self, path):
        self.file = open(path, "r+b")
        os.posix_fallocate(self.file.fileno(), 0, ROOM)
        self.room = mmap.mmap(self.file.fileno(), ROOM)
        self.written = b""

    def write(self, data):
        """Write over the NULs."""
        at = len(self.written)
        self.written += data
        self.room[at : at + len(data)] = data

    def close(self):
        """The file keeps its room."""
        self.room.close()
        self.file.close()


@pytest.mark.parametrize("kind", [Pipe, Pull])
def test_a_mapped_log(stage, kind):
    """Lines arrive as they are written, also over a restart of both sides. The log is rotated with
    room left: the copy is the same file, and the next one begins."""
    pair = stage.pipe() if kind is Pipe else stage.pull()
    if kind is Pipe:
        pair.client.argv.append("--hold-nuls")
        source, sink = pair.client, pair.server
    else:
        locals_file = stage.path / "gen_numbers.locals"
        locals_file.write_text(locals_file.read_text().replace('.*"', '.* hold-nuls"'))
        source, sink = pair.server, pair.client
    log = Mapped(pair.origin)
    log.write(b"one\n")
    pair.server.up()
    pair.client.up()
    for turn in range(4):
        wait_for_bytes(pair.copy, log.written)
        if turn == 1:
            source.kill()
        if turn == 2:
            sink.kill()
        log.write(b"line %d\0\n" % turn)
        if turn == 1:
            source.up()
        if turn == 2:
            sink.up()
    wait_for_bytes(pair.copy, log.written)
    os.rename(pair.origin, f"{pair.origin}.1")
    pair.origin.write_bytes(b"new\n")
    log.write(b"last\n")
    log.close()
    whole = log.written + bytes(ROOM - len(log.written))
    assert content(f"{pair.origin}.1") == whole
    if kind is Pipe:
        pair.arrives(whole + b"new\n")
    else:
        pair.mirrors(whole, b"new\n")
    source.kill()
    source.up()
    with open(pair.origin, "ab") as file:
        file.write(b"end\n")
    if kind is Pipe:
        pair.arrives(whole + b"new\nend\n")
    else:
        pair.mirrors(whole, b"new\nend\n")
