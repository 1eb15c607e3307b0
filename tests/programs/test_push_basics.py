"""What the push pair is for: a file, and then what is appended to it, byte for byte."""

import os
import random
import signal
import stat
import time

import pytest
from stage import append, content, sha256, size, wait_for_bytes, wait_until

EVERY_BYTE = bytes(range(256))
KINDS = {
    "empty": b"",
    "lines": b"one\ntwo\n\nfour\n",
    "no newline at the end": b"whole\npartial",
    "only newlines": b"\n\n\n\n",
    "carriage returns": b"one\r\ntwo\r\n\rthree\r\n",
    "every byte": EVERY_BYTE * 7,
    "NUL, BEL and 0xff": b"\0\0\7\7\xff\xff" * 1000 + b"\n\0\n\7\n\xff\n",
    "commands of the wire": b"$\n$ready\n#\n$refuse\n\n$\n$tcppipe/2\n##\n$12\n",
    "lines around 1023 bytes": b"".join(b"%d" % (n % 10) * n + b"\n" for n in range(1015, 1035)),
    "one line of 5 MB": random.Random(5).randbytes(5_000_000).replace(b"\n", b"") + b"\n",
    "a lone newline behind 4 MiB": b"\0" * (4 << 20) + b"\n",
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes(stage, kind):
    """The origin holds bytes of some kind. The pipe is started, and the copy has them all. The
    same bytes are appended once more, and then one byte at a time. The digests agree."""
    data = KINDS[kind]
    pipe = stage.pipe(data).up()
    pipe.append(data)
    pipe.arrives()
    for at in range(min(len(data), 20)):
        pipe.append(data[at : at + 1])
        pipe.arrives()
    assert sha256(pipe.copy) == sha256(pipe.origin)
    assert "bytes lost" not in pipe.client.log


def test_empty_origin_makes_an_empty_copy(stage):
    """An empty origin is sent. There is an empty copy. The first byte arrives."""
    pipe = stage.pipe(b"").up()
    wait_until(pipe.copy.exists, "no copy")
    pipe.append(b"x")
    pipe.arrives(b"x")


def test_append_arrives_at_once(pipe):
    """A line is appended without -t. It arrives in much less than the second between looks."""
    pipe.up()
    times = []
    for number in range(20):
        line = b"line %d\n" % number
        before = time.monotonic()
        pipe.append(line)
        pipe.arrives()
        times.append(time.monotonic() - before)
    assert sorted(times)[10] < 0.5, times


def test_partial_line_is_sent_as_it_is(pipe):
    """A line is written in three pieces. Each piece arrives as it is, with no newline added."""
    pipe.up()
    for piece in (b"be", b"gin", b"ning\n", b"$", b"#", b"\n"):
        pipe.append(piece)
        pipe.arrives()
    assert content(pipe.copy) == b"one\ntwo\nthree\nbeginning\n$#\n"


def test_resend(pipe):
    """A pipe has run and was ended. tcppipe -n sends the whole origin once more, behind what is
    there. Appended lines follow. A restart without -n repeats nothing."""
    pipe.up()
    pipe.client.down()
    again = pipe.stage.client(pipe.origin, "-n", name="again").up()
    pipe.arrives(b"one\ntwo\nthree\n" * 2)
    pipe.append(b"four\n")
    pipe.arrives(b"one\ntwo\nthree\n" * 2 + b"four\n")
    again.down()
    pipe.client.up()
    pipe.append(b"five\n")
    pipe.arrives(b"one\ntwo\nthree\n" * 2 + b"four\nfive\n")


def test_resend_once_only(pipe):
    """tcppipe -n has sent all once more. Its connection is lost and made again. It does not send
    all a third time."""
    pipe.up()
    pipe.client.down()
    again = pipe.stage.client(pipe.origin, "-n", name="again").up()
    pipe.arrives(b"one\ntwo\nthree\n" * 2)
    for child in pipe.server.children():
        os.kill(child, signal.SIGKILL)
    again.wait_log(": connected to ")
    pipe.append(b"four\n")
    pipe.arrives(b"one\ntwo\nthree\n" * 2 + b"four\n")


def test_resend_the_first_time(pipe):
    """tcppipe -n starts a pipe that never was. The origin is sent once."""
    pipe.client.argv.append("-n")
    pipe.up()
    pipe.append(b"four\n")
    pipe.arrives(b"one\ntwo\nthree\nfour\n")


def test_interval(pipe):
    """With -t 0.8 two lines that are appended right after a delivery wait for the next one and
    come together, and no sooner."""
    pipe.client.argv += ["-t", "0.8"]
    pipe.up()
    pipe.append(b"first\n")
    pipe.arrives()
    (status,) = pipe.stage.run_dir.glob("*.pipe")
    acknowledged = b"%d\n" % size(pipe.origin)
    wait_until(lambda: content(status).startswith(acknowledged), "no acknowledgement")
    sizes = {size(pipe.copy)}
    before = time.monotonic()
    pipe.append(b"second\n")
    pipe.append(b"third\n")

    def whole():
        sizes.add(size(pipe.copy))
        return size(pipe.copy) == size(pipe.origin)

    wait_until(whole, "the appended lines")
    assert len(sizes) == 2
    assert 0.5 < time.monotonic() - before < 3


def test_hup_sends_at_once(pipe):
    """With -t 600 a line waits. HUP means look now, and the line is sent."""
    pipe.client.argv += ["-t", "600"]
    pipe.up()
    pipe.append(b"four\n")
    pipe.client.hup()
    pipe.arrives()


def test_ipv6(stage):
    """The entry names [::1], the client connects to ::1. %h is the address."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    stage.configure(f"[::1]:{origin} | {stage.path}/copy/%h/%f")
    stage.server().up()
    stage.client(origin, host="::1").up()
    wait_for_bytes(stage.path / "copy" / "::1" / "a.log", b"one\n")
    append(origin, b"two\n")
    wait_for_bytes(stage.path / "copy" / "::1" / "a.log", b"one\ntwo\n")
    assert stage.pid_of(origin, host="::1")


@pytest.mark.parametrize("host", ["127.0.0.0/8", "localhost"])
def test_forms_of_host(stage, host):
    """A network in CIDR form and a name stand for the address that connects."""
    origin = stage.path / "a.log"
    origin.write_bytes(b"one\n")
    stage.configure(f"{host}:{origin} | {stage.path}/copy")
    stage.server().up()
    stage.client(origin).up()
    wait_for_bytes(stage.path / "copy", b"one\n")


def test_mode(stage):
    """mode=0604 is given to a destination that is made here; without it nobody else may read."""
    pipe = stage.pipe(b"one\n", options=" | mode=0604")
    other = stage.path / "b.log"
    other.write_bytes(b"other\n")
    stage.configure(pipe.entry, f"127.0.0.1:{other} | {stage.path}/copy/b.log")
    pipe.up()
    assert stat.S_IMODE(pipe.copy.stat().st_mode) == 0o604
    stage.client(other, name="other").up()
    wait_for_bytes(stage.path / "copy" / "b.log", b"other\n")
    assert stat.S_IMODE((stage.path / "copy" / "b.log").stat().st_mode) & 0o027 == 0


def test_owner(stage):
    """owner=UID:GID is given to a destination that is made here."""
    mine = os.geteuid() or 65534
    pipe = stage.pipe(b"one\n", options=f" | owner={mine}:{os.getegid()}").up()
    assert pipe.copy.stat().st_uid == mine


def test_globs(stage):
    """One line with a glob serves many origins, each into its own file by %h, %f and %p. The
    directories are made. A glob does not go below a directory."""
    (stage.path / "logs" / "deep").mkdir(parents=True)
    names = ["logs/a.log", "logs/b c.log", "logs/ü.log"]
    for name in names:
        (stage.path / name).write_bytes(name.encode() + b"\n")
    stage.configure(
        f"127.0.0.1:{stage.path}/logs/*.log | {stage.path}/archive/%h/50%%/%f",
        f"127.0.0.1:{stage.path}/logs/*.txt | {stage.path}/tree/%p",
    )
    stage.server().up()
    for number, name in enumerate(names):
        stage.client(stage.path / name, name=f"client{number}").up()
    for name in names:
        copy = stage.path / "archive" / "127.0.0.1" / "50%" / os.path.basename(name)
        wait_for_bytes(copy, name.encode() + b"\n")
    text = stage.path / "logs" / "c.txt"
    text.write_bytes(b"text\n")
    stage.client(text, name="text").up()
    wait_for_bytes(f"{stage.path}/tree{text}", b"text\n")
    deep = stage.path / "logs" / "deep" / "d.log"
    deep.write_bytes(b"deep\n")
    refused = stage.ask(["-d"], deep)
    assert refused.returncode == 1
    assert "refused" in refused.stderr


def test_symbolic_link_is_resolved(stage):
    """-f names a symbolic link. The server is asked for the file that it leads to."""
    pipe = stage.pipe(b"one\n")
    link = stage.path / "link"
    link.symlink_to(pipe.origin)
    pipe.server.up()
    stage.client(link, name="linked").up()
    pipe.arrives()


def test_relative_path(stage):
    """-f is relative to the directory that the program is started in, detached or not."""
    pipe = stage.pipe(b"one\n")
    pipe.server.up()
    assert stage.ask([], "a.log").returncode == 0
    pipe.append(b"two\n")
    pipe.arrives()
    assert stage.pid_of("a.log") == stage.pid_of(pipe.origin)


def test_one_origin_to_two_servers(stage, tmp_path):
    """Two tcppipe send the same origin to two servers. Both copies grow."""
    from stage import Stage

    (tmp_path / "second").mkdir()
    second = Stage(tmp_path / "second")
    stage.closing.append(second.close)
    pipe = stage.pipe(b"one\n").up()
    second.configure(f"127.0.0.1:{pipe.origin} | {second.path}/copy")
    second.server().up()
    stage.client(pipe.origin, port=second.port, name="other").up()
    pipe.append(b"two\n")
    pipe.arrives()
    wait_for_bytes(second.path / "copy", b"one\ntwo\n")
    pids = stage.pid_of(pipe.origin), stage.pid_of(pipe.origin, port=second.port)
    assert None not in pids
    assert pids[0] != pids[1]


def test_many_pipes(stage):
    """Twelve origins grow at once. The server is killed and started again in between. Every copy
    is its origin."""
    names = [stage.path / f"{number}.log" for number in range(12)]
    for name in names:
        name.write_bytes(b"first of " + name.name.encode() + b"\n")
    stage.configure(f"127.0.0.1:{stage.path}/*.log | {stage.path}/copy/%f")
    server = stage.server().up()
    clients = [stage.client(name, name=f"client{name.name}").start() for name in names]
    for client in clients:
        client.wait_log(client.ready)
    for turn in range(50):
        if turn == 25:
            server.kill()
            server.up()
        for name in names:
            append(name, b"%d of %s\n" % (turn, name.name.encode()))
    for name in names:
        wait_for_bytes(stage.path / "copy" / name.name, name.read_bytes())


def test_help_and_version(stage):
    """--help and --version of all programs end with 0 and say something."""
    for name in ("tcppipe", "tcppiped", "keep_tcppipe_alive"):
        program = stage.program(name) if name != "keep_tcppipe_alive" else None
        for option in ("--help", "--version"):
            if program:
                said = stage.run([*program, option])
                assert said.returncode == 0
                assert said.stdout
                assert said.stderr == ""


def test_check_of_a_configuration(stage):
    """tcppiped -T reads a configuration, prints its entries with their lines, and ends with 0."""
    stage.configure("# comment", "", "192.0.2.1:/a | /b | mode=0640")
    said = stage.run([*stage.program("tcppiped"), "-T", "-f", stage.conf])
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("3: 192.0.2.1:/a | /b")
