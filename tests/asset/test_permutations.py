"""What the order of arrival may change: which events are examples and what was served, but no label."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from dataflows.items import Late
from tests.asset.lives import Record, Setting, check_observed, expected_of, item_of
from tests.asset.oracle import CENSORED, NEGATIVE, POSITIVE, TargetShape
from tests.asset.streams import HOUR, MINUTE, SENSORS, STARTS, Event, layouts, readings_of
from tests.observations import parts_of, processed

#: Long enough that every example is remembered to the end.
MEMORY = 10_000 * HOUR


class Life(NamedTuple):
    """A class with targets; one asset's events, in two orders."""

    setting: Setting
    happened: list[Event | Record]
    first: list[int]
    second: list[int]

    @property
    def end(self) -> int:
        """A time that every label clock passes."""
        longest = max(target.wait for target in self.setting.targets)
        times = [event.time for event in self.happened]
        return max(times) + longest + self.setting.layout.lateness + 1

    def ordered(self, order: list[int]) -> list[Event | Record]:
        """The events in one order, and one that passes all of them."""
        return [*(self.happened[index] for index in order), Event(self.end, {}, None)]


_CODES = st.tuples(*[st.none() | st.integers(-50, 50)] * len(SENSORS))
_TELEMETRY = st.tuples(st.integers(1, 60), _CODES)
_RECORDS = st.tuples(
    st.sampled_from(
        [("failure", "seal"), ("failure", "motor"), ("maintenance", None), ("maintenance", "seal")]
    ),
    st.integers(0, 40),
    st.sampled_from([-1, 0, 1]),
)
_TARGETS = st.tuples(
    st.sampled_from(["seal", "motor"]),
    st.sampled_from([10 * MINUTE, HOUR, 4 * HOUR]),
    st.sampled_from([0, 5 * MINUTE]),
)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Telemetry that is late by at most the lateness, failures and maintenance that come at any time."""
    layout = draw(layouts())
    if draw(st.booleans()):
        layout = layout._replace(required=layout.sensors)
    targets = tuple(
        TargetShape(f"pump/{mode}/{index}", mode, "seal", horizon, delay, MEMORY)
        for index, (mode, horizon, delay) in enumerate(draw(st.lists(_TARGETS, min_size=1, max_size=2)))
    )
    setting = Setting(layout, targets, draw(st.sampled_from([MINUTE, 5 * MINUTE, HOUR])))
    start = time = draw(st.sampled_from(STARTS))
    happened: list[Event | Record] = []
    for ahead, codes in draw(st.lists(_TELEMETRY, min_size=2, max_size=16)):
        time += ahead * MINUTE // 2
        happened.append(Event(time, readings_of(codes, ((0.0, 1.0),) * len(SENSORS)), None))
    count = len(happened)
    for number, ((kind, what), amount, nudge) in enumerate(draw(st.lists(_RECORDS, max_size=4))):
        happened.append(Record(kind, start + amount * 15 * MINUTE + nudge, what, str(number)))
    orders = []
    for _ in range(2):
        delays = draw(st.lists(st.integers(0, 16), min_size=count, max_size=count))
        arrivals = [
            event.time + layout.lateness * delay // 16
            for event, delay in zip(happened[:count], delays, strict=True)
        ]
        moments = st.integers(start - HOUR, time + HOUR)
        arrivals += [draw(moments) for _ in happened[count:]]
        orders.append(sorted(range(len(happened)), key=arrivals.__getitem__))
    return Life(setting, happened, *orders)


def lived(setting: Setting, life: list[Event | Record]) -> dict[tuple[str, int], int]:
    """The last label of each example, once everything served was held against the oracle."""
    asset, oracle = setting.asset(), setting.oracle()
    labels: dict[tuple[str, int], int] = {}
    examples = set()
    for number, event in enumerate(life, start=1):
        items = [item for item in processed(asset, item_of(number, event)) if not isinstance(item.body, Late)]
        expected = expected_of(oracle, event)
        assert not isinstance(expected, str), expected
        for item, want in zip(items, expected, strict=True):
            check_observed(item.body, want)
            seen = parts_of(item.body)
            if seen.example:
                examples.add((seen.target, seen.time))
            told = (*seen.matured, *([] if seen.at_once is None else [seen.at_once]))
            labels.update({(seen.target, matured.time): matured.label for matured in told})
    # The last event stands for the end; what it is itself is not decided.
    end = life[-1].time
    assert labels.keys() == {key for key in examples if key[1] < end}
    return labels


def label_of(target: TargetShape, time: int, records: list[Record]) -> int:
    """What all records together say of an example."""
    inside = [record for record in records if time < record.time <= time + target.horizon]
    if any((record.kind, record.what) == ("failure", target.mode) for record in inside):
        return POSITIVE
    worked = any(
        record.kind == "maintenance" and record.what in {None, target.component} for record in inside
    )
    return CENSORED if worked else NEGATIVE


@given(lives())
def test_examples_that_two_orders_share_end_with_the_same_label(life: Life) -> None:
    """All that is served in each order is the oracle's; the labels are those of all records together."""
    first, second = (lived(life.setting, life.ordered(order)) for order in (life.first, life.second))
    for key in first.keys() & second.keys():
        assert first[key] == second[key]
    records = [event for event in life.happened if isinstance(event, Record)]
    targets = {target.name: target for target in life.setting.targets}
    for labels in (first, second):
        assert labels == {(name, time): label_of(targets[name], time, records) for name, time in labels}
