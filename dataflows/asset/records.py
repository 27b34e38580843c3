"""Failure and maintenance records of one asset: what labels are decided from."""

from __future__ import annotations

from bisect import bisect_right, insort
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

from dataflows.events import Failure, Maintenance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.plan import Target

__all__ = ["CENSORED", "NEGATIVE", "POSITIVE", "Kind", "Records", "kind_of"]

POSITIVE, NEGATIVE, CENSORED = 1, 0, -1
Kind = Literal["failure", "maintenance"]
#: Shared by the many assets without a record, so it cannot be written to.
_NONE = cast("dict[str, Any]", MappingProxyType({}))
#: So many records are kept for telemetry that may still come, however old they are.
_MOST = 256
#: Maintenance of the whole asset.
_WHOLE = ""


class Records:
    """The records that stand, by time.

    Args:
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_failures", "_maintenance", "_oldest", "_seen")

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self._failures: Mapping[str, list[int]] = (state and state["failures"]) or _NONE
        self._maintenance: Mapping[str, list[int]] = (state and state["maintenance"]) or _NONE
        #: By identity: time, and what it was of; None once it was withdrawn.
        self._seen: dict[str, tuple[int, str | None]] = _NONE
        if state and state["seen"]:
            self._seen = {key: (time, what) for key, (time, what) in state["seen"].items()}
        self._oldest = min((time for time, _ in self._seen.values()), default=0)

    def __bool__(self) -> bool:
        """Whether any record is known."""
        return bool(self._seen)

    def take(self, kind: Kind, time: int, what: str | None, identity: str | None) -> bool:
        """Take a record; False for one that was seen before.

        Args:
            kind: failure or maintenance.
            time: microseconds.
            what: mode of the failure; component of the maintenance, None for the whole asset.
            identity: its own id, if it has one.
        """
        named = what or _WHOLE
        key = f"{kind} id {identity}" if identity is not None else f"{kind} of {named} {time}"
        if key in self._seen:
            return False
        self._oldest = min(self._oldest, time) if self._seen else time
        self._seen = {} if self._seen is _NONE else self._seen
        self._seen[key] = (time, named)
        insort(self._times(kind, named), time)
        return True

    def withdraw(self, identity: str) -> list[tuple[Kind, int, str | None]]:
        """Take back the records of an id; return what they were: kind, time, mode or component."""
        withdrawn: list[tuple[Kind, int, str | None]] = []
        kinds: tuple[Kind, ...] = ("failure", "maintenance")
        for kind in kinds:
            time, what = self._seen.get(f"{kind} id {identity}", (0, None))
            if what is not None:
                # It stays known, so that the same record sent again is still a duplicate.
                self._seen[f"{kind} id {identity}"] = (time, None)
                self._times(kind, what).remove(time)
                withdrawn.append((kind, time, what or None))
        return withdrawn

    def verdict(self, target: Target, time: int) -> tuple[int, int | None, str]:
        """Label, lead and reason of an example, should its horizon have passed."""
        until = time + target.horizon
        failure = _first_after(self._failures.get(target.mode), time, until)
        if failure is not None:
            return POSITIVE, failure - time, "failure"
        for component in (_WHOLE, target.component):
            if _first_after(self._maintenance.get(component), time, until) is not None:
                return CENSORED, None, "maintenance"
        return NEGATIVE, None, "horizon passed"

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


def _first_after(times: list[int] | None, after: int, until: int) -> int | None:
    """The first of some ascending times in (after, until]."""
    if not times:
        return None
    index = bisect_right(times, after)
    return times[index] if index < len(times) and times[index] <= until else None


def kind_of(record: Failure | Maintenance) -> Kind:
    """Whether a record is one of failure or of maintenance."""
    return "failure" if isinstance(record, Failure) else "maintenance"
