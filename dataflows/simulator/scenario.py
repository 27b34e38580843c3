"""Settings of a simulation: typed, checked before a run, described for `docs/simulator.md`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from dataflows.fleet.problems import Problem, dotted, listed, nearest, shown
from dataflows.fleet.schema import Table, key_of, nested
from dataflows.fleet.values import Duration, Form, Instant, Name, PositiveDuration
from dataflows.instants import MICROSECONDS

__all__ = [
    "MODES",
    "ClockHealth",
    "Delivery",
    "Dropouts",
    "Firmware",
    "Gaps",
    "Jumps",
    "NewPart",
    "Outages",
    "Scenario",
    "ScenarioError",
    "Sensors",
    "Service",
    "Sites",
    "Spells",
    "Stuck",
    "Weather",
    "load_scenario",
    "shipped",
]

#: Failure modes, each with the component whose repair ends it.
MODES = {"coolant_leak": "cooling", "bearing_wear": "bearing", "battery_ageing": "battery"}
_Mode = Literal["coolant_leak", "bearing_wear", "battery_ageing"]
_SCENARIOS = Path(__file__).parent / "scenarios"
_MINUTE, _HOUR, _DAY = MICROSECONDS["m"], MICROSECONDS["h"], MICROSECONDS["d"]


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        msg = "a share from 0 to 1"
        raise ValueError(msg)
    return value


def _step(value: int) -> int:
    if value % _MINUTE or _HOUR % value:
        msg = "whole minutes that divide an hour, such as '15m'"
        raise ValueError(msg)
    return value


def _midnight(value: int) -> int:
    if value <= 0 or value % _DAY:
        msg = "a midnight in UTC after 1970-01-01, such as 2025-05-01T00:00:00Z"
        raise ValueError(msg)
    return value


def _modes(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len(set(value)) < len(value):
        msg = "at least one mode, none twice"
        raise ValueError(msg)
    return value


Share = Annotated[float, AfterValidator(_share), Form("share")]
Modes = Annotated[
    tuple[_Mode, ...],
    BeforeValidator(_modes),
    AfterValidator(_distinct),
    Form("list of `coolant_leak`, `bearing_wear`, `battery_ageing`"),
]


class ScenarioError(ValueError):
    """A scenario that cannot be simulated, with all its problems."""


class Spells(Table):
    """Spells in which something is wrong: they begin and last at random."""

    every: PositiveDuration = Field(description="Mean time to the next spell of one device, exponential.")
    lasts: PositiveDuration = Field(description="Mean length, exponential.")


class Gaps(Spells):
    """Spells in which a site's station observes nothing. Without this table there are none."""


class Outages(Spells):
    """Spells without network: the device stores its messages, and sends them in order afterwards."""


class Stuck(Spells):
    """Spells in which a sensor repeats one reading."""


class Dropouts(Spells):
    """Spells in which a sensor is missing from messages."""


class Jumps(Spells):
    """Spells in which a truck's clock is wrong by a jump, until it recovers."""

    by: PositiveDuration = Field(description="A jump is half to one and a half times this, ahead or behind.")


class Sites(Table):
    """Sites of the trucks. With two sites or more, telemetry names the site of the truck."""

    count: int = Field(default=1, gt=0, le=1000, description="Number of sites.")
    spread: float = Field(
        default=0.0, ge=0, le=25, description="The coldest is so many °C below the mean, the warmest above."
    )
    away: Share = Field(default=0.0, description="Share of days that a truck works at another site.")


class Weather(Table):
    """Weather rows of each site: hourly observations, and forecasts. Without this table there are none."""

    observed_after: PositiveDuration = Field(
        default=20 * _MINUTE, description="Mean time from an observation's hour to its issue, exponential."
    )
    late: Share = Field(default=0.02, description="Share of rows that arrive late, after their issue.")
    late_by: PositiveDuration = Field(default=6 * _HOUR, description="Mean delay of late rows.")
    gaps: Gaps | None = Field(
        default=None, description="Spells in which stations are silent. Default: never."
    )
    forecasts: PositiveDuration = Field(
        default=12 * _HOUR, description="Time between forecasts; each covers every third hour ahead."
    )
    ahead: PositiveDuration = Field(default=48 * _HOUR, description="Reach of a forecast.")


