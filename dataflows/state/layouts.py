"""Layouts of a fleet's stored state, and the cost of a changed configuration.

A store remembers every layout of its classes. So a run reads each asset under the layout in which it was
written, and converts it. Additions cost nothing. Removals and changed declarations cost windows, or a
target's examples; that cost has to be accepted.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from dataflows.fleet.fleet import AssetClass
from dataflows.instants import format_duration
from dataflows.state.snapshots import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import Fleet, Target, Window

__all__ = [
    "Change",
    "FleetChangedError",
    "Refit",
    "StateHistory",
    "check_shapes",
    "faults_alike",
    "going_on",
    "layout_of",
    "longest",
    "shapes",
    "windows_alike",
]


class Refit:
    """Move stored values to the present places of their features.

    Args:
        before: names of the features in the store.
        after: names of the features now.

    Attributes:
        names: of the features in the store.
    """

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self.names = tuple(before)
        self._before, self._width = len(before), len(after)
        places = {name: index for index, name in enumerate(after)}
        #: Present place of each stored feature; removed features have none.
        self._places = {index: places[name] for index, name in enumerate(before) if name in places}
        self._old = np.fromiter(self._places.keys(), np.intp)
        self._new = np.fromiter(self._places.values(), np.intp)

    def __call__(self, values: bytes, absent: float = math.nan) -> bytes:
        """Convert a float64 array (features) as bytes; new features hold ``absent``.

        Raises:
            SnapshotError: its length is not that of the stored layout.
        """
        stored = np.frombuffer(values)
        if len(stored) != self._before:
            msg = (
                f"a stored feature vector has {len(stored)} values where its layout has {self._before}: an "
                "earlier release wrote the store under two configurations at once; restore a backup from "
                "before fleet.toml was changed, or start over (--fresh)"
            )
            raise SnapshotError(msg)
        out = np.full(self._width, absent)
        out[self._new] = stored[self._old]
        return out.tobytes()

    def rows(self, stored: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert feature vectors, an array (n, stored features)."""
        out = np.full((len(stored), self._width), math.nan)
        out[:, self._new] = stored[:, self._old]
        return out

    def picks(self, stored: Sequence[int]) -> tuple[int, ...]:
        """Present indices of stored features, without removed ones."""
        return tuple(self._places[index] for index in stored if index in self._places)


class FleetChangedError(RuntimeError):
    """The store belongs to another fleet, or its classes or targets have another layout."""


class StateHistory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configurations that a store has seen, as far as its state depends on them.

    Attributes:
        layouts: all layouts of all classes, see `layout_of`; snapshots name them by number.
        targets: how often the examples of each started from nothing.
        gone: the same for removed targets, and the removed classes.
        migrated: class or target, and the accepted loss; in order.
        agreeing: the targets whose horizons agree with others, so that their state is under another key.
        sharing: the targets that share models with other classes, likewise.
    """

    layouts: tuple[AssetClass, ...] = ()
    targets: dict[str, int] = {}
    gone: dict[str, int] = {}
    migrated: tuple[tuple[str, str], ...] = ()
    agreeing: tuple[str, ...] = ()
    sharing: tuple[str, ...] = ()

    def number(self, asset_class: str) -> int:
        """Number of the latest layout of a class.

        Raises:
            KeyError: the class has no layout.
        """
        found = self.numbers(asset_class)
        if not found:
            raise KeyError(asset_class)
        return found[-1]

    def numbers(self, asset_class: str) -> tuple[int, ...]:
        """Numbers of all layouts of a class, in order."""
        return tuple(number for number, layout in enumerate(self.layouts) if layout.name == asset_class)


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between the configuration of a class or target and the store.

    Attributes:
        name: name of the class or target.
        why: the removed or changed declarations, for a human reader.
        asset_class: class whose windows start empty; None if the examples of a target do.
        removed: the whole class or target is gone.
        span: microseconds until the emptied windows are full; 0 if none is emptied.
    """

    name: str
    why: str
    asset_class: str | None = None
    removed: bool = False
    span: int = 0


