"""A run returns what is on disk, survives interruption anywhere, and gives the same
bytes again.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cl_flow import MODELS, STRATEGIES, Run, RunConfig, StreamConfig, fit
from cl_flow.model.placement import ONE_DIMENSION_EACH, PLACEMENTS
from cl_flow.paths import PARTIAL
from cl_flow.runs.fitting import fit_all
from cl_flow.runs.processes import images_to_see
from cl_flow.strategies import Strategy
from cl_flow.strategies.lora import DECOFLOW

STRATEGY_NAMES = sorted(STRATEGIES)
# Model and strategy of every run that can be.
KINDS = [
    (model, name)
    for model in MODELS
    for name in STRATEGY_NAMES
    if model == "flow" or STRATEGIES[name].any_model
]


def digests(run: Run) -> dict[str, str]:
    paths = [*sorted(run.folder.glob("step-*.safetensors")), run.folder / "losses.csv"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize(("model", "strategy"), KINDS)
def test_a_second_fit_returns_the_run_on_disk(tiny, tmp_path, model, strategy):
    config = tiny.replace(strategy=strategy, model=model)
    run = fit(config, folder=tmp_path, progress=False)
    before = {
        path: path.stat().st_mtime_ns
        for path in run.folder.iterdir()
        if path.name != ".lock"
    }
    again = fit(config, folder=tmp_path, progress=False)
    assert run.is_complete and again.folder == run.folder
    assert {
        path: path.stat().st_mtime_ns
        for path in again.folder.iterdir()
        if path.name != ".lock"
    } == before


# What the strategies' defaults leave out, and changes from task to task.
OPTIONS = {"lora": DECOFLOW, "gradient_mixture": {"objective": "annealed_max"}}


@pytest.mark.parametrize(("model", "strategy"), KINDS)
def test_an_interrupted_run_continues_to_the_same_bytes(
    tiny, tmp_path, model, strategy, monkeypatch
):
    config = tiny.replace(strategy=strategy, model=model)
    whole = fit(config, folder=tmp_path / "whole", progress=False)
    cut_and_continued(whole, len(whole) - 1, tmp_path, monkeypatch)


@pytest.mark.parametrize("n_whole", [1, 2])
@pytest.mark.parametrize("strategy", OPTIONS)
def test_so_does_one_of_three_tasks_cut_after_any(
    tiny, tmp_path, strategy, n_whole, monkeypatch
):
    stream = dataclasses.replace(tiny.stream, split=2)
    config = tiny.replace(strategy=strategy, options=OPTIONS[strategy], stream=stream)
    whole = fit(config, folder=tmp_path / "whole", progress=False)
    assert len(whole) == 3
    cut_and_continued(whole, n_whole, tmp_path, monkeypatch)


def cut_and_continued(whole: Run, n_whole: int, tmp_path, monkeypatch) -> None:
    """Train a run again, interrupt it within a task, and continue it."""
    config = whole.config
    module = importlib.import_module("cl_flow.runs.continual")
    trained, train = [], module.train

    def interrupted(model, data, *args, **kwargs):
        if len(trained) == n_whole:
            short = dataclasses.replace(config.training, epochs=1)
            train(model, data, short, progress=False)
            raise KeyboardInterrupt
        trained.append(data)
        return train(model, data, *args, **kwargs)

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(config, folder=tmp_path / "cut", progress=False)
    run = Run.at(config, folder=tmp_path / "cut")
    assert not run.is_complete and len(run) == n_whole
    monkeypatch.setattr(module, "train", train)
    assert digests(fit(config, folder=tmp_path / "cut", progress=False)) == digests(
        whole
    )


@pytest.mark.parametrize("model", MODELS)
def test_killing_the_process_leaves_a_run_that_continues(tiny, tmp_path, model):
    of_model = "train" if model == "flow" else model
    long = dataclasses.replace(getattr(tiny, of_model), epochs=60)
    config = tiny.replace(model=model, **{of_model: long})
    whole = fit(config, folder=tmp_path / "whole", progress=False)
    code = (
        "import sys, json; from cl_flow import RunConfig, fit;"
        "config = RunConfig.from_dict(json.loads(sys.argv[1]));"
        "fit(config, folder=sys.argv[2], progress=False)"
    )

    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            json.dumps(config.to_dict()),
            str(tmp_path / "cut"),
        ]
    )
    run = Run.at(config, folder=tmp_path / "cut")
    deadline = time.monotonic() + 60
    while not len(run) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(run) >= 1
    (run.folder / f".losses{PARTIAL}abcdefgh.csv").write_text("half")
    assert digests(fit(config, folder=tmp_path / "cut", progress=False)) == digests(
        whole
    )
    assert not list(run.folder.glob(f".*{PARTIAL}*"))


@pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task").is_dir(), reason="finds children in /proc"
)
def test_killing_the_process_ends_those_that_train_for_it(tiny, tmp_path):
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=100_000))
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\n"
        "from cl_flow import RunConfig\n"
        "from cl_flow.runs.fitting import fit_all\n"
        "if __name__ == '__main__':\n"
        "    config = RunConfig.from_dict(json.loads(sys.argv[1]))\n"
        "    fit_all([config.replace(seed=seed) for seed in (101, 102)], processes=2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(config.to_dict())],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(trainers := _trainers(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)  # until they train
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(trainers) == 2
    while any(path.is_dir() for path in trainers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(path.is_dir() for path in trainers)


def _trainers(parent: int) -> list[Path]:
    """The spawned processes of a process."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    paths = (
        [Path("/proc") / pid for pid in children.read_text().split()]
        if children.is_file()
        else []
    )
    return [path for path in paths if "spawn_main" in (path / "cmdline").read_text()]


