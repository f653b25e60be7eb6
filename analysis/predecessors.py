"""What came before: claims on reconstruction and on sparse training, measured.

UniAD and IUF reconstruct features; deep sparse training gives each task a sub-network.
"""

__all__ = [
    "PREDECESSORS",
    "VERDICTS",
    "measure_predecessors",
    "of_passes",
    "verdict_of",
]

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.contrasts import resampled_images, resampled_means, sample_interval
from analysis.detection import image_scores
from analysis.intervals import Interval, Resampling
from analysis.methods import fit_budgets
from analysis.rows import first_and_last, matching
from analysis.studies import Study
from analysis.witnesses import measure_interference
from cl_flow.calls import checked, refuse_unknown
from cl_flow.runs.run import Run

# Weights of the two losses that the slides add to sparse training.
ADDED = {"distillation": 1.0, "orthogonal": 1.0}
FIRST_SHARE = 0.3  # of the passes, after which a model is looked at as well
VERDICTS = {1: "holds", -1: "does not hold", 0: "undecided"}


class Claim(NamedTuple):
    """What is claimed of the predecessors, and what would bear it out.

    Args:
        words: The claim.
        of: What is measured.
        against: What it is held against.
        expects: 1 if the claim wants the first above the second, else -1.
    """

    words: str
    of: str
    against: str
    expects: int


PREDECESSORS: dict[str, Claim] = {
    "longer": Claim(
        "Reconstruction needs longer training",
        "image AUROC gained in the last 70 % of UniAD's passes",
        "in the last 70 % of the flow's",
        1,
    ),
    "forgets": Claim(
        "Reconstruction forgets more than the flow",
        "image AUROC of old tasks that UniAD lost",
        "that the flow lost",
        1,
    ),
    "increments": Claim(
        "IUF forgets less than what it is built on",
        "image AUROC of old tasks that IUF lost",
        "that UniAD lost",
        -1,
    ),
    "plasticity": Claim(
        "It pays for that with what it learns",
        "image AUROC just learned, IUF",
        "UniAD",
        -1,
    ),
    "aligned": Claim(
        "In one network for all classes they pull apart",
        "mean cosine of two classes' gradients, joint UniAD",
        "joint flow",
        -1,
    ),
    "harm": Claim(
        "A step for one class costs the others",
        "pairs of classes that are harmed, joint UniAD",
        "joint flow",
        1,
    ),
    "head": Claim(
        "Likelihood classifies without a head of its own",
        "normal images that the joint flow routes to their class",
        "that the discriminator of joint IUF does",
        1,
    ),
    "head kept": Claim(
        "The head forgets as the rest does",
        "normal images of old tasks that IUF's discriminator routes right",
        "those of the same tasks when it was jointly trained",
        -1,
    ),
    "overwritten": Claim(
        "Later tasks train a sub-network's weights away",
        "image AUROC of old tasks lost where they may (overlap free)",
        "where they may not (overlap frozen)",
        1,
    ),
    "room": Claim(
        "Where they may not, too little is left to learn with",
        "image AUROC just learned, overlap frozen",
        "fine-tuned",
        -1,
    ),
    "added": Claim(
        "Distillation and an orthogonal loss keep more",
        "image AUROC of old tasks with both",
        "without",
        1,
    ),
}


