"""Rows of the outputs that a target writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, UnsetType

from dataflows.instants import HOUR, format_instant
from dataflows.items import Item, target_part
from dataflows.outputs import (
    Alert,
    Evaluation,
    MovedBy,
    Prediction,
    ServedExample,
    named,
    prediction_id,
    time_or_none,
)

if TYPE_CHECKING:
    from dataflows.items import Matured, Observation, Row, ScoreRequest
    from dataflows.outputs import Link
    from dataflows.target.alerts import AlertChange
    from dataflows.target.examples import Example

__all__ = ["alert", "evaluation", "placed", "prediction", "served_example"]

_LABELS: dict[int | None, Literal["positive", "negative", "censored", "undecided"]] = {
    1: "positive",
    0: "negative",
    -1: "censored",
    None: "undecided",
}


def prediction(
    item: Item,
    seen: Observation,
    request: ScoreRequest,
    score: float,
    revises: int | None,
    champion: tuple[str, int],
    link: Link,
    features: tuple[str, ...] | None = None,
) -> Prediction:
    """One published score.

    Args:
        item: of the observation.
        seen: the observation.
        request: what was scored.
        score: as published.
        revises: the revision that was published before it, None for the first.
        champion: its name and version.
        link: source of the score: ``class`` or ``prior``.
        features: names of the features to write; None writes none.
    """
    time = request.time
    return Prediction(
        id=prediction_id(seen.asset, seen.target, time, request.revision),
        asset=seen.asset,
        target=seen.target,
        time=format_instant(time),
        score=score,
        model=champion[0],
        version=champion[1],
        link=link,
        revision=request.revision,
        revises=None if revises is None else prediction_id(seen.asset, seen.target, time, revises),
        sequence=item.sequence,
        arrival=None if item.arrival is None else format_instant(item.arrival),
        watermark=None if seen.watermark is None else format_instant(seen.watermark),
        features=UNSET if features is None else named(features, request.features),
    )


def alert(
    item: Item, seen: Observation, move: AlertChange, moved_by: list[MovedBy] | UnsetType = UNSET
) -> Alert:
    """One change in the life of an alert; ``moved_by`` of one that opened."""
    return Alert(
        id=move.id,
        asset=seen.asset,
        target=seen.target,
        state=move.state,
        why=move.why,
        opened=format_instant(move.opened),
        time=format_instant(move.time),
        score=move.score,
        threshold=move.threshold,
        sequence=item.sequence,
        arrival=time_or_none(item.arrival),
        watermark=time_or_none(seen.watermark),
        moved_by=moved_by,
    )


def evaluation(
    item: Item,
    seen: Observation,
    example: Example,
    matured: Matured,
    *,
    learned: bool,
    served: str | None,
) -> Evaluation:
    """One label of one example, with the scores that were served.

    Args:
        item: with which the label came.
        seen: the observation that decided it.
        example: as served.
        matured: the label.
        learned: whether models learn it.
        served: id of its features.
    """
    return Evaluation(
        id=prediction_id(example.asset, seen.target, example.time, 0),
        asset=example.asset,
        target=seen.target,
        time=format_instant(example.time),
        label=_LABELS[matured.label],
        why=matured.why,
        matured=format_instant(matured.clock),
        known=format_instant(item.known),
        lead=None if matured.lead is None else matured.lead / HOUR,
        champion=example.champion,
        scores=example.scores,
        correction=matured.correction,
        learned=learned,
        sequence=item.sequence,
        arrival=time_or_none(item.arrival),
        watermark=time_or_none(seen.watermark),
        example=served,
    )


def served_example(
    item: Item, seen: Observation, example: Example, asset_class: str, features: tuple[str, ...]
) -> ServedExample:
    """The features of an example that its asset did not write, with the id of its prediction."""
    return ServedExample(
        id=prediction_id(example.asset, seen.target, example.time, 0),
        asset=example.asset,
        asset_class=asset_class,
        time=format_instant(example.time),
        sequence=item.sequence,
        arrival=time_or_none(item.arrival),
        watermark=time_or_none(seen.watermark),
        features=named(features, example.features),
    )


def placed(item: Item, rows: list[Row]) -> list[Item]:
    """Return rows that an item became, each with its place."""
    part = item.part
    return [
        Item(
            item.sequence,
            target_part(part, index) if index else part,
            item.arrival,
            item.known,
            item.position,
            row,
        )
        for index, row in enumerate(rows)
    ]
