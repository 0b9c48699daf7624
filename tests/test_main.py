"""The command line."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import spica
from spica.__main__ import main

WRONG = 'app = Spica(routes=[Route("/{a}", index), Route("/b", index)])'
DOUBTFUL = "app = Spica(debug=True)"
FINE = 'app = Spica(routes=[Route("/", index)])'


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text: str) -> None:
        sys.modules.pop("shop", None)
        head = "from spica.applications import Spica\nfrom spica.routing import Route\n"
        (tmp_path / "shop.py").write_text(f"{head}\nasync def index(request): ...\n\n{text}\n")

    yield write
    sys.modules.pop("shop", None)


@pytest.mark.parametrize(
    ("text", "options", "status"),
    [
        (FINE, [], 0),
        (FINE, ["--strict"], 0),
        (DOUBTFUL, [], 0),
        (DOUBTFUL, ["--strict"], 1),
        (WRONG, [], 1),
        (WRONG, ["--strict"], 1),
        ("1 / 0", [], 2),
    ],
)
def test_the_exit_status_of_check(
    program: Callable[[str], None], text: str, options: list[str], status: int
) -> None:
    program(text)
    assert main(["check", "shop:app", *options]) == status


def test_check_prints_a_report(
    program: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program(WRONG)
    main(["check", "shop:app"])
    output = capsys.readouterr()
    assert output.out.startswith("shop.py:4: error: Route('/b'")
    assert output.out.endswith("shop:app: 1 error, 0 warnings, 0 infos.\n")
    assert output.err == ""


def test_check_prints_json(
    program: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program(DOUBTFUL)
    assert main(["check", "shop:app", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [finding["code"] for finding in document["findings"]] == ["debug"]


@pytest.mark.parametrize("command", ["check", "routes"])
def test_what_can_not_be_loaded(
    command: str, program: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program("1 / 0")
    assert main([command, "shop:app"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "shop.py" in output.err  # the traceback of the program
    assert output.err.endswith(
        "spica: Module 'shop' can't be imported: ZeroDivisionError: division by zero"
        " (shop.py, line 6: 1 / 0)\n"
    )


def test_routes(program: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    program(FINE)
    assert main(["routes", "shop"]) == 0
    assert capsys.readouterr().out == "GET,HEAD  /  index  shop.index\n"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"spica {spica.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["check", "a:b", "--format", "xml"]])
def test_a_command_line_that_means_nothing(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: spica" in capsys.readouterr().err


def test_as_a_program(program: Callable[[str], None]) -> None:
    program(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "spica", "check", "shop:app"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(spica.__file__).parents[1])},
        check=False,
    )
    assert done.returncode == 1
    assert "error: Route('/b'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["run", "--reload"], "--reload. spica dev reloads on save."),
        (["run", "shop:app", "--bind=0.0.0.0:80"], "Write --host and --port."),
        (["dev", "--workers", "2"], "Use spica run."),
        (["runserver"], "Write spica dev."),
    ],
    ids=["option", "with value", "other command", "command"],
)
def test_an_option_or_command_of_another_tool_names_the_fix(
    capsys: pytest.CaptureFixture[str], arguments: list[str], fix: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(fix)
