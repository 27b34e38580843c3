"""``python -m dataflows``, slowed down, with every read and every snapshot told to a pipe, unbuffered.

Environment: ``CHAOS_TRACE`` is the pipe's descriptor, ``CHAOS_PAUSE`` the seconds that a read takes longer,
``CHAOS_KEEP`` set keeps every epoch's snapshots in the store.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bytewax.recovery import RecoveryConfig

from dataflows.__main__ import app
from dataflows.connectors import file_sink as rows
from dataflows.connectors import files
from dataflows.connectors.source import LanePartition
from dataflows.engine import operators as parts
from dataflows.pipeline import IsolatedAsset
from dataflows.recovery import manifest, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.connectors.merge import FilePosition

_TRACE = int(os.environ["CHAOS_TRACE"])
_PAUSE = float(os.environ["CHAOS_PAUSE"])


def tell(what: str, number: int) -> None:
    os.write(_TRACE, f"{what} {number}\n".encode())


def wrap(owner: type, name: str, before: Callable[[Any], None]) -> None:
    original = getattr(owner, name)

    def wrapped(self: Any, *args: Any) -> Any:  # noqa: ANN401
        before(self)
        return original(self, *args)

    setattr(owner, name, wrapped)


def read(source: Any) -> None:  # noqa: ANN401
    tell("read", source._sequence)
    time.sleep(_PAUSE)


def main() -> None:
    source = LanePartition
    wrap(source, "next_batch", read)
    wrap(source, "snapshot", lambda self: tell("snapshot", self._sequence))
    restore = files.FileSource._places

    def opened(self: Any, begun: list[Any]) -> list[FilePosition]:  # noqa: ANN401
        places = restore(self, begun)
        tell("resumed", places[-1].offset)
        return places

    files.FileSource._places = opened
    steps = [(parts._Main, "snapshot"), (parts._Part, "snapshot"), (IsolatedAsset, "to_bytes")]
    for owner, name in [*steps, (rows.RowsPartition, "snapshot"), (rows.RotatingPartition, "snapshot")]:
        wrap(owner, name, lambda _: tell("snapshot", -1))
    if os.environ.get("CHAOS_KEEP"):
        store.RecoveryConfig = lambda folder: RecoveryConfig(folder, timedelta(days=1))
        # So the engine commits late, as the manifest says where its own command line asks for it.
        run = manifest._run
        manifest._run = lambda fleet, _lag: run(fleet, None)
    app()


if __name__ == "__main__":
    main()
