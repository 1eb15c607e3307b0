"""Where things are kept, what they are called, and who is running."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import lockfile
import pytest

from tcppipe.errors import ConfigError
from tcppipe.process import paths
from tcppipe.process.owner import _flock_layout, lock_path, owner, send
from tcppipe.process.pidfile import PidFile

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
ENV = {"PYTHONPATH": PYTHONPATH, "PATH": os.environ["PATH"]}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

HOLD = """
import sys
from tcppipe.process.pidfile import PidFile
held = PidFile(sys.argv[1])
held.acquire()
print("held", flush=True)
sys.stdin.read()
held.release()
"""


def python(script, *argv, **more):
    """A Python process that runs a script and knows this project."""
    more = {"env": ENV, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([sys.executable, "-c", script, *map(str, argv)], **more)


def ask(function, *arguments, user=None, env=None):
    """What a function says in another process, perhaps another user's, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            try:
                answer = str(function(*arguments))
            except (ConfigError, OSError) as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as file:
        return file.read()


@contextmanager
def holder(path):
    """A living process that holds a pid file."""
    process = python(HOLD, path)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def pidfile(tmp_path):
    """The path of a pid file that is not there yet."""
    return str(tmp_path / "a.pid")


@pytest.fixture
def stranger():
    """Another user, and a directory in /tmp that is the private one of that user's."""
    uid = 100000 + os.getpid()
    private = f"/tmp/tcppipe-{uid}"
    yield uid, private
    with suppress(OSError):
        os.unlink(private)
    shutil.rmtree(private, ignore_errors=True)


def test_directories_from_argument_then_environment(monkeypatch, tmp_path):
    """An option wins over the environment variable, and both over the usual places."""
    monkeypatch.setenv("TCPPIPE_RUN_DIR", "/from/env/run")
    monkeypatch.setenv("TCPPIPE_STATE_DIR", "/from/env/state")
    assert paths.run_dir() == "/from/env/run"
    assert paths.run_dir("/given") == "/given"
    assert paths.state_dir() == "/from/env/state"
    assert paths.state_dir("/given") == "/given"
    monkeypatch.chdir(tmp_path)
    assert paths.run_dir("here") == f"{tmp_path}/here"


@root_only
@pytest.mark.parametrize("env", [{}, {"TCPPIPE_RUN_DIR": "", "TCPPIPE_STATE_DIR": ""}])
def test_directories_of_root(env):
    """Root uses the system's places; an empty variable is as good as none."""
    assert ask(paths.run_dir, env=env) == "/var/run"
    assert ask(paths.state_dir, env=env) == "/var/lib/tcppipe"


@root_only
def test_directories_of_a_user(stranger):
    """Who may not write to the system's places gets the XDG ones without being asked."""
    user, private = stranger
    assert ask(paths.run_dir, user=user, env={}) == private
    env = {"HOME": "/home/x"}
    assert ask(paths.state_dir, user=user, env=env) == "/home/x/.local/state/tcppipe"
    env["XDG_STATE_HOME"] = "/x/state"
    assert ask(paths.state_dir, user=user, env=env) == "/x/state/tcppipe"
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        env = {"XDG_RUNTIME_DIR": base}
        assert ask(paths.run_dir, user=user, env=env) == private  # it is another user's
        os.chown(base, user, user)
        assert ask(paths.run_dir, user=user, env=env) == base + "/tcppipe"


@root_only
def test_private_directory_is_made_safely(stranger):
    """The directory in /tmp is for its user alone, and is found again."""
    user, private = stranger
    assert ask(paths.ensure, private, user=user, env={}) == private
    assert os.stat(private).st_mode & 0o777 == 0o700
    assert os.stat(private).st_uid == user
    assert ask(paths.run_dir, user=user, env={}) == private
    assert ask(paths.ensure, private, user=user, env={}) == private


