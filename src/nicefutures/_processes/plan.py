"""The settings of a pool, and the objects that it uses."""

from collections.abc import Callable
from typing import NamedTuple

from .._failure import WarnOnce
from .attempt import OnCrash
from .handle import Start
from .packing import Packing
from .relay import Listener


class Plan(NamedTuple):
    """The settings of a pool, and the objects that it uses.

    Attributes
    ----------
    start : Start
        How to start workers.
    max_workers : int
        Largest number of workers.
    max_tasks : int or None
        Number of tasks after which a worker is replaced.
    packing : Packing
        Pickles tasks.
    warn : WarnOnce
        Called with the shortfall of a worker.
    on_crash : str
        What happens to a task whose worker dies.
    task_timeout : float or None
        Seconds that a task may take.
    listener : Listener
        Receives the log records and warnings of workers.
    at_rest : callable
        Called when there are no tasks.
    at_end : list of callable
        Called when no worker is left.
    """

    start: Start
    max_workers: int
    max_tasks: int | None
    packing: Packing
    warn: WarnOnce
    on_crash: OnCrash
    task_timeout: float | None
    listener: Listener
    at_rest: Callable[[], None]
    at_end: list[Callable[[], None]]
