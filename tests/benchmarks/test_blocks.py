"""The parts of pages that the benchmarks write."""

from pathlib import Path

from benchmarks import figures, growth
from benchmarks.blocks import fill, names_of, replace
from benchmarks.growth import bodies

PAGE = "# Page\n\n<!-- bench: a -->\nold\n<!-- bench end -->\n\n<!-- bench: b c -->\n<!-- bench end -->\n"


def test_a_block_gets_its_new_content():
    assert replace(PAGE, {"a": "new"}) == PAGE.replace("old", "new")


def test_an_empty_block_is_filled():
    assert "<!-- bench: b c -->\nnew\n<!-- bench end -->" in replace(PAGE, {"b c": "new"})


def test_writing_twice_is_writing_once():
    once = replace(PAGE, {"a": "| x |", "b c": "1\n2"})

    assert replace(once, {"a": "| x |", "b c": "1\n2"}) == once


def test_what_is_in_no_block_stays():
    assert replace(PAGE, {"page": "new"}) == PAGE


def test_the_names_are_found_in_order():
    assert names_of(PAGE) == ["a", "b c"]


def test_a_file_is_rewritten(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)

    fill(page, {"a": "ä"})

    assert page.read_text("utf-8") == PAGE.replace("old", "ä")


def test_the_pages_have_a_place_for_all_figures():
    known = {"environment", "cases", "verdict", "pythons", "floor", "server", "cpu", "startup"}
    known.add("memory")
    pages = {page.name: set(names_of(page.read_text("utf-8"))) for page in figures.PAGES}

    assert pages["figures.md"] == known
    assert pages["README.md"] <= known | {"main cases"}


def test_the_page_of_plots_has_a_place_for_each():
    names = ["environment", "routes", "routes-404", "middlewares", "connections"]
    names += [f"body-{way}-{kind}" for way in bodies.WAYS for kind in ("time", "memory")]

    found = names_of(Path(growth.PAGE).read_text("utf-8"))

    assert sorted(found) == sorted(f"growth {name}" for name in names)
