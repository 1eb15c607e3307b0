"""The other contestants, each configured for reliability as its manual says.

All of them forward lines; the templates hand on the line as it was read, so that the copy
has a chance to be identical.
"""

import os
import re
import subprocess
from pathlib import Path

from contest import Missing, Peer, free_ports, need, which

LONGEST = 10 << 20  # bytes of a line that the line forwarders are told to allow


class Socat(Peer):
    """tail -F and socat: the shell's way."""

    name = "socat"
    title = "tail -F, socat"

    @classmethod
    def check(cls, tools):
        need("socat", "socat")

    @classmethod
    def version(cls):
        return first_version("socat", "-V")

    def listen(self):
        self.ports = free_ports(len(self.pipes))
        for port, (_, copy) in zip(self.ports, self.pipes):
            self.sinks.start(
                ["socat", "-u", f"TCP-LISTEN:{port},reuseaddr", f"OPEN:{copy},creat,append"]
            )
        self.accepts(self.sinks, *self.ports)

    def connect(self):
        for port, (origin, _) in zip(self.ports, self.pipes):
            tail = self.sources.start(["tail", "-F", "-c", "+0", origin], stdout=subprocess.PIPE)
            self.sources.start(["socat", "-u", "-", f"TCP:{self.net.sink}:{port}"], tail.stdout)
            tail.stdout.close()


class Rsync(Peer):
    """rsync --append-verify: what stands in the file now, once."""

    name = "rsync"
    title = "rsync --append-verify"
    tests = {"bulk"}
    follows = False
    CONF = "use chroot = no\n[copies]\npath = {folder}\nread only = no\nuid = root\ngid = root\n"

    @classmethod
    def check(cls, tools):
        need("rsync", "rsync")

    @classmethod
    def version(cls):
        return first_version("rsync", "--version")

    def listen(self):
        conf = self.folder / "rsyncd.conf"
        conf.write_text(self.CONF.format(folder=self.folder))
        self.sinks.start(
            ["rsync", "--daemon", "--no-detach", f"--config={conf}", f"--port={self.port}"]
        )
        self.accepts(self.sinks)

    def connect(self):
        for origin, copy in self.pipes:
            url = f"rsync://{self.net.sink}:{self.port}/copies/{copy.name}"
            self.sources.start(["rsync", "--append-verify", origin, url])


class Rsyslog(Peer):
    """rsyslog over plain TCP: imfile, a disk-assisted queue, endless retries, imtcp.

    One worker for the main queue, and the disk behind that one: with more of them, or with a
    disk-assisted queue for the action, the lines change their order.  No octet-counted framing,
    because a line that begins with a digit would be taken for a count.  The window of RELP is
    larger than the 128 messages that it would be: with these, each waits for a delayed TCP
    acknowledgement, and a megabyte takes seconds.
    """

    name = "rsyslog"
    title = "rsyslog, TCP"
    forward = "omfwd"
    package = "rsyslog"

    QUEUE = """\
$MainMsgQueueWorkerThreads 1
$MainMsgQueueFileName main
$MainMsgQueueSaveOnShutdown on
"""
    SOURCE = """\
global(workDirectory="{work}" maxMessageSize="{longest}")
{queue}
module(load="imfile" mode="inotify")
{module}
template(name="raw" type="string" string="%msg%{end}")
"""
    SOURCE_PIPE = """\
input(type="imfile" file="{origin}" tag="t{n}" ruleset="r{n}" addMetadata="off")
ruleset(name="r{n}") {{
    action(type="{forward}" target="{host}" port="{port}" {protocol} template="raw"
           action.resumeRetryCount="-1")
}}
"""
    SINK = """\
global(workDirectory="{work}" maxMessageSize="{longest}"
       parser.escapeControlCharactersOnReceive="off")
{queue}
{module}
template(name="raw" type="string" string="%rawmsg%\\n")
"""
    SINK_PIPE = """\
input(type="{take}" port="{port}" ruleset="r{n}" {more})
ruleset(name="r{n}") {{ action(type="omfile" file="{copy}" template="raw") }}
"""
    WORDS = {
        "omfwd": {
            "module": ("", 'module(load="imtcp")'), "end": "\\n", "take": "imtcp",
            "protocol": 'protocol="tcp"', "more": 'supportOctetCountedFraming="off"',
        },
        "omrelp": {
            "module": ('module(load="omrelp")', 'module(load="imrelp")'), "end": "",
            "take": "imrelp", "protocol": 'windowSize="8192"', "more": f'maxDataSize="{LONGEST}"',
        },
    }  # fmt: skip

    @classmethod
    def check(cls, tools):
        cls.rsyslogd = need("rsyslogd", "rsyslog")

    @classmethod
    def version(cls):
        return first_version(which("rsyslogd"), "-v")

    def listen(self):
        self.ports = free_ports(len(self.pipes))
        self._start(self.sinks, "sink", self.SINK, self.SINK_PIPE, 1)
        self.accepts(self.sinks, *self.ports)

    def connect(self):
        self._start(self.sources, "source", self.SOURCE, self.SOURCE_PIPE, 0)

    def _start(self, group, side, head, part, which_module):
        words = {**self.WORDS[self.forward], "forward": self.forward, "host": self.net.sink}
        words["module"] = words["module"][which_module]
        work = self.folder / side
        work.mkdir()
        text = head.format(work=work, longest=LONGEST, queue=self.QUEUE, **words)
        for n, (port, (origin, copy)) in enumerate(zip(self.ports, self.pipes)):
            text += part.format(n=n, port=port, origin=origin, copy=copy, **words)
        conf = self.folder / f"{side}.conf"
        conf.write_text(text)
        group.start([self.rsyslogd, "-n", "-f", conf, "-i", self.folder / f"{side}.pid"])


