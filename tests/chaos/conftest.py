"""One recording, and what comes of it when nothing is killed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.chaos.harness import finish, inline_outputs, prepare, recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def lines() -> list[bytes]:
    """About 7,000 records."""
    return recording()


@pytest.fixture(scope="session")
def unbroken(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run from beginning to end."""
    folder = tmp_path_factory.mktemp("unbroken")
    finish(prepare(folder, lines))
    return folder


@pytest.fixture(scope="session")
def inline(unbroken: Path) -> dict[str, bytes]:
    """The outputs of the stages without the engine."""
    return inline_outputs(unbroken / "fleet.toml")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """The stages run in this process too, and log thousands of corrected labels; only that is silenced.

    For a module: other tests of the same worker read what is logged.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.reset_defaults()
