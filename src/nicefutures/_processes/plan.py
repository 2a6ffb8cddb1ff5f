"""The settings of a pool, and the objects that it uses."""

from collections.abc import Callable
from typing import NamedTuple

from .._failure import WarnOnce
from .attempt import OnCrash
from .handle import Start
from .packing import Packing
from .relay import Listener


class Plan(NamedTuple):
    """The settings of a pool, and the objects that it uses."""

    start: Start
    max_workers: int
    max_tasks: int | None  # after which a worker is replaced
    packing: Packing
    warn: WarnOnce  # called with the shortfall of a worker
    on_crash: OnCrash
    task_timeout: float | None  # s
    listener: Listener
    at_rest: Callable[[], None]  # called when there are no tasks
    at_end: list[Callable[[], None]]  # called when no worker is left
