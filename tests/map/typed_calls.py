"""The types of the results of `map`: mypy checks this file."""

from collections.abc import Iterator
from typing import assert_type

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor


def double(number: int) -> float:
    return number * 2.0


def check(executor: LowPriorityProcessPoolExecutor | PriorityThreadPoolExecutor, numbers: Iterator[int]) -> None:
    results = executor.map(double, [1, 2], chunksize="auto", buffersize=3)
    assert_type(len(results), int)
    assert_type(list(results), list[float])
    assert_type(executor.map(double, numbers), Iterator[float])
    assert_type(list(executor.map(double, [1], return_exceptions=True)), list[float | BaseException])
    assert_type(executor.map(double, numbers, return_exceptions=True), Iterator[float | BaseException])
    assert_type(executor.tasks().waiting, int)
