"""Runs side by side in threads are the runs they would be alone; on a GPU, whatever is
recorded there is what Python would do.
"""

import dataclasses
import importlib
import threading
import time
from functools import partial

import pytest
import torch

import cl_flow.runs.threads as module
from cl_flow import STRATEGIES, Run, StreamConfig, fit
from cl_flow.devices import pick_device
from cl_flow.runs.fitting import fit_all
from cl_flow.runs.threads import fit_in_threads
from cl_flow.strategies import Strategy
from tests.cl_flow.runs.test_fitting import digests
from tests.devices import DEVICES, GPU


def tensors(run: Run) -> dict[str, torch.Tensor]:
    return dict(run[-1].model("cpu").state_dict())


@pytest.mark.parametrize("device", DEVICES)
def test_threads_give_the_same_bytes_as_one_after_the_other(tiny, tmp_path, device):
    configs = [tiny.replace(seed=seed) for seed in (5, 6, 7)]
    beside = partial(fit, folder=tmp_path / "beside", device=device, progress=False)
    fit_in_threads(beside, configs, 3, torch.device(device))
    for config in configs:
        alone = fit(config, folder=tmp_path / "alone", device=device, progress=False)
        together = Run.at(config, folder=tmp_path / "beside")
        assert together.is_complete and digests(alone) == digests(together)


def test_an_error_in_a_thread_reaches_the_caller_and_stops_the_others(tiny, tmp_path):
    long = dataclasses.replace(tiny.train, epochs=100_000)
    broken = dataclasses.replace(tiny.train, lr=1e20)
    both = [tiny.replace(train=train, seed=9) for train in (long, broken)]
    quiet = partial(fit, folder=tmp_path, device="cpu", progress=False)
    with pytest.raises(FloatingPointError, match="finite losses"):
        fit_in_threads(quiet, both, 2, torch.device("cpu"))
    assert not any(thread.name.startswith("fit") for thread in threading.enumerate())


def test_an_interruption_ends_all_threads_and_the_next_call_continues(
    tiny, tmp_path, monkeypatch
):
    configs = [tiny.replace(seed=seed) for seed in (21, 22)]
    quiet = partial(fit, folder=tmp_path / "cut", device="cpu", progress=False)
    begun = threading.Event()

    def interrupted(jobs, configs, done):
        begun.wait(60)
        raise KeyboardInterrupt

    def slow(config, progress):
        begun.set()
        while config.seed == 22:
            time.sleep(0.01)
        return quiet(config)

    monkeypatch.setattr(module, "watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_in_threads(slow, configs, 2, torch.device("cpu"))
    assert not any(thread.name.startswith("fit") for thread in threading.enumerate())
    monkeypatch.undo()
    fit_in_threads(quiet, configs, 2, torch.device("cpu"))
    for config in configs:
        whole = fit(config, folder=tmp_path / "whole", progress=False)
        assert digests(Run.at(config, folder=tmp_path / "cut")) == digests(whole)


@pytest.mark.parametrize("device", [GPU])
def test_several_runs_on_a_gpu_are_complete_and_their_own(tiny, device):
    configs = [tiny.replace(seed=seed) for seed in (51, 52, 53)]
    together = [tensors(run) for run in fit_all(configs, device=device)]
    for config, model in zip(configs, together):
        alone = tensors(fit(config, device=device, overwrite=True, progress=False))
        assert all(torch.equal(model[name], alone[name]) for name in alone)


# ---- on a GPU


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("device", [GPU])
def test_a_strategy_recorded_is_the_strategy(tiny, tmp_path, monkeypatch, name, device):
    train = dataclasses.replace(tiny.train, epochs=6, inter_only=0.4)
    config = tiny.replace(strategy=name, train=train)
    recorded, again = (
        fit(config, folder=tmp_path / place, device=device, progress=False)
        for place in ("recorded", "again")
    )
    assert digests(recorded) == digests(again), "a GPU gives the same bytes again"

    def eager(*args, capturable, **options):
        return train_of_a_task(*args, capturable=False, **options)

    continual = importlib.import_module("cl_flow.runs.continual")
    train_of_a_task = continual.train
    monkeypatch.setattr(continual, "train", eager)
    stepwise = fit(config, folder=tmp_path / "eager", device=device, progress=False)
    for key, value in tensors(recorded).items():
        torch.testing.assert_close(value, tensors(stepwise)[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", [GPU])
def test_old_classes_in_frames_are_recorded_too(tiny, tmp_path, device):
    """Of three tasks, the last is trained with the frames that realigning left."""
    config = tiny.replace(strategy="realign", stream=StreamConfig(split=2))
    run = fit(config, folder=tmp_path, device=device, progress=False)
    assert run.is_complete and len(run) == 3


def test_hooks_of_an_instance_are_called(tiny, tmp_path, monkeypatch):
    seen = []

    class Watching(Strategy):
        def __init__(self) -> None:
            super().__init__()
            self.watch = lambda step, model: seen.append(step)
            self.midway = lambda model: seen.append("midway")

    monkeypatch.setitem(STRATEGIES, "watching", Watching)
    fit(tiny.replace(strategy="watching"), folder=tmp_path, progress=False)
    assert seen.count("midway") == 2 and seen.count(0) == 2


@pytest.mark.parametrize("device", [GPU])
def test_a_run_may_be_continued_on_the_other_device(tiny, tmp_path, device):
    run = fit(tiny, folder=tmp_path, device="cpu", progress=False)
    for path in [*run.folder.glob("step-001*"), run.folder / "complete"]:
        path.unlink()
    again = fit(tiny, folder=tmp_path, device=device, progress=False)
    assert again.is_complete and len(again) == 2


# ---- which device


def test_a_device_that_is_not_there_is_named(monkeypatch, tiny, tmp_path):
    for name in ("gpu", "mps"):
        with pytest.raises(ValueError, match=f"'cuda' or a card .*; got '{name}'"):
            fit(tiny, device=name, folder=tmp_path)
    learnt = fit(tiny, folder=tmp_path / "learnt", progress=False)
    with pytest.raises(ValueError, match="got 'gpu'"):
        fit(tiny, device="gpu", folder=tmp_path / "learnt", overwrite=True)
    assert learnt.is_complete, "what was learnt is not thrown away first"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="got 'cuda', and torch sees no GPU: `make d"):
        fit(tiny, device="cuda", folder=tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1").index == 1
    monkeypatch.setenv("CL_FLOW_DEVICE", "cuda:7")
    with pytest.raises(ValueError, match="CL_FLOW_DEVICE to be of this.*sees 2 of"):
        pick_device()


def test_the_environment_names_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CL_FLOW_DEVICE", "cpu")
    assert pick_device().type == "cpu" and pick_device("cuda").type == "cuda"
    monkeypatch.delenv("CL_FLOW_DEVICE")
    assert pick_device().type == "cuda"
