"""Clock health: how soon wrong clocks are found, and how many honest ones are accused.

``python -m studies clocks`` simulates a fleet whose trucks have clocks with an offset, some by minutes and
some by hours, ahead and behind; whose messages are late (20 %, up to 6 h), sent twice (2 %), stored for
hours while there is no network, and now and then stamped days ahead (0.1 %). Every event goes through the
lane; what it finds of each truck's clock is held against the truth.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from rich.console import Console
from rich.table import Table

from dataflows.events import decode
from dataflows.fleet.fleet import AssetClass, AssetPolicy, ClockPolicy, Fleet, Input, Output
from dataflows.instants import HOUR, MICROSECONDS, format_duration
from dataflows.items import Item, Row
from dataflows.lane import Lane
from dataflows.simulator import Scenario, simulate
from dataflows.simulator.truth import truth

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Health", "fleet", "found", "main", "scenario"]

TOLERANCE = 10 * MICROSECONDS["m"]
WITHIN = 50
#: The bars: the least share of wrong clocks found, the largest of honest ones accused.
FOUND, ACCUSED = 0.95, 0.01


@dataclass(frozen=True, slots=True)
class Health:
    """What came of the check.

    Attributes:
        wrong: clocks that are wrong by more than the tolerance, of trucks that sent `WITHIN` events.
        found: of those, after how many events they were found.
        honest: clocks that never were wrong.
        accused: of those, how many were said to be wrong.
        apart: clocks that are wrong by less than the tolerance.
    """

    wrong: int
    found: list[int]
    honest: int
    accused: int
    apart: int

    @property
    def share_found(self) -> float:
        """Of wrong clocks, within `WITHIN` events."""
        return sum(after <= WITHIN for after in self.found) / max(self.wrong, 1)

    @property
    def share_accused(self) -> float:
        """Of honest clocks."""
        return self.accused / max(self.honest, 1)


def scenario(trucks: int, days: int, seed: int) -> Scenario:
    """Everything that moves offsets; half of the clocks are honest."""
    return Scenario.model_validate(
        {
            "trucks": trucks,
            "days": days,
            "every": "15m",
            "seed": seed,
            "fault_codes": True,
            "delivery": {
                "late": 0.2,
                "late_by": "10m",
                "late_at_most": "6h",
                "duplicates": 0.02,
                "lost": 0.005,
                "by_sensor": 0.1,
                "outages": {"every": "5d", "lasts": "3h"},
            },
            "clocks": {"wrong": 0.5, "offset": "1h", "drift": 0.0, "future": 0.001},
        }
    )


def fleet(tolerance: int = TOLERANCE) -> Fleet:
    """A fleet with nothing but clocks that are checked."""
    truck = AssetClass(
        "truck", (), values=True, windows=(), features=(), allowed_lateness=0, example_every=HOUR, targets=()
    )
    return Fleet(
        name="clocks",
        path=Path("fleet.toml"),
        figures_from=None,
        metrics_every=MICROSECONDS["w"],
        input=Input(("-",), 1),
        output=Output(Path("out"), "none"),
        assets=AssetPolicy("adopt", "truck", 1_000_000, clock=ClockPolicy(tolerance)),
        classes={"truck": truck},
        targets={},
    )


def found(given: Scenario) -> Health:
    """Simulate, let the lane find what is wrong, and compare with the truth."""
    simulated = simulate(given)
    told = list(truth(simulated))
    offsets = {row["asset"]: row["offset"] for row in told if row["kind"] == "clock"}
    sent: Counter[str] = Counter()
    first: dict[str, int] = {}
    for asset, changes in _looked_at(simulated.events()):
        sent[asset] += 1
        for row in changes:
            if row["state"] != "right":
                first.setdefault(row["asset"], sent[row["asset"]])
    tolerance = TOLERANCE / MICROSECONDS["s"]
    # A truck that sent too little could not be found.
    wrong = {name for name, by in offsets.items() if abs(by) > tolerance and sent[name] >= WITHIN}
    honest = set(sent) - set(offsets)
    return Health(
        len(wrong),
        sorted(first[name] for name in wrong & set(first)),
        len(honest),
        len(honest & set(first)),
        len(set(offsets) - wrong),
    )


def _looked_at(events: Iterable[dict[str, Any]]) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """Each event's asset, and the rows of the changes that it made."""
    lane = Lane(fleet(), None, {})
    for number, event in enumerate(events, start=1):
        if event["kind"] in {"telemetry", "fault"}:
            item = Item(number, 0, None, 0, ("simulated", number, 0), decode(orjson.dumps(event)))
            bodies = [out.body for out in lane.process([item])]
            rows = [body.data for body in bodies if isinstance(body, Row) and body.output == "changes"]
            yield event["asset"], [orjson.loads(row) for row in rows]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="How soon wrong clocks are found, how many are accused.")
    parser.add_argument("--trucks", type=int, default=400)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(arguments)
    # The lane logs each finding.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    health = found(scenario(given.trucks, given.days, given.seed))
    table = Table("", "", title="Clock health", title_justify="left", show_header=False)
    table.add_row(f"clocks wrong by more than {format_duration(TOLERANCE)}", f"{health.wrong}")
    table.add_row(f"found within {WITHIN} events", f"{health.share_found:.1%}")
    if health.found:
        table.add_row("events until found, median", f"{health.found[len(health.found) // 2]}")
        table.add_row("events until found, most", f"{health.found[-1]}")
    table.add_row("honest clocks", f"{health.honest}")
    table.add_row("accused", f"{health.share_accused:.1%}")
    table.add_row("clocks wrong by less, or too quiet", f"{health.apart}")
    Console().print(table)
    assert health.share_found >= FOUND, f"fewer than {FOUND:.0%} of wrong clocks were found"
    assert health.share_accused <= ACCUSED, f"more than {ACCUSED:.0%} of honest clocks were accused"


if __name__ == "__main__":
    main()
