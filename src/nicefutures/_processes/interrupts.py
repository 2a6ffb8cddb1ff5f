"""Handle Ctrl-C, which a terminal sends to all its processes: it interrupts the task of a worker, but no idle worker.

A task that ends with this KeyboardInterrupt does not affect its worker, so the pool stays usable.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from .._exits import call_at_exit

_signals: Final[Any] = signal  # a type checker's Windows has no masks


class _State:
    """State for the signal handlers."""

    is_in_task = False  # this worker runs a task
    is_noted = False  # Ctrl-C was pressed while it was held back


state: Final = _State()


@contextlib.contextmanager
def held_back(method: str) -> Iterator[bool]:
    """Hold Ctrl-C back while a process starts: here until it has started, and there until it can handle Ctrl-C.

    Yield whether the new process must unblock SIGINT itself. SIGINT is never blocked for the fork server, which other
    code uses as well: all its children would inherit the block.
    """
    is_python_asked = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_python_asked:
        state.is_noted = False  # Ctrl-C may have been pressed twice the last time
        signal.signal(signal.SIGINT, _note)
    try:
        with _masked(method) as is_masked:
            yield is_masked
    finally:
        if is_python_asked:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if state.is_noted:
                state.is_noted = False
                raise KeyboardInterrupt from None


@contextlib.contextmanager
def _masked(method: str) -> Iterator[bool]:
    if method == "forkserver" or not hasattr(signal, "pthread_sigmask"):
        yield False
        return
    if method == "spawn":
        from multiprocessing import resource_tracker  # only where signal masks exist

        resource_tracker.ensure_running()  # before the mask: its start blocks SIGINT, and unblocks it afterwards
    before = _signals.pthread_sigmask(_signals.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield signal.SIGINT not in before
    finally:
        _signals.pthread_sigmask(_signals.SIG_SETMASK, before)


def _note(number: int, frame: Any) -> None:  # noqa: ARG001, a signal's handler
    state.is_noted = True


def heed(*, is_held_back: bool) -> None:
    """Let Ctrl-C interrupt tasks from now on, and nothing else in this process."""
    state.is_in_task = state.is_noted = False  # in a worker that a task has forked
    signal.set_wakeup_fd(-1)  # asyncio's, in a forked worker: signals of this process would reach the parent's loop
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _note):  # not if SIGINT is ignored, as after `&`
        signal.signal(signal.SIGINT, _interrupt)
    if getattr(signal.getsignal(signal.SIGTERM), "__module__", None) == "asyncio.unix_events":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # without its loop, asyncio's handler ignores SIGTERM
    if is_held_back:
        _signals.pthread_sigmask(_signals.SIG_UNBLOCK, (signal.SIGINT,))


def _interrupt(number: int, frame: Any) -> None:
    if state.is_in_task:
        signal.default_int_handler(number, frame)
    state.is_noted = True


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Let a worker's task complete this block before Ctrl-C interrupts it."""
    if not state.is_in_task or threading.current_thread() is not threading.main_thread():
        yield
        return
    state.is_noted = state.is_in_task = False
    try:
        yield
    finally:
        state.is_in_task = True
    if state.is_noted:
        state.is_noted = False
        raise KeyboardInterrupt


def call_after_interrupt(end: Callable[[], None]) -> None:
    """Call a function at the interpreter's exit if Ctrl-C has ended the program."""

    def end_if_interrupted() -> None:
        # The exception that the interpreter showed last: `last_exc` from Python 3.12 on. A session continues after it.
        last = getattr(sys, "last_type", None)
        if last is not None and issubclass(last, KeyboardInterrupt) and not hasattr(sys, "ps1"):
            end()

    call_at_exit(end_if_interrupted)