def layout_of(asset_class: AssetClass) -> AssetClass:
    """A class without the settings that may change from run to run."""
    return AssetClass(
        name=asset_class.name,
        sensors=asset_class.sensors,
        values=asset_class.values,
        windows=asset_class.windows,
        features=asset_class.features,
        # A smaller one must not let the watermark move back.
        allowed_lateness=asset_class.allowed_lateness,
        example_every=1,
        targets=(),
        faults=asset_class.faults,
        maintenance=asset_class.maintenance,
        attributes=asset_class.attributes,
        categories=asset_class.categories,
        expressions=asset_class.expressions,
        weather=asset_class.weather,
        required=asset_class.required,
        own=asset_class.own,
        relative=asset_class.relative,
        running=asset_class.running,
    )


#: By whether it agrees, or shares models, now: the change of a target.
_MOVED = {
    True: "it agrees with other horizons now, and did not",
    False: "it agreed with other horizons, and does not now",
}
_SHARED = {
    True: "it shares models with other classes now, and did not",
    False: "it shared models with other classes, and does not now",
}


def _moved(past: StateHistory, target: Target) -> str | None:
    """Why the state of a target is under another key than before; None if it is not."""
    if target.name not in past.targets:
        return None
    if target.shares != (target.name in past.sharing):
        return _SHARED[target.shares]
    if target.agrees != (target.name in past.agreeing):
        return _MOVED[target.agrees]
    return None


def going_on(past: StateHistory, fleet: Fleet) -> tuple[StateHistory, list[Change]]:
    """Configurations of a store after a fleet continues from it, and the cost of continuing.

    The caller decides whether to accept the cost.
    """
    layouts = list(past.layouts)
    changes: list[Change] = []
    latest = {layout.name: layout for layout in layouts}
    for name, asset_class in fleet.classes.items():
        layout, before = layout_of(asset_class), latest.pop(name, None)
        if layout != before:
            layouts.append(layout)
        if before is not None and (whys := [*_lost(before, layout)]):
            begins = len(windows_alike(before, layout)) < len({*before.channels} & {*layout.channels})
            changes.append(Change(name, "; ".join(whys), name, span=longest(layout) if begins else 0))
    left = [name for name in latest if name not in past.gone]
    changes += [Change(name, "the class is gone", name, removed=True) for name in left]
    moved = {name: why for name, target in fleet.targets.items() if (why := _moved(past, target)) is not None}
    changes += [Change(name, why) for name, why in moved.items()]
    removed = [name for name in past.targets if name not in fleet.targets]
    changes += [Change(name, "the target is gone", removed=True) for name in removed]
    now = {*fleet.targets, *fleet.classes}
    return (
        StateHistory(
            layouts=tuple(layouts),
            targets={
                name: past.targets.get(name, past.gone.get(name, 0)) + (name in moved)
                for name in fleet.targets
            },
            gone={name: count for name, count in past.gone.items() if name not in now}
            | {name: past.targets[name] + 1 for name in removed}
            | dict.fromkeys(left, 1),
            migrated=past.migrated + tuple((change.name, change.why) for change in changes),
            agreeing=tuple(name for name, target in fleet.targets.items() if target.agrees),
            sharing=tuple(name for name, target in fleet.targets.items() if target.shares),
        ),
        changes,
    )


def longest(layout: AssetClass) -> int:
    """Length of the longest window of a class, in microseconds."""
    return max((window.length for window in layout.windows), default=0)


def windows_alike(before: AssetClass, after: AssetClass) -> list[str]:
    """Sensors and expressions with equal declarations and windows in two classes: their windows stay."""
    mine, theirs = _channels(before), _channels(after)
    return [name for name in mine if mine[name] == theirs.get(name)]


def faults_alike(before: AssetClass, after: AssetClass) -> set[str]:
    """Fault codes with equal declarations in two classes: their windows stay."""
    mine, theirs = _codes(before), _codes(after)
    return {code for code in mine if mine[code] == theirs.get(code)}


