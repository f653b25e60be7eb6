"""The shape of the packages: imports go down the floors, what has one owner is imported
by it alone, and the nevers.
"""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Package -> its floors from the ground up: rooms and modules. An import goes strictly
# downward, or stays in its room.
FLOORS = {
    "cl_flow": [
        "calls",
        "paths registry devices identity settings moved progress",
        "data model",
        "scoring align training",
        "strategies",
        "runs",
    ],
    "analysis": [
        "words",
        "metrics style pages conventions rows source rooms live",
        "device_metrics intervals",
        "contrasts scoring",
        "experiments",
        "studies",
        "detection pictures embedding centers expansion recovery alignment",
        "ledger methods",
        "witnesses",
        "judgement",
        "report claims explorer patches",
        "commands",
        "cli",
    ],
}
APART = {"cl_flow.doctor", "cl_flow.__main__"}  # examines from outside; opens the door

# Library -> the modules that may import it; every other module asks them.
OWNERS = {
    "FrEIA": {"cl_flow.model.flow", "cl_flow.model.coupling"},
    "timm": {
        "cl_flow.data.backbones",
        "cl_flow.data.inference",
        "cl_flow.data.weights",
    },
    "PIL": {
        "analysis.commands",
        "cl_flow.data.images",
        "cl_flow.data.datasets.drawn.canvas",
        "cl_flow.data.datasets.drawn.synthetic",
    },
    "triton": {"cl_flow.model.kernels.elementwise"},
    "ray": {"cl_flow.runs.sweeps"},
    "pooch": {"cl_flow.data.datasets.mvtec"},
    "tqdm": {"cl_flow.progress"},
    "umap": {"analysis.embedding.layouts"},
    "os.environ": {"cl_flow.devices", "cl_flow.paths", "cl_flow.settings"},
}

DRAWING = {"matplotlib", "seaborn"}
# Where -> what is never imported there; a name without a dot stands for a module of
# that name in any room of analysis.
NEVER = {
    "cl_flow": {"analysis", "IPython", *DRAWING},
    "analysis.metrics": {"cl_flow", "torch", *DRAWING},
    "measure": DRAWING,
    "conclude": {"cl_flow", "torch", *DRAWING},
    "say": {"cl_flow", "torch", *DRAWING},
    "plot": {"cl_flow", "torch", "scipy", "sklearn", "umap"},
}
# These import nothing but torch, Triton, the standard library and the floors below.
MATHEMATICS = {
    "cl_flow.model.kernels", "cl_flow.model.placement", "cl_flow.model.mixture",
    "cl_flow.model.centers", "cl_flow.model.frames", "cl_flow.model.losses",
    "cl_flow.model.covariances", "cl_flow.model.annealing",
    "cl_flow.align.statistics", "cl_flow.align.mixtures", "cl_flow.align.aligners", "cl_flow.align.heads",
    "cl_flow.align.refits", "cl_flow.align.natural_gradient",
}  # fmt: skip

GLOBAL_RNG = {
    "random.seed", "random.setstate", "np.random.seed", "np.random.set_state", "numpy.random.seed",
    "torch.manual_seed", "torch.seed", "torch.set_rng_state", "torch.random.manual_seed", "torch.random.seed",
    "torch.random.set_rng_state", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "torch.cuda.set_rng_state",
}  # fmt: skip
ENVIRONMENT = {"os.environ", "os.getenv", "os.putenv", "os.unsetenv"}


def modules() -> dict[str, ast.Module]:
    """Every module of both packages by its dotted name, parsed."""
    paths = [
        path
        for package in FLOORS
        for path in sorted((REPOSITORY / package).rglob("*.py"))
    ]
    dotted = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
        for path in paths
    }
    return {
        name.removesuffix(".__init__"): ast.parse(path.read_text())
        for name, path in dotted.items()
        if name not in APART
    }


HEIGHT = {
    f"{p}.{part}": i
    for p, floors in FLOORS.items()
    for i, floor in enumerate(floors)
    for part in floor.split()
}
MODULES = modules()
each_module = pytest.mark.parametrize("name", MODULES)


