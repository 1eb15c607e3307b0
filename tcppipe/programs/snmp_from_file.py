"""snmp_from_file: tells net-snmp's agent what fetch_logs says of each server.

The agent starts it once (pass_persist) and asks it on standard input, a word, an OID, for
"set" a value too, each a line.  fetch_logs has a file for each server, with the server's
address as its name and a status as its first line.  Nothing is remembered but the names,
as long as the directory does not change; nothing is written, so a crash leaves nothing.
"""

from __future__ import annotations

import bisect
import ipaddress
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO

from tcppipe.conf.grammar import is_name
from tcppipe.errors import ConfigError, reason
from tcppipe.programs.options import asked, interruptible, parse, wrong

DIRECTORY = "/var/snmp_data"
BASE = ".1.3.6.1.4.99"
STALE = 120  # seconds after which, or before which, a status file means nothing
MAX_LINE = 4096  # of a question; what is longer is none
MAX_STATUS = 255  # bytes of an answer, as for a DisplayString
MAX_NAME = 100  # characters; an OID has 128 numbers at most
RACY = 2_000_000_000  # nanoseconds: a directory that changed this lately may change unseen
OID = tuple[int, ...]

IPV4, IPV6 = 1, 2  # as in RFC 4001
NAME = 256  # with which no IPv4 address begins
USAGE = """\
usage: snmp_from_file [SNMP_DIR [BASE_OID]]

  SNMP_DIR     the directory that fetch_logs writes to (/var/snmp_data)
  BASE_OID     as in the line of snmpd.conf that starts it (.1.3.6.1.4.99)
  --help, --version
"""
SPEC: dict[str, str | None] = {}

_OID = re.compile(r"\.?[0-9]{1,10}(?:\.[0-9]{1,10}){0,127}")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@interruptible
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program until the agent closes its end; the exit status."""
    try:
        options, operands = parse(sys.argv[1:] if argv is None else argv, SPEC)
        if asked(options, "snmp_from_file", USAGE):
            return 0
        if len(operands) > 2:
            raise ConfigError(f"{operands[2]}: a directory and an OID, no more")
        directory, base = operands + [DIRECTORY, BASE][len(operands) :]
        if not _OID.fullmatch(base):
            raise ConfigError(f"{base}: not an OID in numbers")
    except ConfigError as error:
        return wrong(error, "snmp_from_file", USAGE)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer, Servers(directory, base))
    except (KeyboardInterrupt, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def serve(questions: BinaryIO, answers: BinaryIO, tree: Servers) -> None:
    """Answer each question at once, until there are no more.  Other lines are skipped."""

    def line() -> bytes:
        return questions.readline(MAX_LINE)

    while word := line():
        word = word.strip()
        if word == b"PING":
            answer = b"PONG\n"
        elif word == b"get":
            answer = _value(tree.get(_oid(line())))
        elif word == b"getnext":
            answer = _value(tree.getnext(_oid(line())))
        elif word == b"set":
            line(), line()
            answer = b"not-writable\n"
        else:
            continue
        answers.write(answer)
        answers.flush()


class Servers:
    """The servers of a directory as objects of a subtree.

    Behind the base stand 1 and the four numbers of an IPv4 address, 2 and the sixteen of an
    IPv6 address, or 256 and the characters of a name.  "get" takes an IPv4 address without
    the 1 as well, as the original's documentation has it.
    """

    def __init__(self, directory: str, base: str) -> None:
        self.directory = directory
        self.base = _oid(base.encode()) or ()
        self._known: list[OID] = []
        self._changed: int | None = None

    def get(self, oid: OID | None) -> tuple[OID, bytes] | None:
        """(OID, the status of that server), or None when it stands for no server."""
        if oid is None or oid[: len(self.base)] != self.base:
            return None
        name = _server(oid[len(self.base) :])
        return (oid, status(os.path.join(self.directory, name))) if name else None

    def getnext(self, oid: OID | None) -> tuple[OID, bytes] | None:
        """(OID, status) of the first server behind an OID, or None."""
        known = self._servers()
        at = bisect.bisect(known, oid) if oid is not None else len(known)
        return self.get(known[at]) if at < len(known) else None

    def _servers(self) -> list[OID]:
        """The OIDs of all servers, sorted; read again when the directory has changed."""
        try:
            now, changed = time.time_ns(), os.stat(self.directory).st_mtime_ns
            if changed != self._changed:
                oids = map(_suffix, os.listdir(self.directory))
                self._known = sorted(self.base + oid for oid in oids if oid)
                self._changed = changed if abs(now - changed) > RACY else None
        except OSError:
            self._known, self._changed = [], None
        return self._known


def status(path: str) -> bytes:
    """The first line of a status file as bytes, or "ERR" and why there is none."""
    try:
        what, name = "stat", os.fsencode(path)
        if abs(time.time() - os.stat(path).st_mtime) >= STALE:  # a clock may have gone back
            return _printable(b"ERR %s is stale" % name)
        what = "open"
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            line = file.readline(MAX_LINE)
    except (OSError, MemoryError) as error:
        return _printable(b"ERR %s %s: %s" % (what.encode(), name, reason(error).encode()))
    if not line.strip():
        return b"ERR NO DATA"
    if not line.endswith(b"\n"):
        return b"ERR no EOL in reply"
    return _printable(line[:-1])


def _printable(text: bytes) -> bytes:
    return _CONTROL.sub(b"?", text.strip())[:MAX_STATUS]


def _value(found: tuple[OID, bytes] | None) -> bytes:
    """An answer for the agent."""
    if not found:
        return b"NONE\n"
    oid, text = found
    return b"%s\nstring\n%s\n" % ("".join(f".{number}" for number in oid).encode(), text)


def _oid(line: bytes) -> OID | None:
    """The numbers of an OID, or None."""
    text = line.decode("ascii", "replace").strip()
    return tuple(map(int, text.strip(".").split("."))) if _OID.fullmatch(text) else None


def _server(suffix: OID) -> str | None:
    """The file name of the server that the numbers behind the base stand for, or None."""
    if len(suffix) == 4 and suffix[0] != NAME:
        suffix = (IPV4, *suffix)
    if len(suffix) < 2 or max(suffix[1:]) > 255:
        return None
    kind, octets = suffix[0], suffix[1:]
    if (kind, len(octets)) in ((IPV4, 4), (IPV6, 16)):
        return str(ipaddress.ip_address(bytes(octets)))
    name = bytes(octets).decode("ascii", "replace")
    return name if kind == NAME and _suffix(name) == suffix else None


def _suffix(name: str) -> OID | None:
    """The numbers behind the base for a file name; None for a file that is no server's."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        plain = len(name) <= MAX_NAME and is_name(name)
        return (NAME, *name.encode()) if plain else None
    kind = IPV4 if address.version == 4 else IPV6
    return (kind, *address.packed) if str(address) == name else None
