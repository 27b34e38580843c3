"""Write a golden store: ``python -m tests.golden.write NAME``, when the version of a snapshot was raised.

It makes ``tests/golden/NAME.tar.xz``: a fleet, its recording, and the store of a run that has read the first
half of it. Golden stores that are there are never written again: they are what former releases left.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from pathlib import Path

from rich.console import Console

from dataflows.tools.backup import backup
from tests.chaos.harness import FLEET, finish, prepare, recording
from tests.chaos.test_weather import SEEN, with_weather

GOLDEN = Path(__file__).parent


def write(name: str) -> Path:
    """Write the golden store of this name; returns its path."""
    path = GOLDEN / f"{name}.tar.xz"
    if path.exists():
        msg = f"{path} is there already; a golden store is never written again"
        raise FileExistsError(msg)
    text = FLEET.replace("[[classes.truck.windows]]", SEEN + "[[classes.truck.windows]]", 1)
    text = text.replace('label_delay = "12h"', 'label_delay = "12h"\nidle_timeout = "6h"')
    text = text.replace('champion = "linear"', 'champion = "linear"\nalert = { open = 0.5, clear = 0.4 }')
    text = text.replace("cells = 16_384", "cells = 8_300")
    lines = with_weather(recording(days=11, trucks=6, seed=7))
    with tempfile.TemporaryDirectory() as folder:
        fleet = prepare(Path(folder) / "run", lines[: len(lines) // 2], text)
        # Many epochs, so that there is a log of what the big model learned since it was written.
        finish(fleet, FLEET_BATCH="10")
        backup(fleet.parent / "store", fleet.parent / "copy", Console(file=io.StringIO()), outputs=False)
        prepare(fleet.parent, lines, text)
        with tarfile.open(path, "x:xz") as tar:
            for each in ("fleet.toml", "events.jsonl", "copy"):
                tar.add(fleet.parent / each, "store" if each == "copy" else each)
    return path


if __name__ == "__main__":
    print(write(sys.argv[1]))  # noqa: T201 - says what it made
