"""Broken input among good, through the real engine: nothing is lost, and every row says why and where."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.connectors.files import FileSource
from dataflows.events import MAX_ATTRIBUTES, MAX_BYTES, MAX_SENSORS, Reject, decode
from dataflows.fleet.fleet import Input
from dataflows.instants import HOUR, MICROSECONDS, format_instant, parse_instant
from dataflows.outputs import LATE_REASONS
from dataflows.status import RunStatus
from tests.chaos.harness import dataflows, outputs, prepare, rows
from tests.tables import LEAK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    #: Lines of one kind at a spot: the last one is broken, those before it are good and make it so.
    Lines = Callable[["Spot"], bytes | tuple[bytes, ...]]

FLEET = (
    """
name = "broken"

[input]
files = ["events.jsonl"]

[assets]
unknown = "reject"

[classes.pump]
sensors = ["pressure", "flow"]
faults = ["hot"]

[[classes.pump.windows]]
length = "6h"
hop = "1h"
statistics = ["mean", "max"]
"""
    + LEAK
)
START = parse_instant("2025-01-01T00:00:00Z")
STEP = 10 * MICROSECONDS["m"]
ASSETS = 20
BROKEN = 10_000
#: Kinds whose lines are long are sent so often; the others share the rest evenly.
SELDOM = {
    "oversized": 3,
    "oversized blank": 3,
    "too many sensors": 20,
    "endless fraction": 5,
    "huge integer": 5,
}
_GONE: Any = object()


@dataclass(frozen=True)
class Spot:
    """Where a broken line stands: after a good one of this asset and time; the number is its own."""

    asset: str
    time: int
    number: int

    def record(self, **changes: object) -> dict[str, Any]:
        """The good telemetry of this spot, with changes."""
        good = {
            "kind": "telemetry",
            "asset": self.asset,
            "time": format_instant(self.time),
            "readings": {"pressure": 1.0 + self.number % 7, "flow": None},
            "id": f"t-{self.number}",
            "arrived": format_instant(self.time),
        }
        return {key: value for key, value in {**good, **changes}.items() if value is not _GONE}

    def line(self, **changes: object) -> bytes:
        return orjson.dumps(self.record(**changes))

    def other(self, kind: str, **fields: object) -> bytes:
        """A record of another kind."""
        return self.line(**{"kind": kind, "readings": _GONE, "id": _GONE, **fields})

    def literal(self, text: str) -> bytes:
        """Telemetry with a reading that is written so."""
        return self.line(readings={"pressure": 77_777}).replace(b"77777", text.encode())

    def ago(self, duration: int) -> str:
        return format_instant(self.time - duration)


NO_JSON: dict[str, Lines] = {
    "prose": lambda _: b"pump 7 is fine",
    "truncated": lambda s: s.line()[:-9],
    "two objects": lambda s: s.line() + s.line(),
    "trailing comma": lambda s: s.line()[:-1] + b",}",
    "single quotes": lambda s: s.line().replace(b'"', b"'"),
    "comment": lambda s: s.line() + b" // fine",
    "two byte order marks": lambda s: 2 * b"\xef\xbb\xbf" + s.line(),
    "UTF-16": lambda s: s.line().decode().encode("utf-16-le").replace(b"\n", b""),
    "invalid UTF-8": lambda s: s.line(asset="?").replace(b"?", b"\xff\xfe"),
    "overlong UTF-8": lambda s: s.line(asset="?").replace(b"?", b"\xc0\xaf"),
    "lone surrogate": lambda s: s.line(asset="?").replace(b"?", b"\\ud800"),
    "NUL bytes": lambda s: s.line() + b"\0\0",
    "raw control character": lambda s: s.line(asset="?").replace(b"?", b"\t"),
    "NaN": lambda s: s.literal("NaN"),
    "Infinity": lambda s: s.literal("-Infinity"),
    "beyond doubles": lambda s: s.literal("1e400"),
    "huge integer": lambda s: s.literal("9" * 100_000),
    "hexadecimal": lambda s: s.literal("0x1F"),
    "leading zero": lambda s: s.literal("007"),
    "too deep": lambda _: b"[" * 1_100 + b"]" * 1_100,
    "oversized": lambda s: s.line(note="x" * MAX_BYTES),
    "oversized blank": lambda _: b" " * (MAX_BYTES + 1),
}
NO_EVENT: dict[str, Lines] = {
    "array": lambda s: b"[" + s.line() + b"]",
    "number": lambda _: b"7",
    "text": lambda s: orjson.dumps(s.line().decode()),
    "null": lambda _: b"null",
    "empty object": lambda _: b"{}",
    "kind missing": lambda s: s.line(kind=_GONE),
    "kind unknown": lambda s: s.line(kind="telemetrie"),
    "kind a number": lambda s: s.line(kind=1),
    "kind deep": lambda s: s.line(kind="?").replace(b'"?"', b"[" * 1_000 + b"]" * 1_000),
    "asset missing": lambda s: s.line(asset=_GONE),
    "asset null": lambda s: s.line(asset=None),
    "asset a number": lambda s: s.line(asset=7),
    "asset empty": lambda s: s.line(asset=""),
    "asset too long": lambda s: s.line(asset="p" * 257),
    "asset with a control character": lambda s: s.line(asset="pump\u00077"),
    "asset with a line separator": lambda s: s.line(asset="pump\u20287"),
    "time missing": lambda s: s.line(time=_GONE),
    "time null": lambda s: s.line(time=None),
    "time a boolean": lambda s: s.line(time=True),
    "time an array": lambda s: s.line(time=[2025, 1, 1]),
    "time without offset": lambda s: s.line(time="2025-01-01T00:00:00"),
    "time a date": lambda s: s.line(time="2025-01-01"),
    "time an impossible date": lambda s: s.line(time="2025-02-30T00:00:00Z"),
    "time an impossible hour": lambda s: s.line(time="2025-01-01T25:00:00Z"),
    "time an impossible offset": lambda s: s.line(time="2025-01-01T00:00:00+24:00"),
    "time in the year 0": lambda s: s.line(time="0000-01-01T00:00:00Z"),
    "time in the year 2300": lambda s: s.line(time="2300-01-01T00:00:00Z"),
    "time in epoch milliseconds": lambda s: s.line(time=s.time // 1000),
    "time in epoch seconds as text": lambda s: s.line(time=str(s.time // 1_000_000)),
    "endless fraction": lambda s: s.line(time=f"2025-01-01T00:00:00.{'1' * 100_000}Z"),
    "arrived without offset": lambda s: s.line(arrived="2025-01-01T00:00:00"),
    "arrived in epoch milliseconds": lambda s: s.line(arrived=s.time // 1000),
    "id a number": lambda s: s.line(id=7),
    "id empty": lambda s: s.line(id=""),
    "readings missing": lambda s: s.line(readings=_GONE),
    "readings an array": lambda s: s.line(readings=[1.0, 2.0]),
    "reading a text": lambda s: s.line(readings={"pressure": "1.0"}),
    "reading a boolean": lambda s: s.line(readings={"pressure": True}),
    "reading an object": lambda s: s.line(readings={"pressure": {"value": 1.0}}),
    "reading an array": lambda s: s.line(readings={"pressure": [1.0]}),
    "reading too large": lambda s: s.line(readings={"pressure": 1.1e15}),
    "reading too small": lambda s: s.line(readings={"pressure": -(10**15) - 1}),
    "reading beyond 64 bits": lambda s: s.literal("123456789012345678901234567890"),
    "too many sensors": lambda s: s.line(readings=dict.fromkeys(map(str, range(MAX_SENSORS + 1)), 0)),
    "second of duplicate keys wrong": lambda s: s.line()[:-1] + b',"time":"yesterday"}',
    "failure without mode": lambda s: s.other("failure"),
    "failure of an empty mode": lambda s: s.other("failure", mode=""),
    "maintenance of a number": lambda s: s.other("maintenance", component=7),
    "fault without code": lambda s: s.other("fault"),
    "retraction without id": lambda s: s.other("retraction"),
    "asset without class": lambda s: s.other("asset"),
    "asset with a site of numbers": lambda s: s.other("asset", **{"class": "pump"}, site=[52.5, 13.4]),
    "asset retired by text": lambda s: s.other("asset", **{"class": "pump"}, retired="yes"),
    "attributes an array": lambda s: s.other("asset", **{"class": "pump"}, attributes=["P100"]),
    "attribute an object": lambda s: s.other("asset", **{"class": "pump"}, attributes={"model": {}}),
    "attribute a long text": lambda s: s.other("asset", **{"class": "pump"}, attributes={"model": "x" * 257}),
    "too many attributes": lambda s: s.other(
        "asset", **{"class": "pump"}, attributes=dict.fromkeys(map(str, range(MAX_ATTRIBUTES + 1)))
    ),
}


def _twice(line: bytes) -> tuple[bytes, bytes]:
    return line, line


KINDS: dict[str, dict[str, Lines]] = {
    "malformed": NO_JSON | NO_EVENT,
    "unknown_asset": {
        "telemetry of an unknown asset": lambda s: s.line(asset=f"ghost-{s.number}"),
        "failure of an unknown asset": lambda s: s.other("failure", asset="ghost", mode="leak"),
        "fault of an unknown asset": lambda s: s.other("fault", asset="ghost", code="hot"),
        "retraction of an unknown asset": lambda s: s.other("retraction", asset="ghost", id="f-1"),
        "future of an unknown asset": lambda s: s.line(asset="ghost", time=s.ago(-9 * HOUR)),
    },
    "unknown_class": {
        "asset of an unknown class": lambda s: s.other("asset", **{"class": "pumps"}),
        "new asset of an unknown class": lambda s: s.other("asset", asset="ghost", **{"class": "truck"}),
    },
    "future": {
        "telemetry of the future": lambda s: s.line(time=s.ago(-HOUR - 1)),
        "failure of the future": lambda s: s.other("failure", time=s.ago(-2 * HOUR), mode="leak"),
        "maintenance of the future": lambda s: s.other("maintenance", time="2199-12-31T00:00:00Z"),
        "fault of the future": lambda s: s.other("fault", time=s.ago(-2 * HOUR), code="hot"),
    },
    "duplicate": {
        "telemetry twice": lambda s: s.line(),
        "telemetry twice, fields in another order": lambda s: orjson.dumps(
            dict(reversed(s.record().items()))
        ),
        "failure twice": lambda s: _twice(s.other("failure", mode="leak", id=f"f-{s.number}")),
        "failure twice, without id": lambda s: _twice(s.other("failure", mode="leak")),
        "maintenance twice": lambda s: _twice(s.other("maintenance", component="seal")),
        "fault twice": lambda s: _twice(s.other("fault", code="hot")),
    },
    "too_late": {
        "telemetry too late": lambda s: s.line(time=s.ago(1), id=f"late-{s.number}"),
        "telemetry a day too late": lambda s: s.line(time=s.ago(24 * HOUR), id=_GONE),
        "telemetry of 1900": lambda s: s.line(time="1900-01-01T00:00:00Z", id=_GONE),
        "fault too late": lambda s: s.other("fault", time=s.ago(24 * HOUR), code="hot"),
    },
    "unmatched": {
        "failure too old for any example": lambda s: s.other(
            "failure", time=s.ago(9_000 * HOUR), mode="leak"
        ),
        "maintenance too old for any example": lambda s: s.other("maintenance", time=s.ago(9_000 * HOUR)),
        "retraction of nothing": lambda s: s.other("retraction", id=f"none-{s.number}"),
        "retraction of telemetry": lambda s: s.other("retraction", id=f"t-{s.number}"),
        "retraction twice": lambda s: (
            s.other("failure", mode="leak", id=f"f-{s.number}"),
            *_twice(s.other("retraction", id=f"f-{s.number}")),
        ),
    },
}
#: What the lane finds; the asset finds the others.
OF_THE_LANE = ("future", "malformed", "unknown_asset", "unknown_class")


@dataclass(frozen=True)
class Sent:
    """One line of the recording.

    Attributes:
        kind: what is broken in it, None for a good one.
        sequence: its number among the records, None for a blank line, which is none.
    """

    raw: bytes
    kind: str | None
    reason: str | None
    line: int
    offset: int
    sequence: int | None


def recording(seed: int = 4) -> list[Sent]:
    """Every kind of broken line as often as said, shuffled, each behind a good line of its asset."""
    reasons = {kind: reason for reason, kinds in KINDS.items() for kind in kinds}
    assert len(reasons) == sum(map(len, KINDS.values()))
    often = [kind for kind in reasons if kind not in SELDOM]
    kinds = [kind for kind, times in SELDOM.items() for _ in range(times)]
    kinds += [often[index % len(often)] for index in range(BROKEN - len(kinds))]
    random.Random(seed).shuffle(kinds)
    sent: list[Sent] = []
    offset, sequence = 0, 0
    for raw, kind in _lines(kinds, reasons):
        blank = not raw or (raw.isspace() and kind is None)
        sequence += not blank
        place = (len(sent) + 1, offset, None if blank else sequence)
        sent.append(Sent(raw, kind, None if kind is None else reasons[kind], *place))
        offset += len(raw) + 1
    return sent


def _lines(kinds: list[str], reasons: dict[str, str]) -> Iterator[tuple[bytes, str | None]]:
    for index in range(ASSETS):
        yield orjson.dumps({"kind": "asset", "asset": f"pump-{index}", "class": "pump"}), None
    for number, kind in enumerate(kinds):
        spot = Spot(f"pump-{number % ASSETS}", START + number // ASSETS * STEP, number)
        yield spot.line(), None
        found = KINDS[reasons[kind]][kind](spot)
        *good, broken = found if isinstance(found, tuple) else (found,)
        for line in good:
            yield line, None
        yield broken, kind
        if number % 97 == 0:
            yield (b"", b" \t\r")[number % 2], None


@dataclass(frozen=True)
class Ran:
    """A recording, and what came of it."""

    sent: list[Sent]
    path: str
    rows: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]

    def unused(self) -> dict[int, tuple[str, dict[str, Any]]]:
        """Rows of rejects and late by sequence, each with its output."""
        found = [(name, row) for name in ("rejects", "late") for row in self.rows[name]]
        by_sequence = {row["sequence"]: (name, row) for name, row in found}
        assert len(by_sequence) == len(found), "no record has two rows"
        return by_sequence

    def unused_row(self, line: Sent) -> dict[str, Any]:
        """The row of a broken line."""
        assert line.sequence is not None
        return self._by_sequence[line.sequence][1]

    @cached_property
    def _by_sequence(self) -> dict[int, tuple[str, dict[str, Any]]]:
        return self.unused()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The recording, run once by ``python -m dataflows run``."""
    sent = recording()
    fleet = prepare(tmp_path_factory.mktemp("broken"), [line.raw for line in sent], FLEET)
    done = dataflows("run", str(fleet), "--no-recovery")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: rows(data) for name, data in outputs(fleet.parent / "out").items()}
    summary = json.loads((fleet.parent / "out" / "summary.json").read_text())
    return Ran(sent, str(fleet.parent / "events.jsonl"), found, summary)


