"""The batch size of the source is a matter of speed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.harness import assert_same, finish, inline_outputs, prepare

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 3_000


@pytest.fixture(scope="module")
def expected(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """The recording, and what the stages make of it without the engine."""
    fleet = prepare(tmp_path_factory.mktemp("inline"), lines[:RECORDS])
    return str(fleet.parent / "events.jsonl"), inline_outputs(fleet)


@pytest.mark.parametrize("batch", [1, 10, 1_000, 10_000])
def test_the_batch_size_changes_no_byte(
    expected: tuple[str, dict[str, bytes]], lines: list[bytes], tmp_path: Path, batch: int
) -> None:
    """With FLEET_BATCH from 1 to 10,000 every output equals that of the stages alone, byte for byte."""
    events, inline = expected
    fleet = prepare(tmp_path, lines[:RECORDS])
    # Epochs that are shorter than their snapshots take would be one batch long each: 3,000 of one record.
    assert_same(finish(fleet, "--epoch", "1s", FLEET_BATCH=str(batch), FLEET_INPUT=events), inline)
