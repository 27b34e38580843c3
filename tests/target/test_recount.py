"""Metrics follow from the evaluations, by the rule of docs/event-time.md, "Figures by period"."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import structlog
from hypothesis import event, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.items import Item, Observation
from dataflows.pipeline import run_inline
from dataflows.scoring import CLIP
from dataflows.testing import failure, maintenance, pump_fleet, retraction, telemetry
from tests.target.fleets import fleet, model, target
from tests.target.streams import observed, recordings
from tests.target.worlds import decoded, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Row = dict[str, Any]

HORIZON, THRESHOLD = 4 * HOUR, 0.3
LABELS = {"positive": 1, "negative": 0}
#: What rows of the metrics say of the target at the end of their period, and not of its evaluations.
OTHER = {
    *("kind", "target", "model", "champion", "from", "to", "known", "sequence", "arrival", "watermark"),
    *("pending", "errors", "set_aside", "reliability"),
}


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def recounted(rows: Iterable[Row], model: str) -> Row:
    """Figures of one model over evaluations, each of which counts under its own label."""
    scored = [row for row in rows if row["scores"].get(model) is not None]
    counted = [row for row in scored if row["label"] in LABELS]
    labels = np.array([LABELS[row["label"]] for row in counted], dtype=int)
    scores = np.array([row["scores"][model] for row in counted])
    positives, warned = int(labels.sum()), scores >= THRESHOLD
    found: Row = {"examples": len(counted), "positives": positives}
    if not counted:
        return found
    true, false = int(labels[warned].sum()), int((1 - labels[warned]).sum())
    hidden = sum(_is_maintained(row) and row["scores"][model] >= THRESHOLD for row in scored)
    both = 0 < positives < len(labels)
    leads = sorted(
        row["lead"] for row in counted if row["label"] == "positive" and row["scores"][model] >= THRESHOLD
    )
    return {
        **found,
        "log_loss": log_loss(labels, scores.clip(CLIP, 1 - CLIP), labels=[0, 1]),
        "brier": ((scores - labels) ** 2).mean(),
        "roc_auc": roc_auc_score(labels, scores) if both else None,
        "pr_auc": average_precision_score(labels, scores) if both else None,
        "precision": _share(true, true + false),
        "recall": _share(true, positives),
        "precision_low": _share(true, true + false + hidden),
        "precision_high": _share(true + hidden, true + false + hidden),
        "recall_low": _share(true, positives),
        "recall_high": _share(true + hidden, positives + hidden),
        "censored_warned": hidden,
        "calibration_error": _calibration_error(labels, scores),
        "mean_score": scores.mean(),
        "base_rate": labels.mean(),
        "median_lead": leads[(len(leads) - 1) // 2] if leads else None,
    }


def _is_maintained(row: Row) -> bool:
    return bool(row["label"] == "censored" and row["why"] == "maintenance")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean gap between score and share of positives, in ten bins of equal mass by score."""
    gaps = []
    values, counts = np.unique(scores, return_counts=True)
    bins = np.minimum(((np.cumsum(counts) - counts / 2) * 10 / len(scores)).astype(int), 9)
    of_example = bins[np.searchsorted(values, scores)]
    for number in np.unique(bins):
        mine = of_example == number
        gaps.append(abs((scores[mine] - labels[mine]).sum()))
    return float(sum(gaps) / len(scores))


def counts(rows: Iterable[Row], before: dict[tuple[str, int], Row]) -> Row:
    """What a period counts once a target: reasons, labels that contradict, failures after silence.

    Args:
        rows: of the period.
        before: the row of the same id with the correction before, by id and correction of the later one.
    """
    rows = list(rows)
    pairs = [(before[row["id"], row["correction"]], row) for row in rows if row["correction"]]
    return {
        "censored": dict(
            sorted(
                Counter(
                    row["why"] for row in rows if not row["correction"] and row["label"] == "censored"
                ).items()
            )
        ),
        "contradicted": sum(old["label"] not in {"undecided", new["label"]} for old, new in pairs),
        "positive_after_silence": sum(
            (old["label"], old["why"], new["label"]) == ("censored", "silent", "positive")
            for old, new in pairs
        ),
    }


def assert_figures(row: Row, expected: Row) -> None:
    """Equal figures; the median lead to a 64th of the horizon."""
    assert {name: value for name, value in row.items() if name not in OTHER}.keys() == expected.keys()
    for name, value in expected.items():
        near = HORIZON / HOUR / 128 + 1e-9 if name == "median_lead" else 1e-9
        is_number = isinstance(value, float)
        assert row[name] == (pytest.approx(value, rel=1e-9, abs=near) if is_number else value), name


def assert_metrics_follow(evaluations: Sequence[Row], metrics: Sequence[Row], models: set[str]) -> int:
    """Every row of a closed period equals its recount, and no row is missing; returns how many there are."""
    by_correction = {(row["id"], row["correction"]): row for row in evaluations}
    assert len(by_correction) == len(evaluations)
    before = {(name, number + 1): row for (name, number), row in by_correction.items()}
    periods = {(row["from"], row["to"]): [] for row in metrics}
    last = max((row["to"] for row in metrics), default="")
    for row in evaluations:
        # Times of one form are in order as texts are. What is known after the last row is of the open period.
        (mine,) = [each for each in periods if each[0] < row["known"] <= each[1]] or [None]
        # Nothing counts where only a lead changes, or what was undecided has a label again.
        is_nothing = row["correction"] > 0 and not any(counts([row], before).values())
        assert mine or row["known"] > last or is_nothing, f"no row of the metrics for {row}"
        if mine:
            periods[mine].append(row)
    for row in metrics:
        mine_rows = periods[row["from"], row["to"]]
        firsts = [each for each in mine_rows if not each["correction"]]
        assert_figures(row, {**recounted(firsts, row["model"]), **counts(mine_rows, before)})
    assert Counter((row["from"], row["model"]) for row in metrics) == {
        (start, each): 1 for start, _ in periods for each in models
    }
    return len(metrics)


