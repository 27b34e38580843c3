"""Packages that River imports for a seldom used model, and whose files run when one of their names is used.

``river.preprocessing`` and ``river.linear_model`` import River's trees, its distributions and its data sets,
and with them SciPy's statistics, and pandas and scikit-learn where they are installed: five times the
processor time of all else that a start with them imports. A deferred package is in `sys.modules`, and its
modules can be imported by themselves, but its own file runs only when somebody asks for one of its names.
`importlib.util.LazyLoader` does not serve here: it runs the file as soon as a module of the package is
imported.

It acts on the whole process, so only a command may ask for it (`python -m dataflows`, ``highwater``,
``python -m bytewax.run`` on the dataflow). A notebook or a program that imports Highwater gets SciPy and
River as they are.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.machinery import ModuleSpec

__all__ = ["DEFERRED", "defer", "defer_all"]

#: Packages by name, with the functions of each that River takes from it when it is imported. Of
#: ``scipy.linalg`` Numba needs one module, when it loads the first compiled function.
DEFERRED: dict[str, tuple[str, ...]] = {
    "river.drift.datasets": (),
    "river.feature_extraction": (),
    "river.proba": (),
    "scipy.linalg": (),
    "scipy.ndimage": (),
    "scipy.sparse": (),
    # The quantile of a normal distribution, of one model.
    "scipy.special": ("ndtri",),
    # A multivariate Gaussian, and a test of one kind of tree.
    "scipy.stats": ("multivariate_normal", "f"),
}


class _Deferred(ModuleType):
    """Package whose file has not run; once it has, an ordinary one."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the package has
        waiting = self.__dict__["__deferred__"]
        if waiting.waits and name in waiting.functions:
            return _Later(self, name)
        waiting.run(self)
        return ModuleType.__getattribute__(self, name)

    def __dir__(self) -> list[str]:
        self.__dict__["__deferred__"].run(self)
        return [*ModuleType.__dir__(self)]


class _Waiting:
    """File of a package that waits to be run, once.

    Args:
        functions: names for which it does not run.
    """

    def __init__(self, functions: Collection[str]) -> None:
        self.functions = functions
        self.waits = True
        self._lock = threading.RLock()

    def run(self, package: ModuleType) -> None:
        """Run the file of a package, or wait until another thread has."""
        with self._lock:
            if self.waits and package.__spec__ is not None and package.__spec__.loader is not None:
                self.waits = False
                package.__spec__.loader.exec_module(package)
                package.__class__ = ModuleType


class _Later:
    """Function of a deferred package, whose file runs when the function is used."""

    def __init__(self, package: _Deferred, name: str) -> None:
        self._package = package
        self._name = name

    def _function(self) -> Any:  # noqa: ANN401 - whatever it is
        dir(self._package)
        return getattr(self._package, self._name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of the function
        return self._function()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        return getattr(self._function(), name)


def defer_all() -> None:
    """Defer every package of `DEFERRED`, before anything has imported River."""
    for package, functions in DEFERRED.items():
        defer(package, functions)


def defer(package: str, functions: Collection[str] = ()) -> None:
    """Put a package into `sys.modules` without running its file, unless it is there, or not installed.

    The file runs when one of its names is asked for, or all of them (`dir`); other threads wait for that.

    Args:
        package: full name, of a package in another one. Where that one is in another, it has to import this
            one by itself, or nobody can reach it as its attribute.
        functions: names for which the file does not run: what is given for one runs it when it is used.
    """
    spec = None if package in sys.modules else _found(package)
    if spec is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__deferred__"] = _Waiting(functions)
    module.__class__ = _Deferred
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def _found(package: str) -> ModuleSpec | None:
    """Find a package; ``river.drift`` is not imported to find a package in it."""
    parent, _, _ = package.rpartition(".")
    if "." not in parent:
        return importlib.util.find_spec(package)
    home = importlib.util.find_spec(parent)
    return None if home is None else PathFinder.find_spec(package, home.submodule_search_locations)
