"""What the tests need besides Python: programs of the system, and root.

A test asks for them by the fixture `need`.  What is missing is a failure, unless scripts/test has
said that it is to be left out: then the test is skipped, and scripts/test says so at its end.
"""

import os
import shutil
from pathlib import Path

import pytest

COMPONENTS = Path(__file__).with_name("components")
WHERE = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
LEAVE_OUT = set(os.environ.get("TCPPIPE_LEAVE_OUT", "").split())


def packages():
    """The Debian package of each command that a test may need."""
    rows = (line.split() for line in COMPONENTS.read_text().splitlines() if line[:1] not in "#")
    return dict(rows)


def needed(*commands):
    """The paths of commands, all of them in the table; "root" stands for being root."""
    known = packages()
    found = []
    for command in commands:
        if command == "root":
            where = os.geteuid() == 0
            mend = "run it as root"
        else:
            where = shutil.which(command, path=WHERE)
            mend = f"apt install {known[command]}"
        if not where and command in LEAVE_OUT:
            pytest.skip(f"left out: no {command}")
        assert where, f"no {command}: {mend}"
        found.append(where)
    return found


@pytest.fixture(scope="session")
def need():
    """A function that gives the paths of commands; the test fails if one is missing."""
    return needed
