"""What was measured: medians, ratios within a round, and a Markdown table of them."""

from statistics import median

YARDSTICK = "c"


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

    def markdown(self):
        """All of it, a table for each test."""
        return "\n\n".join(self._table(test) for test in self.rounds)

    def _table(self, test):
        titles = list(self.rounds[test])
        measures = []
        for rounds in self.rounds[test].values():
            for result in rounds:
                measures += [name for name in result if name not in measures]
        lines = [f"### {test}", "", row(["", *titles]), row(["---"] * (len(titles) + 1))]
        for measure in measures:
            lines.append(row([measure, *(self._cell(test, title, measure) for title in titles)]))
        return "\n".join(lines)

    def _cell(self, test, title, measure):
        values = [result.get(measure) for result in self.rounds[test][title]]
        values = [value for value in values if value is not None]
        if not values:
            return ""
        if isinstance(values[0], bool):
            return "yes" if all(values) else "no"
        if isinstance(values[0], str):
            return values[0]
        text = number(median(values))
        against = self._ratio(test, title, measure)
        return text if against is None else f"{text} ({number(against)} x)"

    def _ratio(self, test, title, measure):
        first = next(iter(self.rounds[test]))
        if title == first:
            return None
        pairs = zip(self.rounds[test][title], self.rounds[test][first])
        ratios = [
            one[measure] / other[measure]
            for one, other in pairs
            if one.get(measure) is not None and other.get(measure)
        ]
        return median(ratios) if ratios else None


def row(cells):
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def number(value):
    """Three digits that matter."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
