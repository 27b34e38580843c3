"""The page of the simulator, with the tables made from the code.

``python -m dataflows.simulator.reference > docs/simulator.md`` writes it; a test holds it to be up to date.
"""

from __future__ import annotations

import sys

from dataflows.fleet.reference import sections
from dataflows.simulator.done import OF_MESSAGES, OF_SENSORS
from dataflows.simulator.scenario import Scenario
from dataflows.simulator.sensing import FAULT_CODES

__all__ = ["reference"]

_BEFORE = """\
# The simulator

`python -m dataflows simulate --out FOLDER` writes the recording of a fleet of trucks, and beside it what
no recording tells: what was done to each line, the hidden wear, and the true hazard at every moment. So
labels, late data, clocks, drift and calibration can be judged against the truth. Equal scenarios give
equal bytes, on equal versions of NumPy.

```sh
python -m dataflows simulate --out data                           # plain: what the demo runs on
python -m dataflows simulate --out data --scenario field          # all that goes wrong in the field
python -m dataflows simulate --out data --scenario mine.toml --trucks 500 --days 30 --seed 3
```

`plain` has trucks that leak coolant, delays of seconds and a null now and then. `field` has three failure
modes, sites with weather, services, error codes, and messages that are late, out of order, twice, lost,
stored during an outage or stamped by wrong clocks. Its settings stand in
[field.toml](../dataflows/simulator/scenarios/field.toml), a good start for a scenario of your own. The
options `--trucks`, `--days`, `--every` and `--seed` win over the scenario.

Each purpose has random numbers of its own: scenarios that differ only in `delivery`, `clocks` or
`sensors` have the same trucks, which fail at the same instants. On one core it writes about five million
events a minute with their truth (`python -m benchmarks simulator`); it holds the whole recording in
memory, about 500 bytes an event.

## What it writes

| file | what it holds |
| --- | --- |
| `events.jsonl` | the recording, ordered by `arrived`: what the dataflow reads |
| `deliveries.jsonl` | what was done to each line of it, in the same order; then what never arrived |
| `truth.jsonl` | episodes, what was wrong with devices and sensors when, and drifts |
| `hazard.npz` | hazards and hidden states, for each step and truck: NumPy arrays |

**deliveries.jsonl**: `line` is the line of the recording, from 1, or null for what never arrived (which
has `asset` and `kind` too); `true_time` is when it happened, `time` what the device stamped, `delay` the
seconds from true time to arrival (of a forecast negative, since it is about the future; of a registry row
null), and `done` a list of codes, empty where nothing was done. `of` is the line of a duplicate's
original.

"""

_TRUTH = """\
Weather rows have `observation` or `forecast`, and `late` where they are.

**truth.jsonl**: a row of the kind `episode` is one part of one truck from `began` to its end: `onset` is
when its fault opened, `failed` when it failed (the `time` of the failure record, which arrives at
`reported`), `replaced` when a service replaced it before it failed, `returned` when the truck came back;
null is what never came. `severity` scales how fast the fault grows, `exposure` is the hazard integrated
over the hours at work. Rows of the kinds `clock` (`offset` in seconds, `drift` in millionths), `outage`,
`clock_jump` (`by` seconds), `stuck`, `dropout` (`began`, `ended`), `recalibrated` (`at`, `step`),
`firmware` and `part` (`at`) tell what else was wrong or changed.

**hazard.npz**: `time` (microseconds since 1970 at which each step begins), `asset`, `mode`; `hazard`
(steps x assets x modes); `exposed` (steps x assets), the hours of the step at work, up to a failure; and
hidden states at the end of the step, by name.

## Hazard and failure

Failures are drawn, not computed. At each step the hidden state gives a **hazard**: the probability per
hour of failing by a mode, given that the truck is at work in this state; at rest it is 0. A part fails
when its hazard, integrated over the hours at work, reaches a threshold drawn from the exponential
distribution when the part was built in. Hence the number of failures minus `sum(hazard * exposed)` is a
martingale: over any set of trucks and times, chosen without looking ahead, both agree within a few square
roots of the latter. The hazard is constant within a step. It is not the probability of failing within 48
h, which depends on what the truck will do and on weather to come.

- `coolant_leak` (component `cooling`): wear opens a leak; the level falls, faster with wear and in the
  heat. It shows in `coolant_level`, then `fan_speed`, at last `engine_temperature`. Hazard: `exp((0.12 -
  level) / 0.012)`, the pump draws air, plus `2 (h / 0.5)^4` after `h` hours in a row above 110 °C,
  together at most 60. Drivers top up now and then and tell nobody.
- `bearing_wear` (component `bearing`): fatigue by load to the power 10/3 opens a spall, which grows in
  proportion to itself. It shows in `vibration`, near the end in `bearing_temperature`. Hazard: `0.03
  spall^6`, at most 20.
- `battery_ageing` (component `battery`): ageing doubles with every 10 °C and raises the inner resistance,
  and so does the cold. It shows in `cranking_voltage`, most on cold mornings. Only a start can fail, with
  probability `1 / (1 + exp((volts - 15.5) / 0.35))`, given as a rate over the step that has it.

A truck that failed stands in the workshop, silent, until it is repaired. The failure is reported after 18
hours (median), the repair is recorded before or after that. The truck's other parts stay as worn as they
were.

| sensor | unit |
| --- | --- |
| `coolant_level` | fraction of full |
| `engine_temperature`, `ambient_temperature`, `bearing_temperature` | °C |
| `fan_speed` | revolutions a minute |
| `load` | fraction of full |
| `vibration` | mm/s, root mean square |
| `cranking_voltage` | volts of a 24 V system, the lowest at the last start |

Error codes are set by the device when a sensor is beyond a limit in two messages running, once a day or
until it is not:

"""

_KEYS = """
The attributes of registry rows are `age` (years at the start, about as the parts are worn), `model` and
`power` (kW; the larger engine has the larger radiator). Weather rows have the value `temperature`, in °C.

# The scenario file

TOML. A duration is text such as `"15m"`, `"20d"`; a share is a number from 0 to 1. Unknown keys and
impossible values are refused, all at once.

"""


def reference() -> str:
    """The page, in Markdown."""
    things = {**OF_MESSAGES, **{f"{name}:<sensor>": text for name, text in OF_SENSORS.items()}}
    codes = [
        "| code | what was done |",
        "| --- | --- |",
        *(f"| `{name}` | {text} |" for name, text in things.items()),
    ]
    faults = ["| code | set when |", "| --- | --- |"]
    faults += [f"| `{code.name}` | `{code.sensor}` is {code.cause} |" for code in FAULT_CODES]
    page = [_BEFORE + "\n".join(codes), _TRUTH + "\n".join(faults), _KEYS.strip("\n") + "\n"]
    return "\n\n".join(page) + "\n" + "\n".join(sections(Scenario, "", "The top of the file")) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