class Service(Table):
    """Regular services, at night. They and repairs are recorded as maintenance; without this, neither is."""

    every: PositiveDuration = Field(default=60 * _DAY, description="Time between two services of a truck.")
    finds: Share = Field(
        default=0.7, description="Chance that a visible fault is found and the part replaced in time."
    )
    recalibrates: Share = Field(
        default=0.2, description="Chance that a sensor is recalibrated: its offset changes from then on."
    )


class Delivery(Table):
    """Delivery of messages from a truck to the recording."""

    late: Share = Field(default=0.0, description="Share of messages that are delayed on the way.")
    late_by: PositiveDuration = Field(default=10 * _MINUTE, description="Mean of that delay, exponential.")
    late_at_most: PositiveDuration = Field(default=6 * _HOUR, description="Largest such delay.")
    duplicates: Share = Field(default=0.0, description="Share of messages that arrive a second time.")
    duplicates_after: PositiveDuration = Field(
        default=10 * _MINUTE, description="Mean time from a message to its copy."
    )
    lost: Share = Field(default=0.0, description="Share of messages that never arrive.")
    outages: Outages | None = Field(default=None, description="Spells without network. Default: never.")
    by_sensor: Share = Field(
        default=0.0, description="Share of trucks whose gateway sends one sensor a message."
    )


class ClockHealth(Table):
    """Errors of the clocks that stamp messages; delays count from the true time."""

    wrong: Share = Field(default=0.0, description="Share of trucks with a constant offset and a drift.")
    offset: Duration = Field(default=30_000_000, description="Standard deviation of the offset.")
    drift: float = Field(default=20.0, ge=0, description="Standard deviation of the drift, in millionths.")
    jumps: Jumps | None = Field(default=None, description="Jumps of clocks. Default: never.")
    future: Share = Field(
        default=0.0, description="Share of messages stamped 1 to 30 days ahead, unlike their neighbours."
    )


class Sensors(Table):
    """Troubles of sensors."""

    null: Share = Field(default=0.003, description="Share of readings that are null.")
    loose: Share = Field(default=0.004, description="Share of days on which a sensor's plug is loose: null.")
    stuck: Stuck | None = Field(
        default=None, description="Spells in which sensors are stuck. Default: never."
    )
    dropouts: Dropouts | None = Field(
        default=None, description="Spells in which sensors are missing. Default: never."
    )


class Firmware(Table):
    """A drift of the data at a known time: new firmware changes the meaning of a sensor's numbers."""

    after: PositiveDuration = Field(description="Time from the start.")
    sensor: Name = Field(description="The sensor.")
    scale: float = Field(default=1.0, gt=0, description="Factor of the readings.")
    offset: float = Field(default=0.0, description="Offset that is added after scaling.")
    share: Share = Field(default=1.0, description="Share of trucks that get it.")


class NewPart(Table):
    """A drift of the world at a known time: parts installed from then on wear and fail differently."""

    after: PositiveDuration = Field(description="Time from the start.")
    mode: _Mode = Field(description="The failure mode of the part.")
    life: float = Field(
        default=0.5, gt=0, description="Wear at which its fault begins, as a multiple of the old part's."
    )
    severity: float = Field(
        default=3.0, gt=0, description="Growth of the fault, as a multiple of the old part's."
    )
    retrofit: Share = Field(
        default=0.0,
        description="Share of trucks that get the new part at once; the others get it at the next "
        "replacement.",
    )


