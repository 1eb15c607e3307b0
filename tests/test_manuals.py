"""The manual pages are true of the code: options, signals, frames, vectors, messages.

What a page says in a table is parsed out of the page and compared with what the code does,
so that neither can change alone.
"""

import ast
import hashlib
import inspect
import re
import shlex
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tcppipe.conf import fetch, numbers, pipelist, pipes
from tcppipe.cursor import UNKNOWN, Cursor, Generation
from tcppipe.drivers.server import SIGNALS
from tcppipe.drivers.service import WHERE
from tcppipe.process import paths
from tcppipe.programs import fetch_logs, gen_numbers, many, tcppipe, tcppiped
from tcppipe.session import actions, fetch1, news, numbers1, states
from tcppipe.session.sink import MAX_PROVED, Sink
from tcppipe.session.source import Source
from tcppipe.wire import events, frames, packing, pull1, push1

ROOT = Path(__file__).resolve().parent.parent
MAN = ROOT / "man"
PAGES = [
    "fetch_logs.8",
    "fetch_logs.conf.5",
    "gen_numbers.8",
    "gen_numbers.locals.5",
    "keep_tcppipe_alive.8",
    "snmp_from_file.8",
    "tcppipe.7",
    "tcppipe.8",
    "tcppipe.conf.5",
    "tcppipe.list.5",
    "tcppiped.8",
]
PROGRAMS = {
    "fetch_logs.8": fetch_logs,
    "gen_numbers.8": gen_numbers,
    "tcppipe.8": tcppipe,
    "tcppiped.8": tcppiped,
}
# What each page of a format is for, and how its program checks a file.
FORMATS = {
    "fetch_logs.conf.5": ["fetch_logs", "-T"],
    "gen_numbers.locals.5": ["gen_numbers", "-T"],
    "tcppipe.conf.5": ["tcppiped", "-T", "-f"],
    "tcppipe.list.5": ["tcppipe", "-T", "-c"],
}


# --- reading a page


def page(name):
    """The lines of a page, with the escapes of roff resolved."""
    text = (MAN / name).read_text(encoding="utf-8")
    for escape, meaning in ((r"\e", "\\"), (r"\&", ""), (r"\(aq", "'")):
        text = text.replace(escape, meaning)
    return text.splitlines()


def section(lines, *headings):
    """The lines below one heading, and below another one in it, up to the next of its kind."""
    for heading in headings:
        begin = lines.index(heading) + 1
        stop = (".Sh ",) if heading.startswith(".Sh ") else (".Sh ", ".Ss ")
        end = next((i for i in range(begin, len(lines)) if lines[i].startswith(stop)), len(lines))
        lines = lines[begin:end]
    return lines


def tables(lines):
    """The column lists in some lines, each as a list of rows without the first, the heading."""
    found, inside = [], False
    for line in lines:
        if line.startswith((".Bl ", ".El")):
            inside = line.startswith(".Bl -column")
            if inside:
                found.append([])
        elif inside and line.startswith(".It "):
            found[-1].append(re.split(r" +Ta +", line.removeprefix(".It ")))
        elif inside and not line.startswith("."):
            found[-1][-1][-1] += " " + line
    return [rows[1:] for rows in found]


def literals(lines):
    """The literal displays in some lines, each as a list of lines."""
    found, inside = [], False
    for line in lines:
        if line.startswith((".Bd -literal", ".Ed")):
            inside = line.startswith(".Bd")
            if inside:
                found.append([])
        elif inside:
            found[-1].append(line)
    return found


WIRE = page("tcppipe.7")


# --- the pages as such


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean(name, need):
    """mandoc finds no errors and nothing to warn of."""
    command = [*need("mandoc"), "-T", "lint", "-W", "warning", str(MAN / name)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0)


def test_no_page_is_forgotten():
    """Every page in the directory is looked at here, installed, and named in README; the pages
    refer to no missing one."""
    assert sorted(path.name for path in MAN.iterdir() if path.is_file()) == PAGES
    installed = (ROOT / "setup.cfg").read_text(encoding="utf-8").split()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in PAGES:
        assert f"man/{name}" in installed
        assert re.sub(r"\.(\d)$", r"(\1)", name) in readme
    for name in PAGES:
        for line in page(name):
            referred = re.match(r"\.Xr (\S*(?:tcppipe|fetch_logs|gen_numbers)\S*) (\d)", line)
            assert not referred or ".".join(referred.groups()) in PAGES, line


