"""What a committed row means to those who are alerted: an alert begins, changes, ends, or something happened.

=============  ===============================  =======================================================
about          alertname                        active
=============  ===============================  =======================================================
``failures``   ``HighwaterFailurePredicted``    while a row of the alerts is open
``drift``      ``HighwaterDriftAlarm``          for the ``hold`` of the receiver
``promotions`` ``HighwaterChampionReplaced``    for the ``hold`` of the receiver
``proposals``  ``HighwaterPromotionProposed``   until it is decided, or its evidence has gone
=============  ===============================  =======================================================

The labels of an alert are its identity. Among them is ``id``, a hash that the same rows give in every run.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import orjson

from dataflows.connectors.lines import Lines, expand
from dataflows.events import Registration, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dataflows.fleet.fleet import Fleet

__all__ = ["OUTPUTS", "Change", "Notice", "Notices", "sites_of"]

#: Outputs whose rows become alerts.
OUTPUTS = ("alerts", "changes")
#: Why the first champion of a target serves; that is no change.
_CONFIGURED = "configured"
_SEVERITIES = {"page": "critical", "warn": "warning", "note": "info"}
_RUNBOOKS = "docs/runbooks.md"
#: Characters of one value of a label or annotation.
_LONGEST = 1_000

State: TypeAlias = Literal["firing", "resolved", "event"]


class Notice(msgspec.Struct, frozen=True):
    """An alert, as a receiver sees it.

    Attributes:
        id: the same in every run on the same rows.
        labels: its identity, in Alertmanager's sense.
        annotations: for people.
        starts: RFC 3339; when it began, by its row.
    """

    id: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts: str


class Change(msgspec.Struct, frozen=True):
    """What a row does to an alert.

    Attributes:
        slot: what can have one alert at a time: an alert of the fleet, or the proposals of a target.
        state: the alert is there (``firing``) or over (``resolved``), or something happened (``event``).
        time: RFC 3339; of this change, by its row.
        notice: the alert; None of one that is over.
        why: it is over.
    """

    slot: str
    state: State
    time: str
    notice: Notice | None = None
    why: str = ""


class Notices:
    """Makes changes of alerts of committed rows.

    Args:
        fleet: whose rows they are.
        about: subjects: ``failures``, ``drift``, ``promotions``, ``proposals``.
        labels: of every alert, besides its own.
        sites: site of an asset, by its name.
    """

    def __init__(
        self, fleet: Fleet, about: Iterable[str], labels: Mapping[str, str], sites: Mapping[str, str]
    ) -> None:
        self._fleet = fleet
        self._about = frozenset(about)
        self._labels = dict(labels)
        self._sites = sites

    def of(self, output: str, data: bytes) -> list[Change]:
        """Return what a row changes.

        Args:
            output: of the row, one of `OUTPUTS`.
            data: the row.
        """
        row = orjson.loads(data)
        if output == "alerts":
            return [self._failure(row)] if "failures" in self._about else []
        change = row.get("change")
        if change == "drift":
            return [self._drift(row)] if "drift" in self._about else []
        if change == "champion":
            return list(self._champion(row))
        if change in {"verdict", "command"} and "proposals" in self._about:
            return list(self._proposal(row))
        return []

    def _failure(self, row: Mapping[str, Any]) -> Change:
        if row["state"] == "cleared":
            return Change(row["id"], "resolved", row["time"], why=row["why"])
        asset, target = row["asset"], row["target"]
        _, mode, horizon = target.split("/")
        labels = {"asset": asset}
        if site := self._sites.get(asset):
            labels["site"] = site
        moved = "; ".join(
            f"{each['feature']} {each['value']:g}, usually {each['usual']:g}"
            for each in row.get("moved_by", ())
        )
        summary = f"{asset} is likely to fail ({mode}) within {horizon}: score {row['score']:.2f}"
        notes = {"summary": summary, "score": f"{row['score']:.6g}", "description": moved}
        notice = self._notice("HighwaterFailurePredicted", "warning", row, row["id"], labels, notes)
        return Change(row["id"], "firing", row["time"], msgspec.structs.replace(notice, starts=row["opened"]))

    def _drift(self, row: Mapping[str, Any]) -> Change:
        found = _hash("drift", row["target"], row["series"], row["side"], row["sequence"])
        place = row["place"]
        labels = {"series": row["series"], "side": row["side"], "cause": row["cause"]}
        labels |= {name: place[name] for name in ("asset", "site") if place[name] is not None}
        moved = f"{row['value']:.4g}, {row['deviation']:.3g} sd from {row['reference']:.4g}"
        notes = {"summary": f"{row['series']} of {row['target']} has moved {row['side']}: {moved}"}
        told = {"Cause": row["cause"], "Sensors": ", ".join(row["sensors"]), "Done": row["answer"]}
        told["Moving too"] = ", ".join(row["beside"])
        notes["description"] = "; ".join(f"{what}: {text}" for what, text in told.items() if text)
        severity = _SEVERITIES.get(row["rank"], "info")
        notice = self._notice("HighwaterDriftAlarm", severity, row, found, labels, notes)
        return Change(found, "event", row["known"], notice)

    def _champion(self, row: Mapping[str, Any]) -> Iterator[Change]:
        target = row["target"]
        if "proposals" in self._about:
            yield Change(f"proposal {target}", "resolved", row["known"], why=f"{row['model']} is champion")
        if "promotions" in self._about and row["why"] != _CONFIGURED:
            found = _hash("champion", target, row["model"], row["version"], row["sequence"])
            notes = {
                "summary": f"{row['model']} is champion of {target}",
                "description": row["why"],
            }
            labels = {"model": row["model"]}
            notice = self._notice("HighwaterChampionReplaced", "info", row, found, labels, notes)
            yield Change(found, "event", row["known"], notice)

    def _proposal(self, row: Mapping[str, Any]) -> Iterator[Change]:
        target, slot = row["target"], f"proposal {row['target']}"
        if row["change"] == "command":
            if row["action"] == "refuse" and row["refused"] is None:
                yield Change(slot, "resolved", row["known"], why=f"refused by {row['by']}")
            return
        configured = self._fleet.targets.get(target)
        policy = None if configured is None else configured.promotion
        if policy is None or policy.auto:
            return  # what the judge finds becomes champion by itself
        if row["verdict"] != "better":
            yield Change(slot, "resolved", row["known"], why=row["why"])
            return
        found = _hash("proposal", target, row["model"], row["version"], row["sequence"])
        notes = {
            "summary": f"{row['model']} is proposed as champion of {target}: {row['why']}",
            "description": row["next"],
        }
        labels = {"model": row["model"]}
        notice = self._notice("HighwaterPromotionProposed", "info", row, found, labels, notes)
        yield Change(slot, "firing", row["known"], notice)

    def _notice(
        self,
        name: str,
        severity: str,
        row: Mapping[str, Any],
        found: str,
        labels: Mapping[str, str],
        notes: Mapping[str, str],
    ) -> Notice:
        asset_class, mode, horizon = row["target"].split("/")
        own = {
            "alertname": name,
            "severity": severity,
            "fleet": self._fleet.name,
            "class": asset_class,
            "mode": mode,
            "horizon": horizon,
            "target": row["target"],
            **labels,
            "id": found,
        }
        texts = {**notes, "runbook_url": f"{_RUNBOOKS}#{name.lower()}"}
        return Notice(
            found,
            {key: value[:_LONGEST] for key, value in {**self._labels, **own}.items() if value},
            {key: value[:_LONGEST] for key, value in texts.items() if value},
            row.get("known") or row["time"],
        )


def _hash(*parts: object) -> str:
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=12).hexdigest()


def sites_of(fleet: Fleet) -> dict[str, str]:
    """Site of each asset, by its latest row in the registry files of a fleet.

    Raises:
        InputError: a file is missing or damaged.
    """
    sites: dict[str, str] = {}
    for path in expand(fleet.assets.registry) if fleet.assets.registry else ():
        lines = Lines(path, 0)
        while (line := lines.read()) is not None:
            row = decode(line[0])
            if isinstance(row, Registration) and row.site:
                sites[row.asset] = row.site
        lines.close()
    return sites
