"""Limit the memory of a worker while it runs a task, and handle a task that needs more."""

import contextlib
import errno
import functools
import gc
import importlib.machinery
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, ParamSpec, TypeVar

from .._blas import make_buffers
from .._levels import Shortfall
from .._originals import now
from .._system import backend
from .wire import Spent, ToParent, here

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Bytes that are released when the memory has run out, for the code that handles this.
_RESERVE: Final = 2 * 2**20
# Bytes that a thread needs before it can report its start, for which `Thread.start` waits.
_FOR_A_THREAD: Final = 2**20
# Number of 8 MiB stacks of ended threads that the C library keeps (glibc's "glibc.pthread.stack_cache_size").
_KEPT_STACKS: Final = 5
# Seconds to wait for the stacks of threads that have just ended: the system frees a stack after Python's last step.
_ENDING_S: Final = 0.2
# A free-threaded Python reserves gigabytes for its objects in advance, and keeps freed memory. So only the memory
# beyond that counts for a task.
_FREE_THREADED: Final = "free-threading" in sys.version

# Parts of the messages of other errors than MemoryError.
_WORDS: Final = (
    "allocate memory",
    "out of memory",
    "outofmemory",
    "enough memory",
    "bad_alloc",
    "can't start new thread",
)
_WINDOWS_ERRORS: Final = (8, 14, 1455)  # ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT: winerror.h


class TaskMemory:
    """A memory limit that applies while a task runs.

    Arguments arrive before a task runs, and results leave after it. They are not limited: the stdlib's worker does not
    survive a MemoryError there, and the parent has or will have the same data.

    Memory that is reserved but not touched does not count either, if it was reserved before the task started, by a
    library while it was loaded (such as the buffers of OpenBLAS), or as the stack of a Python thread. The memory that a
    forked worker has from its parent does not count: they share it until one of them writes to it. Neither does the
    gigabyte that a free-threaded Python reserves for its objects.
    """

    def __init__(self, limit: int, *, forked: bool) -> None:
        self._limit = limit  # bytes
        self._system = backend.memory.open_limit()
        # If the memory runs out while Rust (as in Polars) makes a backtrace, Rust waits for itself forever.
        os.environ["RUST_BACKTRACE"] = "0"
        self._exit_trap = backend.memory.open_exit_trap()
        self._with_buffers: set[str] = set()
        make_buffers(self._with_buffers)
        self._reserved = backend.memory.unused()
        self._inherited = backend.memory.in_use() - self._reserved if forked else 0
        self._threads = threading.active_count()
        self._most_threads = 0
        self._lock = threading.RLock()  # any thread of a task may start threads and load libraries
        self._is_in_task = self._is_lifted = False
        self._used_at_first: int | None = None
        self._loading = self._unused_before_loading = 0
        self._reserve = bytearray(_RESERVE)

    def check(self) -> Shortfall | None:
        """Set the limit and remove it again; return a shortfall if the limit did not apply."""
        self._system.hold(self._limit + self._uncounted())
        held = self._system.in_force()
        self._system.lift()
        return None if held else _shortfall(self._limit, "the system accepted the limit and does not report it")

    def run(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a task. If it exceeds the limit, it ends with its own error, with a note, and its variables are freed."""
        if _FREE_THREADED:
            self._reserved = backend.memory.unused()
        uncounted = self._uncounted()
        used = backend.memory.in_use() - uncounted
        if used > self._limit and not _FREE_THREADED:
            if not self._has_room(0):
                self._raise_too_much(used)
            uncounted = self._uncounted()
            used = backend.memory.in_use() - uncounted
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
        """Raise a MemoryError, and let the pool replace this worker if earlier tasks have left that much."""
        if self._used_at_first is not None:
            here.say(ToParent.NOTE, Spent())
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
        # Further memory that looks untouched may have been swapped out.
        return self._inherited + min(backend.memory.unused(), self._reserved + stacks)

    def _room(self) -> int:
        return self._limit - self._used()

    def _has_room(self, needed: int) -> bool:
        deadline = now() + _ENDING_S
        while self._room() < needed:
            if now() >= deadline:
                return False
            time.sleep(_ENDING_S / 20)
        return True

    def _clear_up(self, error: BaseException, used_at_first: int) -> None:
        """Free the memory of a failed task; replace the worker if less than half of the first task's room is left."""
        is_importing = any(map(_is_in_import, _chain(error)))
        for each in _chain(error):
            traceback.clear_frames(each.__traceback__)
        most = (used_at_first + self._limit) // 2
        if self._used() > most:
            gc.collect()
        # A partly imported module stays so: NumPy, for example, cannot be imported a second time.
        if is_importing or (self._used() > most and not _FREE_THREADED):
            here.say(ToParent.NOTE, Spent())

    # --- in any thread of a task

    @contextlib.contextmanager
    def with_room_for_thread(self) -> Iterator[None]:
        """Do not count the stack of a thread that starts in this block.

        Raise a MemoryError if there is no room for its other needs: it would end before it could report its start.
        """
        self._refit(backend.memory.stack_size())
        if self._is_in_task and not _FREE_THREADED and not self._has_room(_FOR_A_THREAD):
            msg = "there is no memory for another thread"
            raise MemoryError(msg)
        try:
            yield
        finally:
            self._refit()  # the thread may have got a stack of an ended thread

    @contextlib.contextmanager
    def lifted_for_library(self) -> Iterator[None]:
        """Do not count the memory that a library reserves while it is loaded."""
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
        """Adapt the limit to the memory that is reserved now, unless the task has set a limit of its own."""
        with self._lock:
            if self._is_in_task and not self._is_lifted and self._system.in_force():
                self._system.lift()
                self._system.hold(self._limit + self._uncounted() + more)

    def forget(self) -> None:
        """Change nothing more, in a child that a task has forked: it keeps the present limit, and ends as usual."""
        self._is_in_task = False
        self._exit_trap.unset()


# The limit of this process, for all its threads.
_current: TaskMemory | None = None
_is_watching = False


def limit_tasks(limit: int, *, forked: bool) -> tuple[TaskMemory | None, Shortfall | None]:
    """Return a limit for this process's tasks, or None, and a shortfall, or None."""
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
    """Observe each start of a thread and each load of a library, until this process ends."""
    global _is_watching  # noqa: PLW0603, a process has one
    if _is_watching:  # inherited from the worker that has forked this one
        return
    _is_watching = True
    # An audit hook would not see the end of a library's loading, and Python 3.11 has no event for a thread.
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


# --- errors for a lack of memory


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and the errors that caused it."""
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
    """Return whether an error reports a lack of memory."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or getattr(error, "winerror", None) in _WINDOWS_ERRORS
    try:
        text = f"{type(error).__name__}: {error}".lower()
    except Exception:  # noqa: BLE001, the user's class may raise
        return False
    return any(each in text for each in _WORDS)


def _is_in_import(error: BaseException) -> bool:
    """Return whether an error was raised during an import."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(code.co_name == "<module>" or code.co_filename.startswith("<frozen importlib") for code in codes)
