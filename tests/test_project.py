"""Facts about the project itself: its source files, its tests, its lock and its README."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dataflows
from dataflows.estimators import FORMER_PATHS

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "dataflows").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_annotations(module: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in module.body
    )


def is_public(path: Path) -> bool:
    names = path.relative_to(ROOT).with_suffix("").parts
    return not any(name.startswith("_") and not name.endswith("__") for name in names)


def pyproject() -> dict[str, dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def canonical(requirement: str) -> str:
    """The name in a requirement, spelt as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def locked() -> dict[str, str]:
    """Name to version, as requirements.lock pins them."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = (re.match(r"([\w.-]+)==(\S+)", line) for line in lines)
    return {canonical(pin[1]): pin[2] for pin in pins if pin}


def test_every_module_postpones_its_annotations() -> None:
    """Each file of the package has ``from __future__ import annotations``."""
    assert MODULES
    assert [shown(path) for path in MODULES if not imports_annotations(parsed(path))] == []


def test_every_public_module_says_what_it_is_for() -> None:
    """Each public file of the package has a docstring."""
    public = [path for path in MODULES if is_public(path)]
    assert public
    assert [shown(path) for path in public if not ast.get_docstring(parsed(path))] == []


def strings(path: Path) -> set[str]:
    """Literals of a file."""
    nodes = ast.walk(parsed(path))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_module_reaches_another_through_a_string() -> None:
    """Only estimators are found by their path, which users write: a linter sees every other arrow."""
    importers = [
        shown(path) for path in MODULES if "importlib.import_module(" in path.read_text(encoding="utf-8")
    ]
    assert importers == ["dataflows/fleet/models.py", "dataflows/tools/trial.py"]
    named = {name for path in MODULES for name in strings(path) if re.fullmatch(r"dataflows(\.\w+)+", name)}
    assert {name for name in named if not name.startswith("dataflows.estimators.")} == {*FORMER_PATHS}


def test_every_test_states_its_fact() -> None:
    """Each test function, in a class or not, has a docstring."""
    tests = [
        (path, node)
        for path in TESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert tests
    assert [f"{shown(path)}::{node.name}" for path, node in tests if not ast.get_docstring(node)] == []


@pytest.mark.ci
def test_a_module_of_tests_has_one_worker() -> None:
    """Several workers make each fixture of a module once, since one of them runs the whole module."""
    modules = ["tests/test_disk.py", "tests/state/test_layouts.py"]
    command = [sys.executable, "-m", "pytest", "-n", "2", "-v", "-p", "no:cacheprovider", *modules]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found = re.findall(r"\[(gw\d+)\].* (\S+?)::", ran.stdout)
    assert len(found) > 2 * len(modules)
    assert len(set(found)) == len({module for _, module in found}) == len(modules)


def test_what_tests_share_is_in_no_test_module() -> None:
    """Worlds, builders and oracles are modules of their own: no file of tests imports another."""
    shared = [
        f"{shown(path)} imports {node.module}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("tests.")
        and (node.module or "").rpartition(".")[2].startswith("test_")
    ]
    assert shared == []


def test_the_readmes_make_commands_exist() -> None:
    """Each ``make`` command that the README shows as code is a target of the Makefile."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    blocks = re.findall(r"^```.*?^```", readme, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`[^`\n]+`", readme)
    shown_commands = {
        target for code in [*blocks, *spans] for target in re.findall(r"(?<![^\s`])make ([a-z][a-z-]*)", code)
    }
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert {"run", "test"} <= shown_commands
    assert shown_commands - targets == set()


def test_the_lock_covers_every_declared_dependency() -> None:
    """Each dependency of pyproject.toml, extras and build included, is pinned in requirements.lock."""
    project = pyproject()["project"]
    declared = [*project["dependencies"], *pyproject()["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        declared += extra
    assert {canonical(requirement) for requirement in declared} - set(locked()) == set()


def test_the_lock_of_the_image_is_a_part_of_the_lock() -> None:
    """It has what the package needs and no more, at the same versions and with the same hashes."""
    whole, part = (pins((ROOT / name).read_text(encoding="utf-8")) for name in LOCKS)
    assert part.items() <= whole.items()
    needed = {canonical(requirement) for requirement in pyproject()["project"]["dependencies"]}
    assert needed <= part.keys()
    assert not {"pytest", "setuptools", "matplotlib"} & part.keys()


LOCKS = ("requirements.lock", "requirements-run.lock")


def pins(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each package of a lock, by name."""
    found = re.findall(r"^([\w.-]+)==(\S+)[^\n]*\n((?: +--hash=.*\n)+)", text, re.MULTILINE)
    return {canonical(name): (at, frozenset(re.findall(r"sha256:\w+", hashes))) for name, at, hashes in found}


#: Packages whose types stand in the interface of pydantic, which pins them.
PARTS_OF_PYDANTIC = {"annotated-types", "pydantic-core"}


#: Extras of the package itself, not of studies or development.
EXTRAS = ("parquet", "sklearn", "lightgbm", "onnx", "skops")
#: Packages that are imported under another name.
IMPORTED_AS = {"sklearn": "scikit-learn"}


def imported() -> set[str]:
    """Third-party packages that the package imports, spelt as package indexes compare them.

    Those of an extra are left out where they are imported inside a function, so that all else works without.
    """
    names: set[str] = set()
    inside: set[str] = set()
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module or "")
            if isinstance(node, ast.FunctionDef):
                for each in ast.walk(node):
                    if isinstance(each, ast.Import):
                        inside |= {alias.name.partition(".")[0] for alias in each.names}
                    elif isinstance(each, ast.ImportFrom):
                        inside.add((each.module or "").partition(".")[0])
    optional = pyproject()["project"]["optional-dependencies"]
    extras = {canonical(needed) for extra in EXTRAS for needed in optional[extra]}
    extras |= {top for top, name in IMPORTED_AS.items() if name in extras}
    names -= {name for name in names if name.partition(".")[0] in inside & extras}
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"dataflows"}
    return {canonical(top) for top in tops}


def test_the_package_needs_what_it_imports_and_no_more() -> None:
    """Each dependency is imported, each import is a dependency, and CONTRIBUTING.md says why."""
    needed = {canonical(requirement) for requirement in pyproject()["project"]["dependencies"]}
    assert imported() - PARTS_OF_PYDANTIC == needed
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = contributing.partition("## Dependencies")[2]
    assert set(re.findall(r"^\| `([\w-]+)` \| \S", table, re.MULTILINE)) == needed


def test_the_lock_is_bound_to_hashes_and_to_no_index() -> None:
    """The lock has a hash for each pin and names no address, so that it installs from any mirror."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    unbound = re.findall(r"^[\w.-]+==.*(?<!\\)$", text, re.MULTILINE)
    assert locked()
    assert unbound == []
    assert "://" not in text
    assert "--index-url" not in text


def test_the_package_and_the_project_tell_one_version() -> None:
    """``dataflows.__version__`` is the version of pyproject.toml."""
    assert dataflows.__version__ == pyproject()["project"]["version"]
