"""Pages from what exists already: reference, gallery, tutorials, tables of speeds."""

__all__ = ["setup"]

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

from docs.extension.crosslinks import link_names
from docs.extension.diagnoses import write_diagnoses
from docs.extension.docstrings import mend_docstring, skips
from docs.extension.documents import led_links, write_documents
from docs.extension.formulas import draw_formulas
from docs.extension.gallery import write_gallery
from docs.extension.links import dead_links
from docs.extension.reference import write_reference
from docs.extension.tables import write_tables
from docs.extension.tutorials import write_tutorials


def setup(app: Sphinx) -> dict[str, Any]:
    """Write what is generated before Sphinx reads, and examine what it wrote."""
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", led_links)
    app.connect("autodoc-process-docstring", mend_docstring, priority=100)
    app.connect("autodoc-skip-member", skips)
    app.connect("doctree-resolved", link_names)
    app.connect("build-finished", _refuse_dead_links)
    draw_formulas(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    write_documents(docs)
    write_reference(docs)
    write_gallery(docs)
    write_diagnoses(docs)
    write_tutorials(docs)
    write_tables(docs)


def _refuse_dead_links(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        dead = dead_links(Path(app.outdir).resolve())
        if dead:
            lines = "\n".join(dead)
            raise SphinxError(f"Expected links that lead somewhere; got\n{lines}")
