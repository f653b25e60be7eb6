"""Names in backticks, wherever they are written, lead to the reference."""

__all__ = ["link_names"]

import functools
import re

from docutils import nodes
from sphinx.application import Sphinx

from docs.extension.names import Entry, entries


@functools.cache
def short_names() -> dict[str, Entry]:
    """Public names without their place."""
    named = {dotted.rpartition(".")[2]: e for dotted, e in reversed(entries().items())}
    return {name: entry for name, entry in named.items() if name == entry.name}


def meant(text: str) -> Entry | None:
    """What code in backticks means: a dotted name, a call, a name that is no word."""
    name, called, _ = text.partition("(")
    if name in entries():
        return entries()[name]
    is_name = called or re.search(r"_|[A-Z]", name)
    return short_names().get(name) if is_name else None


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead names in backticks to the reference."""
    for literal in list(doctree.findall(nodes.literal)):
        entry = meant(literal.astext())
        if entry and not _is_apart(literal):
            target = app.builder.get_relative_uri(docname, f"reference/{entry.place}")
            link = nodes.reference("", "", refuri=f"{target}#{entry.dotted}")
            link["internal"] = True
            literal.replace_self(link)
            link += literal


def _is_apart(literal: nodes.literal) -> bool:
    """Whether it stands where a link would be one in a link, or in a heading."""
    node = literal.parent
    while node is not None:
        if isinstance(node, (nodes.reference, nodes.title, nodes.caption)):
            return True
        node = node.parent
    return False
