"""`tcppiped -T`: what its configuration says, and what its author may not have meant.

Errors and notes go to standard error.  Only errors change the status: a file with notes is valid.
"""

import os
import select
import sys
import time

from tcppipe.conf import grammar, notes, pipes, reach
from tcppipe.drivers.pipe import Table
from tcppipe.errors import ConfigError
from tcppipe.net import identity, resolver
from tcppipe.programs.options import prints

PATIENCE = 5.0  # seconds for all names


def tcppiped(conf, asked=None):
    """Print what a configuration says, or what it says of one HOST:FILE; the exit status."""
    prints()
    table = Table(conf)
    try:
        table.read()
        with open(conf, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            text = file.read()
        if asked is not None:
            return _which(table, asked)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for entry in table.entries:
        print(f"{entry.line}: {entry.text}")
    found = [*notes.notes(text, table.entries), *_on_disk(table.entries), *_unknown(table.entries)]
    sys.stdout.flush()
    if not table.entries:
        sys.stderr.write(f"{conf}: note: no entry, so every pipe is refused\n")
    for line, note in sorted(found, key=lambda note: note[0]):
        sys.stderr.write(f"{conf}:{line}: note: {note}\n")
    return 0


def _on_disk(entries):
    for entry in entries:
        if entry.only_pipe and os.path.isdir(entry.local):
            yield entry.line, f"{entry.local} is a directory; a pipe would be refused"


def _unknown(entries):
    names = _look_up(pipes.names(entries))
    told = set()
    for entry in entries:
        name = entry.name and entry.name.lower()
        if name in names.failures and name not in told:
            told.add(name)
            yield entry.line, f"{entry.name}: {names.failures[name]}"


def _look_up(wanted):
    """The addresses of names, as far as they are known after a while."""
    names = resolver.HostNames()
    if wanted:
        answers, until = names.start(wanted, PATIENCE), time.monotonic() + PATIENCE
        while not names.collect() and time.monotonic() < until:
            select.select([answers], [], [], max(0.0, until - time.monotonic()))
        names.close()
        os.waitpid(names.pid, 0)
    return names


def _which(table, asked):
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

    def label(entry):
        if address is None:
            return host if reach.takes(entry, host, path) else None
        try:
            return identity.matches(entry, address, names, PATIENCE)
        except identity.Unknown as error:
            sys.stderr.write(f"{table.path}:{entry.line}: note: {error}\n")
            return None

    entry = pipes.find(table.entries, path, lambda entry: label(entry) is not None)
    if entry is None:
        for other in fitting:
            sys.stderr.write(f"{table.path}:{other.line}: note: has this file, of {other.host}\n")
        if not fitting:
            sys.stderr.write(f"{table.path}: note: no line has this file, of whatever host\n")
        raise ConfigError(f"{table.path}: no entry for {asked}")
    name = label(entry)
    print(f"{entry.line}: {entry.text}")
    how = " (merged)" if reach.merged(table.entries, entry, name, path) else ""
    print(f"    {entry.destination(name, path)}{how}")
    return 0