def test_the_recording_is_as_broken_as_it_should_be(ran: Ran) -> None:
    """10,000 broken lines of more than 40 kinds stand among more than 10,000 good ones."""
    broken = Counter(line.kind for line in ran.sent if line.kind is not None)
    good = [line for line in ran.sent if line.kind is None and line.sequence is not None]
    assert broken.total() == BROKEN
    assert set(broken) == {kind for kinds in KINDS.values() for kind in kinds}
    assert len(broken) > 40
    assert all(times > 50 for kind, times in broken.items() if kind not in SELDOM)
    assert len(good) > 10_000


def test_every_broken_line_is_found_with_its_reason_and_position(ran: Ran) -> None:
    """Rejects and late hold just the broken lines: reason, output, source, line, byte and sequence."""
    expected = {
        line.sequence: (
            "late" if line.reason in LATE_REASONS else "rejects",
            line.reason,
            ran.path,
            line.line,
            line.offset,
        )
        for line in ran.sent
        if line.kind is not None
    }
    found = {
        sequence: (name, row["reason"], row["source"], row["line"], row["offset"])
        for sequence, (name, row) in ran.unused().items()
    }
    kinds = {line.sequence: line.kind for line in ran.sent}
    differing = {
        (kinds[sequence], expected.get(sequence), found.get(sequence))
        for sequence in expected.keys() | found.keys()
        if expected.get(sequence) != found.get(sequence)
    }
    assert not differing, sorted(differing, key=str)[:5]


