"""A setting that means nothing is refused where it is made; NumPy's numbers are taken."""

import dataclasses

import numpy as np
import pytest

from analysis import study
from cl_flow import FeatureConfig, FlowConfig, RunConfig, StreamConfig, TrainConfig
from cl_flow.model.losses import LossConfig

CONFIGS = (FeatureConfig, FlowConfig, LossConfig, RunConfig, StreamConfig, TrainConfig)
WRONG = [
    (TrainConfig, "lr", -1e-3),
    (TrainConfig, "lr", "fast"),
    (TrainConfig, "warmup", 2),
    (TrainConfig, "weight_decay", -1),
    (TrainConfig, "betas", (1.5, 0.9)),
    (TrainConfig, "epochs", 2.5),
    (TrainConfig, "epochs", -1),
    (TrainConfig, "batch_images", 0),
    (TrainConfig, "batch_images", True),
    (TrainConfig, "batch_patches", 0),
    (TrainConfig, "inter_only", -0.1),
    (TrainConfig, "staircase", 0),
    (TrainConfig, "losses", {"mutual_information": 1.0}),
    (LossConfig, "label_smoothing", 2.0),
    (LossConfig, "mutual_information", -1.0),
    (FlowConfig, "clamp", -1),
    (FlowConfig, "hidden", 0),
    (FlowConfig, "n_blocks", 0),
    (FlowConfig, "n_components", 0),
    (FlowConfig, "position_dim", 0),
    (FlowConfig, "placement", 3),
    (StreamConfig, "split", True),
    (StreamConfig, "split", 0),
    (StreamConfig, "split", (3, 0)),
    (StreamConfig, "order", ("ant", 3)),
    (FeatureConfig, "image_size", 0),
    (FeatureConfig, "scales", (0,)),
    (FeatureConfig, "out_indices", (-1,)),
    (FeatureConfig, "backbone", 3),
    (RunConfig, "whiten", -3),
    (RunConfig, "seed_model", "3"),
    (RunConfig, "features", "resnet18"),
]


@pytest.mark.parametrize(("config", "name", "value"), WRONG)
def test_what_means_nothing_is_refused_by_name(config, name, value):
    with pytest.raises(
        (TypeError, ValueError),
        match=rf"^Expected {config.__name__}\({name}=…\).*; got",
    ):
        config(**{name: value})


@pytest.mark.parametrize("config", CONFIGS)
def test_a_field_of_no_type_at_all_is_refused(config):
    for field in dataclasses.fields(config):
        with pytest.raises(
            TypeError, match=rf"{field.name}=…\) of type .*; got <object"
        ):
            config(**{field.name: object()})


def test_numbers_of_numpy_and_lists_are_taken():
    config = TrainConfig(
        lr=np.float32(0.5), epochs=np.int64(3), betas=[0.5, np.float64(0.9)]
    )
    assert (config.lr, config.epochs, config.betas) == (0.5, 3, (0.5, 0.9))
    assert type(config.lr) is float and type(config.epochs) is int
    assert StreamConfig(split=np.int64(2)) == StreamConfig(split=2)
    assert study("smoke", seeds=np.int64(2)).seeds == (0, 1)
    assert study("smoke", seeds=np.arange(1, 3)).seeds == (1, 2)
    run = RunConfig(dataset="smoke", whiten=np.int64(4), seed_data=np.int64(7))
    assert type(run.whiten) is int and type(run.seed_data) is int
