"""Devices, clocks, networks and sensors: each trouble at its rate, and exactly as the truth tells it."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dataflows.instants import HOUR, MICROSECONDS, parse_instant
from dataflows.simulator import Simulated, load_scenario, simulate
from dataflows.simulator.done import LOST, OF_MESSAGES, OF_SENSORS
from dataflows.simulator.truth import truth

WEATHER = {"observation", "forecast"}
MINUTE, DAY = MICROSECONDS["m"], MICROSECONDS["d"]
FIELD = {"trucks": 30, "days": 40, "every": "30m"}
Rows = list[dict[str, Any]]


@cache
def field() -> Simulated:
    """The scenario `field`, small, with more of all that is rare."""
    return simulate(
        load_scenario(
            "field",
            **FIELD,
            delivery={
                "late": 0.05,
                "duplicates": 0.03,
                "lost": 0.02,
                "outages": {"every": "8d", "lasts": "4h"},
                "by_sensor": 0.1,
            },
            clocks={
                "wrong": 0.5,
                "jumps": {"every": "20d", "lasts": "8h", "by": "3h"},
                "future": 0.004,
            },
            sensors={
                "stuck": {"every": "40d", "lasts": "2d"},
                "dropouts": {"every": "40d", "lasts": "1d"},
            },
            firmware={"after": "20d", "sensor": "load", "scale": 100.0, "share": 0.5},
            part={"after": "20d", "mode": "bearing_wear", "life": 0.3, "retrofit": 0.5},
        )
    )


@cache
def told() -> tuple[Rows, Rows, Rows]:
    """Lines of the recording, what was done to each, and what was done to messages that are not in it."""
    events, deliveries = list(field().events()), list(field().deliveries())
    return events, deliveries[: len(events)], deliveries[len(events) :]


def devices() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each message in the recording, with what was done to it."""
    events, deliveries, _ = told()
    pairs = zip(events, deliveries, strict=True)
    return [(event, done) for event, done in pairs if event["kind"] in {"telemetry", "fault"}]


def rows(kind: str) -> Rows:
    return [row for row in truth(field()) if row["kind"] == kind]


def within(spells: Rows, asset: str, time: int) -> dict[str, Any] | None:
    """The spell of an asset in which a time lies."""
    for row in spells:
        if row["asset"] == asset and parse_instant(row["began"]) <= time < parse_instant(row["ended"]):
            return row
    return None


def test_every_line_has_its_row_of_truth() -> None:
    """The n-th row is of line n; its time is the line's, its delay runs from true time to arrival."""
    events, deliveries, _ = told()
    for line, (event, row) in enumerate(zip(events, deliveries, strict=True), start=1):
        assert row["line"] == line
        assert row["time"] == event.get("time")
        if row["true_time"] is not None:
            delay = parse_instant(event["arrived"]) - parse_instant(row["true_time"])
            assert row["delay"] == pytest.approx(delay / 1e6, abs=0.001)


def test_lines_are_ordered_by_arrival() -> None:
    """However late or stored messages are, arrival never runs back."""
    arrivals = [parse_instant(event["arrived"]) for event in told()[0]]
    assert all(one <= next_ for one, next_ in pairwise(arrivals))
    assert arrivals[-1] < field().scenario.end


@pytest.mark.parametrize(
    ("code", "rate"), [("late", 0.05), ("lost", 0.02), ("duplicate", 0.03), ("future", 0.004)]
)
def test_a_trouble_of_messages_comes_at_its_rate(code: str, rate: float) -> None:
    """Within five standard errors of what the scenario says."""
    _, here, gone = told()
    codes = [row["done"] for row in (*here, *gone) if row["line"] is None or row["true_time"]]
    messages = [done for done in codes if not WEATHER & set(done)]
    once = [done for done in messages if "duplicate" not in done or code == "duplicate"]
    able = [done for done in once if code != "late" or "stored" not in done]
    share = sum(code in done for done in able) / len(able)
    assert abs(share - rate) < 5 * math.sqrt(rate / len(able)) + (0.02 * rate if code == "duplicate" else 0)


def test_what_was_not_held_up_arrives_at_once() -> None:
    """Messages neither late, stored nor copies arrive within a minute; late ones within six hours of that."""
    for _, row in devices():
        delay = row["delay"]
        if not {"late", "stored", "duplicate"} & set(row["done"]):
            assert 0 < delay < 60
        elif row["done"] == ["late"]:
            assert delay < 6 * 3600 + 60


def test_lateness_has_its_mean_and_its_cut() -> None:
    """The delays of late messages are exponential with a mean of ten minutes."""
    late = [row for _, row in devices() if "late" in row["done"] and "duplicate" not in row["done"]]
    delays = [row["delay"] for row in late]
    assert abs(np.mean(delays) - 604) < 5 * 600 / math.sqrt(len(delays))


