"""Many pipes of one host: `tcppipe -c LIST` keeps a process for each."""

import os
import re
import shlex
import signal
from pathlib import Path

import pytest
from stage import CHECKOUT, PATIENCE, alive, append, content, size, wait_for_bytes, wait_until


class Many:
    """A list of pipes, its files, a server that takes them all, and the parent that keeps them."""

    def __init__(self, stage):
        self.stage = stage
        self.list = stage.path / "tcppipe.list"
        self.logs = stage.path / "log"
        self.logs.mkdir()
        stage.configure(f"127.0.0.1:{self.logs}/* | {stage.path}/copy/%f")
        self.server = stage.server()
        argv = [*stage.program("tcppipe"), "-d", "-c", self.list]
        self.parent = stage.process("many", argv, "tcppipe: started, ")
        self.write(self.line())

    def line(self, files="*.log", more="", port=None):
        """A line of the list."""
        return f"-f {self.logs}/{files} -h 127.0.0.1 -p {port or self.stage.port} {more}"

    def write(self, *lines):
        """Write the list, in one step."""
        beside = self.stage.path / "list.new"
        beside.write_text("".join(f"{line}\n" for line in lines))
        os.replace(beside, self.list)

    def hup(self):
        """HUP to the parent, as logrotate sends it."""
        done = self.ask("-K", "HUP")
        assert (done.returncode, done.stderr) == (0, "")

    def file(self, name, data=None):
        """The path of an origin; with data, it is written."""
        path = self.logs / name
        if data is not None:
            path.write_bytes(data)
        return path

    def copy(self, name):
        """The path of a copy."""
        return self.stage.path / "copy" / name

    def arrives(self, name, data=None, seconds=PATIENCE):
        """Wait until a copy has the origin's bytes, or these."""
        wait_for_bytes(self.copy(name), content(self.file(name)) if data is None else data, seconds)

    def pid(self, name, **target):
        """The pid of a pipe's process, as tcppipe -I says, or None."""
        return self.stage.pid_of(self.file(name), **target)

    def wait_pid(self, name, other_than=None):
        """Wait until a pipe has a process."""
        return wait_until(
            lambda: (pid := self.pid(name)) and pid != other_than and pid, f"no pipe of {name}"
        )

    def ask(self, *options):
        """Run tcppipe with these options and the list."""
        return self.stage.run([*self.stage.program("tcppipe"), *options, "-c", self.list])


@pytest.fixture
def many(stage):
    """A list of one line with a wildcard; nothing runs yet."""
    return Many(stage)


@pytest.fixture
def served(many):
    """The server runs, two files are there, and have arrived."""
    many.server.up()
    many.file("a.log", b"a\n")
    many.file("b.log", b"b\n")
    many.parent.up()
    many.arrives("a.log")
    many.arrives("b.log")
    return many


# --- files that come and go


def test_each_file_that_matches_has_its_pipe(served):
    """Two files match: each has a process, a pid file and a status file as if it was started by
    hand. What does not match has none."""
    served.file("c.txt", b"no\n")
    pids = [served.pid("a.log"), served.pid("b.log")]
    assert sorted(pids) == served.parent.children()
    assert served.pid("c.txt") is None
    for name in ("a.log", "b.log"):
        append(served.file(name), b"more\n")
        served.arrives(name)
        quoted = str(served.file(name)).replace("/", "%2F")
        status = served.stage.run_dir / f"127.0.0.1-{served.stage.port}.{quoted}.pipe"
        wait_until(
            lambda status=status: content(status).startswith(b"7\n"), f"{status} does not follow"
        )


def test_a_new_file_gets_its_pipe(served):
    """A file that matches appears, and another one in a directory that was not there."""
    served.write(served.line(), served.line("new/*/x"))
    served.stage.configure(f"127.0.0.1:{served.logs}/** | {served.stage.path}/copy/%f",
                           f"127.0.0.1:{served.logs}/new/*/x | {served.stage.path}/copy/%f")  # fmt: skip
    served.hup()
    served.file("c.log", b"c\n")
    served.arrives("c.log")
    (served.logs / "new" / "deep").mkdir(parents=True)
    (served.logs / "new" / "deep" / "x").write_bytes(b"x\n")
    wait_for_bytes(served.copy("x"), b"x\n")


