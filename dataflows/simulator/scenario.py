"""The settings of a simulation: typed, checked before anything runs, described for `docs/simulator.md`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from dataflows.fleet.errors import Problem, dotted, listed, nearest, shown
from dataflows.fleet.schema import Table, key_of, nested
from dataflows.fleet.values import Duration, Form, Instant, Name, PositiveDuration
from dataflows.instants import MICROSECONDS

__all__ = [
    "MODES",
    "Clocks",
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

#: Failure modes, each with the component whose repair undoes it.
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
    """A scenario that cannot be simulated, with all that is wrong with it."""


class Spells(Table):
    """Times when something is wrong: they begin and last at random."""

    every: PositiveDuration = Field(description="Mean time to the next, of one device, exponential.")
    lasts: PositiveDuration = Field(description="Mean length, exponential.")


class Gaps(Spells):
    """Times when a site's station observes nothing. Without this table there are none."""


class Outages(Spells):
    """Times without network: the device stores what it measures, and sends it in order afterwards."""


class Stuck(Spells):
    """Times when a sensor repeats one reading."""


class Dropouts(Spells):
    """Times when a sensor is missing from messages."""


class Jumps(Spells):
    """Times when a truck's clock is wrong by a jump, until it recovers."""

    by: PositiveDuration = Field(description="A jump is half to one and a half times this, ahead or behind.")


class Sites(Table):
    """Where trucks stand. With two sites or more, telemetry names the site it was sent from."""

    count: int = Field(default=1, gt=0, le=1000, description="How many sites there are.")
    spread: float = Field(
        default=0.0, ge=0, le=25, description="The coldest is so many °C below the mean, the warmest above."
    )
    away: Share = Field(default=0.0, description="Share of days that a truck spends at another site.")


class Weather(Table):
    """Weather rows of each site: hourly observations, and forecasts. Without this table there are none."""

    observed_after: PositiveDuration = Field(
        default=20 * _MINUTE, description="Mean time from an observation's hour to its issue, exponential."
    )
    late: Share = Field(default=0.02, description="Share of rows that arrive late, after their issue.")
    late_by: PositiveDuration = Field(default=6 * _HOUR, description="By how much, on average.")
    gaps: Gaps | None = Field(default=None, description="When stations are silent. Default: never.")
    forecasts: PositiveDuration = Field(
        default=12 * _HOUR, description="Time between forecasts; each tells of every third hour ahead."
    )
    ahead: PositiveDuration = Field(default=48 * _HOUR, description="How far ahead a forecast reaches.")


class Service(Table):
    """Regular services, in the night, recorded as maintenance; so are repairs. Without it neither is."""

    every: PositiveDuration = Field(default=60 * _DAY, description="Time between two services of a truck.")
    finds: Share = Field(
        default=0.7, description="Chance that a fault that shows is found and the part replaced in time."
    )
    recalibrates: Share = Field(
        default=0.2, description="Chance that a sensor is recalibrated: its offset is another from then on."
    )


class Delivery(Table):
    """What happens to messages between a truck and the recording."""

    late: Share = Field(default=0.0, description="Share of messages that are held up on the way.")
    late_by: PositiveDuration = Field(default=10 * _MINUTE, description="By how much, exponential.")
    late_at_most: PositiveDuration = Field(default=6 * _HOUR, description="Where that tail is cut.")
    duplicates: Share = Field(default=0.0, description="Share of messages that arrive a second time.")
    duplicates_after: PositiveDuration = Field(
        default=10 * _MINUTE, description="How much later the copy arrives, on average."
    )
    lost: Share = Field(default=0.0, description="Share of messages that never arrive.")
    outages: Outages | None = Field(default=None, description="When networks are away. Default: never.")
    by_sensor: Share = Field(
        default=0.0, description="Share of trucks whose gateway sends one sensor a message."
    )


class Clocks(Table):
    """What is wrong with the clocks that stamp messages; delays are of the true time."""

    wrong: Share = Field(default=0.0, description="Share of trucks with a constant offset and a drift.")
    offset: Duration = Field(default=30_000_000, description="Standard deviation of the offset.")
    drift: float = Field(default=20.0, ge=0, description="Standard deviation of the drift, in millionths.")
    jumps: Jumps | None = Field(default=None, description="When clocks jump. Default: never.")
    future: Share = Field(default=0.0, description="Share of messages stamped 1 to 30 days ahead, alone.")