def test_a_copy_is_the_line_that_it_names() -> None:
    """A duplicate differs from an earlier line in nothing but its arrival."""
    events, deliveries, _ = told()
    copies = [row for row in deliveries if "duplicate" in row["done"]]
    for row in copies:
        one, original = events[row["line"] - 1], events[row["of"] - 1]
        assert row["of"] < row["line"]
        assert {**one, "arrived": 0} == {**original, "arrived": 0}
    assert len(copies) > 100


def test_a_backlog_is_sent_in_order_when_the_network_is_back() -> None:
    """What was measured in an outage arrives after its end, as it was measured; nothing else is stored."""
    outages, last = rows("outage"), {}
    seen = 0
    for event, row in devices():
        outage = within(outages, event["asset"], parse_instant(row["true_time"]))
        assert ("stored" in row["done"]) == (outage is not None)
        if outage is not None and "duplicate" not in row["done"]:
            seen += 1
            assert parse_instant(event["arrived"]) > parse_instant(outage["ended"])
            key = event["asset"], outage["began"]
            assert last.get(key, "") <= row["true_time"]
            last[key] = row["true_time"]
    assert seen > 100


def test_stamps_differ_from_true_times_exactly_as_told() -> None:
    """Offset and drift by the truck's clock, jumps by their spells, days for those stamped ahead alone."""
    clocks, jumps = {row["asset"]: row for row in rows("clock")}, rows("clock_jump")
    found = set()
    for event, row in devices():
        true = parse_instant(row["true_time"])
        clock = clocks.get(event["asset"], {"offset": 0.0, "drift": 0.0})
        error = clock["offset"] + clock["drift"] * 1e-6 * (true - field().scenario.start) / 1e6
        jump = within(jumps, event["asset"], true)
        error += 0 if jump is None else jump["by"]
        ahead = (parse_instant(event["time"]) - true) / 1e6 - error
        found |= set(row["done"])
        assert ("clock_jump" in row["done"]) == (jump is not None)
        if "future" in row["done"]:
            assert 86_400 - 1 <= ahead <= 30 * 86_400 + 1
        else:
            assert abs(ahead) < 1.01
            assert row["done"] or abs(ahead) < 0.51
    assert {"clock_offset", "clock_jump", "future"} <= found


def test_a_clock_recovers_after_a_jump() -> None:
    """A truck whose clock jumped stamps right again afterwards."""
    jumped = {row["asset"] for row in rows("clock_jump")}
    last = {event["asset"]: row["done"] for event, row in devices() if "future" not in row["done"]}
    assert jumped
    assert sum("clock_jump" in last[asset] for asset in jumped) < len(jumped) / 3


def test_a_stuck_sensor_repeats_itself() -> None:
    """Within a spell a sensor sends one value, or none."""
    spells, values, marked = rows("stuck"), {}, 0
    for event, row in devices():
        for code in row["done"]:
            what, _, sensor = code.partition(":")
            if what == "stuck" and "firmware:load" not in row["done"]:
                own = [spell for spell in spells if spell["sensor"] == sensor]
                spell = within(own, event["asset"], parse_instant(row["true_time"]))
                assert spell is not None
                if event["readings"].get(sensor) is not None:
                    marked += 1
                    values.setdefault((event["asset"], sensor, spell["began"]), set()).add(
                        event["readings"][sensor]
                    )
    assert marked > 500
    assert {len(each) for each in values.values()} == {1}


def test_missing_readings_are_told() -> None:
    """A reading is null, or not in its message, exactly where the truth says why."""
    sensors = {sensor.name for sensor in field().sensors}
    seen = dict.fromkeys(("null", "loose", "dropout"), 0)
    for event, row in devices():
        if event["kind"] == "telemetry":
            of: dict[str, set[str]] = {name: set() for name in sensors}
            for what, _, sensor in (code.partition(":") for code in row["done"]):
                of.get(sensor, set()).add(what)
            whole = "one_sensor" not in row["done"]
            for name in sensors if whole else event["readings"]:
                assert (name not in event["readings"]) == ("dropout" in of[name])
                if name in event["readings"]:
                    assert (event["readings"][name] is None) == bool({"null", "loose"} & of[name])
                for why in seen:
                    seen[why] += why in of[name]
    assert min(seen.values()) > 50


def test_gateways_that_send_by_sensor_send_all_sensors() -> None:
    """Messages of one truck and true time have distinct sensors, and together the truck's sensors."""
    together: dict[tuple[str, str], list[str]] = {}
    lost = {(row["asset"], row["true_time"]) for row in told()[2]}
    dropped = {row["asset"] for row in rows("dropout")}
    for event, row in devices():
        if "one_sensor" in row["done"] and "duplicate" not in row["done"]:
            assert len(event["readings"]) == 1
            together.setdefault((event["asset"], row["true_time"]), []).extend(event["readings"])
    assert together
    for key, names in together.items():
        assert len(set(names)) == len(names)
        assert key in lost or key[0] in dropped or len(names) == len(field().sensors)


