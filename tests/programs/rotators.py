"""The programs that rotate logs in the field, each with an application that writes to its log.

Real ones are run; those that need a Java machine, a container engine or a cluster are
imitated, system call by system call.  A rotator knows what was written to each generation.
"""

import gzip
import importlib
import logging.handlers
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from stage import append, content, forget_faketime, wait_until

SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Rotator(ABC):
    """An application that opens `log` for each write, and something that rotates it.

    name: of the log in its directory.  glob: what its rotated files are called there.  options:
    those that tcppipe needs to know it.  programs: the commands that it needs.
    """

    name = "app.log"
    glob = "app.log*"
    options = ()
    programs = ()

    def __init__(self, stage, directory):
        self.stage = stage
        self.directory = Path(directory)
        self.log = self.directory / self.name
        self.generations = [b""]
        self.turn = 0

    @property
    def written(self):
        """All that was ever written."""
        return b"".join(self.generations)

    def begin(self, data):
        """Make the log."""
        self.log.write_bytes(data)
        self.generations = [data]

    def write(self, data):
        """The application writes."""
        append(self.log, data)
        self.generations[-1] += data

    def rotate(self):
        """It rotates; the next write is the first of a new generation."""
        self.turn += 1
        self.turned()
        self.generations.append(b"")

    @abstractmethod
    def turned(self):
        """How that is done."""

    def end(self):
        """Nothing runs any more."""
        return


def run(argv, **more):
    """Run a program to its end."""
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": SBIN}, timeout=15, **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# --- run by cron


class Logrotate(Rotator):
    """logrotate with these words in its configuration; TURN stands for a number that grows."""

    programs = ("logrotate", "gzip", "bzip2", "xz", "zstd")

    def __init__(self, words, stage, directory):
        super().__init__(stage, directory)
        self.words = words
        if "olddir" in words:
            (self.directory / "old").mkdir()
            self.options = ("--olddir", self.directory / "old")
            self.glob = "old/app.log*"
        if "extension" in words:
            self.glob = "app-*"

    def turned(self):
        conf = self.stage.path / "logrotate.conf"
        words = self.words.replace("TURN", str(self.turn + 7)).replace("; ", "\n")
        conf.write_text(f"{self.log} {{\nrotate 20\nmissingok\n{words}\n}}\n")
        conf.chmod(0o644)
        state = self.stage.path / "logrotate.state"
        run(["logrotate", "-f", "-s", state, conf])

    def rotate(self):
        super().rotate()
        if self.words.startswith("copy;") or self.words == "copy":
            last = self.generations.pop()  # the file goes on
            self.generations[-1] += last


class Savelog(Rotator):
    """savelog with these options."""

    programs = ("savelog", "gzip", "bzip2")

    def __init__(self, words, stage, directory):
        super().__init__(stage, directory)
        self.words = words.split()
        if "-r" in self.words:
            (self.directory / "old").mkdir()
            self.options = ("--olddir", self.directory / "old")
            self.glob = "old/app.log*"

    def turned(self):
        run(["savelog", "-q", "-t", "-c", "20", *self.words, self.log], cwd=self.directory)


# --- fed by a pipe


