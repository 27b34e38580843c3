"""Load ``fleet.toml`` and its overrides, and report all problems at once."""

from __future__ import annotations

import copy
import os
import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.fleet.catalogue import expanded, included
from dataflows.fleet.document import draft
from dataflows.fleet.problems import FleetError, Problem, shown
from dataflows.fleet.resolve import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dataflows.fleet.fleet import Fleet

__all__ = ["from_document", "load"]


def load(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Fleet:
    """Load the fleet that a file describes.

    Args:
        path: the TOML file.
        overrides: tables merged into the document before it is checked; they win over the environment, which
            wins over the file. Lists replace lists. Their relative paths belong to the file's folder.
        environ: source of ``FLEET_INPUT``, ``FLEET_OUTPUT``, ``FLEET_BATCH`` and ``FLEET_KAFKA``,
            by default `os.environ`. Files named there are used instead of Kafka. Their relative paths belong
            to the working directory. ``HIGHWATER_STORE_KEY`` signs the models in the recovery store. Empty
            means not set.

    Raises:
        FleetError: the file cannot be read, is not TOML, or describes no valid fleet; it lists every problem.
    """
    path = Path(path)
    problems: list[Problem] = []
    environ = os.environ if environ is None else environ
    document = _merged(included(_read(path), path, _read), _from_environment(environ, problems))
    fleet = from_document(_merged(document, overrides or {}), path, problems)
    key = environ.get("HIGHWATER_STORE_KEY")
    return replace(fleet, store_key=key.encode()) if key else fleet


def from_document(document: Mapping[str, Any], path: str | Path, problems: Iterable[Problem] = ()) -> Fleet:
    """Build the fleet that a document describes; no file is read, and no environment.

    Args:
        document: the tables of a ``fleet.toml``; it stays as it is.
        path: of the file that it stands for; relative paths belong to its folder.
        problems: what is already known to be wrong.

    Raises:
        FleetError: it describes no valid fleet; it lists every problem.
    """
    path, found = Path(path), [*problems]
    fleet = expand(draft(expanded(copy.deepcopy(dict(document)), found), found), path)
    if found:
        raise FleetError(str(path), found)
    return fleet


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        problem = Problem("file", "a file that can be read", error.strerror or str(error))
        raise FleetError(str(path), [problem]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem(f"line {line}", "UTF-8 text", f"the byte {error.object[error.start]:#04x}")
        raise FleetError(str(path), [problem]) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(match.group(1)) if match else text.count("\n") + 1
        problem = Problem(f"line {line}", "TOML", str(error))
        raise FleetError(str(path), [problem]) from error


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    """Settings of the environment, as a part of the document."""
    document: dict[str, Any] = {}
    if files := environ.get("FLEET_INPUT", "").strip():
        try:
            names = shlex.split(files)
        except ValueError:
            expected = "paths or globs separated by spaces, in quotes if they have spaces of their own"
            problems.append(Problem("FLEET_INPUT", expected, shown(files)))
            names = [files]
        paths = [name if name == "-" else str(Path.cwd() / name) for name in names]
        document["input"] = {"files": paths, "shared": [], "kafka": None}
    if batch := environ.get("FLEET_BATCH", "").strip():
        if batch.isascii() and batch.isdigit() and int(batch) > 0:
            document.setdefault("input", {})["batch"] = int(batch)
        else:
            problems.append(Problem("FLEET_BATCH", "a whole number greater than 0", shown(batch)))
    if folder := environ.get("FLEET_OUTPUT", "").strip():
        document["output"] = {"folder": str(Path.cwd() / folder), "kafka": None}
    if brokers := environ.get("FLEET_KAFKA", "").strip():
        document["kafka"] = {"bootstrap": brokers}
    return document


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two documents, table by table; ``over`` wins."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