def assert_summary_follows(evaluations: Sequence[Row], summary: Row, figures_from: int | None) -> None:
    """Figures under first and final labels equal their recount, with bounds."""
    rows = [row for row in evaluations if figures_from is None or parse_instant(row["time"]) >= figures_from]
    before = {(row["id"], row["correction"] + 1): row for row in rows}
    chosen = {
        "first_labels": [row for row in rows if not row["correction"]],
        "final_labels": list({row["id"]: row for row in rows}.values()),
    }
    for labels, found in chosen.items():
        for name, row in summary[labels].items():
            assert_figures(row, recounted(found, name))
    found = counts(rows, before)
    assert {name: summary[name] for name in found} == found


def mixed(items: list[Item], chance: random.Random) -> list[Item]:
    """In another order, in which each asset keeps its own: what two workers send to one target."""
    lines: dict[str, list[Item]] = {}
    for item in items:
        assert isinstance(item.body, Observation)
        lines.setdefault(item.body.asset, []).append(item)
    left = [iter(line) for line in lines.values()]
    order = [number for number, line in enumerate(lines.values()) for _ in line]
    chance.shuffle(order)
    return [next(left[number]) for number in order]


@pytest.mark.ci
@given(recordings(60), st.sampled_from(["together", "at_once"]), st.none() | st.integers(0, 99))
def test_metrics_follow_from_the_evaluations(
    lines: list[bytes], learn_positives: str, disorder: int | None
) -> None:
    """Every row of a period and the summary, also where records of several workers mix (stragglers)."""
    of = fleet(
        target([model("linear"), model("prior")], learn_positives=learn_positives, threshold=THRESHOLD)
    )
    items = observed(of, lines)
    group = opened(of, strict=disorder is None)
    if disorder is not None:
        items = mixed(items, random.Random(disorder))
    rows: dict[str, list[Row]] = {}
    largest = 0
    for item in items:
        largest = max(largest, item.known)
        for output, made in decoded(group.process([item])).items():
            for row in made:
                if output == "evaluations":
                    # A late row of another worker counts with the largest knowledge time so far.
                    known = format_instant(largest)
                    assert row["known"] == known or disorder is not None
                    row["known"] = known
                rows.setdefault(output, []).append(row)
    evaluations = rows.get("evaluations", [])
    metrics = [row for row in rows.get("metrics", []) if row["kind"] == "model"]
    closed = assert_metrics_follow(evaluations, metrics, {"linear", "prior"})
    event(f"closed periods: {min(closed // 2, 3)}")
    (end,) = group.finish()
    section = decoded([end])["summary"][0]["targets"][KEY]
    assert_summary_follows(evaluations, section, of.figures_from)


_steps = st.lists(
    st.tuples(
        st.integers(1, 200),
        st.sampled_from("aabc"),
        st.sampled_from(["telemetry"] * 6 + ["failure", "failure", "maintenance", "retraction", "moved"]),
        st.integers(0, 300),
    ),
    min_size=20,
    max_size=60,
)


KEY = "pump/leak/4h"
PUMPS = pump_fleet(
    {
        "linear": {
            "pipeline": [
                {"estimator": "river.preprocessing.StandardScaler"},
                {"estimator": "river.linear_model.LogisticRegression"},
            ]
        }
    },
    metrics_every="6h",
    classes={
        "pump": {
            "sensors": ["pressure"],
            "allowed_lateness": "1h",
            "label_delay": "1h",
            "example_every": "1h",
            "idle_timeout": "5h",
            "downtime": "1h",
        }
    },
    targets=[
        {
            "class": "pump",
            "mode": "leak",
            "component": "seal",
            "horizon": "4h",
            "threshold": THRESHOLD,
            "champion": "linear",
        }
    ],
)


def sent(steps: list[tuple[int, str, str, int]]) -> list[bytes]:
    """Records of assets that fall silent now and then; failures are withdrawn or sent with another time."""
    now, lines, known = 0, [], []
    for number, (minutes, asset, kind, back) in enumerate(steps):
        now += 60 * minutes
        more: Row = {"arrived": now, "id": f"r{number}"}
        if kind == "telemetry":
            lines.append(telemetry(asset, now, {"pressure": back / 100}, **more))
        elif kind in {"failure", "maintenance"}:
            known.append((asset, more["id"]))
            make = failure if kind == "failure" else maintenance
            lines.append(make(asset, now - 60 * back, "leak" if kind == "failure" else "seal", **more))
        elif known:
            owner, more["id"] = known[back % len(known)]
            again = failure(owner, now - 60 * back, "leak", **more)
            withdrawn = retraction(owner, more["id"], arrived=now)
            lines.append(withdrawn if kind == "retraction" else again)
    return lines


@given(_steps)
def test_metrics_follow_where_failures_are_withdrawn_and_assets_fall_silent(
    steps: list[tuple[int, str, str, int]],
) -> None:
    """The same over the whole path: retractions, corrections by id, silence, and machines that are down."""
    lines = sent(steps)
    rows = run_inline(PUMPS, lines)
    metrics = [row for row in rows["metrics"] if row["kind"] == "model"]
    assert_metrics_follow(rows["evaluations"], metrics, {"linear", "prior"})
    summary = next(section["targets"][KEY] for section in rows["summary"] if "targets" in section)
    assert_summary_follows(rows["evaluations"], summary, None)
    for row in rows["evaluations"]:
        event(f"{row['label']}, {row['why']}, corrects: {row['correction'] > 0}")
