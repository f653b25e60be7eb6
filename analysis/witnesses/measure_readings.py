"""Traces of old classes while a later task is learned, from what the model stores."""

__all__ = ["TRACES", "Readings", "measure_traces"]

from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.scoring import Scoring, measure, under_true_class
from cl_flow.align import GaussianStats
from cl_flow.align.draws import inverted_patches, mixture_pool
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.runs.continual import learn
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import refuse_several_flows
from cl_flow.strategies import STRATEGIES

TRACES = ("nll", "kl", "margin", "log_det")
SHRINKAGE = 1e-6  # of a covariance, at its trace


class Law(NamedTuple):
    """Draws from old classes at one level, taken back to patches.

    Args:
        x: Patches (N, D), class after class.
        cells: Grid cell of each (N,).
        y: Class of each (N,).
        latents: Gaussian of each class's latents under the model that drew.
    """

    x: Tensor
    cells: Tensor
    y: Tensor
    latents: GaussianStats


class Readings:
    """Readings of a model under training, by draws from its own old classes.

    No image of an old task is needed: latents are drawn from the mixture as it was, and
    the flow as it was takes them back to patches. Each call reads what the model at
    hand makes of them.

    Args:
        model: The model before the later task, with one flow for all classes.
        n_draws: Draws per class and level.
        seed: Seeds the draws.
    """

    def __init__(self, model: FlowModel, *, n_draws: int = 512, seed: int = 0) -> None:
        refuse_several_flows(model)
        self.n_classes = model.n_classes
        generator = torch.Generator().manual_seed(seed)
        classes = range(self.n_classes)
        with torch.no_grad():
            latents = mixture_pool(model, classes, n_draws, generator=generator)
            pool, _ = inverted_patches(model, latents)
            self.laws = []
            for i, level in enumerate(model.levels):
                x, cells, counts = pool.x[i], pool.cells[i], pool.counts[i]
                y = torch.arange(self.n_classes).repeat_interleave(counts).to(x.device)
                z, _ = level(x, cells)
                self.laws.append(Law(x, cells, y, _gaussians(z, y, self.n_classes)))

    @torch.no_grad()
    def __call__(self, model: FlowModel) -> dict[str, float]:
        """Reading of each of `TRACES`, a mean over levels.

        `nll` is −log p of the draws per dimension, `log_det` that of the flow there,
        `kl` the divergence of the Gaussian of a class's latents from what it was, per
        dimension, and `margin` the least distance of an old center to any other.
        """
        found = []
        for level, law in zip(model.levels, self.laws):
            z, log_det = level(law.x, law.cells)
            log_p = level.mixture.log_prob(z, law.y) + log_det
            now = _gaussians(z, law.y, self.n_classes)
            apart = torch.cdist(level.mixture.mu[: self.n_classes], level.mixture.mu)
            apart.fill_diagonal_(torch.inf)
            found.append(
                (
                    -log_p.mean().item() / level.dim,
                    _divergence(now, law.latents) / level.dim,
                    apart.min().item(),
                    log_det.mean().item() / level.dim,
                )
            )
        means = torch.tensor(found, dtype=torch.float64).mean(0)
        return dict(zip(TRACES, means.tolist()))


def _gaussians(z: Tensor, y: Tensor, n_classes: int) -> GaussianStats:
    """Gaussian of each class's latents."""
    weights = torch.nn.functional.one_hot(y, n_classes).double()
    return GaussianStats.of(z.double(), weights)


def _divergence(now: GaussianStats, before: GaussianStats) -> float:
    """Mean over classes of KL(now ‖ before)."""
    ones, others = (law.covariance(shrinkage=SHRINKAGE) for law in (now, before))
    total = 0.0
    for one, other, shift in zip(ones, others, now.mean - before.mean):
        inverse = torch.linalg.inv(other)
        spread = (inverse * one).sum() + shift @ inverse @ shift - len(shift)
        total += 0.5 * (spread + other.logdet() - one.logdet()).item()
    return total / len(now)


@table
@one_thread
def measure_traces(
    run: Run,
    *,
    step: int = 1,
    every: int = 1,
    test_every: int = 20,
    n_draws: int = 512,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Learn a task of a run once more, and read traces of the old classes meanwhile.

    The run itself stays as it is. Beside the traces, which need no image of an old
    task, old tasks are tested now and then, to see which trace told first.

    How to read it: ask `trace_leads`.

    Args:
        run: One run, or many, that learn task after task, with one flow for all
            classes.
        step: Which task is learned again: its index, 1 or more.
        every: Optimizer steps from one reading to the next.
        test_every: Optimizer steps from one test to the next; the last step is tested
            as well.
        n_draws: Draws per old class and level.
        seed: Seeds the draws.
        scoring: How to score and measure, under the true class.

    Returns:
        One row per `step n_steps trace category` with its `value`: those of `TRACES`,
        of all old categories, and `image_auroc` of each, with the `labels` and `scores`
        of its images.

    Raises:
        ValueError: The run has no such step after the first.

    Example:
        >>> sorted(set(measure_traces(run)["trace"]))
        ['image_auroc', 'kl', 'log_det', 'margin', 'nll']
    """
    if not 1 <= step < len(run):
        raise ValueError(
            f"Expected a step from 1 to {len(run) - 1} of {run.name}, the task to "
            f"learn again; got {step}."
        )
    refuse_several_flows(run[step].model())
    before = run[step - 1]
    strategy = STRATEGIES[run.strategy](**run.config.options)
    strategy.memory.update(before.memory())
    stream = strategy.arrange(run.stream())
    model = before.model(pick_device())
    read = Readings(model, n_draws=n_draws, seed=seed)
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    frames = {}

    def test(n_steps: int, model: FlowModel) -> None:
        rows = measure(model, run.features, before.categories, scoring=scoring)
        rows = rows[rows["metric"] == "image_auroc"].assign(trace="image_auroc")
        frames[n_steps, "test"] = rows.assign(n_steps=n_steps)

    def look(n_steps: int, model: FlowModel) -> None:
        taken[0] = n_steps
        if n_steps % every == 0:
            rows = pd.DataFrame(read(model).items(), columns=["trace", "value"])
            frames[n_steps, "read"] = rows.assign(n_steps=n_steps, category="all")
        if n_steps % test_every == 0:
            test(n_steps, model)

    taken = [0]
    model, _ = learn(
        model, strategy, stream[step], run.config, past=stream[:step], watch=look
    )
    test(taken[0], model)
    columns = ["step", "n_steps", "trace", "category", "value", "labels", "scores"]
    return pd.concat(frames.values(), ignore_index=True).assign(step=step)[columns]
