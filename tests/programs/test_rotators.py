"""Every way of rotating that is known from the field, while all runs and while a side is away.

What the application wrote is known to the test; at the end the copy has all of it, once
and in order, and a mirror has each generation in a file of its own.
"""

import time

import pytest
from rotators import ROTATORS, make
from stage import content, wait_for_bytes, wait_until

TURNS = 4
LONG = b", and so on" * 40  # some lines of a generation are more than its head


# Those that wait for a mend: patterns of "ROTATOR-KIND-LIFE".
class Pushed:
    """A rotator's log, sent by tcppipe and appended."""

    def __init__(self, stage, rotator):
        self.rotator = rotator
        self.copy = stage.path / "copy"
        stage.configure(f"127.0.0.1:{rotator.log} | {self.copy}")
        self.archive = stage.server()
        self.source = stage.client(rotator.log, *rotator.options)

    def up(self):
        """Start both."""
        self.archive.up()
        self.source.up()

    def arrives(self):
        """All that was written is there, once."""
        wait_for_bytes(self.copy, self.rotator.written)


class Pulled:
    """A rotator's log, given by gen_numbers and mirrored."""

    def __init__(self, stage, rotator):
        self.rotator = rotator
        self.copy = stage.path / "copies" / "app.log"
        glob = f"{rotator.directory}/{rotator.glob}"
        self.source = stage.numbers(
            '$hosts_allow{"127.0.0.1"} = 1;', f"$files{{'{rotator.log}'}} = '{glob}';"
        )
        pointer = stage.path / "pointer"
        line = f"127.0.0.1 {stage.port} {rotator.log} {self.copy} {pointer}"
        self.archive = stage.fetcher(line)

    def up(self):
        """Start both."""
        self.source.up()
        self.archive.up()

    def pieces(self):
        """What is there, oldest first."""
        found = self.copy.parent.glob("app.log.2*")
        rows = sorted(found, key=lambda path: list(map(int, path.name.split(".")[2:])))
        return [content(path) for path in [*rows, self.copy]]

    def arrives(self):
        """Each generation that holds anything is there, once."""
        wanted = [data for data in self.rotator.generations if data]

        def found():
            return [data for data in self.pieces() if data]

        def what():
            return "\n".join(
                str([data[:22] + data[-22:] for data in row]) for row in (found(), wanted)
            )

        wait_until(lambda: found() == wanted, what)


def turns(rotator, pause):
    """Write and rotate some times.  pause: what is waited for before a rotation."""
    for _ in range(TURNS):
        for line in range(3):
            rotator.write(b"turn %d, line %d%s\n" % (rotator.turn, line, LONG))
        pause()
        rotator.rotate()
    rotator.write(b"after turn %d%s\n" % (rotator.turn, LONG))


def running(pair):
    """Some rotations 0.1 s after another, some each after the last line has arrived."""

    def pause():
        if pair.rotator.turn % 4 < 2:
            time.sleep(0.1)
        else:
            pair.arrives()

    turns(pair.rotator, pause)


def source_away(pair):
    """The source is killed before and started after."""
    pair.source.kill()
    turns(pair.rotator, lambda: None)
    pair.source.up()


def archive_away(pair):
    """The archive is killed before and started after."""
    pair.archive.kill()
    turns(pair.rotator, lambda: None)
    pair.archive.up()


LIVES = [running, source_away, archive_away]


def cases():
    """Every rotator, both pairs, each life."""
    for rotator in ROTATORS:
        for kind in (Pushed, Pulled):
            for life in LIVES:
                name = f"{rotator}-{kind.__name__}-{life.__name__}"
                yield pytest.param(rotator, kind, life, id=name)


@pytest.mark.parametrize("name, kind, life", list(cases()))
def test_rotator(stage, need, name, kind, life):
    """Lines are written and the log is rotated. All lines arrive once, and a lost connection after
    that brings none again."""
    directory = stage.path / "logs"
    directory.mkdir()
    rotator = make(name, stage, directory)
    need(*rotator.programs)
    rotator.begin(b"the first line%s\n" % (LONG * 3))
    pair = kind(stage, rotator)
    pair.up()
    pair.arrives()
    life(pair)
    pair.arrives()
    pair.archive.kill()
    pair.archive.up()
    rotator.write(b"the last line\n")
    pair.arrives()
