"""Transplants: blocks of the old flow set into the new one.

A few at a time.
"""

__all__ = ["transplant"]

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.experiments import table
from analysis.ledger.measure import learnt_before, refit_centers, task_images
from analysis.ledger.swaps import swap
from analysis.scoring import Scoring, measure, under_true_class
from cl_flow.align.refits import FAMILIES
from cl_flow.calls import refuse_unknown
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import encode

SIDES = ("first", "last")


@table
def transplant(
    run: Run,
    *,
    after: int = -1,
    tasks: Sequence[int] | None = None,
    side: Sequence[str] = SIDES,
    centers: Sequence[str] = ("old", "full"),
    n_images: int = 24,
    n_latents: int = 4096,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Earlier tasks under hybrids of old and new flow.

    They differ in the number of coupling blocks that are the old ones.

    How to read it: with 0 old blocks it is the new flow, with all of them the old one.
    A curve from the `first` blocks that rises early says that the damage sits early; a
    block that lifts neither curve was not to blame. Under the `old` centers, blocks
    that never met have to fit each other as well as the centers; a refit leaves only
    what is lost.

    Args:
        run: One run, or many, that learn task after task.
        after: The step that is diagnosed, as in `ledger`.
        tasks: Which earlier tasks; all by default.
        side: Whether the `"first"` blocks come from the old flow, the `"last"`, or both
            in turn.
        centers: The `"old"` centers, or families of `refit`.
        scoring: How to score and measure, under the true class.
        n_images: Training images per category to calibrate on and to refit to; a few
            make it quick.
        n_latents: As in `ledger`, like the other arguments.

    Returns:
        One row per `step task category side blocks centers metric part`, with its
        `value`, `labels` and `scores`. Only the classes that the old model knows
        compete.

    Example:
        >>> transplant(run)[["side", "blocks"]].drop_duplicates().to_numpy().tolist()
        [['first', 0], ['first', 1], ['first', 2], ['last', 0], ['last', 1], ['last',
        2]]
    """
    refuse_unknown("side", side, SIDES)
    refuse_unknown("centers", centers, ("old", *FAMILIES))
    after = run[after].step
    new = run[after].model(pick_device())
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    frames = []
    places = learnt_before(run, after, tasks)
    n_hybrids = len(places) * len(side) * (new.config.n_blocks + 1)
    with Bar(total=n_hybrids, desc=f"transplants of {run.name}", unit="hybrid") as bar:
        for task, step in places.items():
            names = run.tasks[task]
            old = run[step].model(pick_device())
            images = task_images(run.features, names, names, n_images=n_images)
            restored = swap(swap(new, old, "mixture"), old, "mask")
            for where, blocks, model in _hybrids(restored, old, side):
                latents = encode(model, images)
                for choice in centers:
                    head = model
                    if choice != "old":
                        head = refit_centers(
                            model, latents, names, family=choice, n_latents=n_latents
                        )
                    rows = measure(head, latents, names, scoring=scoring)
                    hybrid = {"side": where, "blocks": blocks, "centers": choice}
                    frames.append(rows.assign(step=after, task=task, **hybrid))
                bar.update()
    keys = ["step", "task", "category", "side", "blocks", "centers", "metric", "part"]
    return pd.concat(frames, ignore_index=True)[[*keys, "value", "labels", "scores"]]


def _hybrids(
    new: FlowModel, old: FlowModel, side: Sequence[str]
) -> Iterator[tuple[str, int, FlowModel]]:
    for where in side:
        for blocks in range(new.config.n_blocks + 1):
            yield where, blocks, swap(new, old, where, blocks=blocks)
