"""Metrics of models agree with the rows and the summary of the same run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.fleet import load
from dataflows.instants import parse_instant
from dataflows.items import Row
from dataflows.pipeline import Inline, _numbered
from dataflows.target.drift import LABELLED, UNLABELLED
from tests.chaos.harness import FLEET, prepare, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflows.items import Item
    from dataflows.status import RunStatus

WATCHED = FLEET.replace(
    'champion = "linear"', 'champion = "linear"\ndrift = "log"\nalert = { open = 0.05, clear = 0.04 }'
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunStatus, dict[str, list[dict[str, Any]]]]:
    """A run, and its rows by output."""
    lines = recording(days=14)
    fleet = load(prepare(tmp_path_factory.mktemp("ran"), lines, WATCHED), environ={})
    stages = Inline(fleet)
    found: dict[str, list[dict[str, Any]]] = {}

    def items() -> Iterator[Item]:
        for record in _numbered(lines, "events.jsonl"):
            for known in stages.lane([record]):
                for seen in stages.asset(known):
                    yield from stages.rows([seen])
        yield from stages.finish()

    for item in items():
        if isinstance(item.body, Row):
            found.setdefault(item.body.output, []).append(orjson.loads(item.body.data))
    return stages._stages._status, found


def test_evidence_is_that_of_the_summary(
    ran: tuple[RunStatus, dict[str, list[dict[str, Any]]]],
) -> None:
    """Of the challenger with the most: the log of its e-value over that of the needed one."""
    status, rows = ran
    evidence, advantage = status.read("evidence"), status.read("advantage")
    sections = {name: each for row in rows["summary"] for name, each in row.get("targets", {}).items()}
    assert len(sections) == 2
    for target, section in sections.items():
        challengers = section["promotion"]["challengers"]
        shares = {
            name: math.log(max(each["e_values"])) / math.log(each["needed"])
            for name, each in challengers.items()
        }
        ((label, share),) = [(key[1], value) for key, value in evidence.items() if key[0] == target]
        best = max(shares.values())
        assert share == pytest.approx(max(0.0, best))
        assert any(name.startswith(label) and each == pytest.approx(best) for name, each in shares.items())
        assert advantage[target, label] in [each["difference"] for each in challengers.values()]
    assert max(evidence.values()) > 0.1


def test_labels_alarms_and_alerts_are_those_of_the_rows(
    ran: tuple[RunStatus, dict[str, list[dict[str, Any]]]],
) -> None:
    """The last label of each kind, alarms by rank, champions, and the score of each open alert."""
    status, rows = ran
    last: dict[tuple[str, str], int] = {}
    for row in rows["evaluations"]:
        if row["label"] != "undecided":
            last[row["target"], row["label"]] = parse_instant(row["known"])
    assert status.read("labels") == last
    assert status.read("champions") == {(target, "linear"): 1 for target, _ in last}
    alarms = status.read("alarms")
    drifts = [(row["target"], row["rank"]) for row in rows["changes"] if row["change"] == "drift"]
    assert {key for key, count in alarms.items() if count} == set(drifts)
    assert sum(alarms.values()) == len(drifts)
    open_scores = {}
    for row in rows["alerts"]:
        key = row["target"], row["asset"]
        open_scores[key] = row["score"]
        if row["state"] == "cleared":
            del open_scores[key]
    assert open_scores
    assert status.read("riskiest") == open_scores
    drift = status.read("drift")
    assert {series for _, series in drift} == {*LABELLED, *UNLABELLED, "features"}
    assert all(value >= 0 for value in drift.values())
