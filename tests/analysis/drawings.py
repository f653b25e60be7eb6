"""Every plot of the rooms on a small table of its own, for streams of any shape.

A drawing is enrolled under the name of its plot: `DRAWINGS[name](stream)` draws onto
the current figure and returns it. A stream lists the number of categories per task;
what knows no tasks ignores it.
"""

__all__ = ["DRAWINGS", "STREAMS", "plots"]

from collections.abc import Callable, Iterator
from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import analysis
from analysis import (
    alignment,
    centers,
    detection,
    embedding,
    expansion,
    judgement,
    ledger,
    methods,
    pictures,
    recovery,
    witnesses,
)
from analysis.detection import defect_aurocs, roc_points, routes, thresholds

STREAMS = {
    "two tasks": (1, 1),
    "5 of 3": (3,) * 5,
    "15 of 1": (1,) * 15,
    "14 and 1": (14, 1),
}
NAMES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile "
    "toothbrush transistor wood zipper"
).split()
DEFECTS = ("crack", "missing_part", "texture_swap")
KEYS = {"run": "r", "strategy": "finetune", "seed": 0}
Stream = tuple[int, ...]

DRAWINGS: dict[str, Callable[[Stream], Figure]] = {}


def plots() -> Iterator[str]:
    """Names of the plots that the rooms offer, each with its room."""
    for room in dir(analysis):
        for name in getattr(getattr(analysis, room), "__all__", ()):
            if name.startswith("plot_") and hasattr(analysis, room):
                yield f"{room}.{name}"


def drawing(plot: Callable) -> Callable:
    """Enrol a drawing of a plot under the plot's room and name."""

    def enrol(draw: Callable[[Stream], object]) -> Callable[[Stream], Figure]:
        def drawn(stream: Stream) -> Figure:
            draw(stream)
            return plt.gcf()

        room = plot.__module__.split(".")[1]
        DRAWINGS[f"{room}.{plot.__name__}"] = drawn
        return drawn

    return enrol


def arrivals(stream: Stream) -> list[tuple[int, str]]:
    """Task and name of each category, in order."""
    tasks = np.repeat(np.arange(len(stream)), stream)
    return list(zip(tasks.tolist(), NAMES))


def learnt(stream: Stream) -> Iterator[tuple[int, int, str, float]]:
    """Step, task and category, and an AUROC that falls, more for some than others."""
    for step in range(len(stream)):
        for i, (task, name) in enumerate(arrivals(stream)):
            if task <= step:
                lost = (0.25 + 0.1 * (i % 3)) * (1 - 0.6 ** (step - task))
                yield step, task, name, 0.99 - 0.005 * i - lost


def evaluated(stream: Stream) -> pd.DataFrame:
    columns = ["step", "task", "category", "value"]
    table = pd.DataFrame(learnt(stream), columns=columns).assign(**KEYS)
    return table.assign(metric="image_auroc", part="product", given="category")


def scored(stream: Stream) -> pd.DataFrame:
    """Scores of ten normal and six anomalous images per category."""
    rng = np.random.default_rng(0)
    frames = []
    for step, task, name, auroc in learnt(stream):
        label = np.repeat([0, 1], [10, 6])
        frame = pd.DataFrame(
            {"image": range(16), "label": label, "score": 5 + rng.normal(size=16)}
        )
        frame["score"] += 6 * label * (auroc - 0.5)
        frame["defect"] = ["good"] * 10 + list(DEFECTS) * 2
        known = [other for at, other in arrivals(stream) if at <= step]
        frame["routed"] = name if auroc > 0.8 else rng.choice(known)
        frames.append(frame.assign(step=step, task=task, category=name))
    table = pd.concat(frames, ignore_index=True).assign(part="product", **KEYS)
    return pd.concat(
        [table.assign(given=given) for given in ("category", "None")],
        ignore_index=True,
    )


# ---- detection


