"""``python -m dataflows export``: matured examples as tables, for training elsewhere.

Features are those that were served, so a model that is trained on them sees in production what it was trained
on. A manifest says what the tables are: columns, label rule, span, digests.
"""

from __future__ import annotations

import hashlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows import __version__
from dataflows.connectors.file_sink import files_of
from dataflows.disk import replace_file
from dataflows.evaluation.reading import EVALUATIONS, EXAMPLES, EvaluationRow
from dataflows.instants import format_duration, format_instant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from dataflows.fleet.fleet import Fleet, Target

__all__ = ["ExportError", "export"]

_LABELS = {"positive": 1, "negative": 0}


class ExportError(RuntimeError):
    """Examples cannot be exported; the message says what is missing."""


def export(fleet: Fleet, to: Path, console: Console) -> Path:
    """Write the matured examples of every target, and the manifest; return its path.

    Each example is a row of ``<class>_<mode>_<horizon>.parquet`` under its latest label, in order of (time,
    asset). Censored examples have no label and are left out.

    Args:
        fleet: the fleet of a run with ``features = "examples"``.
        to: a folder, made if missing.
        console: where the paths are printed.

    Raises:
        ExportError: pyarrow is not installed, or there is no example with a label and features.
        RowError: a line is no row of its output.
    """
    if importlib.util.find_spec("pyarrow") is None:
        msg = "Parquet needs pyarrow: pip install pyarrow"
        raise ExportError(msg)
    rows = _standing(fleet)
    features = _features(fleet, {row.example for row in rows if row.example is not None})
    to.mkdir(parents=True, exist_ok=True)
    tables = []
    for name, target in fleet.targets.items():
        mine = [row for row in rows if row.target == name and row.example in features]
        if mine:
            path = to / f"{name.replace('/', '_')}.parquet"
            _write(path, mine, features, fleet.classes[target.asset_class].features)
            tables.append(_described(path, fleet, target, mine))
            console.print(f"{path}  {len(mine):,} examples", highlight=False, soft_wrap=True)
    if not tables:
        msg = (
            f"{fleet.output.folder} holds no example with a label and features; run with `features = "
            '"examples"` under [output], until labels are known'
        )
        raise ExportError(msg)
    manifest = to / "manifest.json"
    content = {"fleet": fleet.name, "highwater": __version__, "tables": tables}
    replace_file(manifest, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    console.print(str(manifest), highlight=False, soft_wrap=True)
    return manifest


def _standing(fleet: Fleet) -> list[EvaluationRow]:
    """The latest label of each example that is positive or negative, in order of (time, asset)."""
    path = fleet.output.folder / "evaluations.jsonl"
    if not files_of(path):
        msg = f"{path} does not exist; run the fleet first"
        raise ExportError(msg)
    latest = {row.id: row for row in EVALUATIONS.rows(path)}
    known = [row for row in latest.values() if row.label in _LABELS]
    return sorted(known, key=lambda row: (row.instant, row.asset, row.target))


def _features(fleet: Fleet, wanted: set[str]) -> dict[str | None, Mapping[str, float | None]]:
    path = fleet.output.folder / "examples.jsonl"
    if not files_of(path):
        return {}
    return {row.id: row.features for row in EXAMPLES.rows(path) if row.id in wanted}


def _write(
    path: Path,
    rows: Sequence[EvaluationRow],
    features: Mapping[str | None, Mapping[str, float | None]],
    names: Sequence[str],
) -> None:
    import pyarrow as pa  # noqa: PLC0415 - optional
    from pyarrow import parquet  # noqa: PLC0415

    def times(values: Sequence[str]) -> Any:  # noqa: ANN401 - an array of Arrow
        micros = np.array([value[:-1] for value in values], dtype="datetime64[us]").astype(np.int64)
        return pa.array(micros, pa.timestamp("us", "UTC"))

    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "asset": [row.asset for row in rows],
        "time": times([row.time for row in rows]),
        "label": pa.array([_LABELS[row.label] for row in rows], pa.int8()),
        "lead": pa.array([row.lead for row in rows], pa.float64()),
        "matured": times([row.matured for row in rows]),
        "known": times([row.known for row in rows]),
        "correction": pa.array([row.correction for row in rows], pa.int32()),
        "champion": [row.champion for row in rows],
    }
    for model in dict.fromkeys(name for row in rows for name in row.scores):
        scores = [row.scores.get(model) for row in rows]
        columns[f"score.{model}"] = pa.array(scores, pa.float64())
    for name in names:
        values = [features[row.example].get(name) for row in rows]
        columns[f"feature.{name}"] = pa.array(values, pa.float64())
    parquet.write_table(pa.table(columns), path)


def _described(path: Path, fleet: Fleet, target: Target, rows: Sequence[EvaluationRow]) -> dict[str, Any]:
    """The entry of a table in the manifest."""
    layout = fleet.classes[target.asset_class]
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "target": target.name,
        "label": f"1: {target.mode} within {format_duration(target.horizon)} after `time`; else 0",
        "label_delay": format_duration(target.label_delay),
        "examples": len(rows),
        "positives": sum(row.label == "positive" for row in rows),
        "from": rows[0].time,
        "to": rows[-1].time,
        "known": format_instant(max(row.settled for row in rows)),
        "features": list(layout.features),
        "models": {
            model.name: {
                "spec": model.spec,
                "features": [layout.features[index] for index in model.features],
                "scores": list(model.scores),
            }
            for model in target.models
        },
    }