@root_only
@pytest.mark.parametrize("trap", ["foreign", "writable", "symlink", "file"])
def test_private_directory_is_refused_if_somebody_was_there_first(stranger, trap):
    """A directory in /tmp that others own, may write to, or have pointed elsewhere is not used."""
    user, private = stranger
    if trap == "symlink":
        os.symlink("/tmp", private)
    elif trap == "file":
        Path(private).touch()
    else:
        os.mkdir(private)
    if trap != "foreign":
        os.chown(private, user, user, follow_symlinks=False)
    if trap == "writable":
        os.chmod(private, 0o770)
    for answer in (
        ask(paths.run_dir, user=user, env={}),
        ask(paths.ensure, private, user=user, env={}),
    ):
        assert answer.startswith(f"ConfigError: {private}: ")


def test_ensure_makes_parents(tmp_path):
    """Missing parents are made too; what is there already is left as it is."""
    path = str(tmp_path / "a" / "b" / "c")
    assert paths.ensure(path, 0o700) == path
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "a").st_mode & 0o022 == 0
    assert paths.ensure(path, 0o755) == path
    assert os.stat(path).st_mode & 0o777 == 0o700


def test_ensure_says_why_not(tmp_path):
    """A file in the way is a line for the administrator."""
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match="cannot make this directory"):
        paths.ensure(str(tmp_path / "a" / "b"))


def test_names_are_readable():
    """A name tells host, port and path; what is special in file names is encoded."""
    assert paths.pipe_base("archive", 6514, "/var/log/messages") == (
        "archive-6514.%2Fvar%2Flog%2Fmessages"
    )
    assert paths.pipe_base("::1", 1, "/a b%") == "%3a%3a1-1.%2Fa%20b%25"
    assert paths.pipe_base("h", 1, os.fsdecode(b"/\xff\n")) == "h-1.%2F%FF%0A"


def test_names_do_not_collide():
    """Different pipes have different names, those that the original mixed up too."""
    hosts = ["a", "a-1", "a-1.b", "a/b", "a-1./b", "a%2Fb", "::1"]
    files = [
        "/x",
        "/x.pid",
        "/X",
        "/x/y",
        "/x%2Fy",
        "/x-1.",
        "/é",
        "/srv/ab/x.log",
        "/srv/ba/x.log",
    ]
    files += [f"/{'a' * 300}/{n}" for n in range(3)]
    pipes = [(host, port, path) for host in hosts for port in (1, 11) for path in files]
    assert len({paths.pipe_base(*pipe) for pipe in pipes}) == len(pipes)


def test_capitals_in_a_host_name_do_not_matter():
    """Archive and archive are the same host, so it is the same pipe."""
    assert paths.pipe_base("Archive", 1, "/x") == paths.pipe_base("archive", 1, "/x")


def test_long_names_fit_and_cannot_be_forged():
    """A long path gets a digest; no other path can be chosen to have that very name."""
    name = paths.pipe_base("archive", 6514, "/" + "é" * 2000)
    assert len(name + ".pipe") < 256
    assert name.startswith("archive-6514.%2F%C3%A9")
    assert paths.pipe_base("archive", 6514, "/" + name[len("archive-6514.%2F") :]) != name


def test_names_of_the_original():
    """The original's hash is found again, letters in any order, padded, and negative too."""
    assert paths.original_base("h", 6514, "/srv/ab/x.log") == "h-6514.x.log.6385"
    assert paths.original_base("h", 6514, "/srv/ba/x.log") == "h-6514.x.log.6385"
    assert paths.original_base("h", 6514, "/") == "h-6514..  47"
    # 47 * (0xc3 - 256) = -2867, * (0xa9 - 256) = 249429, C's remainder by 8191: 3699
    assert paths.original_base("h", 1, "/é") == "h-1.é.3699"
    assert paths.original_base("h", 1, os.fsdecode(b"/\xc3")) == "h-1.\udcc3.-2867"


@pytest.mark.parametrize(
    ("platform", "type_at", "pid_at"), [("linux", 0, 24), ("freebsd14", 20, 16), ("darwin", 20, 16)]
)
def test_layout_of_struct_flock(platform, type_at, pid_at):
    """Type and pid stand where the headers of each system put them."""
    layout, kind, pid = _flock_layout(platform)
    fields = [0] * (len(layout) - 1)
    fields[kind], fields[pid] = 0x1234, 0x12345678
    packed = struct.pack(layout, *fields)
    assert struct.unpack_from("@h", packed, type_at) == (0x1234,)
    assert struct.unpack_from("@i", packed, pid_at) == (0x12345678,)


