"""Formulas as MathML, which browsers draw without a script from elsewhere."""

__all__ = ["draw_formulas"]

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)
# What docutils does not know, and what says the same.
SAID = {
    "−": "-",
    r"\\(big[lr]?|textstyle)": "",
    r"\\tfrac *(\d)(\d)": r"\\frac{\1}{\2}",
}


def draw_formulas(app: Sphinx) -> None:
    """Enrol the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_drawn(node, as_block=False))
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{_drawn(node, as_block=True)}</div>')
    raise nodes.SkipNode


def _drawn(node: nodes.Element, *, as_block: bool) -> str:
    formula = node.astext()
    for unknown, known in SAID.items():
        formula = re.sub(unknown, known, formula)
    try:
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        log.warning("Expected a formula that docutils draws; %s", error, location=node)
        return f"<code>{formula}</code>"
