"""The small clocks of the loops: when to wake up, and when there is time for a digest."""

from math import inf

from tcppipe.drivers.leisure import PAUSE, STEP, Leisure
from tcppipe.drivers.pace import BURST, RATE, Pace


def test_few_wake_ups_come_at_once():
    """A line now and then never waits."""
    pace, now = Pace(), 100.0
    for _ in range(1000):
        now += 1 / RATE
        assert pace.next(now) <= now


def test_many_wake_ups_are_gathered():
    """After a burst, so many a second are left, however many are wanted."""
    pace, now, count = Pace(), 100.0, 0
    while now < 110.0:
        now = max(pace.next(now), now + 0.00001)
        count += 1
    assert BURST + 9 * RATE < count <= BURST + 10 * RATE + 1


def test_a_pause_fills_the_burst_again():
    """Up to its size."""
    pace, now = Pace(), 100.0
    while pace.next(now) <= now:
        pass
    now += 1000.0
    at_once = 0
    while pace.next(now) <= now:
        at_once += 1
    assert at_once == BURST


def test_nothing_to_do():
    """Is never due; a little waits for the end."""
    assert Leisure().due(0) == Leisure().due(STEP - 1) == inf


def test_much_to_do():
    """Goes in steps with pauses, without waiting for rest."""
    leisure = Leisure()
    assert leisure.due(STEP) <= 100.0
    leisure.took(100.0)
    assert leisure.due(STEP) == 100.0 + PAUSE
