"""gen_numbers and fetch_logs: stories of the pull pair, both sides ours."""

import gzip
import os
import re
import shutil
import signal
import socket

import pytest
from stage import append, content, sha256, size, wait_for_bytes, wait_until, without_rights
from test_snmp import Agent

ODD = b"\0\1\7\xff\r\n\n\n#$\7\7" + b"x" * 5000 + b"no end"


def test_first_fetch_and_appends(pull):
    """What is there comes, then what is appended; a pointer file and SNMP's file are written."""
    pull.up()
    pull.append(ODD)
    pull.arrives()
    pull.says("OK\n$")
    inode = os.stat(pull.origin).st_ino
    wait_until(lambda: content(pull.pointer) == b"%d\n" % inode, "the pointer file")
    stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d "
    pull.client.wait_log(rf"{stamp}127\.0\.0\.1 {pull.origin} begins, inode {inode}$")
    assert "version 2" in pull.server.log
    pull.client.down()
    pull.server.down()


def test_an_empty_file_and_one_that_comes_later(pull):
    """A file that does not exist yet is fetched when it does."""
    os.unlink(pull.origin)
    pull.server.up()
    pull.client.up()
    pull.server.wait_log("no such file, waiting")
    pull.says("ERR .*: on the server: no such file, waiting")
    pull.origin.write_bytes(b"")
    pull.append(b"now\n")
    pull.arrives()
    pull.says("OK\n$")


def test_a_file_that_the_server_cannot_read_is_not_in_order(pull):
    """The server may not read the file any more, or finds something else in its place: whoever
    fetches it says so too, in its log and to SNMP, until it can be read again."""
    pull.server.preexec = without_rights
    pull.up()
    pull.says("OK\n$")
    pull.server.kill()
    pull.origin.chmod(0)
    pull.server.up()
    pull.says("ERR .*: on the server: cannot read, waiting: Permission denied", 60)
    assert "the source waits: cannot read, waiting: Permission denied" in pull.client.log
    pull.origin.chmod(0o644)
    pull.append(b"more\n")
    pull.arrives()
    pull.says("OK\n$")
    before = pull.origin.read_bytes()
    pull.origin.unlink()
    pull.origin.mkdir()
    pull.says("ERR .*: on the server: .*a directory")
    pull.origin.rmdir()
    pull.origin.write_bytes(b"again\n")
    pull.mirrors(before, b"again\n")
    pull.says("OK\n$")


def test_rotation_is_mirrored(pull):
    """Each generation becomes a piece of its own, while the connection stays."""
    pull.up()
    first = pull.origin.read_bytes()
    pull.rotate(ODD)
    pull.mirrors(first, ODD)
    pull.rotate(b"third\n")
    pull.mirrors(first, ODD, b"third\n")
    pull.append(b"more\n")
    pull.mirrors(first, ODD, b"third\nmore\n")
    assert re.search(r"\.\d{14}$", str(pull.pieces()[0]))
    assert pull.server.log.count("established") == 1


def test_copytruncate(pull):
    """A file that is copied and truncated ends one generation and begins another."""
    pull.up()
    first = pull.origin.read_bytes()
    shutil.copyfile(pull.origin, f"{pull.origin}.1")
    os.truncate(pull.origin, 0)
    pull.append(b"after\n")
    pull.mirrors(first, b"after\n")


@pytest.mark.parametrize("who", ["client", "server"])
def test_rotations_while_away(pull, who):
    """Two rotations while a side is dead, one of the files compressed: no generation is skipped."""
    pull.up()
    getattr(pull, who).kill()
    if who == "server":
        pull.client.wait_log("lost connection: ")
    pull.append(b"rest of the first\n")
    first = pull.origin.read_bytes()
    pull.rotate(b"second\n" * 1000)
    second = pull.origin.read_bytes()
    pull.rotate(b"third\n")
    with open(f"{pull.origin}.2", "rb") as plain, gzip.open(f"{pull.origin}.2.gz", "wb") as packed:
        packed.write(plain.read())
    shutil.copystat(f"{pull.origin}.2", f"{pull.origin}.2.gz")
    os.unlink(f"{pull.origin}.2")
    pull.rotate(b"fourth\n")
    getattr(pull, who).up()
    pull.mirrors(first, second, b"third\n", b"fourth\n", seconds=20)
    pull.says("OK\n$")


def test_names_that_the_glob_gives(pull):
    """Rotated files with names of their own are found by the pattern of the .locals file."""
    old = pull.stage.path / "old"
    old.mkdir()
    locals_file = pull.stage.path / "gen_numbers.locals"
    text = locals_file.read_text().replace(f"{pull.origin}.*", f"{old}/archived-*")
    locals_file.write_text(text)
    pull.up()
    pull.client.kill()
    first = pull.origin.read_bytes()
    os.rename(pull.origin, old / "archived-1")
    pull.origin.write_bytes(b"second\n")
    os.rename(pull.origin, old / "archived-2")
    pull.origin.write_bytes(b"third\n")
    pull.client.up()
    pull.mirrors(first, b"second\n", b"third\n")


