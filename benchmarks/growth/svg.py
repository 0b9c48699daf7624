"""Draw lines as a small SVG that is legible on light and on dark pages.

A plotting library would do it too: matplotlib brings 160 MB for the purpose and draws 25 kB a plot in
colours that fit one background. What is needed here is lines, marks and two scales. The text is the
same for the same numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 124, 44, 56
LABEL_HEIGHT = 15
COLOURS = (("#2a78d6", "#5b9bea"), ("#d4551f", "#ee8250"), ("#12875c", "#35b786"), ("#777", "#999"))
"""Of each line, on light and on dark pages."""


def style() -> str:
    """Return the style sheet of a plot."""
    rules = [
        "text { font: 13px system-ui, sans-serif; fill: #333 }",
        ".title { font-size: 15px; font-weight: 600 }",
        ".grid { stroke: #888; stroke-opacity: .3 }",
        ".line { fill: none; stroke-width: 2; stroke-linejoin: round }",
        ".name { font-weight: 600 }",
        *(colour(number, light) for number, (light, _) in enumerate(COLOURS)),
        "@media (prefers-color-scheme: dark) {",
        "text { fill: #ddd }",
        *(colour(number, dark) for number, (_, dark) in enumerate(COLOURS)),
        "}",
    ]
    return "\n".join(rules)


def colour(number: int, value: str) -> str:
    return f".l{number} {{ stroke: {value} }} .f{number} {{ fill: {value} }}"


Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """Lines over one axis."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    """The points of each line by its name: at most four lines."""
    x_log: bool = True
    x_text: Callable[[float], str] = "{:,.0f}".format
    y_text: Callable[[float], str] = "{:,g}".format

    def ticks_of_x(self) -> list[float]:
        """Return the places where something was measured."""
        return sorted({x for points in self.lines.values() for x, _ in points})


class Scale:
    """Map values to places on the page."""

    def __init__(self, low: float, high: float, begin: float, end: float, log: bool) -> None:
        self.map: Callable[[float], float] = math.log10 if log else float
        self.low = self.map(low)
        self.span = self.map(high) - self.low or 1
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        part = (self.map(value) - self.low) / self.span
        return round(self.begin + part * (self.end - self.begin), 1)


def ticks_of_y(low: float, high: float) -> list[float]:
    """Return round numbers around the values, on a logarithmic scale; the first and last enclose them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = [digit * 10.0**exponent for exponent in exponents for digit in digits]
        below = max((tick for tick in ticks if tick <= low), default=ticks[0])
        above = min((tick for tick in ticks if tick >= high), default=ticks[-1])
        chosen = [tick for tick in ticks if below <= tick <= above]
        if len(chosen) > 3:
            break
    return chosen


def spread(places: Sequence[float]) -> list[float]:
    """Return the places of labels, moved down as far as is needed for none to lie on another."""
    moved = dict.fromkeys(range(len(places)), 0.0)
    free = -math.inf
    for number in sorted(moved, key=lambda number: places[number]):
        moved[number] = max(places[number], free)
        free = moved[number] + LABEL_HEIGHT
    return list(moved.values())


def draw(plot: Plot) -> str:
    """Return the SVG document; the vertical scale is logarithmic."""
    values = [y for points in plot.lines.values() for _, y in points]
    y_ticks = ticks_of_y(min(values), max(values))
    x_ticks = plot.ticks_of_x()
    x = Scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT, plot.x_log)
    y = Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, log=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(plot.title)}</title><style>{style()}</style>",
        text(LEFT, 20, plot.title, kind="title"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, plot.x_label, "middle"),
        text(LEFT, 36, plot.y_label),
    ]
    for tick in y_ticks:
        parts.append(rule(LEFT, y(tick), WIDTH - RIGHT, y(tick)))
        parts.append(text(LEFT - 8, y(tick) + 4, plot.y_text(tick), "end"))
    for tick in x_ticks:
        parts.append(rule(x(tick), HEIGHT - BOTTOM, x(tick), HEIGHT - BOTTOM + 5))
    parts += x_labels(plot, x_ticks, x)
    names = spread([y(points[-1][1]) for points in plot.lines.values()])
    for number, (name, points) in enumerate(plot.lines.items()):
        places = [(x(one), y(other)) for one, other in points]
        path = " ".join(f"{left:g},{top:g}" for left, top in places)
        parts.append(f'<polyline class="line l{number}" points="{path}"/>')
        parts += [
            f'<circle class="f{number}" cx="{left:g}" cy="{top:g}" r="3.5"/>'
            for left, top in places
        ]
        parts.append(text(WIDTH - RIGHT + 10, names[number] + 4, name, kind=f"name f{number}"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def x_labels(plot: Plot, ticks: Sequence[float], x: Scale) -> list[str]:
    """Return the labels below the axis, leaving out those that have no room."""
    labels, free = [], -math.inf
    for tick in ticks:
        words = plot.x_text(tick)
        half = 4 * len(words) + 4
        if x(tick) - half >= free:
            labels.append(text(x(tick), HEIGHT - BOTTOM + 20, words, "middle"))
            free = x(tick) + half
    return labels


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'
