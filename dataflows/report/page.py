"""The page: facts, findings and charts in one self-contained HTML file.

Everything that comes from data is escaped: by Jinja in the page, by `timelines.to_json` in data for the
script. A content security policy lets the browser run the page's own script and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
from markupsafe import Markup

from dataflows import __version__
from dataflows.evaluation import words
from dataflows.instants import parse_instant
from dataflows.report import charts, findings
from dataflows.report.facts import DELAYS, gather
from dataflows.report.timelines import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.report.facts import AssetFacts, Facts, TargetFacts

__all__ = ["render", "write_report"]

_ASSETS = Path(__file__).parent / "assets"
#: Assets whose timeline is open at first.
_OPEN = 2
_PERIODS = 12
_FEATURES = 8


class Table(NamedTuple):
    """A table of texts; the first column names the row.

    Attributes:
        caption: what it shows.
        columns: headings.
        rows: cells.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    folder: Path, fleet: Fleet | None = None, to: Path | None = None, *, assets: int = 100
) -> Path:
    """Write the report of a run, and return its path.

    Args:
        folder: folder of the outputs.
        fleet: the fleet of the run: names the recording, thresholds, advice and prices.
        to: the file; None for ``report.html`` in the folder.
        assets: number of assets with a timeline.

    Raises:
        ReportError: the folder holds no predictions.
        RowError: a line is no row of its output.
    """
    page = render(gather(folder, fleet, most=assets))
    path = folder / "report.html" if to is None else to
    path.write_text(page, encoding="utf-8")
    return path