def test_owner_of_a_living_process(pidfile):
    """While a process holds the file, it is named, and the number can be read as well."""
    assert owner(pidfile) is None
    with holder(pidfile) as process:
        assert owner(pidfile) == process.pid
        assert Path(pidfile).read_text() == f"{process.pid}\n"
        process.stdin.close()
        process.wait()
        assert owner(pidfile) is None
        assert not os.path.exists(pidfile)


def test_owner_killed(pidfile):
    """After kill -9 the number still stands there, but nobody runs; the next one can start."""
    with holder(pidfile) as process:
        process.kill()
        process.wait()
        assert Path(pidfile).read_text() == f"{process.pid}\n"
        assert owner(pidfile) is None
    with PidFile(pidfile):
        assert Path(pidfile).read_text() == f"{os.getpid()}\n"


def test_number_now_of_another_process(pidfile):
    """A stale number that belongs to an innocent process by now is not believed."""
    with holder(pidfile + ".other") as innocent:
        Path(pidfile).write_text(f"{innocent.pid}\nand more of it\n")
        assert owner(pidfile) is None
        assert send(pidfile, signal.SIGKILL) is None
        with PidFile(pidfile):
            assert Path(pidfile).read_text() == f"{os.getpid()}\n"
        assert owner(pidfile + ".other") == innocent.pid


def test_second_starter_is_told_who_runs(pidfile):
    """AlreadyLocked carries the owner's pid, and the owner's file is untouched."""
    with holder(pidfile) as process:
        with pytest.raises(lockfile.AlreadyLocked, match=f"process {process.pid}$"):
            PidFile(pidfile).acquire()
        assert owner(pidfile) == process.pid
        assert Path(pidfile).read_text() == f"{process.pid}\n"


def test_starters_at_once(pidfile):
    """Of many that start at the same instant exactly one wins, whatever a dead one has left."""
    script = """
import sys, os, lockfile
from tcppipe.process.pidfile import PidFile
gate, end = map(int, sys.argv[2:])
os.read(gate, 1)
try:
    PidFile(sys.argv[1]).acquire()
    print("won", flush=True)
except lockfile.AlreadyLocked:
    print("lost", flush=True)
os.read(end, 1)
"""
    for number in range(5):
        Path(pidfile).write_text("1\n" * number)
        gate, end = os.pipe(), os.pipe()
        starters = [
            python(script, pidfile, gate[0], end[0], pass_fds=(gate[0], end[0])) for _ in range(6)
        ]
        os.close(gate[1])
        words = [starter.stdout.readline() for starter in starters]
        assert owner(pidfile) == starters[words.index("won\n")].pid
        os.close(end[1])
        for starter in starters:
            starter.communicate(timeout=30)
        os.close(gate[0])
        os.close(end[0])
        assert sorted(words) == ["lost\n"] * 5 + ["won\n"]


def test_taking_and_letting_go_at_once(pidfile, tmp_path):
    """The file is removed and made again all the time, and still never has two owners."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    script = """
import sys, lockfile
from tcppipe.process.pidfile import PidFile
done = 0
while done < 100:
    try:
        with PidFile(sys.argv[1]):
            number = int(open(sys.argv[2]).read())
            open(sys.argv[2], "w").write(str(number + 1))
            done += 1
    except lockfile.AlreadyLocked:
        pass
