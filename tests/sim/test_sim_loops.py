"""Random lives with the real loops, and proof that they would notice.

A client's loop (drivers/push) and a child's of the server (drivers/serve) for each connection, or
fetch_logs' (drivers/fetchers) and children of gen_numbers, in virtual time; scripts/torture --seed N repeats a life that is one of them.
"""

import pytest
from simloops import Hub, LoopWorld
from simpull import PullWorld
from simworld import ALWAYS, run

from tcppipe.drivers import push

CHUNK, LIVES = 10, 60
WORLDS = [LoopWorld, PullWorld]


# Lives that still go wrong, by faults of ours that are to be mended.  This set is to be empty.
KNOWN_WRONG = set()


def lives(world, seeds):
    """The lives of a world with these seeds, each lived."""
    return [run(world(seed)) for seed in seeds if (world, seed) not in KNOWN_WRONG]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
@pytest.mark.parametrize("first", range(0, LIVES, CHUNK))
def test_lives(first, world):
    """As those of test_sim_lives; besides, nobody turns in a circle, and nobody is stuck."""
    lives(world, range(first, first + CHUNK))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_everything_is_reached(world):
    """Signals, restarts, stops: the lives above meet each of them, and not only once."""
    reached = {}
    for life in lives(world, range(40)):
        for what, count in life.reached.items():
            reached[what] = reached.get(what, 0) + count
    for what in (
        "acknowledged", "rotated", "connection reset", "half open", "black hole",
        "source killed", "sink killed", "child died", "sink stopped", "source stopped",
        "told to end", "source got HUP", "server restarted", "archive power cut",
        "one call fails", *(("older child fenced", "source died") if world is LoopWorld else ()),
    ):  # fmt: skip
        assert reached.get(what, 0) > 3, what


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_a_signal_is_heard_before_the_end_of_the_connection(world):
    """Both came while the archive's process slept: what the signal says of the copy, that it was
    moved away, is about what that connection has brought."""
    for seed in range(5):
        life = world(seed, dict.fromkeys(ALWAYS, 1))
        with life.clock():
            life.settle()
            while len(life.ours()) == life.acked:  # the last bytes are not known to be durable
                if life.acked == len(life.written()):
                    life.write()
                life.hub.run(0.001)
            life.stop_sink()
            life.copy_moved_away(asleep=True)
            life.cut()
            life.settle()
            life.check_end()


# --- ablations


def no_looking(monkeypatch):
    """The origin is not looked at while there is no connection."""
    look = push.Push._look

    def only_connected(self):
        if self._feed is not None:
            look(self)

    monkeypatch.setattr(push.Push, "_look", only_connected)


def no_fence(monkeypatch):
    """Whoever asks for the pipe has it at once."""
    monkeypatch.setattr("simloops.ServedPipe.claim", lambda self, sender, about: None)


def impatient(monkeypatch):
    """A loop that waits for nothing turns in a circle."""
    wait = Hub.wait
    monkeypatch.setattr(Hub, "wait", lambda self, wanted, seconds: wait(self, wanted, 0.0))


@pytest.mark.parametrize("ablation", [no_fence, impatient], ids=lambda ablation: ablation.__name__)
def test_ablation_is_noticed(ablation, monkeypatch):
    """Without it a life goes wrong within the first hundred seeds."""
    ablation(monkeypatch)
    for seed in range(100):
        try:
            run(LoopWorld(seed))
        except AssertionError:
            return
    pytest.fail("100 lives, and nobody noticed")