def test_kill_and_rotation_again_and_again(pull, writer):
    """kill -9 of either side and rotations under a writer: the pieces are the generations."""
    pull.up()
    copied = [pull.origin.read_bytes()]
    with writer(pull.origin) as one:
        for turn in range(6):
            one.wait_more(40)
            if turn % 3 == 0:
                pull.client.kill()
            elif turn % 3 == 1:
                pull.server.kill()
            if turn % 2:
                pull.rotate()
                one.reopen()
            if turn % 3 == 0:
                pull.client.up()
            elif turn % 3 == 1:
                pull.server.up()
                pull.client.hup()
        written = one.stop()
    numbers = sorted(pull.stage.path.glob("a.log.[0-9]"), reverse=True)
    generations = [path.read_bytes() for path in [*numbers, pull.origin]]
    assert b"".join(generations) == copied[0] + written
    pull.mirrors(*generations, seconds=30)


def test_a_lost_generation_is_told(pull):
    """A generation that was deleted while we were away is said to be lost; the next one comes."""
    pull.up()
    first = pull.origin.read_bytes()
    pull.client.kill()
    pull.append(b"never seen\n")
    os.unlink(pull.origin)
    pull.origin.write_bytes(b"new\n")
    pull.client.up()
    pull.mirrors(first, b"new\n")
    pull.client.wait_log(rf"{pull.origin} .*lost")


def test_trouble_of_one_source_is_its_own(pull):
    """A directory without rights stops one source, which recovers; the other goes on."""
    stage = pull.stage
    other = stage.path / "b.log"
    other.write_bytes(b"other\n")
    where = stage.path / "bad"
    where.mkdir()
    where.chmod(0o500)
    pull.server = stage.numbers(
        pull.allowed, f'$files{{"{pull.origin}"}} = "";', f'$files{{"{other}"}} = "";'
    )
    line = f"127.0.0.1 {stage.port} {other} {where}/b.log {stage.path}/pointer/b.log"
    pull.client = stage.fetcher(line, pull.line, preexec=without_rights)
    pull.up()
    pull.says(f"ERR {other}: .*[Pp]ermission")
    pull.append(b"goes on\n")
    pull.arrives()
    where.chmod(0o700)
    wait_for_bytes(where / "b.log", b"other\n")
    pull.says("OK\n$")