def test_a_name_without_wildcards(many):
    """A line names one file that is not there: that is said. Its pipe begins when it comes."""
    many.write(many.line("one"))
    many.server.up()
    many.parent.up()
    many.parent.wait_log(rf"list:1: no such file yet: {many.logs}/one")
    many.file("one", b"1\n")
    many.arrives("one")


def test_rotated_siblings_are_no_pipes(many):
    """A wildcard fits rotated files of another match, too, and a compressed one. They get no
    pipes. A file that only looks like one, but of a file that isn't there, gets its pipe."""
    many.write(many.line("*"))
    for name in ("a.log", "a.log.1", "a.log-20260101.gz", "a.log.gz", "b-2"):
        many.file(name, name.encode())
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    many.arrives("b-2")
    assert sorted(path.name for path in many.copy("").iterdir()) == ["a.log", "b-2"]
    assert len(many.parent.children()) == 2


def test_what_is_excluded_has_no_pipe(many):
    """A line that begins with ! takes files from all lines; after HUP, too."""
    many.write(many.line("*"), f"! {many.logs}/own.log", f"! {many.logs}/*.tmp")
    for name in ("a.log", "own.log", "b.tmp", "own.logs"):
        many.file(name, name.encode())
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    many.arrives("own.logs")
    assert sorted(path.name for path in many.copy("").iterdir()) == ["a.log", "own.logs"]
    many.write(many.line("*"), f"! {many.logs}/a.log")
    many.hup()
    many.arrives("own.log")
    wait_until(lambda: many.pid("a.log") is None, "the pipe that is excluded now ends")


def test_two_names_of_one_file_are_one_pipe(many):
    """A symbolic link and its file match, and so do two lines: one pipe, with the options of the
    first line."""
    many.file("a.log", b"a\n")
    (many.logs / "link.log").symlink_to("a.log")
    many.write(many.line("a*", "-t 0.1"), many.line("*.log"))
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    assert len(many.parent.children()) == 1
    assert many.ask("-T").stdout.count("a.log\n") == 1


def test_a_vanished_file_is_delivered_to_its_end(served):
    """The server is away. A file grows, is deleted, and grows on, because its writer has it open.
    The server comes back. All of it arrives; then its pipe ends by itself, without a word of
    failure. When the name is there again it has a pipe again, and the new file goes behind."""
    pid = served.pid("a.log")
    with open(served.file("a.log"), "ab", buffering=0) as writer:
        served.server.down()
        writer.write(b"while the server is away\n")
        os.unlink(served.file("a.log"))
        writer.write(b"after it was deleted\n")
        served.server.up()
        wanted = b"a\nwhile the server is away\nafter it was deleted\n"
        served.arrives("a.log", wanted, 40)
        writer.write(b"late\n")
        served.arrives("a.log", wanted + b"late\n")
        assert alive(pid)
    served.parent.wait_log("a.log: gone, and delivered to its end", 40)
    wait_until(lambda: not alive(pid), "the pipe does not end")
    assert "starts again" not in served.parent.log
    served.file("a.log", b"new\n")
    served.arrives("a.log", wanted + b"late\nnew\n")


def test_a_file_without_a_name_for_a_moment(served):
    """A rotation leaves a time without a name, and what comes then is a new file. The pipe lives
    on, and delivers both."""
    pid = served.pid("a.log")
    with open(served.file("a.log"), "ab", buffering=0) as writer:
        os.rename(served.file("a.log"), served.file("a.log.1"))
        writer.write(b"the last\n")
        served.arrives("a.log", b"a\nthe last\n")
    served.file("a.log", b"new\n")
    served.arrives("a.log", b"a\nthe last\nnew\n")
    assert served.pid("a.log") == pid


