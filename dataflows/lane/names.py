"""Count names that match nothing, and report each with the nearest name that would match."""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from dataflows.events import AssetEvent, Failure, Fault, Maintenance, Registration, Telemetry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from dataflows.fleet.fleet import Fleet
    from dataflows.lane.registry import Registry

__all__ = ["Names", "sentence"]

#: Largest number of separately counted names, for each class and use; others are counted together.
_MOST = 256
#: Kept characters of a name.
_LONGEST = 256
#: Reported names of each class and use, the most frequent first.
_REPORTED = 20
#: Largest number of names compared letter by letter.
_COMPARED = 2_000


class Names:
    """Count names that match nothing in the fleet, in bounded memory.

    Args:
        fleet: the fleet.
        state: result of `state`, None for a new lane.

    Attributes:
        targets: names of the targets.
    """

    def __init__(self, fleet: Fleet, state: Mapping[str, Any] | None = None) -> None:
        self.targets = sorted(fleet.targets)
        self._modes: dict[str, frozenset[str]] = {}
        self._components: dict[str, frozenset[str]] = {}
        self._sensors = {name: frozenset(found.sensors) for name, found in fleet.classes.items()}
        self._codes = {name: frozenset(found.faults) for name, found in fleet.classes.items()}
        #: Sensor by each name under which it is sent, by class.
        self._sent = {name: found.sent_names() for name, found in fleet.classes.items()}
        for name, found in fleet.classes.items():
            targets = [fleet.targets[target] for target in found.targets if target in fleet.targets]
            self._modes[name] = frozenset(target.mode for target in targets)
            self._components[name] = frozenset(
                [
                    *found.maintenance,
                    *(t.component for t in targets),
                    *(f"sensor:{of}" for of in found.sensors),
                ]
            )
        #: By use and class: count of each name.
        self._unknown: dict[tuple[str, str], Counter[str]] = {}
        #: By use and class: count of names beyond the limit.
        self._others: Counter[tuple[str, str]] = Counter()
        #: Declared sensors and codes that have not come yet, by class.
        self._missing_sensors = {name: set(found) for name, found in self._sensors.items()}
        self._missing_codes = {name: set(found) for name, found in self._codes.items()}
        #: Names of readings that are all declared, of the latest such telemetry of each class.
        self._usual: dict[str, tuple[str, ...]] = {}
        #: Classes with telemetry: sensors and codes of other classes cannot be judged.
        self._with_telemetry: set[str] = set()
        if state is not None:
            self._restore(state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        for use, name, counts in state["unknown"]:
            # What is declared now, and was not, matches.
            known = self._declared(use).get(name, frozenset())
            self._unknown[use, name] = Counter({each: n for each, n in counts.items() if each not in known})
        for use, name, count in state["others"]:
            self._others[use, name] = count
        for name, seen in state["sensors"]:
            self._missing_sensors.get(name, set()).difference_update(seen)
        for name, seen in state["codes"]:
            self._missing_codes.get(name, set()).difference_update(seen)
        self._with_telemetry = set(state["heard"])

    def add(self, event: AssetEvent, asset_class: str, *, sends: bool) -> None:
        """Note an accepted record.

        Args:
            event: the event.
            asset_class: class of its asset.
            sends: whether its asset has ever sent telemetry.
        """
        if isinstance(event, Telemetry):
            # Nearly all telemetry of a class has the names of the telemetry before it.
            if self._missing_sensors[asset_class] or tuple(event.readings) != self._usual.get(asset_class):
                self._telemetry(event, asset_class)
            return
        if isinstance(event, Fault):
            self._missing_codes[asset_class].discard(event.code)
            if event.code not in self._codes[asset_class]:
                self._count("code", asset_class, event.code)
        elif isinstance(event, Failure):
            if event.mode not in self._modes[asset_class]:
                self._count("mode", asset_class, event.mode)
        elif (
            isinstance(event, Maintenance)
            and event.component is not None
            and event.component not in self._components[asset_class]
        ):
            self._count("component", asset_class, event.component)
        if not sends and not isinstance(event, Registration):
            self._count("asset", asset_class, event.asset)

    def _telemetry(self, event: Telemetry, asset_class: str) -> None:
        self._with_telemetry.add(asset_class)
        missing, declared = self._missing_sensors[asset_class], self._sent[asset_class]
        if missing:
            missing.difference_update(
                [declared.get(name, name) for name, value in event.readings.items() if value is not None]
            )
        if event.readings.keys() <= declared.keys():
            self._usual[asset_class] = tuple(event.readings)
        else:
            for name in event.readings.keys() - declared.keys():
                self._count("sensor", asset_class, name)

    def began_to_send(self, asset: str, asset_class: str) -> None:
        """Note the first telemetry of an asset: its earlier records are not lost."""
        self._unknown.get(("asset", asset_class), Counter()).pop(asset, None)

    def unknown_asset(self, asset: str) -> None:
        """Note a record of an asset without a registry row."""
        self._count("unknown_asset", "", asset)

    def _count(self, use: str, asset_class: str, name: str) -> None:
        counts = self._unknown.setdefault((use, asset_class), Counter())
        name = name[:_LONGEST]
        if name in counts or len(counts) < _MOST:
            counts[name] += 1
        else:
            self._others[use, asset_class] += 1

    def state(self) -> dict[str, Any]:
        """Plain data, in an order that does not depend on hashes."""
        return {
            "unknown": [
                (*key, dict(sorted(counts.items()))) for key, counts in sorted(self._unknown.items())
            ],
            "others": [(*key, count) for key, count in sorted(self._others.items())],
            "sensors": [
                (name, sorted(found - self._missing_sensors[name]))
                for name, found in sorted(self._sensors.items())
            ],
            "codes": [
                (name, sorted(found - self._missing_codes[name]))
                for name, found in sorted(self._codes.items())
            ],
            "heard": sorted(self._with_telemetry),
        }

    def heard(self) -> list[str]:
        """Return the classes with telemetry, whose missing sensors and codes are reported."""
        return sorted(self._with_telemetry)

    def report(self, registry: Registry) -> list[dict[str, Any]]:
        """Report the names that matched nothing: one table a name.

        Returns:
            Tables of ``what`` (see `sentence`), ``class``, ``name``, ``count`` and ``nearest``, the most
            similar name that would match, None without one.
        """
        rows = []
        for (use, asset_class), counts in sorted(self._unknown.items()):
            if asset_class and asset_class not in self._sensors:
                continue
            choices = list(self._choices(use, asset_class, registry)) if counts else []
            for name, count in sorted(counts.items(), key=lambda found: (-found[1], found[0]))[:_REPORTED]:
                rows.append(_row(use, asset_class, name, count, nearest(name, choices)))
        for (use, asset_class), count in sorted(self._others.items()):
            rows.append(_row(use, asset_class, None, count, None))
        for asset_class in sorted(self._with_telemetry & self._sensors.keys()):
            for what, missing, use in (
                ("missing_sensor", self._missing_sensors[asset_class], "sensor"),
                ("missing_code", self._missing_codes[asset_class], "code"),
            ):
                came = self._unknown.get((use, asset_class), Counter())
                rows += [
                    _row(what, asset_class, name, 0, nearest(name, sorted(came))) for name in sorted(missing)
                ]
        return rows

    def _choices(self, use: str, asset_class: str, registry: Registry) -> Iterable[str]:
        if use in ("asset", "unknown_asset"):
            return registry.sending() if use == "asset" else registry.names()
        return sorted(self._declared(use)[asset_class])

    def _declared(self, use: str) -> Mapping[str, Collection[str]]:
        """Names that match, by class; nothing for names of assets."""
        named: dict[str, Mapping[str, Collection[str]]] = {
            "mode": self._modes,
            "component": self._components,
            "sensor": self._sent,
            "code": self._codes,
        }
        return named.get(use, {})


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Find the choice most similar to a name, None if none is similar."""
    folded = name.casefold()
    alike: list[str] = []
    for choice in choices:
        if choice != name and choice.casefold() == folded:
            return choice
        if choice != name and abs(len(choice) - len(name)) <= 2 and len(alike) < _COMPARED:  # noqa: PLR2004
            alike.append(choice)
    found = get_close_matches(name, alike, 1)
    return found[0] if found else None


def _row(what: str, asset_class: str, name: str | None, count: int, near: str | None) -> dict[str, Any]:
    return {"what": what, "class": asset_class or None, "name": name, "count": count, "nearest": near}


def sentence(row: Mapping[str, Any]) -> str | None:
    """Describe a row of `Names.report` to a person; None if it belongs only in the summary.

    Undeclared sensors and codes are usual: they are reported only if a declared one is very similar.
    """
    what, name, count, near = row["what"], row["name"], row["count"], row["nearest"]
    if name is None or (what in ("sensor", "code") and near is None):
        return None
    where = "" if row["class"] is None else f" of class {row['class']}"
    texts = {
        "mode": f"mode {name!r}{where} has no target: {count:,} failures label nothing",
        "component": f"component {name!r}{where} belongs to no target or feature: {count:,} records of it",
        "asset": f"asset {name!r}{where} never sent telemetry: {count:,} other records of it",
        "unknown_asset": f"asset {name!r} has no registry row: {count:,} records rejected",
        "sensor": f"sensor {name!r}{where} is not declared: in {count:,} messages",
        "code": f"fault code {name!r}{where} is not declared: {count:,} faults",
        "missing_sensor": f"sensor {name!r}{where} is declared and never came",
        "missing_code": f"fault code {name!r}{where} is declared and never came",
    }
    return texts[what] + (f" (nearest: {near!r})" if near is not None else "")
