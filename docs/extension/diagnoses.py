"""Which diagnosis one needs: a question, its figure, how to read it, what it hides."""

__all__ = ["write_diagnoses"]

from pathlib import Path

import yaml

from docs.extension.gallery import plots
from docs.extension.settings import write


def write_diagnoses(docs: Path) -> None:
    """Write the table of `which.yaml`, figures and readings from their docstrings."""
    rows = yaml.safe_load((docs / "which.yaml").read_text(encoding="utf-8"))
    lines = [":::{list-table}", ":header-rows: 1", ":class: which", ""]
    lines += ["* - Question", "  - Function", "  - Figure", "  - How to read it"]
    lines += ["  - What it cannot say"]
    for row in rows:
        room, _, plot = row["plot"].partition(".")
        link = f"/gallery/{room}.md#gallery-{room}-{plot}"
        picture = f"![{plot}](/gallery/images/{row['plot']}.png)"
        lines += [f"* - {row['asks']}", f"  - `{row['call']}`"]
        lines += [f"  - [{picture}]({link})", f"  - {plots()[row['plot']].reading}"]
        lines += [f"  - {row['cannot']}"]
    write(docs / "made" / "which.md", "\n".join([*lines, ":::", ""]))