def test_a_position_leads_to_the_line(ran: Ran) -> None:
    """The byte offset of a row is where its line begins in the file."""
    with open(ran.path, "rb") as file:  # noqa: PTH123 - a path as the row has it
        data = file.read()
    raws = {line.sequence: line.raw for line in ran.sent}
    for sequence, (_, row) in ran.unused().items():
        raw = raws[sequence]
        assert data[row["offset"] : row["offset"] + len(raw) + 1] == raw + b"\n"


def test_every_reject_says_what_is_wrong(ran: Ran) -> None:
    """A detail in words, short enough for a table."""
    details = [row["detail"] for _, row in ran.unused().values()]
    assert all(0 < len(detail) < 300 for detail in details), max(details, key=len)


def test_what_could_not_be_decoded_is_kept_raw(ran: Ran) -> None:
    """A malformed line is in its row, bytes that are no text escaped; of an oversized one the beginning."""
    for line in ran.sent:
        if line.reason == "malformed":
            row = ran.unused_row(line)
            kept = line.raw if len(line.raw) <= MAX_BYTES else line.raw[:1000]
            assert row["raw"] == kept.decode("utf-8", "backslashreplace"), line.kind
            assert "event" not in row


def test_what_was_decoded_can_be_sent_again(ran: Ran) -> None:
    """The event of a row decodes into the very event that came in."""
    for line in ran.sent:
        if line.reason not in {None, "malformed"}:
            row = ran.unused_row(line)
            event = decode(line.raw)
            assert not isinstance(event, Reject)
            assert decode(orjson.dumps(row["event"])) == event, line.kind
            assert row["asset"] == event.asset
            assert "raw" not in row


