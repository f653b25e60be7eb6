"""What `make` takes is what the study takes, and what it cannot take it refuses."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.studies import PRESETS, study

REPOSITORY = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def run_make(
    *words: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess:
    """Make, as typed in a shell of its own.

    Started by `make test`, the tests inherit what an outer make tells an inner one:
    its flags and variables, and that it must say which folder it enters.
    """
    told = ("MAKE", "MFLAGS", "CL_FLOW_", "PRESET", "ROOT")
    alone = {k: v for k, v in os.environ.items() if not k.startswith(told)}
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**alone, **environment},
    )


def dry(*words: str) -> subprocess.CompletedProcess:
    """What `make figures` would do."""
    return run_make("--dry-run", "figures", *words, folder=REPOSITORY)


def test_an_outer_make_changes_nothing(monkeypatch):
    alone = dry().stdout
    outer = {"MAKELEVEL": "1", "MAKEFLAGS": "w", "PRESET": "smoke", "ROOT": "/"}
    for name, value in outer.items():
        monkeypatch.setenv(name, value)
    assert dry().stdout == alone


def test_it_knows_every_preset():
    text = (REPOSITORY / "Makefile").read_text()
    known = re.search(r"^KNOWN := (.*)$", text, flags=re.MULTILINE)[1].split()
    assert set(known) == set(PRESETS)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), {"preset": "synthetic"}),
        (("PRESET=slides-lite",), {"preset": "slides-lite"}),
        (("PRESET={root}",), {"preset": "{root}"}),
        (("ROOT={root}", "PRESET=photographs"), {"preset": "{root}"}),
        (("ROOT={root}", "PRESET=smoke"), {"preset": "smoke", "root": "{root}"}),
    ],
)
def test_notebooks_and_figures_go_by_the_name_of_the_study(tiny, words, options):
    done = dry(*[word.format(root=tiny.root) for word in words])
    assert done.returncode == 0, done.stderr
    options = {key: value.format(root=tiny.root) for key, value in options.items()}
    name = study(**options).name
    assert f"/executed/{name}/.00-start-here.ipynb" in done.stdout
    assert f"/figures/{name}," in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("PRESET=synthetics",), 'Unknown PRESET "synthetics"; known: synthetic'),
        (("ROOT=/no/such/folder",), 'Unknown ROOT "/no/such/folder"'),
        (("PRESET=photographs",), "Expected ROOT=PATH"),
        (("PRESET=mine", "ROOT=/"), 'beside ROOT; got "mine"'),
        (("JOBS=0",), 'Expected JOBS.*got "0"'),
        (("SIZE=big",), 'Expected SIZE.*SIZE=4:3; got "big"'),
        (("SIZE=4:0",), 'Expected SIZE.*got "4:0"'),
        (("STYLE=no.mplstyle",), 'Expected STYLE.*got "no.mplstyle", which is no file'),
    ],
)
def test_what_it_cannot_take_is_refused_in_a_sentence(words, message):
    done = dry(*words)
    assert done.returncode == 2
    assert re.search(message, done.stderr)


def test_a_style_and_a_size_reach_the_notebooks_and_execute_them_again(tmp_path):
    style = tmp_path / "my.mplstyle"
    style.write_text("font.size: 14")
    data, look = f"CL_FLOW_DATA={tmp_path}", (f"STYLE={style}", "SIZE=4:3")
    said = dry(data, *look).stdout
    assert f"style: ['{style}',{{figure.figsize: [12.8, 9.60]}}]" in said
    assert "figure.figsize: [12.8, 12.80]" in dry("SIZE=1:1").stdout
    assert "parameters_yaml" not in dry("SIZE=16:9").stdout

    def asked(*words: str) -> str:
        return re.search(r"touch \S+/(\.asked-\S+)", dry(data, *words).stdout)[1]

    before = {asked(), asked(*look[:1]), asked(*look[1:]), asked(*look)}
    style.write_text("font.size: 15")
    assert len(before | {asked(*look)}) == 5


def test_a_container_prepares_itself_by_make_and_opens_the_first_notebook():
    facts = json.loads((REPOSITORY / ".devcontainer/devcontainer.json").read_text())
    prepare = REPOSITORY / facts["postCreateCommand"]
    (opened,) = facts["customizations"]["codespaces"]["openFiles"]
    environment = {**os.environ, "MAKEFLAGS": "--dry-run --always-make"}
    for words in ((), ("USE_ACTIVE=1", "PYTHON=python")):
        done = subprocess.run(
            [prepare, *words], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert (
            "whl/cpu" in done.stdout
            and f"cp notebooks/{Path(opened).name}" in done.stdout
        )


def test_binder_starts_what_it_is_told_on_the_first_notebook():
    folder = REPOSITORY / ".binder"
    assert ".devcontainer/prepare" in (folder / "postBuild").read_text()
    said = subprocess.run(
        [folder / "start", "echo", "jupyter-lab"], capture_output=True, text=True
    ).stdout
    assert said.startswith("jupyter-lab ") and said.count("00-start-here.ipynb") == 2


# ---- what it does, with a stand-in for Python

STAND_IN = """#!/bin/sh
for last; do :; done
case "$2" in
papermill)
    echo '[IPKernelApp] WARNING | chatter'
    case "$last" in *"$FAILS"*) echo 'ValueError: planted'; exit 1;; esac
    touch "$last";;
