"""The slides' claims beside what a study measures, each with its control."""

__all__ = ["CLAIMS", "claims_page", "measure_claims"]

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from analysis.alignment import (
    alignment_table,
    measure_alignment,
    without_old_images,
)
from analysis.detection import final_means, image_scores
from analysis.expansion import expansion_drops, measure_expansion
from analysis.intervals import interval_of
from analysis.ledger import ledger_shares, ledger_terms, measure_ledger
from analysis.methods.suite import fit_few_methods
from analysis.recovery import measure_recovery, recovery_curves, savings
from analysis.rows import load_reference, matching
from analysis.studies import Study
from cl_flow.runs.run import Run

SHOTS = 5  # images per category
STEPS = (0, 1, 2, 4, 8, 30, 100)


class Claim(NamedTuple):
    """What the slides say, the number they give, and what a study sets beside it."""

    words: str
    published: str
    measured: str
    control: str


def _published(table: str, column: str = "image_auroc", **where: Any) -> str:
    """Mean of the slides' rows, to the digits that they have."""
    rows = matching(load_reference(table), **where)
    return f"{rows[column].mean():.3f}".lstrip("0")


def _method(name: str) -> str:
    return _published("slides_methods", method=name)


CLAIMS: dict[str, Claim] = {
    "collapse": Claim(
        "Learned in sequence, old tasks collapse",
        _published("slides_task_table", task="average"),
        "last fine-tuned model",
        "joint model",
    ),
    "newest": Claim(
        "The newest task is learned",
        _published("slides_task_table", task="4"),
        "newest task, fine-tuned",
        "the same categories, joint",
    ),
    "expansion": Claim(
        "Adding centers alone lowers task 1",
        f"{_published('slides_expansion', stage='after_task_1')} to "
        f"{_published('slides_expansion', stage='expanded_for_task_2')}",
        "change by added centers",
        "entropy among task 1's centers only",
    ),
    "step": Claim(
        "A step on a few images brings task 1 back",
        f"{_published('slides_few_shot', stage='after_task_2')} to "
        f"{_published('slides_few_shot', stage='few_shot')}",
        "forgotten, after 1 step",
        "never learned, after 1 step",
    ),
    "steps": Claim(
        "The same, whatever a step is",
        "–",
        "forgotten, after 100 steps",
        "never learned, after 100 steps",
    ),
    "savings": Claim(
        "It is reminded, not taught",
        "no control",
        "lead over never learned, along the curve",
        "lead over untrained",
    ),
    "ewc": Claim(
        "EWC hardly helps",
        f"{_method('HGAD')} to {_method('+EWC')}",
        "last model with EWC",
        "last fine-tuned model",
    ),
    "replay": Claim(
        "Replay does",
        f"{_method('HGAD')} to {_method('+Replay')}",
        "last model with 1 MB of replay",
        "last fine-tuned model",
    ),
    "misaligned": Claim(
        "Forgetting is centers out of line",
        "conjecture",
        "share of the drop that a refit and old centers bring back",
        "share beyond the same refit of an untrained flow",
    ),
    "residual": Claim(
        "The flow did not forget",
        "conjecture",
        "AUROC that comes back by none of these",
        "the whole drop",
    ),
    "mixture": Claim(
        "A mixture learned incrementally approximates the joint one",
        "conjecture",
        "old tasks, best aligner without old images",
        "old tasks, joint model",
    ),
}


def measure_claims(plan: Study) -> pd.DataFrame:
    """What a study measures beside each of `CLAIMS`.

    Tables that notebooks have cached are read; what is missing is trained and measured.

    How to read it: a claim stands where `measured` says so and `control` does not say
    the same.

    Args:
        plan: The study; its seeds are averaged.

    Returns:
        One row per `study claim role`, with `value low high`: image AUROC, or a share;
        the role is `measured` or `control`, intervals are over test images.

    Raises:
        ValueError: The study's stream has no boundaries.
    """
    plan.expect_boundaries(measure_claims)
    runs = plan.fit("finetune")
    rows = [
        *_detection(plan),
        *_expansion(plan, runs),
        *_recovery(plan, runs),
        *_ledger(plan, runs),
        *_mixture(plan, runs),
    ]
    frame = pd.DataFrame(rows, columns=["claim", "role", "value", "low", "high"])
    frame.insert(0, "study", plan.name)
    return frame


Row = tuple[Any, ...]  # claim, role, value, low, high


def _row(claim: str, role: str, row: Any, name: str = "value") -> Row:
    return claim, role, *interval_of(row, name)


