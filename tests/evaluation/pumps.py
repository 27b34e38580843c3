"""Pumps whose scores rise before a failure: their fleet, and the outputs of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dataflows.instants import HOUR, format_instant, parse_instant
from tests.tables import PRIOR, pumps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BLOCK", "FLEET", "LEAK", "LONG", "life", "prediction", "row", "saved", "write_predictions"]

FLEET = pumps(
    "prior",
    None,
    mode=["leak", "block"],
    horizon="24h",
    adopt=True,
    pump='example_every = "1h"',
    target='alert = { open = 0.9, dwell = "0s" }    # as last year',
    more="""
[[targets]]
class = "pump"
mode = "leak"
horizon = "48h"
champion = "prior"
"""
    + PRIOR,
).replace('"pumps"', '"pumps"    # of the north')
LEAK, BLOCK, LONG = "pump/leak/24h", "pump/block/24h", "pump/leak/2d"


def row(time: int, score: float | None, label: str, **changes: object) -> dict[str, Any]:
    """One evaluation row, ``time`` and lead in hours."""
    asset, target = changes.get("asset", "a"), changes.get("target", LEAK)
    return {
        "id": f"{asset}{target}{time}",
        "asset": asset,
        "target": target,
        "time": format_instant(time * HOUR),
        "label": label,
        "matured": format_instant(time * HOUR),
        "known": format_instant(time * HOUR),
        "lead": changes.get("lead"),
        "champion": "prior",
        "scores": {"prior": score, "other": 0.5},
        "correction": changes.get("correction", 0),
    }


def life(asset: str, failure: int | None, target: str = LEAK) -> list[dict[str, Any]]:
    """Examples of 48 hours; with a failure the score is 0.8 in the 20 hours before it, else 0.1 or 0.4."""
    rows = []
    for time in range(48):
        near = failure is not None and failure - 24 <= time < failure
        score = 0.8 if failure is not None and failure - 20 <= time < failure else 0.4 if time == 5 else 0.1
        lead = failure - time if near and failure is not None else None
        rows.append(
            row(time, score, "positive" if near else "negative", asset=asset, target=target, lead=lead)
        )
    return rows


def saved(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path = folder / "evaluations.jsonl"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))
    served = [
        prediction(each, each["scores"][each["champion"]])
        for each in rows
        if "scores" in each and not each["correction"]
    ]
    write_predictions(folder, served)
    return path


def prediction(of: dict[str, Any], score: float, minutes: int = 0, revision: int = 0) -> dict[str, Any]:
    """A prediction some minutes after an example."""
    time = format_instant(parse_instant(of["time"]) + minutes * HOUR // 60)
    told = {"asset": of["asset"], "target": of["target"], "time": time, "link": "class"}
    return {**told, "score": score, "revision": revision}


def write_predictions(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    (folder / "predictions.jsonl").write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))
