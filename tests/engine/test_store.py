"""The recovery store that the engine's own command line names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dataflows.engine.store import named_store

FLOW = "dataflows.failure_prediction"


@pytest.mark.parametrize(
    ("arguments", "variable", "store"),
    [
        ([FLOW, "-r", "one", "-s", "10", "-b", "0"], None, "one"),
        (["-w2", "--recovery-directory=one", FLOW], "two", "one"),
        ([FLOW, "-w", "2"], "two", "two"),
        ([FLOW], None, None),
        (["run", "fleet.toml", "--recovery", "one"], None, None),
        ([FLOW, "-r"], None, None),
    ],
)
def test_the_named_store_is_that_of_the_engine(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], variable: str | None, store: str | None
) -> None:
    """The option comes before the environment; without both there is none."""
    monkeypatch.setattr(sys, "argv", ["bytewax.run", *arguments])
    monkeypatch.delenv("BYTEWAX_RECOVERY_DIRECTORY", raising=False)
    if variable is not None:
        monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", variable)
    assert named_store() == (None if store is None else Path(store))
