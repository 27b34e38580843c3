"""Kinds of features: what each remembers of an asset, and what it writes into the feature vector.

A kind is a `FeatureBlock`. The asset gives a block the accepted events that it uses, in the order in which
they came, and asks it for its features at the time that is scored. The features of readings and expressions
come from `dataflows.asset.windows`, which also decides what is accepted; all others are blocks:
faults, maintenance, attributes and weather in `dataflows.asset`, listed in `dataflows.asset.plan.BLOCKS`, and
kinds of your own, which a ``fleet.toml`` names: docs/features.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dataflows.fleet.fleet import AssetClass
    from dataflows.items import ResolvedEvent

__all__ = ["WEATHER_MORE", "AssetTimes", "FeatureBlock", "category_name", "maintenance_names", "weather_name"]

#: Features of the weather besides its values: its age in hours, and whether it is a forecast.
WEATHER_MORE = ("age", "forecast")


def maintenance_names(component: str) -> tuple[str, str]:
    """Names of the features of a component: hours since the last maintenance, and number of records."""
    return f"{component}:since", f"{component}:times"


def category_name(attribute: str, value: str) -> str:
    """Name of the feature that is 1 where an attribute has this value."""
    return f"{attribute}={value}"


def weather_name(value: str) -> str:
    """Name of the feature of a value of the weather, or of one of `WEATHER_MORE`."""
    return f"weather:{value}"


class AssetTimes(Protocol):
    """Times of an asset that a block may need; all in microseconds.

    Attributes:
        largest: the time that is scored, None before the first.
        held: the time that waits for sensors, None where none does.
    """

    largest: int | None
    held: int | None

    @property
    def watermark(self) -> int | None:
        """The largest accepted event time minus the allowed lateness, None before the first."""

    def covers(self, time: int) -> bool:
        """Whether an event at this time lies in a window at the time that is scored."""


class FeatureBlock(ABC):
    """One kind of feature of one asset.

    A block is built with its class and what `state` returned, None for a new asset. A kind of your own also
    gets the parameters of the ``fleet.toml``, as keyword arguments. A block reads no clock and draws no
    random number: the same calls give the same features, also when it is stored and built again in between.

    Attributes:
        section: key of its state in the snapshot of the asset.
        uses: types of the events that `add` gets; what is not named here is never given to it.
        recomputed: its features at an earlier time can be written later, from what is known then. Those of
            other kinds stay as they were served where features are computed again from complete data.
    """

    __slots__ = ()

    section: ClassVar[str]
    uses: ClassVar[tuple[type, ...]] = ()
    recomputed: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, asset_class: AssetClass, state: Mapping[str, Any] | None = None) -> None: ...

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names of its features, in the order of `write`; they depend on class and parameters alone."""

    @classmethod
    def is_needed(cls, asset_class: AssetClass) -> bool:  # noqa: ARG003 - what each kind needs
        """Whether the assets of a class have this block: by default in every class.

        Where an asset changes its class, only a block that both classes need goes on.
        """
        return True

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether it remembers no more than that of a new asset."""

    def add(self, accepted: ResolvedEvent, times: AssetTimes) -> bool:  # noqa: ARG002 - what each block needs
        """Add an accepted event of one of the types in `uses`.

        Args:
            accepted: the event, with the weather that telemetry was joined with.
            times: of the asset, this event included.

        Returns:
            Whether it changes a feature at the time that is scored: then the prediction is published again.
            For telemetry the windows decide that.
        """
        return False

    def withdraw(self, kind: str, time: int, what: str | None) -> None:  # noqa: B027 - not every kind has to
        """Remove a record that was withdrawn, or that another of the same id replaces.

        Args:
            kind: ``failure`` or ``maintenance``.
            time: of the record, microseconds.
            what: mode of the failure; component of the maintenance, None for the whole asset.
        """

    def advance(self, time: int) -> None:  # noqa: B027 - as `withdraw`
        """Make an event time the one that is scored; its own event is added after this."""

    def reset(self, time: int) -> None:  # noqa: B027 - as `withdraw`
        """Drop what windows hold from up to an instant (``reset_windows_on``)."""

    @abstractmethod
    def write(self, time: int, out: NDArray[np.float64]) -> None:
        """Write the features of an event time.

        Args:
            time: microseconds.
            out: (names) to be written, NaN where a value is missing.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain data: numbers, text, bytes, lists and tables."""

    def carried(self, before: AssetClass, after: AssetClass) -> dict[str, Any]:  # noqa: ARG002 - as `add`
        """State with which it goes on in another class, or another layout of its class.

        Args:
            before: the class of this block.
            after: the class in which it goes on.
        """
        return self.state()
