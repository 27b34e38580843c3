"""Alerts over their lives: when each opened and cleared, and what came of it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dataflows.instants import HOUR, parse_duration, parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["AlertLife", "Labels", "alert_lives"]


@dataclass(slots=True)
class AlertLife:
    """One alert.

    Attributes:
        opened: event time at which it opened, microseconds.
        cleared: event time at which it cleared; None while it is open.
        why: what cleared it.
        score: the highest.
        moved_by: the features that raised the score when it opened, as in the output.
        outcome: whether a failure came within the horizon of the opening, or while the alert stood;
            ``unknown`` until the labels say so.
        lead: hours from the opening to the failure.
    """

    id: str
    asset: str
    target: str
    opened: int
    cleared: int | None = None
    why: str | None = None
    score: float = 0.0
    moved_by: list[dict[str, Any]] = field(default_factory=list)
    outcome: Literal["failure", "none", "unknown"] = "unknown"
    lead: float | None = None

    @property
    def horizon(self) -> int:
        """Horizon of its target, microseconds."""
        return parse_duration(self.target.rpartition("/")[2])


class Labels:
    """What the labels of a run say: failures, and up to where they are decided.

    A later row of an example replaces an earlier one, since a failure may have been withdrawn.
    """

    def __init__(self) -> None:
        self._leads: dict[tuple[str, str, int], int | None] = {}
        self._decided: dict[tuple[str, str], int] = {}

    def add(self, asset: str, target: str, time: int, matured: int, lead: float | None) -> None:
        """Add a row of the evaluations.

        Args:
            asset: its name.
            target: its name.
            time: of the example, microseconds.
            matured: label clock at the decision, microseconds.
            lead: hours to the failure; None unless the label is positive.
        """
        self._leads[asset, target, time] = None if lead is None else time + round(lead * HOUR)
        key = asset, target
        self._decided[key] = max(self._decided.get(key, matured), matured)

    def failures(self) -> dict[tuple[str, str], list[int]]:
        """Return the times of the failures that stand, ascending, by asset and target."""
        found: dict[tuple[str, str], set[int]] = defaultdict(set)
        for (asset, target, _), failure in self._leads.items():
            if failure is not None:
                found[asset, target].add(failure)
        return {key: sorted(times) for key, times in found.items()}

    def decided(self, asset: str, target: str) -> int:
        """Return the instant up to which the labels of an asset are decided."""
        return self._decided.get((asset, target), 0)


def alert_lives(rows: Iterable[Mapping[str, Any]], labels: Labels) -> list[AlertLife]:
    """Return the alerts of a run, in the order in which they opened.

    Args:
        rows: of the output ``alerts``, in order.
        labels: of the same run.
    """
    lives: dict[str, AlertLife] = {}
    for row in rows:
        life = lives.get(row["id"])
        if life is None:
            opened = parse_instant(row["opened"])
            life = lives[row["id"]] = AlertLife(row["id"], row["asset"], row["target"], opened)
        life.score = max(life.score, row["score"] or 0.0)
        life.moved_by = row.get("moved_by") or life.moved_by
        if row["state"] == "cleared":
            life.cleared, life.why = parse_instant(row["time"]), row["why"]
    failures = labels.failures()
    for life in lives.values():
        end = life.opened + life.horizon
        # An alert that stands when the failure comes led to it, however early it opened, and whatever clears
        # it: failures are reported late.
        reach = math.inf if life.cleared is None else max(end, life.cleared)
        came = [time for time in failures.get((life.asset, life.target), ()) if life.opened < time <= reach]
        if came:
            life.outcome, life.lead = "failure", (min(came) - life.opened) / HOUR
        elif labels.decided(life.asset, life.target) >= end:
            life.outcome = "none"
    return list(lives.values())
