"""A task has the name of the user's function, even if that is wrapped in others."""

import asyncio
import contextvars
import functools
import sys
import threading

import pytest

from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads.tasks import name_of, name_task, unwrap
from patience import wait_until
from tasks import compute

pytestmark = pytest.mark.every_python


def traced(function):
    """Wrap a function without `functools.wraps`, as tracing libraries do."""
    span = object()

    def run(*args, **kwargs):
        assert span
        return function(*args, **kwargs)

    return run


def decorated(function):
    @functools.wraps(function)
    def wrapper(seconds):
        return function(seconds)

    return wrapper


class Work:
    def method(self, release):
        release.wait()

    def __call__(self, release):
        release.wait()


def hold(release, *_):
    release.wait()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (compute, "tasks.compute"),
        (functools.partial(functools.partial(compute, 1)), "tasks.compute"),
        (sorted, "builtins.sorted"),
        ("x".join, "str.join"),
        (threading.Event().wait, "threading.Event.wait"),
        (functools.partial(contextvars.copy_context().run, compute), "tasks.compute"),
        (decorated(compute), "tasks.compute"),
        (traced(decorated(functools.partial(compute, 1))), "tasks.compute"),
        (Work(), f"{__name__}.Work"),
        (Work().method, f"{__name__}.Work.method"),
    ],
    ids=[
        "function",
        "partial",
        "builtin",
        "method of str",
        "method",
        "context",
        "wraps",
        "all",
        "callable",
        "own method",
    ],
)
def test_unwrap(function, name):
    """Wrappers are removed, and the function inside has its qualified name."""
    assert name_of(unwrap(function)) == name


def test_endless():
    """A function that claims to wrap itself still has a name."""

    def function():
        pass

    function.__wrapped__ = function
    assert name_of(unwrap(function)).endswith("function")


def name_of_running(executor):
    """Return the name of the only running task, from the stack of its thread."""
    (thread,) = executor._threads
    return name_task(sys._current_frames()[thread.ident])


@pytest.mark.parametrize("target", [None, 0.005])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (hold, "hold"),
        (Work(), "Work"),
        (functools.partial(hold), "hold"),
        (functools.partial(contextvars.copy_context().run, hold), "hold"),
        (traced(hold), "hold"),
        (decorated(hold), "hold"),
    ],
    ids=["function", "callable", "partial", "context", "traced", "wraps"],
)
def test_running(function, name, target):
    """A running task has a name, on every Python."""
    release = threading.Event()
    with PriorityThreadPoolExecutor(1, latency_target=target) as executor:
        assert executor.submit(int).result() == 0
        future = executor.submit(function, release)
        wait_until(lambda: future.running() and executor.stats().running)
        found = name_of_running(executor)
        release.set()
    assert found == f"{__name__}.{name}"


def test_to_thread():
    """A function that asyncio runs in the pool has its own name, not asyncio's."""
    release, found = threading.Event(), []

    async def main():
        executor = PriorityThreadPoolExecutor(1, latency_target=0.005)
        asyncio.get_running_loop().set_default_executor(executor)
        task = asyncio.create_task(asyncio.to_thread(hold, release))
        await asyncio.sleep(0)  # now it has been submitted
        wait_until(lambda: executor.stats().running)
        found.append(name_of_running(executor))
        release.set()
        await task

    asyncio.run(main())
    assert found == [f"{__name__}.hold"]


def test_carrier():
    """If a library such as Dask runs the user's function in its own, the task has the name of the user's."""

    def execute(function, release):
        return function(release)

    execute.__module__ = "dask.local"
    execute = type(execute)(execute.__code__, {**globals(), "__name__": "dask.local"})
    release = threading.Event()
    with PriorityThreadPoolExecutor(1, latency_target=0.005) as executor:
        future = executor.submit(execute, hold, release)
        wait_until(lambda: future.running() and executor.stats().running)
        found = name_of_running(executor)
        release.set()
    assert found == f"{__name__}.hold"


def test_no_task():
    """A waiting worker has no task to name."""
    with PriorityThreadPoolExecutor(1, latency_target=0.005) as executor:
        executor.submit(int).result()
        wait_until(lambda: executor.stats().running == 0)
        assert name_of_running(executor) == "unknown"
