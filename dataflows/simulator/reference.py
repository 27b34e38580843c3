"""Generate the page of the simulator, with tables from the code.

``python -m dataflows.simulator.reference > docs/simulator.md`` writes it; a test keeps it up to date.
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

`python -m dataflows simulate --out FOLDER` writes the recording of a fleet of trucks, and the truth about
it: the changes of each line, the hidden wear, and the true hazard at every moment. So labels, late data,
clocks, drift and calibration can be judged against the truth. Equal scenarios give equal bytes, on equal
versions of NumPy.

```sh
python -m dataflows simulate --out data                           # plain: the input of the demo
python -m dataflows simulate --out data --scenario field          # the troubles of the field
python -m dataflows simulate --out data --scenario mine.toml --trucks 500 --days 30 --seed 3
```

`plain` has trucks that leak coolant, delays of seconds and a few nulls. `field` has three failure modes,
sites with weather, services, error codes, and messages that are late, out of order, duplicated, lost,
stored during an outage or stamped by wrong clocks. Its settings are in
[field.toml](../dataflows/simulator/scenarios/field.toml), a good start for your own scenario. The options
`--trucks`, `--days`, `--every` and `--seed` override the scenario.

Each purpose has its own random numbers: scenarios that differ only in `delivery`, `clocks` or `sensors` have
the same trucks, which fail at the same instants. On one core the simulator writes about five million events a
minute with their truth (`python -m benchmarks simulator`). It holds the whole recording in memory, about 500
bytes an event.

## What it writes

| file | content |
| --- | --- |
| `events.jsonl` | the recording, ordered by `arrived`: the input of the dataflow |
| `deliveries.jsonl` | the changes of each of its lines, in the same order; then the lost messages |
| `truth.jsonl` | episodes, troubles of devices and sensors with their times, and drifts |
| `hazard.npz` | hazards and hidden states, for each step and truck: NumPy arrays |

**deliveries.jsonl**: `line` is the line of the recording, from 1, or null for a lost message (its row has
`asset` and `kind` too). `true_time` is the true time of the event, `time` the stamp of the device. `delay` is
the seconds from true time to arrival: negative for a forecast, since it is about the future; null for a
registry row. `done` is a list of codes, empty if nothing was changed. `of` is the line of a duplicate's
original.

"""

_TRUTH = """\
Weather rows have `observation` or `forecast`, and `late` if they are late.

**truth.jsonl**: a row of the kind `episode` is one part of one truck from `began` to its end. `onset` is the
time at which its fault opened, `failed` the time of the failure (the `time` of the failure record, which
arrives at `reported`), `replaced` the time at which a service replaced it before it failed, `returned` the
time at which the truck came back. A time that never came is null. `severity` is a factor of the growth of the
fault, `exposure` the hazard integrated over the hours at work. Rows of the kinds `clock` (`offset` in
seconds, `drift` in millionths), `outage`, `clock_jump` (`by` seconds), `stuck`, `dropout` (`began`, `ended`),
`recalibrated` (`at`, `step`), `firmware` and `part` (`at`) record other troubles and changes.

**hazard.npz**: `time` (microseconds since 1970 at which each step begins), `asset`, `mode`; `hazard`
(steps x assets x modes); `exposed` (steps x assets), the hours of the step at work, up to a failure; and
hidden states at the end of the step, by name.

## Hazard and failure

Failures are drawn, not computed. At each step the hidden state gives a **hazard**: the probability per
hour of failing by a mode, given that the truck is at work in this state; at rest it is 0. A part fails
when its hazard, integrated over the hours at work, reaches a threshold drawn from the exponential
distribution when the part was installed. Hence the number of failures minus `sum(hazard * exposed)` is a
martingale: over any set of trucks and times, chosen without looking ahead, both agree within a few square
roots of the latter. The hazard is constant within a step. It is not the probability of failing within 48
h, which depends on the future work of the truck and on future weather.

- `coolant_leak` (component `cooling`): wear opens a leak; the level falls, faster with wear and in the
  heat. It shows in `coolant_level`, then `fan_speed`, at last `engine_temperature`. Hazard: `exp((0.12 -
  level) / 0.012)`, the pump draws air, plus `2 (h / 0.5)^4` after `h` hours in a row above 110 °C,
  together at most 60. Drivers top up now and then without a record.
- `bearing_wear` (component `bearing`): fatigue by load to the power 10/3 opens a spall, which grows in
  proportion to itself. It shows in `vibration`, near the end in `bearing_temperature`. Hazard: `0.03
  spall^6`, at most 20.
- `battery_ageing` (component `battery`): ageing doubles with every 10 °C and raises the inner resistance,
  and so does the cold. It shows in `cranking_voltage`, most on cold mornings. Only a start can fail, with
  probability `1 / (1 + exp((volts - 15.5) / 0.35))`, given as a rate over the step of the start.

A failed truck stands in the workshop, silent, until it is repaired. The failure is reported after 18 hours
(median); the repair is recorded before or after that. The truck's other parts keep their wear.

| sensor | unit |
| --- | --- |
| `coolant_level` | fraction of full |
| `engine_temperature`, `ambient_temperature`, `bearing_temperature` | °C |
| `fan_speed` | revolutions a minute |
| `load` | fraction of full |
| `vibration` | mm/s, root mean square |
| `cranking_voltage` | volts of a 24 V system, the lowest at the last start |

The device sets an error code when a sensor is beyond a limit in two consecutive messages. It sets the code
again on a new day, or after the sensor was within the limit:

"""

_KEYS = """
The attributes of registry rows are `age` (years at the start, roughly in line with the wear of the parts),
`model` and `power` (kW; the larger engine has the larger radiator). Weather rows have the value
`temperature`, in °C.

# The scenario file

The file is TOML. A duration is text such as `"15m"` or `"20d"`; a share is a number from 0 to 1. Unknown keys
and impossible values are refused, all at once.

"""


def reference() -> str:
    """Generate the page, in Markdown."""
    things = {**OF_MESSAGES, **{f"{name}:<sensor>": text for name, text in OF_SENSORS.items()}}
    codes = [
        "| code | change |",
        "| --- | --- |",
        *(f"| `{name}` | {text} |" for name, text in things.items()),
    ]
    faults = ["| code | set when |", "| --- | --- |"]
    faults += [f"| `{code.name}` | `{code.sensor}` is {code.cause} |" for code in FAULT_CODES]
    page = [_BEFORE + "\n".join(codes), _TRUTH + "\n".join(faults), _KEYS.strip("\n") + "\n"]
    return "\n\n".join(page) + "\n" + "\n".join(sections(Scenario, "", "The top of the file")) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
