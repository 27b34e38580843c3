"""The recovery store: made on first use, and held by one run at a time."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PARTITIONS", "StoreError", "named_store", "open_store"]

#: SQLite files of a new store. Resuming many assets is several times faster from many files than from one.
PARTITIONS = 16


class StoreError(RuntimeError):
    """The recovery store cannot be used."""


def named_store() -> Path | None:
    """The store that Bytewax's own command line or environment names, None without recovery."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    default = os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    parser.add_argument("-r", "--recovery-directory", nargs="?", default=default)
    found = parser.parse_known_args(sys.argv[1:])[0].recovery_directory
    return Path(found) if found else None


@contextmanager
def open_store(folder: Path, *, fresh: bool = False) -> Iterator[RecoveryConfig]:
    """The recovery configuration of a folder, made if it is new, and locked while the block runs.

    Args:
        folder: of the store.
        fresh: forget what earlier runs left in it.

    Raises:
        StoreError: another run holds it, or the folder holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"{folder} is in use by another run; wait for its end, or name another store (--recovery)"
            raise StoreError(msg) from None
        # A kill while the files are made leaves only some of them, which the engine would refuse for ever.
        unfinished = folder / "unfinished"
        if fresh or unfinished.exists() or not any(folder.glob("part-*.sqlite3")):
            unfinished.touch()
            for path in folder.glob("part-*.sqlite3*"):
                path.unlink()
            init_db_dir(folder, PARTITIONS)  # type: ignore[no-untyped-call]
            unfinished.unlink()
        yield RecoveryConfig(folder)  # type: ignore[no-untyped-call]
