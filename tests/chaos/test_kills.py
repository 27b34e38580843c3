"""Killed with -9 again and again, the outputs are those of a run that was never killed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.testing import registration
from tests.chaos.harness import (
    FLEET,
    Killed,
    Moment,
    assert_same,
    finish,
    inline_outputs,
    kill,
    outputs,
    prepare,
    rows,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci

KILLS = 20
SEED = 11


def moments() -> list[Moment]:
    """Half at any instant of the first 0.5 s, half while an epoch is being written; in random order."""
    chance = random.Random(SEED)
    anywhen = [Moment(seconds=chance.uniform(0.0, 0.5)) for _ in range(KILLS // 2)]
    writing = [
        Moment(epochs=chance.randrange(1, 5), snapshots=chance.randrange(1, 12)) for _ in range(KILLS // 2)
    ]
    return chance.sample(anywhen + writing, KILLS)


def test_twenty_kills_change_no_byte(
    lines: list[bytes], unbroken: Path, inline: dict[str, bytes], tmp_path: Path
) -> None:
    """After 20 kills over one input and one store, every output equals the unbroken run's, byte for byte."""
    fleet = prepare(tmp_path, lines)
    # The position of a record names its file: the same in both runs, so that rejects can be compared.
    events = str(unbroken / "events.jsonl")
    killed: list[Killed] = [kill(fleet, moment, FLEET_BATCH="40", FLEET_INPUT=events) for moment in moments()]

    read = [each.records for each in killed]
    assert read[-1] < len(lines), "the input must last for all the kills"
    assert len({each.resumed for each in killed}) >= 8, "the runs must get on between the kills"
    assert sum(each.resumed > 0 for each in killed) >= 15, killed
    assert sum(each.within for each in killed) >= 5, killed

    found = finish(fleet, FLEET_INPUT=events)
    expected = outputs(unbroken / "out")
    assert_same(found, expected)
    assert_same(found, inline)
    assert all(
        expected[name] for name in ("predictions", "evaluations", "metrics", "changes", "late", "rejects")
    )
    summaries = [(folder / "out" / "summary.json").read_text() for folder in (tmp_path, unbroken)]
    assert summaries[0] == summaries[1]


def test_kills_change_no_byte_of_machines_that_stand(lines: list[bytes], tmp_path: Path) -> None:
    """Readings that wait for a running machine, and the states of late ones, come through kills."""
    text = FLEET.replace("label_delay", 'running = "fan_speed > 600"\nlabel_delay', 1)
    fleet = prepare(tmp_path, lines[:3_000], text)
    expected = inline_outputs(fleet)
    chance = random.Random(SEED)
    moments = sorted(chance.sample(range(300, 3_000), 6))
    killed = [kill(fleet, Moment(records=moment), pause=0.003, FLEET_BATCH="20") for moment in moments]
    assert len({each.resumed for each in killed}) >= 3
    assert_same(finish(fleet), expected)
    whole = inline_outputs(prepare(tmp_path / "always", lines[:3_000]))
    assert 0 < len(expected["predictions"]) < 0.8 * len(whole["predictions"])


_SHARED = """
[models.common]
scope = "fleet"
pipeline = [{ estimator = "dataflows.estimators.BayesianLogistic" }]

[models.machine]
scope = "asset"
pipeline = [{ estimator = "dataflows.estimators.BayesianLogistic" }]

[models.chain]
scores = ["machine", "linear", "common"]
pipeline = [{ estimator = "dataflows.estimators.Chain", links = ["machine", "linear", "common"] }]
"""


def test_kills_change_no_byte_of_classes_that_share_a_model(lines: list[bytes], tmp_path: Path) -> None:
    """What the model of the fleet learned, and of each asset, comes through kills, at the same points."""
    of_class = FLEET[FLEET.index("[classes.truck]") : FLEET.index("[[targets]]")]
    text = FLEET.replace("[[targets]]", of_class.replace("classes.truck", "classes.van") + "[[targets]]")
    text = text.replace('class = "truck"', 'class = ["truck", "van"]') + _SHARED
    text = text.replace('champion = "linear"', 'champion = "chain"')
    assets = sorted({row["asset"] for line in lines if (row := asset_of(line)) is not None})
    vans = [registration(name, "van", {}) for name in assets[::2]]
    fleet = prepare(tmp_path, [*vans, *lines[:3_000]], text)
    expected = inline_outputs(fleet)
    chance = random.Random(SEED)
    moments = sorted(chance.sample(range(300, 3_000), 6))
    killed = [kill(fleet, Moment(records=moment), pause=0.003, FLEET_BATCH="20") for moment in moments]
    assert len({each.resumed for each in killed}) >= 3
    assert_same(finish(fleet), expected)
    served = rows(expected["predictions"])
    assert {row["target"].split("/")[0] for row in served} == {"truck", "van"}
    assert {"asset", "fleet"} <= {row["link"] for row in served}


def asset_of(line: bytes) -> dict[str, Any] | None:
    """The record of a line that names an asset in text; None for any other."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("asset"), str) else None
