"""A deferred package behaves as one that was imported, and its file runs no sooner than it has to."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from dataflows.deferred import DEFERRED, defer
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``outer.inner`` with a module ``part``; the file that is there once its own file ran."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text("")
    (inner / "part.py").write_text("here = 3")
    (inner / "__init__.py").write_text(
        "import time, pathlib\n"
        "def early(): return 1\n"
        "time.sleep(0.05)\n"
        "from .part import here\n"
        f"(pathlib.Path({str(tmp_path)!r}) / 'ran').touch(exist_ok=False)\n"
        "late = 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "ran"
    for name in [name for name in sys.modules if name.partition(".")[0] == "outer"]:
        del sys.modules[name]


def test_a_module_of_it_is_imported_alone(ran: Path) -> None:
    """Its own file has not run then, and runs once when a name is asked for."""
    defer("outer.inner")
    assert import_module("outer.inner.part").here == 3
    assert not ran.exists()
    assert import_module("outer.inner").late == import_module("outer").inner.late == 2
    assert ran.exists()
    assert type(sys.modules["outer.inner"]) is ModuleType
    assert {"early", "late", "part"} <= {*dir(sys.modules["outer.inner"])}


def test_a_name_that_it_does_not_have_is_an_error(ran: Path) -> None:
    """As of any package."""
    defer("outer.inner")
    with pytest.raises(AttributeError, match=r"module 'outer.inner' has no attribute 'gone'"):
        assert import_module("outer.inner").gone
    assert ran.exists()


def test_all_of_its_names_are_known(ran: Path) -> None:
    """Asking for the list of names runs the file."""
    defer("outer.inner")
    assert "late" in dir(import_module("outer.inner"))
    assert ran.exists()


def test_a_function_that_is_only_imported_runs_nothing(ran: Path) -> None:
    """It is found when it is called; asked for again, it is the function itself."""
    defer("outer.inner", ["early"])
    early = import_module("outer.inner").early
    assert not ran.exists()
    assert early() == 1
    assert early.__name__ == "early"
    assert import_module("outer.inner").early is not early


def test_threads_wait_until_the_file_has_run(ran: Path) -> None:
    """None of them sees half a package, and the file runs once."""
    defer("outer.inner")
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(sys.modules["outer.inner"].late)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 8
    assert ran.exists()


def test_what_is_there_or_is_not_installed_stays_so(ran: Path) -> None:
    """An imported package is left alone; a missing one is still missing."""
    before = import_module("outer.inner")
    defer("outer.inner")
    defer("outer.gone")
    assert sys.modules["outer.inner"] is before
    assert "outer.gone" not in sys.modules
    assert ran.exists()


@pytest.mark.ci
def test_all_of_river_works_with_them() -> None:
    """Every module of River, and the two functions of SciPy that it takes, as if nothing were deferred."""
    code = f"""
import sys
from dataflows.deferred import defer_all
defer_all()
assert {[*DEFERRED]} == [name for name in {[*DEFERRED]} if "__deferred__" in vars(sys.modules[name])]
import river.api
from river import drift, feature_extraction, proba, tree
assert feature_extraction.Agg and drift.datasets.Apple
plane = proba.MultivariateGaussian(seed=1)
for a, b in ((1.0, 2.0), (2.0, 1.5), (2.0, 2.5)):
    plane.update({{"a": a, "b": b}})
assert 0.2830 < plane({{"a": 1.0, "b": 2.0}}) < 0.2831
from river.tree.stochastic_gradient_tree import f_dist
import scipy.stats
assert f_dist.cdf(2.0, 1, 10) == scipy.stats.f.cdf(2.0, 1, 10)
assert scipy.sparse.csr_matrix and scipy.ndimage.shift
"""
    assert printed(code) == []


LIST = f"print(*(name for name in {[*DEFERRED]} if '__deferred__' in vars(sys.modules.get(name, sys))))"


def test_a_program_that_imports_highwater_has_scipy_and_river_as_they_are() -> None:
    """Neither the import, nor the dataflow's, nor a fleet with its models defers a package."""
    code = f"""
import sys
import highwater as hw, dataflows.failure_prediction
hw.load("examples/trucks/fleet.toml")
import scipy.stats
assert "norm" in vars(scipy.stats)
{LIST}
"""
    assert printed(code) == []


@pytest.mark.parametrize(
    "words",
    [
        ["dataflows", "run", "none.toml"],
        ["bytewax.run", "dataflows.failure_prediction:flow('none.toml')"],
    ],
    ids=["dataflows", "bytewax.run"],
)
def test_a_command_defers_them_before_it_reads_its_fleet(words: list[str]) -> None:
    """Of either command line, so that the models of the fleet cost no more than they have to."""
    code = f"""
import contextlib, runpy, sys
sys.argv = {words}
with contextlib.suppress(SystemExit, Exception):
    runpy.run_module({words[0]!r}, run_name="__main__", alter_sys=True)
{LIST}
"""
    assert printed(code) == [*DEFERRED]


def printed(code: str) -> list[str]:
    """Words that a process of its own prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, check=True, timeout=100, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ).stdout.split()
