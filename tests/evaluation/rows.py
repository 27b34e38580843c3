"""Rows of evaluations, for the tests of what reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.instants import HOUR, format_instant, parse_instant

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HORIZON", "START", "evaluation", "generated", "written"]

START = parse_instant("2020-01-01T00:00:00Z")
HORIZON = 30 * HOUR


def evaluation(
    asset: str, hour: int, label: str, scores: dict[str, float | None], **other: object
) -> dict[str, Any]:
    """One row in the outward form; the label settles when the horizon has passed unless told otherwise."""
    settled = format_instant(START + hour * HOUR + HORIZON + HOUR)
    return {
        "id": f"{asset}@{hour}",
        "asset": asset,
        "target": "engine/failure/30h",
        "time": format_instant(START + hour * HOUR),
        "label": label,
        "why": "",
        "matured": settled,
        "known": settled,
        "lead": None,
        "champion": "good",
        "scores": scores,
        "correction": 0,
        "learned": True,
        "example": None,
        **other,
    }


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def generated(seed: int, assets: int = 12, hours: int = 80) -> list[dict[str, Any]]:
    """Rows of two models, one good and one that guesses in steps of 0.1, so that scores tie."""
    random = np.random.default_rng(seed)
    rows = []
    for hour in range(hours):
        for asset in range(assets):
            positive = bool(random.random() < 0.2)
            good = float(np.clip(random.normal(0.7 if positive else 0.3, 0.2), 0, 1))
            scores = {"good": good, "guess": round(float(random.random()), 1)}
            rows.append(evaluation(f"a{asset}", hour, "positive" if positive else "negative", scores))
    return rows