@checked
def measure_predecessors(
    plan: Study,
    *,
    claim: Sequence[str] = tuple(PREDECESSORS),
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """What a study measures beside each of `PREDECESSORS`; what is missing is trained.

    How to read it: the verdict goes by the interval of the difference alone, and says
    nothing of models at their published size.

    Args:
        plan: The study, with a size of UniAD and IUF; its seeds are averaged.
        claim: Names in `PREDECESSORS`; of the others nothing is trained.
        resampling: Of test images, of both models alike; of classes, where pairs of
            them are measured.

    Returns:
        One row per `claim`: its `words`, what it is a number `of`, the `value low
        high`; what it is held `against`, the `control control_low control_high`; the
        `difference difference_low difference_high`, and the `verdict`.

    Raises:
        KeyError: An unknown claim.
        ValueError: The study's stream has no boundaries.
    """
    refuse_unknown("claim", claim, PREDECESSORS)
    plan.expect_boundaries(measure_predecessors)
    samples = _samples(plan, resampling)
    rows = []
    for name in claim:
        said = PREDECESSORS[name]
        ours, theirs = samples[name]()
        each = [sample_interval(s, resampling) for s in (ours, theirs, ours - theirs)]
        value, control, difference = each
        row = (name, said.words, said.of, *value, said.against, *control)
        rows.append((*row, *difference, verdict_of(difference, said.expects)))
    columns = ["claim", "words", "of", "value", "low", "high", "against"]
    for name in ("control", "difference"):
        columns += [name, f"{name}_low", f"{name}_high"]
    return pd.DataFrame(rows, columns=[*columns, "verdict"])


@checked
def of_passes(plan: Study, passes: int) -> Study:
    """Same study, with UniAD and IUF trained for so many passes over each task.

    Example:
        >>> from analysis import study
        >>> of_passes(study("synthetic"), 200).base.uniad.epochs
        200
    """
    base = plan.base
    longer = {
        name: dataclasses.replace(getattr(base, name), epochs=passes)
        for name in ("uniad", "iuf")
    }
    return dataclasses.replace(plan, base=base.replace(**longer))


def verdict_of(difference: Interval, expects: int) -> str:
    """Word for the interval of a difference.

    Example:
        >>> from analysis.intervals import Interval
        >>> verdict_of(Interval(0.2, 0.1, 0.3), 1), verdict_of(Interval(0, -1, 1), 1)
        ('holds', 'undecided')
    """
    low, high = sorted((expects * difference.low, expects * difference.high))
    return VERDICTS[1 if low > 0 else -1 if high < 0 else 0]


Pair = tuple[np.ndarray, np.ndarray]  # what is measured, and its control


def _samples(plan: Study, resampling: Resampling) -> dict[str, Callable[[], Pair]]:
    """How each claim's two numbers are had: the estimates first, then resamples."""
    detect = _Detection(plan, resampling)

    def joint(model: str) -> list[Run]:
        return plan.fit("joint", model=model)

    def later(model: str) -> list[Run]:
        return plan.fit("finetune", model=model)

    def sparse(**options: Any) -> list[Run]:
        return plan.fit("sparse", options=options)

    def gained(model: str) -> np.ndarray:
        passes = plan.config("joint", model=model).training.epochs
        early = max(1, round(FIRST_SHARE * passes))
        short = fit_budgets(plan, ["joint"], passes=(early,), model=model)
        return detect.last(joint(model)) - detect.last(short)

    def lost(model: str) -> np.ndarray:
        return detect.lost(later(model))

    def learned(model: str) -> np.ndarray:
        return detect.learned(later(model))

    def pulled(model: str, column: str) -> np.ndarray:
        return pair_means(_between_classes(joint(model), column), resampling)

    def head_of(runs: list[Run]) -> np.ndarray:
        return detect.routed(runs, tasks=range(len(plan.tasks) - 1))

    return {
        "longer": lambda: (gained("uniad"), gained("flow")),
        "forgets": lambda: (lost("uniad"), lost("flow")),
        "increments": lambda: (lost("iuf"), lost("uniad")),
        "plasticity": lambda: (learned("iuf"), learned("uniad")),
        "aligned": lambda: (pulled("uniad", "cosine"), pulled("flow", "cosine")),
        "harm": lambda: (pulled("uniad", "harmed"), pulled("flow", "harmed")),
        "head": lambda: (detect.routed(joint("flow")), detect.routed(joint("iuf"))),
        "head kept": lambda: (head_of(later("iuf")), head_of(joint("iuf"))),
        "overwritten": lambda: (
            detect.lost(sparse()),
            detect.lost(sparse(overlap="frozen")),
        ),
        "room": lambda: (detect.learned(sparse(overlap="frozen")), learned("flow")),
        "added": lambda: (detect.old(sparse(**ADDED)), detect.old(sparse())),
    }


def _between_classes(runs: list[Run], column: str) -> np.ndarray:
    """Mean over runs (K, K) of what a class's gradient does to another."""
    found = measure_interference(runs)
    found["harmed"] = (found["cost"] > 0).astype(float)
    mean = found.pivot_table(index="category", columns="other", values=column)
    return mean.to_numpy()


class _Detection:
    """Image AUROC, and routing, with resamples of the same images for every model."""

    def __init__(self, plan: Study, resampling: Resampling) -> None:
        self.plan = plan
        self.resampling = resampling

    def last(self, runs: Sequence[Run]) -> np.ndarray:
        """Under the last model, of all categories."""
        return self._auroc(self._ends(runs, "last"))

    def old(self, runs: Sequence[Run]) -> np.ndarray:
        """Under the last model, of those of earlier tasks."""
        return self._auroc(_earlier(self._ends(runs, "last")))

    def learned(self, runs: Sequence[Run]) -> np.ndarray:
        """Of every category when it was just learned."""
        return self._auroc(self._ends(runs, "learnt"))

    def lost(self, runs: Sequence[Run]) -> np.ndarray:
        """Of earlier tasks, from when they were learned to the last model."""
        return self._auroc(_earlier(self._ends(runs, "learnt"))) - self.old(runs)

    def routed(
        self, runs: Sequence[Run], *, tasks: Sequence[int] | None = None
    ) -> np.ndarray:
        """Share of normal test images that are taken for their own class."""
        rows = self._ends(runs, "last", given=None)
        rows = rows[rows["label"] == 0]
        if tasks is not None:
            rows = rows[rows["task"].isin(tasks)]
        right = rows.assign(scores=rows["routed"] == rows["category"])
        images = right.groupby(["run", "category"], sort=False)["scores"]
        each = images.agg(lambda one: one.to_numpy(float)).reset_index()
        each["value"] = each["scores"].map(np.mean)
        return resampled_means(each, self.resampling).mean(0)

    def _ends(
        self, runs: Sequence[Run], when: str, *, given: str | None = "category"
    ) -> pd.DataFrame:
        scoring = self.plan.scoring(metric="image_auroc", part="product", given=given)
        scores = matching(image_scores(runs, scoring=scoring), given=str(given))
        return matching(first_and_last(scores), when=when)

    def _auroc(self, rows: pd.DataFrame) -> np.ndarray:
        return resampled_images(rows, self.resampling).mean(0)


def _earlier(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["task"] < rows["task"].max()]


def pair_means(matrix: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Mean over pairs of different classes, and over those of resampled classes.

    Args:
        matrix: A number of each pair (K, K); the diagonal is not read.
        resampling: Of the classes.

    Returns:
        (1 + n_resamples,), the estimate first; NaN where one class was drawn alone.
    """
    n = len(matrix)
    rng = np.random.default_rng(n)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=resampling.n_resamples)
    counts = np.vstack([np.ones(n), draws])
    weights = counts[:, :, None] * counts[:, None, :]
    weights *= 1 - np.eye(n)
    total = weights.sum((1, 2))
    mean = np.einsum("rij,ij->r", weights, np.where(np.eye(n), 0.0, matrix))
    return np.divide(mean, total, out=np.full(len(total), np.nan), where=total > 0)
