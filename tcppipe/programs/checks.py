"""-T: what a configuration says, and what its author may not have meant.

Errors and notes go to standard error.  Only errors change the status: a file with notes is valid.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from tcppipe.conf import grammar, notes, pipes, pullnotes, reach
from tcppipe.conf.entry import Entry
from tcppipe.conf.fetch import Source
from tcppipe.conf.pipelist import Line
from tcppipe.drivers.table import Table
from tcppipe.errors import ConfigError
from tcppipe.files import configuration, matches
from tcppipe.net import identity, resolver
from tcppipe.net.resolver import HostNames
from tcppipe.process import paths
from tcppipe.programs.options import note, prints

if TYPE_CHECKING:
    from tcppipe.drivers.wanted import Wanted
    from tcppipe.programs.many import ListOptions
    from tcppipe.programs.pipe_options import PipeOptions

Note = tuple[int, str]  # a line, and words about it

PATIENCE = 5.0  # seconds for all names


def tcppiped(conf: str, state_dir: str, asked: str | None = None) -> int:
    """Print what a configuration says, or what it says of one HOST:FILE; the exit status."""
    prints()
    table = Table(conf)
    try:
        table.read()
        text = configuration.read(conf)
        if asked is not None:
            return _which(table, state_dir, asked)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for entry in table.entries:
        print(f"{entry.line}: {entry.text}")
    hosts = [(entry.line, entry.name) for entry in table.entries if entry.name]
    found = [*notes.notes(text, table.entries), *_on_disk(table.entries), *_unknown(hosts)]
    if not table.entries:
        found.append((0, "no entry, so every pipe is refused"))
    _say(conf, found)
    return 0


def fetch_logs(conf: str) -> int:
    """Print what fetch_logs' configuration says; the exit status."""
    from tcppipe.drivers.fetchers import read

    prints()
    try:
        sources = read(conf)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for source in sources:
        where = f"{source.remote} {source.local} {source.pointer}"
        print(f"{source.line}: {source.host} {source.port} {where}")
    hosts = [(source.line, source.host) for source in sources if source.is_name]
    found = [*pullnotes.of_sources(sources), *_in_the_way(sources), *_unknown(hosts)]
    if not sources:
        found.append((0, "no line, so nothing is fetched"))
    _say(conf, found)
    return 0


def gen_numbers(conf: str) -> int:
    """Print what a .locals file says; the exit status."""
    from tcppipe.drivers.numbers import Files

    prints()
    files = Files(conf)
    try:
        files.read()
        text = configuration.read(conf)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for network, allowed in files.numbers.allow:
        print(f"{'allowed' if allowed else 'not allowed'}: {network}")
    for name, glob in files.numbers.files.items():
        print(f"{name}: {glob}")
    found = list(pullnotes.of_numbers(text))
    for name in files.numbers.files:
        if not os.path.exists(name):
            found.append((0, f"{name}: no such file now"))
        elif not os.path.isfile(name):
            found.append((0, f"{name}: not a regular file, so nothing is fetched from it"))
    if not any(allowed for _network, allowed in files.numbers.allow):
        found.append((0, "no address is allowed, so nobody can fetch"))
    if not files.numbers.files:
        found.append((0, "no file may be fetched"))
    _say(conf, found)
    return 0


def tcppipe(keep: ListOptions) -> int:
    """Print what a list says, and which files that are now; the exit status."""
    from tcppipe.drivers.wanted import Wanted

    prints()
    wanted = Wanted(keep.path, keep.read, keep.make)
    try:
        wanted.read()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    wanted.look(time.monotonic())
    found = []
    for line in wanted.lines:
        print(f"{line.line}: {line.text}")
        found_now = wanted.of_line(line)
        for path in found_now:
            print(f"    {path}")
        if not found_now:
            found.append((line.line, _why_none(wanted, line)))
    hosts = [(line.line, line.options["h"]) for line in wanted.lines]
    found += _unknown([(number, host) for number, host in hosts if grammar.is_name(host)])
    found += [(0, error) for error in wanted.errors]
    if not wanted.lines:
        found.append((0, "no line, so nothing is sent"))
    _say(keep.path, found)
    return 0


