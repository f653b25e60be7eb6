"""Conventions of continual learning: one number from R.

`R[t, j]` (T, T) is a metric on task j after learning task t, of which higher is
better. Its upper triangle (tasks not learned yet) may be NaN; only `fwt` reads it. A
NaN elsewhere is a missing measurement and stays NaN. With T = 1 nothing can be
forgotten: NaN as well.
"""

__all__ = [
    "DEFINITIONS",
    "avg_incremental",
    "bwt",
    "compare_conventions",
    "field_names",
    "final_mean",
    "forgetting",
    "fwt",
    "intransigence",
    "joint_gap",
    "learning_score",
]

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def final_mean(R: ArrayLike) -> float:
    """Return mean_j R[T, j]: how good the last model is on everything.

    Example:
        >>> final_mean([[0.75, 0.5], [0.5, 0.875]])
        0.6875
    """
    return _mean(_square(R)[-1])


def learning_score(R: ArrayLike) -> float:
    """Return mean_j R[j, j].

    How well each task was learned when it came.

    Example:
        >>> learning_score([[0.75, 0.5], [0.5, 0.875]])
        0.8125
    """
    return _mean(np.diagonal(_square(R)))


def avg_incremental(R: ArrayLike) -> float:
    """Return mean_t mean_{j≤t} R[t, j].

    The mean over the tasks known, averaged over the steps of the stream.

    References:
        iCaRL: Incremental Classifier and Representation Learning (Rebuffi et al.,
        2017),
        https://arxiv.org/abs/1611.07725

    Example:
        >>> avg_incremental([[0.75, 0.5], [0.5, 0.875]])
        0.71875
    """
    R = _square(R)
    return _mean([R[t, : t + 1].mean() for t in range(len(R))])


def bwt(R: ArrayLike) -> float:
    """Return backward transfer mean_{j<T} R[T, j] − R[j, j], signed.

    Negative is a loss.

    References:
        Gradient Episodic Memory for Continual Learning (Lopez-Paz and Ranzato, 2017),
        https://arxiv.org/abs/1706.08840

    Example:
        >>> bwt([[0.75, 0.5], [0.5, 0.875]])
        -0.25
    """
    R = _square(R)
    return _mean((R[-1] - np.diagonal(R))[:-1])


def forgetting(R: ArrayLike) -> float:
    """Return mean_{j<T} max_{j≤l<T} R[l, j] − R[T, j].

    The loss from the best past state, positive is a loss.

    It equals −`bwt` where every task is at its best when just learned, and exceeds it
    elsewhere. The original maximum also runs over the steps before task j was learned;
    here these are left out, as in a lower-triangular R.

    References:
        Riemannian Walk for Incremental Learning: Understanding Forgetting and
        Intransigence (Chaudhry et al., 2018),
        https://arxiv.org/abs/1801.10112

    Example:
        >>> forgetting([[0.75, 0.5], [0.5, 0.875]])
        0.25
    """
    R = _square(R)
    return _mean(_losses_from_best(R))


def intransigence(R: ArrayLike, joint: ArrayLike) -> float:
    """Return mean_j joint[j] − R[j, j].

    What learning in sequence costs a task on arrival, positive is a loss.

    Args:
        R: Metric on task j after step t, (T, T).
        joint: The same metric of one model trained on all tasks at once, (T,).

    References:
        Riemannian Walk for Incremental Learning: Understanding Forgetting and
        Intransigence (Chaudhry et al., 2018),
        https://arxiv.org/abs/1801.10112

    Example:
        >>> intransigence([[0.75, 0.5], [0.5, 0.875]], joint=[0.875, 1.0])
        0.125
    """
    R = _square(R)
    return _mean(_per_task(joint, R, "joint") - np.diagonal(R))


def joint_gap(R: ArrayLike, joint: ArrayLike) -> float:
    """Return mean_j joint[j] − R[T, j].

    How far the last model is from joint training; arguments as `intransigence`.

    Example:
        >>> joint_gap([[0.75, 0.5], [0.5, 0.875]], joint=[0.875, 1.0])
        0.25
    """
    R = _square(R)
    return _mean(_per_task(joint, R, "joint") - R[-1])


