"""Where messages go: syslogd, and a terminal."""

import os
import re
import socket
import subprocess
import time

import pytest

from tcppipe.process.outlets import Stream, Syslog


def syslogd(path, kind=socket.SOCK_DGRAM):
    """A syslogd that listens there."""
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(str(path))
    if kind == socket.SOCK_STREAM:
        server.listen(1)
    server.settimeout(10)
    return server


def heard(server):
    """What it is sent next, without time and pid."""
    line = server.recv(65536).decode()
    found = re.fullmatch(r"(<\d+>)[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (\w+)\[(\d+)\]: (.*)", line)
    assert found and int(found[3]) == os.getpid(), line
    return found[1], found[2], found[4]


@pytest.fixture
def path(tmp_path):
    """Where a syslogd may listen."""
    return tmp_path / "log"


def test_a_deaf_syslogd_holds_nobody_up(path):
    """When its socket is full, messages are dropped and counted; when it reads again, it is told
    how many there were."""
    log = Syslog("x", [str(path)])
    with syslogd(path) as server:
        taken = 0
        while log.put(3, f"line {taken}"):
            taken += 1
        before = time.monotonic()
        for _ in range(1000):
            assert not log.put(3, "nobody hears this")
        assert time.monotonic() - before < 10
        for number in range(taken):
            assert heard(server) == ("<171>", "x", f"line {number}")
        assert log.put(3, "again")
        text = "1001 messages were dropped: syslogd did not take them"
        assert heard(server) == ("<172>", "x", text)
        assert heard(server) == ("<171>", "x", "again")
    log.close()


def test_syslogd_is_started_anew(path):
    """A message after its restart reaches the new one."""
    log = Syslog("x", [str(path)])
    with syslogd(path) as server:
        log.put(6, "one")
        assert heard(server)[2] == "one"
    assert not log.put(6, "lost")
    path.unlink()
    assert not log.put(6, "lost, too")
    with syslogd(path) as server:
        assert log.put(6, "two")
        assert heard(server)[2] == "2 messages were dropped: syslogd did not take them"
        assert heard(server)[2] == "two"
    log.close()


def test_syslogd_takes_a_stream(path):
    """A syslogd that wants a stream gets one, with a NUL behind each message, each whole: also of
    two processes, and when it is slow."""
    log = Syslog("x", [str(path)])
    with syslogd(path, socket.SOCK_STREAM) as server:
        taken = 0
        while log.put(3, f"{taken} {'x' * 900}"):
            taken += 1
        near, _ = server.accept()
        near.settimeout(10)
        data = near.recv(1 << 20)
        while not log.put(3, "end"):
            data += near.recv(1 << 20)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if log.put(3, "child") else 1)
        assert os.waitpid(pid, 0)[1] == 0
        other, _ = server.accept()
        other.settimeout(10)
        assert other.recv(1000).endswith(b": child\0")
        log.close()
        while more := near.recv(1 << 20):
            data += more
        near.close()
        other.close()
    messages = data.decode().split("\0")
    assert messages.pop() == ""
    assert all(re.match(r"<17\d>.*x\[\d+\]: ", message) for message in messages)
    texts = [message.partition("]: ")[2].split()[0] for message in messages]
    assert [text for text in texts if text.isdigit()][:taken] == [str(n) for n in range(taken)]
    assert texts[-1] == "end"


def test_a_descriptor_that_was_closed_is_not_ours(path, tmp_path):
    """Somebody closes all descriptors (a detaching), and a file gets the number: it stays empty,
    and what is said reaches syslogd."""
    log = Syslog("x", [str(path)])
    with syslogd(path) as server:
        log.put(6, "before")
        number = log._sock.fileno()
        os.close(number)
        fd = os.open(tmp_path / "archive", os.O_RDWR | os.O_CREAT)
        assert fd == number
        assert log.put(6, "after")
        log.close()
        assert [heard(server)[2], heard(server)[2]] == ["before", "after"]
        os.write(fd, b"ours")
        assert os.pread(fd, 100, 0) == b"ours"
        os.close(fd)


def test_a_reader_that_does_not_read_holds_nobody_up():
    """Standard error is a pipe that is full: messages are dropped, and counted."""
    read, write = os.pipe()
    stream = Stream(write, "standard error", lambda _priority, line: line)
    taken = 0
    while stream.put(3, "x" * 100):
        taken += 1
    assert not stream.put(3, "dropped")
    os.read(read, 1 << 20)
    assert stream.put(3, "again")
    text = b"2 messages were dropped: standard error did not take them\nagain\n"
    assert os.read(read, 1 << 20) == text
    assert taken > 100
    os.close(read)
    assert stream.put(3, "to nobody")
    os.close(write)


def test_the_journal_is_known(monkeypatch):
    """Standard error that systemd's journal reads is known by what systemd says of it."""
    read, write = os.pipe()
    stream = Stream(write, "standard error", lambda _priority, line: line)
    assert not stream.is_journal
    status = os.fstat(write)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert stream.is_journal
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert not stream.is_journal
    os.close(read)
    os.close(write)


def test_a_full_disk_of_the_log(tmp_path, need):
    """What a full disk does not take is counted, and no line is torn: its rest comes first."""
    need("root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], check=True)
    try:
        filler = os.open(tmp_path / "filler", os.O_WRONLY | os.O_CREAT)
        with open(tmp_path / "log", "ab", buffering=0) as log:
            stream = Stream(log.fileno(), "standard error", lambda _priority, line: line)
            lines = ["a" * 4095, "b" * 4095]
            assert all(stream.put(3, line) for line in lines)
            os.write(filler, bytes(4096))  # a page is left, and then none
            assert stream.put(3, "c" * 5000)
            assert not stream.put(3, "dropped")
            assert not stream.put(3, "dropped, too")
            os.ftruncate(filler, 0)
            assert stream.put(3, "again")
        said = (tmp_path / "log").read_text().splitlines()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
    dropped = "2 messages were dropped: standard error did not take them"
    assert said == [*lines, "c" * 5000, dropped, "again"]