def test_a_link_that_is_turned(many):
    """A line names a link. It is turned to another file, which gets its pipe; that of the old
    file ends when it has been quiet, with all of it delivered."""
    many.file("today.1", b"1\n")
    link = many.logs / "today"
    link.symlink_to("today.1")
    many.write(many.line("today"))
    many.server.up()
    many.parent.up()
    many.arrives("today.1")
    many.file("today.2", b"2\n")
    link.unlink()
    link.symlink_to("today.2")
    many.arrives("today.2")
    append(many.file("today.1"), b"a late line\n")
    many.arrives("today.1")
    many.parent.wait_log(r"today\.1: no longer listed, and delivered", 30)
    wait_until(lambda: many.pid("today.1") is None, "lives on")


def test_rotation_with_hup_to_the_parent(many):
    """Three files are rotated while they are written, and the parent gets HUP, once for all. Each
    copy is the old file and the new one; the same processes go on, on the same connections."""
    names = [f"{n}.log" for n in range(3)]
    for name in names:
        many.file(name, f"old {name}\n".encode())
    many.server.up()
    many.parent.up()
    pids = [many.wait_pid(name) for name in names]
    for name in names:
        many.arrives(name)
        with open(many.file(name), "ab", buffering=0) as writer:
            os.rename(many.file(name), many.file(name + ".1"))
            writer.write(b"still to the old one\n")
        many.file(name, b"new\n")
    many.hup()
    for name in names:
        many.arrives(name, f"old {name}\n".encode() + b"still to the old one\nnew\n")
    assert [many.pid(name) for name in names] == pids
    assert many.server.log.count(": established") == 3


# --- processes that die


def test_a_killed_child_is_started_again(served, writer):
    """kill -9 of a child, several times, while its file is written: it is started again each time,
    and every byte arrives once."""
    with writer(served.file("a.log")) as application:
        for turn in range(3):
            pid = served.wait_pid("a.log")
            goal = size(served.copy("a.log")) + 200
            wait_until(lambda goal=goal: size(served.copy("a.log")) > goal, "no progress")
            os.kill(pid, signal.SIGKILL)
            served.parent.wait_log(
                r"a\.log: process \d+ was killed by signal 9; starts again in [\d.]+ s",
                count=turn + 1,
            )
        written = application.stop()
    served.arrives("a.log", b"a\n" + written, 30)


def test_a_killed_parent(served):
    """kill -9 of the parent: its children end by themselves. A new parent starts them again, and
    they go on where they were."""
    pids = served.parent.children()
    served.parent.kill()
    wait_until(lambda: not any(map(alive, pids)), "a child lives on")
    append(served.file("a.log"), b"more\n")
    served.parent.up()
    served.arrives("a.log")
    assert served.ask("-I").stdout == f"{served.parent.pid}\n"


def test_a_killed_parent_without_a_server(many):
    """The same while there is no connection."""
    many.file("a.log", b"a\n")
    many.parent.up()
    pid = many.wait_pid("a.log")
    many.parent.wait_log("cannot connect: Connection refused; connects again")
    many.parent.kill()
    wait_until(lambda: not alive(pid), "the child lives on")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_end(served, signum):
    """TERM or INT to the parent: all children deliver what they have, and end; the parent ends
    with status 0, and no pid file is left."""
    pids = served.parent.children()
    append(served.file("a.log"), b"last words\n")
    served.parent.signal(signum)
    assert served.parent.wait() == 0
    assert not any(map(alive, pids))
    assert not [path.name for path in served.stage.run_dir.glob("*log*.pid")]
    assert served.parent.lines[-1] == "tcppipe: ended"
    assert "ended" in served.parent.log and "starts again" not in served.parent.log


def test_children_wait_for_the_server(many):
    """Nobody listens at the start. That is no failure: each child connects when the server is
    there."""
    many.file("a.log", b"a\n")
    many.parent.up()
    many.parent.wait_log("cannot connect: Connection refused; connects again")
    pid = many.pid("a.log")
    many.server.up()
    many.arrives("a.log", seconds=30)
    assert many.pid("a.log") == pid


