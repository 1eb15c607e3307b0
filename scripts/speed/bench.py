#!/usr/bin/env python3
"""Measures tcppipe against a pair of small C programs, and against others.

Rounds are interleaved: every contestant once, then every contestant again.  What is printed
are medians; ratios are those within a round.
"""

import argparse
import signal
import sys

import runs
from ground import Ground, Late
from peers import ALL
from table import Results

GIB = 1 << 30


def main():
    """Read the command line, run, print."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ground = Ground(options.folder, options.keep)
    results = Results(options)
    try:
        ground.compile()
        ground.warm(options.size * 6)
        peers = [peer for peer in ALL if peer.name in options.peers]
        for peer in peers:
            peer.check(ground)
        for test in options.only:
            for number in range(options.rounds):
                for peer in peers:
                    say(f"{test}, round {number + 1}: {peer.name}")
                    try:
                        results.add(test, peer, runs.TESTS[test](peer, ground, options.size))
                    except (Late, RuntimeError) as problem:
                        say(f"{peer.name}: {problem}")
                        results.fail(test, peer, str(problem))
    finally:
        ground.close()
    print(results.markdown())


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n\n")[0])
    names = [peer.name for peer in ALL]
    parser.add_argument("--only", default=",".join(runs.TESTS), help="the tests: %(default)s")
    parser.add_argument("--peers", default=",".join(names), help="the contestants: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="how often (%(default)s)")
    parser.add_argument("--size", type=int, default=GIB, help="bytes of bulk (%(default)s)")
    parser.add_argument("--folder", default="/dev/shm", help="where the files are (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    options = parser.parse_args()
    for word, known in (("only", list(runs.TESTS)), ("peers", names)):
        chosen = getattr(options, word).split(",")
        setattr(options, word, chosen)
        for name in chosen:
            if name not in known:
                parser.error(f"--{word}: {name} is not one of {', '.join(known)}")
    return options


def say(text):
    """Tell how far it is."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
