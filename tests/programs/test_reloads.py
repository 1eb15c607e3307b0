"""HUP to tcppiped: the configuration is read again, and only what has changed changes."""

import os

from stage import append, content, wait_for_bytes, wait_until


def two(stage):
    """Two pipes that run on one server: the first, and (origin, copy, client, entry) of another."""
    pipe = stage.pipe(b"one\n")
    origin, copy = stage.path / "b.log", stage.path / "copy" / "b.log"
    origin.write_bytes(b"1\n")
    entry = f"127.0.0.1:{origin} | {copy}"
    stage.configure(pipe.entry, entry)
    pipe.up()
    client = stage.client(origin, name="other").up()
    wait_for_bytes(copy, b"1\n")
    return pipe, (origin, copy, client, entry)


def test_new_entry_holds_without_hup(pipe):
    """A server runs. An entry is added to its configuration. A new connection finds it at once,
    and the other pipe does not notice."""
    pipe.up()
    stage = pipe.stage
    other = stage.path / "b.log"
    other.write_bytes(b"other\n")
    assert stage.ask(["-d"], other).returncode == 1
    stage.configure(pipe.entry, f"127.0.0.1:{other} | {stage.path}/copy/b.log")
    stage.client(other, name="other").up()
    wait_for_bytes(stage.path / "copy" / "b.log", b"other\n")
    assert "connects again" not in pipe.client.log


def test_new_entry_written_in_place(pipe):
    """The same, and the entry is appended to the file in place, as an editor may do."""
    pipe.up()
    other = pipe.stage.path / "b.log"
    other.write_bytes(b"other\n")
    append(pipe.stage.conf, f"127.0.0.1:{other} | {pipe.stage.path}/b.copy\n".encode())
    pipe.stage.client(other, name="other").up()
    wait_for_bytes(pipe.stage.path / "b.copy", b"other\n")


def test_removed_entry_ends_its_connection(stage):
    """An entry is removed. Its pipe goes on until HUP to the server; then the client is told, and
    says so once. The other pipe keeps its connection. The entry is written again: with HUP to the
    client it goes on where it was, at once."""
    pipe, (origin, copy, client, entry) = two(stage)
    stage.configure(pipe.entry)
    append(origin, b"still\n")
    wait_for_bytes(copy, b"1\nstill\n")
    before = pipe.server.children()
    pipe.server.hup()
    client.wait_log(f"{origin}: 127.0.0.1:{stage.port}: no longer configured")
    append(origin, b"meanwhile\n")
    pipe.append(b"two\n")
    pipe.arrives()
    assert "connect" not in pipe.client.log
    wait_until(lambda: len(pipe.server.children()) == 1, "the child stays")
    assert set(pipe.server.children()) <= set(before)
    stage.configure(pipe.entry, entry)
    client.hup()
    wait_for_bytes(copy, b"1\nstill\nmeanwhile\n")


def test_removed_entry_of_a_detached_client(stage):
    """The same for a client in the background: it stays, and goes on when told to."""
    pipe = stage.pipe(b"one\n")
    pipe.server.up()
    assert stage.ask([], pipe.origin).returncode == 0
    pipe.arrives()
    stage.configure("# nothing")
    pipe.server.hup()
    wait_until(lambda: not pipe.server.children(), "the child stays")
    pipe.append(b"two\n")
    stage.configure(pipe.entry)
    assert stage.pid_of(pipe.origin) is not None
    assert stage.ask(["-K", "HUP"], pipe.origin).returncode == 0
    pipe.arrives()


def test_broken_configuration_is_refused_whole(stage):
    """The configuration is broken in its third line, an entry is missing and one is new. HUP is
    answered with the line's number, and all is as before: both pipes go on, the missing entry
    holds for new connections, the new one does not."""
    pipe, (origin, copy, client, entry) = two(stage)
    new = stage.path / "new.log"
    new.write_bytes(b"new\n")
    stage.configure(pipe.entry, f"127.0.0.1:{new} | {stage.path}/new", "h:/x | relative")
    pipe.server.hup()
    pipe.server.wait_log(f"{stage.conf}:3: .*relative")
    for path, text in ((pipe.origin, b"two\n"), (origin, b"2\n")):
        append(path, text)
    pipe.arrives()
    wait_for_bytes(copy, b"1\n2\n")
    assert "connect" not in pipe.client.log + client.log
    assert stage.ask(["-d"], new).returncode == 1
    client.down()
    client.up()
    append(origin, b"3\n")
    wait_for_bytes(copy, b"1\n2\n3\n")
    stage.configure(pipe.entry, entry, f"127.0.0.1:{new} | {stage.path}/new")
    pipe.server.hup()
    pipe.server.wait_log("read again, 3 entries")
    stage.client(new, name="new").up()
    wait_for_bytes(stage.path / "new", b"new\n")


def test_configuration_vanishes(stage):
    """The configuration is removed. HUP says so and keeps what was read."""
    pipe, (origin, copy, client, _entry) = two(stage)
    os.unlink(stage.conf)
    pipe.server.hup()
    pipe.server.wait_log(f"{stage.conf}: cannot read: No such file or directory")
    client.down()
    client.up()
    append(origin, b"2\n")
    wait_for_bytes(copy, b"1\n2\n")
    pipe.append(b"two\n")
    pipe.arrives()


def test_destination_is_changed(pipe):
    """The entry of a running pipe gets another destination. After HUP what comes goes there; the
    pipe goes on by itself; nothing is lost."""
    pipe.up()
    moved = pipe.stage.path / "moved"
    pipe.stage.configure(f"127.0.0.1:{pipe.origin} | {moved}")
    pipe.server.hup()
    pipe.client.wait_log(": connected to ")
    pipe.append(b"four\n")
    wait_until(lambda: content(moved).endswith(b"four\n"), lambda: content(moved))
    assert content(pipe.copy) == b"one\ntwo\nthree\n"
    assert pipe.client.running


def test_lines_change_places(stage):
    """Entries are reordered, comments added, blanks changed. HUP disturbs no pipe."""
    pipe, (origin, copy, client, entry) = two(stage)
    stage.configure("# a comment", entry.replace(" | ", "\t|   "), "", f"  {pipe.entry}  ")
    before = pipe.server.children()
    pipe.server.hup()
    pipe.server.wait_log("read again, 2 entries")
    pipe.append(b"two\n")
    append(origin, b"2\n")
    pipe.arrives()
    wait_for_bytes(copy, b"1\n2\n")
    assert pipe.server.children() == before
    assert "connect" not in pipe.client.log + client.log


def test_refused_at_any_time(pipe):
    """The connection is lost, and the entry is gone when the client comes back. It is refused, says
    so once, and does not give up: soon after the entry is there again it goes on by itself."""
    pipe.up()
    pipe.stage.configure("# nothing")
    for child in pipe.server.children():
        os.kill(child, 9)
    pipe.append(b"meanwhile\n")
    pipe.client.wait_log(f"{pipe.origin}: 127.0.0.1:{pipe.stage.port}: refused: for now: no entry ")
    pipe.stage.configure(pipe.entry)
    pipe.arrives(seconds=30)
    assert pipe.client.log.count("no entry") == 1
