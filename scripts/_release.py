"""Build the distributions, check them, and list what is left to do. Run by scripts/release."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

TOP_OF_SDIST = {
    *("spica", "tests", "examples", "docs", "scripts", "requirements", "benchmarks", "conformance"),
    *("README.md", "PACKAGE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("pyproject.toml", "PKG-INFO", ".gitignore"),
}
FORBIDDEN = re.compile(
    r"__pycache__|\.py[co]$|\.sqlite3|\.pth$|(^|/)\.(env|venv|git|hypothesis|mypy|ruff)($|[/_-])|/data/"
)
RELATIVE_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)]*)\)")
PROGRAM = """
import sys
import spica
from spica.applications import Spica
from spica.responses import PlainTextResponse
from spica.routing import Route
from spica.__main__ import main

async def index(request):
    return PlainTextResponse("ok")

app = Spica(routes=[Route("/", index)])
sent = []

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    sent.append(message)

import asyncio
scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": [],
    "scheme": "http", "http_version": "1.1", "root_path": "", "client": ("127.0.0.1", 1), "server": ("a", 80)}
asyncio.run(app(scope, receive, send))
if sent[0]["status"] != 200:
    sys.exit(f"the application answered {sent}")
if spica.__version__ != sys.argv[1]:
    sys.exit(f"the version is {spica.__version__}")
for name in sys.argv[2:]:
    __import__(name)
"""
MODULES = {
    "sessions": ["spica.middleware.sessions", "itsdangerous"],
    "templates": ["spica.templating", "jinja2"],
    "schemas": ["spica.schemas", "yaml"],
    "testclient": ["spica.testclient", "httpx2"],
    "opentelemetry": ["spica.middleware.opentelemetry", "opentelemetry"],
    "granian": ["granian"],
    "production": ["spica.templating", "spica.cli.uvicorn_server", "itsdangerous", "yaml"],
    "full": ["spica.testclient", "opentelemetry"],
    "standard": ["spica.testclient", "spica.cli.uvicorn_server", "watchfiles"],
}
"""What an extra must make importable."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; return its output, or end with it if the program fails."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(root: Path, target: Path) -> tuple[Path, Path]:
    """Build from a clean copy of what git knows; return the source distribution and the wheel."""
    target.mkdir(parents=True, exist_ok=True)
    for old in (*target.glob("spica-*.tar.gz"), *target.glob("spica-*.whl")):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "spica")
        copy.mkdir()
        names = run("git", "ls-files", "-z", "--cached", "--exclude-standard", cwd=root)
        for name in filter(None, names.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, copy)
    return next(target.glob("*.tar.gz")), next(target.glob("*.whl"))


def check_sdist(path: Path) -> list[str]:
    """Return what is wrong with the contents of the source distribution."""
    with tarfile.open(path) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    tops = {name.partition("/")[0] for name in names}
    problems = [f"{path.name} has an unexpected {name}" for name in sorted(tops - TOP_OF_SDIST)]
    problems += [f"{path.name} lacks {name}" for name in sorted(TOP_OF_SDIST - tops)]
    return problems + [f"{path.name} has {name}" for name in names if FORBIDDEN.search(name)]


def check_wheel(path: Path, root: Path) -> list[str]:
    """Return what is wrong with the contents and the metadata of the wheel."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        metadata = message_from_bytes(
            archive.read(next(name for name in names if name.endswith(".dist-info/METADATA")))
        )
    package = {name for name in names if ".dist-info/" not in name}
    listed = run("git", "ls-files", "spica", cwd=root).split()
    problems = [f"{path.name} has an unexpected {name}" for name in sorted(package - {*listed})]
    problems += [f"{path.name} lacks {name}" for name in sorted({*listed} - package)]
    problems += [f"{path.name} has {name}" for name in package if FORBIDDEN.search(name)]
    description = str(metadata.get_payload())
    links = RELATIVE_LINK.findall(description)
    return problems + [f"the long description has a relative link: {link}" for link in links]


def check_installs(wheel: Path, interpreter: str, version: str, sets: list[str]) -> list[str]:
    """Install the wheel with each set of extras; return those that can't be installed and used."""
    problems = []
    name = run(interpreter, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    for extras in sets:
        with tempfile.TemporaryDirectory() as folder:
            run(interpreter, "-m", "venv", folder)
            problem = try_install(wheel, Path(folder, "bin"), version, extras)
        what = f"Python {name}, {f'extras {extras}' if extras else 'no extra'}"
        print(f"{what}: {problem or 'works'}", flush=True)
        problems += [f"{what}: {problem}"] if problem else []
    return problems


def try_install(wheel: Path, binaries: Path, version: str, extras: str) -> str:
    """Install the wheel into an environment and run a small application; return an error or ""."""
    modules = [module for extra in extras.split(",") for module in MODULES.get(extra, [])]
    for command in (
        [
            binaries / "python",
            "-m",
            "pip",
            "install",
            "-qq",
            f"{wheel}[{extras}]" if extras else wheel,
        ],
        [binaries / "python", "-I", "-W", "error", "-c", PROGRAM, version, *modules],
        [binaries / "spica", "--version"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no output"])[-1]
    return ""


def check_changes(root: Path, version: str) -> list[str]:
    """Return what is wrong with the list of changes."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    problems = []
    if f"\n## {version} - " not in text:
        problems.append(f"CHANGELOG.md has no section '## {version} - DATE'")
    if re.search(r"^## Unreleased\n+(?!## )\S", text, re.MULTILINE):
        problems.append("CHANGELOG.md has entries under Unreleased")
    return problems


def main(root: Path, target: Path, pythons: list[str]) -> int:
    """Build, check and report; return the exit status."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = list(project["optional-dependencies"])
    sdist, wheel = build(root, target)
    version = wheel.name.split("-")[1]
    problems = check_changes(root, version) + check_sdist(sdist) + check_wheel(wheel, root)
    problems += [f"no modules are listed for extra {name}" for name in {*extras} - {*MODULES}]
    print(run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel).strip(), flush=True)
    for number, interpreter in enumerate(pythons):
        # Each extra alone on the oldest Python, which shows if it needs a package of another one.
        sets = ["", *extras] if not number else ["", "production", "full,standard,granian"]
        problems += check_installs(wheel, interpreter, version, sets)
    if run("git", "status", "--porcelain", cwd=root):
        problems.append("the working tree has changes that are not committed")
    for problem in problems:
        print(f"WRONG: {problem}")
    print(f"\nBuilt {sdist} and {wheel}.\nLeft to do by hand:")
    print("  1. Run .ci/run, and read docs/deviations.md once more.")
    print(
        "  2. Give SECURITY.md an address, and pyproject.toml [project.urls], once there are some."
    )
    print(f"  3. Tag the commit: git tag -s v{version}")
    print("  4. Upload both files with twine, from an account with a second factor.")
    print("  5. Start the next section of CHANGELOG.md: ## Unreleased")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
