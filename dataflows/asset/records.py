"""Failure and maintenance records of one asset: what labels are decided from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from dataflows.events import Failure, Maintenance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.plan import Target

__all__ = ["CENSORED", "NEGATIVE", "POSITIVE", "Kind", "Records", "Replaced", "from_version_4", "kind_of"]

POSITIVE, NEGATIVE, CENSORED = 1, 0, -1
Kind = Literal["failure", "maintenance"]
#: Shared by the many assets without a record, so it cannot be written to.
_NONE = cast("dict[str, Any]", MappingProxyType({}))
#: So many records are kept for telemetry that may still come, however old they are.
_MOST = 256
#: Maintenance of the whole asset.
_WHOLE = ""
#: No name contains it.
_SEPARATOR = "\x1f"


class Replaced(NamedTuple):
    """A record that another record of the same identity took the place of."""

    time: int


class Records:
    """The records that stand, by time.

    Args:
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_failures", "_maintenance", "_oldest", "_seen")

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self._failures: Mapping[str, list[int]] = (state and state["failures"]) or _NONE
        self._maintenance: Mapping[str, list[int]] = (state and state["maintenance"]) or _NONE
        #: By identity: time, and what it was of.
        self._seen: dict[str, tuple[int, str]] = _NONE
        if state and state["seen"]:
            self._seen = {key: (time, what) for key, (time, what) in state["seen"].items()}
        self._oldest = min((time for time, _ in self._seen.values()), default=0)

    def __bool__(self) -> bool:
        """Whether any record is known."""
        return bool(self._seen)

    def take(
        self, kind: Kind, time: int, what: str | None, identity: str | None, expired: int | None = None
    ) -> Replaced | bool:
        """Add a record, unless it was seen before.

        One order may name several modes or components, so a record is identified by its id and what it is of.

        Args:
            kind: failure or maintenance.
            time: microseconds.
            what: mode of the failure; component of the maintenance, None for the whole asset.
            identity: its own id, if it has one.
            expired: ids of records before this instant are free again; None: of none.

        Returns:
            True for a new record, False for a copy; of a correction, the record that it replaced.
        """
        named = what or _WHOLE
        key = _key(kind, time, named, identity)
        found = self._seen.get(key)
        if found is not None and found[0] == time:
            return False
        replaced = None
        if found is not None and (expired is None or found[0] >= expired):
            replaced = Replaced(found[0])
            self._times(kind, named).remove(found[0])
        elif found is not None:
            self._free(kind, found[0], named)
        self._oldest = min(self._oldest, time) if self._seen else time
        self._seen = {} if self._seen is _NONE else self._seen
        self._seen[key] = (time, named)
        insort(self._times(kind, named), time)
        return True if replaced is None else replaced

    def _free(self, kind: Kind, time: int, named: str) -> None:
        """Let a record whose id another record has now stand without an identity."""
        key = _key(kind, time, named, None) + _SEPARATOR
        if key in self._seen:
            self._times(kind, named).remove(time)
        self._seen[key] = (time, named)

    def withdraw(self, identity: str) -> list[tuple[Kind, int, str | None]]:
        """Remove the records of an id, which is free then; return their kind, time, mode or component."""
        withdrawn: list[tuple[Kind, int, str | None]] = []
        kinds: tuple[Kind, ...] = ("failure", "maintenance")
        for kind in kinds:
            begin = _SEPARATOR.join((kind, identity, ""))
            for key in sorted(key for key in self._seen if key.startswith(begin)):
                time, what = self._seen.pop(key)
                self._times(kind, what).remove(time)
                withdrawn.append((kind, time, what or None))
        return withdrawn

    def verdict(self, target: Target, time: int) -> tuple[int, int | None, str]:
        """Label, lead and reason of an example, should its horizon have passed."""
        until = time + target.horizon
        failures = self._failures.get(target.mode)
        failure = _first_after(failures, time, until, target.downtime)
        if failure is not None:
            return POSITIVE, failure - time, "failure"
        if target.downtime and self._is_down(time, target.downtime):
            return CENSORED, None, "down"
        for component in (_WHOLE, target.component):
            if _first_after(self._maintenance.get(component), time, until) is not None:
                return CENSORED, None, "maintenance"
        return NEGATIVE, None, "horizon passed"

    def _is_down(self, time: int, downtime: int) -> bool:
        """Whether any failure lies in [time - downtime, time]."""
        return any(
            bisect_right(times, time) > bisect_left(times, time - downtime)
            for times in self._failures.values()
        )

    def forget(self, before: int) -> None:
        """Let go of records before an instant."""
        if not self._seen or self._oldest >= before:
            return
        self._drop(before)

    def forget_surplus(self, before: int) -> None:
        """Let go of records before an instant, but keep the latest few hundred of them.

        Args:
            before: microseconds; records before it are not taken any more.
        """
        if len(self._seen) <= 2 * _MOST or self._oldest >= before:
            return
        times = sorted(time for time, _ in self._seen.values())
        self._drop(min(before, times[-_MOST]))

    def _drop(self, before: int) -> None:
        for times in (*self._failures.values(), *self._maintenance.values()):
            while times and times[0] < before:
                del times[0]
        self._seen = {key: found for key, found in self._seen.items() if found[0] >= before}
        self._oldest = min((time for time, _ in self._seen.values()), default=before)

    def _times(self, kind: Kind, named: str) -> list[int]:
        """The times of the records of one mode or component, to be changed."""
        table = self._failures if kind == "failure" else self._maintenance
        if named not in table:
            table = {**table, named: []}
            if kind == "failure":
                self._failures = table
            else:
                self._maintenance = table
        return table[named]

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "failures": dict(self._failures),
            "maintenance": dict(self._maintenance),
            "seen": dict(self._seen),
        }


def _first_after(times: list[int] | None, after: int, until: int, downtime: int = 0) -> int | None:
    """The first of some ascending times in (after, until].

    A time at most ``downtime`` after the one before it is passed over: it is the same failure.
    """
    if not times:
        return None
    index = bisect_right(times, after)
    if downtime:
        while 0 < index < len(times) and times[index] - times[index - 1] <= downtime:
            index += 1
    return times[index] if index < len(times) and times[index] <= until else None


def _key(kind: Kind, time: int, named: str, identity: str | None) -> str:
    """The identity of a record. An id is not empty, so records with and without one are told apart."""
    parts = (kind, "", named, str(time)) if identity is None else (kind, identity, named)
    return _SEPARATOR.join(parts)


def from_version_4(state: dict[str, Any]) -> dict[str, Any]:
    """Upgrade the state of older assets, where an id stood for one record, and a withdrawn one kept it."""
    seen: dict[str, tuple[int, str]] = {}
    for old, (time, what) in state["seen"].items():
        if what is None:
            continue
        kind, _, rest = old.partition(" ")
        identity = rest.removeprefix("id ") if rest.startswith("id ") else None
        seen[_key("failure" if kind == "failure" else "maintenance", time, what, identity)] = (time, what)
    return {**state, "seen": seen}


def kind_of(record: Failure | Maintenance) -> Kind:
    """Whether a record is one of failure or of maintenance."""
    return "failure" if isinstance(record, Failure) else "maintenance"
