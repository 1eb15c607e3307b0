"""A Store's words to people and to the source, with a copy that does as it is told."""

import socket
from types import SimpleNamespace

import pytest

from tcppipe.drivers.store import Store
from tcppipe.drivers.waits import LONG_STEP
from tcppipe.errors import Blocked, Busy
from tcppipe.net.link import Link
from tcppipe.session.actions import Note, Send


class Session:
    """Says nothing of itself."""

    keepalive = SimpleNamespace(sent=0.0, heard=0.0)

    def tick(self, _now, deaf=False):
        """Nothing is due."""
        return []

    def due(self):
        """Never."""
        return float("inf")

    def wait(self, text):
        """What the source is told."""
        return [Send(f"{text}\n".encode())]


class Copy:
    """outcomes: what becomes of each gap that is noted: an error, or None."""

    destination = SimpleNamespace(path="/copy")
    syncing = dirty = unmarked = False
    marked = True
    end = durable = behind = 0

    def __init__(self):
        self.outcomes = []

    def synced(self):
        """There is none."""
        return False

    def gap(self, _gap):
        """Ends as it is told."""
        if error := self.outcomes.pop(0):
            raise error


@pytest.fixture
def store():
    """A Store; said: what it has said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    said = []
    store = Store(
        Link(ours, "peer"), Session(), Copy(), None, lambda *words: said.append(words), None
    )
    store.said = said
    yield store
    ours.close()
    theirs.close()


def test_what_waits_behind_a_disk_is_no_long_step(store):
    """The disk is full for a while, in the middle of long steps; there is room again, and more to be
    done than one turn does: all that is said is the disk, and that it goes on."""
    store.copy.outcomes = [
        Busy("reads"),
        Busy("reads"),
        *[Blocked("full, waiting")] * 5,
        None,
        None,
        None,
    ]
    store.pump.take([Note(1), Note(2), Note(3)], 0.0)
    now = 0.0
    while store.copy.outcomes:
        store.tend(now)
        now += LONG_STEP / 2
    store.tend(now)
    assert [text for _level, text in store.said] == ["full, waiting", "/copy: goes on"]


def test_a_look_that_cannot_note_what_it_sees_ends_nothing(store):
    """Somebody has written to the destination, and the ledger's disk is full: the next append waits
    for it, and says so."""
    store._open, store._acknowledged = True, (0, 0)
    looks = []

    def look():
        looks.append(None)
        raise Blocked("/ledger: cannot write the ledger, waiting")

    store.copy.look = look
    for now in range(9):
        store.tend(float(now))
    assert looks