class Scenario(Table):
    """All settings of a simulation. Equal scenarios give equal bytes."""

    trucks: int = Field(default=60, gt=0, le=100_000, description="Trucks in the fleet.")
    days: int = Field(
        default=90,
        gt=0,
        le=3660,
        description="Days of the recording. Messages that would arrive later appear in the truth only.",
    )
    every: Annotated[PositiveDuration, AfterValidator(_step)] = Field(
        default=15 * _MINUTE,
        description="Time between two messages of a truck that drives, and the step of the physics: "
        "whole minutes that divide an hour.",
    )
    seed: int = Field(
        default=7, ge=0, description="Seed of all random numbers; each purpose has its own stream."
    )
    start: Annotated[Instant, AfterValidator(_midnight)] = Field(
        default=1_746_057_600_000_000,  # 2025-05-01: summer comes while the models learn
        description="A midnight; nights and Sundays are those of UTC. Batteries fail in winter.",
    )
    modes: Modes = Field(
        default=("coolant_leak",), description="Failure modes of the trucks; each mode has its own sensors."
    )
    registry: bool = Field(
        default=False, description="Whether the recording begins with a registry row of each truck."
    )
    fault_codes: bool = Field(default=False, description="Whether trucks send error codes.")
    sites: Sites = Field(default=Sites(), description="Sites of the trucks.")
    weather: Weather | None = Field(default=None, description="Weather rows. Default: none.")
    service: Service | None = Field(default=None, description="Services and maintenance. Default: none.")
    delivery: Delivery = Field(default=Delivery(), description="From truck to recording.")
    clocks: ClockHealth = Field(default=ClockHealth(), description="Clocks of devices.")
    sensors: Sensors = Field(default=Sensors(), description="Troubles of sensors.")
    firmware: Firmware | None = Field(default=None, description="New firmware. Default: none.")
    part: NewPart | None = Field(default=None, description="A new part. Default: none.")

    @property
    def end(self) -> int:
        """First midnight after the recording, in microseconds."""
        return self.start + self.days * _DAY


def shipped() -> dict[str, Path]:
    """Paths of the shipped scenarios, by name."""
    return {path.stem: path for path in sorted(_SCENARIOS.glob("*.toml"))}


def load_scenario(name: str, **changes: Any) -> Scenario:  # noqa: ANN401 - values of a TOML document
    """Load a shipped scenario by its name, or a scenario by the path of its TOML file.

    Args:
        name: a name of `shipped`, or a path.
        changes: top-level keys that replace those of the file, with TOML values; None changes nothing.

    Raises:
        ScenarioError: no such file, not TOML, or invalid keys or values; it lists every problem.
    """
    path = shipped().get(name, Path(name))
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{name}: {error.strerror}; expected the path of a scenario, or {listed(shipped())}"
        raise ScenarioError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: expected TOML: {error}"
        raise ScenarioError(msg) from error
    document |= {key: value for key, value in changes.items() if value is not None}
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        problems = [_problem(dict(details)) for details in error.errors()]
        msg = "\n  ".join([f"scenario {name}: {len(problems)} problem(s)", *map(str, problems)])
        raise ScenarioError(msg) from error


def _problem(details: dict[str, Any]) -> Problem:
    place: tuple[str | int, ...] = details["loc"]
    if details["type"] == "missing":
        return Problem(dotted(place), "this key, which has no default")
    if details["type"] == "extra_forbidden":
        keys = _keys(place[:-1])
        return Problem(
            dotted(place), listed(keys, most=len(keys)), "an unknown key", nearest(place[-1], keys)
        )
    of_schema = str(details["msg"]).removeprefix("Input should be ")
    expected = str(details["ctx"]["error"]) if details["type"] == "value_error" else of_schema
    return Problem(dotted(place), expected, shown(details["input"]))


def _keys(place: tuple[str | int, ...]) -> list[str]:
    """Keys of the table at a place."""
    table: type[Table] = Scenario
    for part in place:
        below = nested(table.model_fields[str(part)])
        if below is not None:
            table = below[1]
    return [key_of(name, field) for name, field in table.model_fields.items()]
