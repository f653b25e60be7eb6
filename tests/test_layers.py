"""The shape of the packages: imports go down the floors, what has one owner is imported by it alone, and the nevers."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Package -> its floors from the ground up. An import goes strictly downward, or stays within its own sub-package.
FLOORS = {
    "cl_flow": [
        "paths registry",
        "placement objective threads",
        "mixture images coupling adam",
        "flow losses align datasets",
        "features views",
        "latents",
        "stream score",
        "train",
        "strategies",
        "run",
        "fit",
    ],
    "analysis": [
        "metrics style continual density",
        "intervals",
        "attribution",
        "tables plots",
        "probes geometry embed baselines costs",
        "methods",
        "study report",
        "suite",
    ],
}

# Library -> the modules that may import it; every other module asks them.
OWNERS = {
    "FrEIA": {"cl_flow.flow"},
    "timm": {"cl_flow.features"},
    "PIL": {"cl_flow.images", "cl_flow.datasets.canvas", "cl_flow.datasets.synthetic"},
    "pooch": {"cl_flow.datasets.mvtec"},
    "umap": {"analysis.embed"},
    "os.environ": {"cl_flow", "cl_flow.paths"},
}

DRAWING = {"matplotlib", "seaborn"}
NEVER = {
    "cl_flow": {"analysis", "IPython", *DRAWING},
    "analysis.metrics": {"cl_flow", "torch", *DRAWING},
    "analysis.plots": {"cl_flow", "torch", "scipy", "sklearn", "umap"},
    "analysis.probes": DRAWING,
    "analysis.geometry": DRAWING,
    "analysis.embed": DRAWING,
    "analysis.tables": DRAWING,
    "analysis.baselines": DRAWING,
    "analysis.costs": DRAWING,
    "analysis.methods": DRAWING,
}
# These import nothing but torch, the standard library and the floors below.
MATHEMATICS = {
    "cl_flow.coupling", "cl_flow.objective", "cl_flow.placement", "cl_flow.mixture", "cl_flow.losses", "cl_flow.align",
}  # fmt: skip

GLOBAL_RNG = {
    "random.seed", "random.setstate", "np.random.seed", "np.random.set_state", "numpy.random.seed",
    "torch.manual_seed", "torch.seed", "torch.set_rng_state", "torch.random.manual_seed", "torch.random.seed",
    "torch.random.set_rng_state", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "torch.cuda.set_rng_state",
}  # fmt: skip
ENVIRONMENT = {"os.environ", "os.getenv", "os.putenv", "os.unsetenv"}


def modules() -> dict[str, ast.Module]:
    """Every module of both packages by its dotted name, parsed; `doctor` examines from outside and stands apart."""
    paths = [path for package in FLOORS for path in sorted((REPOSITORY / package).rglob("*.py"))]
    dotted = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in paths}
    return {
        name.removesuffix(".__init__"): ast.parse(path.read_text())
        for name, path in dotted.items()
        if name != "cl_flow.doctor"
    }


HEIGHT = {f"{p}.{part}": i for p, floors in FLOORS.items() for i, floor in enumerate(floors) for part in floor.split()}
MODULES = modules()
each_module = pytest.mark.parametrize("name", MODULES)


def imports(name: str, tree: ast.Module) -> set[str]:
    """Dotted names of what a module imports: `from a import b` is `a.b` where that is one of our modules, else `a`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in HEIGHT else base for alias in node.names}
    return found


def _absolute(name: str, node: ast.ImportFrom) -> str:
    is_package = (REPOSITORY / name.replace(".", "/")).is_dir()
    up = node.level - is_package
    parts = name.split(".")[: -up or None] if node.level else []
    return ".".join([*parts, *filter(None, [node.module])])


def within(name: str, holders: set[str]) -> bool:
    """Whether a module is one of the holders or lies in one."""
    return any(name == holder or name.startswith(f"{holder}.") for holder in holders)


def part(name: str) -> str:
    """The module or sub-package of the first level that a module is or lies in; a package is its own."""
    return ".".join(name.split(".")[:2])


