"""The first training steps on an old task: what they move, what carries the return."""

__all__ = ["measure_first_moves", "measure_first_steps"]

import copy
from collections.abc import Iterator, Sequence

import pandas as pd
from torch import Tensor

from analysis.alignment.measure import class_errors
from analysis.experiments import table
from analysis.ledger.moves import moved_images, moves_of
from analysis.ledger.swaps import swap
from analysis.recovery.measure import few_shots, retrain_
from analysis.scoring import Scoring, measure, under_true_class
from analysis.witnesses.measure_moves import representations
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run

N_STEPS = (1, 3, 10)
TRIED = ["step", "shots", "lr"]


@table
def measure_first_steps(
    run: Run,
    *,
    after: int = -1,
    n_steps: Sequence[int] = N_STEPS,
    shots: int = 5,
    lr: float | None = None,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Score the first task under flow and mixture of before and after a few steps.

    The hybrids tell whether a quick return goes through the mixture.

    Args:
        run: One run, or many, that learn task after task.
        after: The step to start from: index of the last task learned.
        n_steps: Numbers of optimizer steps on images of the first task.
        shots: Normal training images per category.
        lr: Constant learning rate; the run's peak by default.
        seed: Seeds the choice of images and the batches.
        scoring: How to score and measure, under the true class.

    Returns:
        One row per `step shots lr n_steps flow mixture task category metric part` with
        its `value`, `labels` and `scores`; `flow` and `mixture` are of `before` or
        `after` these steps.

    Example:
        >>> measured = measure_first_steps(run, n_steps=(1, 3))
        >>> measured[["flow", "mixture"]].drop_duplicates().to_numpy().tolist()
        [['before', 'before'], ['before', 'after'], ['after', 'before'], ['after',
        'after']]
    """
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    names = run.tasks[0]
    frames = []
    for n, before, now in _retrained(run, after, n_steps, shots, lr, seed):
        hybrids = {
            ("before", "before"): before,
            ("before", "after"): swap(before, now, "mixture"),
            ("after", "before"): swap(now, before, "mixture"),
            ("after", "after"): now,
        }
        for (flow, mixture), model in hybrids.items():
            rows = measure(model, run.features, names, scoring=scoring)
            frames.append(rows.assign(n_steps=n, flow=flow, mixture=mixture))
    found = pd.concat(frames, ignore_index=True).assign(task=0)
    keys = [*TRIED, "n_steps", "flow", "mixture", "task", "category", "metric", "part"]
    return found.assign(**_tried(run, after, shots, lr))[
        [*keys, "value", "labels", "scores"]
    ]


@table
def measure_first_moves(
    run: Run,
    *,
    after: int = -1,
    n_steps: Sequence[int] = N_STEPS,
    shots: int = 5,
    lr: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How far the first steps move centers, latents, their volume, and every block.

    How to read it: `centers` and `drift` are how far a class's center and the mean of
    its latents went, in standard deviations of a component: where the first is much the
    smaller, the flow came back to the centers, and not they to it. `center_error` and
    `symmetric_kl` say how far the class is from its latents, before any step too.
    `mixture` and `volume` are what log p per dimension changed by. After b blocks,
    `discrepancy` is how far the output is from any affine map of what it was, and `cka`
    how alike the two are.

    Args:
        run: One run, or many; the other arguments are those of `measure_first_steps`.

    Returns:
        One row per `step shots lr n_steps level category block quantity` with its
        `value`; `category` is empty, or `block` 0, where there is none.

    Example:
        >>> moved = measure_first_moves(run, n_steps=(1, 3))
        >>> sorted(set(moved["quantity"]))
        ['center_error', 'centers', 'cka', 'discrepancy', 'displacement', 'drift',
        'kept', 'logp', 'mixture', 'symmetric_kl', 'volume']
    """
    names = run.tasks[0]
    rows = []
    for n, before, now in _retrained(run, after, n_steps, shots, lr, seed):
        for name in names:
            moved = moved_images(before, now, run.features, name, seed=seed)
            for level, one in enumerate(moved):
                found = moves_of(one) | _center_moves(before, now, level, name)
                found |= _errors(now, level, name, one.new)
                rows += [(n, level, name, 0, *item) for item in found.items()]
                if n == min(n_steps):
                    start = _errors(before, level, name, one.old)
                    rows += [(0, level, name, 0, *item) for item in start.items()]
        for row in representations(before, now, run.features, names).itertuples():
            if row.flow == "new":
                rows.append((n, row.level, "", row.block, row.measure, row.value))
    columns = ["n_steps", "level", "category", "block", "quantity", "value"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(**_tried(run, after, shots, lr))[[*TRIED, *columns]]


def _tried(run: Run, after: int, shots: int, lr: float | None) -> dict[str, float]:
    """What was tried, as key columns."""
    rate = run.config.train.lr if lr is None else lr
    return {"step": run[after].step, "shots": shots, "lr": rate}


def _retrained(
    run: Run,
    after: int,
    n_steps: Sequence[int],
    shots: int,
    lr: float | None,
    seed: int,
) -> Iterator[tuple[int, FlowModel, FlowModel]]:
    """Per number of steps the model before them and after."""
    before = run[after].model(pick_device())
    images = few_shots(run.features, run.tasks[0], shots, seed=seed)
    now: dict[int, FlowModel] = {}

    def keep(n: int, model: FlowModel) -> None:
        if n in n_steps:
            now[n] = copy.deepcopy(model)

    retrain_(
        copy.deepcopy(before),
        images,
        run.config.train,
        n_steps=max(n_steps),
        lr=lr,
        seed=seed,
        watch=keep,
    )
    for n in Bar(sorted(now), desc=f"first steps of {run.name}", unit="number"):
        yield n, before, now[n]


def _center_moves(
    before: FlowModel, now: FlowModel, level: int, category: str
) -> dict[str, float]:
    """How far a class's center went, a distance of latents."""
    (k,) = before.class_ids([category]).tolist()
    old, new = (model.levels[level].mixture.mu[k] for model in (before, now))
    return {"centers": (new - old).norm().item()}


def _errors(model: FlowModel, level: int, category: str, z: Tensor) -> dict[str, float]:
    """How far a class is from its latents."""
    (k,) = model.class_ids([category]).tolist()
    mixture = model.levels[level].mixture
    errors = class_errors(mixture, k, z.to(mixture.mu))
    return dict(zip(("center_error", "symmetric_kl"), errors))
