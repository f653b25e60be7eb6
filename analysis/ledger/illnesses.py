"""Planted illnesses: a healthy model, harmed in one known way.

To see whether the ledger finds what was done.
"""

__all__ = ["ILLNESSES", "harmed", "planted", "refuse_illness"]

import copy
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.ledger.measure import counterfactuals
from analysis.scoring import Scoring, under_true_class
from cl_flow.align.refits import FAMILIES
from cl_flow.calls import refuse_unknown
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.registry import Registry
from cl_flow.runs.run import Run

ILLNESSES: Registry = Registry("illness")
SCRAMBLED = 5.0  # size of a subnet's weights, of which 1 keeps the size of its input


@ILLNESSES
def nothing(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """No harm: nothing may be found."""
    return copy.deepcopy(model)


@ILLNESSES
def centers_translated(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """Every class center moved by 30 standard deviations, each its own way.

    The flow is as it was.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for level in model.levels:
        mu = level.mixture.mu.detach()
        way = torch.randn(mu.shape, generator=generator).to(mu)
        level.mixture = level.mixture.replace(
            mu=mu + 30 * way / way.norm(dim=1, keepdim=True)
        )
    return model


@ILLNESSES
@torch.no_grad()
def latents_rotated(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """The last block turns all latents at random.

    Not a bit of knowledge is lost, and no center fits.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for level in model.levels:
        block = level.flow.module_list[-1]
        turn = torch.linalg.qr(torch.randn(level.dim, level.dim, generator=generator)).Q
        block.rotation.copy_(turn.to(block.rotation) @ block.rotation)
    return model


@ILLNESSES
def blocks_reset(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """Every coupling block as it was before training.

    All that the flow had learned is gone, the centers stay.
    """
    model = copy.deepcopy(model)
    untrained = FlowModel(
        model.dims, model.grids, model.config, seed=model.seed + 1 + seed
    )
    for level, other in zip(model.levels, untrained.levels):
        level.flow = other.to(level.codes).flow
    return model


@ILLNESSES
def confusable_class(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """A rival for every class, its center one standard deviation from theirs.

    Only the entropy can see it.
    """
    generator = torch.Generator().manual_seed(seed)
    rivals = []
    for level in model.levels:
        way = torch.randn(level.mixture.mu.shape, generator=generator).to(level.codes)
        rivals.append(level.mixture.mu.detach() + way / way.norm(dim=1, keepdim=True))
    return copy.deepcopy(model).expand_(
        [f"{name} (rival)" for name in model.categories], init="data", data=rivals
    )


@ILLNESSES
@torch.no_grad()
def density_flattened(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """The last block shrinks half of the directions to a tenth.

    There, near and far look alike to every center.
    """
    model = copy.deepcopy(model)
    for level in model.levels:
        scale = level.flow.module_list[-1].global_scale
        scale[: level.dim // 2] = _shrunk(scale[: level.dim // 2], 0.1)
    return model


@ILLNESSES
@torch.no_grad()
def blocks_scrambled(model: FlowModel, *, seed: int = 0) -> FlowModel:
    """Every coupling block bends its input wildly, each its own way.

    No center fits, no refit finds anything, and a few steps cannot undo it.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for level in model.levels:
        for parameter in level.flow.parameters():
            if parameter.ndim == 2:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(SCRAMBLED * noise / parameter.shape[1] ** 0.5)
    return model


def harmed(model: FlowModel, illness: str, *, seed: int = 0) -> FlowModel:
    """Copy of a model with one illness, or several joined by `+`, one after the other.

    Args:
        model: The healthy model.
        illness: Names in `ILLNESSES`.
        seed: Seeds the harm.
    """
    for name in illness.split("+"):
        model = ILLNESSES[name](model, seed=seed)
    return model


def refuse_illness(illness: Sequence[str]) -> None:
    """Refuse illnesses that are not known, alone or joined by `+`.

    Raises:
        KeyError: As `cl_flow.calls.refuse_unknown`.
    """
    names = [name for several in illness for name in several.split("+")]
    refuse_unknown("illness", names, ILLNESSES)


def _shrunk(raw: Tensor, factor: float) -> Tensor:
    """The parameter whose softplus (β = ½) is `factor` times as large."""
    return 2 * torch.expm1(factor * torch.log1p(torch.exp(raw / 2))).log()


@table
def planted(
    run: Run,
    *,
    step: int = 0,
    illness: Sequence[str] = tuple(ILLNESSES),
    family: Sequence[str] = FAMILIES,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc"),
) -> pd.DataFrame:
    """Ledger of a model that is harmed on purpose.

    What it was is the model after `step`, what it became the harm.

    How to read it: as a table of `ledger`, once per illness; `ledger_terms` and the
    others keep them apart. A diagnosis that does not find what was planted is not to be
    believed elsewhere.

    Args:
        run: One run, or many.
        step: Whose model is harmed: index of the last task learned.
        illness: Names in `ILLNESSES`; several joined by `+` are planted one after the
            other.
        family: As in `measure_ledger`.
        seed: Seeds the harm.
        scoring: How to score and measure, under the true class.

    Returns:
        The columns of `ledger`, and `illness`.

    Example:
        >>> from analysis.ledger import ledger_terms
        >>> ill = planted(run, illness=("nothing", "blocks_reset"), family=("full",))
        >>> terms = ledger_terms(ill, by="all").query("part == 'product'")
        >>> terms.query("term == 'drop' and illness == 'nothing'")["value"].item()
        0.0
    """
    refuse_illness(illness)
    refuse_unknown("family", family, FAMILIES)
    model = run[step].model(pick_device())
    task = run[step].step
    names = [name for name in run.tasks[task] if name in model.categories]
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    frames = []
    for name in Bar(illness, desc=f"planting in {run.name}", unit="illness"):
        ill = harmed(model, name, seed=seed)
        rows = counterfactuals(
            model, ill, run.features, names, family=family, scoring=scoring
        )
        keys = {"illness": name, "step": task, "task": task, "given": "category"}
        frames.append(rows.assign(**keys))
    keys = [
        "illness",
        "step",
        "task",
        "category",
        "given",
        "flow",
        "centers",
        "mask",
        "metric",
        "part",
    ]
    return pd.concat(frames, ignore_index=True)[[*keys, "value", "labels", "scores"]]
