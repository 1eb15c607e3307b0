"""snmp_from_file: a real net-snmp agent starts it, and is asked by snmpget and snmpwalk."""

import io
import os
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import CHECKOUT, alive, wait_until

from tcppipe.programs import snmp_from_file

BASE = ".1.3.6.1.4.99"
NO_SUCH = "No Such Instance currently exists at this OID"


def free_udp_port():
    """A UDP port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Agent:
    """An snmpd on a stage, with a private port, configuration and directory."""

    def __init__(self, stage, need, registered=BASE, base=None):
        self.stage = stage
        self.need = need
        self.servers = stage.path / "snmp"
        self.servers.mkdir()
        self.address = f"127.0.0.1:{free_udp_port()}"
        self.conf = stage.path / "snmpd.conf"
        words = [*stage.program("snmp_from_file"), self.servers, *filter(None, [base])]
        self.conf.write_text(
            f"agentaddress udp:{self.address}\n"
            "rwcommunity public 127.0.0.1\n"
            f"pass_persist {registered} {' '.join(map(str, words))}\n"
        )
        self.env = {
            "SNMP_PERSISTENT_DIR": str(stage.path / "persistent"),
            "SNMPCONFPATH": str(stage.path / "none"),
            "MIBS": "",
        }
        argv = [*need("snmpd"), "-f", "-Le", "-C", "-c", self.conf, "-I", "pass_persist,vacm_conf"]
        self.process = stage.process("snmpd", argv, "NET-SNMP version", env=self.env)

    def status(self, server, text="OK\n", age=0):
        """Write what fetch_logs says of a server."""
        path = self.servers / server
        path.write_text(text)
        os.utime(path, (time.time() - age,) * 2)

    def ask(self, name, *words, options="-Oqn"):
        """Run one of net-snmp's programs: its output, or what it complains of."""
        how = ["-v2c", "-c", "public", "-r", "0", "-t", "10", options, self.address]
        done = self.stage.run([*self.need(name), *how, *words], env=self.env)
        return (done.stdout or done.stderr).strip()

    def get(self, suffix):
        """The value of one object."""
        return self.ask("snmpget", BASE + suffix, options="-Oqv")

    def walk(self, suffix=""):
        """What is found below an OID: a list of (suffix, value)."""
        lines = self.ask("snmpwalk", BASE + suffix).split("\n")
        pairs = [tuple(line.removeprefix(BASE).split(" ", 1)) for line in lines]
        return [pair for pair in pairs if "No more variables left" not in pair[1]]


@pytest.fixture
def agent(stage, need):
    """An agent with four servers, which runs."""
    agent = Agent(stage, need)
    agent.status("10.0.0.9")
    agent.status("10.0.0.10", "ERR\n")
    agent.status("9.255.255.255")
    agent.status("2001:db8::1")
    agent.status("www.example.com")
    agent.process.up()
    return agent


# --- with a real agent


def test_get(agent):
    """The original's OID and the one of its documentation; the value is the first line."""
    agent.status("10.0.0.9", "OK\nmore\n")
    assert agent.get(".1.10.0.0.9") == '"OK"'
    assert agent.get(".10.0.0.9") == '"OK"'
    assert agent.get(".1.10.0.0.10") == '"ERR"'
    assert agent.get(".2.32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1") == '"OK"'


def test_a_status_changes(agent):
    """Each answer is read anew, by the same process; a directory of one server more is, too."""
    agent.status("10.0.0.9", "ERR cannot write\n")
    assert agent.get(".10.0.0.9") == '"ERR cannot write"'
    agent.status("10.0.0.11")
    assert (".1.10.0.0.11", '"OK"') in agent.walk()
    assert len(agent.process.children()) == 1


