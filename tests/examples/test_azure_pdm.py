"""How the Azure files become a stream: what comes before what at equal times, and what must not leak."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.events import Reject, decode
from dataflows.fleet import load
from dataflows.instants import parse_instant
from examples.azure_pdm import reader

FLEET = Path(reader.__file__).parent / "fleet.toml"
RANK = {"asset": -1, "failure": 0, "maintenance": 1, "fault": 2, "telemetry": 3}

FILES = {
    "PdM_machines": "machineID,model,age\n2,model4,7\n1,model3,18\n",
    "PdM_telemetry": "datetime,machineID,volt,rotate,pressure,vibration\n"
    "2015-01-01 06:00:00,1,176.5,418.5,113.1,45.1\n"
    "2015-01-01 07:00:00,1,162.9,,95.5,43.4\n"
    "2015-01-01 06:00:00,2,170.0,400.0,100.0,40.0\n"
    "2015-01-01 07:00:00,2,171.0,401.0,101.0,41.0\n",
    "PdM_errors": "datetime,machineID,errorID\n2015-01-01 07:00:00,2,error2\n2015-01-01 07:00:00,2,error1\n",
    "PdM_failures": "datetime,machineID,failure\n2015-01-01 07:00:00,2,comp4\n",
    "PdM_maint": "datetime,machineID,comp\n2014-06-01 06:00:00,1,comp2\n2015-01-01 07:00:00,2,comp4\n",
}


@pytest.fixture(scope="module")
def machines(data_folder: Path) -> list[dict[str, Any]]:
    """Events of the 20 machines that lie beside the repository."""
    folder = data_folder / "azure_pdm_20x90d"
    if not folder.is_dir():
        pytest.skip(f"no Azure files at {folder}; HIGHWATER_DATA names the folder that holds them")
    return list(reader.read(folder))


def written(folder: Path, **changes: str) -> Path:
    """The five files, some with other contents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**FILES, **changes}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_every_row_of_the_real_files_is_an_event(machines: list[dict[str, Any]]) -> None:
    """As many of each kind as the data's own description says."""
    assert Counter(event["kind"] for event in machines) == {
        "asset": 20,
        "telemetry": 43_200,
        "failure": 42,
        "fault": 211,
        "maintenance": 208,
    }
    modes = Counter(event["mode"] for event in machines if event["kind"] == "failure")
    assert modes == {"comp1": 13, "comp2": 15, "comp3": 6, "comp4": 8}


def test_the_real_recording_is_ordered_by_time_kind_and_asset(machines: list[dict[str, Any]]) -> None:
    """Registry rows first; at equal times failures, maintenance, faults, telemetry, each by asset."""
    keys = [(e.get("time", ""), RANK[e["kind"]], e["asset"]) for e in machines]
    assert all(a <= b for a, b in itertools.pairwise(keys))
    assert machines[0] == {
        "kind": "asset",
        "asset": "machine-001",
        "class": "machine",
        "attributes": {"model": "model3", "age": 18},
    }


def test_records_of_the_real_files_have_ids_of_their_own(machines: list[dict[str, Any]]) -> None:
    """A retraction can name each failure and each maintenance."""
    ids = [event["id"] for event in machines if event["kind"] in {"failure", "maintenance"}]
    assert len(set(ids)) == len(ids) == 250


def test_every_event_of_the_real_recording_can_be_decoded(machines: list[dict[str, Any]]) -> None:
    """Nothing goes to the rejects, and none has an arrival."""
    assert not any(isinstance(decode(orjson.dumps(event)), Reject) for event in machines)
    assert not any("arrived" in event for event in machines)


def test_figures_start_on_the_39th_day_of_the_real_recording(machines: list[dict[str, Any]]) -> None:
    """Some failures of each component lie before, to choose by, and some after, to be judged by."""
    start = load(FLEET).figures_from
    assert start == parse_instant("2015-02-08T00:00:00Z")
    for mode in ("comp1", "comp2", "comp3", "comp4"):
        times = [parse_instant(e["time"]) for e in machines if e["kind"] == "failure" and e["mode"] == mode]
        assert min(times) < start < max(times)


def test_kinds_of_one_time_come_in_order_and_telemetry_last(tmp_path: Path) -> None:
    """The features of a reading at the hour of a repair know of it; those of the hour before do not."""
    events = list(reader.read(written(tmp_path)))
    assert [(e["kind"], e["asset"][-3:], e.get("time", "")[:13]) for e in events] == [
        ("asset", "001", ""),
        ("asset", "002", ""),
        ("maintenance", "001", "2014-06-01T06"),
        ("telemetry", "001", "2015-01-01T06"),
        ("telemetry", "002", "2015-01-01T06"),
        ("failure", "002", "2015-01-01T07"),
        ("maintenance", "002", "2015-01-01T07"),
        ("fault", "002", "2015-01-01T07"),
        ("fault", "002", "2015-01-01T07"),
        ("telemetry", "001", "2015-01-01T07"),
        ("telemetry", "002", "2015-01-01T07"),
    ]
    assert [event["code"] for event in events if event["kind"] == "fault"] == ["error1", "error2"]


