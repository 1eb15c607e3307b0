"""The name given by -f is a link that is turned from one dated file to the next."""

import os

import pytest
from stage import append, wait_for_bytes, wait_until


def dated(stage, day):
    """A dated file with a line of its own."""
    path = stage.path / f"app-2026-11-{day:02}.log"
    path.write_bytes(b"of %d\n" % day)
    return path


def turn(stage, target):
    """The link leads to another file."""
    (stage.path / "beside").symlink_to(target)
    os.replace(stage.path / "beside", stage.path / "current")


@pytest.fixture
def current(stage):
    """The link."""
    turn(stage, dated(stage, 1))
    return stage.path / "current"


def test_a_line_of_a_list(stage, current):
    """A list names a pointer: the archive sees its own name, and gets one file after the other."""
    copy = stage.path / "copy"
    stage.configure(f"127.0.0.1:{current} | {copy}")
    listed = stage.path / "list"
    words = f"--pointer {stage.path}/app-*.log -h 127.0.0.1 -p {stage.port}"
    listed.write_text(f"-f {current} {words}\n")
    stage.server().up()
    stage.process("keeper", [*stage.program("tcppipe"), "-d", "-c", listed], "started").up()
    wait_for_bytes(copy, b"of 1\n")
    for day in (2, 3):
        turn(stage, dated(stage, day))
    wait_for_bytes(copy, b"of 1\nof 2\nof 3\n")
    listed.write_text(f"-f {stage.path}/c* {words}\n")
    said = stage.run([*stage.program("tcppipe"), "-T", "-c", listed])
    assert said.returncode == 1 and "--pointer: with one file by -f" in said.stderr


def test_who_runs_for_a_pointer(stage, current):
    """-I and -K find the pipe by the name of the pointer, wherever it leads to."""
    stage.configure(f"127.0.0.1:{current} | {stage.path}/copy")
    stage.server().up()
    option = ["--pointer", f"{stage.path}/app-*.log"]
    client = stage.client(current, *option).up()
    turn(stage, dated(stage, 2))
    assert int(stage.ask(["-I", *option], current).stdout) == client.pid
    assert stage.ask(["-K", "TERM", *option], current).returncode == 0
    assert client.wait() == 0


@pytest.mark.parametrize(
    "pattern, words",
    [
        ("other-*.log", "which its pattern does not fit"),
        ("*/app-*.log", "wildcards stand in the last part"),
        ("", "wildcards stand in the last part"),
    ],
)
def test_a_wrong_pattern(stage, current, pattern, words):
    """It is an error at the start."""
    said = stage.client(current, "--pointer", f"{stage.path}/{pattern}").start()
    assert said.wait() == 1
    assert words in said.log


@pytest.mark.parametrize("kind", ["pushed", "pulled"])
def test_a_link_that_is_turned_without_the_option(stage, current, kind):
    """What it led to at the start is sent; that it leads elsewhere now is said."""
    one, copy = stage.path / "app-2026-11-01.log", stage.path / "copy" / "log"
    if kind == "pushed":
        stage.configure(f"127.0.0.1:{one} | {copy}")
        stage.server().up()
        source = stage.client(current).up()
    else:
        source = stage.numbers('$hosts_allow{"127.0.0.1"} = 1;', f'$files{{"{current}"}} = "/x";')
        source.up()
        stage.fetcher(f"127.0.0.1 {stage.port} {current} {copy} {stage.path}/pointer").up()
    wait_for_bytes(copy, b"of 1\n")
    turn(stage, dated(stage, 2))
    source.wait_log("current leads to .*app-2026-11-02.log now, which is not sent", seconds=30)
    append(one, b"more\n")
    wait_for_bytes(copy, b"of 1\nmore\n")
    wait_until(lambda: source.log.count("which is not sent") == 1, "it is said twice")
