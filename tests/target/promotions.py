"""A world in which one model is better than another: pumps whose flow is high before nearly all leaks."""

from __future__ import annotations

import random
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from dataflows.fleet import from_document
from dataflows.instants import HOUR, format_instant
from dataflows.testing import failure, telemetry
from tests.tables import PRIOR_ALONE, model, pumps

if TYPE_CHECKING:
    from dataflows.fleet import Fleet

__all__ = ["NAME", "command", "document", "fleet", "recording", "with_commands"]

NAME = "pump/leak/12h"
_BAYES = model("bayes", '{ estimator = "river.naive_bayes.GaussianNB" }') + 'features = ["flow"]\n'


def document(promotion: str = "auto", champion: str = "prior", level: float = 0.05, more: str = "") -> str:
    """The fleet.toml; ``more`` is text at its end, such as another model."""
    return pumps(
        champion,
        None,
        keys=f"wrong_promotions = {level}",
        sensors=("pressure", "flow"),
        adopt=True,
        pump='allowed_lateness = "1h"\nexample_every = "1h"',
        target=f'promotion = "{promotion}"\njudge_positives = 5',
        more=_BAYES + model("prior", PRIOR_ALONE) + more,
    )


def fleet(promotion: str = "auto", champion: str = "prior", level: float = 0.05, more: str = "") -> Fleet:
    """The fleet of ten pumps."""
    return from_document(tomllib.loads(document(promotion, champion, level, more)), Path("fleet.toml"))


@cache
def recording(hours: int = 320, turn: int | None = None) -> tuple[bytes, ...]:
    """Ten pumps; the flow is high before nearly all leaks, and from ``turn`` on low before them."""
    rows: list[tuple[int, bytes]] = []
    for number in range(10):
        chance, name = random.Random(number), f"pump-{number:02}"
        high = 0
        for hour in range(hours):
            if not high and chance.random() < 0.04:
                high = 10
            turned = turn is not None and hour >= turn
            value = chance.gauss(9 if bool(high) != turned else 2, 1)
            time = hour * HOUR
            rows.append((time, telemetry(name, format_instant(time), {"flow": value, "pressure": 1.0})))
            if high == 1 and chance.random() < 0.95:
                time += HOUR // 2
                rows.append((time, failure(name, format_instant(time), "leak")))
            high = max(0, high - 1)
    return tuple(line for _, line in sorted(rows, key=lambda row: row[0]))


def command(action: str, **fields: object) -> bytes:
    """A command by Ada to the one target."""
    return orjson.dumps({"kind": "command", "target": NAME, "action": action, "by": "ada", **fields})


def with_commands(commands: dict[int, bytes], lines: tuple[bytes, ...] | None = None) -> list[bytes]:
    """The recording with commands after so many records."""
    out = []
    for number, line in enumerate(recording() if lines is None else lines, start=1):
        out.append(line)
        if number in commands:
            out.append(commands[number])
    return out
