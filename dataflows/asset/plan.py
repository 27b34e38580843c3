"""What all assets of a class share: its windows, its targets, and the places of its features."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.asset.fault_windows import Faults
from dataflows.asset.panes import WindowPlan
from dataflows.asset.recompute import RecomputedWindows
from dataflows.asset.score_on_complete import HeldReadings
from dataflows.asset.weather_features import LatestWeather
from dataflows.asset.windows import Windows
from dataflows.state.layouts import windows_alike

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import AssetClass, Target

__all__ = ["ClassPlan", "in_sample"]


def in_sample(asset: str, share: float) -> bool:
    """Whether an asset is among a share of all, by a hash of its name.

    A smaller share's assets are among those of a larger one.

    Args:
        asset: its name.
        share: from 0 (none) to 1 (all).
    """
    digest = hashlib.blake2b(asset.encode(), digest_size=7).digest()
    return int.from_bytes(digest) < share * (1 << 56)


class ClassPlan:
    """What all assets of a class share.

    Args:
        asset_class: the class.
        targets: all targets of the fleet, by name.
        number: of its layout, as the snapshots of its assets name it.
        former: its layouts before that, by number.
    """

    def __init__(
        self,
        asset_class: AssetClass,
        targets: Mapping[str, Target],
        number: int = 0,
        former: Mapping[int, AssetClass] | None = None,
    ) -> None:
        self.asset_class = asset_class
        self.number = number
        self._former = former or {}
        self._plans: dict[int, ClassPlan] = {}
        self.windows = WindowPlan(asset_class)
        self.targets = tuple(targets[name] for name in asset_class.targets)
        self.known = targets
        self.example_every = asset_class.example_every
        self.resets = frozenset(asset_class.reset_windows_on)
        #: Share of the assets whose examples are computed again from complete data.
        self.compared = asset_class.compared
        #: How far back a feature may look, in microseconds.
        self.reach = max((window.length + window.hop for window in asset_class.windows), default=0)
        self._windows_kind = Windows if asset_class.required is None else HeldReadings
        self._no_faults = None if asset_class.faults else Faults(asset_class)
        self._place_features(asset_class)

    def _place_features(self, asset_class: AssetClass) -> None:
        """Where the features of readings, faults, background and weather stand in the vector."""
        readings = list(range(self.windows.values))
        faults: list[int] = []
        at = self.windows.values
        for window in asset_class.windows:
            of_readings = len(window.sensors) * len(window.statistics)
            of_faults = len(window.faults) * len(window.fault_statistics)
            readings += range(at, at + of_readings)
            faults += range(at + of_readings, at + of_readings + of_faults)
            at += of_readings + of_faults
        self.width = len(asset_class.features)
        self.only_readings = self.width == len(readings)
        self.of_readings = np.array(readings, dtype=np.intp)
        self.of_faults = np.array(faults, dtype=np.intp)
        of_weather = 0 if asset_class.weather is None else len(asset_class.weather.values) + 2
        self.background = slice(at, self.width - of_weather)
        self.of_weather = slice(self.width - of_weather, self.width)

    def new_windows(self, state: dict[str, Any] | None = None) -> Windows:
        """The windows of one asset."""
        return self._windows_kind(self.windows, state)

    def latest_weather(self, state: dict[str, Any] | None) -> LatestWeather | None:
        """The weather of one asset's latest event, None where the class sees none."""
        weather = self.asset_class.weather
        return None if weather is None else LatestWeather(weather, state)

    def complete_windows(
        self, asset: str, newest: int | None, state: dict[str, Any] | None = None
    ) -> RecomputedWindows | None:
        """What compares the features as served with those of complete data; nothing in most assets.

        Args:
            asset: its name.
            newest: event time up to which events were accepted.
            state: what it returned when the snapshot was taken, None where there is nothing to go on from.
        """
        if not self.compared or not in_sample(asset, self.compared):
            return None
        return RecomputedWindows(self, newest, state)

    def faults(self, state: dict[str, Any] | None = None) -> Faults:
        """The faults of one asset; all assets share those of a class that counts none."""
        return Faults(self.asset_class, state) if self._no_faults is None else self._no_faults

    def as_written(self, number: int | None) -> ClassPlan:
        """The class as it was when a snapshot was written; None in those of releases that named no layout."""
        if number is None:
            number = min(self._former, default=self.number)
        if number == self.number:
            return self
        if number not in self._plans:
            self._plans[number] = ClassPlan(self._former[number], {}, number)
        return self._plans[number]

    def carried(self, other: ClassPlan) -> list[tuple[int, int]]:
        """(old, new) index of the channels that this class and another declare alike, windows and all."""
        return [
            (self.windows.sensors[name], other.windows.sensors[name])
            for name in windows_alike(self.asset_class, other.asset_class)
        ]
