"""Observations for tests: built from named parts, and read back into them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflows.items import (
    Cleared,
    ClockMoved,
    Compared,
    Forgotten,
    Matured,
    Observation,
    Released,
    ScoreRequest,
    Withdrawn,
    by_order,
    observations_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.asset import Asset
    from dataflows.items import Effect, Item
    from dataflows.pipeline import IsolatedAsset

__all__ = ["Parts", "observation", "parts_of", "processed"]

_LETTERS: dict[type[Effect], str] = {
    Matured: "m",
    ClockMoved: "t",
    Compared: "c",
    Withdrawn: "w",
    Cleared: "e",
    ScoreRequest: "s",
    Released: "r",
    Forgotten: "f",
}
#: The one order of effects, see `Observation`; a label after the score is that of the example just scored.
_ORDER = re.compile("m*t?c*w?e?(s(mt)?)?r?f?")


@dataclass(frozen=True)
class Parts:
    """The effects of an observation, by name; what does not occur is empty or None."""

    asset: str
    target: str
    clock: int | None
    watermark: int | None
    matured: tuple[Matured, ...]
    compared: tuple[Compared, ...]
    cleared: str | None
    cleared_at: int
    time: int | None
    features: bytes | None
    revision: int
    example: bool
    at_once: Matured | None
    released: tuple[int, ...]
    forgotten: bool
    resting: int | None


def parts_of(seen: object) -> Parts:
    """The parts of an observation, whose effects are in the one order."""
    assert isinstance(seen, Observation)
    order = "".join(_LETTERS[type(effect)] for effect in seen.effects)
    assert _ORDER.fullmatch(order), order
    score = seen.score
    cut = len(seen.effects) if score is None else seen.effects.index(score)
    clocks = {moved.clock for moved in seen.of(ClockMoved)}
    assert len(clocks) <= 1
    cleared = seen.of(Cleared)
    return Parts(
        asset=seen.asset,
        target=seen.target,
        clock=next(iter(clocks), None),
        watermark=seen.watermark,
        matured=tuple(effect for effect in seen.effects[:cut] if isinstance(effect, Matured)),
        compared=seen.of(Compared),
        cleared=cleared[0].why if cleared else None,
        cleared_at=cleared[0].time if cleared else 0,
        time=None if score is None else score.time,
        features=None if score is None else score.features,
        revision=0 if score is None else score.revision,
        example=score is not None and score.example,
        at_once=next((effect for effect in seen.effects[cut:] if isinstance(effect, Matured)), None),
        released=tuple(time for released in seen.of(Released) for time in released.times),
        forgotten=bool(seen.of(Forgotten)),
        resting=seen.resting,
    )


def processed(asset: Asset | IsolatedAsset, *items: Item) -> list[Item]:
    """What an asset makes of records of one activation: each observation by itself, in order."""
    made = [each for item in asset.process([*items]) for each in observations_of(item)]
    return sorted(made, key=by_order)


def observation(
    asset: str,
    target: str,
    clock: int | None = None,
    watermark: int | None = None,
    *,
    matured: Iterable[Matured] = (),
    compared: Iterable[Compared] = (),
    cleared: str | None = None,
    cleared_at: int = 0,
    time: int | None = None,
    features: bytes | None = None,
    revision: int = 0,
    example: bool = False,
    at_once: Matured | None = None,
    released: tuple[int, ...] = (),
    forgotten: bool = False,
    resting: int | None = None,
    withdrawn: int | None = None,
) -> Observation:
    """An observation of these parts."""
    moved = [] if clock is None else [ClockMoved(clock)]
    effects: list[Effect] = [*matured, *moved, *compared]
    if withdrawn is not None:
        effects.append(Withdrawn(withdrawn))
    if cleared is not None:
        effects.append(Cleared(cleared, cleared_at))
    if time is not None and features is not None:
        effects.append(ScoreRequest(time, features, revision, example))
    if at_once is not None:
        effects += [at_once, *moved]
    if released:
        effects.append(Released(released))
    if forgotten:
        effects.append(Forgotten())
    return Observation(asset, target, watermark, tuple(effects), resting)