class Sensors(Table):
    """What is wrong with sensors."""

    null: Share = Field(default=0.003, description="Share of readings that are null.")
    loose: Share = Field(default=0.004, description="Share of days on which a sensor's plug is loose: null.")
    stuck: Stuck | None = Field(default=None, description="When sensors are stuck. Default: never.")
    dropouts: Dropouts | None = Field(default=None, description="When they are missing. Default: never.")


class Firmware(Table):
    """A drift of the data at a known time: new firmware changes what a sensor's numbers mean."""

    after: PositiveDuration = Field(description="When, from the start.")
    sensor: Name = Field(description="The sensor.")
    scale: float = Field(default=1.0, gt=0, description="Readings are multiplied by this,")
    offset: float = Field(default=0.0, description="and this is added.")
    share: Share = Field(default=1.0, description="Share of trucks that get it.")


class NewPart(Table):
    """A drift of the world at a known time: parts built in from then on wear and fail differently."""

    after: PositiveDuration = Field(description="When, from the start.")
    mode: _Mode = Field(description="The failure mode of the part.")
    life: float = Field(
        default=0.5, gt=0, description="Wear at which its fault begins, as a multiple of the old part's."
    )
    severity: float = Field(
        default=3.0, gt=0, description="How fast the fault grows then, as a multiple of the old part's."
    )
    retrofit: Share = Field(
        default=0.0, description="Share of trucks that get it at once; others when theirs is replaced."
    )


class Scenario(Table):
    """The whole of a simulation. Equal scenarios give equal bytes."""

    trucks: int = Field(default=60, gt=0, le=100_000, description="Trucks in the fleet.")
    days: int = Field(
        default=90, gt=0, le=3660, description="What would arrive after them is told in the truth only."
    )
    every: Annotated[PositiveDuration, AfterValidator(_step)] = Field(
        default=15 * _MINUTE,
        description="Time between two messages of a truck that drives, and the step of the physics: "
        "whole minutes that divide an hour.",
    )
    seed: int = Field(default=7, ge=0, description="Each part draws from a stream of its own, made of this.")
    start: Annotated[Instant, AfterValidator(_midnight)] = Field(
        default=1_746_057_600_000_000,  # 2025-05-01, so that summer comes while the models learn
        description="A midnight; nights and Sundays are those of UTC. Batteries fail in winter.",
    )
    modes: Modes = Field(
        default=("coolant_leak",), description="How trucks fail; each mode brings its sensors."
    )
    registry: bool = Field(
        default=False, description="Whether the recording begins with a registry row of each truck."
    )
    fault_codes: bool = Field(default=False, description="Whether trucks send error codes.")
    sites: Sites = Field(default=Sites(), description="Where trucks stand.")
    weather: Weather | None = Field(default=None, description="Weather rows. Default: none.")
    service: Service | None = Field(default=None, description="Services and maintenance. Default: none.")
    delivery: Delivery = Field(default=Delivery(), description="From truck to recording.")
    clocks: Clocks = Field(default=Clocks(), description="Clocks of devices.")
    sensors: Sensors = Field(default=Sensors(), description="Troubles of sensors.")
    firmware: Firmware | None = Field(default=None, description="New firmware. Default: none.")
    part: NewPart | None = Field(default=None, description="A new part. Default: none.")

    @property
    def end(self) -> int:
        """Microseconds: the first midnight that is not recorded."""
        return self.start + self.days * _DAY


def shipped() -> dict[str, Path]:
    """The scenarios that come with the simulator, by name."""
    return {path.stem: path for path in sorted(_SCENARIOS.glob("*.toml"))}


def load_scenario(name: str, **changes: Any) -> Scenario:  # noqa: ANN401 - values of a TOML document
    """A shipped scenario by its name, or one by the path of its TOML file.

    Args:
        name: as in `shipped`, or a path.
        changes: keys at the top that replace the file's, as TOML would hold them; None changes nothing.

    Raises:
        ScenarioError: no such file, not TOML, or keys and values that are not a scenario; with every problem.
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
    """The keys of the table at a place."""
    table: type[Table] = Scenario
    for part in place:
        below = nested(table.model_fields[str(part)])
        if below is not None:
            table = below[1]
    return [key_of(name, field) for name, field in table.model_fields.items()]
