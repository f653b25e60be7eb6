"""A warning of our own code is an error; somebody else's deprecation is not."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TEST = """
import warnings

def test_it():
    warnings.warn_explicit("gone soon", DeprecationWarning, "x.py", 1, module={module!r})
"""


@pytest.mark.parametrize(("module", "code"), [
    ("timm.models", 0),
    ("somebody.analysis", 0),
    ("cl_flow.data.streams", 1),
    ("analysis.ledger.measure", 1),
])  # fmt: skip
def test_whose_warning_it_is_decides(tmp_path, module, code):
    path = tmp_path / "test_planted.py"
    path.write_text(TEST.format(module=module))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", str(REPOSITORY / "pyproject.toml"), str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