def test_a_refusal_hurts_no_other(many):
    """The server has no entry for one of two files. The other arrives. The refused one is tried
    again later, which is said once, and at once after HUP: it arrives when the server has an entry.
    It is the same process all the time."""
    copy = many.stage.path / "copy"
    many.stage.configure(f"127.0.0.1:{many.logs}/a.log | {copy}/%f")
    many.file("a.log", b"a\n")
    many.file("b.log", b"b\n")
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    many.parent.wait_log(r"b\.log: .*refused: .*no entry for .*; tries again")
    pid = many.pid("b.log")
    many.stage.configure(f"127.0.0.1:{many.logs}/* | {copy}/%f")
    many.hup()
    many.arrives("b.log")
    assert many.pid("b.log") == pid
    assert many.parent.log.count("no entry") == 1


def test_an_archive_that_is_away(many):
    """The archive goes, and thirty pipes have no connection: the parent says that in a few lines, and
    in a few that they have one again."""
    names = [f"{number}.log" for number in range(30)]
    for name in names:
        many.file(name, b"one\n")
    many.server.up()
    many.parent.up()
    for name in names:
        many.arrives(name)
    before = len(many.parent.lines)
    many.server.kill()

    def all_are_down():
        many.parent.signal(signal.SIGUSR1)
        return "30 pipes, 30 not connected" in many.parent.log

    wait_until(all_are_down, lambda: many.parent.log)
    many.parent.wait_log(
        r"\.log and \d+ more: .*cannot connect: Connection refused; connects again"
    )
    many.server.up()
    for name in names:
        append(many.file(name), b"two\n")
    many.hup()
    for name in names:
        many.arrives(name, seconds=60)
    many.parent.wait_log(r"\.log and \d+ more: connected to ", count=1)
    said = [line for line in many.parent.lines[before:] if not re.search(" lines?, ", line)]
    assert len(said) < 12, said


def test_a_pipe_that_somebody_runs_by_hand(many):
    """One of two pipes runs already. The parent says so, once, and keeps the other. When the first
    one has ended, it keeps it, too."""
    many.server.up()
    many.file("a.log", b"a\n")
    many.file("b.log", b"b\n")
    by_hand = many.stage.client(many.file("a.log")).up()
    many.parent.up()
    many.arrives("b.log")
    said = rf"a\.log: tcppipe runs already for this file and host, pid {by_hand.pid}"
    many.parent.wait_log(said)
    by_hand.down()
    assert many.wait_pid("a.log") in many.parent.children()
    assert len(re.findall(said, many.parent.log)) == 1


# --- the list


def test_hup_reads_the_list_again(served):
    """One pipe is removed, one is new, one has other options, one is as it was: that one keeps
    its process and its connection."""
    served.write(served.line("a.log"), served.line("b.log"), served.line("c.log"))
    served.file("c.log", b"c\n")
    served.file("d.log", b"d\n")
    served.hup()
    served.arrives("c.log")
    served.parent.wait_log("read again, 3 lines")
    before = {name: served.wait_pid(name) for name in ("a.log", "b.log", "c.log")}
    served.write(served.line("a.log"), served.line("b.log", "-t 0.2"), served.line("d.log"))
    served.hup()
    served.arrives("d.log")
    served.wait_pid("b.log", before["b.log"])
    wait_until(lambda: not alive(before["c.log"]), "the removed pipe lives on")
    assert served.pid("c.log") is None
    assert served.pid("a.log") == before["a.log"]
    assert "starts again" not in served.parent.log
    append(served.file("b.log"), b"more\n")
    served.arrives("b.log")


