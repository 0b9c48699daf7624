"""Show what was measured as a Markdown table."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """What one case took, for each framework the seconds of every round."""

    name: str
    title: str
    target: float
    rounds: dict[str, list[float]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def best(self, framework: str) -> float | None:
        """Seconds of the quickest round: the one that was disturbed least."""
        return min(self.rounds[framework]) if self.rounds.get(framework) else None

    def ratio(self) -> float | None:
        """spica's time as a part of Starlette's."""
        return quotient(self.best("spica"), self.best("starlette"))

    def ratio_to_best_peer(self, peers: Sequence[str]) -> float | None:
        """spica's time as a part of that of the quickest other framework."""
        times = [time for time in map(self.best, peers) if time is not None]
        return quotient(self.best("spica"), min(times, default=None))

    def ratio_text(self) -> str:
        """Return the ratio as text; one that misses its target with a digit more, which may tell by what."""
        ratio = self.ratio()
        return f"{ratio:.3f}" if ratio is not None and self.is_missed else ratio_text(ratio)

    @property
    def is_missed(self) -> bool:
        ratio = self.ratio()
        return ratio is not None and ratio > self.target


def quotient(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below


def microseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    value = seconds * 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def compact(value: float) -> str:
    """Return a number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def ratio_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a table whose first columns, ``texts`` of them, are words and whose others are numbers."""
    rule = ["---" if number < texts else "---:" for number in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def markdown(rows: Sequence[Row], frameworks: Sequence[str], peers: Sequence[str]) -> str:
    """Return the table; times are microseconds a request, of the best round."""
    head = ["case", *frameworks, "spica/Starlette", "at most", "spica/best peer", ""]
    lines = []
    for row in rows:
        cells = [row.title]
        cells += ["wrong!" if f in row.faults else microseconds(row.best(f)) for f in frameworks]
        cells += [row.ratio_text(), ratio_text(row.target)]
        cells += [ratio_text(row.ratio_to_best_peer(peers)), "**missed**" if row.is_missed else ""]
        lines.append(cells)
    return markdown_table(head, lines)