class Relp(Rsyslog):
    """rsyslog with RELP: the same, each line acknowledged by the application."""

    name = "relp"
    title = "rsyslog, RELP"
    forward = "omrelp"

    @classmethod
    def check(cls, tools):
        super().check(tools)
        if not list(Path("/usr/lib").glob("*/rsyslog/omrelp.so")):
            raise Missing("apt install rsyslog-relp")


class SyslogNg(Peer):
    """syslog-ng: file(), flow control, a reliable disk buffer, network()."""

    name = "syslog-ng"
    title = "syslog-ng"
    PACKAGES = "syslog-ng-core libivykis0 libnet1 libjson-c5 libwrap0 libglib2.0-0 libpcre3"

    HEAD = """\
@version: {version}
options {{ log-msg-size({longest}); keep-hostname(yes); use-dns(no); stats-freq(0); }};
"""
    SOURCE_PIPE = """\
log {{
    source {{ file("{origin}" flags(no-parse)); }};
    destination {{ network("{host}" port({port}) transport("tcp") template("$MSG\\n")
        disk-buffer(reliable(yes) mem-buf-size(67108864) disk-buf-size(2147483648)
                    dir("{work}"))); }};
    flags(flow-control);
}};
"""
    SINK_PIPE = """\
log {{
    source {{ network(ip("{host}") port({port}) transport("tcp") flags(no-parse)); }};
    destination {{ file("{copy}" template("$MSG\\n")); }};
    flags(flow-control);
}};
"""

    @classmethod
    def check(cls, tools):
        cls.unpacked = tools.syslog_ng
        cls.program = cls.unpacked / "usr/sbin/syslog-ng" if cls.unpacked else which("syslog-ng")
        if not cls.program or not os.path.exists(cls.program):
            raise Missing(
                f"it cannot be installed beside rsyslog, so: mkdir D; cd D; apt-get download "
                f"{cls.PACKAGES}; for p in *.deb; do dpkg -x $p .; done; scripts/bench "
                f"--syslog-ng D"
            )

    @classmethod
    def version(cls):
        return first_version(cls.program, "--version", env=cls.search_path())

    @classmethod
    def search_path(cls):
        """The environment in which an unpacked one finds its libraries."""
        if not cls.unpacked:
            return {}
        paths = {str(path.parent) for path in cls.unpacked.glob("**/lib*.so.*")}
        return {"LD_LIBRARY_PATH": ":".join(sorted(paths))}

    def environment(self):
        return self.search_path()

    def listen(self):
        self.ports = free_ports(len(self.pipes))
        self._start(self.sinks, "sink", self.SINK_PIPE)
        self.accepts(self.sinks, *self.ports)

    def connect(self):
        self._start(self.sources, "source", self.SOURCE_PIPE)

    def _start(self, group, side, part):
        version = ".".join(self.version().split(".")[:2])
        text = self.HEAD.format(version=version, longest=LONGEST)
        work = self.folder / side
        work.mkdir()
        for port, (origin, copy) in zip(self.ports, self.pipes):
            text += part.format(port=port, origin=origin, copy=copy, host=self.net.sink, work=work)
        conf = self.folder / f"{side}.conf"
        conf.write_text(text)
        where = []
        if self.unpacked:
            modules = next(self.unpacked.glob("usr/lib/**/libaffile.so")).parent
            where = [f"--module-path={modules}"]
        group.start([
            self.program, "-F", "--no-caps", "-f", conf, *where,
            f"--persist-file={work}/persist", f"--pidfile={work}/pid", f"--control={work}/ctl",
        ])  # fmt: skip


def first_version(program, option, env=None):
    """The first thing in a program's answer that looks like a version."""
    done = subprocess.run(
        [program, option], capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    found = re.search(r"\d+\.[\d.]*\d", done.stdout + done.stderr)
    return found.group() if found else ""
