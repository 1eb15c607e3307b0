"""scripts/bench measures, and what it measures was copied."""

import re
import sys

import pytest
from stage import CHECKOUT


@pytest.fixture(autouse=True)
def compiler(need):
    """The bench compiles its C pair."""
    need("gcc")


def bench(stage, *options):
    """Run the bench, in little, on this stage."""
    script = CHECKOUT / "scripts" / "speed" / "bench.py"
    return stage.run(
        [sys.executable, script, "--quick", "--rounds", "1", "--folder", stage.path, *options],
        seconds=60,
    )


def cells(table, title):
    """The cells of the first line of a Markdown table that begins with this title."""
    line = re.search(rf"^\| {re.escape(title)} \| (.*) \|$", table, re.M)
    assert line, table
    return line[1].split(" | ")


def test_what_was_measured_was_copied(stage):
    """The bench runs in little against the C pair. Both copies are identical, and there is a
    figure for each. It leaves nothing behind: no file, and (the stage looks) no process."""
    done = bench(stage, "--peers", "c,tcppipe", "--only", "bulk,latency,writes,many")
    assert done.returncode == 0, done.stderr
    for title in ("C pair, no promise", "tcppipe"):
        *figures, identical = cells(done.stdout, title)
        assert identical == "yes", done.stdout
        assert all(re.match(r"[\d.]+", figure) for figure in figures), figures
    assert not list(stage.path.glob("tcppipe-bench-*"))


def test_a_sink_that_ends_and_is_started_again(stage):
    """In order and by kill -9: the copy is what was written, and little is written again, but where the
    ledger has no marks; there all is."""
    done = bench(stage, "--peers", "tcppipe,fetch", "--only", "restart")
    assert done.returncode == 0, done.stderr
    for title in ("tcppipe", "gen_numbers, fetch_logs"):
        (row,) = re.findall(rf"^\| {title} \| (yes \| \d.*) \|$", done.stdout, re.M)
        figures = row.split(" | ")
        assert len(figures) == 13, row
        assert float(figures[6]) < 1 and float(figures[10]) >= 16, row


def test_what_the_check_costs_can_be_measured(stage):
    """Both pairs run without it, too."""
    done = bench(stage, "--peers", "unchecked,fetch-unchecked", "--only", "bulk")
    assert done.returncode == 0, done.stderr
    for title in ("tcppipe, nothing checked", "gen_numbers, fetch_logs, nothing checked"):
        assert cells(done.stdout, title)[-1] == "yes"


def test_who_is_missing_is_named(stage):
    """A contestant that cannot run here stands in the table as missing, with what to do."""
    empty = stage.path / "empty"
    empty.mkdir()
    done = bench(stage, "--peers", "c,syslog-ng", "--only", "latency", "--syslog-ng", empty)
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout, "syslog-ng")[-1] == "missing"
    assert "syslog-ng is missing: " in done.stdout
    assert cells(done.stdout, "C pair, no promise")[-1] == "yes"


def test_unknown_words_are_refused(stage):
    """A test or a contestant that the bench does not know is named."""
    for option in ("--only", "--peers"):
        done = bench(stage, option, "sendmail")
        assert (done.returncode, "sendmail is not one of" in done.stderr) == (2, True), done


def test_growth_has_a_line_for_each_point(stage):
    """With --growth there is a table for an axis, with a line for each point and contestant."""
    done = bench(stage, "--growth", "--axes", "backlog", "--peers", "c,tcppipe")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.endswith("| yes |")]
    assert len(lines) == 4, done.stdout
