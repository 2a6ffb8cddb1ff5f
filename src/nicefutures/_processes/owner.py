"""The owner of a pool: the pool ends with its owner, or with the interpreter."""

import _thread
import atexit
import sys
from collections.abc import Callable
from typing import Final

from .._exits import call_at_exit
from .._forks import Living
from .._originals import are_threads_green
from .interrupts import call_after_interrupt
from .pool import Pool


class Owner:
    """The owner of a pool, which ends when this object is deleted."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        _pools.add(pool)

    def __del__(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        if at_exit() or self.pool.is_closed:
            return
        if are_threads_green():  # this may run in gevent's loop, which must not wait
            _thread.start_new_thread(self.pool.close, ())
        else:
            self.pool.close()


_pools: Final[Living[Pool]] = Living()


def _interrupt_all() -> None:
    """End all workers and all tasks, because Ctrl-C has ended the program."""
    for pool in _pools:
        pool.interrupt()


def _resume_all() -> None:
    """Resume all paused pools, because the interpreter's exit waits for their tasks."""
    for pool in _pools:
        pool.pausing.end_own()


@atexit.register
def _close_all() -> None:
    """Close all pools at exit, after all threads have ended and before multiprocessing waits for its processes."""
    for pool in _pools:
        pool.close()


_pools.forget_in_children()
call_at_exit(_resume_all)
call_after_interrupt(_interrupt_all)