def test_firmware_scales_a_sensor_from_its_instant_on() -> None:
    """Half of the trucks send percent instead of a fraction, from then on and not before."""
    (row,) = rows("firmware")
    at, updated = parse_instant(row["at"]), set(row["assets"])
    assert 5 <= len(updated) <= 25
    before, after = [], []
    for event, done in devices():
        value = event.get("readings", {}).get("load")
        if value is not None and event["asset"] in updated:
            (after if parse_instant(done["true_time"]) >= at else before).append(value)
            assert ("firmware:load" in done["done"]) == (parse_instant(done["true_time"]) >= at)
    assert np.mean(before) == pytest.approx(np.mean(after) / 100, rel=0.1)


def test_a_recalibrated_sensor_moves_by_its_step() -> None:
    """The mean of a sensor before and after differs by what the truth says, where that is much."""
    fleet = field()
    names = [sensor.name for sensor in fleet.sensors]
    column, moved = names.index("fan_speed"), []
    times = [parse_instant(row["at"]) for row in rows("recalibrated")]
    assert times
    for truck, sensor, at, step in fleet.troubles.recalibrated:
        if sensor != column:
            continue
        mine = (fleet.messages.truck == truck) & (fleet.messages.what == -1)
        mine &= np.abs(fleet.messages.time - at) < 4 * DAY
        later = fleet.messages.time[mine] >= at
        values = fleet.messages.readings[fleet.messages.row[mine], column]
        if later.sum() > 20 and (~later).sum() > 20:
            moved.append((np.nanmedian(values[later]) - np.nanmedian(values[~later]), step))
    seen, true = np.array(moved).T
    assert np.corrcoef(seen, true)[0, 1] > 0.6


def test_error_codes_have_their_cause() -> None:
    """Each code follows telemetry of the same truck and time whose sensor is beyond the code's limit."""
    limits = {
        "low_coolant": lambda r: r["coolant_level"] < 0.4,
        "overheating": lambda r: r["engine_temperature"] > 105,
        "vibration_alarm": lambda r: r["vibration"] > 7.1,
        "undervoltage": lambda r: r["cranking_voltage"] < 17.5,
    }
    readings: dict[tuple[str, str], dict[str, Any]] = {}
    for event, row in devices():
        if event["kind"] == "telemetry":
            readings.setdefault((event["asset"], row["true_time"]), {}).update(event["readings"])
    whole = {sensor.name for sensor in field().sensors}
    seen = set()
    for event, row in devices():
        shown = readings.get((event["asset"], row["true_time"]), {})
        if event["kind"] == "fault" and set(shown) == whole and None not in shown.values():
            seen.add(event["code"])
            assert limits[event["code"]](shown)
    assert {"low_coolant", "overheating", "vibration_alarm"} <= seen


def test_lost_messages_are_told_and_nowhere_else() -> None:
    """What has no line was lost or came after the end, and its true time is in no line without a reason."""
    events, _, gone = told()
    assert gone
    assert all({"lost", "after_end"} & set(row["done"]) for row in gone)
    assert all(row["asset"].startswith("truck-") and row["kind"] in {"telemetry", "fault"} for row in gone)
    made = field().delivered
    assert made.arrived + len(gone) == made.message.size
    assert (made.done[: made.arrived] & LOST == 0).all()
    assert len(events) == made.arrived + len(field().records)


def test_codes_are_those_that_are_documented() -> None:
    """Every code in the truth has a meaning in the list of codes."""
    known = {*OF_MESSAGES, *OF_SENSORS, "observation", "forecast"}
    _, here, gone = told()
    found = {code.partition(":")[0] for row in (*here, *gone) for code in row["done"]}
    assert found <= known
    assert known - found <= {"after_end"}


def test_what_devices_do_does_not_change_what_trucks_do() -> None:
    """Without any trouble of devices the same trucks fail and send at the same times."""
    loud = load_scenario("field", trucks=8, days=20, every="1h")
    quiet = load_scenario("field", trucks=8, days=20, every="1h", delivery={}, clocks={}, sensors={})
    one, other = simulate(loud), simulate(quiet)
    assert one.episodes == other.episodes
    assert np.array_equal(one.lived.time, other.lived.time)
    rows_of_devices = [row for row in other.deliveries() if not WEATHER & set(row["done"])]
    troubles = {"late", "lost", "stored", "future", "duplicate"}
    assert not {code for row in rows_of_devices for code in row["done"]} & troubles


def test_clean_devices_deliver_every_message_in_seconds() -> None:
    """The scenario `plain` delays by seconds, and does nothing else to a message."""
    fleet = simulate(load_scenario("plain", trucks=8, days=10))
    made = fleet.delivered
    assert made.arrived >= made.message.size - 8
    assert made.arrival[-1] - HOUR < fleet.scenario.end
    assert (made.stamp == fleet.messages.time[made.message]).all()
    assert (made.arrival - made.stamp < MINUTE).all()
