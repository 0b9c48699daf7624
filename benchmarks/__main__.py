"""The command line: ``scripts/bench [cases | server | memory | import]``."""

import argparse
import sys

from benchmarks import compare, imports, load, memory
from benchmarks.cases import all_cases

VERBS = ("cases", "server", "memory", "import")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure spica beside Starlette and its peers."
    )
    verbs = parser.add_subparsers(dest="verb")

    cases = verbs.add_parser("cases", help="requests in memory, one after the other (the default)")
    cases.add_argument("--case", action="append", default=[], metavar="NAME", help="only this row")
    cases.add_argument("--only", action="append", default=[], choices=compare.FRAMEWORKS)
    cases.add_argument("--rounds", type=int, default=15, help="rounds a framework (default: 15)")
    cases.add_argument("--json", metavar="FILE", help="write everything that was measured there")
    cases.add_argument(
        "--profile", type=int, metavar="NUMBER", help="profile so many requests of each --case"
    )
    cases.add_argument("--list", action="store_true", help="list the names of the rows")

    server = verbs.add_parser("server", help="load on real servers, by wrk")
    server.add_argument("--server", action="append", choices=("uvicorn", "granian"))
    server.add_argument("--seconds", type=int, default=4, help="for each figure (default: 4)")

    verbs.add_parser("memory", help="memory that a gigabyte takes, both ways, through uvicorn")

    importing = verbs.add_parser("import", help="time that importing takes")
    importing.add_argument("--rounds", type=int, default=21, help="(default: 21)")
    return parser


def main(words: list[str]) -> int:
    """Carry out one verb and return the exit status."""
    if not words or words[0] not in (*VERBS, "-h", "--help"):
        words = ["cases", *words]  # the first verb may be left out
    parser = make_parser()
    arguments = parser.parse_args(words)
    if arguments.verb == "server":
        return load.run(arguments.server or ["uvicorn", "granian"], arguments.seconds)
    if arguments.verb == "memory":
        return memory.run()
    if arguments.verb == "import":
        return imports.run(arguments.rounds)
    titles = {case.name: case.title for case in all_cases()}
    if arguments.list:
        for name, title in titles.items():
            print(f"{name:20} {title}")
        return 0
    for name in arguments.case:
        if name not in titles:
            parser.error(f"no case is named {name!r}; --list tells the names")
    if arguments.profile:
        framework = arguments.only[0] if arguments.only else "spica"
        return compare.profile(arguments.case or ["plain"], framework, arguments.profile)
    frameworks = arguments.only or list(compare.FRAMEWORKS)
    return compare.run(arguments.case, frameworks, arguments.rounds, arguments.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
