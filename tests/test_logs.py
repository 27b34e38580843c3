"""Log lines: JSON, and never an error of whoever writes them."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

import orjson
import pytest
import structlog

from dataflows.logs import to_stream

if TYPE_CHECKING:
    from collections.abc import Iterator


class Full(io.StringIO):
    """A file on a disk that is full until there is room."""

    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_line_is_json() -> None:
    """With its level and time."""
    stream = io.StringIO()
    to_stream(stream)
    structlog.get_logger().info("progress", records=3)
    said = orjson.loads(stream.getvalue())
    assert (said["event"], said["level"], said["records"]) == ("progress", "info", 3)


def test_a_log_that_cannot_be_written_disturbs_nobody() -> None:
    """Stages log in the midst of their work: an error there would be taken for one of theirs."""
    stream = Full()
    to_stream(stream)
    log = structlog.get_logger()
    log.info("lost")
    stream.room = True
    log.info("kept")
    assert orjson.loads(stream.getvalue())["event"] == "kept"