def imports(name: str, tree: ast.Module) -> set[str]:
    """Dotted names of what a module imports: `from a import b` is `a.b` where that is
    one of our modules, else `a`. What `lazy_loader.load` names counts.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and dotted(node.func) == "lazy_loader.load":
            found |= {ast.literal_eval(node.args[0])}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            found |= {
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in HEIGHT else base
                for alias in node.names
            }
    return found


def precise(name: str, tree: ast.Module) -> set[str]:
    """The modules of ours that a module imports, to the last dot."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            named = {f"{base}.{alias.name}" for alias in node.names}
            found |= (named & set(MODULES)) or {base}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def _absolute(name: str, node: ast.ImportFrom) -> str:
    is_package = (REPOSITORY / name.replace(".", "/")).is_dir()
    up = node.level - is_package
    parts = name.split(".")[: -up or None] if node.level else []
    return ".".join([*parts, *filter(None, [node.module])])


def within(name: str, holders: set[str]) -> bool:
    """Whether a module is one of the holders or lies in one."""
    return any(name == holder or name.startswith(f"{holder}.") for holder in holders)


def lies_in(name: str, place: str) -> bool:
    """Whether a module lies in a package, or is the module of that name (and what it
    leads) in a room of analysis.
    """
    if "." in place or place in FLOORS:
        return within(name, {place})
    return (
        name.count(".") == 2
        and name.startswith("analysis.")
        and name.rpartition(".")[2].split("_")[0] == place
    )


def part(name: str) -> str:
    """The module or sub-package of the first level that a module is or lies in; a
    package is its own.
    """
    return ".".join(name.split(".")[:2])


def climbs(name: str, tree: ast.Module) -> set[str]:
    """Imports from the module's own package that do not go down; a package's own face
    may import everything.
    """
    package = name.partition(".")[0]
    if name == package:
        return set()
    own = {part(found) for found in imports(name, tree) if within(found, {package})} - {
        part(name)
    }
    return {
        found
        for found in own
        if HEIGHT.get(found, len(HEIGHT)) >= HEIGHT.get(part(name), -1)
    }


def poached(name: str, tree: ast.Module) -> set[str]:
    """What a module uses that belongs to others."""
    used = {found.partition(".")[0] for found in imports(name, tree)}
    used |= (
        {"os.environ"}
        if set(attributes(tree)) & ENVIRONMENT or _from_os(tree)
        else set()
    )
    return {
        what for what, owners in OWNERS.items() if what in used and name not in owners
    }


def forbidden(name: str, tree: ast.Module) -> set[str]:
    """What a module imports that its place rules out."""
    used = {found.partition(".")[0] for found in imports(name, tree)}
    out = {
        what
        for place, never in NEVER.items()
        if lies_in(name, place)
        for what in used & never
    }
    if within(name, MATHEMATICS):
        out |= used - sys.stdlib_module_names - {"torch", "triton", "cl_flow"}
    return out


