"""``python -m tests.k8s.dashboards``: write the chart's dashboards for Grafana from their panels.

A panel is a title, a unit and its expressions; everything else of Grafana's JSON follows from its place.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.k8s.charts import CHART

FOLDER = CHART / "files" / "dashboards"
#: The series of the chosen fleets.
CHOSEN = '{job=~"$job"}'


class Panel(NamedTuple):
    """A graph over time.

    Attributes:
        title: what it answers.
        unit: of Grafana.
        lines: expression by legend.
    """

    title: str
    unit: str
    lines: dict[str, str]


def _quantile(name: str, share: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate(highwater_{name}_bucket{CHOSEN}[5m])))"


def _loss() -> str:
    losses = f"sum by (target, role) (increase(highwater_log_loss_total{CHOSEN}[$window]))"
    examples = f"sum by (target) (increase(highwater_examples_total{CHOSEN}[$window]))"
    return f"{losses} / on (target) group_left {examples}"


def _labelled() -> str:
    return f"sum by (target, label) (increase(highwater_examples_total{CHOSEN}[$window]))"


def _positives() -> str:
    positive = "highwater_examples_total" + CHOSEN.replace("}", ',label="positive"}')
    return (
        f"sum by (target) (increase({positive}[$window])) "
        f"/ sum by (target) (increase(highwater_examples_total{CHOSEN}[$window]))"
    )


DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "data": (
        "Highwater: data and engine",
        [
            Panel("Records read", "ops", {"{{instance}}": f"rate(highwater_records_total{CHOSEN}[5m])"}),
            Panel(
                "Accepted by kind",
                "ops",
                {"{{kind}}": f"sum by (kind) (rate(highwater_events_total{CHOSEN}[5m]))"},
            ),
            Panel(
                "Rejected and late by reason",
                "ops",
                {"{{reason}}": f"sum by (reason) (rate(highwater_rejected_total{CHOSEN}[5m]))"},
            ),
            Panel(
                "Rows written",
                "ops",
                {"{{output}}": f"sum by (output) (rate(highwater_rows_total{CHOSEN}[5m]))"},
            ),
            Panel(
                "Behind the present",
                "s",
                {
                    "last arrival": f"time() - highwater_last_arrival_timestamp_seconds{CHOSEN}",
                    "last event": f"time() - highwater_last_event_timestamp_seconds{CHOSEN}",
                    "last commit": f"time() - highwater_last_commit_timestamp_seconds{CHOSEN}",
                },
            ),
            Panel("Messages not read", "short", {"{{instance}}": f"highwater_input_lag_messages{CHOSEN}"}),
            Panel(
                "From reading to prediction",
                "s",
                {
                    "median": _quantile("score_latency_seconds", "0.5"),
                    "99 %": _quantile("score_latency_seconds", "0.99"),
                },
            ),
            Panel(
                "Pause for a snapshot",
                "s",
                {
                    "median": _quantile("snapshot_pause_seconds", "0.5"),
                    "99 %": _quantile("snapshot_pause_seconds", "0.99"),
                },
            ),
            Panel("Wrong clocks", "short", {"{{state}}": f"sum by (state) (highwater_wrong_clocks{CHOSEN})"}),
            Panel(
                "Internal errors",
                "short",
                {"{{instance}}": f"increase(highwater_internal_errors_total{CHOSEN}[1h])"},
            ),
            Panel(
                "Disk",
                "bytes",
                {
                    "store": f"highwater_store_bytes{CHOSEN}",
                    "journal": f"highwater_journal_bytes{CHOSEN}",
                    "free": f"highwater_store_free_bytes{CHOSEN}",
                },
            ),
            Panel("Memory", "bytes", {"{{instance}}": f"process_resident_memory_bytes{CHOSEN}"}),
            Panel(
                "Processor", "percentunit", {"{{instance}}": f"rate(process_cpu_seconds_total{CHOSEN}[5m])"}
            ),
        ],
    ),
    "models": (
        "Highwater: risk and models",
        [
            Panel("Open alerts", "short", {"{{target}}": f"highwater_open_alerts{CHOSEN}"}),
            Panel("Log loss by role", "short", {"{{target}} {{role}}": _loss()}),
            Panel(
                "Labelled examples",
                "short",
                {"{{target}} {{label}}": _labelled()},
            ),
            Panel(
                "Examples that wait for their label",
                "short",
                {"{{instance}}": f"highwater_pending_examples{CHOSEN}"},
            ),
            Panel(
                "Evidence of the best challenger (1: enough)",
                "short",
                {"{{target}} {{model}}": f"highwater_challenger_evidence_ratio{CHOSEN}"},
            ),
            Panel(
                "Advantage of the best challenger (mean difference of losses)",
                "short",
                {"{{target}} {{model}}": f"highwater_challenger_advantage{CHOSEN}"},
            ),
            Panel("Champion", "short", {"{{target}} {{model}}": f"highwater_champion_info{CHOSEN}"}),
            Panel(
                "Since the last label",
                "s",
                {"{{target}} {{label}}": f"time() - highwater_last_label_timestamp_seconds{CHOSEN}"},
            ),
            Panel(
                "Alerts not delivered",
                "short",
                {"{{receiver}}": f"highwater_queued_notifications{CHOSEN}"},
            ),
            Panel(
                "Alerts delivered",
                "ops",
                {
                    "{{receiver}} {{result}}": "sum by (receiver, result) "
                    f"(rate(highwater_notifications_total{CHOSEN}[5m]))"
                },
            ),
            Panel(
                "Reports of failures and maintenance",
                "short",
                {
                    "{{kind}}": "sum by (kind) (increase(highwater_events_total"
                    '{job=~"$job",kind=~"failure|maintenance|retraction"}[$window]))'
                },
            ),
        ],
    ),
    "drift": (
        "Highwater: drift",
        [
            Panel(
                "Evidence of drift by series (1: alarm)",
                "short",
                {"{{target}} {{series}}": f"highwater_drift_evidence_ratio{CHOSEN}"},
            ),
            Panel(
                "Alarms by rank",
                "short",
                {
                    "{{target}} {{rank}}": "sum by (target, rank) "
                    f"(increase(highwater_drift_alarms_total{CHOSEN}[$window]))"
                },
            ),
            Panel("Log loss by role", "short", {"{{target}} {{role}}": _loss()}),
            Panel("Share of positives", "percentunit", {"{{target}}": _positives()}),
            Panel("Open alerts", "short", {"{{target}}": f"highwater_open_alerts{CHOSEN}"}),
            Panel(
                "Rejected and late by reason",
                "ops",
                {"{{reason}}": f"sum by (reason) (rate(highwater_rejected_total{CHOSEN}[5m]))"},
            ),
            Panel("Wrong clocks", "short", {"{{state}}": f"sum by (state) (highwater_wrong_clocks{CHOSEN})"}),
        ],
    ),
}


def dashboard(name: str) -> str:
    """JSON of a dashboard."""
    title, panels = DASHBOARDS[name]
    found = {
        "uid": f"highwater-{name}",
        "title": title,
        "tags": ["highwater"],
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_datasource(), _job(), _window()]},
        "panels": [_drawn(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(found, indent=1) + "\n"


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _job() -> dict[str, Any]:
    return {
        "name": "job",
        "label": "Fleet",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": "label_values(highwater_build_info, job)", "refId": "job"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
    }


def _window() -> dict[str, Any]:
    values = ["1h", "1d", "7d", "30d"]
    options = [{"text": each, "value": each, "selected": each == "7d"} for each in values]
    return {
        "name": "window",
        "label": "Window of figures",
        "type": "custom",
        "query": ",".join(values),
        "current": options[2],
        "options": options,
    }


def _drawn(number: int, panel: Panel) -> dict[str, Any]:
    """Two panels a row, in order."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "title": panel.title,
        "type": "timeseries",
        "datasource": source,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + at), "datasource": source, "expr": expression, "legendFormat": legend}
            for at, (legend, expression) in enumerate(panel.lines.items())
        ],
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(dashboard(name), encoding="utf-8")
