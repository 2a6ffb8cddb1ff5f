"""The base class of all executors: the arguments and types of `map`, the number of tasks, and pauses."""

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, overload

from .._pausing import PAUSE, Pausable
from .._workers import TaskCount
from .buffered import check_buffersize
from .results import Results, SizedResults, count_items

_T = TypeVar("_T")
_Size: TypeAlias = int | Literal["auto"]


_NOTE: Final = """
        `buffersize` works on every Python version, as in Python 3.14: it is the number of tasks that are submitted
        ahead of the next result. Inputs are read as you read results, so only a few of both are in memory at a time.
        None, the default, submits all tasks at once.

        With ``return_exceptions=True`` the exception of a call is an item of the results, as in :func:`asyncio.gather`,
        and the other results follow. The TimeoutError of `timeout` is still raised.

        In a process pool with ``chunksize="auto"``, a chunk has as many calls as take about 20 ms, judged by earlier
        calls. Short calls then cost a few microseconds each, and a result waits for others of its chunk for about that
        time. If a chunk takes longer than 50 ms, its results come at once, and other workers make those of its calls
        that have not begun. A call that raises ends the results at its place, and no call sees what another one did to
        its arguments, as with chunks of one call. If you pass a size, `buffersize` counts chunks, and the arguments of
        a chunk are pickled together, as in the standard library: its calls share objects that several arguments have.

        The results have a `len`, for progress bars, if all iterables have one.
        """


class MapOptions(NamedTuple):
    """Arguments of a `map`. The executor checks `chunksize` if it sends chunks."""

    timeout: float | None
    chunksize: Any
    buffersize: int | None
    return_exceptions: bool


class BaseExecutor(Executor):
    """The base class of all executors."""

    @overload
    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Collection[Any],
        timeout: float | None = ...,
        chunksize: _Size = ...,
        buffersize: int | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> SizedResults[_T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Collection[Any],
        timeout: float | None = ...,
        chunksize: _Size = ...,
        buffersize: int | None = ...,
        return_exceptions: bool,
    ) -> SizedResults[_T | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = ...,
        chunksize: _Size = ...,
        buffersize: int | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> Iterator[_T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = ...,
        chunksize: _Size = ...,
        buffersize: int | None = ...,
        return_exceptions: bool,
    ) -> Iterator[_T | BaseException]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: _Size = "auto",
        buffersize: int | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
        how = MapOptions(timeout, chunksize, buffersize, return_exceptions)
        check_buffersize(buffersize)
        count = count_items(iterables)  # before the iterables are used
        results, cancel = self._map_results(fn, iterables, how)
        return Results(results, cancel) if count is None else SizedResults(results, cancel, count)

    map.__doc__ = f"{Executor.map.__doc__}{_NOTE}"  # noqa: A003, the name of the overridden method

    def tasks(self) -> TaskCount:
        """Return how many tasks are waiting, and how many are running.

        Returns
        -------
        TaskCount
            Its sum is the number of tasks that are not done.
        """
        return TaskCount(*self._count_tasks())

    def pause(self) -> None:
        """Pause the executor until `resume`.

        In a process pool, all workers stop in the middle of their tasks, with the processes that the tasks have
        started, and use no CPU. When this returns, they stand still; a task in a `no_pause` block stops at the end of
        the block. In a pool of threads or interpreters, running tasks continue, and no other task begins. Submitted
        tasks wait. A second pause changes nothing. The time of a pause does not count for `task_timeout`. `shutdown`,
        and the end of the program in any way, resume the executor.

        Raises
        ------
        RuntimeError
            If the executor has been shut down.
        BrokenExecutor
            If it is broken.
        """
        pausable = self._pausable(opens=True)
        if pausable is not None:
            pausable.pause(PAUSE)

    def resume(self) -> None:
        """Continue after `pause`, unless a condition of `pause_when` still holds. Without a pause, do nothing."""
        pausable = self._pausable(opens=False)
        if pausable is not None:
            pausable.resume(PAUSE)

    @property
    def paused_by(self) -> frozenset[str]:
        """Why the executor is paused, as a set of "pause" and conditions of `pause_when`. Empty if it runs."""
        pausable = self._pausable(opens=False)
        return frozenset(() if pausable is None else pausable.reasons)

    # --- implemented by each executor

    def _map_results(
        self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], how: MapOptions
    ) -> tuple[Iterator[Any], Callable[[], object]]:
        """Return a generator of results, and a function that cancels the calls that have not begun."""
        raise NotImplementedError

    def _count_tasks(self) -> tuple[int, int]:
        raise NotImplementedError

    def _pausable(self, *, opens: bool) -> Pausable | None:
        """Return the object that can be paused, or None; make it first if this `opens` it for a pause."""
        raise NotImplementedError
