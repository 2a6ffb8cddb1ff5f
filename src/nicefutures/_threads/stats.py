"""What a thread pool tells of itself."""

from typing import NamedTuple


class PoolStats(NamedTuple):
    """What :meth:`PriorityThreadPoolExecutor.stats` tells.

    Attributes
    ----------
    limit : int
        How many workers may run at once now.
    running : int
        How many do.
    gil_wait_p50, gil_wait_p99 : float or None
        Percentiles of how long a thread that woke up had to wait for the GIL, in s, during the last 5 s of work of all
        pools; None if there was none, or nobody watches.
    tasks_done : int
        How many tasks have been done so far, those that failed included.
    lifted : bool
        Whether workers at IDLE or LOWEST run at BELOW_NORMAL now, as their tasks keep the GIL.
    """

    limit: int
    running: int
    gil_wait_p50: float | None
    gil_wait_p99: float | None
    tasks_done: int
    lifted: bool


class Stall(NamedTuple):
    """A time during which a task kept every other Python thread waiting.

    Attributes
    ----------
    function : str
        Qualified name of the function that was submitted.
    seconds : float
        The longest such time, to within a few ms.
    times : int
        How often this function stalled the interpreter.
    """

    function: str
    seconds: float
    times: int
