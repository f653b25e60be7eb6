"""A warning of our own code is an error; somebody else's deprecation is not."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
IS_ERROR = {
    "timm.models": False,
    "somebody.analysis": False,
    "cl_flow.data.streams": True,
    "analysis.ledger.measure": True,
}
TEST = """
import warnings

def test_{name}():
    warnings.warn_explicit("gone soon", DeprecationWarning, "x.py", 1, module={module!r})
"""


def test_whose_warning_it_is_decides(tmp_path):
    names = {module: module.replace(".", "_") for module in IS_ERROR}
    tests = [TEST.format(name=names[module], module=module) for module in IS_ERROR]
    path = tmp_path / "test_planted.py"
    path.write_text("".join(tests))
    config = str(REPOSITORY / "pyproject.toml")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", config, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    for module, is_error in IS_ERROR.items():
        outcome = "FAILED" if is_error else "PASSED"
        assert re.search(f"{outcome}.*::test_{names[module]}", done.stdout), done.stdout
