"""What a fleet's stored state is laid out by: it must not change under a recovery store."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.plan import Fleet

__all__ = ["FleetChangedError", "check_shapes", "shapes"]


class FleetChangedError(RuntimeError):
    """The store was made by another fleet, or by one whose classes or targets were laid out otherwise."""


def shapes(fleet: Fleet) -> dict[str, str]:
    """A digest of what each class sees and makes features of, and of each target's horizon, by name."""
    found = {"fleet": fleet.name}
    for name, table in fleet.classes.items():
        layout = (
            table.sensors,
            table.values,
            table.windows,
            table.features,
            table.faults,
            table.maintenance,
            table.attributes,
            table.categories,
            table.expressions,
            table.weather and (table.weather.values, table.weather.max_age),
        )
        found[f"class {name}"] = _digest(layout)
    for name, target in fleet.targets.items():
        found[f"target {name}"] = _digest((target.asset_class, target.mode, target.horizon))
    return found


def check_shapes(fleet: Fleet, stored: Mapping[str, str]) -> None:
    """Refuse a store whose state would be read wrongly; what is new is no harm.

    Raises:
        FleetChangedError: the fleet has another name, or a class or target is gone or laid out otherwise.
    """
    now = shapes(fleet)
    if now["fleet"] != stored["fleet"]:
        msg = (
            f"the recovery store is of the fleet {stored['fleet']!r}, not of {fleet.name!r}; "
            "name its own store with --recovery"
        )
        raise FleetChangedError(msg)
    changed = [name for name, digest in stored.items() if now.get(name) != digest]
    if changed:
        msg = (
            f"{', '.join(changed)}: gone, or sensors, windows, features or horizon are not those of the "
            "recovery store, whose state would be read wrongly. Take the change back, put it under a new "
            "name, or begin anew with --fresh"
        )
        raise FleetChangedError(msg)


def _digest(layout: object) -> str:
    return hashlib.blake2b(repr(layout).encode(), digest_size=12).hexdigest()
