"""Where a change comes from: one asset, a site, one sensor, labels that stopped, moved data, or the world.

An alarm says that a series moved. Before it is called drift of the world, the other explanations are tried,
in this order:

1. ``data movement``: how the data came is unusual in the same blocks (`dataflows.target.movement`);
2. ``labels``: positives have stopped, as they do where nobody reports failures any more;
3. ``asset``: without one asset the shift is at most a third of what it is with it;
4. ``site``: outside one site it is at most a third of what it is inside;
5. ``sensor``: the features that moved are all of one sensor;
6. ``world``: the rest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.outputs import DriftCause
    from dataflows.target.movement import Moved

__all__ = ["Cause", "cause_of", "place_of", "sensors_of"]

_LEFT = 1.0 / 3.0


class Place(NamedTuple):
    """Where a shift takes place.

    Attributes:
        asset: the one asset that shifted, None for several.
        site: the one site whose assets shifted, None where it is not one site.
        share: of the shift that is there, from 0 to 1; 1 for all assets.
    """

    asset: str | None = None
    site: str | None = None
    share: float = 1.0


class Cause(NamedTuple):
    """The explanation of an alarm.

    Attributes:
        name: see the module.
        place: where it is.
        sensors: whose features moved.
    """

    name: DriftCause
    place: Place
    sensors: tuple[str, ...]


def place_of(shifts: Mapping[str, float], sites: Mapping[str, str]) -> Place:
    """Return the place of a shift.

    Args:
        shifts: by asset, the distance of its mean from its own reference.
        sites: by asset, where it is known.

    >>> place_of({"a": 0.1, "b": 9.0, "c": -0.2}, {}).asset
    'b'
    >>> place_of({"a": 3.0, "b": 3.1, "c": 0.1, "d": 0.0}, {"a": "north", "b": "north", "c": "south"}).site
    'north'
    >>> place_of({"a": 3.0, "b": 3.1, "c": 2.9}, {})
    Place(asset=None, site=None, share=1.0)
    """
    if len(shifts) < 2:  # noqa: PLR2004 - one asset is the whole class
        return Place()
    total = math.fsum(shifts.values())
    sign = math.copysign(1.0, total)
    largest = max(sorted(shifts), key=lambda asset: sign * shifts[asset])
    left = (total - shifts[largest]) / (len(shifts) - 1) / (total / len(shifts)) if total else 1.0
    if abs(left) <= _LEFT:
        return Place(asset=largest, share=1.0 - abs(left))
    for site in sorted({sites[asset] for asset in shifts if asset in sites}):
        inside = [shift for asset, shift in shifts.items() if sites.get(asset) == site]
        outside = [shift for asset, shift in shifts.items() if sites.get(asset) != site]
        if not outside:
            continue
        there, elsewhere = math.fsum(inside) / len(inside), math.fsum(outside) / len(outside)
        if there * sign > 0.0 and abs(elsewhere) <= _LEFT * abs(there):
            return Place(site=site, share=1.0 - abs(elsewhere / there))
    return Place()


def sensors_of(features: Iterable[str], sensors: Sequence[str]) -> tuple[str, ...]:
    """Return the sensors of some features, in order; a feature of no sensor stands for itself.

    >>> sensors_of(["load:mean:6h", "load", "hours_since:pump"], ["load", "speed"])
    ('load', 'hours_since:pump')
    """
    known = {*sensors}
    found = (feature if (head := feature.split(":")[0]) not in known else head for feature in features)
    return tuple(dict.fromkeys(found))


def cause_of(
    moved: Sequence[Moved], sensors: tuple[str, ...], place: Place, *, silent: bool, features: bool
) -> Cause:
    """Return the first explanation that holds, see the module.

    Args:
        moved: measures of data movement that are unusual in the same blocks.
        sensors: whose features moved.
        place: of the shift.
        silent: whether positives have stopped, and the alarm is of labels.
        features: whether a score or a feature shifted, which has a place.
    """
    name: DriftCause = "world"
    if moved:
        name = "data movement"
    elif silent:
        name = "labels"
    elif features and place.asset is not None:
        name = "asset"
    elif features and place.site is not None:
        name = "site"
    elif len(sensors) == 1:
        name = "sensor"
    return Cause(name, place, sensors)