def test_overwrite_begins_again(tiny, tmp_path):
    run = fit(tiny, folder=tmp_path, progress=False)
    before, begun = digests(run), (run.folder / "complete").stat().st_mtime_ns
    (run.folder / "tables").mkdir()
    assert digests(fit(tiny, folder=tmp_path, overwrite=True, progress=False)) == before
    assert (run.folder / "complete").stat().st_mtime_ns > begun and not (
        run.folder / "tables"
    ).exists()


def test_seeds_are_kept_apart(tiny, tmp_path):
    base = fit(tiny, folder=tmp_path, progress=False)
    for other in (tiny.replace(seed_model=1), tiny.replace(seed_data=1)):
        run = fit(other, folder=tmp_path, progress=False)
        assert run.name != base.name and digests(run) != digests(base)
    a, b = (
        fit(c, folder=tmp_path, progress=False)[0].model().state_dict()
        for c in (tiny, tiny.replace(seed_data=1))
    )
    rotation = "levels.0.flow.module_list.0.rotation"
    assert torch.equal(a[rotation], b[rotation])


def test_classes_arrive_with_their_tasks(tiny, tmp_path):
    run = fit(tiny, folder=tmp_path, progress=False)
    assert [snapshot.categories for snapshot in (run[0], run[1])] == [
        ("ant", "bee", "cat"),
        ("ant", "bee", "cat", "dog", "elk", "fox"),
    ]
    assert [len(step["categories"]) for step in run.facts["steps"]] == [3, 3]
    assert set(run.losses["step"]) == {0, 1}


def test_bounds_learn_what_they_should(tiny, tmp_path):
    runs = {
        name: fit(tiny.replace(strategy=name), folder=tmp_path, progress=False)
        for name in STRATEGIES
    }
    assert [
        len(runs[name]) for name in ("joint", "cumulative", "single", "finetune")
    ] == [1, 2, 2, 2]
    assert len(runs["joint"][0].categories) == 6
    assert runs["single"][1].categories == ("dog", "elk", "fox")
    assert (
        digests(runs["cumulative"])["step-00.safetensors"]
        == digests(runs["finetune"])["step-00.safetensors"]
    )
    assert (
        digests(runs["cumulative"])["step-01.safetensors"]
        != digests(runs["finetune"])["step-01.safetensors"]
    )


def test_frozen_centers_keep_their_bits(tiny, tmp_path):
    frozen = fit(tiny.replace(centers="freeze_old"), folder=tmp_path, progress=False)
    trained = fit(tiny, folder=tmp_path, progress=False)
    for run, stays in ((frozen, True), (trained, False)):
        old, new = (run[step].model().levels[0].mixture.mu[:3] for step in (0, 1))
        assert torch.equal(old, new) == stays


def test_several_processes_give_the_same_bytes_as_one(tiny):
    configs = [tiny.replace(seed=seed) for seed in (5, 6)]
    parallel = [digests(run) for run in fit_all(configs, processes=2)]
    assert parallel == [
        digests(fit(config, overwrite=True, progress=False)) for config in configs
    ]


@pytest.mark.parametrize(("model", "name"), KINDS)
def test_a_bar_over_runs_knows_how_much_there_is_to_see(tiny, model, name):
    config = tiny.replace(strategy=name, model=model, seed=77)
    total = images_to_see(config)
    seen = []
    fit(config, progress=seen.append)
    assert sum(seen) == total > 0 and images_to_see(config) == 0