class Fed(Rotator):
    """A program that writes its standard input to a file `current`, and rotates when told."""

    name = "current"
    glob = "@*"
    line = ()
    process = None

    def begin(self, data):
        self.start()
        self.write(data)

    def start(self):
        """Start the program."""
        self.process = subprocess.Popen(
            [str(word).replace("DIR", str(self.directory)) for word in self.line],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": SBIN}, start_new_session=True,
        )  # fmt: skip
        self.stage.closing.append(self.end)

    def write(self, data):
        self.generations[-1] += data
        self.process.stdin.write(data)
        self.process.stdin.flush()
        wanted = self.generations[-1]
        wait_until(lambda: content(self.log) == wanted, lambda: (content(self.log), wanted))

    def turned(self):
        self.process.send_signal(signal.SIGALRM)
        wait_until(lambda: self.log.exists() and not content(self.log), "it does not rotate")

    def end(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.stdin.close()
            self.process = None


class Multilog(Fed):
    """daemontools."""

    programs = ("multilog",)
    line = ("multilog", "s99999", "n20", "DIR")


class Svlogd(Fed):
    """runit."""

    programs = ("svlogd",)
    line = ("svlogd", "DIR")

    def start(self):
        (self.directory / "config").write_text("s99999\nn20\n")
        super().start()


class S6log(Fed):
    """s6."""

    programs = ("s6-log",)
    line = ("s6-log", "n20", "s99999", "DIR")


class Pointing(Fed):
    """A program that writes to dated files, a new one each second, and turns a link to the newest.
    Its clock is ten times as fast as ours."""

    name = "current.log"
    glob = "app-*.log"
    programs = ("faketime", "cronolog", "rotatelogs")

    def __init__(self, line, stage, directory):
        super().__init__(stage, directory)
        words = line.replace("DATED", "DIR/app-%Y%m%d-%H%M%S.log").split()
        self.line = ["faketime", "-f", "+0 x10", *words]
        self.options = ("--pointer", self.directory / self.glob)
        self.all = b""

    @property
    def generations(self):
        """What the dated files hold: when a new one begins is not ours to say."""
        return [path.read_bytes() for path in sorted(self.directory.glob(self.glob))]

    @generations.setter
    def generations(self, _value):
        pass

    @property
    def written(self):
        return self.all

    def write(self, data):
        self.all += data
        self.process.stdin.write(data)
        self.process.stdin.flush()
        # a new file may begin in the middle of what it reads
        wait_until(lambda: b"".join(self.generations).endswith(data), data)

    def rotate(self):
        self.turn += 1
        self.turned()

    def turned(self):
        time.sleep(0.13)  # the next write goes to a new file

    def end(self):
        process = self.process
        super().end()
        if process is not None:
            forget_faketime(process.pid)


# --- in the application


def packing_namer(name):
    """Of the logging cookbook."""
    return name + ".gz"


def packing_rotator(source, dest):
    """Of the logging cookbook."""
    with open(source, "rb") as f_in:
        with gzip.open(dest, "wb") as f_out:
            shutil.copyfileobj(f_in, f_out)
    os.remove(source)


class Handler(Rotator):
    """A handler of Python's logging, which holds the log open."""

    def __init__(self, packed, stage, directory):
        super().__init__(stage, directory)
        self.packed = packed
        self.handler = None

    def begin(self, data):
        self.handler = self.make()
        if self.packed:
            self.handler.namer = packing_namer
            self.handler.rotator = packing_rotator
        self.stage.closing.append(self.end)
        self.write(data)

    def make(self):
        """The handler."""
        return logging.handlers.RotatingFileHandler(self.log, backupCount=20)

    def write(self, data):
        self.generations[-1] += data
        for line in data.decode().splitlines():
            record = logging.LogRecord("app", logging.INFO, "", 0, line, None, None)
            self.handler.emit(record)

    def turned(self):
        self.handler.doRollover()

    def end(self):
        if self.handler is not None:
            self.handler.close()
            self.handler = None


class TimedHandler(Handler):
    """It names files by the time when they were begun, in whole seconds."""

    def make(self):
        return logging.handlers.TimedRotatingFileHandler(self.log, "S", 3600, 20)

    def turned(self):
        begun = self.handler.rolloverAt
        self.handler.doRollover()
        self.handler.rolloverAt = begun + 1  # the next name differs, however soon


class ConcurrentHandler(Handler):
    """concurrent-log-handler, of PyPI."""

    def make(self):
        module = importlib.import_module("concurrent_log_handler")
        self.packed, packed = False, self.packed
        return module.ConcurrentRotatingFileHandler(
            str(self.log), maxBytes=10**6, backupCount=20, use_gzip=packed
        )


class Loguru(Rotator):
    """loguru, of PyPI: app.TIME.log.gz."""

    glob = "app.*"

    def __init__(self, packed, stage, directory):
        super().__init__(stage, directory)
        self.packed = packed
        self.sink = None
        self.due = False

    def begin(self, data):
        self.logger = importlib.import_module("loguru").logger
        self.logger.remove()
        self.sink = self.logger.add(
            str(self.log), format="{message}", rotation=lambda _message, _file: self.due,
            compression="gz" if self.packed else None, backtrace=False,
        )  # fmt: skip
        self.stage.closing.append(self.end)
        self.write(data)

    def write(self, data):
        self.generations[-1] += data
        for line in data.decode().splitlines():
            self.logger.info(line)
            self.due = False

    def turned(self):
        self.due = True  # it rotates before it writes

    def end(self):
        if self.sink is not None:
            self.logger.remove(self.sink)
            self.sink = None


# --- imitated


def pack(source, target):
    """As gzip libraries are used: no time is kept, the source is removed in the end."""
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.unlink(source)


class Docker(Rotator):
    """json-file with compress=true: the numbers go up, the newest is packed once it is renamed."""

    glob = "app.log.*"

    def turned(self):
        for number in range(20, 1, -1):
            for end in ("", ".gz"):
                if os.path.exists(f"{self.log}.{number - 1}{end}"):
                    os.rename(f"{self.log}.{number - 1}{end}", f"{self.log}.{number}{end}")
        os.rename(self.log, f"{self.log}.1")
        self.log.touch()
        pack(f"{self.log}.1", f"{self.log}.1.gz")


class Kubelet(Rotator):
    """By time; the newest stays plain, those before it are packed under another name first."""

    glob = "app.log.*"

    def turned(self):
        for path in self.directory.glob("app.log.2*[0-9]"):
            with open(path, "rb") as plain, gzip.open(f"{path}.tmp", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            os.rename(f"{path}.tmp", f"{path}.gz")
            os.unlink(path)
        os.rename(self.log, f"{self.log}.20261125-0733{self.turn:02}")
        self.log.touch()


class Pm2(Rotator):
    """pm2-logrotate: packed into a file named by time, then truncated."""

    glob = "app__*"

    def turned(self):
        with open(self.log, "rb") as plain:
            with gzip.open(
                self.directory / f"app__2026-11-25_07-33-{self.turn:02}.log.gz", "wb"
            ) as f:
                shutil.copyfileobj(plain, f)
        os.truncate(self.log, 0)


class Logback(Rotator):
    """By date and size: renamed to a name for the meantime, packed from there."""

    glob = "app-*"

    def turned(self):
        between = self.directory / f"app.log{8714582313 + self.turn}.tmp"
        os.rename(self.log, between)
        self.log.touch()
        pack(between, self.directory / f"app-2026-11-25.{self.turn + 7}.log.gz")


class Lumberjack(Rotator):
    """Go's: renamed to app-TIME.log, packed to app-TIME.log.gz."""

    glob = "app-*"

    def turned(self):
        name = self.directory / f"app-2026-11-25T07-33-{self.turn:02}.125.log"
        os.rename(self.log, name)
        self.log.touch()
        pack(name, f"{name}.gz")


class Log4j2(Rotator):
    """app-%i.log: the newest has the highest number; above `most` all are renamed downwards."""

    glob = "app-*"
    most = 7

    def turned(self):
        names = [self.directory / f"app-{number}.log" for number in range(1, self.most + 1)]
        free = [name for name in names if not name.exists()]
        if not free:
            names[0].unlink()
            for older, newer in zip(names, names[1:]):
                os.rename(newer, older)
            free = [names[-1]]
        os.rename(self.log, free[0])
        self.log.touch()


class Log4j2Packed(Rotator):
    """app.log.DATE-%i.gz."""

    def turned(self):
        name = f"{self.log}.2026-11-25-{self.turn + 7}"
        os.rename(self.log, name)
        self.log.touch()
        pack(name, f"{name}.gz")


ROTATORS = {
    "logrotate create": (Logrotate, "create"),
    "logrotate copytruncate compress": (Logrotate, "copytruncate; compress"),
    "logrotate copy": (Logrotate, "copy"),
    "logrotate create sharedscripts": (
        Logrotate,
        "create; sharedscripts; compress; delaycompress; postrotate; true; endscript",
    ),
    "logrotate dateformat": (Logrotate, "create; dateext; dateformat -%Y%m%d-TURN"),
    "logrotate dateformat compress": (
        Logrotate,
        "create; dateext; dateformat .%Y-%m-%d.TURN; compress",
    ),
    "logrotate extension": (
        Logrotate,
        "create; dateext; dateformat -%Y%m%d-TURN; extension .log; compress; delaycompress",
    ),
    "logrotate gzip": (Logrotate, "create; compress"),
    "logrotate delaycompress": (Logrotate, "create; compress; delaycompress"),
    "logrotate bzip2": (
        Logrotate,
        "create; compress; compresscmd /bin/bzip2; compressext .bz2; compressoptions -9",
    ),
    "logrotate xz": (
        Logrotate,
        "create; compress; compresscmd /usr/bin/xz; compressext .xz; compressoptions -1",
    ),
    "logrotate zstd": (
        Logrotate,
        "create; compress; compresscmd /usr/bin/zstd; compressext .zst; compressoptions -q",
    ),
    "logrotate olddir": (Logrotate, "create; olddir old; compress"),
    "savelog": (Savelog, ""),
    "savelog dates": (Savelog, "-d -D %Y%m%d-%H%M%S%N"),
    "savelog bzip2": (Savelog, "-j"),
    "multilog": (Multilog,),
    "svlogd": (Svlogd,),
    "s6-log": (S6log,),
    "cronolog symbolic": (Pointing, "cronolog -S DIR/current.log -P DIR/last.log DATED"),
    "cronolog hard": (Pointing, "cronolog -H DIR/current.log -P DIR/last.log DATED"),
    "cronolog stuck": (
        Pointing,
        "cronolog -S DIR/current.log DATED",
    ),  # turns it once, and never more
    "rotatelogs": (Pointing, "rotatelogs -L DIR/current.log DATED 1"),
    "RotatingFileHandler": (Handler, False),
    "RotatingFileHandler gzip": (Handler, True),
    "TimedRotatingFileHandler": (TimedHandler, False),
    "TimedRotatingFileHandler gzip": (TimedHandler, True),
    "concurrent-log-handler": (ConcurrentHandler, False),
    "concurrent-log-handler gzip": (ConcurrentHandler, True),
    "loguru": (Loguru, False),
    "loguru gzip": (Loguru, True),
    "docker": (Docker,),
    "kubelet": (Kubelet,),
    "pm2": (Pm2,),
    "logback": (Logback,),
    "lumberjack": (Lumberjack,),
    "log4j2": (Log4j2,),
    "log4j2 gzip": (Log4j2Packed,),
}


def make(name, stage, directory):
    """The rotator of this name."""
    kind, *words = ROTATORS[name]
    return kind(*words, stage, directory)
