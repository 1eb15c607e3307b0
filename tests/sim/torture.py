"""Any number of random lives, on all processors: scripts/torture.

A life is told by its seed alone: the simulated ones (simworld.py) to the last call, the real
ones (tests/programs/test_random_lives.py) as far as real processes let themselves be told.
The first life that breaks a promise ends everything, with its story and the command that
repeats it.
"""

import argparse
import collections
import contextlib
import io
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import simworld
from simloops import LOOP_EVENTS, LoopWorld
from simmerge import MergeWorld
from simpull import PullWorld
from simworld import ALWAYS, EVENTS, NOT_YET, QUIET, World, run

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
TOO_LONG = 60  # seconds after which a simulated life hangs
TOO_LONG_REAL = 600
WORLDS = {"pipe": World, "loops": LoopWorld, "pull": PullWorld, "merge": MergeWorld}
MIX = 20  # of so many seeds one has each of the other worlds
KINDS = {  # which seeds those are
    at: world for at, (name, world) in enumerate(WORLDS.items())
    if world is not World and f"world {name}" not in NOT_YET
}  # fmt: skip
ONLY = None  # the only world
HAPPENED = "happened"  # marks a count of lives that something has befallen
BATCH = 10  # lives that a worker takes at a time


class TooLong(BaseException):
    """A life does not end."""


def world_of(seed):
    """Its world: some seeds have one in which the processes are the real loops, which takes
    longer, or one in which several pipes are merged."""
    kind = KINDS.get(seed % MIX, World)
    return (ONLY or kind)(seed)


def simulated(seed, steps):
    """One life in memory: (what it has reached, None or its story)."""
    world = world_of(seed)
    failure = None
    try:
        with _limited(TOO_LONG):
            run(world, steps)
    except AssertionError as error:
        failure = str(error)
    except (Exception, TooLong) as error:
        where = "".join(traceback.format_exception(error))
        failure = world.story(f"{type(error).__name__}\n{where}")
    return world, failure


def real(seed):
    """One life of real processes: None or its story."""
    sys.path.insert(0, str(PROGRAMS))
    import test_random_lives
    from stage import Stage

    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="tcppipe-torture.") as folder:
        try:
            with contextlib.redirect_stdout(said), _limited(TOO_LONG_REAL):
                stage = Stage(folder)
                try:
                    test_random_lives.test_life(stage, seed)
                finally:
                    stage.close()
        except (Exception, TooLong):
            return f"seed {seed}:\n{said.getvalue()}\n{traceback.format_exc()}"
    return None