jupyterlab) echo "opened $last";;
esac
"""


@pytest.fixture
def made(tmp_path):
    """A function that runs make on two notebooks in a folder of its own."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("pyproject.toml", "notebooks/00-one.ipynb", "notebooks/01-two.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in ("cl_flow", "analysis"):
        (tmp_path / name).mkdir()
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)

    def make(*words: str, fails: str = "nothing") -> subprocess.CompletedProcess:
        words = (*words, "USE_ACTIVE=1", f"PYTHON={python}")
        return run_make(*words, folder=tmp_path, FAILS=fails)

    make("env")
    return make


def test_figures_say_a_line_a_notebook_and_keep_the_rest_in_a_log(made, tmp_path):
    *lines, last = made("figures").stdout.splitlines()
    assert {re.sub(r" +\d+ s", "", line) for line in lines} == {"00-one", "01-two"}
    assert "up to date" in last
    executed = tmp_path / "data/executed/synthetic"
    assert (executed / "00-one.ipynb").is_file()
    assert "chatter" in (executed / "00-one.log").read_text()
    assert len(made("figures").stdout.splitlines()) == 1, "nothing changed"


def test_a_notebook_that_fails_shows_the_end_of_its_log_and_where_it_is(made, tmp_path):
    done = made("figures", fails="01-two")
    assert done.returncode == 2 and done.stdout.startswith("00-one")
    assert "ValueError: planted" in done.stderr
    assert "data/executed/synthetic/01-two.log" in done.stderr
    assert not (tmp_path / "data/executed/synthetic/01-two.ipynb").exists()


def test_lab_opens_copies_and_keeps_what_was_written_there(made, tmp_path):
    done = made("lab")
    assert "opened lab/00-start-here.ipynb" in done.stdout
    copies = [tmp_path / "lab" / name for name in ("00-one.ipynb", "01-two.ipynb")]
    assert copies[0].read_text() == "notebooks/00-one.ipynb"
    copies[0].write_text("mine")
    for copy in copies:
        os.utime(copy, (0, 0))
    said = made("lab").stdout
    assert copies[0].read_text() == "mine"
    assert "lab/00-one.ipynb is older than notebooks/00-one.ipynb, and kept" in said
    assert "01-two.ipynb is older" not in said, "a copy that is as its original"


def test_saving_a_copy_executes_nothing_again(made, tmp_path):
    made("lab"), made("figures")
    (tmp_path / "lab/00-one.ipynb").write_text("mine")
    assert len(made("figures").stdout.splitlines()) == 1
