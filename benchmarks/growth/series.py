"""What was measured along one axis, and how it is shown."""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.growth.svg import Plot, draw
from benchmarks.table import compact, markdown_table

NAMES = {
    "spica": "spica",
    "starlette": "Starlette",
    "blacksheep": "BlackSheep",
    "falcon": "Falcon",
    "bare": "bare ASGI",
}
"""Frameworks as they are written."""


def data_size(size: float) -> str:
    """Return a number of bytes as text: ``10 KB``."""
    for unit, factor in (("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size:g} B"


@dataclass
class Series:
    """One plot: a value for each framework at each place."""

    name: str
    """The file's name, without suffix."""
    title: str
    x_label: str
    y_label: str
    values: dict[str, dict[float, float]] = field(default_factory=dict)
    """By framework, then by place."""
    x_log: bool = True
    x_text: Callable[[float], str] = "{:,.0f}".format
    fault: str = ""
    """What spica promises and does not keep here."""

    def add(self, framework: str, place: float, value: float) -> None:
        self.values.setdefault(framework, {})[place] = value

    def svg(self) -> str:
        """Return the plot."""
        lines = {NAMES[name]: list(values.items()) for name, values in self.values.items()}
        plot = Plot(self.title, self.x_label, self.y_label, lines, self.x_log, self.x_text)
        return draw(plot)

    def markdown(self) -> str:
        """Return the numbers as a table."""
        places = list(next(iter(self.values.values())))
        head = [f"{self.y_label}, by {self.x_label}", *(self.x_text(place) for place in places)]
        rows = [
            [NAMES[name], *(compact(values[place]) for place in places)]
            for name, values in self.values.items()
        ]
        return markdown_table(head, rows)
