"""A command line, read as getopt(3) reads it."""

import os
import re
import subprocess

import pytest
from stage import CHECKOUT

from tcppipe.errors import ConfigError
from tcppipe.programs import checks
from tcppipe.programs.options import parse

SPEC = {"f": "file", "h": "host", "p": "port", "n": None, "I": None, "run-dir": "directory"}
SPEC |= {"dry": None}


@pytest.mark.parametrize(
    ("line", "options", "operands"),
    [
        ("", {}, ""),
        ("-f X -h Y", {"f": "X", "h": "Y"}, ""),
        ("-fX -hY -p6514", {"f": "X", "h": "Y", "p": "6514"}, ""),
        ("-nIf X", {"n": "", "I": "", "f": "X"}, ""),
        ("-nfIX", {"n": "", "f": "IX"}, ""),
        ("-f -weird", {"f": "-weird"}, ""),
        ("-f -- -n", {"f": "--", "n": ""}, ""),
        ("-f=X", {"f": "=X"}, ""),
        ("-n -- -I", {"n": ""}, "-I"),
        ("-n a -I", {"n": ""}, "a -I"),
        ("-n - -I", {"n": ""}, "- -I"),
        ("-nn -n", {"n": ""}, ""),
        ("--help", {"help": ""}, ""),
        ("--version -n", {"version": "", "n": ""}, ""),
        ("--run-dir /x --dry", {"run-dir": "/x", "dry": ""}, ""),
        ("--run-dir=/x=y b", {"run-dir": "/x=y"}, "b"),
        ("--run-dir=", {"run-dir": ""}, ""),
        ("--run-dir --dry", {"run-dir": "--dry"}, ""),
    ],
)
def test_accepted(line, options, operands):
    """Clusters, glued and separate values, values that look like options, the end of options."""
    assert parse(line.split(), SPEC) == (options, operands.split())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-x", "-x: unknown option"),
        ("-nx", "-x: unknown option"),
        ("-f", "-f: needs a value (file)"),
        ("-nIf", "-f: needs a value (file)"),
        ("--file X", "--file: unknown option"),
        ("--f X", "--f: unknown option"),
        ("--hel", "--hel: unknown option"),
        ("--help=x", "--help: takes no value"),
        ("--run-dir", "--run-dir: needs a value (directory)"),
        ("--=x", "--: unknown option"),
        ("-n-", "--: unknown option"),
        ("-f X -f Y", "-f: given twice"),
        ("-fX -nfX", "-f: given twice"),
        ("--run-dir X --run-dir=X", "--run-dir: given twice"),
    ],
)
def test_refused(line, reason):
    """What is unknown, abbreviated or incomplete is refused with one line that names it."""
    with pytest.raises(ConfigError) as refused:
        parse(line.split(), SPEC)
    assert str(refused.value) == reason


def test_an_empty_value_is_a_value():
    """An empty word is taken as it is, as a value and as an operand."""
    assert parse(["-f", "", ""], SPEC) == ({"f": ""}, [""])


def test_nothing_is_changed():
    """The words and the table of options are left as they were."""
    words, spec = ["-f", "X", "y"], {"f": "file"}
    parse(words, spec)
    assert (words, spec) == (["-f", "X", "y"], {"f": "file"})


@pytest.mark.parametrize("program, words", [
    ("tcppipe", ["-f", "a", "-f", "b", "-h", "x"]),
    ("tcppiped", ["-f", "a", "-f", "b"]),
    ("gen_numbers", ["--limit", "1K", "--limit", "2K"]),
    ("fetch_logs", ["--run-dir", "/a", "--run-dir", "/b", "s", "c"]),
])  # fmt: skip
def test_no_value_is_passed_over(stage, program, words):
    """An option that is given twice is a mistake, in every program."""
    done = stage.run([*stage.program(program), *words])
    assert done.returncode == 1
    assert "given twice" in done.stderr


@pytest.mark.parametrize(
    "program", ["tcppipe", "tcppiped", "fetch_logs", "gen_numbers", "snmp_from_file"]
)
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_nobody_reads_what_is_said(stage, program, closed):
    """Whoever starts a program need not have a terminal, nor anything in its place."""
    done = stage.run(["sh", "-c", f'exec "$@" {closed}', "sh", *stage.program(program), "--help"])
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("usage: ") == (">&-" not in closed.split())


