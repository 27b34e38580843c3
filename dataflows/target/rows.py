"""What a group writes: rows of the outputs, as plain dicts with times in RFC 3339."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.instants import HOUR, format_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.items import Item, Matured, Observation
    from dataflows.target.alerts import AlertChange
    from dataflows.target.examples import Example

__all__ = ["alert", "basis", "evaluation", "named", "prediction", "prediction_id"]

_LABELS = {1: "positive", 0: "negative", -1: "censored", None: "undecided"}


def prediction_id(asset: str, target: str, time: int, revision: int) -> str:
    """The id of a prediction: the same for the same asset, target, time and revision, in every run."""
    text = f"{asset}\x1f{target}\x1f{time}\x1f{revision}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def basis(item: Item, watermark: int | None) -> dict[str, Any]:
    """What an output was based on."""
    return {
        "sequence": item.sequence,
        "arrival": None if item.arrival is None else format_instant(item.arrival),
        "watermark": None if watermark is None else format_instant(watermark),
    }


def named(features: tuple[str, ...], values: bytes) -> dict[str, float | None]:
    """A feature vector by name; a missing value is null."""
    return dict(zip(features, np.frombuffer(values).tolist(), strict=True))


def prediction(
    item: Item, seen: Observation, score: float, revises: int | None, answered: Mapping[str, Any]
) -> dict[str, Any]:
    """One published score; ``revises`` is the revision that was published before it."""
    time = seen.time or 0
    return {
        "id": prediction_id(seen.asset, seen.target, time, seen.revision),
        "asset": seen.asset,
        "target": seen.target,
        "time": format_instant(time),
        "score": score,
        **answered,
        "revision": seen.revision,
        "revises": None if revises is None else prediction_id(seen.asset, seen.target, time, revises),
        **basis(item, seen.watermark),
    }


def alert(item: Item, seen: Observation, move: AlertChange) -> dict[str, Any]:
    """One change in the life of an alert."""
    return {
        "id": move.id,
        "asset": seen.asset,
        "target": seen.target,
        "state": move.state,
        "why": move.why,
        "opened": format_instant(move.opened),
        "time": format_instant(move.time),
        "score": move.score,
        "threshold": move.threshold,
        **basis(item, seen.watermark),
    }


def evaluation(
    item: Item, seen: Observation, example: Example, matured: Matured, *, learned: bool
) -> dict[str, Any]:
    """One label of one example, beside what was served."""
    return {
        "id": prediction_id(example.asset, seen.target, example.time, 0),
        "asset": example.asset,
        "target": seen.target,
        "time": format_instant(example.time),
        "label": _LABELS[matured.label],
        "why": matured.why,
        "matured": format_instant(matured.clock),
        "known": format_instant(item.known),
        "lead": None if matured.lead is None else matured.lead / HOUR,
        "champion": example.champion,
        "scores": example.scores,
        "correction": matured.correction,
        "learned": learned,
        **basis(item, seen.watermark),
    }
