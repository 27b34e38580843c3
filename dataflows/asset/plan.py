"""Plan of a class: what all its assets share."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataflows.asset.attributes import AttributeFeatures
from dataflows.asset.fault_windows import FaultFeatures
from dataflows.asset.maintenance import MaintenanceFeatures
from dataflows.asset.panes import WindowPlan
from dataflows.asset.recompute import RecomputedWindows
from dataflows.asset.score_on_complete import HeldReadings
from dataflows.asset.weather_features import WeatherFeatures
from dataflows.asset.windows import Windows
from dataflows.events import Telemetry
from dataflows.features import FeatureBlock
from dataflows.fleet.models import locate_block
from dataflows.state.layouts import windows_alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import AssetClass, OwnFeatures, Target

__all__ = ["BLOCKS", "ClassPlan", "PlacedBlock", "in_sample"]

#: Kinds of features other than readings and expressions, in the order of the feature vector; those of faults
#: are between the windows of readings.
BLOCKS: tuple[type[FeatureBlock], ...] = (
    FaultFeatures,
    MaintenanceFeatures,
    AttributeFeatures,
    WeatherFeatures,
)


class PlacedBlock(NamedTuple):
    """A kind of feature that a class has, and the places of its features in the vector."""

    kind: type[FeatureBlock]
    places: slice | NDArray[np.intp]
    #: Key of its state in the snapshot of an asset.
    section: str
    parameters: Mapping[str, Any]
    #: Whether it has features in this class.
    writes: bool = True

    def new(self, asset_class: AssetClass, state: Mapping[str, Any] | None) -> FeatureBlock:
        """Build the block of one asset."""
        return self.kind(asset_class, state, **self.parameters)

    def write(self, block: FeatureBlock, time: int, out: NDArray[np.float64]) -> None:
        """Write the features of a block at an event time into a feature vector."""
        if isinstance(self.places, slice):
            block.write(time, out[self.places])
        else:
            values = np.empty(len(self.places))
            block.write(time, values)
            out[self.places] = values


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
    """Windows, targets and places of features that all assets of a class share.

    Args:
        asset_class: the class.
        targets: all targets of the fleet, by name.
        number: of its layout, as the snapshots of its assets name it.
        former: its layouts before that, by number.
        write_examples: whether the features of examples are written to the outputs.
        goes_on: kinds of features of your own that have blocks; None for all of the class.
    """

    def __init__(
        self,
        asset_class: AssetClass,
        targets: Mapping[str, Target],
        number: int = 0,
        former: Mapping[int, AssetClass] | None = None,
        *,
        write_examples: bool = False,
        goes_on: Sequence[OwnFeatures] | None = None,
    ) -> None:
        self.asset_class = asset_class
        self.number = number
        self._former = former or {}
        self._plans: dict[int, ClassPlan] = {}
        self.windows = WindowPlan(asset_class)
        self.targets = tuple(targets[name] for name in asset_class.targets)
        self.target_names = tuple(asset_class.targets)
        self.known = targets
        #: Whether a target has to know where its assets are, and which of their sensors are replaced.
        self.watches_drift = any(target.drift is not None for target in self.targets)
        self.example_every = asset_class.example_every
        # Examples of a class without targets have no use.
        self.write_examples = write_examples and bool(self.targets)
        self.resets = frozenset(asset_class.reset_windows_on)
        #: Share of the assets whose examples are computed again from complete data.
        self.compared = asset_class.compared
        #: How far back a feature may look, in microseconds.
        self.reach = max((window.length + window.hop for window in asset_class.windows), default=0)
        #: Whether a time may wait until all of its sensors have come.
        self.holds = asset_class.required is not None
        self._windows_kind = HeldReadings if self.holds else Windows
        self._place_features(asset_class, asset_class.own if goes_on is None else goes_on)

    def _place_features(self, asset_class: AssetClass, goes_on: Sequence[OwnFeatures]) -> None:
        """Find the places of the features of readings and of each block in the vector."""
        readings, faults = self._places_of_windows(asset_class)
        at = len(readings) + len(faults)
        self.width = len(asset_class.features)
        self.only_readings = self.width == len(readings)
        self.of_readings = np.array(readings, dtype=np.intp)
        blocks: list[PlacedBlock] = []
        for kind in BLOCKS:
            if not kind.is_needed(asset_class):
                continue
            names = kind(asset_class).names
            if kind is FaultFeatures:
                places: slice | NDArray[np.intp] = np.array(faults, dtype=np.intp)
            else:
                places = slice(at, at := at + len(names))
            blocks.append(PlacedBlock(kind, places, kind.section, {}, bool(names)))
        for own in asset_class.own:
            places = slice(at, at := at + len(own.names))
            if own in goes_on:
                section = f"own {own.name}"
                blocks.append(PlacedBlock(locate_block(own.block), places, section, own.parameters))
        if at != self.width:
            msg = f"class {asset_class.name!r}: its declarations make {at} features, it names {self.width}"
            raise ValueError(msg)
        self._use_blocks(tuple(blocks))

    def _places_of_windows(self, asset_class: AssetClass) -> tuple[list[int], list[int]]:
        """Find the places of the features of readings, values and windows, and those of fault windows."""
        readings = list(range(self.windows.values))
        faults: list[int] = []
        at = self.windows.values
        for window in asset_class.windows:
            of_readings = len(window.sensors) * len(window.statistics)
            of_faults = len(window.faults) * len(window.fault_statistics)
            readings += range(at, at + of_readings)
            faults += range(at + of_readings, at + of_readings + of_faults)
            at += of_readings + of_faults
        return readings, faults

    def _use_blocks(self, blocks: tuple[PlacedBlock, ...]) -> None:
        """Note which blocks each kind of event concerns."""
        #: Kinds of blocks of each asset, in this order.
        self.blocks = blocks
        #: Those among them that have features in this class, with their index.
        self.written = tuple((index, placed) for index, placed in enumerate(blocks) if placed.writes)
        #: Indices of those that have an `advance`, and whether any uses telemetry.
        self.advanced = tuple(
            index for index, placed in enumerate(blocks) if placed.kind.advance is not FeatureBlock.advance
        )
        self.sees_telemetry = any(Telemetry in placed.kind.uses for placed in blocks)
        #: Whether telemetry concerns any block.
        self.follows = bool(self.advanced or self.sees_telemetry or self.written)
        #: Whether nearly all telemetry only moves the windows and the label clock, and is scored.
        self.scores_only = bool(self.targets) and not (self.follows or self.watches_drift)
        used = {event for placed in blocks for event in placed.kind.uses}
        #: By type of event: indices of the blocks that use it.
        self.users = {
            event: tuple(index for index, placed in enumerate(blocks) if event in placed.kind.uses)
            for event in used
        }

    def with_readings(self, readings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return feature vectors that hold the features of the readings (times, features)."""
        out = np.empty((len(readings), self.width))
        out[:, self.of_readings] = readings
        return out

    def new_windows(self, state: dict[str, Any] | None = None) -> Windows:
        """The windows of one asset."""
        return self._windows_kind(self.windows, state)

    def new_blocks(self, states: Mapping[str, Any]) -> tuple[FeatureBlock, ...]:
        """Blocks of one asset.

        Args:
            states: result of `block_states`; of a section that is missing the blocks are new.
        """
        return tuple(placed.new(self.asset_class, states.get(placed.section)) for placed in self.blocks)

    def block_states(
        self, blocks: Sequence[FeatureBlock], other: ClassPlan | None = None
    ) -> dict[str, dict[str, Any]]:
        """Plain data of the blocks of one asset, by section.

        Args:
            blocks: of this class.
            other: the class that takes them over; None if it is this one.
        """
        states: dict[str, dict[str, Any]] = {}
        gone = set() if other is None else self._changed(other)
        for placed, block in zip(self.blocks, blocks, strict=True):
            if placed.section not in gone:
                state = block.state() if other is None else block.carried(self.asset_class, other.asset_class)
                states.setdefault(placed.section, {}).update(state)
        return states

    def _changed(self, other: ClassPlan) -> set[str]:
        """Sections of kinds of your own that another class declares otherwise, or not at all."""
        return {f"own {own.name}" for own in self.asset_class.own if own not in other.asset_class.own}

    def complete_windows(
        self, asset: str, newest: int | None, state: dict[str, Any] | None = None
    ) -> RecomputedWindows | None:
        """Build the windows of complete data, for assets whose features are compared; else None.

        Args:
            asset: its name.
            newest: event time up to which events were accepted.
            state: result of `RecomputedWindows.state`, None for new ones.
        """
        if not self.compared or not in_sample(asset, self.compared):
            return None
        return RecomputedWindows(self, newest, state)

    def as_written(self, number: int | None) -> ClassPlan:
        """Plan of the layout in which a snapshot was written; None for snapshots that name no layout."""
        if number is None:
            number = min(self._former, default=self.number)
        if number == self.number:
            return self
        if number not in self._plans:
            self._plans[number] = ClassPlan(self._former[number], {}, number, goes_on=self.asset_class.own)
        return self._plans[number]

    def carried(self, other: ClassPlan) -> list[tuple[int, int]]:
        """(old, new) index of the channels that this class and another declare alike, windows and all."""
        return [
            (self.windows.sensors[name], other.windows.sensors[name])
            for name in windows_alike(self.asset_class, other.asset_class)
        ]
