"""Words that a person reads where code has a name, and tasks counted from 1.

In tables of code `task` and `step` are indices from 0; in sentences, figures and tables
that are shown they count from 1.
"""

__all__ = ["COUNTED", "LABELS", "SOURCES", "VALUES", "counted", "label_of"]

import re
from typing import Any

# Columns that hold the index of a task.
COUNTED = ("task", "step")

# Attribute of a table (`DataFrame.attrs`) that pandas hands on: from where its imported
# runs come, in words.
SOURCES = "sources"

LABELS = {
    # metrics and parts of the score
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "image_ap": "image AP",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "image_f1": "image F1-max",
    "pixel_f1": "pixel F1-max",
    "pixel_iou": "pixel IoU",
    "pixel_dice": "Dice of an image",
    "bwt": "BWT",
    "logp": "likelihood",
    "entropy": "entropy",
    "product": "product (HGAD)",
    # headings
    "step": "after task",
    "learned": "just learned",
    "learnt": "just learned",
    "final": "last model",
    "last": "last model",
    "kept": "threshold kept",
    "n": "of",
    "rho": "Spearman's ρ",
    "n_bytes": "bytes kept",
    "kept_bytes": "bytes kept",
    "step_ratio": "time per step (×)",
    "steps_ratio": "steps per epoch (×)",
    "image_forgetting": "image BWT",
    "pixel_forgetting": "pixel BWT",
    "symmetric_kl": "symmetric KL",
    "own_center": "nearest center is its own",
    "drift_rigid": "drift beyond rotation and shift",
    "feature_distance": "feature distance",
    "center_distance": "center distance",
    "placed": "distance when placed",
    "off_mask": "moved off the mask",
    "touched": "used by any later task",
    # models in a recovery
    "held_out": "category left out",
    "sham": "newest task's images",
    "never_learned": "never learned",
    "few_shot": "few shots",
    # strategies, aligners and detectors
    "finetune": "fine-tuning",
    "joint": "joint training",
    "cumulative": "cumulative training",
    "single": "a model per task",
    "ewc": "EWC",
    "efc": "EFC",
    "adagauss": "AdaGauss",
    "lwf": "LwF",
    "packnet": "PackNet",
    "sparse": "sparse training",
    "uniad": "UniAD",
    "iuf": "IUF",
    "lora": "LoRA",
    "x_gaussian": "one Gaussian",
    "x_knn": "nearest neighbours",
    "none": "as it is",
    "figmn": "FIGMN",
    "igmn": "IGMN",
    "igmm": "IGMM",
    "online_em": "online EM",
    "sdc": "SDC",
    "ldc": "LDC",
}

# Column -> its values that are others' elsewhere.
VALUES = {
    "aligner": {"finetune": "fine-tuned"},
    "entropy": {"all": "all classes", "masked": "task 1", "log_k": "all / ln K"},
    "given": {"category": "true class", "None": "likeliest class"},
    "head": {"full": "means and covariances", "": "as trained"},
    "placement": {
        "tile": "tiled (HGAD)",
        "data": "means of the data",
        "retile": "all tiled anew",
    },
    "player": {"mask": "competitors"},
    "flow": {
        "old": "flow just learned",
        "new": "new flow",
        "untrained": "untrained flow",
    },
    "term": {
        "g": "likelihood, all classes",
        "mi": "class",
        "entropy": "entropy of the class",
        "intra": "likelihood, own class",
        "z": "likelihood, squashed",
        "mse": "reconstruction",
        "ce": "class, by the discriminator",
        "scl": "compression",
    },
    "update": {"both": "flow and centers", "none": "nothing"},
    "y": {"change": "change since placed"},
}

OPTIONS = re.compile(r"(\w+) (\(.+\))")
POWER = re.compile(r"\d+(\.\d+)?e[+-]?\d+")


def counted(index: int) -> int:
    """Return the number of a task for people, who count from 1.

    Example:
        >>> counted(0)
        1
    """
    return int(index) + 1


def label_of(name: Any, *, column: str = "") -> str:
    """Return the words for a name of code.

    Args:
        name: Of a column, a metric, a strategy with its options, a value.
        column: Where it is a value, the column.

    Example:
        >>> label_of("held_out"), label_of("joint_gap")
        ('category left out', 'joint gap')
        >>> label_of("ewc (strength 1e+06)")
        'EWC (strength 1,000,000)'
    """
    name = str(name)
    words = VALUES.get(column, {}).get(name) or LABELS.get(name)
    if words is not None:
        return words
    if ": " in name:
        return ": ".join(map(label_of, name.split(": ")))
    found = OPTIONS.fullmatch(name)
    if found is None:
        return name.replace("_", " ")
    options = POWER.sub(_plain, found[2].replace("_", " "))
    return f"{label_of(found[1])} {options}"


def _plain(number: re.Match[str]) -> str:
    return f"{float(number[0]):,.9f}".rstrip("0").rstrip(".")
