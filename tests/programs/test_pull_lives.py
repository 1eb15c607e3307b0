"""Random lives of the pull pair: kills, rotations, signals; then every generation is compared."""

import gzip
import os
import random
import shutil
import signal

import pytest
from stage import sha256, wait_until


def compress(path):
    """As gzip does: the time stays."""
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(plain.read())
    shutil.copystat(path, f"{path}.gz")
    os.unlink(path)


@pytest.mark.parametrize("seed", range(6))
def test_a_life(stage, writer, seed):
    """Whatever is killed and rotated when: the pieces are the generations, byte for byte."""
    dice = random.Random(seed)
    pull = stage.pull(b"the first line\n").up()
    down = set()
    with writer(pull.origin) as one:
        for _turn in range(14):
            one.wait_more(dice.randrange(1, 60))
            what = dice.choice(
                [
                    "kill client",
                    "kill server",
                    "kill child",
                    "rotate",
                    "rotate",
                    "hup",
                    "usr1",
                    "up",
                ]
            )
            if what.startswith("kill ") and what[5:] in ("client", "server"):
                name = what[5:]
                if name not in down:
                    getattr(pull, name).kill()
                    down.add(name)
            elif what == "kill child" and "server" not in down:
                for child in pull.server.children():
                    os.kill(child, signal.SIGKILL)
            elif what == "rotate":
                pull.rotate()
                if dice.random() < 0.5:
                    one.wait_more(3)
                one.reopen()
                if dice.random() < 0.3 and os.path.exists(f"{pull.origin}.2"):
                    compress(f"{pull.origin}.2")
            elif what == "hup" and "client" not in down:
                pull.client.hup()
            elif what == "usr1" and "client" not in down:
                pull.client.signal(signal.SIGUSR1)
            elif what == "up":
                for name in sorted(down):
                    getattr(pull, name).up()
                down.clear()
        written = one.stop()
    for name in sorted(down):
        getattr(pull, name).up()
    pull.client.hup()
    wanted = []
    for number in range(9, 0, -1):
        path = f"{pull.origin}.{number}"
        if os.path.exists(path):
            wanted.append(sha256(path))
        elif os.path.exists(f"{path}.gz"):
            wanted.append(sha256(gzip.open(f"{path}.gz").read()))
    wanted.append(sha256(pull.origin))
    wanted = [digest for digest in wanted if digest != sha256(b"")]

    def there():
        found = [sha256(path) for path in [*pull.pieces(), pull.copy]]
        return [digest for digest in found if digest != sha256(b"")]

    wait_until(lambda: there() == wanted, lambda: (there(), wanted, len(written)), 30)
    pull.says("OK\n$")