@pytest.mark.parametrize("name", PAGES)
def test_no_word_of_a_list_is_taken_for_a_macro(name):
    """A word like "An" or "Qo" in a heading, or in a cell, vanishes unless it is escaped."""
    macros = {"An", "At", "Bx", "Do", "Em", "Fx", "In", "Is", "It", "No", "Of", "On", "Op", "Or",
              "Qo", "So", "To", "Up", "Ux"}  # fmt: skip
    for line in (MAN / name).read_text(encoding="utf-8").splitlines():
        heading = line.startswith((".Sh ", ".Ss "))
        if heading or re.match(r"\.It \S+ Ta ", line):
            assert not macros & set(line.split()[1:]), line


# --- options, signals, variables, messages


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_stands_in_its_page(name):
    """Each option of a program has an item with the name of its value, and is in the synopsis."""
    lines = page(name)
    options = section(lines, ".Sh DESCRIPTION")
    synopsis = " ".join(section(lines, ".Sh SYNOPSIS"))
    for key, value in {**PROGRAMS[name].SPEC, "help": None, "version": None}.items():
        flag = f"Fl {key}" if len(key) == 1 else f"Fl Fl {key}"
        item = f".It {flag}" + (f" Ar {value}" if value else "")
        assert item in options
        assert re.search(rf"Fl ([A-Za-z]*{key}[A-Za-z]*|Fl {key})( |$)", synopsis), key


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_has_no_option_that_the_program_has_not(name):
    """An item for an option means that the program takes it."""
    known = {**PROGRAMS[name].SPEC, "help": None, "version": None}
    for line in section(page(name), ".Sh DESCRIPTION"):
        item = re.match(r"\.It Fl (?:Fl )?(\S+)(?: Ar (\S+))?$", line)
        if item:
            assert known[item[1]] == item[2]


@pytest.mark.parametrize("name", PROGRAMS)
def test_usage_and_page_agree(name):
    """The summary that --help prints has every option, too."""
    for key in PROGRAMS[name].SPEC:
        assert ("-" if len(key) == 1 else "--") + key in PROGRAMS[name].USAGE


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_signal_stands_in_its_page(name):
    """What a program reads as a signal is described under SIGNALS."""
    run = inspect.getsource(PROGRAMS[name])
    signals = set(re.findall(r"signal\.(SIG[A-Z0-9]+)", run))
    if "held(SIGNALS)" in run:
        signals = {signal.Signals(signum).name for signum in SIGNALS if signum != WHERE}
    assert {"SIGHUP", "SIGTERM", "SIGINT"} <= signals
    described = " ".join(section(page(name), ".Sh SIGNALS"))
    for signum in signals:
        assert f"Dv {signum}" in described


def test_every_variable_stands_in_its_page():
    """The environment variables that decide on directories are described."""
    variables = set(re.findall(r'environ\.get\("(\w+)"', inspect.getsource(paths)))
    assert variables >= {"TCPPIPE_RUN_DIR", "TCPPIPE_STATE_DIR"}
    described = section(page("tcppiped.8"), ".Sh ENVIRONMENT")
    assert variables <= {line.removeprefix(".It Ev ") for line in described}


def test_every_option_of_an_entry_stands_in_its_page():
    """The options of tcppipe.conf are those of its page."""
    found = re.findall(r"^\.It Cm (\w+)", "\n".join(page("tcppipe.conf.5")), re.MULTILINE)
    assert sorted(found) == sorted(pipes.OPTIONS)


@pytest.mark.parametrize("name", [*PROGRAMS, *FORMATS])
def test_messages_are_those_of_the_code(name):
    """Under DIAGNOSTICS stand messages word for word: capitals stand for what differs."""
    source = "".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "tcppipe").rglob("*.py"))
    )
    items = [x for x in section(page(name), ".Sh DIAGNOSTICS") if x.startswith(".It ")]
    assert items
    for item in items:
        for words in re.split(
            r"\b[A-Z]+\b|, waiting: |refused: |(?=; goes|, pid)|'.'", item.removeprefix(".It ")
        ):
            words = words.strip(" :()")
            assert words in source, f"{item}: {words!r}"


