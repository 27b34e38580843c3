"""Files that a power cut leaves whole, and locks that a killed process leaves open."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked_alone", "replace_file", "sync_folder"]


def replace_file(path: Path, data: bytes, *, at_once: bool = True) -> None:
    """Give a file new contents: after a power cut it holds either the former ones or these, never a part.

    Args:
        path: of the file; its folder exists.
        data: what it is to hold.
        at_once: whether a power cut after the return can no longer bring the former contents back.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    written = path.with_name(f"{path.name}.part")
    with written.open("wb") as file:
        file.write(data)
        file.flush()
        # Without this, a file system may keep the new name and lose the contents.
        os.fsync(file.fileno())
    written.replace(path)
    if at_once:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names of new, renamed and removed files of a folder survive a power cut.

    Raises:
        OSError: the folder does not exist.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def locked_alone(path: Path, refused: Exception) -> Iterator[None]:
    """Lock a folder or file against every other process until the block, or this process, ends.

    Args:
        path: of the folder, or of the file, which is made where it is missing.
        refused: raised if it is locked already.

    Raises:
        OSError: it cannot be opened, or its file system has no locks.
    """
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refused from None
        yield
    finally:
        os.close(opened)