def test_directories_that_are_not_there_are_said(stage):
    """It may be that they are meant to be made later."""
    origin = stage.path / "a.log"
    origin.touch()
    more = ["--olddir", stage.path / "no", "--run-dir", stage.path / "nix"]
    done = stage.ask(["-I"], origin, *more)
    assert "note: --run-dir" in done.stderr and "nobody runs there" in done.stderr
    done = stage.run([*stage.program("tcppiped"), "-T", "-f", "/dev/null", *more[2:]])
    assert "no such directory" in done.stderr
    done = stage.ask([], origin, "--run-dir", stage.path / "deep" / "down")
    assert re.search(r"note: --run-dir .*/deep/down: no such directory; made now", done.stderr)
    done = stage.ask([], origin, *more)
    assert re.search(r"note: --olddir .*/no: no such directory; rotated files", done.stderr)


def test_who_has_no_home_is_told(tmp_path):
    """A directory that is called ~ is nobody's."""
    code = "import os; os.setuid(54321); from tcppipe.process import paths; paths.state_dir()"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
    if os.geteuid() != 0:
        env["HOME"], code = "~", code.replace("os.setuid(54321); ", "")
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", code],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "has no home: say --state-dir" in done.stderr


def test_the_line_that_is_for_a_file(stage):
    """tcppiped -T HOST:FILE prints it, where it leads, and the ledger; notes do not change the
    status."""
    stage.configure(
        "127.0.0.1:/var/log/a.log | /archive/%h/%f # mine",
        "127.0.0.1:/srv/*/x | /archive/%f",
        "nosuch.invalid:/c | /archive/c",
    )
    check = [*stage.program("tcppiped"), "-T", "-f", stage.conf]
    done = stage.run([*check, "127.0.0.1:/srv/b/x"])
    assert done.stdout.splitlines() == [
        "2: 127.0.0.1:/srv/*/x | /archive/%f",
        "    /archive/x (merged)",
        f"    {stage.state_dir}/%2Farchive%2Fx.merge",
    ]
    done = stage.run([*check, "127.0.0.1:/var/log/a.log"])
    assert done.stdout.splitlines()[2:] == [
        f"    {stage.state_dir}/127.0.0.1.%2Fvar%2Flog%2Fa.log.ledger"
    ]
    done = stage.run([*check, "127.0.0.1:/srv/x"])
    assert done.returncode == 1
    assert "note: no line has this file, of whatever host\n" in done.stderr
    assert "no entry for 127.0.0.1:/srv/x" in done.stderr
    done = stage.run([*check, "127.0.0.2:/srv/b/x"])
    assert done.returncode == 1
    assert f"{stage.conf}:2: note: has this file, of 127.0.0.1\n" in done.stderr
    done = stage.run([*check, "127.0.0.1:srv/b/x"])
    assert done.returncode == 1 and "'srv/b/x' is not an absolute path" in done.stderr
    done = stage.run(check)
    assert done.returncode == 0
    for line, words in ((1, "behind # is part"), (2, "leads several"), (3, "nosuch.invalid: ")):
        assert re.search(f"{stage.conf}:{line}: note: .*{words}", done.stderr)


CHECKS = {
    "tcppiped": (["-T", "-f"], "no entry, so every pipe is refused"),
    "tcppipe": (["-T", "-c"], "no line, so nothing is sent"),
    "gen_numbers": (["-T"], "no address is allowed, so nobody can fetch"),
    "fetch_logs": (["-T"], "no line, so nothing is fetched"),
}


@pytest.mark.parametrize("program", CHECKS)
def test_a_configuration_that_says_nothing_is_told(stage, program):
    """A file that is empty, or all comments, is valid, and may not be what was meant."""
    options, words = CHECKS[program]
    empty = stage.path / "empty"
    empty.write_text("# nothing yet\n")
    done = stage.run([*stage.program(program), *options, empty])
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{empty}: note: {words}\n" in done.stderr


def noted(done):
    """What -T has noted: {line: words} (the last of a line)."""
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^[^:]+(?::(\d+))?: note: (.*)$", done.stderr, re.MULTILINE)
    return {int(line or 0): words for line, words in found}


