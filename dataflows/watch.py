"""What a running dataflow and the person who started it tell each other."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Watch"]


@dataclass
class Watch:
    """Shared by a source and whoever watches it, in one process.

    Attributes:
        stop: set it to end the input before its next batch, at an epoch boundary.
        records: read so far, also by earlier runs on the same store.
        done: bytes read so far of the files as they lie on disk.
    """

    stop: bool = False
    records: int = 0
    done: int = 0
