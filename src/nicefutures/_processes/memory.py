"""A worker's memory: how much a task may make it use, and what becomes of one that wants more."""

import contextlib
import errno
import functools
import gc
import importlib.machinery
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final, ParamSpec, TypeVar

from .._blas import make_buffers
from .._levels import Shortfall
from .._system import backend
from .wire import Spent, ToParent, tell

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Bytes that are given back when the memory has run out, so that what has to be done then has some.
_RESERVE: Final = 2 * 2**20
# Bytes that a thread needs before it can say that it has started, which `Thread.start` waits for.
_FOR_A_THREAD: Final = 2**20
# So many stacks of 8 MiB the C library keeps when their threads have ended (glibc's "glibc.pthread.stack_cache_size").
_KEPT_STACKS: Final = 5
# There Python takes gigabytes for its objects at once, whether it needs them or not, and keeps what it has freed: what
# counts then is what a task takes beyond that.
_FREE_THREADED: Final = "free-threading" in sys.version

# How errors other than MemoryError say it.
_WORDS: Final = ("allocate memory", "out of memory", "enough memory", "bad_alloc", "can't start new thread")
_WINDOWS_ERRORS: Final = (8, 14, 1455)  # ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT: winerror.h


class TaskMemory:
    """A limit that is in force while a task runs.

    Arguments are on the way in before a task runs, and results on the way out after it. They are not limited: the
    stdlib's worker does not survive a MemoryError there, and the parent has or will have the same data.

    What is reserved and not touched does not count either, if it is what any process has when a task starts, what a
    library takes for itself while it is loaded, such as OpenBLAS its buffers, or the stack of a thread of Python's.

    Parameters
    ----------
    limit : int
        Bytes.
    forked : bool
        Whether this process has what its parent has: they share that until one of them writes to it, so it does not
        count. Nor does the gigabyte that a free-threaded Python takes for its objects.
    """

    def __init__(self, limit: int, *, forked: bool) -> None:
        self._limit = limit
        self._system = backend.memory.open_limit()
        # Where memory runs out while Rust (as in Polars) makes a backtrace, it waits for itself for ever.
        os.environ["RUST_BACKTRACE"] = "0"
        self._exit_trap = backend.memory.open_exit_trap()
        self._with_buffers: set[str] = set()
        make_buffers(self._with_buffers)
        self._reserved = backend.memory.unused()
        self._inherited = backend.memory.in_use() - self._reserved if forked else 0
        self._threads = threading.active_count()
        self._most_threads = 0
        self._lock = threading.RLock()  # any thread of a task may start others, and load libraries
        self._is_in_task = self._is_lifted = False
        self._used_at_first: int | None = None
        self._loading = self._unused_before_loading = 0
        self._reserve = bytearray(_RESERVE)

    def check(self) -> Shortfall | None:
        """Put the limit up and take it away; return what is missing."""
        self._system.hold(self._limit + self._uncounted())
        held = self._system.in_force()
        self._system.lift()
        return None if held else _shortfall(self._limit, "the system accepted the limit and does not report it")

    def run(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a task.

        Raises
        ------
        MemoryError
            If it wants more than there is. It is the task's own, with a note; the task's variables have been let go.
        """
        if _FREE_THREADED:
            self._reserved = backend.memory.unused()
        uncounted = self._uncounted()
        used = backend.memory.in_use() - uncounted
        if used > self._limit and not _FREE_THREADED:
            self._raise_too_much(used)
        if self._used_at_first is None:
            self._used_at_first = used
        is_short = False
        try:
            self._begin(uncounted)
            try:
                return fn(*args, **kwargs)
            except BaseException:
                self._reserve = bytearray()
                is_short = self._room() < backend.memory.stack_size()
                raise
            finally:
                self._end()
        except BaseException as error:
            if is_short or any(map(_is_for_memory, _chain(error))):
                self._clear_up(error, self._used_at_first)
                error.add_note(f"memory_limit of this worker: {self._limit:,} bytes")
            raise
        finally:
            if not self._reserve:
                self._reserve = bytearray(_RESERVE)

    def _raise_too_much(self, used: int) -> None:
        """Raise a MemoryError, and let another worker do the next task if tasks have left that much."""
        if self._used_at_first is not None:
            tell(ToParent.NOTE, Spent())
        msg = (
            f"memory_limit is {self._limit:,} bytes, and the worker uses {used:,} before it starts this task, for "
            "imports, arguments and what earlier tasks have left: raise the limit"
        )
        raise MemoryError(msg)

    def _begin(self, uncounted: int) -> None:
        self._exit_trap.set()
        with self._lock:
            self._is_in_task = True
            self._system.hold(self._limit + uncounted)

    def _end(self) -> None:
        with self._lock:
            self._is_in_task = self._is_lifted = False
            self._system.lift()
        self._exit_trap.unset()

    def _used(self) -> int:
        return backend.memory.in_use() - self._uncounted()

    def _uncounted(self) -> int:
        live = threading.active_count() - self._threads
        self._most_threads = max(self._most_threads, live)
        stacks = max(0, min(self._most_threads, live + _KEPT_STACKS)) * backend.memory.stack_size()
        # What is untouched later on may have been swapped out.
        return self._inherited + min(backend.memory.unused(), self._reserved + stacks)

    def _room(self) -> int:
        return self._limit - self._used()

    def _clear_up(self, error: BaseException, used_at_first: int) -> None:
        """Let go what a task has that has failed; and the worker, if half of what the first one had is not there."""
        is_importing = any(_is_import(code) for each in _chain(error) for code in _code_of(each))
        for each in _chain(error):
            traceback.clear_frames(each.__traceback__)
        most = (used_at_first + self._limit) // 2
        if self._used() > most:
            gc.collect()
        # A module that is there in part stays so: NumPy cannot be imported a second time.
        if is_importing or (self._used() > most and not _FREE_THREADED):
            tell(ToParent.NOTE, Spent())

    # --- in any thread of a task

    @contextlib.contextmanager
    def with_room_for_thread(self) -> Iterator[None]:
        """Let the stack of a thread not count that starts here.

        Raises
        ------
        MemoryError
            If there is no room for what it needs besides: it would end before anybody knows that it has started.
        """
        self._refit(backend.memory.stack_size())
        if self._is_in_task and self._room() < _FOR_A_THREAD and not _FREE_THREADED:
            msg = "there is no memory for another thread"
            raise MemoryError(msg)
        try:
            yield
        finally:
            self._refit()  # it may have got a stack that was there

    @contextlib.contextmanager
    def lifted_for_library(self) -> Iterator[None]:
        """Let what a library reserves for itself not count, while it is loaded."""
        with self._lock:
            self._loading += 1
            if self._loading == 1:
                self._unused_before_loading = backend.memory.unused()
                self._is_lifted = self._is_in_task and self._system.in_force()
                if self._is_lifted:
                    self._system.lift()
        try:
            yield
            make_buffers(self._with_buffers)
            self._exit_trap.lay()
        finally:
            with self._lock:
                self._loading -= 1
                if not self._loading:
                    self._reserved += max(0, backend.memory.unused() - self._unused_before_loading)
                    if self._is_lifted:
                        self._system.hold(self._limit + self._uncounted())

    def _refit(self, more: int = 0) -> None:
        """Put the limit up for what is reserved now, unless the task has put up one of its own."""
        with self._lock:
            if self._is_in_task and not self._is_lifted and self._system.in_force():
                self._system.lift()
                self._system.hold(self._limit + self._uncounted() + more)

    def forget(self) -> None:
        """Do nothing more, in a child that a task has forked: it keeps the limit as it is, and ends as usual."""
        self._is_in_task = False
        self._exit_trap.unset()


# The limit of this process, of whatever thread.
_current: TaskMemory | None = None
_is_watching = False


def limit_tasks(limit: int, *, forked: bool) -> tuple[TaskMemory | None, Shortfall | None]:
    """Return a limit for this process's tasks, or what is missing."""
    global _current  # noqa: PLW0603, a process has one
    try:
        _current = TaskMemory(limit, forked=forked)
        shortfall = _current.check()
    except (OSError, ValueError) as error:
        _current = None
        return None, _shortfall(limit, str(error))
    _watch()
    return _current, shortfall


def _shortfall(limit: int, reason: str) -> Shortfall:
    requested = f"memory_limit={limit:,} bytes"
    return Shortfall(requested, "", reason, "Leave memory_limit out, or use fewer workers.")


def _watch() -> None:
    """See threads start and libraries being loaded, for as long as this process lives."""
    global _is_watching  # noqa: PLW0603, a process has one
    if _is_watching:  # as the worker that has forked this one
        return
    _is_watching = True
    # An audit hook would not see a library's loading end, and Python 3.11 has no event of a thread.
    start, load = threading.Thread.start, importlib.machinery.ExtensionFileLoader.create_module

    @functools.wraps(start)
    def start_in_room(self: threading.Thread) -> None:
        with contextlib.nullcontext() if _current is None else _current.with_room_for_thread():
            start(self)

    @functools.wraps(load)
    def load_unlimited(self: Any, spec: Any) -> Any:
        if _current is None or spec.name.partition(".")[0] in sys.stdlib_module_names:
            return load(self, spec)
        with _current.lifted_for_library():
            return load(self, spec)

    threading.Thread.start = start_in_room  # type: ignore[method-assign]
    importlib.machinery.ExtensionFileLoader.create_module = load_unlimited  # type: ignore[method-assign]
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    global _current  # noqa: PLW0603, a process has one
    if _current is not None:
        _current.forget()
        _current = None


# --- an error that has to do with it


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those that it has come from."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__context__, each.__cause__]
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions


def _is_for_memory(error: BaseException) -> bool:
    """Return whether an error says that there was no memory."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or getattr(error, "winerror", None) in _WINDOWS_ERRORS
    try:
        text = str(error)
    except Exception:  # noqa: BLE001, of somebody's class
        return False
    return any(each in text for each in _WORDS)


def _code_of(error: BaseException) -> Iterator[CodeType]:
    """Yield what was running when an error was raised."""
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame.f_code
        step = step.tb_next


def _is_import(code: CodeType) -> bool:
    return code.co_name == "<module>" or code.co_filename.startswith("<frozen importlib")