def test_what_may_not_be_meant_in_the_lines_of_fetch_logs(stage):
    """-T: valid, and noted with the number of the line."""
    here = stage.path
    (here / "made").mkdir()
    (here / "kept").mkdir()
    rows = [
        f"/a {here}/a {here}/a.pointer",
        f"/a {here}/b {here}/b.pointer",
        f"/c {here}/a/c {here}/c.pointer",
        f"/d {here}/kept {here}/d.pointer",
        f"/e {here}/e {here}/made",
        f"/f//g {here}/f {here}/f.pointer",
        f"/g {here}/x/../g {here}/g.pointer # remark",
    ]
    conf = here / "conf"
    conf.write_text("".join(f"127.0.0.1 6519 {row}\n" for row in rows))
    notes = noted(stage.run([*stage.program("fetch_logs"), "-T", conf]))
    assert notes == {
        2: "fetches the same file as line 1, to another place",
        3: "wants a directory where line 1 has its local file",
        4: f"{here}/kept is a directory, where the local file is to be",
        5: f"{here}/made is a directory, where the pointer file is to be",
        6: notes[6],
        7: f"the local file has a '..' in it: {here}/x/../g",
    }
    assert "are not looked through: both sides have to write it so" in notes[6]


def test_what_may_not_be_meant_in_the_lines_of_gen_numbers(stage):
    """-T: what is said twice, directories, and paths that nobody will ask for."""
    there = stage.path / "there"
    there.touch()
    conf = stage.path / "locals"
    conf.write_text(
        '$hosts_allow{"::1"} = 1;\n$hosts_allow{"0::1"} = 0; $hosts_allow{"::2"} = 1;\n'
        f'$files{{"{there}"}} = "";\n$files{{"{there}"}} = "{there}.*";\n'
        f'$files{{"{stage.path}//there"}} = "";\n$files{{"{stage.path}/said"}} = "";\n'
    )
    notes = noted(stage.run([*stage.program("gen_numbers"), "-T", conf]))
    assert notes[2] == "$hosts_allow: ::1/128: stands in line 1 already; what is said last holds"
    assert notes[4] == f"$files: {there}: stands in line 3 already; what is said last holds"
    assert notes[5].startswith(f"{stage.path}//there: '//', '/./' and '/../' in a path")
    assert notes[0] == f"{stage.path}/said: not a regular file, so nothing is fetched from it"


def test_why_a_line_of_a_list_has_no_file(stage):
    """-T: it is missing, a directory, or another line has it; and a host that has no address."""
    origin = stage.path / "a.log"
    origin.touch()
    lines = ["a.log", "*.log", "said", "none"]
    conf = stage.path / "list"
    conf.write_text("".join(f"-f {stage.path}/{line} -h 127.0.0.1\n" for line in lines))
    notes = noted(stage.run([*stage.program("tcppipe"), "-T", "-c", conf]))
    assert notes == {
        2: "line 1 has it already",
        3: f"{stage.path}/said: is a directory",
        4: f"{stage.path}/none: no such file now",
    }


def test_a_file_that_nobody_can_fetch_now_is_told(stage):
    """gen_numbers -T: a path with a slip of the pen is valid, so it says that there is no file."""
    locals_ = stage.path / "locals"
    there, missing = stage.path / "there", stage.path / "misspelt"
    there.touch()
    locals_.write_text(f'$hosts_allow{{"::1"}} = 1;\n$files{{"{there}"}} = "{there}.*";\n')
    check = [*stage.program("gen_numbers"), "-T", locals_]
    assert stage.run(check).stderr == ""
    locals_.write_text(locals_.read_text() + f'$files{{"{missing}"}} = "{missing}.*";\n')
    done = stage.run(check)
    assert (done.returncode, done.stderr) == (0, f"{locals_}: note: {missing}: no such file now\n")


@pytest.mark.parametrize("owner", ["nosuchuser", "root:nosuchgroup"])
def test_an_owner_that_is_not_here_is_named(stage, owner):
    """In words of the system, not of a library."""
    stage.configure(f"127.0.0.1:/a | /b | owner={owner}")
    done = stage.run([*stage.program("tcppiped"), "-T", "-f", stage.conf])
    what = "group" if ":" in owner else "user"
    word = owner.rpartition(":")[2]
    said = f"{stage.conf}:1: owner={owner}: this system has no {what} '{word}'\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_who_asks_for_a_line_is_identified_once(tmp_path, monkeypatch, capsys):
    """-T HOST:FILE: a name server that answers the first time and not the second one changes
    nothing of what is printed."""
    conf = tmp_path / "tcppipe.conf"
    conf.write_text("127.0.0.1:/a | /b/%h\n")
    answers = iter(["web1", None])
    monkeypatch.setattr(checks, "prints", lambda: None)
    monkeypatch.setattr(checks.identity, "matches", lambda *_: next(answers))
    assert checks.tcppiped(str(conf), str(tmp_path), "127.0.0.1:/a") == 0
    assert "/b/web1" in capsys.readouterr().out
