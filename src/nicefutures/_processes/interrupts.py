"""Ctrl-C, which a terminal sends to all its processes: a worker's task gets it, and a worker that has none does not.

A task that ends with its KeyboardInterrupt says nothing of the worker, so the pool can be used afterwards.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

_signals: Final[Any] = signal  # a type checker's Windows has no masks


class _State:
    """What a signal's handler has to know.

    Attributes
    ----------
    is_in_task : bool
        Whether a worker runs somebody's code.
    is_noted : bool
        Whether Ctrl-C has been pressed meanwhile.
    """

    is_in_task = False
    is_noted = False


state: Final = _State()


@contextlib.contextmanager
def held_back(method: str) -> Iterator[bool]:
    """Start a process here: Ctrl-C waits until that is done, and there until the process can cope with it.

    Yields
    ------
    bool
        Whether the process has to take it up. Not one of the fork server's, which others use as well: it would hold
        Ctrl-C back from all its children.
    """
    is_python_asked = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_python_asked:
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
        from multiprocessing import resource_tracker  # where there are masks

        resource_tracker.ensure_running()  # it has a mask of its own when it starts, and takes that away afterwards
    before = _signals.pthread_sigmask(_signals.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield signal.SIGINT not in before
    finally:
        _signals.pthread_sigmask(_signals.SIG_SETMASK, before)


def _note(number: int, frame: Any) -> None:  # noqa: ARG001, a signal's handler
    state.is_noted = True


def heed(*, is_held_back: bool) -> None:
    """Interrupt tasks from now on, and nothing else in this process."""
    state.is_in_task = state.is_noted = False  # in a worker that a task has forked
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _note):  # and is not left alone, as with nohup
        signal.signal(signal.SIGINT, _interrupt)
    if is_held_back:
        _signals.pthread_sigmask(_signals.SIG_UNBLOCK, (signal.SIGINT,))


def _interrupt(number: int, frame: Any) -> None:
    if state.is_in_task:
        signal.default_int_handler(number, frame)
    state.is_noted = True


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Let a worker's task do something whole before Ctrl-C interrupts it."""
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
    """Let something be called at the interpreter's exit, if Ctrl-C has ended the program."""

    def end_if_interrupted() -> None:
        # What the interpreter has just shown: `last_exc` from Python 3.12 on. A session goes on after that.
        last = getattr(sys, "last_type", None)
        if last is not None and issubclass(last, KeyboardInterrupt) and not hasattr(sys, "ps1"):
            end()

    # Private, and there from Python 3.9 to 3.15: before the exit function of concurrent.futures.thread, which has been
    # registered earlier. Without it, the program ends when its tasks do.
    register: Callable[..., object] | None = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(end_if_interrupted)
