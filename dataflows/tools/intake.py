"""Report on the input of a run: that nothing in it was new, or usable, and the remedy."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dataflows.outputs import LATE_REASONS
from dataflows.tools.tables import command

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet import Fleet
    from dataflows.status import Intake, Refused, RunStatus

__all__ = ["UnusableInputError", "nothing_new", "restarts", "unusable"]

_SHOWN = 3
#: What to do: for the first text that the detail of a refusal holds, else for its reason.
_BY_DETAIL = {
    "not JSON": f"Write one JSON object a line, as the README shows; for a CSV, {command('init FILE')} "
    "writes the rules that read it",
    "milliseconds": "Divide epoch milliseconds by 1,000, or write times as 2020-01-02T14:00:00Z",
    "RFC 3339": "Give each time its offset, such as 2020-01-02T14:00:00Z or 2020-01-02T15:00:00+01:00",
    "kind: expected": 'Give each record its kind, such as "kind":"telemetry", as the README shows',
}
_BY_REASON = {
    "malformed": "Mend what the detail names, in the program that writes the records",
    "mixed_arrivals": "Give `arrived` to all records or to none",
    "wrong_arrival": "Set the clock right that writes `arrived`, or raise max_arrival_jump under [assets]",
    "unknown_asset": 'Name the assets in a registry file, or set unknown = "adopt" under [assets]',
    "unknown_class": "Let the registry rows name a class of the fleet.toml",
    "future": "Set right the clocks that stamp `time`, or raise max_future under [assets]",
    "wrong_clock": "Set right the clocks of these assets, or switch off `quarantine`",
    "duplicate": "These records were sent before; give new ones",
    "too_late": "Raise allowed_lateness of the class, or sort the records by time",
    "unmatched": "Send the telemetry that these records label, too",
}


class UnusableInputError(RuntimeError):
    """A run used no record of its input, or fewer than it had to reject since they mix arrivals."""


def nothing_new(status: RunStatus) -> bool:
    """Whether a run that resumed has read no record."""
    return 0 < status.began == status.records


def unusable(fleet: Fleet, store: Path | None, status: RunStatus) -> str | None:
    """Why a run counts as failed for its input, with what was seen and what to do; None where it does not.

    Args:
        fleet: that ran.
        store: its recovery store, None without.
        status: of the run.
    """
    intake, rejected = status.intake, Counter(status.rejected)
    read = status.records - status.began - intake.registered
    refused = rejected.total()
    mixed = rejected["mixed_arrivals"]
    if not refused or (read > refused and mixed <= intake.used):
        return None
    if read > refused:
        first = f"{mixed:,} of {read:,} records were rejected: the others disagree with them on `arrived`."
        rejected = Counter(mixed_arrivals=mixed)
    else:
        first = f"No record of this input could be used; {refused:,} were rejected."
    lines = [first, *_kinds(intake, rejected)]
    outputs = sorted({"late" if reason in LATE_REASONS else "rejects" for reason in rejected})
    rows = " and ".join(str(fleet.output.folder / f"{name}.jsonl") for name in outputs)
    if fleet.output.kafka is not None:
        rows = " and ".join(f"topic {fleet.output.kafka.prefix}{name}" for name in outputs)
    lines.append(f"Each is a row of {rows}, with its position; docs/rejects.md explains the reasons.")
    lines.append(_next(fleet, store, intake))
    return "\n".join(lines)


def _kinds(intake: Intake, rejected: Counter[str]) -> list[str]:
    """The commonest reasons, each with an example and what to do."""
    lines = []
    for kind in (kind for kind in intake.commonest(_SHOWN) if kind.reason in rejected):
        source, line, _ = kind.position
        detail = kind.detail.rstrip(".?")
        lines.append(f"{kind.count:,} {kind.reason}, the first in {source}, line {line}: {detail}.")
        lines.append(f"  {_advice(kind)}.")
    named = {kind.reason for kind in intake.commonest(_SHOWN)}
    for reason, count in rejected.most_common(_SHOWN):
        if reason not in named:
            advice = _BY_REASON.get(reason)
            lines.append(f"{count:,} {reason}." + (f" {advice}." if advice else ""))
    return lines


def _advice(kind: Refused) -> str:
    for text, advice in _BY_DETAIL.items():
        if kind.reason == "malformed" and text in kind.detail:
            return advice
    return _BY_REASON.get(kind.reason, _BY_REASON["malformed"])


def restarts(fleet: Fleet, intake: Intake) -> bool:
    """Whether the next run may begin as on a new store: only rejects came of what was read.

    Topics are not read again: new records follow those that were read, and rows in topics stay.
    """
    return not intake.before and not intake.used and fleet.input.kafka is None and fleet.output.kafka is None


def _next(fleet: Fleet, store: Path | None, intake: Intake) -> str:
    if store is None:
        return "Correct the input and run again with --fresh, which deletes these outputs."
    if restarts(fleet, intake):
        return (
            "Correct the input and run again: the next run deletes these outputs and reads all from the "
            "beginning."
        )
    if fleet.input.kafka is not None:
        return "Send the corrected records and run again: the next run continues after those that were read."
    return (
        "Put the corrected records into a file of another name, in the same folder, and run again; or read "
        "everything from the beginning (--fresh)."
    )