def test_every_good_event_is_scored(ran: Ran) -> None:
    """One prediction for each good telemetry line, another for a fault of its time; and none else."""
    expected = []
    for line in ran.sent:
        if line.kind is None and line.sequence is not None:
            record = json.loads(line.raw)
            if record["kind"] in {"telemetry", "fault"}:
                revision = int(record["kind"] == "fault")
                expected.append((line.sequence, record["asset"], record["time"], revision))
    found = [(row["sequence"], row["asset"], row["time"], row["revision"]) for row in ran.rows["predictions"]]
    assert found == expected


def test_the_summary_counts_what_came_in(ran: Ran) -> None:
    """Records, kinds and rejects of summary.json are those of the recording."""
    records = [line for line in ran.sent if line.sequence is not None]
    by_reason = Counter(line.reason for line in records)
    kinds = Counter(json.loads(line.raw)["kind"] for line in records if line.reason is None)
    counted = ran.summary["input"]
    assert counted["records"] == len(records)
    assert counted["assets"] == ASSETS
    assert counted["rejected"] == {reason: n for reason, n in by_reason.items() if reason is not None}
    assert counted["by_kind"] == {
        ("registration" if kind == "asset" else kind): n for kind, n in kinds.items()
    }
    assert sum(counted["by_kind"].values()) + sum(counted["rejected"].values()) == len(records)


