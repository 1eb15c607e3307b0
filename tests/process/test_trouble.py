"""What fails again and again."""

from tcppipe.process.trouble import REMIND, Trouble, duration
from tcppipe.process.turns import AGAIN, LIMIT, Turns


def test_said_at_first_each_hour_and_when_it_is_over():
    """A thousand failures of one cause are two lines in an hour, and one at their end."""
    said = []
    trouble = Trouble(lambda level, text: said.append((level, text)))
    for now in range(1000):
        trouble.failed("/a: No space left on device", float(now))
    trouble.failed("/a: No space left on device", REMIND)
    trouble.over("/a: goes on", 2 * REMIND)
    trouble.over("/a: goes on", 2 * REMIND)
    assert said == [
        ("error", "/a: No space left on device"),
        ("error", "/a: No space left on device (for 60 min, 1000 times)"),
        ("warning", "/a: goes on after 2 h"),
    ]
    trouble.failed("/a: No space left on device", 3 * REMIND)
    assert said[3:] == [("error", "/a: No space left on device")]


def test_another_cause_is_said():
    """A trouble whose cause changes is said again."""
    said = []
    trouble = Trouble(lambda _level, text: said.append(text))
    trouble.failed("a", 0.0)
    trouble.failed("b", 5.0)
    assert said == ["a", "b (for 5 s, 1 times)"]


def test_durations():
    """Times in words."""
    assert list(map(duration, (0, 119, 120, 7200, 200000))) == [
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "2 days",
    ]


def test_a_long_turn_is_told_with_its_place():
    """What took longer than it may is said, with its place, and not again for a minute."""
    clock, said = [0.0], []
    turns = Turns(lambda level, text: said.append((level, text)), lambda: clock[0], lambda: 0.0)

    def turn(seconds, place):
        turns.start()
        clock[0] += seconds
        turns.done(place)

    turn(LIMIT, "a")
    assert said == []
    turn(2.0, "a")
    turn(2.0, "a")
    turn(6.0, lambda: "b")
    clock[0] += AGAIN
    turn(1.0, "a")
    rest = "s (0.0 s of computing), and nothing else was looked at meanwhile"
    assert said == [
        ("debug", f"a: took 2.0 {rest}"),
        ("warning", f"b: took 6.0 {rest}"),
        ("debug", f"a: took 1.0 {rest}, and 1 times more in the last minute"),
    ]
