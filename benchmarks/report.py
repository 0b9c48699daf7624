"""The cases as the documentation shows them: tables and the sentences about them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.environment import Environment
from benchmarks.table import Row, markdown_table, microseconds, ratio_text

PEERS = {"blacksheep": "BlackSheep", "falcon": "Falcon", "litestar": "Litestar"}


MAIN_CASES = (
    *("plain", "json-mixed-rows", "json-echo", "last-route", "small-upload"),
    *("stream-text", "static", "middleware-5", "stack-rows", "thread"),
)
"""The cases of the table in README."""

Times = Mapping[str, tuple[str, float]]
"""By the name of a step its title and its seconds."""


@dataclass(frozen=True)
class Result:
    """What one run measured."""

    environment: Environment
    rounds: int
    rows: list[Row]


def read_result(text: str) -> Result:
    """Return what ``scripts/bench cases --json`` wrote."""
    data = json.loads(text)
    rows = [Row(**row) for row in data["rows"]]
    return Result(Environment(**data["environment"]), data["rounds"], rows)


def introduction(result: Result) -> str:
    """Return how the table was made, and on what."""
    where = result.environment.sentence(*PEERS.values())
    return (
        "In memory, all in one process and one run, round by round in turn; the best of "
        f"{result.rounds} rounds.\n{where}. Trust the ratios, not the microseconds;\n"
        "`scripts/bench` measures again."
    )


def cases_table(rows: Sequence[Row], packages: Mapping[str, str]) -> str:
    """Return all frameworks on one Python."""
    starlette = "Starlette " + ".".join(packages.get("Starlette", "").split(".")[:2])
    names = ["spica", starlette.strip(), *PEERS.values(), "bare ASGI"]
    head = ["one request, in microseconds", *names, "spica / Starlette", "aim"]
    lines = []
    for row in rows:
        times = [row.best(name) for name in ("spica", "starlette", *PEERS, "bare")]
        aim = ratio_text(row.target) + (" (missed)" if row.is_missed else "")
        lines.append([row.title, *map(microseconds, times), row.ratio_text(), aim])
    return markdown_table(head, lines)


def main_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of ``MAIN_CASES``."""
    return [row for row in rows if row.name in MAIN_CASES]


def pythons_table(rows: Mapping[str, Sequence[Row]]) -> str:
    """Return spica and Starlette on each Python, by its version."""
    head = ["one request, in microseconds"]
    for version in rows:
        head += [f"{version}: spica", "Starlette", "ratio"]
    lines: dict[str, list[str]] = {}
    for number, results in enumerate(rows.values()):
        for row in results:
            line = lines.setdefault(row.name, [row.title])
            line += [""] * (1 + 3 * number - len(line))  # for each Python that does not have it
            ratio = row.ratio_text() + (" (missed)" if row.is_missed else "")
            line += [microseconds(row.best(name)) for name in ("spica", "starlette")] + [ratio]
    full = [line + [""] * (len(head) - len(line)) for line in lines.values()]
    targets = {row.name: row.target for results in rows.values() for row in results}
    for name, line in zip(lines, full, strict=True):
        line.append(ratio_text(targets[name]))
    return markdown_table([*head, "aim"], full)


def floors_table(times: Mapping[str, Times]) -> str:
    """Return the steps up to whole applications, for each Python by its name."""
    titles = {step: title for found in times.values() for step, (title, _) in found.items()}
    lines = [
        [
            title,
            *(microseconds(found[step][1]) if step in found else "" for found in times.values()),
        ]
        for step, title in titles.items()
    ]
    return markdown_table(["microseconds", *times], lines)


def verdict(rows: Sequence[Row]) -> str:
    """Return where spica is behind: behind its aim, and behind another framework."""
    missed = [
        f"{row.title} ({row.ratio_text()}, not {ratio_text(row.target)})"
        for row in rows
        if row.is_missed
    ]
    ahead = [text for text in map(peers_ahead, rows) if text]
    sentences = [
        f"Short of the aim: {', '.join(missed)}." if missed else "All aims are met.",
        f"Another framework is ahead: {'; '.join(ahead)}." if ahead else "",
    ]
    return "\n".join(sentence for sentence in sentences if sentence)


def peers_ahead(row: Row) -> str:
    """Return the row's title and the frameworks that are quicker than spica, or nothing."""
    own = row.best("spica")
    if own is None:
        return ""
    times = {name: row.best(framework) for framework, name in PEERS.items()}
    quicker = [f"{n} {microseconds(time)}" for n, time in times.items() if time and time < own]
    return f"{row.title} ({', '.join(quicker)}, spica {microseconds(own)})" if quicker else ""
