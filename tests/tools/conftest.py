"""What the tests of tools share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of every disk is free, whatever the disk of this machine holds."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=100, free=50))
