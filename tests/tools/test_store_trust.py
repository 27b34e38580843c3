"""Whom a recovery store is trusted with: to look at one runs nothing of it; models may be signed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.harness import FLEET, arguments, dataflows, finish, outputs, prepare, recording

if TYPE_CHECKING:
    from collections.abc import Mapping

TELLTALE = "HIGHWATER_TEST_TELLTALE"
WITH_TELLTALE = (
    FLEET + '\n[models.telltale]\npipeline = [{ estimator = "tests.tools.test_store_trust.Telltale" }]\n'
)


class Telltale:
    """A model that leaves a file behind when it is loaded, as one that was tampered with might do worse."""

    def __init__(self) -> None:
        self.learned = 0

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: ARG002 - River's signature
        self.learned += 1

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:  # noqa: ARG002 - the same
        return {False: 0.75, True: 0.25}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # One that has learned next to nothing is that of the trial before a run, which is stored nowhere.
        if TELLTALE in os.environ and self.learned > 10:
            Path(os.environ[TELLTALE]).touch()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return recording(days=6, trucks=6)


def stored(folder: Path, lines: list[bytes], **environment: str) -> Path:
    """A fleet whose store holds such a model; its recording goes on after what was read."""
    fleet = prepare(folder, lines[:300], WITH_TELLTALE)
    finish(fleet, **environment)
    prepare(folder, lines, WITH_TELLTALE)
    return fleet


def test_to_inspect_a_store_loads_no_model(lines: list[bytes], tmp_path: Path) -> None:
    """What it holds is told by counts and bytes alone."""
    fleet = stored(tmp_path, lines)
    watched = {TELLTALE: str(tmp_path / "loaded")}
    ran = dataflows("inspect", str(tmp_path / "store"), "--fleet", str(fleet), **watched)
    assert ran.returncode == 0, ran.stderr
    assert "sound" in ran.stdout
    assert "telltale" in ran.stdout
    assert not (tmp_path / "loaded").exists()
    finish(fleet, **watched)
    assert (tmp_path / "loaded").exists(), "the model tells when it is loaded"


def refusal(fleet: Path, key: str) -> str:
    """Why a run with a key is refused, before a model is loaded or a row is written."""
    before, loaded = outputs(fleet.parent / "out"), fleet.parent / "loaded"
    ran = dataflows(*arguments(fleet), HIGHWATER_STORE_KEY=key, **{TELLTALE: str(loaded)})
    assert ran.returncode == 1, ran.stdout
    assert not loaded.exists()
    assert outputs(fleet.parent / "out") == before
    return " ".join(ran.stderr.split())


def test_models_that_are_not_signed_are_not_loaded(lines: list[bytes], tmp_path: Path) -> None:
    """With a key, a store without signatures or with those of another key is refused, with what to do."""
    unsigned = stored(tmp_path / "unsigned", lines)
    signed = stored(tmp_path / "signed", lines, HIGHWATER_STORE_KEY="ours")
    for said in (refusal(unsigned, "ours"), refusal(signed, "theirs")):
        assert "are not signed by HIGHWATER_STORE_KEY" in said
        assert "start over (--fresh)" in said


def test_a_signed_store_goes_on(lines: list[bytes], tmp_path: Path) -> None:
    """With its key it gives the outputs of one that was never signed."""
    signed = stored(tmp_path / "signed", lines, HIGHWATER_STORE_KEY="ours")
    found = finish(signed, HIGHWATER_STORE_KEY="ours")
    unsigned = finish(stored(tmp_path / "unsigned", lines))
    assert found["predictions"] == unsigned["predictions"]
    assert found["evaluations"] == unsigned["evaluations"]
