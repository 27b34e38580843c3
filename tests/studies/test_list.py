"""The lists of ``python -m studies`` and ``python -m benchmarks``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import benchmarks.__main__
import studies.__main__

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("folder", "listed"),
    [("studies", studies.__main__.STUDIES), ("benchmarks", benchmarks.__main__.BENCHMARKS)],
)
def test_the_list_names_each_file_that_can_be_run(folder: str, listed: dict[str, str]) -> None:
    """Each file with a ``main`` is in the list, and each name in the list is such a file."""
    found = {
        path.stem
        for path in (ROOT / folder).glob("[!_]*.py")
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "main"
            for node in ast.parse(path.read_text()).body
        )
    }
    assert found == set(listed)


def test_an_unknown_study_is_refused_with_the_names_of_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name with a typing error gets the list."""
    monkeypatch.setattr("sys.argv", ["studies", "qualtiy"])
    with pytest.raises(SystemExit, match="no study 'qualtiy'; there are quality, disks"):
        studies.__main__.main()
