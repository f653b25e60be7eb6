"""Docstrings: formulas in dollars, and where a name is seen at work."""

__all__ = ["Parts", "mend_docstring", "parts_of", "skips"]

import doctest
import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from docs.extension.names import Entry, entries
from docs.extension.uses import seen_in

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HEADINGS = r"(Args|Returns|Raises|References|Example|Attributes|Yields)"
BLOCK = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$([^$\n]+(?:\n[^$\n]+)?)\$(?![$\w])")


class Parts(NamedTuple):
    """A plot's docstring: what it is, how to read it, what it takes, three lines."""

    summary: str
    reading: str
    takes: str
    example: str


def parts_of(value: Any) -> Parts:
    """Take a docstring apart."""
    text = inspect.getdoc(value) or ""
    body = re.split(rf"^{HEADINGS}:$", text, maxsplit=1, flags=re.MULTILINE)[0]
    paragraphs = [" ".join(p.split()) for p in body.strip().split("\n\n")]
    reads = [p for p in paragraphs if p.startswith("How to read it")]
    others = [p for p in paragraphs if p not in reads]
    examples = doctest.DocTestParser().get_examples(text)
    return Parts(
        summary=" ".join(others),
        reading=_begun(" ".join(reads).removeprefix("How to read it: ")),
        takes=_first_argument(text),
        example="".join(example.source for example in examples),
    )


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _first_argument(text: str) -> str:
    """What is written about the first argument, its name in backticks."""
    found = re.search(r"^Args:\n    (\w+): (.*(?:\n {8,}.*)*)", text, re.MULTILINE)
    if not found:
        return ""
    words = " ".join(found[2].split())
    return f"`{found[1]}`: {words[0].lower()}{words[1:]}"


def mend_docstring(
    app: "Sphinx", what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Write formulas as reStructuredText, and say where a name is seen at work."""
    text = BLOCK.sub(_display, "\n".join(lines))
    text = INLINE.sub(lambda found: f":math:`{' '.join(found[1].split())}`", text)
    lines[:] = [_barred(line) for line in text.splitlines()]
    entry = entries().get(name)
    if entry is not None:
        lines += _seen(entry)


def _barred(line: str) -> str:
    """A line whose bars are bars: |x| would be a substitution."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else p.replace("|", r"\|") for p in parts)


def _display(found: re.Match[str]) -> str:
    indent = " " * (len(found.string[: found.start()].rpartition("\n")[2]))
    body = " ".join(found[1].split()).rstrip(",")
    return f"\n{indent}.. math:: {body}\n"


def _seen(entry: Entry) -> list[str]:
    links = seen_in().get(entry.dotted, [])
    return ["", f"*Seen in* {', '.join(links)}.", ""] if links else []


def skips(
    app: "Sphinx", what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what Python wrote itself."""
    text = getattr(value, "__doc__", None) or ""
    return True if text.startswith("Alias for field number") else None