def test_a_full_disk(pull):
    """A destination that cannot grow: an error for SNMP, and it goes on by itself."""
    import resource

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    pull.client.preexec = small
    pull.up()
    pull.append(b"y" * 30000)
    pull.says("ERR .*: File too large")
    assert size(pull.copy) <= 20000
    resource.prlimit(
        pull.client.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    pull.arrives()
    pull.says("OK\n$")


def test_hup_rereads_both_configurations(pull):
    """New lines are valid with HUP, those that are gone end, and a broken file is refused whole."""
    stage = pull.stage
    pull.up()
    other = stage.path / "b.log"
    other.write_bytes(b"other\n")
    with open(stage.path / "gen_numbers.locals", "a") as file:
        file.write(f'$files{{"{other}"}} = "{other}.*";\n')
    pull.server.hup()
    pull.server.wait_log("read again, 2 files")
    conf = stage.path / "fetch_logs.conf"
    line = f"127.0.0.1 {stage.port} {other} {stage.path}/copy/b.log {stage.path}/pointer/b.log"
    conf.write_text(f"{pull.line}\n{line}\n")
    pull.client.hup()
    wait_for_bytes(stage.path / "copy/b.log", b"other\n")
    conf.write_text("nonsense\n")
    pull.client.hup()
    pull.client.wait_log(r"fetch_logs\.conf:1: .*stays in force")
    pull.append(b"still\n")
    pull.arrives()
    conf.write_text(f"{line}\n")
    pull.client.hup()
    pull.client.wait_log("read again, 1 source")
    assert pull.server.log.count("established") == 2
    wait_until(lambda: len(pull.server.children()) == 1, "the first one's child has ended")


def test_hup_ends_what_is_no_longer_allowed(pull):
    """A file that is taken out of the .locals file is given no more."""
    pull.up()
    path = pull.stage.path / "gen_numbers.locals"
    path.write_text("".join(x for x in path.read_text().splitlines(True) if "files" not in x))
    pull.server.hup()
    pull.server.wait_log("no longer allowed")
    pull.client.hup()
    pull.says("ERR ")
    pull.append(b"secret\n")
    assert b"secret" not in content(pull.copy)


def test_usr1_reopens(pull):
    """A local file that an administrator renames: after USR1 the rest goes to a new one."""
    pull.up()
    first = content(pull.copy)
    os.rename(pull.copy, f"{pull.copy}.mine")
    pull.client.signal(signal.SIGUSR1)
    wait_until(pull.copy.exists, "a new file")
    pull.append(b"later\n")
    pull.arrives(b"later\n")
    assert content(f"{pull.copy}.mine") == first
    pull.client.kill()
    pull.append(b"last\n")
    pull.client.up()
    pull.arrives(b"later\nlast\n")


def test_term_and_int(pull):
    """Both end on TERM with 0, and INT is the same; children end with their parent's kill."""
    pull.up()
    pull.client.signal(signal.SIGINT)
    assert pull.client.wait() == 0
    pull.client.up()
    pull.append(b"x\n")
    pull.arrives()
    (child,) = wait_until(pull.server.children, "a child")
    pull.server.kill()
    wait_until(lambda: child not in pull.stage.living(), "the child ends, too")


def test_detached(pull):
    """-D: both return when they are ready, and leave pid files. A second one of either names the
    first."""
    stage = pull.stage
    for process in (pull.server, pull.client):
        program, *operands = process.argv[1:]
        done = stage.run([process.argv[0], program, "-D", *operands])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pull.arrives()
    for process in (pull.server, pull.client):
        program, *operands = process.argv[1:]
        done = stage.run([process.argv[0], program, "-D", *operands])
        assert done.returncode == 1
        assert f"{os.path.basename(program)} runs already, pid " in done.stderr
    for name in ("fetch_logs", "gen_numbers"):
        pidfile = stage.run_dir / f"{name}.pid"
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        wait_until(lambda pidfile=pidfile: not pidfile.exists(), "ended")


def test_who_may_not(pull):
    """An address that is not allowed is cut off without a word; a file that is not, with one."""
    stage = pull.stage
    pull.server.up()
    line = f"127.0.0.1 {stage.port} {stage.path}/c.log {stage.path}/copy/c {stage.path}/pointer/c"
    pull.client = stage.fetcher(line)
    pull.client.up()
    pull.client.wait_log("the configuration of gen_numbers there has no such file")
    pull.says("ERR .*has no such file")
    path = stage.path / "gen_numbers.locals"
    path.write_text(path.read_text().replace("= 1;", "= 0;"))
    pull.server.hup()
    pull.server.wait_log("read again")
    pull.client.hup()
    pull.server.wait_log("127.0.0.1: not allowed")
    pull.says("ERR .*, before an answer: not allowed there, or no gen_numbers")


def test_snmp_files(pull):
    """No server: ERR with a reason; with one: OK.  A removed file comes back when touched."""
    pull.client.up()
    pull.says("ERR .*cannot connect to .*refused")
    pull.server.up()
    pull.client.hup()
    pull.arrives()
    pull.says("OK\n$")
    assert [path.name for path in pull.status.parent.iterdir()] == ["127.0.0.1"]


def test_a_server_by_its_name(stage):
    """A host name is looked up in the background; its file for SNMP has that name."""
    pull = stage.pull(b"one\n", host="localhost")
    pull.up()
    pull.says("OK\n$")


def test_a_name_that_is_unknown(stage):
    """No such server: an error; the others are fetched."""
    pull = stage.pull(b"one\n")
    line = f"nobody.invalid {stage.port} /x {stage.path}/copy/x {stage.path}/pointer/x"
    pull.client = stage.fetcher(line, pull.line)
    pull.up()
    wait_until(
        lambda: content(pull.status.parent / "nobody.invalid").startswith(
            b"ERR /x: nobody.invalid"
        ),
        "an error for SNMP",
    )


def test_ipv6(stage):
    """A server and a source with IPv6 addresses."""
    pull = stage.pull(b"one\n", host="::1")
    path = stage.path / "gen_numbers.locals"
    path.write_text(path.read_text() + '$bind_addr = "::1";\n$hosts_allow{"::1"} = 1;\n')
    pull.up()
    pull.says("OK\n$")


def test_an_unwritable_pointer(pull):
    """The copy does not need it: it is made, and the trouble is said."""
    where = pull.pointer.parent
    where.mkdir()
    where.chmod(0o500)
    pull.client.preexec = without_rights
    pull.up()
    pull.client.wait_log(f"{pull.pointer}: cannot write: Permission denied")
    where.chmod(0o700)
    wait_until(lambda: content(pull.pointer), "the pointer file")


def test_adoption_of_an_originals_files(pull):
    """A local file and a pointer file without a ledger: the copy goes on behind what is there."""
    pull.copy.parent.mkdir()
    pull.pointer.parent.mkdir()
    pull.copy.write_bytes(b"one\ntw")
    pull.pointer.write_bytes(b"%d\n" % os.stat(pull.origin).st_ino)
    first = pull.origin.read_bytes()
    pull.rotate(b"second\n")
    pull.rotate(b"third\n")
    pull.server.up()
    pull.client.up()
    pull.mirrors(first, b"second\n", b"third\n")


def test_a_copy_with_substitutes_is_fetched_again(pull):
    """What an original has written with 0xff for 0x07 is set aside, and comes again exactly."""
    pull.origin.write_bytes(b"bell \7\n")
    pull.copy.parent.mkdir()
    pull.pointer.parent.mkdir()
    pull.copy.write_bytes(b"bell \xff\n")
    pull.pointer.write_bytes(b"%d\n" % os.stat(pull.origin).st_ino)
    pull.rotate(b"second\n")
    pull.server.up()
    pull.client.up()
    pull.mirrors(b"bell \xff\n", b"bell \7\n", b"second\n")


def test_a_lot(pull):
    """A large file arrives, and many sources share one process."""
    stage = pull.stage
    pull.origin.write_bytes(os.urandom(1 << 20) * 20)
    names = [f"n{i}" for i in range(30)]
    lines = [pull.line]
    allowed = [f'$files{{"{pull.origin}"}} = "";']
    for name in names:
        origin = stage.path / name
        origin.write_bytes(name.encode() * 100)
        allowed.append(f'$files{{"{origin}"}} = "";')
        lines.append(
            f"127.0.0.1 {stage.port} {origin} {stage.path}/copy/{name} {stage.path}/pointer/{name}"
        )
    pull.server = stage.numbers(pull.allowed, *allowed)
    pull.client = stage.fetcher(*lines)
    pull.up()
    for name in names:
        append(stage.path / name, b"more")
        wait_for_bytes(stage.path / "copy" / name, name.encode() * 100 + b"more")
    assert sha256(pull.copy) == sha256(pull.origin)
    assert not pull.client.children()


def test_bad_configurations(stage):
    """A line that is not understood ends either program with its number and 1."""
    bad = stage.path / "bad"
    bad.write_text("\nsystem('x');\n")
    done = stage.run([*stage.program("gen_numbers"), bad])
    assert done.returncode == 1 and f"{bad}:2: " in done.stderr
    done = stage.run([*stage.program("fetch_logs"), stage.path, bad])
    assert done.returncode == 1 and f"{bad}:2: " in done.stderr
    done = stage.run([*stage.program("fetch_logs"), stage.path / "none", os.devnull])
    assert done.returncode == 1 and "no such directory" in done.stderr


def test_what_an_snmp_agent_is_told(stage, need):
    """A real agent with snmp_from_file says OK, and ERR when the server is gone for good."""
    agent = Agent(stage, need)
    pull = stage.pull(b"one\n").up()
    pull.says("OK\n$")
    agent.process.up()
    assert agent.get(".127.0.0.1") == '"OK"'
    pull.server.kill()
    pull.client.wait_log("lost connection: ")
    pull.client.hup()
    pull.says("ERR ")
    assert agent.get(".127.0.0.1").startswith(f'"ERR {pull.origin}: cannot connect to ')


def test_a_second_fetch_logs(pull):
    """Another process with the same local file waits, and goes on when the first one ends."""
    pull.up()
    second = pull.stage.fetcher(pull.line, name="second")
    second.up()
    second.wait_log("cannot open, waiting: .* writes to it")
    pull.append(b"once\n")
    pull.arrives()
    pull.client.kill()
    pull.append(b"and again\n")
    pull.arrives()


def test_a_server_that_says_nothing(pull):
    """A server that accepts and is silent is an error after five seconds; others go on."""
    stage = pull.stage
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        line = f"127.0.0.1 {port} /x {stage.path}/copy/x {stage.path}/pointer/x"
        pull.client = stage.fetcher(line, pull.line)
        pull.up()
        pull.says("ERR /x: .*said nothing in time")
        pull.append(b"goes on\n")
        pull.arrives()


def test_nonsense_from_a_server(pull):
    """Neither O nor L: an error, and nothing is written."""
    stage = pull.stage
    with socket.create_server(("127.0.0.1", 0)) as odd:
        line = f"127.0.0.1 {odd.getsockname()[1]} /x {pull.copy} {pull.pointer}"
        pull.client = stage.fetcher(line)
        pull.client.up()
        sock, _address = odd.accept()
        sock.sendall(b"220 mail.example.com ESMTP\r\n")
        pull.says("ERR /x: .*neither O nor L")
        sock.close()
    assert not pull.copy.exists()
