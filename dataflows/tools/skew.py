"""``python -m dataflows skew``: print the effects of late data on served features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows.evaluation.reading import read_summary
from dataflows.tools.tables import command, plain_table, show_either

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

__all__ = ["SkewError", "show_skew", "skew_table"]


class SkewError(RuntimeError):
    """The folder has nothing to show."""


def show_skew(folder: Path, console: Console, *, as_json: bool = False) -> None:
    """Print, for each target of the last run into a folder, every feature that late data changed.

    Args:
        folder: of the outputs.
        console: where to print.
        as_json: print one JSON object a target: its section of the summary, and its name as `target`.

    Raises:
        SkewError: no run ended there, or none that compared anything.
    """
    summary = read_summary(folder)
    if summary is None:
        path = folder / "summary.json"
        msg = f"{path} does not exist; name the folder of the outputs of a run that has ended"
        raise SkewError(msg)
    targets = summary.get("targets", {})
    compared = {name: target["skew"] for name, target in targets.items() if "skew" in target}
    if not compared:
        msg = (
            f"the run into {folder} compared nothing; set `compare` (a share of the assets, such as 0.05) "
            "and an `allowed_lateness` in a class of its fleet.toml. With `allowed_lateness` zero no window "
            "changes, since all that is late is left out: `too_late` in summary.json counts it"
        )
        raise SkewError(msg)

    def as_text() -> None:
        for name, skew in compared.items():
            console.print(skew_table(name, skew))

    rows = ({"target": name, **skew} for name, skew in compared.items())
    show_either(console, rows, as_text, as_json=as_json)


def skew_table(name: str, skew: dict[str, Any], most: int | None = None) -> Table:
    """Share changed, mean and worst change of each feature, those that change most first.

    Args:
        name: of the target.
        skew: its section of the summary.
        most: rows at most; None for all.
    """
    title = f"{name}: features as served against those of complete data"
    columns = ("feature", "changed", "mean\nchange, sd", "worst,\nsd")
    table = plain_table(title, *columns, caption=_caption(skew, most))
    rows = sorted(skew["features"].items(), key=lambda row: (-_weight(row[1]), row[0]))
    for feature, row in rows[:most]:
        cells = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("mean", "worst"))
        table.add_row(feature, f"{row['share']:.1%}", *cells)
    return table


def _weight(row: dict[str, Any]) -> float:
    """Mean change over all examples that were compared."""
    return float(row["share"] * (row["mean"] or 0.0))


def _caption(skew: dict[str, Any], most: int | None) -> str:
    compared = skew["compared"]
    text = f"{compared:,} examples compared, {skew['changed']:,} of them changed"
    given_up = sum(skew["given_up"].values())
    if given_up:
        text += f", {given_up:,} given up"
    score, loss = skew["score"], skew["log_loss_change"]
    if score["examples"]:
        text += (
            f". Score: {score['mean']:+.5f} on average, {score['mean_absolute']:.5f} either way, "
            f"{score['worst']:+.4f} at worst"
        )
    if loss["examples"]:
        text += f". Log loss: {loss['mean']:+.6f} over {loss['examples']:,} labels"
    hidden = 0 if most is None else max(0, len(skew["features"]) - most)
    more = f" {hidden:,} more features changed: `{command('skew FOLDER')}`." if hidden else ""
    return f"{text}. Changes are in standard deviations of the feature.{more}"
