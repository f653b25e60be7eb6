"""Frozen timm backbones."""

__all__ = ["FeatureConfig", "backbone_facts", "load_backbone"]

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cl_flow.calls import checked
from cl_flow.data.weights import PACKAGES, find_weights, read_package, weights_digest
from cl_flow.devices import seeded
from cl_flow.identity import settle

log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class FeatureConfig:
    """Choice of backbone, pyramid and stages to extract.

    Every stage of `out_indices` at every size of the image pyramid; the defaults are
    HGAD's.

    Args:
        backbone: timm model name with its weight tag (the untagged name changed weights
            between versions).
        weights: File of weights, absolute or below the data folder; None looks in the
            local cache, among installed packages of weights, then on the hub;
            `"random"` draws them from seed 0 (for trying shapes).
        image_size: Side in pixels that images are resized to.
        scales: The pyramid: the image is scaled by 1/s for each s.
        out_indices: Stages of the backbone that become levels.
        precision: `"float32"` or `"bfloat16"`; None takes bfloat16 on a GPU and float32
            on a CPU. Features are stored in half precision in any case.

    Raises:
        ValueError: Another precision.

    Example:
        >>> config = FeatureConfig("resnet18.a1_in1k", image_size=256, scales=(1, 2))
        >>> config.image_size // max(config.scales)
        128
    """

    backbone: str = "tf_efficientnet_b6.aa_in1k"
    weights: str | None = None
    image_size: int = 1024
    scales: tuple[int, ...] = (1, 2, 4)
    out_indices: tuple[int, ...] = (3,)
    precision: str | None = None

    def __post_init__(self) -> None:
        settle(
            self,
            image_size=(1, math.inf),
            scales=(1, math.inf),
            out_indices=(0, math.inf),
        )
        if self.precision not in (None, *PRECISIONS):
            raise ValueError(
                f"Expected a precision of {', '.join(PRECISIONS)}, or None; got "
                f"{self.precision!r}."
            )


@checked
def load_backbone(config: FeatureConfig) -> tuple[nn.Module, dict]:
    """The frozen backbone in evaluation mode, and its facts.

    `source`, `sha`, `mean`, `std`, `interpolation`, as `backbone_facts` tells them.

    Raises:
        FileNotFoundError, ConnectionError, ValueError: As `backbone_facts`.
        ValueError: The weights are another network's, or it has no such stages.
    """
    facts = backbone_facts(config)
    if config.weights == "random":
        model = _create(config)
    else:
        model = _with_weights(config, Path(facts["source"]))
    log.info("backbone %s: weights %s", config.backbone, facts["source"])
    return model.eval().requires_grad_(False), facts


def backbone_facts(config: FeatureConfig) -> dict[str, Any]:
    """What decides a backbone's features beside its config, without building it.

    Weights come from the explicit file, else from the local cache, else from an
    installed package of weights, else from the hub; the log says which.

    Returns:
        `source` (the file of weights), `sha` of its bytes, and what images are
        normalised and resized by: `mean`, `std`, `interpolation`.

    Raises:
        FileNotFoundError: The explicit file is not there.
        ConnectionError: No weights on this machine, and the hub is out of reach or
            switched off.
        ValueError: timm does not know the name.
    """
    import timm

    name = config.backbone
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:8]}*")[:6]
        close = ", ".join(near) or "see timm.list_models()"
        raise ValueError(f"Unknown timm model {name!r}; known, for example: {close}.")
    sha = "random"
    source = "drawn from seed 0"
    if config.weights != "random":
        path = find_weights(name, config.weights)
        sha = weights_digest(path)
        source = str(path)
    cfg = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    facts = {key: getattr(cfg, key) for key in ("mean", "std", "interpolation")}
    return {**facts, "source": source, "sha": sha}


def _create(config: FeatureConfig, **options: Any) -> nn.Module:
    """The stages of a backbone, with weights drawn from seed 0."""
    import timm

    try:
        with seeded(0):
            return timm.create_model(
                config.backbone,
                features_only=True,
                out_indices=config.out_indices,
                **options,
            )
    except (IndexError, AssertionError) as error:
        raise ValueError(
            f"Expected stages of {config.backbone} in out_indices; got "
            f"{config.out_indices} ({error})."
        ) from error


def _with_weights(config: FeatureConfig, path: Path) -> nn.Module:
    drawn = _create(config)
    package = PACKAGES.get(config.backbone)
    if package is not None and path == package.path:
        stored = read_package(config.backbone)
        state = {name: stored.get(name, x) for name, x in drawn.state_dict().items()}
        drawn.load_state_dict(state)
        return drawn
    with _without_a_line_about("Unexpected keys"):
        model = _create(
            config, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
        )
    _check_taken(drawn, model, config.backbone, path)
    return model


@contextmanager
def _without_a_line_about(beginning: str) -> Iterator[None]:
    """Silence timm where it tells of what a model without a head leaves aside."""
    timm_log = logging.getLogger("timm.models._builder")

    def others(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(beginning)

    timm_log.addFilter(others)
    try:
        yield
    finally:
        timm_log.removeFilter(others)


def _check_taken(drawn: nn.Module, model: nn.Module, name: str, path: Path) -> None:
    """Refuse weights that leave some of the backbone as it was drawn.

    timm takes what fits by name and passes over the rest.
    """
    before = dict(drawn.named_parameters())
    matrices = {key: x for key, x in model.named_parameters() if x.ndim > 1}
    left = [key for key, x in matrices.items() if torch.equal(x, before[key])]
    if left:
        raise ValueError(
            f"Expected the weights of {name}; got {path}, which lacks {len(left)} of "
            f"{len(matrices)} tensors, for example {left[0]}. Are its names prefixed, "
            "or is it another network's?"
        )
    broken = [key for key, x in model.state_dict().items() if not x.isfinite().all()]
    if broken:
        raise ValueError(
            f"Expected finite weights of {name}; got {path}, where {broken[0]} is not."
        )
