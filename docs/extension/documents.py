"""Documents of the repository as pages: links between them hold in both places."""

__all__ = ["PAGES", "lead", "led_links", "write_documents"]

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from docs.extension.settings import REPOSITORY, write

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Document in the repository -> the page that shows it.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "data.md",
    "data/reference/README.md": "claims.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def write_documents(docs: Path) -> None:
    """Write each document as a page; README is included in the first one."""
    for document, page in PAGES.items():
        path = REPOSITORY / document
        text = lead(path.read_text(encoding="utf-8"), path.parent, docs)
        write(docs / ("made/readme.md" if page == "index.md" else page), text)


def lead(text: str, here: Path, there: Path) -> str:
    """Lead links that were written in one folder from another, to pages where there
    are any.
    """

    def led(found: re.Match[str]) -> str:
        target = os.path.normpath(here / found[1])
        page = _page_of(os.path.relpath(target, REPOSITORY))
        return os.path.relpath(REPOSITORY / page, there)

    return LINK.sub(led, text)


def _page_of(path: str) -> str:
    """What shows a file of the repository: a page, or the file itself."""
    if path in PAGES:
        return f"docs/{PAGES[path]}"
    return re.sub(r"^notebooks/", "docs/tutorials/", path)


def led_links(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Lead the links of a page that stands in the repository."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = lead(source[0], path.parent, path.parent)