def misdeeds(tree: ast.Module) -> set[str]:
    """Calls that no module makes: `print`, `.cuda()`, and setting a global RNG where
    nothing puts it back.
    """
    found = set()
    for node in unguarded(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name == "print" or name in GLOBAL_RNG:
            found.add(name)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            found.add(".cuda()")
    return found


def unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """Every node, but RNG calls within `seeded()` or under `fork_rng`, which restore
    the state.
    """
    yield node
    for child in ast.iter_child_nodes(node):
        inside = unguarded(child)
        yield from (n for n in inside if not (_restores(child) and _sets_rng(n)))


def _restores(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        return any("fork_rng" in ast.unparse(item.context_expr) for item in node.items)
    return isinstance(node, ast.FunctionDef) and node.name == "seeded"


def _sets_rng(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func) in GLOBAL_RNG


def dotted(node: ast.AST) -> str:
    """`a.b.c` of names and attributes; what hangs on anything else is empty."""
    if isinstance(node, ast.Name):
        return node.id
    base = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{base}.{node.attr}" if base else ""


def attributes(tree: ast.Module) -> Iterator[str]:
    return (dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def _from_os(tree: ast.Module) -> bool:
    froms = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
    )
    return any(
        f"os.{alias.name}" in ENVIRONMENT for node in froms for alias in node.names
    )


@each_module
def test_every_module_has_a_floor(name):
    assert name in FLOORS or part(name) in HEIGHT


@each_module
def test_imports_go_down(name):
    assert not climbs(name, MODULES[name])


def test_no_import_runs_in_a_circle():
    graph = {
        name: {found for found in precise(name, tree) if found != name}
        for name, tree in MODULES.items()
    }
    assert list(TopologicalSorter(graph).static_order())


def test_no_function_hides_the_module_of_its_name():
    for name in MODULES:
        parent, _, last = name.rpartition(".")
        if parent:
            module = importlib.import_module(name)
            assert getattr(importlib.import_module(parent), last) is module


def test_conclusions_need_no_torch():
    names = [
        name for name in MODULES if lies_in(name, "conclude") or lies_in(name, "say")
    ]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@each_module
def test_owned_libraries_are_left_to_their_owners(name):
    assert not poached(name, MODULES[name])


@each_module
def test_no_module_imports_what_its_place_rules_out(name):
    assert not forbidden(name, MODULES[name])


@each_module
def test_no_module_prints_calls_cuda_or_sets_a_global_rng(name):
    assert not misdeeds(MODULES[name])


@pytest.mark.parametrize(("check", "name", "source", "found"), [
    (climbs, "cl_flow.model.flow", "from cl_flow.model.mixture import Mixture", set()),
    (climbs, "cl_flow.model.flow", "from cl_flow import runs", {"cl_flow.runs"}),
    (climbs, "cl_flow.model.flow", "from cl_flow import Run", {"cl_flow"}),
    (climbs, "cl_flow.model.flow", "def f():\n    import cl_flow.scoring.maps", {"cl_flow.scoring"}),
    (climbs, "cl_flow.model.flow", "from .. import runs", {"cl_flow.runs"}),
    (climbs, "cl_flow.model.flow", "from cl_flow.data.features import Features", {"cl_flow.data"}),
    (climbs, "cl_flow.data.datasets.mvtec", "from cl_flow.data.datasets.folder import read_tree", set()),
    (climbs, "cl_flow.data.datasets.mvtec", "from .folder import read_tree\nfrom ...paths import DATA", set()),
    (climbs, "cl_flow.data.datasets.mvtec", "from ...model.flow import FlowModel", {"cl_flow.model"}),
    (climbs, "cl_flow.strategies", "from cl_flow.strategies.base import Strategy", set()),
    (climbs, "cl_flow", "from cl_flow.runs.fitting import fit", set()),
    (climbs, "analysis.experiments", "from cl_flow import Run", set()),
    (climbs, "analysis.experiments", "import analysis.report", {"analysis.report"}),
    (climbs, "analysis.recovery.say", "from analysis.ledger.say import reading_of_refits", {"analysis.ledger"}),
    (poached, "cl_flow.model.flow", "import FrEIA.modules as Fm", set()),
    (poached, "cl_flow.training.loop", "from FrEIA.modules import AllInOneBlock", {"FrEIA"}),
    (poached, "cl_flow.training.loop", "import os\nos.environ['A'] = '1'", {"os.environ"}),
    (poached, "cl_flow.training.loop", "from os import getenv", {"os.environ"}),
    (poached, "cl_flow.paths", "import os\nos.environ.get('A')", set()),
    (forbidden, "cl_flow.training.loop", "import matplotlib.pyplot as plt", {"matplotlib"}),
    (forbidden, "cl_flow.model.losses", "import math\nimport numpy as np\nimport torch", {"numpy"}),
    (forbidden, "cl_flow.align.mixtures.gmm", "from scipy import linalg", {"scipy"}),
    (forbidden, "analysis.ledger.plot_moves", "import torch", {"torch"}),
    (forbidden, "analysis.ledger.conclude", "from cl_flow.runs.run import Run", {"cl_flow"}),
    (forbidden, "analysis.ledger.measure", "import seaborn as sns", {"seaborn"}),
    (forbidden, "analysis.ledger.measure", "sns = lazy_loader.load('seaborn')", {"seaborn"}),
])  # fmt: skip
def test_the_walk_sees_what_is_planted(check, name, source, found):
    assert check(name, ast.parse(source)) == found


@pytest.mark.parametrize(("source", "found"), [
    ("print(1)", {"print"}),
    ("model.cuda()", {".cuda()"}),
    ("torch.cuda.is_available()", set()),
    ("torch.manual_seed(0)", {"torch.manual_seed"}),
    ("torch.Generator().manual_seed(0)", set()),
    ("def seeded(seed):\n    torch.manual_seed(seed)\n    np.random.seed(seed)", set()),
    ("with torch.random.fork_rng(devices=[]):\n    if x:\n        torch.manual_seed(0)", set()),
    ("with torch.random.fork_rng(devices=[]):\n    print(model.cuda())", {"print", ".cuda()"}),
    ("with torch.no_grad():\n    torch.manual_seed(0)", {"torch.manual_seed"}),
    ("np.random.default_rng(0).normal()", set()),
])  # fmt: skip
def test_misdeeds_are_seen_and_what_restores_the_state_is_not_one(source, found):
    assert misdeeds(ast.parse(source)) == found
