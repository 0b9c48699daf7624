"""The documentation is complete: every page is listed, every module explained, every link leads somewhere."""

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_page_is_listed():
    import pages

    listed = {name for names in pages.SECTIONS.values() for name in names} | pages.UNLISTED
    written = {str(file.relative_to(DOCS).with_suffix("")) for file in DOCS.rglob("*.md")}

    assert {name for name in written if not name.startswith("decisions/")} - listed == set()


def test_every_public_module_has_a_page():
    import reference

    modules = reference.public_modules()

    assert {"spica.applications", "spica.routing", "spica.middleware.cors"} <= set(modules)
    assert not any("._" in name for name in modules)


def test_every_name_of_the_reference_is_explained():
    import reference

    silent = []
    for page in reference.reference_pages():
        entries = page.text.split("\n## ")[1:]
        silent += [f"{page.title}: {entry}" for entry in entries if "\n\n" not in entry.strip()]

    assert silent == []


def test_a_signature_stands_as_in_the_source():
    import reference

    text = reference.module_page("spica.requests").text

    assert "async body(*, max_size: int | float | None = None) -> bytes" in text


def test_sections_of_docstrings_become_lists():
    import docstrings

    text = docstrings.to_markdown("Do it.\n\nRaises:\n    ValueError: it is none,\n        really.")

    assert text == "Do it.\n\n\n**Raises**\n\n- `ValueError`: it is none, really."


def test_what_is_indented_behind_colons_becomes_code():
    import docstrings

    text = docstrings.to_markdown("So::\n\n    x = 1\n\nIt is.")

    assert text == "So:\n\n    x = 1\n\nIt is."


def test_a_mark_includes_a_file_without_its_heading(tmp_path, monkeypatch):
    import pages

    monkeypatch.setattr(pages, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("# Page\n\n<!-- include figures.md -->\n")
    (tmp_path / "figures.md").write_text("# Figures\n\n| a |\n")

    assert pages.read_page("page").text == "# Page\n\n| a |\n\n"


def test_the_whole_site_is_built(tmp_path):
    pytest.importorskip("markdown_it")
    import pages
    import reference
    from website import Website

    modules = [reference.module_page("spica.middleware"), reference.module_page("spica.routing")]
    count = Website(pages.all_sections(modules)).write(tmp_path)

    assert count > 20
    text = (tmp_path / "guide" / "routing.html").read_text("utf-8")
    assert 'href="../reference/spica.routing.html#baseroute"' in text


def test_images_are_copied(tmp_path, monkeypatch):
    pytest.importorskip("markdown_it")
    import website
    from pages import Page

    monkeypatch.setattr(website, "DOCS", tmp_path / "docs")
    (tmp_path / "docs" / "plots").mkdir(parents=True)
    (tmp_path / "docs" / "plots" / "a.svg").write_text("<svg/>")
    page = Page("guide/page", "Page", "# Page\n\n![A](../plots/a.svg)\n")

    website.Website({"Start": [page]}).write(tmp_path / "built")

    assert (tmp_path / "built" / "plots" / "a.svg").read_text() == "<svg/>"
    assert 'src="../plots/a.svg"' in (tmp_path / "built" / "guide" / "page.html").read_text()


def test_an_image_that_is_not_there_is_an_error(tmp_path):
    pytest.importorskip("markdown_it")
    from pages import Page
    from website import BrokenLinks, Website

    page = Page("index", "Index", "# Index\n\n![A](plots/none.svg)\n")

    with pytest.raises(BrokenLinks, match=r"docs/index: plots/none\.svg"):
        Website({"Start": [page]}).write(tmp_path)


def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    pytest.importorskip("markdown_it")
    from pages import Page
    from website import BrokenLinks, Website

    page = Page("index", "Index", "# Index\n\nSee [there](other.md).\n")

    with pytest.raises(BrokenLinks, match=r"docs/index: other\.html"):
        Website({"Start": [page]}).write(tmp_path)
