"""Attributes of the registry as features: numbers, and categories of 0 or 1."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from dataflows.events import MAX_ATTRIBUTES, Registration
from dataflows.features import FeatureBlock, category_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dataflows.features import AssetTimes
    from dataflows.fleet.fleet import AssetClass
    from dataflows.items import ResolvedEvent

__all__ = ["AttributeFeatures"]

#: Shared by the many assets without attributes, so it cannot be written to.
_NONE: Mapping[str, Any] = MappingProxyType({})


class AttributeFeatures(FeatureBlock):
    """Attributes of one asset.

    Args:
        asset_class: names the attributes and the categories.
        state: what `state` returned, None for a new asset.

    Attributes:
        known: the attributes by name; never changed, only replaced.
    """

    __slots__ = ("_class", "known")

    section = "background"
    uses: ClassVar[tuple[type, ...]] = (Registration,)
    recomputed = True

    def __init__(self, asset_class: AssetClass, state: Mapping[str, Any] | None = None) -> None:
        self._class = asset_class
        self.known: Mapping[str, Any] = (state and state["attributes"]) or _NONE

    @property
    @override
    def names(self) -> Sequence[str]:
        asset_class = self._class
        categories = [
            category_name(name, value) for name, values in asset_class.categories for value in values
        ]
        return [*asset_class.attributes, *categories]

    @property
    @override
    def is_empty(self) -> bool:
        return not self.known

    @override
    def add(self, accepted: ResolvedEvent, times: AssetTimes) -> bool:
        """Replace the attributes that a registry row names; keep the others."""
        event = accepted.event
        if isinstance(event, Registration):
            merged = {**self.known, **event.attributes}
            surplus = max(len(merged) - MAX_ATTRIBUTES, 0)
            for name in list(merged)[:surplus]:
                del merged[name]
            self.known = merged or _NONE
        return False

    @override
    def write(self, time: int, out: NDArray[np.float64]) -> None:
        """Write attributes, then categories, as they are known now."""
        at = 0
        for name in self._class.attributes:
            out[at] = _number(self.known.get(name))
            at += 1
        for name, values in self._class.categories:
            value = _text(self.known.get(name))
            for known in values:
                out[at] = math.nan if value is None else float(value == known)
                at += 1

    @override
    def state(self) -> dict[str, Any]:
        return {"attributes": dict(self.known)}


def _text(value: object) -> str | None:
    """A category as text, where a registry may give it as a number or a boolean: 2 and 2.0 are "2"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: object) -> float:
    """An attribute as a number; anything else is missing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)
