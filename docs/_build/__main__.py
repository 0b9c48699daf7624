"""Build the documentation as HTML: ``scripts/docs [DIRECTORY]``, by default into ``build/docs``."""

import shutil
import sys
from pathlib import Path

from pages import DOCS, all_sections
from reference import reference_pages
from website import BrokenLinks, Website

if len(sys.argv) > 2:
    sys.exit("usage: scripts/docs [DIRECTORY]")
directory = Path(sys.argv[1]) if len(sys.argv) == 2 else DOCS.parent / "build" / "docs"
if directory.exists():
    # Only what was built before: a directory of something else is left alone.
    if any(directory.iterdir()) and not (directory / "style.css").exists():
        sys.exit(f"{directory} is not empty, and holds no documentation.")
    shutil.rmtree(directory)
try:
    count = Website(all_sections(reference_pages())).write(directory)
except BrokenLinks as error:
    sys.exit(str(error))
print(f"{count} pages: {directory / 'index.html'}")
