"""The door: every command answers, in words and in JSON, and refuses in a sentence."""

import dataclasses
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from analysis import cli
from analysis.commands import COMMANDS
from analysis.studies import PRESETS, Preset, Study
from cl_flow import Run, StreamConfig, fit
from cl_flow.paths import DATA
from cl_flow.runs import library
from tests.checkpoints import write_checkpoints


@pytest.fixture
def preset(tiny, monkeypatch) -> str:
    """Name of a preset that trains in a second."""
    monkeypatch.setitem(PRESETS, "tiny-preset", lambda: Preset(tiny))
    return "tiny-preset"


@pytest.fixture
def run(tiny) -> Run:
    return fit(tiny, progress=False)


def said(capsys, *words: str, code: int = 0) -> str:
    """What a command prints."""
    assert cli.main(words) == code
    return capsys.readouterr().out


def test_every_command_has_an_example_that_parses(capsys):
    assert set(cli.EXAMPLES) == set(COMMANDS)
    for name, example in cli.EXAMPLES.items():
        program, *words = example.split()
        assert program == "cl-flow" and tuple(words[: len(name)]) == name
        arguments = cli.build_parser().parse_args(words)
        assert arguments.command is COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_shows_the_example(capsys, name):
    with pytest.raises(SystemExit) as ended:
        cli.main([*name, "--help"])
    assert ended.value.code == 0
    assert f"Example: {cli.EXAMPLES[name]}"[:40] in capsys.readouterr().out


def test_data_are_looked_at(capsys, preset):
    rows = json.loads(said(capsys, "data", "look", preset, "--json"))
    assert {"category": "ant", "test": 9, "train": 6} in rows
    assert "ant" in said(capsys, "data", "look", preset)


def test_mvtec_is_fetched_by_who_accepts_its_licence(capsys, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "cl_flow.data.datasets.mvtec.fetch", lambda root: asked.append(root) or root
    )
    place = str(tmp_path / "mvtec")
    assert cli.main(["data", "look", "mvtec"]) == 2
    assert "cl-flow data fetch" in capsys.readouterr().err
    assert cli.main(["data", "fetch", "--root", place]) == 2 and not asked
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().err
    for answer, code in (("", 2), ("n", 2), ("y", 0)):
        person = SimpleNamespace(isatty=lambda: True, readline=lambda said=answer: said)
        monkeypatch.setattr("sys.stdin", person)
        assert cli.main(["data", "fetch", "--root", place, "--json"]) == code
    assert asked == [place]
    said = capsys.readouterr()
    assert json.loads(said.out) == {"root": place} and "Download it?" in said.err
    assert cli.main(["data", "fetch", "--root", place, "--yes"]) == 0
    assert asked == [place, place]


