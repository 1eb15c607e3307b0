"""Nothing that goes wrong ends the client's loop."""

import os
import re
import signal

import pytest

from tcppipe.drivers import lookout, push
from tcppipe.drivers.follow import Manner
from tcppipe.drivers.push import Push, Route
from tcppipe.errors import LinkLost, NotNow, PeerError, Refused
from tcppipe.files.chain import Chain
from tcppipe.files.follower import Follower
from tcppipe.files.notifiers import Nothing
from tcppipe.files.status import StatusFile
from tcppipe.files.wakeup import Wakeup


class Told:
    """Signals that come when the story wants it."""

    def __init__(self):
        self._read, self._write = os.pipe()
        self._came = []

    def fileno(self):
        """Readable when there are some."""
        return self._read

    def send(self, *signums):
        """They come."""
        self._came += signums
        os.write(self._write, b"x")

    def take(self):
        """Those that came."""
        os.read(self._read, 1)
        came, self._came = self._came, []
        return came

    def close(self):
        """It is over."""
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def signals():
    """Signals, and what becomes of them."""
    told = Told()
    yield told
    told.close()


@pytest.fixture
def client(tmp_path, signals, monkeypatch):
    """Makes a Push whose attempts to connect go wrong as told, one after the other, and ends it
    then; what it says."""
    monkeypatch.setattr(lookout, "LOOK", 0.01)
    monkeypatch.setattr(push, "CALM", 0.01)
    for bounds in ("LOST", "FOR_NOW", "REFUSED", "BUG"):
        monkeypatch.setattr(push, bounds, (0.001, 0.001))
    origin = tmp_path / "a.log"
    origin.write_bytes(b"one\n")

    def run(*failures):
        left, said = list(failures), []

        def dial(_now):
            if not left:
                signals.send(signal.SIGTERM)
                raise LinkLost("nobody")
            raise left.pop(0)

        status = StatusFile(str(tmp_path / "status"))
        client = Push(
            Follower(Chain(str(origin))),
            Route(dial, None),
            status,
            lambda *words: said.append(words),
        )
        client.run(signals, Nothing())
        client.follower.chain.close()
        told = [(level, text.replace(str(origin), "FILE")) for level, text in said]
        return [(level, text) for level, text in told if "nobody" not in text]

    return run


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (LinkLost("h: reset"), "warning", "FILE: h: reset; connects again"),
        (PeerError("h: nonsense"), "warning", "FILE: h: nonsense; connects again"),
        (NotNow("h: refused: for now: x"), "warning", "FILE: h: refused: for now: x; tries again"),
        (Refused("h: no"), "critical", "FILE: h: no; tries again, at HUP at once"),
        (OSError(24, "Too many open files"), "error", r"FILE: Too many open files \(PLACE\); con"),
        (MemoryError(), "error", r"FILE: Cannot allocate memory \(PLACE\); connects again"),
        (
            AssertionError("x"),
            "critical",
            r"FILE: bug: AssertionError: x \(PLACE\); connects again",
        ),
        (KeyError("x"), "critical", r"FILE: bug: KeyError: 'x' \(PLACE\); connects again"),
    ],
)
def test_said_once_and_tried_again(client, error, level, text):
    """With the cause, and where nobody has foreseen it with its place; not a second time."""
    said = client(error, error, error)
    assert said[0][0] == level
    assert re.match(text.replace("PLACE", r"(test_)?push\.py:\d+"), said[0][1]), said
    assert len(said) == 1


def test_bugs_are_counted(client, signals):
    """USR1 tells how many there were."""

    class Asked(AssertionError):
        def __str__(self):
            signals.send(signal.SIGUSR1)
            return "x"

    said = client(AssertionError("y"), Asked())
    assert any("bugs so far: 2" in text for _level, text in said), said


def test_hup_does_not_wait_for_a_pause(client, signals, monkeypatch):
    """After a refusal that would be asked again in an hour."""
    monkeypatch.setattr(push, "REFUSED", (3600.0, 3600.0))

    class Hurried(Refused):
        def __str__(self):
            signals.send(signal.SIGHUP)
            return "no"

    assert client(Hurried())[0][1].startswith("FILE: no; tries again")


@pytest.mark.parametrize("interval", [None, 3600.0])
def test_a_name_that_comes_is_looked_at_at_once(tmp_path, signals, monkeypatch, interval):
    """Also while there is no connection, and whatever -t says: what came may not stay."""
    monkeypatch.setattr(lookout, "LOOK", 3600.0)
    monkeypatch.setattr(push, "LOST", (3600.0, 3600.0))
    origin = tmp_path / "a.log"
    origin.write_bytes(b"one\n")

    class Looked(Chain):
        def look(self):
            super().look()
            if len(self.readers) == 3:
                signals.send(signal.SIGTERM)

    def dial(_now):
        raise LinkLost("nobody")

    def say(_level, text):
        if "nobody" in text:
            for number in range(2):
                os.rename(origin, tmp_path / f"of no shape {number}")
                origin.write_bytes(b"more\n")

    chain = Looked(str(origin))
    wakeup = Wakeup(str(origin), say)
    if wakeup.fileno() < 0:
        pytest.skip("no notification on this system")
    status = StatusFile(str(tmp_path / "status"))
    client = Push(Follower(chain), Route(dial, None), status, say, Manner(interval))
    chain.told = wakeup
    chain.look()
    client.run(signals, wakeup)
    assert [reader.read(9, 0) for reader in chain.readers] == [b"one\n", b"more\n", b"more\n"]
    chain.close()
    wakeup.close()