def test_nothing_that_is_broken_counts_as_an_error_of_ours(ran: Ran) -> None:
    """No row is an internal error, and no asset started anew."""
    assert not [row for _, row in ran.unused().values() if row["reason"] == "internal_error"]
    assert not [row for row in ran.rows["changes"] if row["change"] == "asset_reset"]


def test_the_later_of_duplicate_keys_counts() -> None:
    """JSON with a key twice is no reject; what stands last is taken, as most readers do."""
    spot = Spot("pump-1", START, 1)
    assert decode(spot.line()[:-1] + b',"asset":"pump-2"}') == decode(spot.line(asset="pump-2"))


def test_a_batch_of_long_lines_is_short(tmp_path: Path) -> None:
    """The source bounds a batch by its bytes too, and splits no line and loses none by that."""
    path = tmp_path / "long.jsonl"
    long = b"x" * (MAX_BYTES - 10)
    path.write_bytes((long + b"\n") * 30 + b"y\n" * 30)
    part = FileSource(Input((str(path),), 1000), RunStatus()).build_part("source", "lane-0", None)
    batches = [part.next_batch()]
    while sum(map(len, batches)) < 60:
        batches.append(part.next_batch())
    with pytest.raises(StopIteration):
        part.next_batch()
    part.close()
    assert [item.body for batch in batches for item in batch] == [long] * 30 + [b"y"] * 30
    assert max(sum(len(item.body) for item in batch) for batch in batches) < 6_000_000
    assert len(batches[-1]) >= 30