def test_a_broken_list_at_the_start(many):
    """All bad lines are named, with numbers and reasons; nothing is started; status 1. -T says the
    same."""
    many.write("# fine", many.line(), "-f /x", "-h y -d -f /x", "-f 'x")
    wanted = [f"{many.list}:3: -f FILE and -h HOST are needed",
              f"{many.list}:4: -d: not an option of a pipe",
              f"{many.list}:5: a quotation has no end in this line"]  # fmt: skip
    assert many.parent.start().wait() == 1
    assert many.parent.lines == [f"tcppipe: {line}" for line in wanted]
    checked = many.ask("-T")
    assert (checked.returncode, checked.stderr.splitlines()) == (1, wanted)
    many.list.unlink()
    done = many.ask()
    assert done.returncode == 1
    assert done.stderr == f"tcppipe: {many.list}: cannot read: No such file or directory\n"


def test_a_broken_list_at_hup(served):
    """The bad line is named, and the old list stays in force."""
    pids = served.parent.children()
    served.write(served.line("a.log"), "-f /x")
    served.hup()
    served.parent.wait_log(r"list:2: .* are needed \(the old list stays in force\)")
    append(served.file("b.log"), b"more\n")
    served.arrives("b.log")
    assert served.parent.children() == pids


def test_what_a_list_says(many):
    """-T prints each line with its number, and the files that have a pipe by it."""
    many.write("# comment", many.line(), "", many.line("'x y'", "-t 1"))
    for name in ("b.log", "a.log", "c.txt"):
        many.file(name, b"")
    done = many.ask("-T")
    assert done.returncode == 0
    assert done.stderr == f"{many.list}:4: note: {many.logs}/x y: no such file now\n"
    port = many.stage.port
    assert done.stdout.splitlines() == [
        f"2: -f {many.logs}/*.log -h 127.0.0.1 -p {port}",
        f"    {many.logs}/a.log",
        f"    {many.logs}/b.log",
        f"4: -f '{many.logs}/x y' -h 127.0.0.1 -p {port} -t 1",
    ]


@pytest.mark.parametrize(
    "options, reason",
    [
        (["-T"], "-T: only with -c LIST"),
        (["-c", "x", "-f", "/a"], "-f: not together with -c: write it into the lines of LIST"),
        (["-c", "x", "-t", "1"], "-t: not together with -c: write it into the lines of LIST"),
        (["-c", "x", "y"], "y: pipes are listed in the file of -c, one a line"),
    ],
)
def test_wrong_options(stage, options, reason):
    """What belongs into a line is refused beside -c, and -T without it."""
    done = stage.run([*stage.program("tcppipe"), *options])
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"tcppipe: {reason}"


def test_sent_once_more(many):
    """-n in a line sends a file once more when its pipe is first started, but not when that is
    started again after a crash."""
    many.write(many.line(more="-n"))
    many.file("a.log", b"a\n")
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    os.kill(many.pid("a.log"), signal.SIGKILL)
    many.parent.wait_log("a.log: connected", count=2)
    append(many.file("a.log"), b"more\n")
    many.arrives("a.log")
    many.parent.down()
    many.parent.up()
    many.arrives("a.log", b"a\nmore\na\nmore\n")


# --- the parent is found


def test_the_parent_is_found(served):
    """-I prints the parent's pid, also by another name of the list, and with nobody running
    nothing. A second parent is refused. -K sends to exactly that process."""
    assert served.ask("-I").stdout == f"{served.parent.pid}\n"
    link = served.stage.path / "link"
    link.symlink_to(served.list)
    program = served.stage.program("tcppipe")
    assert served.stage.run([*program, "-I", "-c", link]).stdout == f"{served.parent.pid}\n"
    second = served.ask("-d")
    assert second.returncode == 1
    assert second.stderr == (
        f"tcppipe: {served.list}: tcppipe runs already for this list, pid {served.parent.pid}\n"
    )
    assert served.ask("-K", "TERM").returncode == 0
    assert served.parent.wait() == 0
    done = served.ask("-I")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert served.ask("-K", "HUP").returncode == 0