def test_broken_data_are_refused_in_a_sentence(capsys, tmp_path):
    (tmp_path / "ant" / "train" / "good").mkdir(parents=True)
    assert cli.main(["data", "look", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("cl-flow: ")


def test_runs_are_fitted_listed_and_evaluated(capsys, preset, tiny):
    (row,) = json.loads(said(capsys, "fit", preset, "finetune", "--json"))
    assert row["complete"] and row["tasks"] == 2 and row["run"] == tiny.name
    listed = json.loads(said(capsys, "runs", "list", "--json"))
    assert tiny.name in [row["run"] for row in listed]
    table = json.loads(said(capsys, "evaluate", tiny.name, "--json"))
    assert [row["task"] for row in table] == ["0", "1", "average"]
    lines = said(capsys, "evaluate", tiny.name).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "2", "average"]
    assert tiny.name in said(capsys, "evaluate", str(DATA / "runs" / tiny.name))


def test_another_model_than_a_flow(capsys, preset, tiny):
    words = ("fit", preset, "joint", "--model", "uniad", "--json")
    (row,) = json.loads(said(capsys, *words))
    assert row["run"] == tiny.replace(strategy="joint", model="uniad").name
    assert "average" in said(capsys, "evaluate", row["run"])
    assert not said(capsys, "evaluate", row["run"], "--part", "logp", code=2)


def test_options_of_a_strategy(capsys, preset, tiny):
    words = ("fit", preset, "ewc", "--option", "strength=10", "--json")
    (row,) = json.loads(said(capsys, *words))
    config = tiny.replace(strategy="ewc", options={"strength": 10.0})
    assert row["run"] == config.name


@pytest.mark.parametrize(("words", "message"), [
    (("fit", "tiny-preset", "ewc", "--option", "strength"), "as name=value; got 'stre"),
    (("fit", "tiny-preset", "ewc", "--option", "force=1"), "Unknown option of EWC 'force'"),
    (("fit", "tiny-preset", "ewc", "lwf", "--option", "a=1"), "options for one strate"),
    (("fit", "tiny-preset", "magic"), "Unknown strategy 'magic'; known: "),
    (("fit", "tiny-preset", "--engine", "dask"), "Unknown engine 'dask'; known: proc"),
    (("fit", "tiny-preset", "--address", "auto"), "Expected engine='ray' with an addr"),
    (("fit", "nothing"), "Unknown preset 'nothing'; known: "),
    (("evaluate", "no-such-run"), "Expected the folder of a run.*Known: "),
    (("runs", "prune", "no-such-run"), "Expected names of runs; got no-such-run"),
])  # fmt: skip
def test_wrong_words_are_refused_in_a_sentence(capsys, preset, run, words, message):
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("cl-flow: ")
    assert re.search(message, said.err), said.err


def test_no_training_is_tried_where_it_is_not_wanted(capsys, run):
    quick = json.loads(said(capsys, "diagnose", run.name, "--no-train", "--json"))
    assert "no sooner" not in quick["sentence"] and quick["verdict"]


def test_a_verdict_is_said_and_saved(capsys, run, tmp_path):
    words = ("diagnose", run.name, "--save", str(tmp_path / "report"), "--json")
    facts = json.loads(said(capsys, *words))
    assert facts["run"] == run.name and facts["verdict"] and facts["sentence"]
    assert (tmp_path / "report" / "report.html").is_file()


def test_checkpoints_are_imported_and_diagnosed_from_the_command_line(
    capsys, tiny, tmp_path
):
    flow = dataclasses.replace(tiny.flow, hidden=None)
    config = tiny.replace(whiten=None, flow=flow)
    theirs = fit(config, folder=tmp_path / "theirs", progress=False)
    logs = write_checkpoints(theirs, tmp_path, epochs=(0, 1))
    features = dataclasses.asdict(config.features)
    told = {name: json.dumps(value) for name, value in features.items()}
    given = [("--feature", f"{name}={value}") for name, value in told.items()]
    tasks = [("--task", ",".join(names)) for names in theirs.tasks]
    schedule = ("--alpha", "1.9", "--train", "epochs=2", "--rule", "published")
    words = ("import-hgad", str(logs), "--root", config.root, *schedule)
    words += tuple(word for pair in (*given, *tasks) for word in pair)
    facts = json.loads(said(capsys, *words, "--json"))
    assert facts["complete"] and "last weights of task 2" in facts["source"]
    report = json.loads(said(capsys, "diagnose", facts["run"], "--json"))
    assert report["verdict"] and report["source"] == facts["source"]
    assert facts["source"] in said(capsys, "evaluate", facts["run"])
    assert cli.main(["import-hgad", str(logs), "--root", config.root]) == 2
    asked = capsys.readouterr().err
    assert asked.startswith("cl-flow: Expected tasks=") and "features=" in asked


def test_runs_are_shown_with_all_their_facts(capsys, run):
    facts = json.loads(said(capsys, "runs", "show", run.name, "--json"))
    assert facts["complete"] and facts["config"] == run.config.to_dict()


def test_sizes_add_up(capsys, run):
    rows = json.loads(said(capsys, "runs", "size", "--json"))
    row = next(row for row in rows if row["run"] == run.name)
    parts = row["snapshots"] + row["tables"] + row["other"]
    assert row["total"] == pytest.approx(parts, abs=0.02)


def test_pruning_says_first_and_deletes_when_told(capsys, tiny):
    begun = Run.at(tiny.replace(seed=5))
    text = said(capsys, "runs", "prune", "--unfinished")
    assert "Would delete" in text and begun.folder.is_dir()
    facts = json.loads(said(capsys, "runs", "prune", "--unfinished", "--yes", "--json"))
    assert str(begun.folder) in facts["paths"] and not begun.folder.exists()


def test_pruning_asks_who_sits_at_a_terminal(capsys, tiny, monkeypatch):
    begun = Run.at(tiny.replace(seed=8))
    for answer, there in (("", True), ("n", True), ("y", False)):
        person = SimpleNamespace(isatty=lambda: True, readline=lambda said=answer: said)
        monkeypatch.setattr("sys.stdin", person)
        facts = json.loads(said(capsys, "runs", "prune", begun.name, "--json"))
        assert facts["deleted"] != there and begun.folder.is_dir() == there


def test_a_stream_of_named_split_and_order_is_fitted(capsys, preset, tiny):
    words = ("fit", preset, "--split", "4-2", "--order", "random", "--json")
    (row,) = json.loads(said(capsys, *words))
    stream = StreamConfig(split=(4, 2), order="random")
    assert row["run"] == tiny.replace(stream=stream).name
    assert cli.main(["fit", preset, "--order", "easy_to_hard"]) == 2
    assert "Expected a score of each category" in capsys.readouterr().err


def test_a_stream_without_boundaries_is_fitted_by_who_can(capsys, preset, tiny):
    words = ("fit", preset, "--split", "2x3", "--blur", "0.5")
    (row,) = json.loads(said(capsys, *words, "--json"))
    run = tiny.replace(stream=StreamConfig(split=(2, 2, 2), blur=0.5)).name
    assert row["run"] == run
    assert cli.main([*words[:2], "finetune", "ewc", *words[2:]]) == 2
    assert "without task boundaries (cumulative, " in capsys.readouterr().err
    assert cli.main(["diagnose", run]) == 2
    assert "tasks with boundaries for diagnose" in capsys.readouterr().err
    assert cli.main(["orders", preset, "--order", "random", "--blur", "-1"]) == 2
    assert "StreamConfig(blur=…) 0 or more; got -1" in capsys.readouterr().err


def test_orders_are_studied(capsys, preset):
    words = ("orders", preset, "--order", "alphabetical", "--order", "random 1")
    words += ("--method", "finetune", "--method", "replay", "--seeds", "1")
    rows = json.loads(said(capsys, *words, "--json"))
    assert [row["method"] for row in rows] == ["finetune", "replay"]
    assert all(row["orders"] == 2 for row in rows)
    assert "A single seed cannot tell" in said(capsys, *words)


def test_orders_of_a_stream_without_boundaries_are_studied_with_who_can(
    capsys, preset, monkeypatch
):
    words = ("orders", preset, "--order", "random", "--blur", "0.5", "--seeds", "1")
    rows = json.loads(said(capsys, *words, "--json"))
    assert [row["method"] for row in rows] == ["finetune", "replay"]

    def trained(*args, **options):
        raise AssertionError("trained")

    monkeypatch.setattr(Study, "fit", trained)
    words = ("orders", preset, "--order", "easy_to_hard", "--blur", "0.5")
    assert cli.main([*words, "--method", "ewc"]) == 2
    assert "without task boundaries" in capsys.readouterr().err


def test_difficulty_may_come_from_a_file(capsys, preset, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("ant,0.9\nbee,0.8\n")
    words = ("orders", preset, "--order", "easy_to_hard", "--scores", str(path))
    assert cli.main(words) == 2
    assert "got none of cat, dog, elk, fox" in capsys.readouterr().err


def test_a_complete_run_is_extended(capsys, tiny):
    stream = StreamConfig(split=2, without=("elk", "fox"))
    run = fit(tiny.replace(stream=stream), progress=False)
    words = ("runs", "extend", run.name, "--task", "fox,elk", "--json")
    (row,) = json.loads(said(capsys, *words))
    assert row["complete"] and row["tasks"] == 3 and row["run"] != run.name


def test_a_run_at_work_is_not_pruned(tiny):
    begun = Run.at(tiny.replace(seed=6))
    with begun.lock():
        assert begun.folder not in dict(library.prunable(unfinished=True))
    assert begun.folder in dict(library.prunable(unfinished=True))


def test_an_interrupt_is_no_traceback(capsys, preset, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("cl_flow.runs.fit_all", interrupted)
    assert cli.main(["fit", preset]) == 130
    assert "the next call goes on from here" in capsys.readouterr().err


def test_the_door_opens_without_torch():
    code = (
        "import sys; from analysis.cli import main\n"
        "try: main(['fit', '--help'])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "assert not {'torch', 'pandas', 'timm', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_it_is_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "cl_flow", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.strip()


def test_importing_the_packages_loads_nothing_heavy():
    heavy = {"torch", "timm", "pandas", "matplotlib", "huggingface_hub", "pooch"}
    code = f"import sys, cl_flow, analysis; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_waits_are_read_from_executed_notebooks(capsys, tmp_path):
    def cell(kind: str, source: str, seconds: float | None) -> dict:
        timed = {} if seconds is None else {"papermill": {"duration": seconds}}
        return {"cell_type": kind, "source": source, "metadata": timed}

    cells = [
        cell("markdown", "# Why?", 9.0),
        cell("code", "%autoreload 2\n\nimport analysis", 7.25),
        cell("code", "runs", 0.5),
        cell("code", "never executed", None),
    ]
    assert cli.main(["waits", str(tmp_path)]) == 2
    assert "Expected a folder of executed notebooks" in capsys.readouterr().err
    (tmp_path / "00-one.ipynb").write_text(json.dumps({"cells": cells}))
    (row,) = json.loads(said(capsys, "waits", str(tmp_path), "--json"))
    assert row == {
        "notebook": "00-one",
        "cell": 2,
        "seconds": 7.2,
        "begins": "import analysis",
    }
    assert "runs" in said(capsys, "waits", str(tmp_path), "--longer", "0.1")
