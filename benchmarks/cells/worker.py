"""The warm-up of a worker, in a module that interpreters can import."""

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from ..watching.levels import process_levels, thread_levels

PATIENCE: Final = 60.0  # seconds to wait for the other workers
_PAUSE: Final = 0.02  # seconds that a task lasts where workers cannot meet, so that no worker takes all tasks


def warm_up(
    task: Callable[[], object] | None, meeting: threading.Barrier | None, threads: bool
) -> tuple[tuple[int, int], dict[str, int]]:
    """Run a task; return the ids of this worker, and the number of its threads at each priority."""
    if task is not None:
        task()
    if meeting is not None:
        meeting.wait(PATIENCE)
    else:
        time.sleep(_PAUSE)
    return (os.getpid(), threading.get_native_id()), thread_levels() if threads else process_levels()
