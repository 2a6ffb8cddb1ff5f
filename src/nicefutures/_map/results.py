"""The iterators that ``map`` returns."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Results(Generic[_T]):
    """An iterator over results."""

    def __init__(self, results: Iterator[_T], cancel: Callable[[], object]) -> None:
        self._results: Any = results
        self._cancel = cancel  # needed, too: to close a generator that was never advanced does nothing

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        result: _T = next(self._results)
        return result

    def close(self) -> None:
        """Cancel the calls that have not begun."""
        self._cancel()
        self._results.close()


class SizedResults(Results[_T]):
    """An iterator over `count` results with a length, for progress bars."""

    def __init__(self, results: Iterator[_T], cancel: Callable[[], object], count: int) -> None:
        super().__init__(results, cancel)
        self._count = count

    def __next__(self) -> _T:
        result: _T = next(self._results)
        self._count -= 1
        return result

    def __len__(self) -> int:
        """Return how many results are left."""
        return max(0, self._count)  # an input may have had more items than its length

    def __bool__(self) -> bool:
        return True  # as for any iterator


def count_items(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return the number of results if all inputs have a length, else None."""
    try:
        return min(len(iterable) for iterable in iterables)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001, an input whose length cannot be read may still have items
        return None