#: A channel: its text, its windows, and when the machine runs, which decides what these hold.
_Channel = tuple[str | None, set[tuple[int, int, tuple[str, ...]]], str | None]


def _channels(layout: AssetClass) -> dict[str, _Channel]:
    texts, found = layout.texts, {}
    for index, name in enumerate(layout.channels):
        windows = {
            (window.length, window.hop, window.statistics)
            for window in layout.windows
            if index in window.sensors
        }
        found[name] = texts.get(name), windows, layout.running if windows else None
    return found


def _codes(layout: AssetClass) -> dict[str, set[tuple[int, int, tuple[str, ...]]]]:
    return {
        code: {
            (window.length, window.hop, window.fault_statistics)
            for window in layout.windows
            if index in window.faults
        }
        for index, code in enumerate(layout.faults)
    }


def _lost(before: AssetClass, after: AssetClass) -> Iterator[str]:
    """Parts of a layout that are gone or changed in another; none if the other only adds."""
    gone = [name for name in before.channels if name not in after.channels]
    if gone:
        yield f"no longer there: {', '.join(gone)}"
    alike = {*windows_alike(before, after), *gone}
    texts, now = before.texts, after.texts
    other = [name for name in before.channels if name not in alike]
    reworded = [name for name in other if texts.get(name) != now.get(name)]
    if reworded:
        yield f"another expression: {', '.join(reworded)}"
    if before.running != after.running and other:
        yield f"another `running` ({before.running or 'always'}, now {after.running or 'always'})"
    rewound = [
        name
        for name in other
        if name not in reworded and _channels(before)[name][1] != _channels(after)[name][1]
    ]
    codes = [code for code in before.faults if code not in faults_alike(before, after)]
    if rewound or codes:
        spans = f"{_spans(before.windows)}, now {_spans(after.windows)}"
        same = _spans(before.windows) == _spans(after.windows)
        yield f"other windows for {', '.join([*rewound, *codes])}" + ("" if same else f" (were {spans})")
    features = [name for name in before.features if name not in after.features]
    named = (*gone, *other, *codes)
    rest = [name for name in features if name.split(":")[0] not in named]
    if rest:
        yield f"features that are gone: {', '.join(rest)}"
    now_own = {own.name: own for own in after.own}
    altered = [own.name for own in before.own if own != now_own.get(own.name, own)]
    if altered:
        yield f"another declaration of the features {', '.join(altered)}"
    if before.weather and after.weather and before.weather.max_age != after.weather.max_age:
        ages = (format_duration(found.weather.max_age) for found in (before, after) if found.weather)
        yield f"max_age of the weather is another ({', now '.join(ages)})"


def _spans(windows: tuple[Window, ...]) -> str:
    found = [f"{format_duration(window.length)} by {format_duration(window.hop)}" for window in windows]
    return ", ".join(found) or "none"


def shapes(fleet: Fleet) -> dict[str, str]:
    """Digests of the layouts by name: stores of the first format hold nothing else of them."""
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
    """Refuse a store of the first format whose state would be read wrongly; additions are allowed.

    Raises:
        FleetChangedError: the fleet has another name, or a class or target is gone or laid out otherwise.
    """
    now = shapes(fleet)
    if now["fleet"] != stored["fleet"]:
        raise FleetChangedError(other_fleet(stored["fleet"], fleet.name))
    changed = [name for name, digest in stored.items() if now.get(name) != digest]
    if changed:
        msg = (
            f"{', '.join(changed)}: gone, or sensors, windows, features or horizon are not those of the "
            "recovery store, which a former release wrote. Take the change back and run once, so that this "
            "release can record the layout of the state; then change it. Or start over with --fresh"
        )
        raise FleetChangedError(msg)


def other_fleet(stored: str, name: str) -> str:
    """Message that refuses the store of another fleet."""
    return (
        f"the recovery store is of the fleet {stored!r}, not of {name!r}; name its own store with --recovery"
    )


def _digest(layout: object) -> str:
    return hashlib.blake2b(repr(layout).encode(), digest_size=12).hexdigest()
