"""``python -m dataflows``, which kills itself at a commit: before, among its topics, or after.

Environment: ``CHAOS_CUT`` is ``before``, ``among`` or ``after``, ``CHAOS_COMMIT`` the number of the commit.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from dataflows.__main__ import app
from dataflows.connectors.kafka.sink import KafkaSink

_CUT = os.environ["CHAOS_CUT"]
_LEFT = [int(os.environ["CHAOS_COMMIT"])]


def main() -> None:
    commit = KafkaSink.commit

    def cut(self: Any) -> None:  # noqa: ANN401
        opened = [part for part in self.parts if part.is_open]
        _LEFT[0] -= bool(opened)
        if not opened or _LEFT[0]:
            commit(self)
            return
        for part in opened[: {"before": 0, "among": len(opened) // 2, "after": len(opened)}[_CUT]]:
            part.commit()
        os.kill(os.getpid(), signal.SIGKILL)

    KafkaSink.commit = cut
    app()


if __name__ == "__main__":
    main()
