"""The metrics of a lane count what lane and assets rejected or merged late, also through restarts."""

from __future__ import annotations

from typing import Any

import orjson

from dataflows.items import Counted, Item, LanePeriod, Late, Row
from dataflows.lane.metrics import LaneMetrics


def item(number: int, body: Row | Late | Counted | LanePeriod) -> Item:
    return Item(number, 0, None, 0, ("feed", number, 0), body)


def reject(reason: str | None, output: str = "rejects", kind: str | None = None) -> Row:
    return Row(output, b"{}", reason, kind)


def period(start: int, **by_kind: int) -> LanePeriod:
    return LanePeriod("lane-0", start, start + 10, by_kind, None)


def rows(stage: LaneMetrics, *bodies: Row | Late | Counted | LanePeriod) -> list[dict[str, Any]]:
    out = stage.process([item(number, body) for number, body in enumerate(bodies, start=1)])
    assert all(isinstance(each.body, Row) and each.body.output == "metrics" for each in out)
    return [orjson.loads(each.body.data) for each in out if isinstance(each.body, Row)]


def counts(stage: LaneMetrics) -> dict[str, Any]:
    (found,) = stage.finish()
    assert isinstance(found.body, Row)
    assert found.body.output == "summary"
    told: dict[str, Any] = orjson.loads(found.body.data)["input"]
    return told


def test_rejects_and_late_rows_are_counted_by_reason() -> None:
    """Rejects and late rows count, other rows do not, and none is returned; a restart keeps the counts."""
    stage = LaneMetrics(None)
    told = [reject("duplicate"), reject(None, "changes"), reject("too_late", "late"), reject("duplicate")]
    assert rows(stage, *told, Late(), Counted("corrections", 2)) == []
    expected = {
        "rejected": {"duplicate": 2, "too_late": 1},
        "late": 1,
        "corrections": 2,
        "by_kind": {},
    }
    assert counts(stage) == counts(LaneMetrics(stage.main_snapshot())) == expected
    assert counts(LaneMetrics(None)) == {"rejected": {}, "late": 0, "corrections": 0, "by_kind": {}}


def test_the_row_of_a_period_counts_what_came_before_it_in_the_order() -> None:
    """Items of one activation are sorted first; what an asset rejected is taken off the accepted ones."""
    stage = LaneMetrics(None)
    bodies = [
        reject("duplicate", kind="telemetry"),
        Late(),
        period(0, telemetry=5),
        reject("malformed"),
        period(10, fault=1),
    ]
    items = [item(number, body) for number, body in enumerate(bodies)]
    whole = [
        orjson.loads(each.body.data) for each in stage.process(items[::-1]) if isinstance(each.body, Row)
    ]
    cut = LaneMetrics(None)
    parts = [row for body in bodies[:2] for row in rows(cut, body)]
    resumed = LaneMetrics(cut.main_snapshot())
    parts += [
        orjson.loads(each.body.data) for each in resumed.process(items[2:]) if isinstance(each.body, Row)
    ]
    assert whole == parts
    figures = [(row["from"][17:19], row["by_kind"], row["late"], row["rejected"]) for row in whole]
    assert figures == [
        ("00", {"telemetry": 4}, 1, {"duplicate": 1}),
        ("00", {"fault": 1}, 0, {"malformed": 1}),
    ]
