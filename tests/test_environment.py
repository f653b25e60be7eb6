"""One source of truth for the environment: pyproject.toml, which environment.yml
repeats; torch has no cap.
"""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
PIP = next(entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict))
REQUIRED = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}
OPTIONAL = PROJECT["optional-dependencies"]
# What a developer has beside what is required; `dev` asks for `explore`.
INSTALLED = {Requirement(one).name for one in [*OPTIONAL["dev"], *OPTIONAL["explore"]]}
# What the code takes where it is there.
EXTRA = {Requirement(one).name for one in [*OPTIONAL["explore"], *OPTIONAL["sweeps"]]}


def specifiers(lines: list[str]) -> dict[str, SpecifierSet]:
    return {
        requirement.name: requirement.specifier
        for requirement in map(Requirement, lines)
    }


def test_both_files_name_the_same_packages_with_the_same_specifiers():
    named = [line for line in PIP if not line.startswith("-e")]
    assert specifiers(named) == specifiers(PROJECT["dependencies"])


def test_conda_installs_this_repository_with_the_developer_tools():
    assert PIP[-1] == "-e .[dev]" and "dev" in PROJECT["optional-dependencies"]
    assert CONDA["name"] == PROJECT["name"]


def test_both_files_ask_for_the_same_python():
    python = next(
        entry for entry in CONDA["dependencies"] if str(entry).startswith("python")
    )
    assert Requirement(python).specifier == SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_torch_has_a_floor_and_neither_a_cap_nor_a_build(name):
    requirement = REQUIRED[name]
    assert [s.operator for s in requirement.specifier] == [">="]
    assert (
        requirement.url is None
        and requirement.marker is None
        and "+" not in str(requirement)
    )


@pytest.mark.parametrize("file", ["pyproject.toml", "environment.yml", "Makefile"])
def test_no_file_names_an_index(file):
    assert not re.search(
        r"https?://|--extra-index-url|find-links", (REPOSITORY / file).read_text()
    )


@pytest.mark.parametrize("package", ["cl_flow", "analysis"])
def test_every_package_that_the_code_imports_is_required(package):
    assert not not_among(EXTRA | REQUIRED.keys(), imports(package, third_party))


@pytest.mark.parametrize("package", ["cl_flow", "analysis"])
def test_what_a_developer_may_lack_is_imported_by_its_name(package):
    """A checker of types resolves what an import statement names, and finds nothing
    where the extra is not installed.
    """
    stated = imports(package, lambda source: top_levels(statements(source)))
    assert not not_among(INSTALLED | REQUIRED.keys(), stated)


def test_both_ways_to_import_are_seen():
    source = "import a.b\ndef f():\n    from c.d import e\n    import_module('g.h')\n"
    assert top_levels(statements(source)) == {"a", "c"}
    assert third_party(source) == {"a", "c", "g"}


def imports(package: str, names_in) -> set[str]:
    """Names that `names_in` finds in any file; Triton comes with torch."""
    files = (REPOSITORY / package).rglob("*.py")
    found = set().union(*(names_in(path.read_text()) for path in files))
    return found - {"triton"}


def not_among(allowed, imported: set[str]) -> set[str]:
    """Modules that no allowed distribution, installed or named alike, brings."""
    distributions = packages_distributions()
    allowed = {canonicalize_name(name) for name in allowed}
    return {
        name
        for name in imported
        if not allowed & {canonicalize_name(d) for d in distributions.get(name, [name])}
    }


def third_party(source: str) -> set[str]:
    """Top-level names of the modules imported anywhere in the source."""
    return top_levels(statements(source) | by_name(source))


def statements(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return names


def by_name(source: str) -> set[str]:
    """What `import_module` is told, where it is told a string."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and isinstance(node.args[0], ast.Constant)
    }


def top_levels(names: set[str]) -> set[str]:
    """Without the standard library's and our own."""
    return (
        {name.partition(".")[0] for name in names}
        - sys.stdlib_module_names
        - {"cl_flow", "analysis"}
    )