def test_what_is_an_error(agent):
    """Not touched for two minutes, empty, unfinished, missing: as the original says it. A file of
    the future was touched before the clock was set back, and perhaps by nobody since."""
    where = agent.servers
    agent.status("10.0.0.1", age=119)
    agent.status("10.0.0.2", age=121)
    agent.status("10.0.0.3", "\n")
    agent.status("10.0.0.4", "OK")
    (where / "10.0.0.5").mkdir()
    os.mkfifo(where / "10.0.0.6")
    assert agent.get(".10.0.0.1") == '"OK"'
    assert agent.get(".10.0.0.2") == f'"ERR {where}/10.0.0.2 is stale"'
    agent.status("10.0.0.8", age=-100)
    agent.status("10.0.0.9", age=-3600)
    assert agent.get(".10.0.0.8") == '"OK"'
    assert agent.get(".10.0.0.9") == f'"ERR {where}/10.0.0.9 is stale"'
    assert agent.get(".10.0.0.3") == '"ERR NO DATA"'
    assert agent.get(".10.0.0.4") == '"ERR no EOL in reply"'
    assert agent.get(".10.0.0.5") == f'"ERR open {where}/10.0.0.5: Is a directory"'
    assert agent.get(".10.0.0.6") == '"ERR NO DATA"'
    assert agent.get(".10.0.0.7") == f'"ERR stat {where}/10.0.0.7: No such file or directory"'


def test_what_is_no_server(agent):
    """No address: no such instance."""
    for suffix in (".0", ".1.10.0", ".10.0.0.256", ".3.10.0.0.9", ".1.10.0.0.9.0"):
        assert NO_SUCH in agent.get(suffix)


def test_walk(agent):
    """Each server once, in the order of the numbers, whatever else is in the directory."""
    agent.status(".10.0.0.1")
    agent.status("10.0.0.012")
    agent.status("2001:DB8::2")
    name = "".join(f".{octet}" for octet in b"www.example.com")
    four = [(".1.9.255.255.255", '"OK"'), (".1.10.0.0.9", '"OK"'), (".1.10.0.0.10", '"ERR"')]
    six = [(".2.32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1", '"OK"')]
    assert agent.walk() == [*four, *six, (".256" + name, '"OK"')]
    assert agent.walk(".1") == four
    assert agent.walk(".1.10") == four[1:]
    assert agent.walk(".2") == six


def test_a_walk_over_a_thousand_servers(agent):
    """Each is there once."""
    servers = [f"10.1.{number // 250}.{number % 250}" for number in range(1000)]
    for server in servers:
        agent.status(server)
    assert agent.walk(".1.10.1") == [(f".1.{server}", '"OK"') for server in servers]


def test_set_is_refused(agent):
    """Whatever the value, and the next question is answered."""
    for kind, value in (("s", "x"), ("i", "1"), ("x", "0a67657461"), ("s", "a\nget\nb\nPING\n")):
        said = agent.ask("snmpset", f"{BASE}.1.10.0.0.9", kind, value)
        assert "notWritable" in said
        assert agent.get(".1.10.0.0.9") == '"OK"'


@pytest.mark.parametrize("base", [None, BASE, f"{BASE}.1"])
def test_registered_as_the_original_program_has_it(stage, need, base):
    """An agent that knows only the subtree of IPv4 addresses, whatever the program is told."""
    agent = Agent(stage, need, f"{BASE}.1", base)
    agent.status("10.0.0.9")
    agent.status("2001:db8::1")
    agent.process.up()
    assert agent.get(".1.10.0.0.9") == '"OK"'
    if base != f"{BASE}.1":
        assert agent.walk(".1") == [(".1.10.0.0.9", '"OK"')]


def test_the_program_ends_with_the_agent(agent):
    """Nothing is left behind, and a program that was killed is started again."""
    assert agent.get(".10.0.0.9") == '"OK"'
    (first,) = agent.process.children()
    os.kill(first, 9)
    wait_until(lambda: agent.get(".10.0.0.9") == '"OK"', "no answer from a new program")
    (second,) = agent.process.children()
    assert second != first
    agent.process.down()
    wait_until(lambda: not alive(second), "the program outlives the agent")


# --- without one


def asked(tmp_path, text, *more):
    """What the program says to these lines, until it ends by itself."""
    argv = [sys.executable, CHECKOUT / "bin" / "snmp_from_file", tmp_path, *more]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=15, env=env)


def test_it_ends_with_its_input(tmp_path):
    """At the end of the file, in the middle of a question as well: no output, status 0."""
    for text in ("", "PING\n", "get\n", "getnext\n.1", "set\n.1\n"):
        done = asked(tmp_path, text)
        assert (done.returncode, done.stderr) == (0, "")
    assert asked(tmp_path, "PING\n\nget\n.1.2\nPING\n").stdout == "PONG\nNONE\nPONG\n"


