#!/usr/bin/env python3
"""Measures tcppipe against a pair of small C programs, and against others.

Rounds are interleaved: every contestant once, then every contestant again.  What is printed are
medians; what stands in brackets is the ratio to the C pair of the same round.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import growth
import others
import ours
import restarts
import runs
import thin
from contest import Missing
from ground import Ground, Late
from table import Results, machine

HERE = Path(__file__).parent
TESTS = {**runs.TESTS, **thin.TESTS, **restarts.TESTS}
PEERS = [
    ours.CPair, ours.Tcppipe, ours.Fetch, ours.Many, ours.Thin, ours.Unchecked, ours.FetchUnchecked,
    others.Rsyslog, others.Relp, others.SyslogNg, others.Socat, others.Rsync,
]  # fmt: skip
TROUBLE = (Late, Missing, RuntimeError, OSError, subprocess.SubprocessError)


def main():
    """Read the command line, run, print; what was measured before an interruption, too."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scale = runs.QUICK if options.quick else runs.Scale()
    if options.size:
        scale = scale._replace(size=options.size)
    ground = Ground(options.folder, options.syslog_ng, options.keep)
    results = Results(sys.argv[1:], scale)
    try:
        ground.compile()
        if options.growth:
            grow(options, ground, scale)
            return
        peers = [
            peer for peer in PEERS if peer.name in options.peers and there(peer, ground, results)
        ]
        for test in options.only:
            play(test, peers, ground, scale, options, results)
    finally:
        ground.close()
        if results.rounds:
            print(results.markdown(), flush=True)
            if options.write:
                results.write(HERE)


def there(peer, ground, results):
    """Whether a contestant can run here; if not, the results say why."""
    try:
        peer.check(ground)
    except Missing as missing:
        say(f"{peer.title} is missing: {missing}")
        results.missing(peer, str(missing))
        return False
    results.present(peer)
    return True


def play(test, peers, ground, scale, options, results):
    """All rounds of one test; the lock is held for a round."""
    failed = set()
    peers = [peer for peer in peers if test in peer.tests]
    for number in range(options.rounds if peers else 0):
        with turn(options.lock):
            for peer in peers:
                if peer in failed:
                    continue
                say(f"{test}, round {number + 1} of {options.rounds}: {peer.title}")
                try:
                    results.add(test, peer, TESTS[test](peer, ground, scale))
                except TROUBLE as problem:
                    say(f"{test}: {peer.title}: {problem}")
                    results.add(test, peer, {"failed": str(problem)})
                    failed.add(peer)


def grow(options, ground, scale):
    """The growth axes: a table of each on standard output, a figure of each when asked for."""
    tables = [f"{machine()}."]
    if advice := growth.advice():
        say(advice)
    for name in options.axes:

        def present(peer):
            try:
                peer.check(ground)
            except Missing as missing:
                say(f"{peer.title} is missing: {missing}")
            else:
                return True

        def attempt(what, function):
            say(what)
            try:
                with turn(options.lock):
                    return function()
            except TROUBLE as problem:
                say(f"{what}: {problem}")

        found = growth.grow(name, ground, scale, options, present, attempt)
        if not found:
            continue
        tables.append(growth.table(name, found))
        print(tables[-1], flush=True)
        if options.write:
            (HERE / f"growth-{name}.svg").write_text(growth.figure(name, found))
            (HERE / f"growth-{name}.md").write_text("\n\n".join([tables[0], tables[-1]]) + "\n")


@contextlib.contextmanager
def turn(path):
    """Hold a lock while something is measured, if there is one."""
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n\n")[0])
    names = [peer.name for peer in PEERS]
    add = parser.add_argument
    add("--only", metavar="TESTS", default=",".join(TESTS), help="of these: %(default)s")
    add("--peers", metavar="NAMES", default=",".join(names), help="of these: %(default)s")
    add("--rounds", type=int, metavar="N", default=3, help="%(default)s if not told")
    add("--size", type=int, metavar="BYTES", help="of the bulk test, 1 GiB if not told")
    add("--growth", action="store_true", help="how cost grows, instead of the tests")
    add("--axes", default=",".join(growth.AXES), help="of the growth: %(default)s")
    add("--quick", action="store_true", help="little of everything: to see whether it works")
    add("--write", action="store_true", help="results.md and results.svg in scripts/speed")
    add("--folder", default="/dev/shm", help="where the files are made (%(default)s)")
    add("--syslog-ng", type=Path, metavar="FOLDER", help="where it has been unpacked")
    add("--lock", metavar="FILE", help="hold this lock during a round, not between")
    add("--keep", action="store_true", help="leave the files there")
    options = parser.parse_args()
    if options.syslog_ng:
        options.syslog_ng = options.syslog_ng.resolve()
    for word, known in (("only", list(TESTS)), ("peers", names), ("axes", list(growth.AXES))):
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
    os.environ["LC_ALL"] = "C"
    main()