def _detection(plan: Study) -> Iterator[Row]:
    """Rows of the last models: of all tasks, and of the newest."""
    scores = image_scores(fit_few_methods(plan), scoring=plan.scoring())
    newest = matching(scores, task=scores["task"].max())
    of_all = {row.strategy: row for row in final_means(scores).itertuples()}
    of_newest = {row.strategy: row for row in final_means(newest).itertuples()}
    yield _row("collapse", "measured", of_all["finetune"])
    yield _row("collapse", "control", of_all["joint"])
    yield _row("newest", "measured", of_newest["finetune"])
    yield _row("newest", "control", of_newest["joint"])
    for name in ("ewc", "replay"):
        yield _row(name, "measured", of_all[name])
        yield _row(name, "control", of_all["finetune"])


def _expansion(plan: Study, runs: list[Run]) -> Iterator[Row]:
    drops = expansion_drops(measure_expansion(runs, scoring=plan.scoring()))
    tiled = matching(drops, placement="tile", part="product", category="mean")
    tiled = tiled[tiled["added"] == tiled["added"].min()]
    for role, entropy in (("measured", "all"), ("control", "masked")):
        (row,) = matching(tiled, entropy=entropy).itertuples()
        yield _row("expansion", role, row, "change")


def _recovery(plan: Study, runs: list[Run]) -> Iterator[Row]:
    scoring = plan.scoring(metric="image_auroc", part="product", calibrate_on=8)
    recovered = measure_recovery(
        runs, after=(1,), shots=(SHOTS,), steps=STEPS, scoring=scoring
    )
    curves = matching(recovery_curves(recovered), task=0)
    ahead = savings(recovered)
    probes = {"measured": "forgotten", "control": "never_learned"}
    rivals = {"measured": "never_learned", "control": "untrained"}
    for role in ("measured", "control"):
        for claim, n_steps in (("step", 1), ("steps", max(STEPS))):
            at = matching(curves, probe=probes[role], n_steps=n_steps)
            yield _row(claim, role, next(at.itertuples()))
        lead = matching(ahead, versus=rivals[role])
        yield _row("savings", role, next(lead.itertuples()), "savings")


def _ledger(plan: Study, runs: list[Run]) -> Iterator[Row]:
    measured = measure_ledger(runs, scoring=plan.scoring(metric="image_auroc"))
    product = matching(ledger_shares(measured, by="all"), part="product")
    (share,) = product.itertuples()
    for role, name in (("measured", "spurious"), ("control", "reminded")):
        bounds = (f"{name}_share{end}" for end in ("", "_low", "_high"))
        yield "misaligned", role, *(getattr(share, bound) for bound in bounds)
    terms = matching(ledger_terms(measured, by="all"), part="product")
    for role, name in (("measured", "residual"), ("control", "drop")):
        (row,) = matching(terms, term=name).itertuples()
        yield _row("residual", role, row)


def _mixture(plan: Study, runs: list[Run]) -> Iterator[Row]:
    scoring = plan.scoring(metric="image_auroc", part="product", calibrate_on=16)
    table = alignment_table(measure_alignment(runs, scoring=scoring))
    free = without_old_images(table)
    yield _row("mixture", "measured", next(free.itertuples()), "image_auroc")
    joint = matching(table, aligner="joint")
    yield _row("mixture", "control", next(joint.itertuples()), "image_auroc")


def claims_page(measured: pd.DataFrame, titles: Mapping[str, str] | None = None) -> str:
    """Markdown table of claims: the slides' number, and each study's with its control.

    Args:
        measured: Tables of `measure_claims`.
        titles: Heading of each study; its name by default.
    """
    found = measured.set_index(["study", "claim", "role"])
    studies = list(dict.fromkeys(measured["study"]))
    heads = [(titles or {}).get(name, name) for name in studies]
    head = ["claim", "slides", "measured", *heads, "control", *heads]
    lines = [_line(head), _line(["---"] * len(head))]
    for name, claim in CLAIMS.items():
        cells = [claim.words, claim.published]
        for role, what in (("measured", claim.measured), ("control", claim.control)):
            values = (found.loc[(study, name, role)] for study in studies)
            cells += [what, *map(_shown, values)]
        lines.append(_line(cells))
    return "\n".join(lines)


def _shown(row: Any) -> str:
    # Rounded first: what is nothing to three digits has no sign.
    rounded = (round(row[key], 3) + 0.0 for key in ("value", "low", "high"))
    value, low, high = (f"{number:.3f}" for number in rounded)
    return f"{value} [{low}, {high}]".replace("0.", ".").replace("nan", "–")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