def _why_none(wanted: Wanted[PipeOptions], line: Line) -> str:
    """Why a line of a list gives no pipe now."""
    there = set(matches.expand(line.pattern, set(), [], line.pointer))
    if not there:
        what = "is a directory" if os.path.isdir(line.pattern) else "no such file now"
        return f"{line.pattern}: {what}"
    others = {source.line for key, (source, _pipe) in wanted.pipes.items() if key[2] in there}
    if others:
        return f"line {', '.join(map(str, sorted(others)))} has it already"
    return "its files are left out, or rotated ones of others"


def _say(conf: str, found: Iterable[Note]) -> None:
    """Say the notes: (line, words) each; line 0: of the file."""
    sys.stdout.flush()
    for line, words in sorted(dict.fromkeys(found), key=lambda one: one[0]):
        note(f"{conf}:{line}" if line else conf, words)


def _in_the_way(sources: Iterable[Source]) -> Iterator[Note]:
    """What stands where files are to be written."""
    for source in sources:
        for what, path in (("local", source.local), ("pointer", source.pointer)):
            if os.path.isdir(path):
                yield source.line, f"{path} is a directory, where the {what} file is to be"


def _on_disk(entries: Iterable[Entry]) -> Iterator[Note]:
    for entry in entries:
        if entry.only_pipe and os.path.isdir(entry.local):
            yield entry.line, f"{entry.local} is a directory; a pipe would be refused"


def _unknown(hosts: Iterable[Note]) -> Iterator[Note]:
    """Of (line, name): those that have no address, each once."""
    names = _look_up([name for _line, name in hosts])
    told = set()
    for line, name in hosts:
        key = name.lower()
        if key in names.failures and key not in told:
            told.add(key)
            yield line, f"{name}: {names.failures[key]}"


def _look_up(wanted: Collection[str]) -> HostNames:
    """The addresses of names, as far as they are known after a while."""
    names = resolver.HostNames()
    if wanted:
        answers, until = names.start(wanted, PATIENCE), time.monotonic() + PATIENCE
        while not names.collect() and time.monotonic() < until:
            select.select([answers], [], [], max(0.0, until - time.monotonic()))
        names.close()
        assert names.pid is not None
        os.waitpid(names.pid, 0)
    return names


def _which(table: Table, state_dir: str, asked: str) -> int:
    try:
        host, path = grammar.split_origin(asked)
    except ValueError as error:
        raise ConfigError(f"{asked}: {error}: HOST:/FILE wanted") from None
    if not path.startswith("/"):
        raise ConfigError(f"{asked}: {path!r} is not an absolute path: HOST:/FILE wanted")
    host = host.strip("[]")
    fitting = [entry for entry in table.entries if entry.matches_file(path)]
    names = _look_up(pipes.names(fitting))
    try:
        address = sorted(map(str, resolver.forward(host)))[0]
    except (OSError, UnicodeError):
        sys.stderr.write(f"note: {host} has no address; what stands in the lines is compared\n")
        address = None

    def label(entry: Entry) -> str | None:
        if address is None:
            return host if reach.takes(entry, host, path) else None
        try:
            return identity.matches(entry, address, names, PATIENCE)
        except identity.Unknown as error:
            sys.stderr.write(f"{table.path}:{entry.line}: note: {error}\n")
            return None

    labels: dict[int, str | None] = {}

    def is_host(entry: Entry) -> bool:
        labels[entry.line] = label(entry)
        return labels[entry.line] is not None

    entry = pipes.find(table.entries, path, is_host)
    name = labels.get(entry.line) if entry is not None else None
    if entry is None or name is None:
        raise _no_entry(table, fitting, asked)
    print("\n    ".join(_told(table, state_dir, entry, (name, path))))
    return 0


def _told(
    table: Table, state_dir: str, entry: Entry, pipe: tuple[str, str]
) -> tuple[str, str, str]:
    """A line of the configuration, and where it leads a pipe, and the pipe's ledger."""
    local, merged = entry.destination(*pipe), reach.merged(table.entries, entry, *pipe)
    ledger = paths.ledger_of(state_dir, *pipe, merged=local if merged else None)
    return f"{entry.line}: {entry.text}", f"{local}{' (merged)' if merged else ''}", ledger


def _no_entry(table: Table, fitting: list[Entry], asked: str) -> ConfigError:
    for other in fitting:
        sys.stderr.write(f"{table.path}:{other.line}: note: has this file, of {other.host}\n")
    if not fitting:
        sys.stderr.write(f"{table.path}: note: no line has this file, of whatever host\n")
    return ConfigError(f"{table.path}: no entry for {asked}")