def fwt(R: ArrayLike, baseline: ArrayLike) -> float:
    """Return forward transfer mean_{j>0} R[j−1, j] − baseline[j].

    What earlier tasks teach about one not learned yet.

    NaN where the upper triangle is NaN, as it is when a class without a center has no
    score.

    References:
        Gradient Episodic Memory for Continual Learning (Lopez-Paz and Ranzato, 2017),
        https://arxiv.org/abs/1706.08840

    Args:
        R: Metric on task j after step t, (T, T).
        baseline: The metric of an untrained model, (T,); 0.5 each for an AUROC by
            chance.

    Example:
        >>> fwt([[0.75, 0.625], [0.5, 0.875]], baseline=[0.5, 0.5])
        0.125
    """
    R = _square(R)
    return _mean(np.diagonal(R, offset=1) - _per_task(baseline, R, "baseline")[1:])


def field_names(R: ArrayLike) -> dict[str, float]:
    """Return ACC, FM and BWT, the three that tables in the field have.

    ACC is `final_mean`, as GEM has it; FM is `forgetting`; BWT is `bwt`. IUF's ACC is
    another (`avg_incremental`): `compare_conventions` shows both.

    Args:
        R: Metric on task j after step t, (T, T).

    Example:
        >>> field_names([[0.75, 0.5], [0.5, 0.875]])
        {'ACC': 0.6875, 'FM': 0.25, 'BWT': -0.25}
    """
    return {"ACC": final_mean(R), "FM": forgetting(R), "BWT": bwt(R)}


def compare_conventions(
    R: ArrayLike | Mapping[str, ArrayLike], joint: ArrayLike | None = None
) -> pd.DataFrame:
    """Return every summary of R side by side.

    They include the different quantities published as "forgetting" or "FM".

    Read it before comparing two papers: rows of one R differ in sign, in the state a
    task is compared with and in the tasks averaged over, and only rows that agree in
    all three may be compared.

    Args:
        R: Metric on task j after step t, (T, T); or one such of each metric by its
            name.
        joint: The metric of joint training, (T,); adds `intransigence` and `joint_gap`.
            Of a single metric.

    Returns:
        One row per quantity: `name value sign averaged_over formula source`. `source`
        is empty where no user of that exact formula is known to us. Of several metrics
        one row per metric and quantity, `metric` in front, and last the `definition`
        of the metric, empty where it is one of your own.

    Raises:
        ValueError: R is not square, or `joint` is given with several metrics.

    Example:
        >>> table = compare_conventions([[0.75, 0.5], [0.5, 0.875]])
        >>> table.set_index("name")["value"][["bwt", "forgetting"]].tolist()
        [-0.25, 0.25]
    """
    if isinstance(R, Mapping):
        return _of_metrics(R, joint)
    rows = [
        (name, value, *CONVENTIONS[name])
        for name, value in _values(_square(R), joint).items()
    ]
    return pd.DataFrame(
        rows, columns=["name", "value", "sign", "averaged_over", "formula", "source"]
    )


def _of_metrics(
    matrices: Mapping[str, ArrayLike], joint: ArrayLike | None
) -> pd.DataFrame:
    if joint is not None or not matrices:
        raise ValueError(
            "Expected joint=… with R of one metric, and one metric or more; got "
            f"{', '.join(matrices) or 'none'}."
        )
    frames = []
    for metric, R in matrices.items():
        rows = compare_conventions(R)
        rows.insert(0, "metric", metric)
        frames.append(rows.assign(definition=DEFINITIONS.get(metric, "")))
    return pd.concat(frames, ignore_index=True)