@pytest.mark.parametrize("name", FORMATS)
def test_the_examples_of_a_format_are_valid(name, tmp_path):
    """What stands under EXAMPLES is written to a file, and the program that reads it says so."""
    (example,) = literals(section(page(name), ".Sh EXAMPLES"))
    file = tmp_path / "example"
    file.write_text("\n".join(example) + "\n", encoding="utf-8")
    program, *options = FORMATS[name]
    command = [sys.executable, str(ROOT / "bin" / program), *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in example if line and not line.startswith(("#", "!", "$bind"))]
    said = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert len(said) == len(lines) >= 4


def test_the_sample_list_is_valid():
    """As it is, and so are the lines behind the comment signs."""
    keep = many.ListOptions({"c": "list", "run-dir": "/run"}, [])
    text = (ROOT / "etc" / "tcppipe.list").read_text(encoding="utf-8")
    assert pipelist.parse(text, "list", keep.read) == []
    lines = re.findall(r"^# (-.*)", text, re.MULTILINE)
    assert len(pipelist.parse("\n".join(lines), "list", keep.read)) == 3


def test_what_no_line_of_a_list_may_have_is_told():
    """The options that belong to the program and not to a pipe."""
    text = " ".join(section(page("tcppipe.list.5"), ".Sh DESCRIPTION"))
    told = re.search(r"All options are allowed but (.*?) Paths are absolute", text)[1]
    words = re.sub(r"\.Fl |Fl |,|\band\b|\.", " ", told).split()
    assert set(words) == many.NOT_IN_A_LINE


def test_the_samples_are_valid():
    """What stands in etc is valid, and so are the lines in it behind the comment signs."""
    for parse, name in ((fetch.parse, "fetch_logs.conf"), (numbers.parse, "gen_numbers.locals")):
        text = (ROOT / "etc" / name).read_text(encoding="utf-8")
        parse(text, name)
        lines = re.findall(r"^# ((?:\$|\d).*)", text, re.MULTILINE)
        assert lines
        parse("\n".join(lines), name)


# --- version 2: the tables


def test_every_frame_stands_in_the_page():
    """The table of frames has each type with its name, its layout, and its fields."""
    (rows,) = tables(section(WIRE, ".Sh VERSION 2", ".Ss The frames"))
    told = {int(row[0], 16): tuple(row[1:]) for row in rows}
    name, sender, layout, fields = told.pop(frames.DATA)
    assert (name, sender, layout) == ("Data", "source", "o...")
    assert fields.split(", ") == list(events.Data._fields)
    assert told.pop(frames.PACKED)[:3] == ("Packed", "source", "see below")
    assert set(told) == set(frames.LAYOUTS)
    for code, (event, kinds) in frames.LAYOUTS.items():
        name, _sender, layout, fields = told[code]
        assert (name, layout) == (event.__name__, kinds or "(none)")
        assert fields == (", ".join(event._fields) or "(none)")


def test_every_frame_is_explained():
    """Below the table each frame has an item of its own."""
    items = section(WIRE, ".Sh VERSION 2", ".Ss The frames")
    for name in ["Data", "Packed", *(event.__name__ for event, _layout in frames.LAYOUTS.values())]:
        assert f".It {name}" in items


def test_who_sends_a_frame_is_told():
    """A frame that one side may hear is sent by the other one."""
    (rows,) = tables(section(WIRE, ".Sh VERSION 2", ".Ss The frames"))
    for _code, name, sender, _layout, _fields in rows:
        name = "Data" if name == "Packed" else name
        heard = {
            side
            for side, table in (("sink", states.SOURCE), ("source", states.SINK))
            if any(event.__name__ == name for row in table.values() for event in row)
        }
        if name in {event.__name__ for event in states.ALWAYS}:
            heard = {"source", "sink"}
        assert sender == ("both" if len(heard) == 2 else heard.pop())


