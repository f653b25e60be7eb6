"""Tables that pages hold: speeds of each machine, and conventions of forgetting."""

__all__ = ["write_tables"]

from pathlib import Path

import pandas as pd

from analysis.conventions import CONVENTIONS
from docs.extension.settings import REPOSITORY, write
from tests.benchmarks.page import page


def write_tables(docs: Path) -> None:
    """Write what the pages include."""
    measured = sorted((REPOSITORY / "data" / "benchmarks").glob("*.csv"))
    sections = [line for path in measured for line in _section(path)]
    write(docs / "made" / "benchmarks.md", "\n".join(sections))
    write(docs / "made" / "conventions.md", _conventions())


def _conventions() -> str:
    """What `compare_conventions` knows of each number."""
    lines = [
        "| name | formula | a mean over | sign | used by |",
        "|---|---|---|---|---|",
    ]
    for name, (sign, over, formula, source) in CONVENTIONS.items():
        lines.append(f"| `{name}` | {formula} | {over} | {sign} | {source} |")
    return "\n".join([*lines, ""])


def _section(path: Path) -> list[str]:
    """A machine: the ratios in words, its facts, and every number to open."""
    measured = pd.read_csv(path)
    lines = [f"## {measured['device'].iloc[0]}, {measured['cores'].iloc[0]} cores", ""]
    lines += [page(path), "", _facts(measured), "", ":::{dropdown} Every number", ""]
    lines += ["| benchmark | quantity | median | quartiles |", "|---|---|---|---|"]
    for row in measured.itertuples():
        spread = f"{row.low:.3g} to {row.high:.3g}" if row.low < row.high else "–"
        told = (f"`{row.benchmark}`", row.quantity, f"{row.value:.3g}", spread)
        lines.append(f"| {' | '.join(told)} |")
    return [*lines, ":::", ""]


def _facts(measured: pd.DataFrame) -> str:
    """Versions and dates, of every commit that measured a part of it."""
    groups = measured[["torch", "timm", "freia", "commit", "date"]].drop_duplicates()
    told = [
        f"torch {row.torch}, timm {row.timm}, FrEIA {row.freia}, "
        f"commit `{row.commit}`, {row.date}"
        for row in groups.itertuples()
    ]
    return f"Measured with {'; '.join(told)}."
