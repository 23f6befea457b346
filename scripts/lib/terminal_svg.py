# SPDX-License-Identifier: Apache-2.0
"""What `tmux capture-pane -e` printed, as an SVG that looks like the terminal."""

import html
import re

CHARACTER, LINE, MARGIN = 7.8, 17, 14  # pixels; of a monospaced font of 13 pixels
BACKGROUND, FOREGROUND = "#0d1117", "#c9d1d9"
# ECMA-48's eight colours and their bright ones, by the parameter of SGR.
COLOURS = dict(zip([*range(30, 38), *range(90, 98)],
                   ["#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4",
                    "#6e7681", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#ffffff"]))


def spans(line):
    """[(column, text, colour, bold)] of a line with SGR sequences."""
    result, column, colour, bold = [], 0, FOREGROUND, False
    for text, parameters in re.findall(r"([^\x1b]*)(?:\x1b\[([0-9;]*)m|\x1b\([A-Z0-9]|\x0f|$)", line):
        if text:
            result.append((column, text, colour, bold))
            column += len(text)
        for parameter in (int(word or 0) for word in parameters.split(";")) if parameters is not None else ():
            if parameter in (0, 39):
                colour = FOREGROUND
            if parameter in (0, 22):
                bold = False
            if parameter == 1:
                bold = True
            colour = COLOURS.get(parameter, colour)
    return result


def picture(captured, columns, title):
    """SVG text; `captured` is lines with their colours."""
    lines = captured.rstrip("\n").split("\n")
    width, height = 2 * MARGIN + columns * CHARACTER, 2 * MARGIN + len(lines) * LINE
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
             f"<title>{html.escape(title)}</title>",
             "<style>text { font: 13px ui-monospace, Menlo, Consolas, monospace; white-space: pre }</style>",
             f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>']
    for number, line in enumerate(lines):
        y = MARGIN + number * LINE + 12
        for column, text, colour, bold in spans(line):
            if text.strip():
                weight = ' font-weight="bold"' if bold else ""
                parts.append(f'<text x="{MARGIN + column * CHARACTER:.1f}" y="{y}" textLength="{len(text) * CHARACTER:.1f}" '
                             f'fill="{colour}"{weight} xml:space="preserve">{html.escape(text)}</text>')
    return "\n".join([*parts, "</svg>", ""])
