"""What each continual-learning method reaches beside what it costs, over seeds and against fine-tuning."""

__all__ = [
    "contrast_methods",
    "methods",
    "methods_beside",
    "methods_table",
    "per_seed",
    "summarise_methods",
]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import continual
from analysis.costs import kept_bytes, method_name, step_cost
from analysis.intervals import Interval, seed_interval
from analysis.tables import evaluate, r_matrix
from cl_flow.run import Run

METRICS = ("image_auroc", "pixel_auroc")
QUANTITIES = ("final_mean", "learning_score", "bwt", "forgetting", "joint_gap")
SLIDES = {"finetune": "HGAD", "ewc": "+EWC", "lwf": "+LwF", "packnet": "+PackNet", "replay": "+Replay"}
COSTS = ("kept_bytes", "step_ratio", "steps_ratio")


def methods(
    runs: Iterable[Run],
    *,
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    given: str | None = "category",
    time_steps: bool = True,
) -> pd.DataFrame:
    """Every method's detection, forgetting and costs; means over seeds with their Student interval.

    How to read it: `joint_gap` is what is left to gain, and needs the joint run of the same seed among the runs; `bwt`
    is negative for a loss, `forgetting` positive. A method whose interval overlaps fine-tuning's is not thereby equal
    to it: `contrast_methods` pairs the seeds.

    Args:
        runs: Of several strategies, options and seeds.
        baselines: A table of `analysis.baselines`.
        part: Score part.
        given: `"category"` or None.
        time_steps: Whether to time a method's steps, on its first run.

    Returns:
        One row per `method strategy metric quantity` with `value low high seeds`; costs have an empty metric.
    """
    rows = per_seed(runs, baselines=baselines, part=part, given=given, time_steps=time_steps)
    keys = ["method", "strategy", "metric", "quantity"]
    out = [(*key, *seed_interval(group["value"]), len(group)) for key, group in rows.groupby(keys, sort=False)]
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high", "seeds"])


def per_seed(
    runs: Iterable[Run],
    *,
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    given: str | None = "category",
    time_steps: bool = True,
) -> pd.DataFrame:
    """The rows behind `methods`, one per `method strategy seed metric quantity`, with its `value`."""
    runs, rows, timed = list(runs), [], set()
    evaluated = evaluate(runs, metric=METRICS, part=(part,), given=(given,))
    joint = {run.seed: run.name for run in runs if run.strategy == "joint"}
    for run in runs:
        key = (method_name(run), run.strategy, run.seed)
        bound = evaluated[evaluated["run"] == joint.get(run.seed)]
        rows += _detection(key, evaluated[evaluated["run"] == run.name], bound, part, given)
        rows.append((*key, "", "kept_bytes", kept_bytes(run)))
        if time_steps and key[0] not in timed:
            cost = step_cost(run).iloc[0]
            rows += [(*key, "", name, cost[name]) for name in ("step_ratio", "steps_ratio")]
            timed.add(key[0])
    if baselines is not None:
        rows += _of_baselines(baselines, evaluated, joint, part)
    return pd.DataFrame(rows, columns=["method", "strategy", "seed", "metric", "quantity", "value"]).dropna()


Key = tuple[str, str, int]


def _detection(
    key: Key, rows: pd.DataFrame, bound: pd.DataFrame, part: str, given: str | None
) -> list[tuple[Any, ...]]:
    out = []
    for metric in METRICS:
        R = r_matrix(rows, metric=metric, part=part, given=str(given))
        best = None if bound.empty else r_matrix(bound, metric=metric, part=part, given=str(given))[-1]
        out += [(*key, metric, name, value) for name, value in _summaries(R, best).items()]
    return out


def _summaries(R: np.ndarray, best: np.ndarray | None) -> dict[str, float]:
    """Joint runs have one row, single-task runs a diagonal only: neither can forget."""
    last = R[-1] if len(R) == 1 or not np.isnan(R[-1]).any() else np.diagonal(R)
    values = {"final_mean": float(last.mean()), "joint_gap": np.nan if best is None else float((best - last).mean())}
    if R.shape[0] == R.shape[1]:
        values["learning_score"] = continual.learning_score(R)
        values |= {"bwt": continual.bwt(R), "forgetting": continual.forgetting(R)}
    return values


def _of_baselines(
    baselines: pd.DataFrame, evaluated: pd.DataFrame, joint: Mapping[int, str], part: str
) -> list[tuple[Any, ...]]:
    out = []
    for (name, seed, _), rows in baselines.groupby(["strategy", "seed", "run"], sort=False):
        bound = evaluated[evaluated["run"] == joint.get(seed)]
        out += _detection((name, name, seed), rows, bound, part, "category")
        out.append((name, name, seed, "", "kept_bytes", float(rows["kept_bytes"].iloc[0])))
    return out


