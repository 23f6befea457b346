# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG, readable on light and on dark pages: the page's own background, colours for both."""

import dataclasses
import math

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 40, 48

# Of Okabe and Ito's palette, told apart by readers who see fewer colours.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]

STYLE = """<style>
text { font: 12px sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: bold }
.axis { stroke: #57606a; fill: none } .grid { stroke: #8c959f; stroke-opacity: .3 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { stroke: #9198a1 } }
</style>"""


@dataclasses.dataclass
class Series:
    label: str
    points: list  # of (x, y)
    colour: int = 0
    dashed: bool = False


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def number(value):
    return f"{value:g}" if value < 10000 else f"{value / 1000:g}k"


def chart(path, title, x_label, y_label, series, log_y=False, y_max=None):
    """A line chart; x is logarithmic to base 2."""
    xs = sorted({x for line in series for x, _ in line.points})
    ys = [y for line in series for _, y in line.points]
    if log_y:
        low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
        ticks = [10 ** power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    else:
        low, high = 0, y_max or max(ys)
        ticks = [high * step / 5 for step in range(6)]
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(x):
        return LEFT + inner_width * (math.log2(x / xs[0]) / math.log2(xs[-1] / xs[0]))

    def at_y(y):
        part = math.log(y / low) / math.log(high / low) if log_y else (y - low) / (high - low)
        return TOP + inner_height * (1 - part)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">', STYLE,
             f'<title>{escaped(title)}</title>', f'<text class="title" x="{LEFT}" y="20">{escaped(title)}</text>']
    for tick in ticks:
        y = at_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + inner_width}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for x in xs:
        parts.append(f'<text x="{at_x(x):.1f}" y="{TOP + inner_height + 18}" text-anchor="middle">{number(x)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{TOP + inner_height}H{LEFT + inner_width}"/>')
    parts.append(f'<text x="{LEFT + inner_width / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escaped(x_label)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}">{escaped(y_label)}</text>')
    for row, line in enumerate(series):
        colour = COLOURS[line.colour % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        y = TOP + 10 + 18 * row
        left = LEFT + inner_width + 12
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + 24}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{left + 30}" y="{y + 4}">{escaped(line.label)}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts + ["</svg>", ""]))


def bars(path, title, columns, rows):
    """Groups of bars, one group a column; in each the largest value is a full bar. rows: [(label, values, None: none)]."""
    row_height, gap, left = 14, 16, 130
    group_height = row_height * len(rows) + gap
    height = TOP + group_height * len(columns) + 18 * len(rows) + 24
    full = WIDTH - left - 90
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">', STYLE,
             f'<title>{escaped(title)}</title>', f'<text class="title" x="16" y="20">{escaped(title)}</text>']
    for group, column in enumerate(columns):
        top = TOP + group * group_height
        parts.append(f'<text x="{left - 8}" y="{top + group_height / 2 - 4:.0f}" text-anchor="end">{escaped(column)}</text>')
        values = [values[group] for _, values in rows]
        most = max((value for value in values if value), default=1)
        for row, value in enumerate(values):
            y = top + row * row_height
            length = full * (value or 0) / most
            shown = "-" if value is None else number(round(value))
            parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{row_height - 3}" '
                         f'fill="{COLOURS[row % len(COLOURS)]}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + row_height - 4}">{shown}</text>')
    for row, (label, _) in enumerate(rows):
        y = TOP + group_height * len(columns) + 18 * row
        parts.append(f'<rect x="{left}" y="{y}" width="24" height="11" fill="{COLOURS[row % len(COLOURS)]}"/>')
        parts.append(f'<text x="{left + 32}" y="{y + 10}">{escaped(label)}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts + ["</svg>", ""]))
