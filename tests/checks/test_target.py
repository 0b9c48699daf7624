"""Which module a command line names, or leaves out."""

from pathlib import Path

import pytest

from spica.checks.target import LoadError, Target, find_targets


def write(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def modules(folder: Path) -> list[str]:
    return [target.module for target in find_targets(None, str(folder))]


@pytest.mark.parametrize(
    ("text", "module", "attribute"),
    [
        ("main", "main", ""),
        ("main:", "main", ""),
        ("main:app", "main", "app"),
        ("shop.web:box.app", "shop.web", "box.app"),
    ],
)
def test_a_module(tmp_path: Path, text: str, module: str, attribute: str) -> None:
    assert find_targets(text, str(tmp_path)) == [Target(module, attribute, str(tmp_path))]


@pytest.mark.parametrize(
    ("text", "module", "attribute", "folder"),
    [
        ("main.py", "main", "", "."),
        ("main.py:api", "main", "api", "."),
        ("src/tools.py", "tools", "", "src"),
        ("src/shop/web/main.py", "shop.web.main", "", "src"),
        ("src/shop/__init__.py:app", "shop", "app", "src"),
    ],
)
def test_a_file(tmp_path: Path, text: str, module: str, attribute: str, folder: str) -> None:
    write(tmp_path, "main.py", "src/tools.py", "src/shop/__init__.py")
    write(tmp_path, "src/shop/web/__init__.py", "src/shop/web/main.py")
    expected = Target(module, attribute, str((tmp_path / folder).resolve()))
    assert find_targets(text, str(tmp_path)) == [expected]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["main.py", "app.py"], ["main", "app"]),
        (["app.py", "shop/__init__.py"], ["app", "shop"]),
        (["shop/__init__.py", "shop/app.py"], ["shop.app", "shop"]),
        (["shop/__init__.py", "tests/__init__.py"], ["shop"]),
        (["app/main.py"], ["app.main"]),
        (["src/shop/__init__.py", "src/shop/main.py"], ["shop.main", "shop"]),
    ],
)
def test_the_usual_places(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    write(tmp_path, *files)
    assert modules(tmp_path) == expected


@pytest.mark.parametrize("files", [[], ["shop.py"], ["one/__init__.py", "two/__init__.py"]])
def test_nothing_in_the_usual_places(tmp_path: Path, files: list[str]) -> None:
    write(tmp_path, *files)
    with pytest.raises(LoadError, match=r"it has no main\.py, no app\.py and no single package"):
        find_targets(None, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":app", "':app' does not name a module. Write module:attribute, for example main:app."),
        ("shop/web", "'shop/web' is not a module. Write module:attribute"),
        ("other.py:app", "There is no file 'other.py' in "),
    ],
)
def test_a_target_that_means_nothing(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        find_targets(text, str(tmp_path))
    assert str(caught.value).startswith(message)


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not a directory"):
        find_targets("main", str(tmp_path / "nowhere"))