def climbs(name: str, tree: ast.Module) -> set[str]:
    """Imports from the module's own package that do not go down; a package's own face may import everything."""
    package = name.partition(".")[0]
    if name == package:
        return set()
    own = {part(found) for found in imports(name, tree) if within(found, {package})} - {part(name)}
    return {found for found in own if HEIGHT.get(found, len(HEIGHT)) >= HEIGHT.get(part(name), -1)}


def poached(name: str, tree: ast.Module) -> set[str]:
    """What a module uses that belongs to others."""
    used = {found.partition(".")[0] for found in imports(name, tree)}
    used |= {"os.environ"} if set(attributes(tree)) & ENVIRONMENT or _from_os(tree) else set()
    return {what for what, owners in OWNERS.items() if what in used and name not in owners}


def forbidden(name: str, tree: ast.Module) -> set[str]:
    """What a module imports that its place rules out."""
    used = {found.partition(".")[0] for found in imports(name, tree)}
    out = {what for holder, never in NEVER.items() if within(name, {holder}) for what in used & never}
    if within(name, MATHEMATICS):
        out |= used - sys.stdlib_module_names - {"torch", "cl_flow"}
    return out


def misdeeds(tree: ast.Module) -> set[str]:
    """Calls that no module makes: `print`, `.cuda()`, and setting a global RNG where nothing puts it back."""
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
    """Every node, but RNG calls within `seeded()` or under `fork_rng`, which restore the state."""
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
    froms = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "os")
    return any(f"os.{alias.name}" in ENVIRONMENT for node in froms for alias in node.names)


@each_module
def test_every_module_has_a_floor(name):
    assert name in FLOORS or part(name) in HEIGHT


@each_module
def test_imports_go_down(name):
    assert not climbs(name, MODULES[name])


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
    (climbs, "cl_flow.flow", "from cl_flow.mixture import Mixture", set()),
    (climbs, "cl_flow.flow", "from cl_flow import features", {"cl_flow.features"}),
    (climbs, "cl_flow.flow", "from cl_flow import Run", {"cl_flow"}),
    (climbs, "cl_flow.flow", "def f():\n    import cl_flow.losses", {"cl_flow.losses"}),
    (climbs, "cl_flow.flow", "from . import fit", {"cl_flow.fit"}),
    (climbs, "cl_flow.datasets.mvtec", "from cl_flow.datasets.folder import read_tree", set()),
    (climbs, "cl_flow.datasets.mvtec", "from .folder import read_tree\nfrom ..paths import DATA", set()),
    (climbs, "cl_flow.datasets.mvtec", "from ..flow import FlowModel", {"cl_flow.flow"}),
    (climbs, "cl_flow.strategies", "from cl_flow.strategies.base import Strategy", set()),
    (climbs, "cl_flow", "from cl_flow.fit import fit", set()),
    (climbs, "analysis.tables", "from cl_flow import Run", set()),
    (climbs, "analysis.tables", "import analysis.study", {"analysis.study"}),
    (poached, "cl_flow.flow", "import FrEIA.modules as Fm", set()),
    (poached, "cl_flow.train", "from FrEIA.modules import AllInOneBlock", {"FrEIA"}),
    (poached, "cl_flow.train", "import os\nos.environ['A'] = '1'", {"os.environ"}),
    (poached, "cl_flow.train", "from os import getenv", {"os.environ"}),
    (poached, "cl_flow.paths", "import os\nos.environ.get('A')", set()),
    (forbidden, "cl_flow.train", "import matplotlib.pyplot as plt", {"matplotlib"}),
    (forbidden, "cl_flow.losses", "import math\nimport numpy as np\nimport torch", {"numpy"}),
    (forbidden, "cl_flow.align.gmm", "from scipy import linalg", {"scipy"}),
    (forbidden, "analysis.plots", "import torch", {"torch"}),
    (forbidden, "analysis.probes", "import seaborn as sns", {"seaborn"}),
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
