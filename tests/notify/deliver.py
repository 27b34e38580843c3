"""``python -m tests.notify.deliver FOLDER KILL``: deliver, or die by kill -9 after KILL posts.

It dies where a process may die at the worst instant: the receiver has taken the post, and the queue does not
know it yet. With 0 it delivers what is committed, and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from dataflows.fleet import load
from dataflows.notify.delivery import Queue, delivered, waiting
from dataflows.status import RunStatus

if __name__ == "__main__":
    folder, left = Path(sys.argv[1]), int(sys.argv[2])
    fleet = load(folder / "fleet.toml", environ={})
    if left:
        done, posts = Queue.done, iter(range(1, left))

        def killed(queue: Queue, *given: object) -> None:
            if next(posts, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            done(queue, *given)  # type: ignore[arg-type]

        Queue.done = killed  # type: ignore[assignment, method-assign]
    with delivered(fleet, RunStatus()):
        # The next look at the outputs, and then what it finds.
        time.sleep(60.0 if left else 0.1)
    assert not any(each.changes for each in waiting(fleet))
