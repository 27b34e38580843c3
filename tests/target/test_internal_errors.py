"""A record on which a target throws is rejected and counted."""

from __future__ import annotations

from typing import Any

import orjson

from dataflows.items import Item, Row
from dataflows.target import TargetStage
from tests.observations import observation
from tests.target.fleets import fleet, model, target, vector

FLEET = fleet(target([model("prior")]))
(KEY,) = FLEET.targets


def rejected(stage: TargetStage) -> dict[str, int]:
    (item,) = stage.finish()
    assert isinstance(item.body, Row)
    assert item.body.output == "summary"
    found: dict[str, Any] = orjson.loads(item.body.data)
    counts: dict[str, int] = found["input"]["rejected"]
    return counts


def test_what_a_group_throws_on_is_counted_too() -> None:
    """An observation with half a number for features is rejected, the next is scored; a restart knows."""

    def told(item: Item, error: Exception, stage: str) -> Row:
        return Row("rejects", b"{}", f"{stage}: {type(error).__name__} in {item.sequence}")

    def opened(main: bytes | None, parts: dict[int, bytes]) -> TargetStage:
        return TargetStage(FLEET, KEY, strict=True, on_error=told, main=main, parts=parts)

    def seen(number: int, features: bytes) -> Item:
        body = observation("a", KEY, 0, 0, time=number, features=features)
        return Item(number, 0, None, number, ("feed", number, 0), body)

    group = opened(None, {})
    group._models.learn("z", 0, vector(1.0), 0, {})
    outputs = [
        item.body.output
        for item in group.process([seen(1, b"half"), seen(2, vector(1.0))])
        if isinstance(item.body, Row)
    ]
    assert outputs == ["changes", "rejects", "predictions", "changes", "changes"]
    resumed = opened(group.main_snapshot(), {part: group.part_snapshot(part) for part in group.changed()})
    assert rejected(group) == rejected(resumed) == {"internal_error": 1}