def layouts():
    """The kinds of each frame's fields, by its event; those that may be missing as well."""
    return {event: kinds.translate(frames._BRACKETS) for event, kinds in frames.LAYOUTS.values()}


def test_every_kind_of_field_has_its_width():
    """The table of kinds has each letter of the layouts with its octets."""
    kinds, generation = tables(section(WIRE, ".Sh VERSION 2", ".Ss Frames"))
    widths = {row[0]: row[1] for row in kinds}
    assert set(widths) == set("".join(layouts().values()))
    for kind, packer in frames._NUMBERS.items():
        assert widths.pop(kind) == str(packer.size)
    assert widths.pop("g") == str(frames._GENERATION.size)
    lists = {"r": frames._RANGE.size, "p": 32, "c": frames._COMPLETE.size}
    texts = {"t": "2+n", "x": "2+n"}
    assert widths == {**texts, **{kind: f"2+{size}n" for kind, size in lists.items()}}
    assert [row[0] for row in generation] == list(Generation._fields)
    assert sum(int(row[1]) for row in generation) == frames._GENERATION.size


def test_every_code_has_its_name():
    """The tables of codes are the enumerations."""
    told = tables(section(WIRE, ".Sh VERSION 2", ".Ss Codes"))
    for rows, codes in zip(told, (events.Holding, events.Why), strict=True):
        assert [(int(row[0]), row[1]) for row in rows] == [(x.value, x.name) for x in codes]


def test_the_states_are_those_of_the_code():
    """The tables of states are the machines' own."""
    told = tables(section(WIRE, ".Sh VERSION 2", ".Ss States"))
    for rows, table in zip(told, (states.SOURCE, states.SINK), strict=True):
        assert sorted(map(tuple, rows)) == sorted(
            (state.upper(), event.__name__, then.upper())
            for state, row in table.items()
            for event, then in row.items()
        )


def test_the_bounds_are_those_of_the_code():
    """The table of bounds has the numbers that a reader enforces."""
    (rows,) = tables(section(WIRE, ".Sh VERSION 2", ".Ss Bounds"))
    assert [int(row[1]) for row in rows] == [
        frames.MAX_DATA,
        frames.MAX_CONTROL,
        frames.MAX_LATE,
        frames.MAX_TEXT,
        frames.MAX_RANGES,
        frames.MAX_COMPLETE,
        MAX_PROVED,
        frames.MAX_OFFSET,
    ]


# --- the pull pair


def test_the_example_of_the_pull_pair():
    """The request, the answer, and the data are those of the code."""
    (lines,) = literals(section(WIRE, ".Sh THE PULL PAIR"))
    said = [line[2:].encode().decode("unicode_escape").encode("latin-1") for line in lines]
    assert [line[0] for line in lines] == [">", "<", "<", "<"]
    assert said == [
        pull1.request(b"/var/log/a"),
        pull1.answer(True, 4711),
        pull1.outgoing(b"a\7\n"),
        pull1.ALIVE,
    ]
    assert pull1.parse_answer(said[1]) == (False, 4711, False)


def test_the_bounds_of_the_pull_pair():
    """The longest lines, and the pauses."""
    text = " ".join(section(WIRE, ".Sh THE PULL PAIR"))
    for number in (pull1.MAX_REQUEST, pull1.MAX_ANSWER):
        assert f"at most {number} octets" in text
    assert f"after {numbers1.QUIET:.0f} seconds without data" in text
    assert f"after {fetch1.SILENCE:.0f} seconds of silence" in text


# --- version 1: the example and the vectors


def content(text):
    r"""The bytes that `3*"a" "\n"` stands for."""
    parts = re.findall(r'(?:(\d+)\*)?("(?:[^"\\]|\\.)*")', text)
    return b"".join(int(times or 1) * ast.literal_eval("b" + word) for times, word in parts)