# Metric -> what it is, beside which its values stand.
DEFINITIONS = {
    "image_auroc": "share of pairs in which an anomalous image outscores a normal one",
    "image_ap": "area under precision over recall of images",
    "image_f1": "largest F1 of images over thresholds, chosen on the test images",
    "pixel_auroc": "as image AUROC, of all pixels together",
    "pixel_ap": "area under precision over recall of all pixels together",
    "aupro": "mean overlap with each defect, over false positive rates up to 0.3",
    "pixel_f1": "largest F1 over thresholds of all pixels together; their Dice, too",
    "pixel_iou": "TP / (TP + FP + FN) of all pixels together at the F1-max threshold",
    "pixel_dice": "mean over defective images of 2 TP / (2 TP + FP + FN) there",
}
HIGHER = "higher = better"
GAIN = "negative = loss"
LOSS = "positive = loss"
CONVENTIONS = {
    "final_mean": (
        HIGHER,
        "j ≤ T",
        "R[T,j]",
        "ACC of GEM (Lopez-Paz and Ranzato, 2017)",
    ),
    "learning_score": (HIGHER, "j ≤ T", "R[j,j]", ""),
    "avg_incremental": (
        HIGHER,
        "t ≤ T, j ≤ t",
        "R[t,j]",
        "iCaRL (Rebuffi et al., 2017); ACC of IUF (Tang et al.)",
    ),
    "bwt": (
        GAIN,
        "j < T",
        "R[T,j] − R[j,j]",
        "GEM (Lopez-Paz and Ranzato, 2017); the slides in data/reference",
    ),
    "first_minus_last": (LOSS, "j < T", "R[j,j] − R[T,j]", "Forgetting of Avalanche"),
    "forgetting": (
        LOSS,
        "j < T",
        "max_{j≤l<T} R[l,j] − R[T,j]",
        "F of RWalk (Chaudhry et al., 2018); FM of UCAD (Liu et al., 2024) and of IUF "
        "(Tang et al., 2024)",
    ),
    "forgetting_from_any": (
        LOSS,
        "j < T",
        "max_{j≤l≤T} R[l,j] − R[T,j]",
        "forgetting of Mammoth; never negative",
    ),
    "forgetting_all_tasks": (
        LOSS,
        "j ≤ T",
        "R[j,j] − R[T,j], the last task adding 0",
        "",
    ),
    "forgetting_relative": (LOSS, "j < T", "(R[j,j] − R[T,j]) / R[j,j]", ""),
    "forgetting_over_steps": (
        LOSS,
        "1 < t ≤ T, j < t",
        "max_{j≤l<t} R[l,j] − R[t,j]",
        "",
    ),
    "intransigence": (
        LOSS,
        "j ≤ T",
        "joint[j] − R[j,j]",
        "RWalk (Chaudhry et al., 2018)",
    ),
    "joint_gap": (LOSS, "j ≤ T", "joint[j] − R[T,j]", ""),
}


def _values(R: np.ndarray, joint: ArrayLike | None) -> dict[str, float]:
    learnt = np.diagonal(R)
    final = R[-1]
    drop = learnt - final
    values = {
        "final_mean": final_mean(R),
        "learning_score": learning_score(R),
        "avg_incremental": avg_incremental(R),
        "bwt": bwt(R),
        "first_minus_last": _mean(drop[:-1]),
        "forgetting": forgetting(R),
        "forgetting_from_any": _mean(np.maximum(_losses_from_best(R), 0)),
        "forgetting_all_tasks": _mean(drop),
        "forgetting_relative": _mean(drop[:-1] / learnt[:-1]),
        "forgetting_over_steps": _mean(
            [forgetting(R[:t, :t]) for t in range(2, len(R) + 1)]
        ),
    }
    if joint is not None:
        values |= {
            "intransigence": intransigence(R, joint),
            "joint_gap": joint_gap(R, joint),
        }
    return values


def _losses_from_best(R: np.ndarray) -> np.ndarray:
    """Return losses from the best earlier value (T − 1,).

    They are max_{j≤l<T} R[l, j] − R[T, j] for j < T.
    """
    best = [R[j:-1, j].max() for j in range(len(R) - 1)]
    return np.array(best) - R[-1, :-1]


def _mean(values: ArrayLike) -> float:
    """Return the mean, or NaN without a warning where there is nothing to average."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()) if values.size else float("nan")


def _square(R: ArrayLike) -> np.ndarray:
    R = np.asarray(R, dtype=float)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not R.size:
        raise ValueError(
            "Expected R of shape (T, T), one row per step and one column per task; "
            f"got {R.shape}."
        )
    return R


def _per_task(values: ArrayLike, R: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape != (len(R),):
        raise ValueError(
            f"Expected {name} of shape ({len(R)},), one value per task; got "
            f"{values.shape}."
        )
    return values
