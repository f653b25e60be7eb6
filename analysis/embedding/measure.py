"""Patches followed through all steps of a run.

Pictures of their latents by UMAP, and facts to hold them against.
"""

__all__ = ["measure_embedding", "latent_facts"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist

from analysis.embedding.conclude import displacement
from analysis.embedding.layouts import METHODS, Slice, turned
from analysis.experiments import table
from analysis.scoring import true_masks
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import one_thread
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import refuse_several_flows

SPACES = ("latents", "features")
ROW = ["step", "task", "category", "label", "image", "cell", "known"]
FACTS = [
    *(
        "step",
        "task",
        "known",
        "purity",
        "own_center",
        "normal_distance",
        "anomalous_distance",
    ),
    *("overlap", "drift", "drift_rigid"),
]


# ---- tables of runs


@table
def measure_embedding(
    run: Run,
    *,
    method: str = "aligned",
    space: str = "latents",
    level: int = -1,
    n_patches: int = 20,
    n_neighbors: int = 15,
    n_epochs: int = 200,
    random_state: int = 0,
) -> pd.DataFrame:
    """Embed the same patches after every step, by UMAP.

    In two dimensions, with the main centers among them.

    How to read it: who is whose neighbour. Distances between groups, and their sizes,
    mean little; whether points really moved is said by `latent_facts` in the
    full-dimensional space.

    References:
        UMAP: Uniform manifold approximation and projection for dimension reduction
        (McInnes et al., 2018)
        https://arxiv.org/abs/1802.03426

    Args:
        run: One run, or many.
        method: A name in `METHODS`: `"aligned"` (AlignedUMAP), `"joint"`, `"fixed"` or
            `"independent"`.
        space: `"latents"`, or `"features"`: what the backbone sees, the same at every
            step.
        level: Feature level; the last one by default.
        n_patches: Patches of each category, from its test images; a quarter of them
            anomalous.
        n_neighbors: UMAP's; below the number of patches.
        n_epochs: UMAP's.
        random_state: Seed of the patches and of UMAP.

    Returns:
        One row per step and point: `step task category label image cell known level
        height width method space x y`. `label` is normal, anomalous (a cell of the grid
        that a defect overlaps) or center; `cell` counts the `height`·`width` cells row
        by row; `known` says whether the category has been learned. Categories not yet
        learned go through the flow like all others.

    Example:
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> sorted(set(embedded["label"]))
        ['anomalous', 'center', 'normal']
    """
    embed = METHODS[method]
    patches, slices = _follow(run, space, level, n_patches, random_state)
    if not 2 <= n_neighbors < len(patches):
        raise ValueError(
            f"Expected 2 ≤ n_neighbors < {len(patches)}, the number of patches; got "
            f"{n_neighbors}."
        )
    options = {"n_neighbors": n_neighbors, "n_epochs": n_epochs}
    with Bar(total=1, desc=f"embedding {run.name}", unit="layout") as bar:
        pictures = embed(slices, random_state=random_state, **options)
        bar.update()
    rows = pd.concat(
        [_rows(run, step, patches, s.names) for step, s in enumerate(slices)],
        ignore_index=True,
    )
    x, y = np.concatenate(pictures).astype(float).T
    height, width = run.features.grids[level]
    rows = rows.assign(
        level=level % len(run.features.levels), height=height, width=width
    )
    return rows.assign(method=method, space=space, x=x, y=y)


@table
def latent_facts(
    run: Run,
    *,
    space: str = "latents",
    level: int = -1,
    n_patches: int = 20,
    k: int = 10,
    random_state: int = 0,
) -> pd.DataFrame:
    """Facts in full dimensions that a picture cannot prove.

    On the same patches.

    How to read it: where `purity` stays and `own_center` falls, patches kept their
    company and lost their center; but every step adds centers to be mistaken for it.
    Drift that vanishes in `drift_rigid` was a rotation or a shift of the whole, which
    no distance between patches can feel.

    Args:
        run: One run, or many.
        space: `"latents"` or `"features"`.
        level: Feature level.
        n_patches: Patches of each category, as in `embedding`.
        k: Neighbours.
        random_state: Seed of the patches.

    Returns:
        One row per `step task`, NaN where there is no center or no step before: `known`
        (whether the task has been learned), `purity` (share of the k nearest normal
        patches that are of the patch's own category, for normal patches), `own_center`
        (share of normal patches whose nearest center is their own), `normal_distance`
        and `anomalous_distance` (mean distance of patches to their own center),
        `overlap` (share of the k nearest patches kept since the step before), `drift`
        (root mean square displacement since the step before, as a share of the spread
        of all patches) and `drift_rigid` (the same after the best rotation and shift of
        all patches).

    Example:
        >>> latent_facts(run)[["step", "task", "known"]].to_numpy().tolist()
        [[0, 0, True], [0, 1, False], [1, 0, True], [1, 1, True]]
    """
    patches, slices = _follow(run, space, level, n_patches, random_state)
    if not 1 <= k < (patches["label"] == "normal").sum():
        raise ValueError(
            f"Expected 1 ≤ k < {(patches['label'] == 'normal').sum()} normal patches; "
            f"got k = {k}."
        )
    frames = []
    before = None
    for step, now in enumerate(slices):
        values = {
            **_centering(patches, now),
            "purity": _purity(patches, now.patches, k),
        }
        values |= _changes(before, now.patches, k)
        known = patches["category"].isin(run[step].categories)
        means = (
            pd.DataFrame(values)
            .assign(task=patches["task"], known=known)
            .groupby("task")
            .mean()
        )
        means[["drift", "drift_rigid"]] **= 0.5
        frames.append(means.assign(step=step, known=means["known"] == 1).reset_index())
        before = now.patches
    return pd.concat(frames, ignore_index=True)[FACTS]


# ---- from tables to conclusions


# ---- methods: (slices, options of UMAP) -> per step the points in the plane (N + K, 2)


# ---- patches, and what the flow makes of them


def _follow(
    run: Run, space: str, level: int, n_patches: int, random_state: int
) -> tuple[pd.DataFrame, list[Slice]]:
    """Patches that are followed, and their vectors after each step.

    `task category label image cell`.
    """
    n_levels = len(run.features.levels)
    refuse_unknown("space", space, SPACES)
    if not -n_levels <= level < n_levels:
        raise ValueError(f"Expected a level below {n_levels}; got {level}.")
    patches, x = _sample(run, level, n_patches, random_state)
    if space == "features":
        return patches, [Slice(x, x[:0], ())] * len(run)
    return patches, [
        _latents(run, step, level, x, patches["cell"]) for step in range(len(run))
    ]


@torch.inference_mode()
@one_thread
def _latents(run: Run, step: int, level: int, x: np.ndarray, cells: pd.Series) -> Slice:
    model = run[step].model()
    refuse_several_flows(model)
    z, _ = model.levels[level](torch.from_numpy(x), torch.tensor(cells.tolist()))
    return Slice(z.numpy(), model.levels[level].mixture.mu.numpy(), model.categories)


def _sample(
    run: Run, level: int, n_patches: int, random_state: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Sample patches of test images, a quarter of them anomalous.

    Of every category, with their features (N, D).
    """
    test = run.features.where(split="test")
    frames = []
    values = []
    for task, names in enumerate(run.tasks):
        for category in names:
            images = test.where(category=category)
            rng = np.random.default_rng([random_state, len(frames)])
            image, cell, label = _draw(images, test.grids[level], n_patches, rng)
            paths = (
                images.samples["image_path"]
                .iloc[image]
                .map(lambda path: "/".join(Path(path).parts[-2:]))
            )
            columns = {
                "task": task,
                "category": category,
                "label": label,
                "image": paths.to_numpy(),
                "cell": cell,
            }
            frames.append(pd.DataFrame(columns))
            values.append(
                np.asarray(
                    images.levels[level][images.rows[image], cell], dtype=np.float32
                )
            )
    return pd.concat(frames, ignore_index=True), np.concatenate(values)


def _draw(
    images: Features, grid: tuple[int, int], n_patches: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, grid cell and label of the patches drawn from one category.

    No cell twice.
    """
    label = images.samples["label"].to_numpy()
    ill = rng.permutation(np.flatnonzero(label == 1))[: n_patches // 4]
    pools = {
        "normal": np.argwhere(np.repeat(label[:, None] == 0, np.prod(grid), axis=1)),
        "anomalous": np.concatenate(
            [np.empty((0, 2), int), *(_defective(images, i, grid) for i in ill)]
        ),
    }
    sizes = {"normal": n_patches - n_patches // 4, "anomalous": n_patches // 4}
    drawn = [rng.permutation(pool)[: sizes[name]] for name, pool in pools.items()]
    names = np.repeat(list(pools), [len(pool) for pool in drawn])
    return *np.concatenate(drawn).T, names


def _defective(images: Features, image: int, grid: tuple[int, int]) -> np.ndarray:
    """Image and grid cell (n, 2) of cells that a defect overlaps."""
    touched = true_masks(images.take([image]), grid)
    cells = np.flatnonzero(touched)
    return np.stack([np.full(len(cells), image), cells], axis=1)


def _rows(
    run: Run, step: int, patches: pd.DataFrame, names: Sequence[str]
) -> pd.DataFrame:
    """The points of one step: the patches, then the centers."""
    task = {
        name: index for index, categories in enumerate(run.tasks) for name in categories
    }
    centers = pd.DataFrame({"category": names, "task": [task[name] for name in names]})
    centers = centers.assign(label="center", image="", cell=-1)
    points = pd.concat([patches, centers], ignore_index=True) if len(names) else patches
    return points.assign(
        step=step, known=points["category"].isin(run[step].categories)
    )[ROW]


# ---- measures


def _neighbors(points: np.ndarray, k: int) -> np.ndarray:
    """The k nearest other points of each (N, k), in no order."""
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    return np.argpartition(distances, k - 1, axis=1)[:, :k]


def _purity(patches: pd.DataFrame, points: np.ndarray, k: int) -> np.ndarray:
    normal = (patches["label"] == "normal").to_numpy()
    category = patches["category"].to_numpy()[normal]
    purity = np.full(len(points), np.nan)
    purity[normal] = (
        category[_neighbors(points[normal], k)] == category[:, None]
    ).mean(1)
    return purity


def _centering(patches: pd.DataFrame, now: Slice) -> dict[str, np.ndarray]:
    """Distance of each patch to its own center.

    And whether no other is nearer; NaN where that is not asked.
    """
    normal = (patches["label"] == "normal").to_numpy()
    own = (
        patches["category"]
        .map({name: i for i, name in enumerate(now.names)})
        .to_numpy(dtype=float)
    )
    has = ~np.isnan(own)
    mine = np.full(len(own), np.nan)
    nearest = np.full(len(own), np.nan)
    if has.any():
        k = own[has].astype(int)
        distances = cdist(now.patches[has], now.centers)
        mine[has], nearest[has] = (
            distances[np.arange(len(k)), k],
            distances.argmin(1) == k,
        )
    return {
        "own_center": np.where(normal, nearest, np.nan),
        "normal_distance": np.where(normal, mine, np.nan),
        "anomalous_distance": np.where(normal, np.nan, mine),
    }


def _changes(
    before: np.ndarray | None, now: np.ndarray, k: int
) -> dict[str, np.ndarray]:
    """Of each patch the share of neighbours kept, and its squared displacement.

    NaN at the first step.
    """
    if before is None:
        return dict.fromkeys(
            ("overlap", "drift", "drift_rigid"), np.full(len(now), np.nan)
        )
    kept = [
        len(np.intersect1d(a, b)) / k
        for a, b in zip(_neighbors(before, k), _neighbors(now, k))
    ]
    rigid = turned(before, now, len(now))
    return {
        "overlap": np.array(kept),
        "drift": displacement(before, now),
        "drift_rigid": displacement(before, rigid),
    }
