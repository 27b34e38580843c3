"""Each notebook runs from its first cell to its last, and what it claims holds."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.ci
@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "notebooks").glob("*.py")))
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    """As a program: a source of jupytext is one. Assertions in it hold what its text says."""
    text = (ROOT / "notebooks" / name).read_text()
    assert text.startswith("# ---\n# jupyter:")
    assert text.count("\n# %%") > 5
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(ROOT / "notebooks" / name)]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert "[info" not in done.stdout
