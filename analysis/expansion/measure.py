"""Expansion alone: what adding centers for classes yet to come does to the first task, while nothing is trained."""

__all__ = ["expansion", "expansion_drops", "expansion_table", "expansion_terms", "summarise_expansion"]

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.intervals import Interval
from analysis.probes.measure import contrast, measure, resampled
from analysis.tables import table
from cl_flow.features import Features
from cl_flow.flow import FlowModel, pick_device
from cl_flow.latents import encode
from cl_flow.placement import smallest_distance
from cl_flow.run import Run
from cl_flow.score import PARTS
from cl_flow.threads import one_thread

ENTROPIES = ("all", "masked", "log_k")


@table
def expansion(
    run: Run,
    *,
    placement: Sequence[str] = ("tile", "retile", "orthogonal", "data"),
    entropy: Sequence[str] = ENTROPIES,
    given: Sequence[str | None] = ("category",),
    metric: Sequence[str] = ("image_auroc", "pixel_auroc"),
    part: Sequence[str] = PARTS,
    size: int | None = None,
    sigma: float = 4.0,
) -> pd.DataFrame:
    """The first task just after it is learnt, and after centers for each following task are added, nothing trained.

    How to read it: within a placement, what differs from the rows with `added` = 0 is the work of the new centers.
    The likelihood sees only its own class, so all of it enters through the entropy, but for `retile`, which moves
    the old centers.

    Args:
        run: One run, or many, that learn the first task by itself.
        placement: Where new centers go (`cl_flow.placement.PLACEMENTS`); `"data"` is at the means of the new classes'
            training latents under the flow as it is.
        entropy: Over `"all"` classes, `"masked"` to those of the first task, or over all and divided by ln K
            (`"log_k"`).
        given: `"category"`, None (routed to the likeliest class, new ones included), or both.
        metric: Names in `analysis.tables.METRICS`.
        part: Score parts.
        size: Side of the maps in pixels; None is the image size, 256 at most.
        sigma: Smoothing of the maps in pixels.

    Returns:
        One row per `placement added given entropy category metric part`, with its `value`, the `smallest_distance`
        of two centers over all levels, and for image metrics the `labels` and `scores` of the images. `added` counts
        the new classes, as far as there are dimensions for them.
    """
    unknown = sorted(set(entropy) - set(ENTROPIES))
    if unknown:
        raise KeyError(f"Unknown entropy {', '.join(unknown)}; known: {', '.join(ENTROPIES)}.")
    first = _first_task(run)
    settings = {"masked": {"known": first}, "log_k": {"per_log_k": True}}
    common = {"metric": metric, "part": part, "size": size or min(256, run.config.features.image_size), "sigma": sigma}
    images = run.features.where(category=list(first if None not in given else run.features.categories))
    latents = encode(run[0].model(pick_device()), images)  # nothing is trained: the flow stays, and so do these
    frames = []
    for place in placement:
        for added, model in _growing(run, place):
            distance = min(smallest_distance(level.mixture.mu) for level in model.levels)
            for choice in given:
                for kind in entropy:
                    rows = measure(model, latents, first, given=choice, **settings.get(kind, {}), **common)
                    keys = {"placement": place, "added": added, "given": str(choice), "entropy": kind}
                    frames.append(rows.assign(**keys, smallest_distance=distance))
    columns = ["placement", "added", "given", "entropy", "category", "metric", "part", "smallest_distance"]
    return pd.concat(frames, ignore_index=True)[[*columns, "value", "labels", "scores"]]


def _first_task(run: Run) -> tuple[str, ...]:
    if run[0].categories != run.tasks[0]:
        raise ValueError(
            f"Expected a run that learns {', '.join(run.tasks[0])} first; {run.name} learns "
            f"{', '.join(run[0].categories)}."
        )
    return run.tasks[0]


def _growing(run: Run, placement: str) -> Iterator[tuple[int, FlowModel]]:
    """The model of the first task, then with the classes of one more task after another, and how many were added."""
    model = run[0].model(pick_device())
    learnt = model.n_classes
    yield 0, model
    for names in run.tasks[1:]:
        if model.n_classes + len(names) > min(model.dims):
            return
        data = _means(model, run.features, names) if placement == "data" else None
        model.expand_(names, init=placement, data=data)
        yield model.n_classes - learnt, model


@torch.no_grad()
@one_thread
def _means(model: FlowModel, features: Features, categories: Sequence[str]) -> list[Tensor]:
    """Per level the mean latent (n, D) of each category's normal training patches."""
    sums = [level.codes.new_zeros(len(categories), level.dim) for level in model.levels]
    for i, category in enumerate(categories):
        images = features.where(split="train", label=0, category=category)
        for batch in images.batches():
            for total, level, x in zip(sums, model.levels, batch):
                z, _ = level(x.flatten(0, 1).to(level.codes))
                total[i] += z.sum(0) / (len(images) * len(level.codes))
    return sums


# ---- from scores to conclusions


