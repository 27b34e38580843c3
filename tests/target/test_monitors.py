"""Monitors: what they are given, what they may write, and that one which raises harms nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from dataflows.fleet.fleet import Alert, Output
from dataflows.instants import format_instant
from dataflows.items import Item, Row, row_of
from dataflows.outputs import OutputRow
from dataflows.target import TargetStage
from dataflows.target.monitors import Monitor
from dataflows.target.target import MONITORS
from tests.target.fleets import PartStore, fleet, model, target
from tests.target.streams import observed, recordings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.items import Compared
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Period, Rows, Served

KEY = "pump/leak/4h"
HOOKS = ("served", "matured", "learned", "settled", "compared", "cleared", "forgotten", "begin_period")


def pumps(learn_positives: str = "together", alert: Alert | None = None) -> Fleet:
    of = target([model("linear"), model("prior")], learn_positives=learn_positives, alert=alert)
    made = fleet(of, figures_from=None)
    made = replace(made, output=Output(made.output.folder, "none", "all"))
    return replace(made, classes={"pump": replace(made.classes["pump"], compare=1.0)})


def opened(
    of: Fleet,
    monitors: Iterable[type[Monitor]],
    main: bytes | None = None,
    parts: dict[int, bytes] | None = None,
) -> TargetStage:
    return TargetStage(
        of, KEY, strict=True, on_error=_reject, main=main, parts=parts or {}, monitors=monitors
    )


def _reject(item: Item, error: Exception, stage: str) -> Row:  # noqa: ARG001 - as the stages call it
    return Row("rejects", orjson.dumps({"sequence": item.sequence, "why": str(error)}), "internal_error")


def rows_of(items: Sequence[Item]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        assert isinstance(item.body, Row)
        rows.setdefault(item.body.output, []).append(orjson.loads(item.body.data))
    return rows


def section(group: TargetStage) -> dict[str, Any]:
    """The target's section of the summary."""
    (item,) = group.finish()
    assert isinstance(item.body, Row)
    found: dict[str, Any] = orjson.loads(item.body.data)["targets"][KEY]
    return found


class HighestMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """The highest score of a period."""

    output = "metrics"
    key_field = "target"

    kind: str = "highest"
    target: str
    start: str
    end: str
    score: float
    known: str
    sequence: int
    arrival: str | None
    watermark: None


class HighestChange(OutputRow, frozen=True, kw_only=True):
    """A score above all before it."""

    output = "changes"
    key_field = "target"

    change: str = "highest_score"
    target: str
    score: float
    sequence: int


class HighestScore(Monitor):
    """As a reader of CONTRIBUTING adds one: the highest score of each period, and a change at each record."""

    name = "highest"

    def __init__(self, target: str, state: dict[str, Any] | None) -> None:
        self._target = target
        self._period: float | None = None if state is None else state["period"]
        self._ever: float = 0.0 if state is None else state["ever"]

    @classmethod
    @override
    def open(cls, context: Context, state: dict[str, Any] | None) -> HighestScore:
        return cls(context.target.name, state)

    @override
    def served(self, item: Item, served: Served) -> Rows:
        if served.score is None:
            return ()
        self.changed = True
        self._period = max(self._period or 0.0, served.score)
        if served.score <= self._ever:
            return ()
        self._ever = served.score
        return [row_of(HighestChange(target=self._target, score=served.score, sequence=item.sequence))]

    @override
    def period_rows(self, period: Period) -> list[HighestMetrics]:
        if self._period is None:
            return []
        return [HighestMetrics(target=period.target, score=self._period, **period.fields)]

    @override
    def begin_period(self) -> None:
        self._period = None
        self.changed = True

    @override
    def summary(self) -> dict[str, Any]:
        return {"highest_score": self._ever}

    @override
    def state(self) -> dict[str, Any]:
        return {"period": self._period, "ever": self._ever}


@given(recordings(40), st.integers(1, 9))
def test_a_monitor_is_one_class_and_one_line(lines: list[bytes], size: int) -> None:
    """It writes to metrics, changes and summary, goes on after every crash, and changes no other row."""
    items = observed(pumps(), lines)
    plain = rows_of(opened(pumps(), MONITORS).process([*items]))
    store, group = PartStore(), opened(pumps(), (*MONITORS, HighestScore))
    out: list[Item] = []
    for start in range(0, len(items), size):
        out += group.process(items[start : start + size])
        store.after_batch(group)
        store.end_epoch(group)
        main, parts = store.crash()
        group = opened(pumps(), (*MONITORS, HighestScore), main, parts)
    rows = rows_of(out)
    scores = [row["score"] for row in rows.get("predictions", [])]
    assert section(group).get("highest_score") == max(scores, default=0.0)
    highest = [row for row in rows.get("changes", []) if row["change"] == "highest_score"]
    assert [row["score"] for row in highest] == list(dict.fromkeys(np.maximum.accumulate(scores)))
    by_period = [row for row in rows.get("metrics", []) if row["kind"] == "highest"]
    assert all(row["score"] in scores for row in by_period)
    assert len({row["from"] for row in by_period}) == len(by_period)
    rows["changes"] = [row for row in rows.get("changes", []) if row not in highest]
    rows["metrics"] = [row for row in rows.get("metrics", []) if row not in by_period]
    assert {output: found for output, found in rows.items() if found} == plain


