"""What rows mean to those who are alerted: identity, labels, and which rows are no news."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.notify.notices import Change, Notices, sites_of
from dataflows.outputs import ROWS, DriftAlarm, OutputRow
from dataflows.tools.outputs import sample_rows
from tests.notify.worlds import TARGET, alert, alertmanager, change, drift, fleet_of, verdict

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("failures", "drift", "promotions", "proposals")


@pytest.fixture
def notices(tmp_path: Path) -> Notices:
    fleet = fleet_of(tmp_path, main=alertmanager())
    return Notices(fleet, ALL, {"plant": "north", "asset": "overridden"}, {"pump-1": "hall 3"})


def of(notices: Notices, output: str, row: dict[str, Any]) -> list[Change]:
    return notices.of(output, orjson.dumps(row))


def test_an_alert_of_the_fleet_has_labels_to_group_by(notices: Notices) -> None:
    """Site, class and mode among them; its own labels win over configured ones."""
    (found,) = of(notices, "alerts", alert("a1", "opened", asset="pump-1"))
    assert found.state == "firing"
    assert found.slot == "a1"
    assert found.notice is not None
    assert found.notice.labels == {
        "plant": "north",
        "asset": "pump-1",
        "alertname": "HighwaterFailurePredicted",
        "severity": "warning",
        "fleet": "pumps",
        "class": "pump",
        "mode": "seal",
        "horizon": "24h",
        "target": TARGET,
        "site": "hall 3",
        "id": "a1",
    }
    assert found.notice.annotations["summary"] == ("pump-1 is likely to fail (seal) within 24h: score 0.75")


def test_an_update_keeps_identity_and_beginning(notices: Notices) -> None:
    """Only annotations change, so an Alertmanager sees the alert that it has."""
    (opened,) = of(notices, "alerts", alert("a1", "opened"))
    (updated,) = of(notices, "alerts", alert("a1", "updated", 900, score=0.91))
    assert opened.notice is not None
    assert updated.notice is not None
    assert updated.notice.labels == opened.notice.labels
    assert updated.notice.starts == opened.notice.starts
    assert updated.notice.annotations["score"] == "0.91"


def test_an_alarm_of_drift_is_as_severe_as_its_rank(notices: Notices) -> None:
    """The loss pages; a feature is a note. Two alarms of one series are two alerts."""
    (first,), (second,) = of(notices, "changes", drift(1)), of(notices, "changes", drift(2, rank="note"))
    assert first.state == second.state == "event"
    assert first.notice is not None
    assert second.notice is not None
    assert (first.notice.labels["severity"], second.notice.labels["severity"]) == ("critical", "info")
    assert first.notice.id != second.notice.id


@pytest.mark.ci  # to make a real row of every kind takes 5 s
@pytest.mark.parametrize("kind", [row for row in ROWS if row.output in {"alerts", "changes"}])
def test_real_rows_of_every_kind_are_understood(notices: Notices, kind: type[OutputRow]) -> None:
    """Those of docs/outputs.md; a row without meaning for anybody makes nothing."""
    found = notices.of(kind.output, sample_rows()[kind])
    assert len(found) <= 2
    if kind is DriftAlarm:
        assert found[0].notice is not None
        assert found[0].notice.labels["cause"] == "sensor"
        assert found[0].notice.annotations["description"] == "Cause: sensor; Sensors: flow"


def test_the_first_champion_is_no_news(notices: Notices) -> None:
    """It was configured; one that takes its place is news."""
    states = [each.state for each in of(notices, "changes", change("champion", why="configured"))]
    assert states == ["resolved"]
    _, found = of(notices, "changes", change("champion", why="accept by ann"))
    assert found.notice is not None
    assert found.notice.annotations["summary"] == f"tree is champion of {TARGET}"


@pytest.mark.parametrize(
    "row",
    [
        change("champion", 2),
        verdict(2, "undecided"),
        verdict(2, "recall"),
        change("command", 2, action="refuse", by="ann", refused=None),
    ],
)
def test_a_proposal_is_open_until_it_is_decided(notices: Notices, row: dict[str, Any]) -> None:
    """By a command, another champion, or because its evidence has gone."""
    (proposed,) = of(notices, "changes", verdict(1))
    over = of(notices, "changes", row)[0]
    assert proposed.state == "firing"
    assert (over.state, over.slot) == ("resolved", proposed.slot)


def test_a_command_that_is_refused_ends_no_proposal(notices: Notices) -> None:
    """The proposal stands, and waits for another command."""
    row = change("command", action="refuse", by="ann", refused="the proposal is forest")
    assert of(notices, "changes", row) == []


def test_a_receiver_gets_only_what_it_is_about(tmp_path: Path) -> None:
    """With `about = ["drift"]` neither failures nor proposals nor promotions."""
    notices = Notices(fleet_of(tmp_path), ("drift",), {}, {})
    rows = [("alerts", alert("a1", "opened")), ("changes", verdict(1)), ("changes", change("champion", 2))]
    assert [each for output, row in rows for each in of(notices, output, row)] == []
    assert len(of(notices, "changes", drift(1))) == 1


def test_what_a_device_chose_as_its_name_is_bounded(notices: Notices) -> None:
    """A label holds at most 1,000 characters."""
    (found,) = of(notices, "alerts", alert("a1", "opened", asset="x" * 5_000))
    assert found.notice is not None
    assert max(map(len, found.notice.labels.values())) == 1_000


def test_sites_come_from_the_registry_files(tmp_path: Path) -> None:
    """The latest row of an asset counts."""
    rows = [
        {"kind": "asset", "asset": "pump-1", "class": "pump", "site": site, "attributes": {}}
        for site in ("hall 1", "hall 2")
    ]
    (tmp_path / "pumps.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    fleet = fleet_of(tmp_path)
    assert sites_of(fleet) == {}
    policy = replace(fleet.assets, registry=(str(tmp_path / "pumps.jsonl"),))
    assert sites_of(replace(fleet, assets=policy)) == {"pump-1": "hall 2"}
