"""The settings of Sphinx. docs/_build/site.py copies this file beside the pages that it writes."""

from pathlib import Path

import spica

project = "spica"
author = "The spica contributors"
version = release = spica.__version__

extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]

myst_heading_anchors = 4
myst_heading_slug_func = "site_pages.slug"
myst_enable_extensions = ["fieldlist"]

html_theme = "furo"
html_title = f"spica {release}"
html_static_path = ["static"]
html_css_files = ["spica.css"]
html_copy_source = False
html_show_sphinx = False
# Summaries of search results need fetch(), which no browser allows for pages on the disk.
html_show_search_summary = False
html_search_scorer = str(Path(__file__).with_name("static") / "scorer.js")
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}

pygments_style = "default"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
