"""Whether topics hold what they should: against a replay of the journal, and message by message."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from dataflows.outputs import OUTPUTS
from dataflows.recovery.sqlite_files import opened, part_files, read_partition, resume_epoch, snapshots
from dataflows.state.snapshots import contents
from tests.chaos.harness import dataflows, outputs, rows, settled
from tests.chaos.rig import Rig, consumed
from tests.processes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = [
    "Cut",
    "account",
    "against_timestamps",
    "assert_topics_equal_replay",
    "cut_by_kill",
    "divergence",
    "replayed",
]


class Cut(NamedTuple):
    """What one kill cut.

    Attributes:
        resumes: the last record before those that the next run reads again.
        read: the last record that was read.
    """

    resumes: int
    read: int


def cut_by_kill(rig: Rig) -> Cut:
    """What the kill of a rig's run has cut, from its store and its journal."""
    return Cut(_resumes_after(rig.folder / "store"), rig.chosen())


def _resumes_after(store: Path) -> int:
    """The last record of which the source's snapshot, from which the next run resumes, knows."""
    with ExitStack() as stack:
        found = [(path, stack.enter_context(opened(path))) for path in part_files(store)]
        epoch = resume_epoch([read_partition(*each) for each in found])
        for each in found:
            for snapshot in snapshots(*each, epoch):
                if snapshot.step.startswith("highwater.source") and snapshot.state is not None:
                    return int(contents(snapshot.state)[2][0])
    return 0


def replayed(rig: Rig, out: str, *more: str) -> dict[str, bytes]:
    """Outputs of a replay of a rig's topics."""
    folder = rig.folder / out
    # What was written in many minutes is replayed at once, in a part of that.
    ran = dataflows("replay", "--fleet", str(rig.fleet), "--out", str(folder), *more, limit=10 * PATIENCE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return outputs(folder)


def assert_topics_equal_replay(rig: Rig) -> dict[str, int]:
    """Every topic holds exactly the rows of a replay of the journal; returns how many."""
    expected = replayed(rig, "again", "--journal", str(rig.folder / "store" / "journal"))
    counts = {}
    for name in OUTPUTS:
        written = rig.written(name)
        places = [place for place, _, _ in written]
        twice = {place for place, following in pairwise(places) if place == following}
        assert not twice, f"{name}: {len(twice)} rows are there twice, the first {min(twice)}"
        if name == "predictions":
            ids = [found for _, _, found in written]
            assert None not in ids
            assert len(set(ids)) == len(ids), "a prediction id is there twice"
        lines = expected[name].splitlines()
        differing = next((n for n, (a, b) in enumerate(zip(written, lines, strict=False)) if a[1] != b), None)
        assert differing is None, f"{name}, row {differing}:\n{written[differing][1]!r}\n{lines[differing]!r}"
        assert len(written) == len(lines), (
            f"{name}: {len(written)} rows in the topic, {len(lines)} of the replay"
        )
        counts[name] = len(written)
    return counts


def divergence(rig: Rig) -> dict[str, int]:
    """What the last run's summary says of rows that were there before."""
    found: dict[str, int] = _summary(rig)["output"]
    return found


def _summary(rig: Rig) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((rig.folder / "out" / "summary.json").read_bytes())
    return found


def account(rig: Rig, cuts: Sequence[Cut]) -> dict[str, Any]:
    """What has to hold whatever the number of processes was; returns what there is.

    - Every message is accounted for: scored, late, or rejected, or a report that was used.
    - Ids of predictions, examples and evaluations, their features and labels are those of a replay, each
      once; and so are the rows of late and rejected records.
    - The score in an evaluation is that which was published; where it is not, the prediction was scored
      again after a kill, with another score, and is counted in `resume_divergence`.
    - No more rows are counted there than there are of the epochs that kills cut.
    """
    expected = replayed(rig, "again", "--journal", str(rig.folder / "store" / "journal"))
    found = {name: rig.written(name) for name in OUTPUTS}
    lines = {name: b"\n".join(row for _, row, _ in found[name]) for name in OUTPUTS}
    for name, key in (("predictions", ("id",)), ("examples", ("id",)), ("evaluations", ("id", "correction"))):
        # Ids that are missing, there twice, or not those of the replay.
        here, there = settled(lines[name], *key), settled(expected[name], *key)
        assert here.keys() == there.keys(), f"{name}: {len(here.keys() ^ there.keys())} ids differ"
        assert here == there, name
    for name in ("late", "rejects"):
        assert sorted(row for _, row, _ in found[name]) == sorted(expected[name].splitlines()), name
    told = divergence(rig)
    within = sum(_is_cut(place, cuts) for name in OUTPUTS for (place, _), _, _ in found[name])
    differing = [*_scored_again(lines)]
    assert all(_is_cut(place, cuts) for place in differing), "a score differs that no kill can have cut"
    assert len(differing) <= told["resume_divergence"] <= told["resume_repeated"] <= within
    return {
        "rows": {name: len(found[name]) for name in OUTPUTS},
        "messages": _accounted(rig, lines),
        "ids_missing": 0,
        "ids_twice": 0,
        "scores_unlike_evaluation": len(differing),
        "rows_of_cut_epochs": within,
        **told,
    }


def against_timestamps(rig: Rig) -> dict[str, int]:
    """Final labels against those of a run that finds all messages in the order of their timestamps.

    They may differ where a record that came a moment too late met an asset that was taken for silent.
    """
    expected = replayed(rig, "ordered")
    there = _final_labels(rows(expected["evaluations"]))
    here = _final_labels([orjson.loads(row) for _, row, _ in rig.written("evaluations")])
    unlike = sum(there[example] != label for example, label in here.items() if example in there)
    return {
        "examples": len(here),
        "examples_unlike": len(here.keys() ^ there.keys()),
        "labels_unlike": unlike,
    }


def _final_labels(evaluations: list[dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    """The label after all corrections, by asset, target and time of the example."""
    ordered = sorted(evaluations, key=lambda row: int(row["correction"]))
    return {(row["asset"], row["target"], row["time"]): row["label"] for row in ordered}


def _is_cut(sequence: int, cuts: Sequence[Cut]) -> bool:
    return any(cut.resumes <= sequence <= cut.read for cut in cuts)


def _scored_again(lines: dict[str, bytes]) -> Iterator[int]:
    """Sequences of predictions whose evaluation has another score than the one that was published."""
    published = {row["id"]: row for row in rows(lines["predictions"])}
    for row in rows(lines["evaluations"]):
        served = published[row["id"]]
        if row["scores"][row["champion"]] != served["score"]:
            yield served["sequence"]


def _accounted(rig: Rig, lines: dict[str, bytes]) -> dict[str, int]:
    """What became of each message of the input."""
    refused = {
        (row["source"], row["offset"]): name for name in ("late", "rejects") for row in rows(lines[name])
    }
    scored = {(row["asset"], row["time"]) for row in rows(lines["predictions"])}
    counts: Counter[str] = Counter()
    for topic in rig.topics:
        for message in consumed(rig.bootstrap, topic):
            place = f"{message.topic()}/{message.partition()}", message.offset()
            if place in refused:
                counts[refused[place]] += 1
                continue
            event = orjson.loads(message.value())
            if event["kind"] != "telemetry":
                counts[event["kind"]] += 1
            else:
                counts["scored" if (event["asset"], event["time"]) in scored else "merged late"] += 1
    summary = _summary(rig)["input"]
    assert counts["merged late"] == summary["late"], (counts, summary)
    assert counts.total() == summary["records"], (counts, summary)
    return dict(counts)
