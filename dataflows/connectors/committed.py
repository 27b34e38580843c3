"""Final length of an output: ``<output>.committed``, for programs that follow a file during a run.

After a kill, a resume removes the rows of the open epoch and writes them again. ``<output>.committed`` holds
the
number of bytes that are final: a decimal number, replaced as a whole. For a rotated output it is the length
of all its files together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dataflows.disk import replace_file
from dataflows.snapshots import contents, seal, unseal

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.status import RunStatus

__all__ = ["Committed", "committed_file", "is_length", "length_of", "sealed_length"]

_VERSION = 1


def sealed_length(length: int) -> bytes:
    """Make the snapshot of an output: its length in bytes."""
    return seal("output", _VERSION, length)


def is_length(state: bytes | int) -> bool:
    """Whether the snapshot of an output is that of a file; a topic's holds its partitions.

    Raises:
        SnapshotError: it is damaged.
    """
    return not isinstance(state, bytes) or contents(state)[0] == "output"


def length_of(state: bytes | int | None) -> int:
    """Length in a snapshot; 0 for a new output.

    Raises:
        SnapshotError: it is damaged, or of a version that cannot be read.
    """
    # The first stores held the bare number.
    return (state or 0) if not isinstance(state, bytes) else cast("int", unseal("output", _VERSION, state))


def committed_file(output: Path) -> Path:
    """Path of the file with the committed length of an output."""
    return output.with_suffix(".committed")


class Committed:
    """Write the committed length of one output.

    The source takes its snapshot at the end of each epoch, and no epoch begins before the last is committed:
    the length in the output's snapshot by then is final.

    Args:
        output: the file.
        length: length that is already final.
        status: calls at the end of each epoch.

    Attributes:
        told: the last written length.
    """

    def __init__(self, output: Path, length: int, status: RunStatus) -> None:
        self._path = committed_file(output)
        self.told = -1
        self._length = length
        status.on_commit(self.tell)
        self.tell()

    def snapshot(self, length: int) -> None:
        """Note a length that is final once its epoch is committed."""
        self._length = length

    def tell(self) -> None:
        """Write the noted length; call this only when its epoch is committed."""
        if self._length == self.told:
            return
        # The former length, which a power cut may bring back, is final too.
        replace_file(self._path, b"%d\n" % self._length, at_once=False)
        self.told = self._length
