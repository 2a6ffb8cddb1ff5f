"""Results of ``map`` that tell how many there will be."""

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class SizedResults(Generic[_T]):
    """An iterator over results whose number is known, as progress bars want to know it.

    Parameters
    ----------
    results : iterator
        The results.
    count : int
        How many there are.
    """

    def __init__(self, results: Iterator[_T], count: int) -> None:
        self._results = results
        self._count = count

    def __iter__(self) -> "SizedResults[_T]":
        return self

    def __next__(self) -> _T:
        result = next(self._results)
        self._count -= 1
        return result

    def __len__(self) -> int:
        """Return how many are still to come."""
        return max(0, self._count)  # an input may have had more than it said

    def __bool__(self) -> bool:
        return True  # as of any iterator

    def close(self) -> None:
        """Cancel what has not begun, as closing a generator does."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()


def count_items(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many results there will be, if all the inputs tell how many items they have."""
    try:
        return min(len(iterable) for iterable in iterables)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001, whatever keeps an input from telling that, it may still have items
        return None


def with_size(results: Iterator[_T], count: int | None) -> Iterator[_T]:
    """Return the results, with their number if it is known."""
    return results if count is None else SizedResults(results, count)
