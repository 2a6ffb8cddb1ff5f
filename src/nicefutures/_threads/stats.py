"""Statistics of a thread pool."""

from typing import NamedTuple

from .._public import public


@public
class PoolStats(NamedTuple):
    """Statistics of a thread pool, from :meth:`PriorityThreadPoolExecutor.stats`.

    Attributes
    ----------
    limit : int
        Number of workers that may run at once at present.
    running : int
        Number of workers that run a task.
    gil_wait_p50, gil_wait_p99 : float or None
        Percentiles of the time in s for which a thread that woke up waited for the GIL, in the last 5 s of work of all
        pools; None without a latency target, or without work.
    tasks_done : int
        Number of tasks that have ended, including failed ones.
    lifted : bool
        Whether workers at IDLE or LOWEST run at BELOW_NORMAL at present because their tasks hold the GIL.
    """

    limit: int
    running: int
    gil_wait_p50: float | None
    gil_wait_p99: float | None
    tasks_done: int
    lifted: bool


@public
class Stall(NamedTuple):
    """A function that delayed every other Python thread, from :meth:`PriorityThreadPoolExecutor.stalls`.

    Attributes
    ----------
    function : str
        Qualified name of the submitted function.
    seconds : float
        The longest delay, within a few ms.
    times : int
        Number of delays.
    """

    function: str
    seconds: float
    times: int
