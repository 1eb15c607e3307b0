"""Today's programs go on where those of an earlier version were stopped (tests/files/ledgers).

The files are made anew, and what their ledgers, status files and pointers say of inodes, paths and
the machine's start is said of these.
"""

import gzip
import os
import re

import pytest
from oldcases import CASES, HOST, ROOT, Case, damages
from stage import append, content, wait_until

from tcppipe.cursor import Cursor
from tcppipe.files import records
from tcppipe.files.fs import REAL
from tcppipe.files.status import parse, render
from tcppipe.process import paths

GONE = 10**12  # what is added to the inode of a file that is gone
SAID = re.compile("waiting|lost|rewritten|gone|digest|differs|place|somebody|damaged|torn|record")


class Left:
    """What is left of a case, on a stage, and today's programs.  ledger: what stands in its place."""

    def __init__(self, stage, case, ledger=...):
        self.stage, self.case = stage, case
        self.root = f"{stage.path}/"
        self.copy = stage.path / "archive" / "messages"
        self.origins = [stage.path / "var" / "messages"]
        self.origins += [stage.path / "var" / "other"] if case.merged else []
        self.written = [case.written, case.other][: len(self.origins)]
        self.lines = 0
        self._new = {}  # {(device, inode) then: (device, inode, its generation) now}
        self._put_files()
        if case.ledger:
            self.ledger = self._path(case.ledger)
            text = case.files[case.ledger] if ledger is ... else ledger
            os.makedirs(os.path.dirname(self.ledger), exist_ok=True)
            if text is not None:
                with open(self.ledger, "wb") as file:
                    file.write(b"".join(map(self._line, text.splitlines(keepends=True))))
        self._start()

    def _start(self):
        stage = self.stage
        if self.case.pull:
            (origin,) = self.origins
            allowed = '$hosts_allow{"127.0.0.1"} = 1;'
            server = stage.numbers(allowed, f'$files{{"{origin}"}} = "{origin}.*";')
            pointer = self.copy.parent / ".messages"
            sink = stage.fetcher(f"{HOST} {stage.port} {origin} {self.copy} {pointer}")
            self.processes = [server, sink]
        else:
            entries = [f"{HOST}:{one} | {self.copy}{self.case.options}" for one in self.origins]
            stage.configure(*entries)
            clients = [stage.client(one, name=one.name) for one in self.origins]
            self.processes = [stage.server(), *clients]
        for process in self.processes:
            process.up()

    # --- the files, and what is said of them

    def _put_files(self):
        later = []
        for path, text in self.case.files.items():
            if path.startswith("state/"):
                continue
            if path.startswith("run/") or path.endswith("/.messages"):
                later.append((path, text))
                continue
            new, old = self._path(path), self.case.numbers[path]
            self._put(new, text, old["mtime"])
            with open(new, "rb") as file:
                status, igen = os.fstat(file.fileno()), REAL.inode_generation(file.fileno())
            self._new[old["dev"], old["ino"]] = status.st_dev, status.st_ino, igen
            self.device = status.st_dev
        for path, text in later:
            told = self._status(text) if path.startswith("run/") else self._pointer(text)
            self._put(self._path(path), told, self.case.numbers[path]["mtime"])

    def _put(self, path, text, mtime):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text)
        os.utime(path, ns=(mtime, mtime))

    def _path(self, path):
        """Where a file of the case is now."""
        top, _, name = path.partition("/")
        if top in ("var", "archive"):
            return self.root + path
        origin = self.root + "var/" + ("other" if "other" in name else "messages")
        port = self.stage.port
        if top == "run":
            quoted = "%2F" in name
            base = (paths.pipe_base if quoted else paths.original_base)(HOST, port, origin)
        elif name.startswith(HOST):
            base = paths.ledger_base(HOST, origin)
        else:
            base = paths.file_name(str(self.copy))
        return f"{self.root}{top}/{base}{os.path.splitext(name)[1]}"

    def _numbers(self, dev, ino, igen):
        return self._new.get((dev, ino)) or (dev and self.device, ino and ino + GONE, igen)

    def _status(self, text):
        cursor = parse(text)
        if not cursor.generation.ino:
            return text
        numbers = self._numbers(*cursor.generation[:3])
        generation = cursor.generation._replace(
            **dict(zip(("dev", "ino", "igen"), numbers, strict=True))
        )
        return render(Cursor(generation, cursor.offset), str(self.origins[0]))

    def _pointer(self, text):
        found = re.search(rb"\d+", text)
        device = self.device
        old = next(iter(self.case.numbers.values()))["dev"]
        return (
            text.replace(found[0], b"%d" % self._numbers(old, int(found[0]), 0)[1])
            if device
            else b""
        )

    def _line(self, line):
        """The same record of today's files; what is damaged stays so."""
        record = records.parse(line)
        return line if record is None else records.render(self._of_today(record))

    def _of_today(self, value):
        if isinstance(value, str):
            return value.replace(ROOT, self.root).replace(self.case.boot, REAL.boot())
        if not isinstance(value, dict):
            return value
        new = {key: self._of_today(one) for key, one in value.items()}
        for key in {"generation", "of"} & set(new):
            dev, ino, igen, *more = new[key]
            new[key] = [*self._numbers(dev, ino, igen), *more]
        if "dev" in new:
            numbers = self._numbers(new["dev"], new["ino"], new.get("igen", 0))
            new["dev"], new["ino"] = numbers[:2]
            if "igen" in new:
                new["igen"] = numbers[2]
        return new

    # --- how it goes on

    def copied(self):
        """All that is in the copy."""
        found = [
            path for path in self.copy.parent.glob("messages[-.]*") if ".cut." not in path.name
        ]
        found.sort(key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
        parts = [content(path) for path in [*found, self.copy]]
        return b"".join(gzip.decompress(p) if p[:2] == b"\x1f\x8b" else p for p in parts)

    def wrong(self):
        """What is not as it has to be, or ""."""
        copied = self.copied()
        for at, wanted in enumerate(self.written):
            there = copied
            if self.case.merged:
                lines = copied.splitlines(keepends=True)
                there = b"".join(one for one in lines if one.startswith(b"other") == bool(at))
            if there != wanted:
                same = len(os.path.commonprefix([there, wanted]))
                return (
                    f"{len(there)} of {len(wanted)} bytes, equal are {same}: {there[same:][:40]!r}"
                )
        return ""

    def arrives(self):
        """Wait until all is there."""
        wait_until(lambda: not self.wrong(), self.wrong)

    def write(self):
        """The applications write."""
        for at, origin in enumerate(self.origins):
            self.lines += 1
            text = b"%snew %06d\n" % (b"other " if at else b"", self.lines)
            append(origin, text)
            self.written[at] += text

    def rotate(self):
        """logrotate."""
        for origin in self.origins:
            for number in range(9, 0, -1):
                for end in ("", ".gz"):
                    if os.path.exists(f"{origin}.{number}{end}"):
                        os.rename(f"{origin}.{number}{end}", f"{origin}.{number + 1}{end}")
            os.rename(origin, f"{origin}.1")
            origin.touch()

    def goes_on(self):
        """All arrives, and what is written then, before and after a rotation; all processes end."""
        self.arrives()
        self.write()
        self.rotate()
        self.write()
        self.arrives()
        for process in reversed(self.processes):
            process.down()
        self.arrives()

    def said(self):
        """What people were told of that they would have to look after."""
        lines = [line for process in self.processes for line in process.lines]
        return [line for line in lines if SAID.search(line.rpartition(f"{self.root}")[2])]


@pytest.mark.parametrize("name", CASES)
def test_as_it_was_left(stage, name):
    """All is equal, and nothing is said."""
    left = Left(stage, Case(name))
    left.goes_on()
    assert left.said() == []


DAMAGED = {
    "generations": ("missing", "a bit of byte 9 in line 9", "NULs for line 3"),
    "rotated-copy": ("missing", "cut before line 1", "line 2 once more at the end"),
    "mirror": ("a bit of byte 8 in line 2", "without line 12"),
    "pulled": ("empty", "cut in line 13", "backwards"),
    "merged-killed": ("missing", "NULs for line 11", "line 3 twice"),
}


@pytest.mark.parametrize(
    "name, what", [(n, what) for n, all_of in DAMAGED.items() for what in all_of]
)
def test_damaged(stage, name, what):
    """A damaged ledger costs no byte.  (All damages of all are tried in memory: tests/sim.)"""
    case = Case(name)
    ledger = dict(damages(case.files[case.ledger]))[what]
    Left(stage, case, ledger).goes_on()