@drawing(detection.plot_matrix)
def _(stream: Stream) -> None:
    detection.plot_matrix(detection.r_matrix(evaluated(stream)))


@drawing(detection.plot_task_curves)
def _(stream: Stream) -> None:
    table = evaluated(stream)
    joint = table[table["step"] == table["step"].max()].assign(
        strategy="joint", value=0.98
    )
    detection.plot_task_curves(table, reference=joint)


@drawing(detection.plot_forgetting)
def _(stream: Stream) -> None:
    rows = [
        (str(task), ", ".join(n for t, n in arrivals(stream) if t == task), -0.3 / n)
        for task, n in enumerate(range(1, len(stream) + 1))
    ]
    rows.append(("average", "", -0.2))
    table = pd.DataFrame(rows, columns=["task", "categories", "change"])
    low, high = table["change"] - 0.05, table["change"] + 0.05
    detection.plot_forgetting(table.assign(low=low, high=high))


@drawing(detection.plot_strategies)
def _(stream: Stream) -> None:
    table = evaluated(stream)
    joint = table.assign(run="j", strategy="joint", value=0.99 - table["value"] / 100)
    both = pd.concat([table, joint], ignore_index=True)
    detection.plot_strategies(both)


@drawing(detection.plot_losses)
def _(stream: Stream) -> None:
    rows = [
        (step, epoch, 0, term, at + 2.0**-epoch)
        for step in range(len(stream))
        for epoch in range(5)
        for at, term in enumerate(("g", "mi", "entropy", "intra", "z"))
    ]
    columns = ["step", "epoch", "level", "term", "value"]
    detection.plot_losses(pd.DataFrame(rows, columns=columns))


@drawing(detection.plot_categories)
def _(stream: Stream) -> None:
    detection.plot_categories(evaluated(stream))


@drawing(detection.plot_scores)
def _(stream: Stream) -> None:
    detection.plot_scores(scored(stream), "bottle")


@drawing(detection.plot_roc)
def _(stream: Stream) -> None:
    _, axes = plt.subplots(1, 2)
    points = roc_points(scored(stream))
    detection.plot_roc(points, ax=axes[0])
    detection.plot_roc(points, kind="pr", ax=axes[1])


@drawing(detection.plot_defects)
def _(stream: Stream) -> None:
    detection.plot_defects(defect_aurocs(scored(stream)))


@drawing(detection.plot_routes)
def _(stream: Stream) -> None:
    detection.plot_routes(routes(scored(stream)))


@drawing(detection.plot_thresholds)
def _(stream: Stream) -> None:
    detection.plot_thresholds(thresholds(scored(stream)))


# ---- pictures


@drawing(pictures.plot_examples)
def _(stream: Stream) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((16, 16), dtype=bool)
    rows = [
        (task, name, defect, rng.random((16, 16, 3)), mask)
        for task, name in arrivals(stream)
        for defect in ("good", *DEFECTS)
    ]
    mask[4:9, 4:9] = True
    columns = ["task", "category", "defect", "image", "mask"]
    pictures.plot_examples(pd.DataFrame(rows, columns=columns), per_category=4)


@drawing(pictures.plot_maps)
def _(stream: Stream) -> None:
    rng = np.random.default_rng(0)
    steps = sorted({*range(min(5, len(stream)))})
    names = [f"{name}/crack/000.png" for _, name in arrivals(stream)[:3]]
    shown = pd.DataFrame({"name": names, "category": NAMES[: len(names)]})
    shown = shown.assign(defect="missing_part")
    shown["image"] = [rng.random((32, 32, 3)) for _ in names]
    shown["mask"] = [np.pad(np.ones((8, 8), dtype=bool), 12) for _ in names]
    rows = [
        (name, step, 1e3 * rng.random(), 0.5, rng.random(16) * 4)
        for name, step in product(names, steps)
    ]
    maps = pd.DataFrame(rows, columns=["name", "step", "score", "auroc", "rarity"])
    maps = maps.assign(part="product", height=4, width=4, map=maps["rarity"], **KEYS)
    pictures.plot_maps(maps, shown)


