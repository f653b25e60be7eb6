"""Runs of models that are no flow: named apart, saved whole, refused where none can be."""

import dataclasses

import pytest
import torch

from cl_flow import MODELS, STRATEGIES, FlowConfig, Run, TrainConfig, fit
from cl_flow.runs.config import new_strategy

OTHERS = [name for name in MODELS if name != "flow"]
FOR_FLOWS = [name for name, kind in STRATEGIES.items() if not kind.any_model]


@pytest.mark.parametrize("model", OTHERS)
def test_what_a_model_does_not_read_enters_no_name(tiny, model):
    other = tiny.replace(model=model)
    epochs = dataclasses.replace(getattr(tiny, model), epochs=9)
    assert tiny.replace(**{model: epochs}).name == tiny.name
    assert other.replace(**{model: epochs}).name != other.name
    changed = other.replace(flow=FlowConfig(n_blocks=5), train=TrainConfig(epochs=1))
    assert changed.name == other.name != tiny.name
    assert f"-{model}-finetune-s0-" in other.name


@pytest.mark.parametrize("model", OTHERS)
def test_a_run_is_found_by_what_its_model_reads(tiny, tmp_path, model):
    run = fit(tiny.replace(model=model), folder=tmp_path, progress=False)
    asked = tiny.replace(model=model, train=TrainConfig(epochs=1))
    assert Run.find(asked, folder=tmp_path).folder == run.folder
    assert Run.find(tiny, folder=tmp_path) is None
    assert Run(run.folder).config == run.config
    assert run.kind["setup"].startswith(f"{model} ")
    assert [step["device"] for step in run.facts["steps"]] == ["cpu", "cpu"]


@pytest.mark.parametrize("model", OTHERS)
def test_a_snapshot_is_the_model_that_was_trained(tiny, tmp_path, model):
    run = fit(tiny.replace(model=model), folder=tmp_path, progress=False)
    one, two = run[0].model(), run[1].model()
    assert type(one) is MODELS[model] and one.sizes == (3,) and two.sizes == (3, 3)
    assert two.categories == ("ant", "bee", "cat", "dog", "elk", "fox")
    tokens = one.tokens(run.features.take([0, 1]).read())
    assert torch.equal(run[0].model().residuals(tokens), one.residuals(tokens))
    assert not torch.equal(two.residuals(tokens), one.residuals(tokens))
    assert not one.training and run[0].kept_bytes == 0


def test_iuf_is_told_the_classes_of_the_whole_stream(tiny, tmp_path):
    run = fit(tiny.replace(model="iuf"), folder=tmp_path, progress=False)
    assert run[0].facts["config"]["n_classes"] == 6
    assert "told 6 classes beforehand" in repr(run[0].model())


@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize("strategy", FOR_FLOWS)
def test_a_strategy_that_is_for_flows_is_refused_first(tiny, tmp_path, model, strategy):
    config = tiny.replace(model=model, strategy=strategy)
    message = f"strategy for any model .*joint.*model='{model}'; got '{strategy}'"
    with pytest.raises(ValueError, match=message):
        new_strategy(config)
    with pytest.raises(ValueError, match=message):
        fit(config, folder=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_only_what_asks_for_no_flow_is_for_any_model():
    able = {"cumulative", "finetune", "joint", "replay", "single"}
    assert set(STRATEGIES) - set(FOR_FLOWS) == able


def test_replay_keeps_whole_images_of_a_model_that_reads_them(tiny, tmp_path):
    options = {"budget_bytes": 30_000}
    config = tiny.replace(model="uniad", strategy="replay", options=options)
    run = fit(config, folder=tmp_path, progress=False)
    x = [[part.flatten(0, 1) for part in task.features.read()] for task in run.stream()]
    memory = run[1].memory()
    assert sum(part.nbytes for part in memory.values()) <= 30_000
    for level, (height, width) in enumerate(run.features.grids):
        n = height * width
        images = memory[f"x{level}"].view(-1, n, 12)
        assert (
            len(images) >= 6
            and memory[f"counts{level}"].tolist() == [len(images) // 6 * n] * 6
        )
        known = torch.cat([part[level] for part in x]).view(-1, n, 12)
        assert (images[:, None] == known).all((2, 3)).any(1).all()
    with pytest.raises(ValueError, match="a budget of an image per class"):
        few = config.replace(options={"budget_bytes": 1_000})
        fit(few, folder=tmp_path, progress=False)


def test_centers_are_a_flows(tiny):
    with pytest.raises(ValueError, match="model='uniad', which has none; got 'freeze"):
        tiny.replace(model="uniad", centers="freeze_old")
    with pytest.raises(KeyError, match="Unknown model 'hgad'; known: flow, iuf, uniad"):
        tiny.replace(model="hgad")