@contextlib.contextmanager
def _limited(seconds):
    def ring(*_):
        raise TooLong(f"not over after {seconds} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _simulated_batch(work):
    first, count, steps = work
    reached = collections.Counter()
    for seed in range(first, first + count):
        world, failure = simulated(seed, steps)
        reached.update(world.reached)
        reached.update((HAPPENED, name) for name in world.happened)
        reached["steps"] += steps
        if failure is not None:
            return seed - first + 1, reached, (seed, failure)
    return count, reached, None


def _real_batch(work):
    (seed,) = work
    failure = real(seed)
    return 1, {}, None if failure is None else (seed, failure)


def many(batch, works, lives, jobs, repeat):
    """Live all the works on so many processors, or all: the exit status.

    repeat: a function of a seed, the command that repeats its life.
    """
    began = time.monotonic()
    done, reached, shown = 0, collections.Counter(), 0.0
    jobs = jobs or os.cpu_count()
    with multiprocessing.Pool(jobs, _quiet) as pool:
        for count, met, failure in pool.imap_unordered(batch, works):
            done += count
            reached.update(met)
            if failure is not None:
                pool.terminate()
                _progress("")
                seed, story = failure
                print(f"{story}\n\nAfter {done} lives. Again: {repeat(seed)}")
                return 1
            if time.monotonic() > shown + 0.5:
                shown = time.monotonic()
                _progress(f"{done} of {lives} lives, {done / (shown - began):.0f} a second")
    _progress("")
    seconds = time.monotonic() - began
    print(f"{done} lives in {seconds:.0f} s on {jobs} processors, nothing lost or double")
    rows = [(-count, what) for what, count in reached.items() if isinstance(what, str)]
    for count, what in sorted(rows):
        print(f"{-count:10}  {what}")
    missing = _missing(reached) if reached else []
    if missing:
        print(f"never reached: {', '.join(missing)}")
    return 0


def _quiet():
    """In a worker: an interrupt is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<70}\r" if not text else f"\r{text:<70}")
        sys.stderr.flush()


EXPECTED = (  # besides all events
    "acknowledged", "older child fenced", "torn tail healed", "waited", "went on",
    "somebody else had written", "gap recorded", "altered bytes noticed", "child died",
    "source died", "fetch_logs died",
)  # fmt: skip


def _missing(reached):
    """What should have been reached, and was not."""
    events = [] if ONLY else [name for name in simworld.MENU if name not in QUIET]
    return [what for what in (*EXPECTED, *events) if not (reached[what] or reached[HAPPENED, what])]


def one(seed, steps):
    """One simulated life with its whole log: the exit status."""
    world, failure = simulated(seed, steps)
    names = sorted({*world.menu, *world.traits} - ALWAYS)
    print(f"seed {seed}: may meet {', '.join(names)}; not {_others(names)}")
    print("\n".join(map(str, world.log)))
    if failure is not None:
        print(failure.partition("\n")[0] if failure.startswith("seed") else failure)
        return 1
    print(f"seed {seed}: {len(world.written())} bytes written, {len(world.copied())} copied, equal")
    return 0


def _others(names):
    return ", ".join(sorted({*simworld.MENU, *LOOP_EVENTS} - set(names) - ALWAYS)) or "(nothing)"


def _menu(names):
    """The events of all lives: `names`, or what each of them adds to the usual ones (+NAME)."""
    words = names.split(",")  # an event that is a trait of a life has blanks in its name
    words = [word if word.lstrip("+") in EVENTS else word.replace("_", " ") for word in words]
    unknown = [word for word in words if word.lstrip("+") not in EVENTS]
    if unknown:
        sys.exit(f"no such event: {', '.join(unknown)}; there are: {', '.join(EVENTS)}")
    if all(word.startswith("+") for word in words):
        words = [*simworld.MENU, *(word[1:] for word in words)]
    return {name: EVENTS[name] for name in EVENTS if name in {*words, *ALWAYS}}


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="Lives many random lives of a whole pipe: writing, rotation, kills, cuts, "
        "full disks, power cuts.  After every step the copy has to be a prefix of what was "
        "written and has to hold what was acknowledged; at the end it has to be equal.  A life "
        "is simulated, in memory, and told by its seed alone.",
        epilog="Ends with status 0 and with how often each trouble was reached; or with status 1, "
        "a story, and the command that repeats it.",
    )
    parser.add_argument("--lives", type=int, default=2000, metavar="N", help="how many (2000)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="N",
                        help="the first seed (0)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=60, metavar="N",
                        help="what happens in a life (60 things)")  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", help="this life only, with its whole log")
    parser.add_argument("--real", type=int, metavar="N",
                        help="N lives with real processes instead, from the seed --from on")  # fmt: skip
    parser.add_argument("--events", metavar="NAMES",
                        help="only these may befall them, divided by commas; +NAME: this one, too")  # fmt: skip
    parser.add_argument("--jobs", type=int, metavar="N", help="on so many processors (all)")
    parser.add_argument("--world", choices=WORLDS, help="this kind of world only")
    given = parser.parse_args()
    more = f" --steps {given.steps}" if given.steps != 60 else ""
    if given.world is not None:
        globals()["ONLY"] = WORLDS[given.world]  # forked workers have it, too
        more += f" --world {given.world}"
    if given.events is not None:
        simworld.MENU = _menu(given.events)  # forked workers have it, too
        more += f" --events '{given.events}'"
    if given.seed is not None:
        return one(given.seed, given.steps)
    if given.real is not None:
        works = [(seed,) for seed in range(given.first, given.first + given.real)]
        return many(_real_batch, works, given.real, given.jobs,
                    lambda seed: f"scripts/torture --real 1 --from {seed}")  # fmt: skip
    last = given.first + given.lives
    works = [(at, min(BATCH, last - at), given.steps) for at in range(given.first, last, BATCH)]
    return many(_simulated_batch, works, given.lives, given.jobs,
                lambda seed: f"scripts/torture --seed {seed}{more}")  # fmt: skip


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