def test_the_example_of_version_1():
    """Byte by byte: the request, the answer, what goes over the wire, and the count."""
    (lines,) = literals(section(WIRE, ".Sh VERSION 1", ".Ss An example"))
    rows = [re.fullmatch(r"([<>]) ((?:[0-9a-f]{2} )+) .*", line).groups() for line in lines]
    (request, answer, *sent, count) = [bytes.fromhex(octets) for _mark, octets in rows]
    assert "".join(mark for mark, _octets in rows) == "><>>>>><"
    encoder = push1.Encoder()
    assert request == push1.request(b"/var/log/a")
    assert answer == b"$ready\n" and push1.parse_answer(answer) is False
    assert b"".join(sent) == encoder.encode(b"ok\n#1\n\n") + encoder.boundary()[0]
    assert push1.Decoder().feed(b"".join(sent)) == [b"ok\n#1\n\n", push1.parse_count(count)]


def test_the_handshake_of_version_2():
    """The offer and its acceptance stand there as the code says them."""
    lines = section(WIRE, ".Sh THE HANDSHAKE")
    for said in (push1.ready(), push1.accept()):
        words = said.decode().replace("\n", r"\n")
        assert any(re.fullmatch(rf"\.Ql {re.escape(words)}( [,.])?", line) for line in lines)


def test_the_vectors_of_version_1():
    """Each line of data is encoded, counted, and decoded as the page says."""
    (lines,) = literals(section(WIRE, ".Sh TEST VECTORS", ".Ss Version 1"))
    assert len(lines) >= 15
    for send, wire, answer in zip(*[iter(lines)] * 3, strict=True):
        assert [line.split()[0] for line in (send, wire, answer)] == ["send", "wire", "answer"]
        encoder = push1.Encoder()
        data = content(send)
        assert encoder.encode(data) == content(wire)
        question, counts = encoder.boundary()
        assert sorted(counts) == [int(word[1:]) for word in answer.split()[1:]]
        decoded = push1.Decoder().feed(content(wire) + question)
        assert decoded[-1] == min(counts) and b"".join(decoded[:-1]) == data


# --- version 2: the vectors


def definitions():
    """The values that a letter stands for in the vectors, as the page defines them."""
    values = {"none": UNKNOWN}
    text = "\n".join(literals(section(WIRE, ".Sh TEST VECTORS", ".Ss Version 2"))[0])
    for letter, rest in re.findall(r"^(\w) = ((?:.|\n    )+)", text, re.MULTILINE):
        if rest.startswith("SHA-256 of "):
            values[letter] = hashlib.sha256(content(rest)).digest()
        elif rest.startswith("dev "):
            *numbers, head = re.findall(r"\w+ (\d+|[A-Z])\b", rest)
            values[letter] = Generation(*map(int, numbers), values[head])
        else:
            values[letter] = bytes.fromhex(rest)
    return values


def value(kind, text, values):
    """A field's value from its text in a vector."""
    if kind in "HIQo":
        return int(text)
    if kind == "b":
        return {"yes": True, "no": False}[text]
    if kind == "w":
        return events.Why[text]
    if kind == "h":
        return events.Holding[text]
    if kind in "tx":
        return text.encode()
    if kind == "r":
        return tuple(tuple(map(int, item.split("+"))) for item in text.split(","))
    if kind == "c":
        rows = [item.split("+") for item in text.split(",")]
        return tuple(events.Complete(values[g], int(n), values[d]) for g, n, d in rows)
    if kind == "p":
        return tuple(values[letter] for letter in text.split(","))
    return values[text]


def vectors(lines):
    """(mark, event, octets) of each frame in a display; mark is ">", "<" or nothing."""
    values = definitions()
    known = {event.__name__: (event, kinds) for event, kinds in layouts().items()}
    known["Data"] = (events.Data, "ot")
    found = []
    for block in re.split(r"\n(?! )", "\n".join(lines)):
        told = [line for line in block.split("\n") if not line.startswith("    ")]
        octets = [line for line in block.split("\n") if line.startswith("    ")]
        mark, name, *fields = re.fullmatch(r"([<>]?) ?(\w+)(.*)", " ".join(told)).groups()
        event, layout = known[name]
        pairs = [word.split("=", 1) for word in shlex.split(fields[0].replace("\\n", "\\\\n"))]
        assert tuple(key for key, _text in pairs) == event._fields
        texts = [text.replace("\\n", "\n") for _key, text in pairs]
        made = event(*(value(kind, text, values) for kind, text in zip(layout, texts)))
        found.append((mark, made, bytes.fromhex("".join(octets))))
    return found


