"""Files that a power cut leaves whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["replace_file", "sync_folder"]


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