def render(facts: Facts) -> str:
    """Return the page as text."""
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _templates()
        .get_template("report.html")
        .render(
            facts=facts,
            version=__version__,
            style=Markup(_asset("report.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - likewise
            policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
            data=Markup(to_json(_script_data(facts))),  # noqa: S704 - no text in it ends the element
            answers=findings.answers(facts),
            risks=findings.risks(facts),
            belief=findings.belief,
            before_labels=findings.before_labels,
            risk_in_words=findings.risk_in_words,
            seen_before=findings.seen_before,
            choice=_choice,
            reliability_of=_reliability,
            standing=_standing,
            losses=_losses,
            expectations=_expectations,
            two_clocks=_two_clocks,
            ages_in_words=findings.ages_in_words,
            evidence=_evidence,
            progress=_progress,
            history=[_history(row) for row in facts.changes],
            health=_health(facts),
            delays=_delays(facts),
            not_checked=findings.not_checked(facts),
            quiet=findings.quiet(facts),
            heard={asset.name: asset.heard for asset in facts.assets},
            timelines=[_timeline(asset, facts) for asset in facts.assets],
            blobs=[_blob(asset) for asset in facts.assets],
            opened=_OPEN,
        )
    )


def _templates() -> jinja2.Environment:
    """Templates that escape what comes from data, and filters that put values into words."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=words.percent,
        score=lambda score: "none" if math.isnan(score) else words.percent(score),
        moment=words.moment,
        day=words.day,
        span=words.span,
        number=words.number,
        target=words.target_in_words,
        mode=words.mode_in_words,
    )
    return environment


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _thresholds(facts: Facts) -> dict[str, float]:
    return {name: target.threshold for name, target in facts.targets.items()}


def _timeline(asset: AssetFacts, facts: Facts) -> Markup:
    return charts.timeline(asset, facts.grid, _thresholds(facts))


def _blob(asset: AssetFacts) -> str:
    """Numbers of a timeline, float32 in little-endian order, as base64."""
    return base64.b64encode(charts.packed(asset).astype("<f4").tobytes()).decode()


def _script_data(facts: Facts) -> dict[str, Any]:
    """What the script needs beside the numbers; times in milliseconds, as a browser counts them."""
    return {
        "start": facts.grid.start / 1000,
        "end": facts.grid.end / 1000,
        "count": facts.grid.count,
        "assets": [
            {
                "series": [
                    {
                        "name": words.target_in_words(each.name) if each.is_score else words.plain(each.name),
                        "unit": each.unit,
                        "score": each.is_score,
                    }
                    for each in asset.series
                ],
                "limit": min(facts.targets[name].threshold for name in asset.scores),
                "alerts": [
                    [
                        life.opened / 1000,
                        facts.grid.end / 1000 if life.cleared is None else life.cleared / 1000,
                        life.outcome,
                    ]
                    for life in asset.alerts
                ],
                "failures": [failure.time / 1000 for failure in asset.failures],
                "late": asset.late,
            }
            for asset in facts.assets
        ],
    }


def _choice(target: TargetFacts, score: float) -> findings.Choice | None:
    return None if target.costs is None else findings.act_or_wait(score, target.horizon, target.costs)


def _reliability(target: TargetFacts) -> tuple[Markup, Table] | None:
    """Chart and table of what came of scores; None without examples."""
    if not target.bins:
        return None
    name = words.target_in_words(target.name)
    chart = charts.reliability_chart(
        target.bins, f"What came of scores for {name}; the table has the numbers"
    )
    rows = [
        (
            f"{words.percent(each.low)} to {words.percent(each.high)}",
            words.percent(each.score),
            words.percent(each.share),
            f"{words.percent(each.least)} to {words.percent(each.most)}",
            f"{each.positives:,} of {each.examples:,}",
            f"{each.blocks:,}",
            each.verdict or "fits",
        )
        for each in target.bins
    ]
    columns = ("score", "mean score", "failed", "95 % interval", "examples", "blocks", "score is")
    return chart, Table(f"What came of scores for {name}", columns, rows)


def _standing(facts: Facts, name: str) -> Table | None:
    """Figures of every model of a target at the end; None without a summary."""
    section = facts.summary.get("targets", {}).get(name, {})
    found = section.get("final_labels", {})
    if not found:
        return None
    keys = ("log_loss", "brier", "roc_auc", "pr_auc", "precision", "recall")
    rows = []
    for model, row in sorted(found.items(), key=lambda each: each[1].get("log_loss") or 9.0):
        role = " (champion)" if model == section["champion"] else ""
        digits = [4, 4, 3, 3, 2, 2]
        cells = [
            "-" if row.get(key) is None else f"{row[key]:.{n}f}" for key, n in zip(keys, digits, strict=True)
        ]
        rows.append((model + role, f"{row['examples']:,}", *cells))
    columns = ("model", "examples", "log loss", "Brier", "ROC AUC", "PR AUC", "precision", "recall")
    return Table(f"Models of {words.target_in_words(name)}, under final labels", columns, rows)


def _losses(facts: Facts, name: str) -> tuple[Markup, list[str]] | None:
    """Chart of the log loss of each model over time, with the names of its lines."""
    rows = [row for row in facts.metrics["model"] if row["target"] == name and row["examples"]]
    champion = facts.targets[name].champion
    models = sorted({row["model"] for row in rows}, key=lambda model: (model != champion, model))
    found = [
        charts.Line(
            model,
            [
                (parse_instant(row["to"]), min(row["log_loss"], 1.0))
                for row in rows
                if row["model"] == model and row.get("log_loss") is not None
            ],
        )
        for model in models
    ]
    found = [line for line in found if len(line.points) > 1]
    if not found:
        return None
    marks = [
        (float(parse_instant(row["known"])), f"{row['model']} became champion")
        for row in facts.changes
        if row["change"] == "champion" and row.get("target") == name and row["why"] != "configured"
    ]
    label = f"Log loss of each model over time, {words.target_in_words(name)}; lower is better"
    return charts.lines(found, label, marks=marks, bold=champion), [line.name for line in found]


def _expectations(facts: Facts, name: str) -> tuple[Markup, list[str]] | None:
    """Chart of the loss that scores expected before labels, and of what it turned out to be."""
    rows = [row for row in facts.metrics["expected"] if row["target"] == name]
    points = [
        (parse_instant(row["to"]), *(row["settled"][key] for key in ("expected", "realised", "low", "high")))
        for row in rows
        if row["settled"]["realised"] is not None
    ]
    if not rows:
        looks = facts.targets[name].looks
        points = [(look.at, look.expected, look.turned_out, look.low, look.high) for look in looks]
    if len(points) < 2:  # noqa: PLR2004 - a line
        return None
    found = [
        charts.Line("expected before labels", [(at, expected) for at, expected, *_ in points]),
        charts.Line("turned out", [(at, realised) for at, _, realised, *_ in points]),
    ]
    label = f"Log loss expected before labels and as it turned out, {words.target_in_words(name)}"
    band = [(at, low, high) for at, _, _, low, high in points]
    return charts.lines(found, label, band=band), [line.name for line in found]


def _two_clocks(target: TargetFacts) -> list[Table]:
    """Tables of the error by the age of the score, and as it looked at the end of each period."""
    name = words.target_in_words(target.name)
    ages = [
        (
            findings.age_in_words(age),
            f"{age.revised:,} of {age.examples:,}",
            f"{age.loss:.4f}",
            _loss(age.loss_of_revised),
        )
        for age in target.ages
    ]
    looks = [
        (
            words.day(look.at),
            f"{look.waiting:,}",
            f"{look.expected:.4f}",
            f"{look.low:.4f} to {look.high:.4f}",
            f"{look.turned_out:.4f}",
            f"{look.labelled:,} of {look.examples:,}",
            _loss(look.loss_then),
            _loss(look.loss),
        )
        for look in target.looks[-_PERIODS:]
    ]
    by_age = ("score known", "revised", "log loss", "of the revised")
    by_look = (
        "on",
        "without label",
        "expected",
        "95 % interval",
        "turned out",
        "its period, labelled",
        "log loss then",
        "today",
    )
    found = [
        Table(f"Error by the age of the score, {name}", by_age, ages),
        Table(f"Error before labels and today, {name}", by_look, looks),
    ]
    return [table for table in found if len(table.rows) > 1]


def _loss(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def _evidence(facts: Facts, name: str) -> tuple[Markup | None, list[str], list[str]] | None:
    """Curve of the evidence for challengers, names of its lines, and where the evidence stands."""
    section = facts.summary.get("targets", {}).get(name, {}).get("promotion") or {}
    verdicts = [row for row in facts.changes if row["change"] == "verdict" and row.get("target") == name]
    said = [
        f"{model}: e-value {words.number(_strength(row))} of {words.number(row['needed'])} needed, from "
        f"{row['examples']:,} examples, {row['positives']:,} of them positive."
        for model, row in section.get("challengers", {}).items()
    ]
    if not verdicts and not said:
        return None
    found = []
    for model in sorted({row["model"] for row in verdicts}):
        points = [
            (parse_instant(row["known"]), math.log10(max(1.0, _strength(row["evidence"]))))
            for row in verdicts
            if row["model"] == model
        ]
        if len(points) > 1:
            found.append(charts.Line(model, points))
    chart = None
    if found:
        needed = math.log10(verdicts[-1]["evidence"]["needed"])
        chart = charts.lines(
            found,
            f"Evidence for challengers over time, {words.target_in_words(name)}",
            unit=lambda power: f"1e{power:.0f}" if power else "1",
            limit=(needed, "needed"),
        )
    return chart, [line.name for line in found], said


def _progress(facts: Facts, name: str) -> Markup | None:
    """Bars of how far the evidence for each challenger is on its way; None without challengers."""
    section = facts.summary.get("targets", {}).get(name, {}).get("promotion") or {}
    found = [
        (model, min(1.0, max(0.0, math.log(max(1e-9, _strength(row))) / math.log(row["needed"]))))
        for model, row in section.get("challengers", {}).items()
        if row["needed"] > 1
    ]
    label = (
        f"Evidence for each challenger, as a share of what a promotion needs, {words.target_in_words(name)}"
    )
    return charts.bars(found, label, unit=words.percent, full=1.0) if found else None


def _strength(evidence: Mapping[str, Any]) -> float:
    """The e-value on which a promotion rests: the mean of the two chains."""
    values = evidence["e_values"]
    return float(sum(values) / len(values))


def _history(row: Mapping[str, Any]) -> tuple[str, str]:
    when = words.moment(parse_instant(row["known"])) if row.get("known") else "-"
    return when, findings.change_in_words(row)


def _delays(facts: Facts) -> Markup | None:
    """Bars of the delays from event to arrival; None where they are not known."""
    found = facts.lateness
    if found is None or not found.counts:
        return None
    names = [f"up to {words.span(limit * 1_000_000)}" for limit in DELAYS]
    counts = list(zip([*names, "longer"], found.counts, strict=True))
    return charts.bars(
        [(name, count / found.messages) for name, count in counts],
        "Messages by their delay from event to arrival",
        unit=words.percent,
    )


def _health(facts: Facts) -> list[Table]:
    """Tables of the health of the data."""
    return [table for table in (_intake(facts), _skew(facts), _drift(facts)) if table.rows]


def _intake(facts: Facts) -> Table:
    rows = []
    for row in facts.metrics["lane"][-_PERIODS:]:
        rejected = row.get("rejected", {})
        clocks = {name: count for name, count in row.get("clocks", {}).items() if count and name != "wrong"}
        rows.append(
            (
                f"{words.day(parse_instant(row['from']))} to {words.day(parse_instant(row['to']))}",
                f"{sum(row['by_kind'].values()):,}",
                f"{row['late']:,}",
                _counts(rejected) or "none",
                _counts(clocks) or "none",
            )
        )
    columns = ("period", "accepted", "late, and merged", "not used", "wrong clocks")
    return Table(f"What came in, the last {len(rows)} periods", columns, rows)


def _skew(facts: Facts) -> Table:
    rows = []
    for name, target in facts.summary.get("targets", {}).items():
        skew = target.get("skew") or {}
        changed = sorted(skew.get("features", {}).items(), key=lambda each: -each[1]["share"])
        rows += [
            (
                words.target_in_words(name),
                feature,
                words.percent(row["share"]),
                words.number(row["mean"]),
                words.number(row["worst"]),
            )
            for feature, row in changed[:_FEATURES]
        ]
    columns = ("target", "feature", "examples changed", "mean change, sd", "worst, sd")
    return Table("Features that late data changed after they were served", columns, rows)


def _drift(facts: Facts) -> Table:
    latest = {row["target"]: row for row in facts.metrics["drift"]}
    rows = [
        (
            words.target_in_words(name),
            series["series"],
            words.number(series["value"]),
            words.number(series["reference"]),
            words.number(series["deviation"]),
            f"{words.number(series['evidence'])} of {words.number(row['needed'])}",
        )
        for name, row in latest.items()
        for series in row["series"]
        if series["reference"] is not None
    ]
    columns = ("target", "series", "latest block", "reference", "deviation, sd", "evidence, log")
    return Table("What is watched for drift, at the end of the last period", columns, rows)


def _counts(found: Mapping[str, int]) -> str:
    pairs: Iterable[tuple[str, int]] = sorted(found.items(), key=lambda each: -each[1])
    return ", ".join(f"{count:,} {words.plain(name)}" for name, count in pairs)