def test_values_are_those_of_the_files(tmp_path: Path) -> None:
    """An empty reading is missing, not zero."""
    events = list(reader.read(written(tmp_path)))
    readings = [e["readings"] for e in events if e["kind"] == "telemetry" and e["asset"] == "machine-001"]
    assert readings == [
        {"volt": 176.5, "rotate": 418.5, "pressure": 113.1, "vibration": 45.1},
        {"volt": 162.9, "rotate": None, "pressure": 95.5, "vibration": 43.4},
    ]
    (failure,) = (event for event in events if event["kind"] == "failure")
    assert failure == {
        "kind": "failure",
        "asset": "machine-002",
        "time": "2015-01-01T07:00:00Z",
        "mode": "comp4",
        "id": "failure machine-002 comp4 2015-01-01T07:00:00Z",
    }


def test_times_in_the_american_form_are_read_too(tmp_path: Path) -> None:
    """Microsoft's own copy writes 1/1/2015 7:00:00 AM where Kaggle's writes 2015-01-01 07:00:00."""
    plain = list(reader.read(written(tmp_path / "kaggle")))
    american = {
        name: text.replace("2015-01-01 06:00:00", "1/1/2015 6:00:00 AM")
        .replace("2015-01-01 07:00:00", "1/1/2015 7:00:00 AM")
        .replace("2014-06-01 06:00:00", "6/1/2014 6:00:00 AM")
        for name, text in FILES.items()
    }
    assert list(reader.read(written(tmp_path / "microsoft", **american))) == plain


def test_gzipped_and_plain_files_give_the_same_recording(tmp_path: Path) -> None:
    """The command line takes either, and writes the same bytes for both."""
    written(tmp_path / "plain")
    (tmp_path / "packed").mkdir()
    for name, text in FILES.items():
        with gzip.open(tmp_path / "packed" / f"{name}.csv.gz", "wt") as packed:
            packed.write(text)
    made = []
    for name in ("plain", "packed"):
        out = tmp_path / name / "data" / "machines.jsonl"
        reader.main([str(tmp_path / name), "--out", str(out)])
        made.append(out.read_bytes())
    assert made[0] == made[1]
    assert len(made[0].splitlines()) == 11


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PdM_errors", "datetime,machineID,errorID\n2015-01-01 07:00:00,2\n", r":2: .* no errorID"),
        ("PdM_errors", "datetime,machineID,code\n", "there is no errorID"),
        ("PdM_maint", "datetime,machineID,comp\n2015-01-01 07:00:00,2,\n", r":2: .* no comp"),
        ("PdM_failures", "datetime,machineID,failure\nyesterday,2,comp1\n", ":2: .*yesterday"),
        ("PdM_telemetry", FILES["PdM_telemetry"].replace("400.0", "fast"), ":4: .*fast"),
        ("PdM_telemetry", FILES["PdM_telemetry"].replace(",101.0,41.0", ""), r":5: .* no pressure"),
    ],
)
def test_a_line_that_is_not_of_the_format_is_refused_by_its_number(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    """A truncated or edited download must not become a shorter recording."""
    with pytest.raises(ValueError, match=f"{name}.csv.*{says}"):
        list(reader.read(written(tmp_path, **{name: text})))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says both names that were looked for."""
    (written(tmp_path) / "PdM_maint.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither PdM_maint\.csv nor PdM_maint\.csv\.gz"):
        list(reader.read(tmp_path))


def test_no_feature_tells_the_time_of_day() -> None:
    """Failures are stamped 06:00 or 03:00 only, so an hour among the features would be the label."""
    fleet = load(FLEET)
    features = fleet.classes["machine"].features
    assert not [name for name in features if any(word in name for word in ("hour", "day", "week", "time_of"))]
    assert "error1:count:24h" in features
    assert {"comp1:since", "comp1:times", "age", "model=model1"} <= set(features)


def test_maintenance_of_a_component_censors_the_target_of_that_component() -> None:
    """The four targets, each with its own component and its horizon of a day."""
    targets = load(FLEET).targets
    assert {name: target.component for name, target in targets.items()} == {
        f"machine/comp{number}/24h": f"comp{number}" for number in (1, 2, 3, 4)
    }
