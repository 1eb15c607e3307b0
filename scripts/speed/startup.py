"""How long `tcppipe -I` takes, beside another commit's and the bare interpreter.

    python scripts/speed/startup.py [COMMIT [ROUNDS]]

Counts processor time, because others may use the machine, in interleaved rounds, and prints the
least of each.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def cost(argv, env):
    """Processor seconds, user and system, of one run."""
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pid, _status, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return used.ru_utime + used.ru_stime


def loaded(argv, env):
    """The modules that are loaded by it, beyond the bare interpreter's."""
    done = subprocess.run(
        [argv[0], "-X", "importtime", *argv[1:]],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return sum("tcppipe" in line for line in done.stderr.splitlines())


def main(commit="51998aa", rounds="60"):
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / "other"
        other.mkdir()
        tree = subprocess.run(
            ["git", "-C", TOP, "archive", commit], capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", other], input=tree.stdout, check=True)
        what = {"bare interpreter": ([sys.executable, "-c", ""], TOP)}
        for name, top in ((f"{commit}", other), ("this one", TOP)):
            program = [sys.executable, str(top / "bin" / "tcppipe")]
            what[name] = ([*program, "-I", "-f", "/etc/hostname", "-h", "localhost"], top)
        best = dict.fromkeys(what, 9e9)
        env = {**os.environ, "TCPPIPE_RUN_DIR": place, "PYTHONPYCACHEPREFIX": place + "/cache"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(int(rounds)):
            for name, (argv, top) in what.items():
                used = cost(argv, {**env, "PYTHONPATH": str(top)})
                best[name] = min(best[name], used)
        for name, (argv, top) in what.items():
            count = loaded(argv, {**env, "PYTHONPATH": str(top)})
            print(f"{name:20} {best[name] * 1000:6.1f} ms of CPU, {count} modules of ours")


if __name__ == "__main__":
    main(*sys.argv[1:])