def test_another_base(tmp_path):
    """The second operand is where the subtree is."""
    (tmp_path / "10.0.0.1").write_text("OK\n")
    done = asked(tmp_path, "get\n.1.3.1.10.0.0.1\ngetnext\n.1\n", "1.3")
    assert done.stdout == ".1.3.1.10.0.0.1\nstring\nOK\n" * 2


@pytest.mark.parametrize("words", [["1.3.x"], [""], ["1", "2"], ["-x"]])
def test_wrong_command_lines(tmp_path, words):
    """One line that says what is wrong, and the usage; status 1."""
    done = asked(*([tmp_path, "", *words] if words != ["-x"] else ["-x", ""]))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("snmp_from_file: ") and "\nusage: " in done.stderr


@pytest.mark.parametrize("option, text", [("--help", "usage: "), ("--version", "snmp_from_file ")])
def test_options_that_only_ask(option, text):
    """Answered on standard output."""
    assert asked(option, "").stdout.startswith(text)


def test_a_reader_that_is_gone(tmp_path):
    """No complaint when nobody reads the answers."""
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, CHECKOUT / "bin" / "snmp_from_file", tmp_path]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            argv, input=b"PING\n", stdout=out, stderr=subprocess.PIPE, timeout=15, env=env
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_status_is_one_short_printable_line(tmp_path):
    """Control characters and endless lines do not reach the agent."""
    path = tmp_path / "a"
    path.write_bytes(b"\x1b[1m\0\t\xff" + b"x" * 300 + b"\nmore")
    assert snmp_from_file.status(str(path)) == b"?[1m??\xff" + b"x" * 248
    path.write_bytes(b"x" * 5000 + b"\n")
    assert snmp_from_file.status(str(path)) == b"ERR no EOL in reply"


def test_an_unchanged_directory_is_read_once(tmp_path, monkeypatch):
    """A directory that has not changed for some time is not listed again."""
    (tmp_path / "10.0.0.1").write_text("OK\n")
    tree = snmp_from_file.Servers(str(tmp_path), BASE)
    os.utime(tmp_path, (1, 1))
    first = tree.getnext((1,))
    monkeypatch.setattr(os, "listdir", None)
    assert tree.getnext((1,)) == first
    assert tree.getnext(first[0]) is None


def test_no_directory(tmp_path):
    """There are no servers, and it may come later."""
    tree = snmp_from_file.Servers(str(tmp_path / "later"), BASE)
    assert tree.getnext((1,)) is None
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "10.0.0.1").write_text("OK\n")
    assert tree.getnext((1,)) == ((1, 3, 6, 1, 4, 99, 1, 10, 0, 0, 1), b"OK")


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"get", b"getnext", b"set", b"PING", b"", b".1", b"."]),
        st.lists(st.integers(0, 300), max_size=20).map(
            lambda suffix: BASE.encode() + b"".join(b".%d" % number for number in suffix)
        ),
        st.binary(max_size=30),
    ),
    max_size=12,
).map(b"\n".join)


@given(LINES)
def test_no_question_upsets_it(text):
    """Any lines: whole answers, and nothing that was not asked for."""
    answers = io.BytesIO()
    snmp_from_file.serve(io.BytesIO(text), answers, snmp_from_file.Servers("/nonexistent", BASE))
    lines = answers.getvalue().split(b"\n")
    assert lines.pop() == b""
    while lines:
        if lines[0] in (b"PONG", b"NONE", b"not-writable"):
            del lines[0]
        else:
            assert lines[1] == b"string" and lines[2].startswith(b"ERR stat /nonexistent/")
            del lines[:3]


NAMES = st.one_of(
    st.ip_addresses().map(str),
    st.text(st.sampled_from("abz09.-_:"), min_size=1, max_size=20),
    st.text(max_size=8),
)


@given(NAMES)
def test_a_name_and_its_numbers(name):
    """What is listed can be asked for, and no two names have the same numbers."""
    suffix = snmp_from_file._suffix(name)
    if suffix is not None:
        assert snmp_from_file._server(suffix) == name


@given(st.lists(st.integers(0, 300), max_size=18).map(tuple))
def test_numbers_lead_to_no_other_directory(suffix):
    """Whoever may ask, files outside the directory are not read."""
    name = snmp_from_file._server(suffix)
    assert name is None or ("/" not in name and name not in ("", ".", ".."))
