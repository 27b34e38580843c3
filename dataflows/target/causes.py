"""Find the cause of a change: one asset, a site, one sensor, labels that stopped, moved data, or the world.

An alarm means that a series changed. The causes are tried in this order, before it counts as drift of the
world:

1. ``data movement``: data arrived in an unusual way in the same blocks (`dataflows.target.movement`);
2. ``labels``: positives have stopped, for example because failures are no longer reported;
3. ``asset``: a feature of one asset shifted, and those of the others by at most a third as much;
4. ``site``: the same for the assets of one site;
5. ``sensor``: all changed features are of one sensor;
6. ``world``: none of these.

Assets differ by chance. So an asset must differ from the others by more than they differ from each other: a
t test of the largest difference, with the spread of the others. A site must differ from the others by more
than assets within sites do. Both tests are at the level `CHANCE`, over all assets or sites and all sensors.
Fewer than six assets give no reliable spread; then the third alone decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from dataflows.outputs import DriftCause
    from dataflows.target.movement import Moved

    Floats = NDArray[np.float64]

__all__ = ["CHANCE", "CHANCE_OF_FURTHER", "Cause", "Place", "cause_of", "place_of", "sensors_of"]

#: Probability of a wrong asset, of a wrong site and of a wrong sensor, each.
CHANCE = 0.005
#: Probability of a wrong further sensor, given one that changed.
CHANCE_OF_FURTHER = 0.05
_LEFT = 1.0 / 3.0
_FEWEST = 6


class Place(NamedTuple):
    """Place of a shift.

    Attributes:
        asset: the asset that shifted; None for several.
        site: the site whose assets shifted; None for several.
        share: share of the shift at this place, from 0 to 1; 1 for all assets.
        chance: probability of such a difference between equal assets; 1 for all assets.
    """

    asset: str | None = None
    site: str | None = None
    share: float = 1.0
    chance: float = 1.0


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


def place_of(assets: Sequence[str], shifts: Floats, sites: Sequence[str | None]) -> Place:
    """Return the place of a shift: the asset or site least likely by chance, or everywhere.

    Args:
        assets: their names.
        shifts: of each, the distance of its mean from its own reference; NaN where it has none.
        sites: of each, None where it is not known.

    >>> names = ["a", "b", "c", "d", "e", "f", "g"]
    >>> place_of(names, np.array([0.1, 9.0, -0.2, 0.3, 0.0, 0.2, -0.1]), [None] * 7).asset
    'b'
    >>> sites = ["north", "north", "north", "south", "south", "south", "south"]
    >>> place_of(names, np.array([3.0, 3.1, 2.9, 0.1, -0.2, 0.0, 0.2]), sites).site
    'north'
    >>> place_of(names, np.array([3.0, 3.1, 2.9, 3.1, 3.2, 2.8, 2.9]), sites)
    Place(asset=None, site=None, share=1.0, chance=1.0)
    """
    given = np.flatnonzero(~np.isnan(shifts))
    if len(given) < 2:  # noqa: PLR2004 - one asset is the whole class
        return Place()
    values = shifts[given]
    groups = np.array([sites[at] or "" for at in given.tolist()])
    largest = int(np.abs(values - np.median(values)).argmax())
    found = [_one_asset(values, largest, assets[given[largest]])]
    found += [_one_site(values, groups, site) for site in sorted({*groups.tolist()} - {""})]
    places = [place for place in found if place is not None]
    return min(places, key=lambda place: (place.chance, -place.share), default=Place())


def _one_asset(values: Floats, largest: int, name: str) -> Place | None:
    """Return the asset with the largest shift; None if the others shift as well."""
    others = np.delete(values, largest)
    there, elsewhere = float(values[largest]), float(others.mean())
    left = _left(there, elsewhere)
    if left is None:
        return None
    freedom = len(values) - 2
    spread = float(others.std(ddof=1)) * (1.0 + 1.0 / len(others)) ** 0.5 if freedom else 0.0
    chance = _chance(there - elsewhere, spread, freedom, len(values))
    return Place(asset=name, share=1.0 - left, chance=chance)


def _one_site(values: Floats, groups: NDArray[np.str_], site: str) -> Place | None:
    """Return a site; None if the others shift as well, or there is no other."""
    inside = groups == site
    if inside.all():
        return None
    there, elsewhere = float(values[inside].mean()), float(values[~inside].mean())
    left = _left(there, elsewhere)
    if left is None:
        return None
    parts = [values[groups == name] for name in sorted({*groups.tolist()})]
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    freedom = len(values) - len(parts)
    spread = (within / max(1, freedom) * (1.0 / inside.sum() + 1.0 / (~inside).sum())) ** 0.5
    chance = _chance(there - elsewhere, float(spread), freedom, len(parts))
    return Place(site=site, share=1.0 - left, chance=chance)


def _left(there: float, elsewhere: float) -> float | None:
    """Return the shift elsewhere as a share of that at a place; None if it is above a third."""
    left = abs(elsewhere / there) if there else 1.0
    return left if left <= _LEFT else None


def _chance(difference: float, spread: float, freedom: int, places: int) -> float:
    """Return the probability of the largest of several differences, by Student's t; 0 with too few assets."""
    if freedom + 2 < _FEWEST or not spread:
        return 0.0
    from scipy.special import stdtr  # noqa: PLC0415 - half a second, which only an alarm needs

    return min(1.0, 2.0 * places * float(stdtr(freedom, -abs(difference) / spread)))


def sensors_of(features: Iterable[str], sensors: Sequence[str]) -> tuple[str, ...]:
    """Return the sensors of some features, in order; for a feature without a sensor, its own name.

    >>> sensors_of(["load:mean:6h", "load", "hours_since:pump"], ["load", "speed"])
    ('load', 'hours_since:pump')
    """
    known = {*sensors}
    found = (feature if (head := feature.split(":")[0]) not in known else head for feature in features)
    return tuple(dict.fromkeys(found))


def cause_of(moved: Sequence[Moved], sensors: tuple[str, ...], place: Place, *, silent: bool) -> Cause:
    """Return the first cause that fits, see the module.

    Args:
        moved: measures of data movement that are unusual in the same blocks.
        sensors: whose features moved.
        place: of the shift.
        silent: whether positives have stopped, and the alarm is of labels.
    """
    name: DriftCause = "world"
    if moved:
        name = "data movement"
    elif silent:
        name = "labels"
    elif place.asset is not None:
        name = "asset"
    elif place.site is not None:
        name = "site"
    elif len(sensors) == 1:
        name = "sensor"
    return Cause(name, place, sensors)