"""
    workers = [python(script, pidfile, counter) for _ in range(4)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 4
    for worker in workers:
        worker.communicate()
    assert counter.read_text() == "400"


def test_asking_for_oneself_does_not_let_go(pidfile):
    """The owner may ask who the owner is, and try again, without losing the lock."""
    with PidFile(pidfile) as mine:
        assert owner(pidfile) == mine.read_pid() == os.getpid()
        assert mine.is_locked()
        assert mine.i_am_locking()
        with pytest.raises(lockfile.AlreadyLocked):
            PidFile(pidfile).acquire()
        with pytest.raises(lockfile.AlreadyLocked):
            mine.acquire()
        assert ask(owner, pidfile) == str(os.getpid())
    assert not mine.is_locked()
    assert not os.path.exists(pidfile)


def test_forked_child_does_not_hold_it(pidfile):
    """A child has the object and the descriptor, but neither the lock nor the right to remove."""
    with PidFile(pidfile) as mine:
        pid = os.fork()
        if pid == 0:
            status = 1
            with suppress(BaseException):
                mine.__exit__(None, None, None)
                assert not mine.i_am_locking()
                assert owner(pidfile) == os.getppid()
                try:
                    mine.release()
                except lockfile.NotMyLock:
                    status = 0
            os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert ask(owner, pidfile) == str(os.getpid())


def test_forked_child_forgets_it(pidfile):
    """A child lets go of the descriptors, and its parent holds the file as before."""
    with PidFile(pidfile) as mine:
        pid = os.fork()
        if pid == 0:
            before = len(os.listdir("/proc/self/fd"))
            mine.forget()
            mine.forget()
            same = owner(pidfile) == os.getppid()
            os._exit(0 if same and len(os.listdir("/proc/self/fd")) == before - 2 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert ask(owner, pidfile) == str(os.getpid())


def test_release_and_break_lock(pidfile):
    """What is not locked cannot be released; a dead one's file can be removed, a living one's not."""
    lock = PidFile(pidfile)
    with pytest.raises(lockfile.NotLocked):
        lock.release()
    Path(pidfile).write_text("1\n")
    lock.break_lock()
    assert not os.path.exists(pidfile)
    with holder(pidfile), pytest.raises(lockfile.AlreadyLocked):
        lock.break_lock()
    lock.acquire()
    lock.break_lock()
    assert not lock.is_locked()


def test_release_leaves_a_foreign_file(pidfile):
    """A file that somebody has put in the place of ours is not removed."""
    with PidFile(pidfile):
        os.rename(pidfile, pidfile + ".away")
        Path(pidfile).write_text("not ours\n")
    assert Path(pidfile).read_text() == "not ours\n"


@pytest.mark.parametrize("trap", ["symlink", "hard link", "fifo", "no directory"])
def test_pid_file_that_is_no_plain_file(pidfile, tmp_path, trap):
    """A link to a precious file, a fifo or a missing directory is an error, and nothing is harmed."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    if trap == "symlink":
        os.symlink(precious, pidfile)
        with pytest.raises(OSError, match="symbolic link"):
            owner(pidfile)
    elif trap == "hard link":
        os.link(precious, pidfile)
    elif trap == "fifo":
        os.mkfifo(pidfile)
    else:
        pidfile = str(tmp_path / "none" / "a.pid")
        assert owner(pidfile) is None
    with pytest.raises(lockfile.LockFailed):
        PidFile(pidfile).acquire()
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("x", path)])
@pytest.mark.parametrize("of", [str, lock_path])
def test_which_file_it_is_that_is_no_plain_file(pidfile, make, of):
    """There are two, and whoever has to remove one is told which."""
    make(of(pidfile))
    with pytest.raises(
        lockfile.LockFailed, match=f"^{of(pidfile)}: cannot lock: .*([Ii]s a|regular)"
    ):
        PidFile(pidfile).acquire()


LOCK = """
import fcntl, sys
file = open(sys.argv[1], sys.argv[2])
fcntl.lockf(file, fcntl.LOCK_SH if sys.argv[2] == "r" else fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@root_only
def test_reader_keeps_nobody_out():
    """Who may only read the pid file can lock it for reading: he is not taken for the program,
    does not keep it from starting, and others still learn from the kernel who runs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chmod(base, 0o755)
        pidfile = base + "/a.pid"
        Path(pidfile).touch(0o644)
        told, tell = os.pipe()
        reader = os.fork()
        if reader == 0:
            with suppress(BaseException):
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                with open(pidfile) as file:
                    fcntl.lockf(file, fcntl.LOCK_SH)
                    os.write(tell, b"locked")
                    signal.pause()
            os._exit(1)
        assert os.read(told, 10) == b"locked"
        assert owner(pidfile) is None
        with PidFile(pidfile):
            assert ask(owner, pidfile) == str(os.getpid())
            assert ask(owner, pidfile, user=65534) == str(os.getpid())
            assert Path(pidfile).read_text() == f"{os.getpid()}\n"
        assert ask(owner, pidfile) == "None"
        assert os.listdir(base) == []
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
        os.close(told)
        os.close(tell)


