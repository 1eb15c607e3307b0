"""What was measured: medians, ratios within a round, and Markdown tables of them."""

import os
import platform
import shlex
import time
from statistics import median

import plot

YARDSTICK = "C pair, no promise"
PLAIN = {"pipes", "processes", "writes a second"}  # a ratio of these says nothing

# test, measure, the heading in the overview, whether as a ratio, whether more is better
OVERVIEW = [
    ("bulk", "MB/s of the stream", "bulk, x of C", True, True),
    ("bulk", "MB/s from the command", "from the command, x of C", True, True),
    ("bulk", "CPU s/GiB of the stream", "CPU s/GiB", False, False),
    ("latency", "p50 ms", "latency p50, ms", False, False),
    ("latency", "p99 ms", "p99, ms", False, False),
    ("busy", "p50 ms", "p50 beside bulk, ms", False, False),
    ("writes", "CPU % of a core", "CPU at many writes, %", False, False),
    ("writes", "largest lag ms", "largest lag, ms", False, False),
    ("idle", "CPU ms/s", "idle, CPU ms/s", False, False),
    ("idle", "PSS MiB", "idle, MiB", False, False),
    ("many", "seconds, established", "many files, s", False, False),
    ("first byte", "ms", "first byte, ms", False, False),
    ("thin", "Mbit/s of text", "thin line, Mbit/s of text", False, True),
]

PLOTTED = {
    "MB/s of the stream", "CPU s/GiB of the stream", "p50 ms", "CPU % of a core", "CPU ms/s",
    "PSS MiB", "seconds, established",
}  # fmt: skip


class Results:
    """Results of all tests, contestants and rounds."""

    def __init__(self, command, scale):
        self.command = command
        self.scale = scale
        self.rounds = {}  # test -> contestant -> list of results, one a round
        self.absent = {}  # contestant -> why
        self.versions = {}

    def present(self, peer):
        """A contestant takes part."""
        self.versions[peer.title] = peer.version()

    def missing(self, peer, why):
        """A contestant cannot take part."""
        self.absent[peer.title] = why

    def add(self, test, peer, result):
        """Note one round."""
        self.rounds.setdefault(test, {}).setdefault(peer.title, []).append(result)

    def values(self, test, title, measure):
        """What a contestant reached in each round that has this measure."""
        found = [result.get(measure) for result in self.rounds.get(test, {}).get(title, [])]
        return [value for value in found if value is not None]

    def ratio(self, test, title, measure):
        """The median of the ratios to the C pair, round by round; None without one."""
        rounds = self.rounds.get(test, {})
        pairs = zip(rounds.get(title, []), rounds.get(YARDSTICK, []))
        found = [
            mine[measure] / its[measure]
            for mine, its in pairs
            if mine.get(measure) is not None and its.get(measure)
        ]
        return median(found) if found else None

    def failure(self, test, title):
        """Why a contestant failed a test; None when it did not."""
        return next(iter(self.values(test, title, "failed")), None)

    def markdown(self):
        """All of it: the machine, the overview, a table for each test."""
        parts = [self.about(), self._overview(), *map(self._table, self.rounds)]
        return "\n\n".join(parts) + "\n"

    def about(self):
        """Where, when and with what."""
        titles = {**self.versions, **dict.fromkeys(self.absent, "missing")}
        versions = ", ".join(f"{title} {version}".strip() for title, version in titles.items())
        return "\n".join([
            f"{machine()}.",
            "",
            f"    {shlex.join(['scripts/bench', *self.command])}",
            "",
            f"{versions}. Medians of the rounds; in brackets the ratio to the C pair in the same "
            f"round. {self.scale.size / 2**20:.0f} MiB of bulk; {self.scale.files} files of "
            f"{self.scale.file_size / 2**20:.0f} MiB; {self.scale.writes} writes a second; idle "
            f"means {self.scale.files} pipes, CPU and memory of both sides together.",
        ])  # fmt: skip

    def _overview(self):
        columns = [entry for entry in OVERVIEW if entry[0] in self.rounds]
        lines = [row(["", *(entry[2] for entry in columns), "identical"])]
        lines.append(row(["---"] * (len(columns) + 2)))
        for title in self.versions:
            cells = [self._short(title, *entry[:2], entry[3]) for entry in columns]
            lines.append(row([title, *cells, self._identical(title)]))
        for title in self.absent:
            lines.append(row([title, *([""] * len(columns)), "missing"]))
        lines += ["", *(f"{title} is missing: {why}." for title, why in self.absent.items())]
        return "\n".join(lines).rstrip()

    def _short(self, title, test, measure, as_ratio):
        if self.failure(test, title) is not None:
            return "failed"
        values = self.values(test, title, measure)
        if not values:
            return "-"
        against = self.ratio(test, title, measure)
        if not as_ratio:
            return number(median(values))
        if title == YARDSTICK or against is None:
            return f"{number(median(values))} MB/s"
        return number(against)

    def _identical(self, title):
        said = [value for test in self.rounds for value in self.values(test, title, "identical")]
        return ("yes" if all(said) else "no") if said else "-"

    def _table(self, test):
        measures = []
        for rounds in self.rounds[test].values():
            measures += [name for result in rounds for name in result]
        measures = list(dict.fromkeys(measures))
        if "failed" in measures:
            measures.remove("failed")
            measures.append("failed")
        lines = [f"### {test}", "", row(["", *measures]), row(["---"] * (len(measures) + 1))]
        for title in self.rounds[test]:
            lines.append(row([title, *(self._cell(test, title, name) for name in measures)]))
        return "\n".join(lines)

    def _cell(self, test, title, measure):
        values = self.values(test, title, measure)
        if not values:
            return ""
        if isinstance(values[0], bool):
            return "yes" if all(values) else "no"
        if isinstance(values[0], str):
            return values[0]
        against = self.ratio(test, title, measure)
        if title == YARDSTICK or measure in PLAIN or against is None:
            return number(median(values))
        return f"{number(median(values))} ({number(against)} x)"

    def figure(self):
        """The plot of the overview, as SVG."""
        panels = []
        for test, measure, heading, _, more in OVERVIEW:
            if measure not in PLOTTED:
                continue
            bars = []
            for title in self.rounds.get(test, {}):
                values = self.values(test, title, measure)
                bars.append((title, median(values) if values else None))
            if any(value for _, value in bars):
                unit = heading if heading.rpartition(", ")[2] != "x of C" else measure
                panels.append((f"{unit} ({'more' if more else 'less'} is better)", bars))
        return plot.bars(panels)

    def write(self, folder):
        """Write results.md and results.svg into a folder."""
        (folder / "results.svg").write_text(self.figure())
        text = f"# What scripts/bench measured\n\n![figure](results.svg)\n\n{self.markdown()}"
        (folder / "results.md").write_text(text)


def machine():
    """The date, and what is measured on."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{time.strftime('%-d %B %Y')}, {os.cpu_count()} cores of {model}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def row(cells):
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def number(value):
    """Three digits that matter."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