def test_signals_to_a_child(served):
    """-K HUP reaches one child. One that is told to end by hand is started again."""
    pid = served.pid("a.log")
    assert served.stage.ask(["-K", "HUP"], served.file("a.log")).returncode == 0
    append(served.file("a.log"), b"more\n")
    served.arrives("a.log")
    assert served.pid("a.log") == pid
    assert served.stage.ask(["-K", "TERM"], served.file("a.log")).returncode == 0
    served.wait_pid("a.log", pid)


def test_detached(many):
    """Without -d the parent goes into the background when the list is good; a child is its own
    process, not a session's leader, and -I finds both. TERM ends them all."""
    many.file("a.log", b"a\n")
    many.server.up()
    done = many.ask()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    parent = int(many.ask("-I").stdout)
    many.arrives("a.log")
    child = many.pid("a.log")
    assert os.readlink(f"/proc/{parent}/cwd") == os.readlink(f"/proc/{child}/cwd") == "/"
    assert many.ask("-K", "TERM").returncode == 0
    wait_until(lambda: not alive(parent) and not alive(child), "does not end")


def test_kept_alive(many):
    """keep_tcppipe_alive -c starts the parent if it is switched on, and none runs."""
    directory = many.stage.path / "bin"
    directory.mkdir()
    python = directory / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(many.stage.program("x")[0])} "$@"\n')
    python.chmod(0o755)
    many.stage.env["PATH"] = f"{directory}:{many.stage.env['PATH']}"
    command = [CHECKOUT / "bin" / "keep_tcppipe_alive", "-c", many.list]
    many.file("a.log", b"a\n")
    many.server.up()
    many.stage.run(command)
    assert many.ask("-I").stdout == ""
    (many.stage.run_dir / "tcppipe.keepalive").touch()
    for _ in range(2):
        done = many.stage.run(command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first = int(many.ask("-I").stdout)
    many.arrives("a.log")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not alive(first), "lives on")
    assert many.stage.run(command).returncode == 0
    assert int(many.ask("-I").stdout) != first
    append(many.file("a.log"), b"more\n")
    many.arrives("a.log")


# --- many

OWN = 4352  # KiB: a child that loads a module of the library itself has a MiB or more beyond it


def own_memory(pid):
    """The memory of a process that it shares with nobody, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", text, re.MULTILINE))


def test_a_host_has_a_name(many):
    """Its name is looked up once for all, and nothing is loaded for that in any process. A name
    that nobody knows is no failure, either: it is asked for again."""
    copy = many.stage.path / "copy"
    many.stage.configure(*(f"{host}:{many.logs}/* | {copy}/%f" for host in ("127.0.0.1", "[::1]")))
    named = many.line("a.log").replace("127.0.0.1", "localhost")
    unknown = many.line("b.log").replace("127.0.0.1", "unknown.invalid")
    many.write(named, unknown)
    many.file("a.log", b"a\n")
    many.file("b.log", b"b\n")
    many.server.up()
    many.parent.up()
    many.arrives("a.log")
    many.parent.wait_log("b.log: unknown.invalid: unknown host: .*; connects again", 30)
    assert own_memory(many.pid("a.log", host="localhost")) < OWN


def test_a_hundred_pipes(many):
    """A hundred files arrive, and what is appended to them, too. No child holds a descriptor of
    its siblings'. Each shares most of its memory with the others: what it has of its own is less
    than half of what it had if it loaded anything itself."""
    names = [f"{number}.log" for number in range(100)]
    for name in names:
        many.file(name, b"one\n")
    many.server.up()
    many.parent.up()
    for name in names:
        many.arrives(name, seconds=40)
    for name in names:
        append(many.file(name), b"two\n")
    for name in names:
        many.arrives(name, seconds=40)
    pids = many.parent.children()
    assert len(pids) == 100
    held = {len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
    assert max(held) < 16 and max(held) - min(held) < 3
    own = sorted(map(own_memory, pids))
    print("own memory:", own[0], own[50], own[-1])
    assert own[50] < OWN
    many.parent.down(30)
    assert not any(map(alive, pids))
