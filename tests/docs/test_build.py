"""The documentation is complete: each page is in the menu, each module has a page, each link has a target."""

import re
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


def test_headings_have_anchors_by_name():
    import site_pages

    assert site_pages.slug("`BaseRoute.matches()`") == "baseroute.matches"
    assert site_pages.slug("Checks and limits") == "checks-and-limits"


def test_a_public_name_in_running_text_links_to_the_reference():
    import site_pages
    from pages import Page

    text = "# `Route`\n\nA `Route()`, a [`Route`](x.md), ``Route``.\n\n```python\n`Route`\n```\n"
    linked = site_pages.link_names(
        Page("guide/page", "Page", text), {"Route": "reference/r.md#route"}
    )

    assert linked == text.replace("`Route()`", "[`Route()`](../reference/r.md#route)")


def test_a_name_with_two_meanings_has_no_link():
    import site_pages
    from pages import Page

    pages = [
        Page(f"reference/{name}", name, f"# `{name}`\n\n## `Same`\n\n## `{name}1`\n")
        for name in ("a", "b")
    ]

    assert site_pages.index_names(pages)["a1"] == "reference/a.md#a1"
    assert "Same" not in site_pages.index_names(pages)


def test_the_sources_of_the_site_have_a_menu_and_the_images(tmp_path, monkeypatch):
    import site_pages
    from pages import Page

    monkeypatch.setattr(site_pages, "DOCS", tmp_path / "docs")
    (tmp_path / "docs" / "plots").mkdir(parents=True)
    (tmp_path / "docs" / "plots" / "a.svg").write_text("<svg/>")
    sections = {
        "Start": [Page("index", "spica", "# spica\n")],
        "Guide": [Page("guide/page", "Page", "# Page\n\n![A](../plots/a.svg)\n")],
    }

    assert site_pages.write_sources(sections, tmp_path / "sources") == 2
    index = (tmp_path / "sources" / "index.md").read_text("utf-8")
    assert ":caption: Guide\n\nPage <guide/page>" in index
    assert (tmp_path / "sources" / "plots" / "a.svg").read_text() == "<svg/>"


LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<path>[\w./-]*\.md)?(?:#(?P<anchor>[^)]*))?\)")


def anchors_of(file):
    import site_pages

    headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
    return {site_pages.slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)) for text in headings}


@pytest.mark.parametrize("file", sorted(DOCS.rglob("*.md")), ids=lambda file: file.stem)
def test_every_link_leads_somewhere(file):
    broken = []
    for link in LINK.finditer(file.read_text("utf-8")):
        target = file.parent / link["path"] if link["path"] else file
        if not target.is_file() or (link["anchor"] and link["anchor"] not in anchors_of(target)):
            broken.append(link[0])

    assert broken == []
