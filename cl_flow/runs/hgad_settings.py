"""Settings of HGAD's public continuation: what its checkpoint files do not tell."""

__all__ = ["Settings", "find_settings"]

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_flow.data.backbones import FeatureConfig
from cl_flow.model.losses import LossConfig
from cl_flow.training.config import TrainConfig

# The name that they ask timm 0.6.7 for -> the same weights by their tag.
BACKBONES = {"tf_efficientnet_b6": "tf_efficientnet_b6.aa_in1k"}
INTER_META_EPOCHS = 2  # before their losses within a class begin


@dataclass(frozen=True)
class Settings:
    """What `config.json` of a training tells of it; None of what it does not.

    Args:
        path: The file; None where there is none.
        features: What was extracted.
        alpha: Clamp α of the couplings.
        passes: Passes over each task's images.
        train: How each task was trained, where ours can do the same.
        seed: Of the training.
    """

    path: Path | None = None
    features: FeatureConfig | None = None
    alpha: float | None = None
    passes: int | None = None
    train: TrainConfig | None = None
    seed: int | None = None


def find_settings(path: Path) -> Settings:
    """Settings in the folder of a file, or in the nearest of the two above it.

    Raises:
        ValueError: A config.json that holds no JSON, or other things.
    """
    for folder in list(path.resolve().parents)[:3]:
        found = folder / "config.json"
        if found.is_file():
            return _read_settings(found)
    return Settings()


def _read_settings(path: Path) -> Settings:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        passes = _product(told.get("meta_epochs"), told.get("sub_epochs"))
        features, train = _features(told), _training(told)
        alpha, seed = told.get("clamp_alpha"), told.get("seed")
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected the settings of HGAD's continuation in {path}; got {error}. "
            "Put the file aside, and give what it told by name."
        ) from error
    return Settings(path, features, alpha, passes, train, seed)


def _product(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


def _features(told: Mapping[str, Any]) -> FeatureConfig | None:
    """Backbone, pyramid and stage; None where its weights have no known tag."""
    name = told.get("backbone_arch", "")
    backbone = name if "." in name else BACKBONES.get(name)
    known = {"img_size", "feature_levels"} <= set(told)
    if backbone is None or not known:
        return None
    return FeatureConfig(
        backbone,
        image_size=told["img_size"],
        scales=tuple(2**level for level in range(told["feature_levels"])),
        out_indices=(3,),
        precision="float32",
    )


def _training(told: Mapping[str, Any]) -> TrainConfig | None:
    """Schedule in our words; None where something of it is unknown, or not ours."""
    needed = "meta_epochs sub_epochs batch_size lr lr_warm lr_warm_epochs lr_cosine "
    needed += "lr_decay_rate lambda1 lambda2 label_smoothing"
    if not set(needed.split()) <= set(told) or not told["lr_cosine"]:
        return None
    if not math.isclose(told["lambda1"], 1.0):
        return None
    meta = told["meta_epochs"]
    return TrainConfig(
        epochs=meta * told["sub_epochs"],
        batch_images=told["batch_size"],
        lr=told["lr"],
        warmup=min(1.0, told["lr_warm_epochs"] / meta) if told["lr_warm"] else 0.0,
        final_lr=told["lr_decay_rate"] ** 3,
        staircase=meta,
        inter_only=min(1.0, INTER_META_EPOCHS / meta),
        losses=LossConfig(
            mutual_information=told["lambda2"], label_smoothing=told["label_smoothing"]
        ),
    )
