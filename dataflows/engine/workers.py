"""Number of workers of this dataflow, as far as it is known before the start."""

from __future__ import annotations

import os
import sys

__all__ = ["one_worker"]

_OPTIONS = ("-w", "--workers-per-process", "-i", "--process-id", "-a", "--addresses", "-p", "--processes")
_VARIABLES = (
    "BYTEWAX_WORKERS_PER_PROCESS",
    "BYTEWAX_PROCESS_ID",
    "BYTEWAX_ADDRESSES",
    "BYTEWAX_POD_NAME",
    "BYTEWAX_HOSTFILE_PATH",
)


def one_worker() -> bool:
    """Whether neither command line nor environment asks the engine for more than one worker."""
    asked = any(argument.startswith(_OPTIONS) for argument in sys.argv[1:])
    return not asked and not any(os.environ.get(name) for name in _VARIABLES)