def expansion_drops(expanded: pd.DataFrame, *, n_resamples: int = 1000, confidence: float = 0.95) -> pd.DataFrame:
    """How far each expansion changes image AUROC, with a paired bootstrap interval over test images.

    How to read it: a negative change is a loss; [0, 0] says that no image's rank changed, not that few did.

    Args:
        expanded: A table of `expansion`, of one run or several seeds.
        n_resamples: Bootstrap resamples.
        confidence: Of the interval.

    Returns:
        One row per `placement entropy given part added category`, the mean over categories included (`category` =
        "mean"): `before after change low high`.
    """
    rows = expanded[expanded["metric"] == "image_auroc"].reset_index(drop=True)
    samples = resampled(rows, n_resamples=n_resamples)
    keys, out = ["placement", "entropy", "given", "part"], []
    for key, group in rows.groupby(keys, sort=False):
        for category, chosen in [*group.groupby("category", sort=False), ("mean", group)]:
            before = (chosen["added"] == 0).to_numpy()
            for added in chosen.loc[~before, "added"].unique():
                after = (chosen["added"] == added).to_numpy()
                interval = contrast((after * 1.0 - before) / before.sum(), samples[chosen.index], confidence=confidence)
                levels = (chosen.loc[when, "value"].mean() for when in (before, after))
                out.append((*key, added, category, *levels, *interval))
    return pd.DataFrame(out, columns=[*keys, "added", "category", "before", "after", "change", "low", "high"])


def expansion_terms(
    expanded: pd.DataFrame, *, part: str = "product", n_resamples: int = 1000, confidence: float = 0.95
) -> pd.DataFrame:
    """The change under HGAD's tiling, split at equal K: what more classes cost, and what their placement adds.

    total = A(tile, K+n) − A(K); more classes = A(orthogonal, K+n) − A(K), where every new center is as far from the
    old ones as those are from each other; placement = A(tile, K+n) − A(orthogonal, K+n).

    Args:
        expanded: A table of `expansion` with the placements `tile` and `orthogonal`.
        part: Score part.
        n_resamples: Bootstrap resamples.
        confidence: Of the interval.

    Returns:
        One row per `added term`: mean change of image AUROC over categories and runs, `value low high`.
    """
    chosen = (expanded["metric"] == "image_auroc") & (expanded["entropy"] == "all") & (expanded["given"] == "category")
    rows = expanded[chosen & (expanded["part"] == part)].reset_index(drop=True)
    missing = {"tile", "orthogonal"} - set(rows["placement"])
    if missing:
        raise ValueError(f"Expected the placements tile and orthogonal; got no rows with {', '.join(sorted(missing))}.")
    samples, out = resampled(rows, n_resamples=n_resamples), []
    for added in sorted(set(rows["added"]) - {0}):
        tiled, spread = (_mean_of(rows, name, added) for name in ("tile", "orthogonal"))
        before = _mean_of(rows, "tile", 0)
        terms = {"total": tiled - before, "more classes": spread - before, "placement": tiled - spread}
        out += [(added, name, *contrast(weights, samples, confidence=confidence)) for name, weights in terms.items()]
    return pd.DataFrame(out, columns=["added", "term", "value", "low", "high"])


def _mean_of(rows: pd.DataFrame, placement: str, added: int) -> np.ndarray:
    """Weights of the mean over the rows of one expansion."""
    chosen = ((rows["placement"] == placement) & (rows["added"] == added)).to_numpy(dtype=float)
    return chosen / chosen.sum()


def expansion_table(expanded: pd.DataFrame, *, placement: str = "tile", part: str = "product") -> pd.DataFrame:
    """The slides' table: each category of the first task just learnt, and expanded for the second; a mean over runs.

    Args:
        expanded: A table of `expansion`, with image and pixel AUROC.
        placement: Where the new centers are.
        part: Score part.

    Returns:
        One row per `stage category`: `image_auroc pixel_auroc`.
    """
    rows = expanded[(expanded["placement"] == placement) & (expanded["part"] == part)]
    rows = rows[(rows["entropy"] == "all") & (rows["given"] == "category")]
    stages = dict(zip(sorted(rows["added"].unique()), ("after_task_1", "expanded_for_task_2")))
    rows = rows[rows["added"].isin(stages)].assign(stage=rows["added"].map(stages))
    means = rows.groupby(["stage", "category", "metric"], sort=False)["value"].mean().unstack()
    return means.rename_axis(columns=None).reset_index()


def summarise_expansion(drops: pd.DataFrame, terms: pd.DataFrame) -> str:
    """A paragraph on what the first expansion changes, from tables of `expansion_drops` and `expansion_terms`."""
    added = drops["added"].min()
    first = drops[(drops["added"] == added) & (drops["category"] == "mean") & (drops["given"] == "category")]
    changes = {
        (row.placement, row.entropy, row.part): Interval(row.change, row.low, row.high) for row in first.itertuples()
    }
    split = {row.term: Interval(row.value, row.low, row.high) for row in terms[terms["added"] == added].itertuples()}
    kept = [name for name in dict.fromkeys(first["placement"]) if name != "retile"]
    logp = _largest(changes, kept, "all", "logp")
    masked = _largest(changes, kept, "masked", "product")
    sentences = [
        f"Adding {added} centers and training nothing changed the mean image AUROC of task 1 by {split['total']!r} "
        "under HGAD's tiling",
        f"at the same number of classes, {split['more classes']!r} comes with an entropy over more classes (orthogonal "
        f"centers) and {split['placement']!r} with where the tiling puts them",
        f"wherever old centers stay, the likelihood alone changed by {logp} at most, and the product with its entropy "
        f"masked to the classes of task 1 by {masked}",
    ]
    return "; ".join(sentences) + "."


def _largest(changes: dict[tuple[str, str, str], Interval], placements: list[str], entropy: str, part: str) -> str:
    """The change farthest from 0 over some placements; a dash where it was not measured."""
    values = [changes[key].value for name in placements if (key := (name, entropy, part)) in changes]
    return f"{max(values, key=abs):.3g}" if values else "–"
