"""Build the documentation as HTML: ``scripts/docs [DIRECTORY]``, by default into ``build/docs``."""

import shutil
import sys
import tempfile
from pathlib import Path

from pages import DOCS, all_sections
from reference import reference_pages
from site_pages import write_sources
from sphinx.application import Sphinx

if len(sys.argv) > 2:
    sys.exit("usage: scripts/docs [DIRECTORY]")
directory = Path(sys.argv[1]) if len(sys.argv) == 2 else DOCS.parent / "build" / "docs"
if directory.exists():
    # Remove an earlier build only: any other folder stays as it is.
    if any(directory.iterdir()) and not (directory / "searchindex.js").exists():
        sys.exit(f"{directory} is not empty, and contains no documentation.")
    shutil.rmtree(directory)
with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary) / "docs"
    folder.mkdir()
    count = write_sources(all_sections(reference_pages()), folder)
    sphinx = Sphinx(
        folder,
        folder,
        directory,
        Path(temporary) / "doctrees",
        "html",
        status=None,
        warningiserror=True,
        exception_on_warning=False,
        parallel=2,
    )
    sphinx.build()
if sphinx.statuscode:
    sys.exit("The pages have mistakes, see above.")
print(f"{count} pages: {directory / 'index.html'}")
