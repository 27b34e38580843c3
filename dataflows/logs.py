"""Structured log lines: one JSON object each.

Stages write them in the midst of their work, so a log that cannot be written, since a disk is full or nobody
reads on, must not be an error of theirs: the lines are lost, and nothing else changes.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

__all__ = ["to_stderr_unless_configured", "to_stream"]


class _Lossy:
    """A stream whose lines are lost where they cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def to_stream(stream: TextIO) -> None:
    """Write log lines to a stream, level INFO and above."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy(stream))),
        cache_logger_on_first_use=False,
    )


def to_stderr_unless_configured() -> None:
    """Log to standard error, unless the program that embeds the dataflow configured structlog itself."""
    if not structlog.is_configured():
        to_stream(sys.stderr)
