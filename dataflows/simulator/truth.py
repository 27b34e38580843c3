"""Write a recording and its truth: episodes, spells, drifts and hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.instants import MICROSECONDS, format_instant
from dataflows.simulator.recording import Simulated, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dataflows.simulator.chance import Drawn
    from dataflows.simulator.scenario import Scenario

__all__ = ["Files", "hazard", "truth", "write"]

_SECOND = MICROSECONDS["s"]


@dataclass(frozen=True, slots=True)
class Files:
    """Files written by `write`.

    Attributes:
        events: the recording, JSON Lines.
        deliveries: the changes of each of its lines, JSON Lines.
        truth: episodes, spells and drifts, JSON Lines.
        hazard: hazards and hidden states by step and truck, compressed NumPy arrays.
    """

    events: Path
    deliveries: Path
    truth: Path
    hazard: Path

    def __iter__(self) -> Iterator[Path]:
        return iter((self.events, self.deliveries, self.truth, self.hazard))


def write(scenario: Scenario, folder: Path) -> Files:
    """Simulate into files of a folder, created if missing; each appears when complete, events last."""
    simulated = simulate(scenario)
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(
        *(folder / name for name in ("events.jsonl", "deliveries.jsonl", "truth.jsonl", "hazard.npz"))
    )
    _write_rows(files.events, simulated.events())
    _write_rows(files.deliveries, simulated.deliveries())
    _write_rows(files.truth, truth(simulated))
    with _part(files.hazard).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **hazard(simulated))
    for path in reversed(tuple(files)):
        _part(path).rename(path)
    return files


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with _part(path).open("wb") as file:
        file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def hazard(simulated: Simulated) -> dict[str, NDArray[Any]]:
    """Build the arrays of hazards and hidden states, by name.

    ``time`` is each step's beginning in microseconds, ``asset`` the trucks, ``mode`` the modes; ``hazard``
    (steps x trucks x modes) is per hour at work, ``exposed`` (steps x trucks) the hours at work, up to a
    failure; then each hidden state (steps x trucks), at the end of the step.
    """
    scenario, lived = simulated.scenario, simulated.lived
    return {
        "time": np.arange(scenario.start, scenario.end, scenario.every),
        "asset": np.array(simulated.names),
        "mode": np.array(scenario.modes),
        "hazard": lived.hazard,
        "exposed": lived.exposed,
        **lived.hidden,
    }


def truth(simulated: Simulated) -> Iterator[dict[str, Any]]:
    """Yield rows of episodes, then of troubles of devices and sensors, then of drifts."""
    names = simulated.names
    for each in simulated.episodes:
        row = {"kind": "episode", "asset": names[each.truck], "mode": each.mode, "episode": each.number}
        times = ("began", "onset", "failed", "reported", "replaced", "returned")
        row |= {name: _text(getattr(each, name)) for name in times}
        row |= {"severity": round(each.severity, 3), "new_part": each.new}
        yield row | {"exposure": round(each.exposure, 6)}
    yield from _of_devices(simulated)
    yield from _of_sensors(simulated)
    yield from _drifts(simulated)


def _of_devices(simulated: Simulated) -> Iterator[dict[str, Any]]:
    made, names = simulated.delivered, simulated.names
    for truck, (offset, drift) in enumerate(zip(made.offset.tolist(), made.drift.tolist(), strict=True)):
        if offset or drift:
            row = {"kind": "clock", "asset": names[truck], "offset": offset / _SECOND}
            yield row | {"drift": round(drift, 3)}
    for who, times in _spells(made.outages):
        yield {"kind": "outage", "asset": names[who], **times}
    for (who, times), by in zip(_spells(made.jumps), made.jumped.tolist(), strict=True):
        yield {"kind": "clock_jump", "asset": names[who], **times, "by": by / _SECOND}


def _of_sensors(simulated: Simulated) -> Iterator[dict[str, Any]]:
    names, sensors = simulated.names, [sensor.name for sensor in simulated.sensors]
    troubles = simulated.troubles
    for kind, spells in (("stuck", troubles.stuck), ("dropout", troubles.dropouts)):
        for who, times in _spells(spells):
            truck, sensor = divmod(who, len(sensors))
            yield {"kind": kind, "asset": names[truck], "sensor": sensors[sensor], **times}
    for truck, index, time, step in troubles.recalibrated:
        row = {"kind": "recalibrated", "asset": names[truck], "sensor": sensors[index], "at": _text(time)}
        yield {**row, "step": round(step, 4)}


def _drifts(simulated: Simulated) -> Iterator[dict[str, Any]]:
    scenario = simulated.scenario
    if scenario.firmware is not None:
        new = scenario.firmware
        row = {"kind": "firmware", "at": _text(scenario.start + new.after), "sensor": new.sensor}
        updated = np.flatnonzero(simulated.troubles.updated).tolist()
        assets = [simulated.names[truck] for truck in updated]
        yield {**row, "scale": new.scale, "offset": new.offset, "assets": assets}
    if scenario.part is not None:
        part = scenario.part
        row = {"kind": "part", "at": _text(scenario.start + part.after), "mode": part.mode}
        yield {**row, "life": part.life, "severity": part.severity}


def _spells(spells: Drawn) -> Iterator[tuple[int, dict[str, str | None]]]:
    columns = (spells.who.tolist(), spells.began.tolist(), spells.ended.tolist())
    for who, began, ended in zip(*columns, strict=True):
        yield who, {"began": _text(began), "ended": _text(ended)}


def _text(instant: int | None) -> str | None:
    return None if instant is None else format_instant(instant)
