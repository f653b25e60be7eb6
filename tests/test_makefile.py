"""What `make` takes is what the study takes, and what it cannot take it refuses."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.studies import PRESETS, study

REPOSITORY = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def dry(*words: str) -> subprocess.CompletedProcess:
    """What `make figures` would do."""
    command = ["make", "--dry-run", "figures", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


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
    ],
)
def test_what_it_cannot_take_is_refused_in_a_sentence(words, message):
    done = dry(*words)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
