"""Former tables, which runs of version 0.1 hold.

They are read for one release.

Their names are digests of the code of then, which no longer exists. A measurement that
changes loses its line here: tests/analysis/test_former.py measures each anew beside the
table of a run of 0.1, and fails.
"""

__all__ = ["FORMER", "PARTS", "former_table"]

import dataclasses
import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cl_flow.runs.run import Run

# The code of 0.1 as a whole, as Python 3.10 and 3.11 parse it.
CODE = (
    "5130850c4e2344a0c5d8c25a5a210b55051d0fa2e2005ea9bd88af1928a1cb7c"
    "b5b2ad4ecdb64bee932b6767860be2276353035ad8cab784959e2a2044aa1c3d"
)
AUROC = ("image_auroc",)
BOTH = ("image_auroc", "pixel_auroc")
PARTS = ("logp", "entropy", "product")
GIVEN = ("category",)
MAPS = {"size": None, "sigma": 4.0}
WHEN = {"after": -1, "tasks": None}

# Experiment -> its name of then, and its options of then with their defaults.
FORMER: dict[str, tuple[str, dict[str, Any]]] = {
    "evaluate": (
        "evaluate",
        {"metric": BOTH, "part": PARTS, "given": GIVEN, "normalise": "train", **MAPS},
    ),
    "image_scores": (
        "image_scores",
        {"part": PARTS, "given": GIVEN, "normalise": "train", **MAPS},
    ),
    "pixel_wins": (
        "pixel_wins",
        {"part": "product", "steps": None, "normalise": "train", **MAPS},
    ),
    "center_distances": ("center_distances", {}),
    "center_drift": ("center_drift", {}),
    "similarity": ("similarity", {}),
    "measure_expansion": (
        "expansion",
        {
            "placement": ("tile", "retile", "orthogonal", "data"),
            "entropy": ("all", "masked", "log_k"),
            "given": GIVEN,
            "metric": BOTH,
            "part": PARTS,
            **MAPS,
        },
    ),
    "measure_ledger": (
        "ledger",
        {
            **WHEN,
            "family": ("means", "offsets", "diagonal", "full", "affine"),
            "part": PARTS,
            "given": GIVEN,
            "metric": AUROC,
            "n_latents": 4096,
            **MAPS,
        },
    ),
    "transplant": (
        "transplant",
        {
            **WHEN,
            "side": ("first", "last"),
            "centers": ("old", "full"),
            "part": ("product",),
            "metric": AUROC,
            "n_images": 24,
            "n_latents": 4096,
            **MAPS,
        },
    ),
    "transport": (
        "transport",
        {**WHEN, "source": ("images",), "n_images": 32, "seed": 0},
    ),
}


def former_table(run: Run, experiment: str, options: dict[str, Any]) -> Path | None:
    """Table that version 0.1 made of the same measurement.

    If the run holds one.

    Args:
        run: Any run; only those of 0.1 hold such tables.
        experiment: Name of the function.
        options: Options of the call, as today's.
    """
    facts = run.facts
    if facts["data"] is not None or experiment not in FORMER:
        return None
    name, defaults = FORMER[experiment]
    asked = _as_then(options, defaults)
    if asked is None:
        return None
    identity = [{**defaults, **asked}, facts["begun"], facts["steps"], CODE]
    text = json.dumps(identity, sort_keys=True, default=repr)
    digest = blake2b(text.encode()).hexdigest()[:12]
    path = run.folder / "tables" / f"{name}-{digest}.parquet"
    return path if path.is_file() else None


def _as_then(
    options: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any] | None:
    """Options by single keywords.

    None where one of them could not be said then.
    """
    asked = {}
    for name, value in options.items():
        if not dataclasses.is_dataclass(value):
            asked[name] = value
            continue
        for field in dataclasses.fields(value):
            now = getattr(value, field.name)
            if field.name in defaults or now != field.default:
                asked[field.name] = now
    return asked if set(asked) <= set(defaults) else None