@root_only
def test_what_counts_can_only_be_opened_by_its_owner(tmp_path):
    """Nobody else can open the file whose lock counts, whatever the umask."""
    before = os.umask(0)
    try:
        with PidFile(str(tmp_path / "a.pid")), PidFile(str(tmp_path / "b.lock")):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"a.pid": 0o644, "a.lock": 0o600, "b.lock": 0o600}


def test_an_older_version_runs(pidfile):
    """A program from before, which locks its pid file and knows of no other lock, is seen."""
    Path(pidfile).touch()
    older = python(LOCK, pidfile, "r+")
    assert older.stdout.readline() == "locked\n"
    assert owner(pidfile) == older.pid
    with pytest.raises(lockfile.AlreadyLocked, match=f"process {older.pid}$"):
        PidFile(pidfile).acquire()
    older.communicate()
    with PidFile(pidfile):
        newer = python(LOCK.replace("LOCK_EX", "LOCK_EX | fcntl.LOCK_NB"), pidfile, "r+")
        assert newer.stdout.readline() == ""  # an older version cannot start beside us
        newer.communicate()


@root_only
def test_any_user_may_ask():
    """The umask of a daemon does not hide from other users who runs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chmod(base, 0o755)
        before = os.umask(0o077)
        try:
            with PidFile(base + "/a.pid"):
                answer = ask(owner, base + "/a.pid", user=65534)
        finally:
            os.umask(before)
    assert answer == str(os.getpid())


def test_daemon_context_takes_it(pidfile):
    """python-daemon can be given this pid file as one of lockfile's."""
    script = """
import sys, daemon, os
from tcppipe.process.owner import owner, lock_path
from tcppipe.process.pidfile import PidFile
lock = PidFile(sys.argv[1])
with daemon.DaemonContext(pidfile=lock, detach_process=False, files_preserve=[1], stdout=sys.stdout):
    print(owner(sys.argv[1]) == os.getpid(), lock.i_am_locking(), flush=True)
print(lock.is_locked(), flush=True)
"""
    assert python(script, pidfile).communicate(timeout=30)[0] == "True True\nFalse\n"


def test_send(pidfile):
    """The signal goes to the holder, whose pid is returned; with nobody there it is no error."""
    assert send(pidfile, signal.SIGTERM) is None
    with holder(pidfile) as process:
        assert send(pidfile, signal.SIGTERM) == process.pid
        assert process.wait(timeout=30) == -signal.SIGTERM
        assert send(pidfile, signal.SIGTERM) is None


def test_send_without_process_handles(pidfile, monkeypatch):
    """On systems without pidfd_open the signal gets there too."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    with holder(pidfile) as process:
        assert send(pidfile, signal.SIGTERM) == process.pid
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_no_descriptor_is_left_open(pidfile):
    """After all of it only as many descriptors are open as before."""

    def next_free():
        fd = os.open("/dev/null", os.O_RDONLY)
        os.close(fd)
        return fd

    before = next_free()
    with holder(pidfile):
        free = next_free()
        owner(pidfile)
        with pytest.raises(lockfile.AlreadyLocked):
            PidFile(pidfile).acquire()
        assert next_free() == free
    with PidFile(pidfile) as lock:
        assert fcntl.fcntl(lock._fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert next_free() == before


def test_import_budget():
    """`tcppipe -I` has a few milliseconds: what it imports is counted on one's fingers."""

    def loaded(script):
        words = [sys.executable, "-X", "importtime", "-c", script]
        run = subprocess.run(words, env=ENV, capture_output=True, text=True, check=True)
        return {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}

    script = (
        "from tcppipe.process import owner, paths\nowner.owner('/x'), paths.pipe_base('h', 1, '/x')"
    )
    extra = loaded(script) - loaded("pass")
    ours = {
        "tcppipe",
        "tcppipe.errors",
        "tcppipe.process",
        "tcppipe.process.paths",
        "tcppipe.process.owner",
    }
    assert extra - {"os", "sys", "fcntl", "errno", "struct", "_struct"} == ours
