"""Hostile input at size: within 1 GB of memory, and every line accounted for.

A test and not a benchmark, since it has a verdict and no figure: the short version runs with the others, more
than 100 MB of it as ``full``.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Self

import orjson
import pytest

from tests.chaos.harness import free_ports
from tests.processes import ROOT, environment
from tests.tables import LEAK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLEET = (
    """
name = "hostile"

[input]
files = ["events.jsonl"]

[output]
features = "none"

[assets]
unknown = "POLICY"
max_assets = MOST

[classes.pump]
sensors = ["pressure", "flow"]

[[classes.pump.windows]]
length = "24h"
hop = "2h"
statistics = ["mean", "max", "slope"]
"""
    + LEAK
)
#: Runs the command, then tells the most memory that its process ever held.
PROGRAM = """
import sys
from dataflows.__main__ import app

app(sys.argv[1:], standalone_mode=False)
with open("/proc/self/status") as status:
    print(*(line for line in status if line.startswith("VmHWM:")))
"""
#: So many a page of metrics has at most, whatever comes in.
SERIES = 100
GIGABYTE = 10**9 // 1024  # in KB of 1,024 bytes, as the kernel counts
TIME = 1_735_689_600
#: Without a record that can be used, a run ends after the first thousand.
KNOWN = (
    (b'{"kind":"asset","asset":"known","class":"pump"}', None),
    (b'{"kind":"telemetry","asset":"known","time":%d,"readings":{"flow":1}}' % TIME, None),
)
#: How often the registry can be filled by the names of a recording.
OVERFILL = 10


def lines(megabytes: int, names: int, longest: int) -> Iterator[tuple[bytes, str | None]]:
    """Every line with the reason for which it is refused under both policies, None for well-formed ones.

    Args:
        megabytes: how much there is beside the long lines and those of many names; no less than each once.
        names: how many assets are named.
        longest: bytes of a long line; there are three.
    """
    kinds = _kinds()
    size, index = 0, 0
    while index < len(kinds) or size < megabytes * 1_000_000:
        line, reason = kinds[index % len(kinds)]
        size, index = size + len(line), index + 1
        yield line, reason
    for filler in (b"[", b"9", b"\xff"):
        yield filler * longest, "malformed"
    for number in range(names):
        name = f"{number:07}"
        yield (
            b'{"kind":"telemetry","asset":"%b","time":%d,"readings":{"flow":1}}' % (name.encode(), TIME),
            None,
        )


def _kinds() -> list[tuple[bytes, str | None]]:
    start = b'{"kind":"telemetry","asset":"a","time":%d,' % TIME
    sensors = orjson.dumps({f"sensor number {index}": index / 7 for index in range(10_000)})
    return [
        (b"[" * 900_000, "malformed"),
        (b'{"a":' * 150_000, "malformed"),
        (start + b'"note":' + b"[" * 1_000 + b"]" * 1_000 + b',"readings":{}}', None),
        (b'{"kind":' + b"[" * 1_000 + b"]" * 1_000 + b"}", "malformed"),
        (start + b'"readings":{"flow":' + b"9" * 900_000 + b"}}", "malformed"),
        (start + b'"readings":{"flow":0.' + b"9" * 900_000 + b"}}", None),
        (start + b'"readings":{"flow":1e' + b"9" * 900_000 + b"}}", "malformed"),
        (start + b'"readings":' + sensors + b"}", "malformed"),
        (start + b'"readings":{"' + b"s" * 900_000 + b'":1}}', None),
        (start + b'"note":"' + b"n" * 990_000 + b'","readings":{}}', None),
        (b'{"kind":"telemetry","asset":"' + b"a" * 900_000 + b'"}', "malformed"),
        (b'{"kind":"' + b"k" * 900_000 + b'"}', "malformed"),
        (
            b'{"kind":"asset","asset":"a","class":"pump","attributes":{"a":"' + b"a" * 900_000 + b'"}}',
            "malformed",
        ),
        (
            b'{"kind":"telemetry","asset":"a","time":"2025-01-01T00:00:00.' + b"1" * 900_000 + b'Z"}',
            "malformed",
        ),
        (bytes(range(1, 10)) * 100_000, "malformed"),
        (b"\0" * 900_000, "malformed"),
        (b"\xff\xfe" * 450_000, "malformed"),
        (b'"' + "\N{GRINNING FACE}".encode() * 240_000 + b'"', "malformed"),
        (b'{"kind":"telemetry","asset":"' + b"\\u0007" * 30 + b'"}', "malformed"),
        (b"[" + b"{}," * 300_000 + b"{}]", "malformed"),
    ]


class Scraper:
    """Reads the metrics of a run again and again while the block runs.

    Attributes:
        series: the most series of a page.
        bytes: length of the longest page.
        pages: how many were read.
    """

    def __init__(self, port: int) -> None:
        self.series = self.bytes = self.pages = 0
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            try:
                with urllib.request.urlopen(self._url, timeout=10) as answer:  # noqa: S310 - an address of ours
                    page = answer.read()
            except OSError:
                continue
            self.pages += 1
            self.bytes = max(self.bytes, len(page))
            self.series = max(self.series, sum(not line.startswith(b"#") for line in page.splitlines()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def account(folder: Path, records: int) -> tuple[Counter[int], Counter[str]]:
    """How many rows each sequence has among predictions, rejects and late; and how many each reason has."""
    sequences = Counter(range(1, records + 1))
    reasons: Counter[str] = Counter()
    for name in ("predictions", "rejects", "late"):
        path = folder / "out" / f"{name}.jsonl"
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    row = orjson.loads(line)
                    sequences[row["sequence"]] += 1
                    reasons[row.get("reason", "scored")] += 1
    return sequences, reasons


@pytest.mark.parametrize("policy", ["adopt", "reject"])
@pytest.mark.parametrize(
    ("megabytes", "names", "longest"),
    [(0, 10_000, 3_000_000), pytest.param(100, 1_000_000, 50_000_000, marks=pytest.mark.full)],
    ids=["short", "full"],
)
def test_hostile_input_takes_bounded_memory_and_is_accounted_for(
    tmp_path: Path, policy: str, megabytes: int, names: int, longest: int
) -> None:
    """The process stays within 1 GB and few series, and each line is one row, adopted assets or not."""
    expected: list[str | None] = []
    with (tmp_path / "events.jsonl").open("wb") as file:
        for line, reason in KNOWN if policy == "reject" else ():
            file.write(line + b"\n")
            expected.append(reason)
        for line, reason in lines(megabytes, names, longest):
            file.write(line + b"\n")
            expected.append(reason)
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET.replace("POLICY", policy).replace("MOST", str(names // OVERFILL)))
    command = [sys.executable, "-c", PROGRAM, "run", str(fleet), "--recovery", str(tmp_path / "store")]
    (port,) = free_ports(1)
    command += ["--metrics", str(port), "--metrics-assets", "10"]
    with Scraper(port) as scraper:
        ran = subprocess.run(
            command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=3_000, check=False
        )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-5_000:]
    most = int(ran.stdout.split("VmHWM:")[1].split()[0])
    sequences, reasons = account(tmp_path, len(expected))
    malformed = expected.count("malformed")
    assert reasons["malformed"] == malformed
    assert len(sequences) == len(expected)
    if policy == "reject":
        assert sequences.pop(1) == 1, "the registration is no row"
        assert reasons["unknown_asset"] == expected[2:].count(None)
        assert reasons["scored"] == 1
    else:
        assert reasons["unknown_asset"] == names - names // OVERFILL + 1, "asset `a` came first"
        scored = names // OVERFILL - 1 + expected[:-names].count(None)
        assert reasons["scored"] == scored - reasons["duplicate"]
    assert set(sequences.values()) == {2}, "each sequence once, beside the one it was counted from"
    assert most < GIGABYTE, f"{most:,} KB"
    assert scraper.pages
    assert scraper.series < SERIES
    assert scraper.bytes < 200 * SERIES
