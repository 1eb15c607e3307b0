"""Figures as SVG text, readable on light and on dark backgrounds: bars and curves, log scale.

Names and numbers in, text out.
"""

import math
from html import escape

WIDTH = 760
LEFT = 190  # of the bars: room for the names
BAR = 14
STYLE = """\
text { font: 12px sans-serif; fill: #6e7781 } .head { font-weight: bold }
.grid { stroke: #8c959f; stroke-opacity: .35 } .ours { fill: #1a7f64; stroke: #1a7f64 }
.other { fill: #8c959f; stroke: #8c959f } .yard { fill: #9a6700; stroke: #9a6700 }
polyline { fill: none !important; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #9da7b3 } }
"""


def bars(panels):
    """A panel below the other, each (heading, [(name, value or None), ...])."""
    parts, y = [], 10
    for heading, values in panels:
        parts.append(text(0, y + 12, heading, "head"))
        y += 20
        known = [value for _, value in values if value]
        low = 10 ** math.floor(math.log10(min(known)) - 0.01)
        high = 10 ** math.ceil(math.log10(max(known)) + 0.01)
        scale = Scale(low, high, LEFT, WIDTH - 60)
        bottom = y + (BAR + 4) * len(values)
        for mark in scale.marks():
            x = scale(mark)
            parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{bottom}"/>')
            parts.append(text(x, bottom + 12, short(mark), anchor="middle"))
        for name, value in values:
            parts.append(text(LEFT - 6, y + 12, name, anchor="end"))
            if value is None:
                parts.append(text(LEFT + 4, y + 12, "failed"))
            else:
                end = scale(max(value, low))
                parts.append(
                    f'<rect class="{kind(name)}" x="{LEFT}" y="{y + 1}" '
                    f'width="{end - LEFT + 1:.1f}" height="{BAR}"/>'
                )
                parts.append(text(end + 5, y + 12, short(value)))
            y += BAR + 4
        y += 26
    return svg(y, parts)


def curves(heading, across, panels):
    """Curves over a common axis.

    across: the axis's name.  panels: (name of the values, {contestant: [(x, y), ...]}).
    """
    height, parts, y = 150, [text(0, 22, heading, "head")], 34
    xs = [x for _, lines in panels for points in lines.values() for x, _ in points]
    wide = Scale(min(xs), max(xs), 70, WIDTH - 170)
    for name, lines in panels:
        values = [value for points in lines.values() for _, value in points if value > 0]
        if not values:
            continue
        parts.append(text(70, y + 12, name))
        low = 10 ** math.floor(math.log10(min(values)) - 0.01)
        high = 10 ** math.ceil(math.log10(max(values)) + 0.01)
        scale = Scale(low, high, y + height, y + 20)
        for mark in scale.marks():
            at = scale(mark)
            parts.append(
                f'<line class="grid" x1="70" y1="{at:.1f}" x2="{WIDTH - 170}" y2="{at:.1f}"/>'
            )
            parts.append(text(64, at + 4, short(mark), anchor="end"))
        for x in sorted(set(xs)):
            parts.append(text(wide(x), y + height + 16, short(x), anchor="middle"))
        for title, points in lines.items():
            drawn = [(wide(x), scale(max(value, low))) for x, value in points]
            path = " ".join(f"{x:.1f},{at:.1f}" for x, at in drawn)
            parts.append(f'<polyline class="{kind(title)}" points="{path}"/>')
            for x, at in drawn:
                parts.append(f'<circle class="{kind(title)}" cx="{x:.1f}" cy="{at:.1f}" r="3"/>')
            parts.append(text(drawn[-1][0] + 8, drawn[-1][1] + 4, title))
        y += height + 30
    parts.append(text((WIDTH - 100) / 2, y + 4, across, anchor="middle"))
    return svg(y + 14, parts)


class Scale:
    """A logarithmic axis: value to place."""

    def __init__(self, low, high, start, end):
        self.low, self.high = low, max(high, low * 1.001)
        self.start, self.end = start, end

    def __call__(self, value):
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def marks(self):
        """The powers of ten on it, thinned out when there are many."""
        first, last = round(math.log10(self.low)), round(math.log10(self.high))
        return [10.0**n for n in range(first, last + 1, 1 + (last - first) // 7)]


def kind(name):
    """The class that gives a contestant its colour."""
    if name.startswith("C pair"):
        return "yard"
    return "ours" if name.startswith(("tcppipe", "gen_numbers", "fetch_logs")) else "other"


def text(x, y, words, style="", anchor="start"):
    """A text element."""
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def short(value):
    """A number for an axis."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def svg(height, parts):
    """The file."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {WIDTH + 20} {height:.0f}" '
        f'width="{WIDTH + 20}">\n<style>\n{STYLE}</style>\n{body}\n</svg>\n'
    )
