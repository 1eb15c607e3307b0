"""fetch_logs reads its configuration again while a source is busy: nobody meets another at his files."""

import threading
import time

import pytest

from tcppipe.conf import fetch as conf
from tcppipe.drivers.fetch import Fetch
from tcppipe.drivers.fetchers import Fetchers


@pytest.fixture
def fetchers(tmp_path):
    """Fetchers that nobody runs; what they say is printed."""
    for name in ("snmp", "state"):
        (tmp_path / name).mkdir()
    paths = [str(tmp_path / name) for name in ("fetch.conf", "snmp", "state")]
    fetchers = Fetchers(*paths, lambda *words: print(*words))
    yield fetchers
    fetchers._wanted = {}
    fetchers._rota.close(fetchers._fetches.values(), print)


def sources(*lines):
    """What these lines of a configuration mean."""
    return conf.parse("".join(f"{line}\n" for line in lines), "fetch.conf")


@pytest.mark.parametrize(
    "line", ["127.0.0.2 1 /a /l/a /p/a", "127.0.0.1 1 /b /l/a /p/b", "127.0.0.1 1 /a /l/b /p/a"]
)
def test_a_line_that_keeps_a_file(fetchers, monkeypatch, line):
    """What was fetched into it before has a disk that does not answer.  The new one waits for that,
    as do all that follow, and people go on being told of the old one's trouble."""
    answers = threading.Event()
    close = Fetch.close
    monkeypatch.setattr(Fetch, "close", lambda self, now: answers.wait(60) and close(self, now))
    fetchers.take(sources("127.0.0.1 1 /a /l/a /p/a", "127.0.0.1 1 /c /l/c /p/c"), 0.0)
    (old, other) = fetchers._fetches.values()
    fetchers.take(sources(line, "127.0.0.1 1 /c /l/c /p/c"), 1.0)
    fetchers.take(sources("127.0.0.1 1 /c /l/c /p/c"), 2.0)
    fetchers.take(sources("127.0.0.1 1 /c /l/c /p/c", line), 3.0)
    fetchers._rota.tend(time.monotonic())
    assert list(fetchers._fetches.values()) == [other]
    assert list(fetchers._rota.leaving) == [old]
    answers.set()
    until = time.monotonic() + 15
    while len(fetchers._fetches) == 1 and time.monotonic() < until:
        fetchers._rota.tend(time.monotonic())
    (kept, new) = fetchers._fetches.values()
    assert kept is other and new.source == sources("", line)[0]
    assert not fetchers._rota.leaving
