"""Fixtures for stories of real processes."""

import os
import signal
import subprocess

import pytest
from archives import ENDS, SLOW, Mirrored, Pulled, Pushed, Story, never_marks
from stage import Somebody, Stage, Writer

# Who is started in the background of a script ignores Ctrl-C, and so do all whom he starts.
for signum in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(signum) == signal.SIG_IGN:
        signal.signal(signum, signal.SIG_DFL)


@pytest.fixture
def stage(tmp_path):
    """A Stage in a temporary folder; at the end nothing of it is running."""
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def pipe(stage):
    """A Pipe with an origin of three lines; server and client are not yet started."""
    return stage.pipe(b"one\ntwo\nthree\n")


@pytest.fixture
def pull(stage):
    """A Pull with an origin of three lines; neither side is started."""
    return stage.pull(b"one\ntwo\nthree\n")


@pytest.fixture
def writer():
    """Makes Writers, which stop at the end of the test whatever happens."""
    writers = []

    def make(path, pause=0.001):
        writers.append(Writer(path, pause))
        return writers[-1]

    yield make
    for one in writers:
        if one.is_alive():
            one.stop()


RESOLVER = """
import os, socket, time

real = socket.getaddrinfo


def getaddrinfo(host, port, *more, **others):
    if others.get("flags", 0) & socket.AI_NUMERICHOST:
        return real(host, port, *more, **others)
    try:
        with open(os.environ["TEST_NAMES"]) as file:
            names = dict(line.split() for line in file)
    except FileNotFoundError:
        names = {}
    answer = names.get(host.decode() if isinstance(host, bytes) else host)
    if answer == "hang":
        time.sleep(600)
    if answer and answer.startswith("slow="):
        time.sleep(1.5)
        answer = answer.removeprefix("slow=")
    if answer == "again":
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real(answer or host, port, *more, **others)


socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def resolver(stage):
    """A name server for the stage's processes: resolver(name=answer), which is an address, "hang"
    or "again" (try again later).  Other names are asked for as ever."""
    place = stage.path / "resolver"
    place.mkdir()
    (place / "sitecustomize.py").write_text(RESOLVER)
    stage.env["PYTHONPATH"] = f"{place}:{stage.env['PYTHONPATH']}"
    stage.env["TEST_NAMES"] = str(place / "names")

    def answers(**names):
        beside = place / "names.new"
        beside.write_text("".join(f"{name} {answer}\n" for name, answer in names.items()))
        os.replace(beside, place / "names")

    return answers


@pytest.fixture
def somebody(stage, need):
    """Whoever runs with this as preexec can be kept from having another process."""
    need("root")
    return Somebody(stage)


@pytest.fixture(params=[Pushed, Mirrored, Pulled], ids=lambda kind: kind.__name__.lower())
def world(request, stage, need):
    """A pair, with nothing started yet."""
    need("root", "rsync", "gzip")
    return request.param(stage)


@pytest.fixture
def disk(stage, need):
    """An ext4 of its own, mounted at mnt/; a function mounts it elsewhere."""
    need("root", "mkfs.ext4", "mount")
    image, place = stage.path / "disk.img", stage.path / "mnt"
    mounted = []

    def mount(at):
        for old in mounted:
            subprocess.run(["umount", old], check=True)
        subprocess.run(["mount", "-o", "loop", image, at], check=True)
        mounted[:] = [at]

    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    place.mkdir()
    mount(place)
    yield mount
    for at in mounted:
        subprocess.run(["umount", "-l", at], check=True)


@pytest.fixture(params=ENDS, ids=lambda end: end.__name__)
def end(request, world):
    """How the sink ends."""
    if request.param is never_marks:
        slow = world.stage.path / "slow"
        slow.mkdir()
        (slow / "sitecustomize.py").write_text(SLOW)
        world.sink.env["PYTHONPATH"] = f"{slow}:{world.sink.env['PYTHONPATH']}"
    return request.param


@pytest.fixture(params=[0, 3], ids=["", "rotated"])
def rotations(request):
    """How often the origin is rotated while the sink is away."""
    return request.param


@pytest.fixture
def story(world, end):
    """A Story."""
    return Story(world, end)