def recording(kind: type[Monitor]) -> type[Monitor]:
    """The monitor, which asserts at each hook that what became another is marked: its state, its entries."""

    def watched(hook: str) -> Callable[..., Any]:
        def call(self: Monitor, *what: Any) -> Any:  # noqa: ANN401
            assets = ["", "a", "b"]
            before = {of: msgspec.msgpack.encode(self.entry(of) if of else self.state()) for of in assets}
            marked, self.changed = self.changed, False
            self.touched()
            found = getattr(kind, hook)(self, *what)
            touched = self.touched()
            for of, was in before.items():
                now = msgspec.msgpack.encode(self.entry(of) if of else self.state())
                assert now == was or (of in touched if of else self.changed), f"{kind.name}: {hook} {of}"
            self.changed |= marked
            return found

        return call

    return type(kind.__name__, (kind,), {hook: watched(hook) for hook in HOOKS})


@given(alert=st.sampled_from([None, Alert(0.4, 0.2, 0, 0.01)]), lines=recordings(48))
def test_what_a_monitor_changes_is_written(alert: Alert | None, lines: list[bytes]) -> None:
    """Every hook of every monitor sets ``changed`` where its state becomes another."""
    group = opened(pumps(alert=alert), [recording(kind) for kind in (*MONITORS, HighestScore)])
    assert "rejects" not in rows_of(group.process(observed(pumps(), lines)))


class Listening(Monitor):
    """Notes what it is given."""

    name = "listening"

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    @classmethod
    @override
    def open(cls, context: Context, state: object) -> Listening:
        return cls()

    @override
    def served(self, item: Item, served: Served) -> Rows:
        kept = served.example
        self.heard.append(("served", (item.sequence, served.asset, served.time, served.revision)))
        if kept is not None:
            assert served.score == kept.scores[served.champion]
            assert served.features == kept.features
            self.heard.append(("example", (kept.asset, kept.time)))
        return ()

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        assert change.example.label == change.matured.label
        key = (change.example.asset, change.example.time, change.matured.label)
        self.heard.append(("matured", (item.sequence, *key)))
        return ()

    @override
    def learned(self, item: Item, example: Example) -> Rows:
        assert example.label in {0, 1}
        self.heard.append(("learned", (example.time, example.asset)))
        return ()

    @override
    def settled(self, item: Item, example: Example) -> Rows:
        assert example.first in {0, 1}
        self.heard.append(("settled", (example.time, example.asset)))
        return ()

    @override
    def compared(self, item: Item, example: Example | None, compared: Compared) -> Rows:
        assert example is None or compared.features is None or example.compared is not None
        self.heard.append(("compared", compared.time))
        return ()

    @override
    def cleared(self, item: Item, asset: str, why: str, time: int, opened: int | None) -> Rows:
        self.heard.append(("cleared", (item.sequence, why, opened)))
        return ()

    def of(self, hook: str) -> list[Any]:
        return [what for name, what in self.heard if name == hook]


@given(recordings(48), st.sampled_from(["together", "at_once"]))
def test_a_monitor_is_given_what_the_rows_say(lines: list[bytes], learn_positives: str) -> None:
    """Each prediction, evaluation, learned and counted example once, in the order of the rows."""
    of = pumps(learn_positives, Alert(0.4, 0.2, 0, 0.01))
    group = opened(of, (*MONITORS, Listening))
    rows = rows_of(group.process(observed(of, lines)))
    heard = group._monitors.of(Listening)
    assert heard is not None
    served = [
        (row["sequence"], row["asset"], row["time"], row["revision"]) for row in rows.get("predictions", [])
    ]
    assert [
        (number, asset, format_instant(time), revision)
        for number, asset, time, revision in heard.of("served")
    ] == served
    names = {1: "positive", 0: "negative", -1: "censored", None: "undecided"}
    assert [
        (number, asset, format_instant(time), names[label])
        for number, asset, time, label in heard.of("matured")
    ] == [(row["sequence"], row["asset"], row["time"], row["label"]) for row in rows.get("evaluations", [])]
    assert len(heard.of("learned")) == section(group)["learned"]
    assert max(Counter(heard.of("learned")).values(), default=1) == 1
    assert max(Counter(heard.of("settled")).values(), default=1) == 1
    closed = [row for row in rows.get("alerts", []) if row["threshold"] is None]
    assert [opened for _, _, opened in heard.of("cleared") if opened is not None] == [
        _instant(row["opened"]) for row in closed
    ]
    if learn_positives == "together":
        settled = set(heard.of("settled"))
        assert [each for each in heard.of("learned") if each in settled] == heard.of("settled")


def _instant(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "us").astype(np.int64))


class Unlucky(Listening):
    """Raises at every hook."""

    name = "unlucky"

    @override
    def served(self, item: Item, served: Served) -> Rows:
        raise ArithmeticError

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        raise ArithmeticError

    @override
    def settled(self, item: Item, example: Example) -> Rows:
        raise ArithmeticError

    @override
    def period_rows(self, period: Period) -> list[OutputRow]:
        raise ArithmeticError


@given(first=st.booleans(), lines=recordings(40))
def test_a_monitor_that_raises_harms_nothing(first: bool, lines: list[bytes]) -> None:
    """All other rows are as without it; each raise is a row of the rejects."""
    items = observed(pumps(), lines)
    group = opened(pumps(), MONITORS)
    plain, counted = rows_of(group.process([*items])), section(group)
    group = opened(pumps(), (Unlucky, *MONITORS) if first else (*MONITORS, Unlucky))
    rows = rows_of(group.process(items))
    raised = len(rows.pop("rejects", []))
    assert rows == plain
    assert raised >= len(rows.get("predictions", [])) + len(rows.get("evaluations", []))
    assert section(group) == counted
