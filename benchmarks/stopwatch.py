"""A stopwatch that is put on functions by name, and tells each one's own time."""

from __future__ import annotations

import functools
import importlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Stopwatch"]


class Stopwatch:
    """Seconds by label; while a measured function calls another, only the inner one's time runs.

    Attributes:
        seconds: by label.
        calls: by label.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._inner = 0.0

    def put_on(self, label: str, place: str) -> None:
        """Measure a function wherever it is called by this name.

        Args:
            label: under which its time is counted.
            place: ``module:function`` or ``module:Class.method``.

        Raises:
            AttributeError: there is no such function, so the list of places is out of date.
        """
        module, _, path = place.partition(":")
        *owners, name = path.split(".")
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
        setattr(owner, name, self.around(label, getattr(owner, name)))

    def reset(self) -> None:
        """Forget what was measured so far."""
        for label in self.seconds:
            self.seconds[label] = 0.0
            self.calls[label] = 0

    @classmethod
    def own(cls, calls: int = 100_000) -> float:
        """Seconds that measuring one call takes."""

        def nothing() -> None:
            pass

        watched = cls().around("", nothing)
        started = time.perf_counter()
        for _ in range(calls):
            watched()
        return (time.perf_counter() - started) / calls

    def around(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, measured."""
        seconds, calls = self.seconds, self.calls
        seconds.setdefault(label, 0.0)
        calls.setdefault(label, 0)
        clock = time.perf_counter

        @functools.wraps(function)
        def measured(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of any function
            outer, self._inner = self._inner, 0.0
            started = clock()
            try:
                return function(*arguments, **options)
            finally:
                elapsed = clock() - started
                seconds[label] += elapsed - self._inner
                calls[label] += 1
                self._inner = outer + elapsed

        return measured
