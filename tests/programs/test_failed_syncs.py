"""A disk that cannot take what it was given: a sync fails, the kernel counts the bytes as written all
the same, and they are not on the disk.  What is acknowledged is, and in the end all of it.

On a real file system: ext4 on a device that has less room than it says.
"""

import json
import subprocess

import pytest
from stage import content, wait_until

SMALL, LARGE = "size=12m", "size=200m"  # of what the device really has
MUCH = 30_000_000  # bytes that are more than the small one


class Thin:
    """A device of 256 MiB, with an ext4 that is mounted at `place`, on a file that has less room."""

    def __init__(self, stage, place):
        self.place = place
        self._under = stage.path / "under"
        self._image = self._under / "image"
        for folder in (self._under, self.place):
            folder.mkdir()
        self._mount("-t", "tmpfs", "-o", SMALL, "tmpfs", self._under)
        with open(self._image, "wb") as file:
            file.truncate(256 << 20)
        # no journal: its own failure would end the file system; and its tables are there already
        options = ["-O", "^has_journal", "-E", "lazy_itable_init=0", "-N", "64"]
        subprocess.run(["mkfs.ext4", "-q", "-F", *options, self._image], check=True)
        self._mount("-o", "loop", self._image, self.place)

    def _mount(self, *words):
        subprocess.run(["mount", *map(str, words)], check=True)

    def grow(self):
        """There is room again."""
        self._mount("-o", f"remount,{LARGE}", self._under)

    def forget(self):
        """Unmount and mount: what can be read now is what is on the disk."""
        subprocess.run(["umount", self.place], check=True)
        self._mount("-o", "loop", self._image, self.place)

    def close(self):
        """It is gone."""
        for place in (self.place, self._under):
            subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(params=["pipe", "pull"])
def pair(request, stage, need):
    """A pair of either kind, with nothing started: (the pair, its source, its sink)."""
    need("root", "mkfs.ext4", "mount")
    pair = request.getfixturevalue(request.param)
    sink, source = (
        (pair.server, pair.client) if request.param == "pipe" else (pair.client, pair.server)
    )
    pair.sink, pair.source = sink, source
    return pair


@pytest.fixture
def thin(stage, pair):
    """A Thin device at the copy's directory."""
    assert not pair.copy.parent.exists()
    thin = Thin(stage, pair.copy.parent)
    stage.closing.append(thin.close)
    return thin


def promised(stage):
    """Below which offset all is acknowledged, by the ledger."""
    (ledger,) = stage.state_dir.glob("*.ledger")
    rows = [json.loads(line[9:]) for line in content(ledger).splitlines()]
    marks = [row["mark"]["offset"] for row in rows if "mark" in row]
    return marks[-1] if marks else 0


def much(count):
    """Lines that are nowhere alike."""
    return b"".join(b"%09d %s\n" % (n, b"y" * (n % 80)) for n in range(count // 50))[:count]


def is_full(pair, thin):
    """The pair runs, and the disk has become too small for what came."""
    pair.up()
    before = pair.origin.read_bytes()
    data = much(MUCH)
    pair.append(data)
    pair.sink.wait_log("cannot sync: No space left on device", 60)
    return before + data


def ends(pair, thin, killed, wanted):
    """There is room again, and everything is on the disk in the end: what is, instead."""
    if killed:
        pair.sink.kill()
        wait_until(lambda: len(pair.stage.living()) <= 1 + bool(pair.source.children()), "lives on")
        thin.grow()
        thin.forget()
        least = promised(pair.stage)
        assert content(pair.copy)[:least] == wanted[:least], "acknowledged, and not on the disk"
        pair.sink.up()
        if pair.source is not pair.server:
            pair.source.hup()
    else:
        thin.grow()
    wait_until(lambda: promised(pair.stage) == len(wanted), "not acknowledged", 90)
    pair.sink.down()
    thin.forget()
    return content(pair.copy)


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_a_device_with_less_room_than_it_says(pair, thin, killed):
    """More comes than the device has room for. The sink goes on, or is killed; then there is room,
    and all that is acknowledged is on the disk, as a new mount shows."""
    wanted = is_full(pair, thin)
    assert ends(pair, thin, killed, wanted) == wanted