def connection():
    """The vectors of the page's connection."""
    return vectors(literals(section(WIRE, ".Sh TEST VECTORS", ".Ss Version 2"))[1])


def test_the_vectors_of_version_2():
    """Each frame is encoded, and decoded, as the page says."""
    displays = literals(section(WIRE, ".Sh TEST VECTORS", ".Ss Version 2"))[1:3]
    seen = set()
    for _mark, event, octets in [row for display in displays for row in vectors(display)]:
        assert frames.encode(event) == octets
        assert frames.Reader().feed(octets) == [event]
        seen.add(type(event))
    assert seen == {events.Data, *(event for event, _layout in frames.LAYOUTS.values())}


def test_the_vectors_of_packed_data():
    """By each method; a reader takes them for the Data that is in them."""
    lines = "\n".join(literals(section(WIRE, ".Sh TEST VECTORS", ".Ss Version 2"))[3])
    methods = []
    for method, offset, length, data, octets in re.findall(
        r'Packed method=(\d) offset=(\d+) length=(\d+)\n  data="(.*)"\n((?:    .*\n?)+)', lines
    ):
        data = data.encode().decode("unicode_escape").encode("latin-1")
        stream = bytes.fromhex(octets)
        assert len(data) == int(length) > len(stream) - 18
        assert frames.Reader().feed(stream) == [events.Data(int(offset), data)]
        head = frames.packed_header(int(method), int(offset), len(data), len(stream) - 18)
        assert stream.startswith(head)
        methods.append(int(method))
    assert methods == sorted(packing.NAMES) and len(lines.split("Packed")) == 3


def test_the_sessions_hold_the_connection_of_the_page():
    """A source that hears what the page's sink says, says what the page's source says, and a
    sink that hears that, says what the page's sink says."""
    values = definitions()
    rows = connection()
    origin = b"hello\nworld\n"
    source = Source(values["K"], "web1, pid 4711", 0.0, Cursor(values["G"], 6))
    sink = Sink(0.0)
    there = actions.Candidate("/var/log/a", values["G"], len(origin), values["G"].born, True)
    have = next(event for _mark, event, _octets in rows if isinstance(event, events.Have))
    said = {">": b"", "<": b""}

    def digests(ranges):
        return tuple(hashlib.sha256(origin[at : at + n]).digest() for at, n in ranges)

    def carry_out(mark, session, todo):
        for action in todo:
            more = []
            if isinstance(action, actions.Send):
                said[mark] += b"".join(action)
            elif isinstance(action, actions.Search):
                more = session.done(action, actions.Found(there.name, [there]))
            elif isinstance(action, actions.Offer):
                more = session.done(action, (have, []))
            elif isinstance(action, (actions.Measure, actions.Prove)):
                more = session.done(action, digests(action.ranges))
            elif isinstance(action, actions.Open):
                serial = 1 if action.begin.why == events.Why.RESUMED else 2
                more = session.durable(serial, action.begin.offset)
            elif isinstance(action, actions.Compare):
                assert action.crc == zlib.crc32(origin[6:])
                more = session.durable(1, action.offset)
            elif isinstance(action, actions.Finish):
                more = session.done(action, (len(origin), values["W"]))
            carry_out(mark, session, more)

    carry_out(">", source, source.open())
    stream = {
        events.Data: lambda event: news.Piece(event.offset, event.data),
        events.End: lambda event: news.Ended(event.why, event.length, event.digest),
        events.Begin: lambda event: news.Began(event.generation),
    }
    for mark, event, octets in rows:
        if mark == "<":
            carry_out(">", source, source.receive(octets, 0.0))
            continue
        if isinstance(event, events.Bye):
            carry_out(">", source, source.bye()[:1])
        elif said[">"] == b"":
            carry_out(">", source, source.deliver(stream[type(event)](event)))
        assert said[">"][: len(octets)] == octets
        said[">"] = said[">"][len(octets) :]
        if not isinstance(event, events.Bye):
            carry_out("<", sink, sink.receive(octets, 0.0))
    assert said[">"] == b""
    assert said["<"] == b"".join(octets for mark, _event, octets in rows if mark == "<")