def contrast_methods(
    runs: Iterable[Run], *, against: str = "finetune", baselines: pd.DataFrame | None = None, part: str = "product"
) -> pd.DataFrame:
    """How far each method's last model is from another's, seed by seed.

    How to read it: an interval that leaves out 0 is a difference beyond the seeds at hand. A single seed has none.

    Args:
        runs: Of several strategies, options and seeds.
        against: A method by its name.
        baselines: A table of `analysis.baselines`.
        part: Score part.

    Returns:
        One row per `method metric` with `value low high seeds`, of method minus reference.
    """
    rows = per_seed(runs, baselines=baselines, part=part, time_steps=False)
    wide = rows[rows["quantity"] == "final_mean"].pivot(index=["metric", "seed"], columns="method", values="value")
    if against not in wide:
        raise KeyError(f"Unknown method {against!r}; known: {', '.join(wide)}.")
    out = []
    for metric, values in wide.groupby("metric"):
        for name in (name for name in rows["method"].unique() if name != against):
            differences = (values[name] - values[against]).dropna()
            if len(differences):
                out.append((name, metric, *seed_interval(differences), len(differences)))
    return pd.DataFrame(out, columns=["method", "metric", "value", "low", "high", "seeds"])


def methods_table(compared: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`methods` as a page shows it: one row per method, each cell `mean [low, high]`; for `.style`, LaTeX and CSV.

    Args:
        compared: Of `methods`.
        digits: After the point, of AUROC.
    """
    cells = compared.assign(cell=[_cell(row, digits) for row in compared.itertuples()])
    wide = cells.pivot(index="method", columns=["metric", "quantity"], values="cell")
    columns = [(m, q) for m in METRICS for q in QUANTITIES] + [("", q) for q in COSTS]
    order = compared["method"].unique()
    return wide.reindex(index=order, columns=[c for c in columns if c in wide.columns]).fillna("")


def methods_beside(compared: pd.DataFrame, slides: pd.DataFrame) -> pd.DataFrame:
    """Each of our methods, at every strength, beside the slides' row for it, forgetting in the slides' sign (bwt).

    Args:
        compared: Of `methods`.
        slides: `load_reference("slides_methods")`.

    Returns:
        One row per method of ours that the slides have, under two headings.
    """
    final = compared[compared["quantity"].isin(["final_mean", "bwt"]) & compared["strategy"].isin(SLIDES)]
    ours = final.pivot(index=["strategy", "method"], columns=["quantity", "metric"], values="value")
    columns = [(q, m) for q in ("final_mean", "bwt") for m in METRICS]
    ours = ours.reindex(columns=columns).set_axis(slides.columns[1:], axis=1)
    order = [(s, m) for s in SLIDES for m in compared.loc[compared["strategy"] == s, "method"].unique()]
    theirs = slides.set_index("method").reindex([SLIDES[strategy] for strategy, _ in order])
    index = pd.Index([f"{SLIDES[strategy]}: {method}" for strategy, method in order], name="slides: ours")
    return pd.concat({"ours": ours.loc[order].set_axis(index), "slides": theirs.set_axis(index)}, axis=1)


def _cell(row: Any, digits: int) -> str:
    if row.quantity == "kept_bytes":
        return f"{row.value:,.0f}"
    if row.quantity in COSTS:
        return f"{row.value:.2f}"
    interval = "" if np.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return f"{row.value:.{digits}f}{interval}"


def summarise_methods(
    compared: pd.DataFrame, contrasts: pd.DataFrame, *, detectors: Sequence[str] = ("x_gaussian", "x_knn")
) -> str:
    """Sentences on which methods differ from fine-tuning, and which stay below a detector that needs no flow.

    Args:
        compared: Of `methods`.
        contrasts: Of `contrast_methods` against `finetune`.
        detectors: Methods of `compared` without a flow.
    """
    image = contrasts[(contrasts["metric"] == "image_auroc") & ~contrasts["method"].isin(detectors)]
    if image["low"].isna().all():
        named = [f"`{row.method}` {row.value:+.3f}" for row in image.itertuples()]
        text = f"One seed, so no interval. Image AUROC of the last model against fine-tuning: {', '.join(named)}."
    else:
        apart = image[(image["low"] > 0) | (image["high"] < 0)]
        named = [f"`{row.method}` {Interval(row.value, row.low, row.high)!r}" for row in apart.itertuples()]
        rest = [f"`{name}`" for name in image["method"] if name not in set(apart["method"])]
        text = f"Beyond the interval over seeds, {', '.join(named) or 'no method'} differ from fine-tuning"
        text += f"; not so {', '.join(rest)}." if rest else "."
    final = compared[(compared["metric"] == "image_auroc") & (compared["quantity"] == "final_mean")]
    known = final[final["method"].isin(detectors)]
    if known.empty:
        return text
    best = known.loc[known["value"].idxmax()]
    below = final[(final["value"] < best["value"]) & ~final["method"].isin(detectors)]["method"]
    return f"{text} Below `{best['method']}` ({best['value']:.3f}), which needs no flow: " + (
        ", ".join(f"`{name}`" for name in below) + "." if len(below) else "none."
    )
