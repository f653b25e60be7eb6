"""Representations compared: what each block gave then and what it gives now."""

__all__ = ["measure_representations", "representations"]

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.ledger.measure import learnt_before, task_images
from analysis.witnesses.blocks import block_outputs
from cl_flow.data.features import Features
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run

SHRINKAGE = 1e-9  # of the scatter that an affine map is fitted with, at its trace


@table
def measure_representations(
    run: Run,
    *,
    after: int = -1,
    tasks: Sequence[int] | None = None,
    n_images: int = 32,
) -> pd.DataFrame:
    r"""Compare what each block makes of a task's normal images, then and now.

    With old and new outputs X and Y of held-out patches, centered: `cka` is
    $\|Y^\top X\|^2 / (\|X^\top X\| \|Y^\top Y\|)$, which neither a rotation nor a
    common scale changes; `discrepancy` is $\sqrt{1 - R^2}$ of the best affine map from
    Y back to X, fitted on training images, which no affine map changes.

    How to read it: a CKA below 1 says that the output moved, not that anything is lost.
    A discrepancy of 0 says that an affine head on the new output sees all that the old
    one saw; it is 1 where nothing of it can be predicted. An untrained flow begins near
    the identity and is close to both: what the new one has beyond it was kept.

    References:
        Similarity of neural network representations revisited (Kornblith et al., 2019)
        https://arxiv.org/abs/1905.00414
        Measuring Representational Shifts in Continual Learning: A Linear Transformation
        Perspective (Kim et al., 2025)
        https://arxiv.org/abs/2505.20970

    Args:
        run: One run, or many, that learn task after task.
        after: The step that is diagnosed: index of the last task learned, or counted
            from the end.
        tasks: Which tasks; every one learned before that step by default.
        n_images: Training images per category that maps are fitted to, at most.

    Returns:
        One row per `step task level block measure flow` with its `value`, and as
        `scores` what each held-out image adds to it (jackknife pseudo-values). A block
        counts those passed, 0 are the features. `flow` is what the old one is compared
        with: `new` or `untrained`.

    Example:
        >>> sorted(set(measure_representations(run)["flow"]))
        ['new', 'untrained']
    """
    after = run[after].step
    new = run[after].model(pick_device())
    frames = []
    places = learnt_before(run, after, tasks)
    title = f"representations in {run.name}"
    for task, step in Bar(places.items(), desc=title, unit="task"):
        old = run[step].model(pick_device())
        rows = representations(
            old, new, run.features, run.tasks[task], n_images=n_images
        )
        frames.append(rows.assign(step=after, task=task))
    keys = ["step", "task", "level", "block", "measure", "flow"]
    return pd.concat(frames, ignore_index=True)[[*keys, "value", "scores"]]


@torch.inference_mode()
@one_thread
def representations(
    old: FlowModel,
    new: FlowModel,
    features: Features,
    categories: Sequence[str],
    *,
    n_images: int = 32,
) -> pd.DataFrame:
    """Representations of any two models: what one was and what it became.

    Args:
        old: The model when it had just learned the categories.
        new: What became of it.
        features: Images of the categories.
        categories: Those to look at, together.
        n_images: As in `measure_representations`.

    Returns:
        One row per `level block measure flow` with its `value` and `scores`.

    Raises:
        ValueError: Fewer than two normal test images.
    """
    images = task_images(features, categories, categories, n_images=n_images)
    is_train = torch.tensor((images.samples["split"] == "train").to_numpy())
    is_normal = torch.tensor((images.samples["label"] == 0).to_numpy())
    held_out = is_normal & ~is_train
    if held_out.sum() < 2:
        raise ValueError(
            f"Expected two normal test images of {', '.join(categories)} or more; got "
            f"{int(held_out.sum())}."
        )
    flows = {"new": new, "untrained": new.fresh()}
    rows = []
    for level in range(len(old.levels)):
        models = (old, *flows.values())
        outputs = zip(*(block_outputs(model, images, level) for model in models))
        for block, (before, *others) in enumerate(outputs):
            x = before.double()
            for flow, other in zip(flows, others):
                y = other.double()
                back = _affine_map(y[is_train], x[is_train])
                found = {
                    "cka": _cka(x[held_out], y[held_out]),
                    "discrepancy": _discrepancy(x[held_out], back(y[held_out])),
                }
                rows += [(level, block, name, flow, *v) for name, v in found.items()]
    columns = ["level", "block", "measure", "flow", "value", "scores"]
    return pd.DataFrame(rows, columns=columns)


def _affine_map(y: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The map from y to x (images, S, D) of least squares."""
    y, x = y.flatten(0, 1), x.flatten(0, 1)
    start, end = y.mean(0), x.mean(0)
    y = y - start
    scatter = y.T @ y
    ridge = SHRINKAGE * scatter.diagonal().mean() * torch.eye(len(scatter)).to(y)
    slopes = torch.linalg.solve(scatter + ridge, y.T @ (x - end))
    return lambda z: (z - start) @ slopes + end


def _cka(x: Tensor, y: Tensor) -> tuple[float, np.ndarray]:
    """Linear CKA of outputs (images, S, D)."""
    x = x - x.mean((0, 1))
    y = y - y.mean((0, 1))
    products = [y.mT @ x, x.mT @ x, y.mT @ y]
    return _jackknife(
        products, lambda yx, xx, yy: yx.square().sum() / (xx.norm() * yy.norm())
    )


def _discrepancy(x: Tensor, predicted: Tensor) -> tuple[float, np.ndarray]:
    """Root of the share of x (images, S, D) that was not predicted."""
    wrong = (x - predicted).square().sum((1, 2))
    spread = (x - x.mean((0, 1))).square().sum((1, 2))
    return _jackknife([wrong, spread], lambda wrong, spread: (wrong / spread).sqrt())


def _jackknife(
    parts: Sequence[Tensor], statistic: Callable[..., Tensor]
) -> tuple[float, np.ndarray]:
    """Statistic of sums over images, and its pseudo-value of each image (images,)."""
    totals = [part.sum(0) for part in parts]
    value = statistic(*totals)
    n = len(parts[0])
    pseudo = []
    for own in zip(*parts):
        rest = [total - one for total, one in zip(totals, own)]
        pseudo.append(n * value - (n - 1) * statistic(*rest))
    return value.item(), torch.stack(pseudo).numpy()