def test_the_bar_over_processes_moves_to_its_end(tiny, capsys):
    fit_all([tiny.replace(seed=seed) for seed in (78, 79)], processes=2)
    shown = capsys.readouterr().err.replace("\r", "\n").splitlines()
    bars = [line for line in shown if line.startswith("training 2 runs")]
    assert "144 of 144" in bars[-1] and not any("0/?" in bar for bar in bars)


def test_an_error_in_a_process_reaches_the_caller(tiny):
    broken = dataclasses.replace(tiny.train, lr=1e20)
    with pytest.raises(FloatingPointError, match="finite losses"):
        fit_all([tiny.replace(train=broken, seed=seed) for seed in (7, 8)], processes=2)


def test_what_is_defined_in_a_notebook_is_trained_there(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("cl_flow.runs.run"), "DATA", tmp_path)
    monkeypatch.setitem(
        STRATEGIES, "mine", type("Mine", (Strategy,), {"__module__": "__main__"})
    )
    short = dataclasses.replace(tiny.train, epochs=1)
    runs = fit_all(
        [tiny.replace(strategy="mine", train=short, seed=seed) for seed in (7, 8)],
        processes=2,
    )
    assert all(run.is_complete for run in runs)


def test_a_script_without_a_guard_is_told_so(tiny, tmp_path):
    script = tmp_path / "script.py"
    configs = [tiny.replace(seed=seed).to_dict() for seed in (17, 18)]
    script.write_text(
        "from cl_flow import RunConfig\nfrom cl_flow.runs.fitting import fit_all\n"
        f"configs = [RunConfig.from_dict(config) for config in {configs!r}]\n"
        "fit_all(configs, processes=2)\n"
    )
    environment = {
        **os.environ,
        "CL_FLOW_DATA": str(tmp_path / "data"),
        "PYTHONPATH": os.getcwd(),
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode
        and "RuntimeError: Expected training processes that live" in done.stderr
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"strategy": "fine-tune"},
            "Unknown strategy 'fine-tune'; known: adagauss, class_prior, cumulative, ",
        ),
        ({"dataset": "mvtek"}, "Unknown dataset 'mvtek'; known: .*mvtec"),
        ({"centers": "fixed"}, "centers='train' or 'freeze_old'; got 'fixed'"),
        ({"root": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"options": {"strength": 3}}, "strength"),
        ({"strategy": "ewc", "options": {"strenght": 3}}, "strenght"),
        (
            {"stream": StreamConfig(split=1, blur=100.0)},
            "images in every window of .* 6 tasks with blur=100; got none in task 2",
        ),
    ],
)
def test_wrong_configs_are_named_and_leave_nothing(tiny, tmp_path, change, message):
    with pytest.raises(
        (KeyError, ValueError, TypeError, FileNotFoundError), match=message
    ):
        fit(tiny.replace(**change), folder=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", [fit, lambda config, **o: fit_all([config], **o)])
def test_a_device_that_is_not_there_leaves_nothing(tiny, monkeypatch, call):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    unheard_of = tiny.replace(seed=1234)
    with pytest.raises(ValueError, match="cuda"):
        call(unheard_of, device="cuda")
    assert Run.find(unheard_of) is None


def test_what_is_complete_is_read_where_its_device_is_not(tiny, tmp_path, monkeypatch):
    run = fit(tiny, folder=tmp_path, progress=False)
    (known,) = fit_all([tiny])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fit(tiny, folder=tmp_path, device="cuda").folder == run.folder
    assert [one.folder for one in fit_all([tiny], device="cuda")] == [known.folder]


@pytest.mark.parametrize("placement", ONE_DIMENSION_EACH)
def test_more_classes_than_dimensions_are_refused_before_any_is_learnt(
    tiny, tmp_path, placement
):
    flow = dataclasses.replace(tiny.flow, placement=placement)
    crowded = tiny.replace(whiten=4, flow=flow)
    with pytest.raises(ValueError, match="at most 4 categories.*got 6.*whiten"):
        fit(crowded, folder=tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.safetensors"))
    alone = crowded.replace(strategy="single")
    assert len(fit(alone, folder=tmp_path, progress=False)) == 2, "each model has three"


def test_every_placement_of_a_config_has_its_room():
    """One that is enrolled later says whether it needs a dimension for each class."""
    assert set(PLACEMENTS) == {*ONE_DIMENSION_EACH, "data"}


def test_a_config_round_trips_through_its_run(tiny, tmp_path):
    run = Run.at(
        tiny.replace(stream=dataclasses.replace(tiny.stream, split=(4, 2))),
        folder=tmp_path,
    )
    assert Run(run.folder).config == run.config
    assert RunConfig.from_dict(run.config.to_dict()) == run.config
    assert os.sep not in run.name and run.name.startswith("tiny")