# ---- embedding


def embedded(stream: Stream, method: str = "aligned") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for step, (i, (task, name)) in product(
        range(len(stream)), enumerate(arrivals(stream))
    ):
        known = task <= step
        for label, n in (("normal", 8), ("anomalous", 5), ("center", int(known))):
            for x, y in rng.normal(size=(n, 2)) * (0.2 if label == "center" else 3):
                rows.append((step, task, name, label, known, x + i % 4, y + i // 4))
    columns = ["step", "task", "category", "label", "known", "x", "y"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(method=method, space="latents", **KEYS)


@drawing(embedding.plot_embedding)
def _(stream: Stream) -> None:
    embedding.plot_embedding(embedded(stream))


@drawing(embedding.plot_embedding_steps)
def _(stream: Stream) -> None:
    embedding.plot_embedding_steps(embedded(stream))


@drawing(embedding.plot_apparent_drift)
def _(stream: Stream) -> None:
    rows = [
        (method, space, step, at * (space == "features") + 0.3 * step / len(stream))
        for at, method in enumerate(("aligned", "joint", "independent"))
        for space in ("features", "latents")
        for step in range(1, len(stream))
    ]
    columns = ["method", "space", "step", "drift"]
    embedding.plot_apparent_drift(pd.DataFrame(rows, columns=columns))


# ---- centers


def distances(stream: Stream) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    placed = 3 * rng.random((15, 3))
    rows = []
    for step in range(len(stream)):
        known = [(i, t, n) for i, (t, n) in enumerate(arrivals(stream)) if t <= step]
        for (i, task, name), (j, other_task, other) in product(known, known):
            apart = np.linalg.norm(placed[i] - placed[j])
            rows.append((step, task, name, other_task, other, apart))
    columns = ["step", "task", "category", "other_task", "other", "distance"]
    return pd.DataFrame(rows, columns=columns).assign(level="mean", **KEYS)


@drawing(centers.plot_center_distances)
def _(stream: Stream) -> None:
    centers.plot_center_distances(distances(stream))


@drawing(centers.plot_center_drift)
def _(stream: Stream) -> None:
    columns = ["step", "task", "category", "distance"]
    table = pd.DataFrame(learnt(stream), columns=columns)
    first = table.groupby("category")["distance"].transform("first")
    table = table.assign(level="mean", distance=first - table["distance"], **KEYS)
    centers.plot_center_drift(table)


@drawing(centers.plot_similarity)
def _(stream: Stream) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (name, task, other, other_task, *(2 + 3 * rng.random(2)))
        for (task, name), (other_task, other) in combinations(arrivals(stream), 2)
    ]
    columns = ["category", "task", "other", "other_task"]
    columns += ["feature_distance", "center_distance"]
    pairs = pd.DataFrame(rows, columns=columns).assign(step=0, level="mean", **KEYS)
    found = {"step": 0, "rho": -0.13, "low": -0.21, "high": 0.67}
    found |= {"x": "feature_distance", "y": "center_distance"}
    centers.plot_similarity(pairs, pd.DataFrame([found]))


# ---- recovery

PROBES = ("forgotten", "held_out", "sham", "never_learned", "untrained")


def curves(step: int) -> pd.DataFrame:
    rows = [(step, "learned", "none", 0, 0.0, 0, 0, 0.99)]
    for at, probe in enumerate(PROBES):
        for task in (0, step):
            for n in (0, 1, 2, 4, 8, 30, 100):
                value = 0.5 + 0.1 * np.log1p(n) * (at % 3) / 2 - 0.01 * at
                rows.append((step, probe, "both", 5, 0.01, task, n, value))
    columns = ["step", "probe", "update", "shots", "lr", "task", "n_steps", "value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(low=table["value"] - 0.08, high=table["value"] + 0.08)


@drawing(recovery.plot_recovery)
def _(stream: Stream) -> None:
    marks = {"batch": 1, "pass": 1, "meta-epoch": 8}
    step = len(stream) - 1
    recovery.plot_recovery(curves(step), step=step, marks=marks)


@drawing(recovery.plot_recovery_cost)
def _(stream: Stream) -> None:
    step = len(stream) - 1
    recovery.plot_recovery_cost(curves(step), step=step)


# ---- expansion

PLACEMENTS = ("tile", "retile", "orthogonal", "data")


@drawing(expansion.plot_expansion)
def _(stream: Stream) -> None:
    few = [name for task, name in arrivals(stream) if task == 0]
    rows = [
        (place, part, 3, name, -0.02 * at - 0.01 * (part == "entropy"))
        for at, place in enumerate(PLACEMENTS)
        for part in ("logp", "entropy", "product")
        for name in (*few, "mean")
    ]
    columns = ["placement", "part", "added", "category", "change"]
    table = pd.DataFrame(rows, columns=columns).assign(entropy="all")
    low, high = table["change"] - 0.05, table["change"] + 0.05
    table = table.assign(low=low, high=high, given="category", before=0.9)
    expansion.plot_expansion(table.assign(after=0.9 + table["change"]))


@drawing(expansion.plot_expansion_size)
def _(stream: Stream) -> None:
    rows = [
        (place, added, -0.01 * at * added)
        for at, place in enumerate(PLACEMENTS)
        for added in np.cumsum(stream[1:])
    ]
    table = pd.DataFrame(rows, columns=["placement", "added", "change"])
    low, high = table["change"] - 0.05, table["change"] + 0.05
    table = table.assign(low=low, high=high, category="mean", given="category")
    expansion.plot_expansion_size(table.assign(part="product", entropy="all", **KEYS))


@drawing(expansion.plot_stages)
def _(stream: Stream) -> None:
    rows = [
        (stage, name, 0.95 - 0.2 * at)
        for at, stage in enumerate(("after_task_1", "after_task_2", "few_shot"))
        for task, name in arrivals(stream)
        if task == 0
    ]
    table = pd.DataFrame(rows, columns=["stage", "category", "image_auroc"])
    expansion.plot_stages(table)


# ---- ledger

TERMS = {"confusion": 0.1, "center drift": -0.05, "alignment": 0.15, "residual": 0.2}
TERMS |= {"learned": 0.9, "final": 0.5, "drop": 0.4}


def terms(stream: Stream) -> pd.DataFrame:
    rows = [
        (task, name, term, value)
        for task, name in arrivals(stream)[: len(stream)]
        for term, value in TERMS.items()
    ]
    table = pd.DataFrame(rows, columns=["task", "category", "term", "value"])
    low, high = table["value"] - 0.02, table["value"] + 0.03
    table = table.assign(low=low, high=high, given="category", part="product")
    return table.assign(step=len(stream) - 1, **KEYS)


@drawing(ledger.plot_waterfall)
def _(stream: Stream) -> None:
    of_task = terms(stream).drop_duplicates(["task", "term"])
    ledger.plot_waterfall(of_task.drop(columns="category"), task=0)


@drawing(ledger.plot_ledger)
def _(stream: Stream) -> None:
    ledger.plot_ledger(terms(stream))


@drawing(ledger.plot_families)
def _(stream: Stream) -> None:
    names = ("none", "means", "offsets", "diagonal", "full", "affine")
    rows = [
        (name, flow, 0.5 + at / 12 - 0.1 * (flow == "untrained"))
        for at, name in enumerate(names)
        for flow in ("old", "new", "untrained")
        if (flow, name) != ("untrained", "none")
    ]
    table = pd.DataFrame(rows, columns=["family", "flow", "value"])
    low, high = table["value"] - 0.05, table["value"] + 0.05
    table = table.assign(low=low, high=high, given="category", part="product")
    ledger.plot_families(table)


@drawing(ledger.plot_transplant)
def _(stream: Stream) -> None:
    table = pd.DataFrame(
        product(("first", "last"), range(7), ("old", "full")),
        columns=["side", "blocks", "centers"],
    )
    value = 0.5 + table["blocks"] / 20 + 0.1 * (table["centers"] == "full")
    value += 0.05 * (table["side"] == "first")
    table = table.assign(value=value, low=value - 0.05, high=value + 0.05)
    ledger.plot_transplant(table.assign(part="product", **KEYS))


def moves(stream: Stream) -> pd.DataFrame:
    last = len(stream) - 1
    rows = [
        (task, 0, "all", fit, value)
        for task in range(last)
        for fit, value in (("rigid", 0.2), ("affine", 0.5), ("class_affine", 0.8))
    ] + [
        (task, 0, name, quantity, value * (i + 1))
        for i, (task, name) in enumerate(arrivals(stream))
        if task < last
        for quantity, value in (("mixture", -2.0), ("volume", 0.5), ("logp", -1.5))
    ]
    columns = ["task", "level", "category", "quantity", "value"]
    return pd.DataFrame(rows, columns=columns).assign(source="images", **KEYS)


@drawing(ledger.plot_transport)
def _(stream: Stream) -> None:
    ledger.plot_transport(moves(stream))


@drawing(ledger.plot_volume)
def _(stream: Stream) -> None:
    ledger.plot_volume(moves(stream))


# ---- methods


def compared() -> pd.DataFrame:
    """Eleven methods, two with strengths, and the references."""
    strategies = [
        *("finetune", "joint", "cumulative", "single", "freeze", "ewc", "lwf", "lora"),
        *("packnet", "replay", "functional", "gauge_free", "x_knn", "x_gaussian"),
    ]
    rows = []
    for at, name in enumerate(strategies):
        for strength in (1, 10) if name in ("replay", "ewc") else (1,):
            method = f"{name} (strength {strength})" if strength > 1 else name
            kept = 0 if at < 5 else 10.0 ** (at % 4 + 3) * strength
            values = {"final_mean": 0.5 + at / 30, "bwt": -0.4 + at / 40}
            values["learning_score"] = 0.9 + at / 200 - strength / 100
            for quantity, value in values.items():
                if name != "joint" or quantity == "final_mean":
                    rows.append((method, name, "image_auroc", quantity, value))
            if name != "joint":
                rows.append((method, name, "", "kept_bytes", kept))
    columns = ["method", "strategy", "metric", "quantity", "value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(low=table["value"] - 0.02, high=table["value"] + 0.02, seeds=3)


@drawing(methods.plot_bytes)
def _(stream: Stream) -> None:
    methods.plot_bytes(compared())


@drawing(methods.plot_stability)
def _(stream: Stream) -> None:
    methods.plot_stability(compared())


@drawing(methods.plot_curve)
def _(stream: Stream) -> None:
    rows = [
        (method, passes, rate * passes, name, 1 - top / (1 + passes))
        for method, rate, top in (("joint", 1, 0.5), ("uniad: joint", 6, 0.8))
        for passes in range(4, 41, 4)
        for name in ("bottle", "cable")
    ]
    columns = ["method", "passes", "seconds", "category", "value"]
    curves = pd.DataFrame(rows, columns=columns).assign(part="product")
    curves = curves.assign(run=curves["method"], metric="image_auroc")
    methods.plot_curve(curves)


# ---- judgement


@drawing(judgement.plot_evidence)
def _(stream: Stream) -> None:
    rows = [
        ("finetune", 0, "competition", 0.1, 0.05, 0.2, 0.1, 0.05, 0.2),
        ("finetune", 0, "old centers", 0.0, -0.1, 0.1, 0.0, -0.1, 0.1),
        ("finetune", 0, "refit", 0.6, 0.4, 0.7, 0.1, 0.0, 0.3),
        ("finetune", 0, "training", 0.9, 0.8, 1.6, 0.55, 0.3, 0.8),
    ]
    columns = ["strategy", "task", "witness", "back", "back_low", "back_high"]
    columns += ["kept", "kept_low", "kept_high"]
    judgement.plot_evidence(pd.DataFrame(rows, columns=columns))


@drawing(judgement.plot_first_steps)
def _(stream: Stream) -> None:
    rows = [
        ("finetune", 1, n, term, value, value - 0.02, value + 0.03)
        for n, scale in ((1, 0.6), (3, 0.8), (10, 1.0))
        for term, value in (
            ("return", 0.2 * scale),
            ("mixture", 0.02),
            ("flow", 0.15 * scale),
            ("together", 0.05 * scale - 0.02),
        )
    ]
    columns = ["strategy", "step", "n_steps", "term", "value", "low", "high"]
    judgement.plot_first_steps(pd.DataFrame(rows, columns=columns))


@drawing(judgement.plot_confusions)
def _(stream: Stream) -> None:
    expected = {
        "nothing": "undetermined",
        "latents_rotated": "reminded",
        "blocks_reset": "relearned",
        "latents_rotated+confusable_class": "mixed",
    }
    found = [
        (name, "lost" if name == "blocks_reset" and seed else word)
        for name, word in expected.items()
        for seed in range(5)
    ]
    table = pd.DataFrame(found, columns=["illness", "verdict"])
    judgement.plot_confusions(table, expected=expected)


# ---- alignment


def aligned() -> pd.DataFrame:
    rows = [
        ("finetune", "joint", "", 0.9, 0),
        ("gauge_free", "none", "", 0.8, 90_000),
        ("finetune", "refit", "full", 0.75, 1e6),
        ("finetune", "pushforward", "full", 0.7, 80_000),
        ("finetune", "pushforward", "means", 0.65, 8_000),
        ("finetune", "refit", "means", 0.6, 1e6),
        ("finetune", "sdc", "means", 0.5, 0),
        ("finetune", "none", "", 0.4, 0),
    ]
    columns = ["strategy", "aligner", "head", "image_auroc", "n_bytes"]
    table = pd.DataFrame(rows, columns=columns)
    low, high = table["image_auroc"] - 0.02, table["image_auroc"] + 0.03
    return table.assign(low=low, high=high)


@drawing(alignment.plot_alignment)
def _(stream: Stream) -> None:
    alignment.plot_alignment(aligned())


@drawing(alignment.plot_ladder)
def _(stream: Stream) -> None:
    kept = {"finetune": 0, "replay": 970_440, "feature_gaussian": 4_000_000}
    rows = [
        (name, rung, 0.6 + 0.1 * i + 0.05 * j, n_bytes)
        for i, (name, n_bytes) in enumerate(kept.items())
        for j, rung in enumerate(
            (
                "as trained",
                "draws through the flow",
                "refit, means",
                "refit, covariances",
            )
        )
    ]
    columns = ["strategy", "rung", "image_auroc", "n_bytes"]
    table = pd.DataFrame(rows, columns=columns)
    low, high = table["image_auroc"] - 0.02, table["image_auroc"] + 0.03
    alignment.plot_ladder(table.assign(low=low, high=high), joint=0.98)


@drawing(alignment.plot_budget)
def _(stream: Stream) -> None:
    alignment.plot_budget(aligned())


@drawing(alignment.plot_growth)
def _(stream: Stream) -> None:
    points = np.random.default_rng(0).normal(size=(90, 2))
    rows = [("s", "igmn", 90, i, 0.5, 2.0 * i, 0.0, 1.0, 0.5, 30) for i in range(2)]
    columns = ["order", "policy", "n_points", "component", "weight", "x", "y"]
    columns += ["major", "minor", "angle"]
    table = pd.DataFrame(rows, columns=columns)
    alignment.plot_growth(table, points, order="s", policy="igmn")


@drawing(alignment.plot_laws)
def _(stream: Stream) -> None:
    grid = product(
        ("pooled", "weights", "full"), (256,), (1, 4, 8, 16), ("ant",), (0, 1)
    )
    columns = ["position", "places", "components", "category", "level"]
    table = pd.DataFrame(grid, columns=columns)
    rank = table["position"].map({"pooled": 0, "weights": 1, "full": 2})
    table["value"] = np.log(table["components"]) / 20 + 0.2 * rank
    table["n_bytes"] = 2_000 * table["components"] + 30_000 * rank
    alignment.plot_laws(table.assign(**KEYS))


@drawing(alignment.plot_samplers)
def _(stream: Stream) -> None:
    rows = [
        (sampler, name, level, 0.5 + 0.08 * at + 0.01 * i)
        for at, sampler in enumerate(("real", "gaussian", "transport", "nominal"))
        for i, (_, name) in enumerate(arrivals(stream))
        for level in (0, 1)
    ]
    columns = ["sampler", "category", "level", "value"]
    alignment.plot_samplers(pd.DataFrame(rows, columns=columns))


# ---- witnesses


@drawing(witnesses.plot_accessibility)
def _(stream: Stream) -> None:
    rows = [
        (block, term, 0.5 + block / 16 - 0.03 * block * (term == "new"))
        for block in range(9)
        for term in ("old", "new")
    ]
    table = pd.DataFrame(rows, columns=["block", "term", "value"])
    low, high = table["value"] - 0.05, table["value"] + 0.05
    table = table.assign(low=low, high=high, head="one_class", level="mean", **KEYS)
    witnesses.plot_accessibility(table)


@drawing(witnesses.plot_representations)
def _(stream: Stream) -> None:
    rows = [
        (block, flow, block / 16 if flow == "untrained" else block / 40)
        for block in range(9)
        for flow in ("new", "untrained")
    ]
    table = pd.DataFrame(rows, columns=["block", "flow", "value"])
    low, high = table["value"] - 0.02, table["value"] + 0.02
    table = table.assign(low=low, high=high, measure="discrepancy", **KEYS)
    witnesses.plot_representations(table.assign(level="mean"))


@drawing(witnesses.plot_relative_forgetting)
def _(stream: Stream) -> None:
    table = pd.DataFrame({"task": range(len(stream))})
    value = (0.2 + 0.11 * table["task"]).where(table["task"] % 3 < 2)
    table = table.assign(value=value, low=value - 0.1, high=value + 0.2, **KEYS)
    witnesses.plot_relative_forgetting(table)


@drawing(witnesses.plot_path)
def _(stream: Stream) -> None:
    grid = product(("interpolated", "full"), np.linspace(0, 1, 11))
    table = pd.DataFrame(grid, columns=["centers", "share"])
    is_full = table["centers"] == "full"
    table["value"] = (2 - 3 * table["share"] ** 2).where(~is_full, -table["share"] / 2)
    low, high = table["value"] - 0.1, table["value"] + 0.1
    table = table.assign(low=low, high=high, metric="nll", units="matched", **KEYS)
    witnesses.plot_path(table)


@drawing(witnesses.plot_leads)
def _(stream: Stream) -> None:
    table = pd.DataFrame(
        product(("nll", "kl", "margin", "log_det"), range(3)), columns=["trace", "seed"]
    )
    lead = (40.0 - 30 * table["seed"]).where(table["trace"] != "margin")
    table = table.assign(lead=lead, low=lead - 5, high=lead + 9, alarm=60 - lead)
    witnesses.plot_leads(table.assign(strategy="finetune"))
