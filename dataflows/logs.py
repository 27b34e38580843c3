"""Structured log lines: one JSON object each."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

__all__ = ["to_stderr_unless_configured", "to_stream"]


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
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def to_stderr_unless_configured() -> None:
    """Log to standard error, unless the program that embeds the dataflow configured structlog itself."""
    if not structlog.is_configured():
        to_stream(sys.stderr)
