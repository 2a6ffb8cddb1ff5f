"""How the tasks of a pool are pickled and unpickled in the parent."""

import contextlib
import functools
import sys
import threading
from concurrent.futures import Future
from types import FunctionType
from typing import Any, Final

from . import naming
from .once import Once
from .tokens import announce
from .transport.keeping import Keeping
from .transport.message import Message, Orphans, Question
from .transport.parent import Packed, Transport
from .transport.pickling import pickle_alone, pickle_plain
from .transport.unpickling import loads
from .worker_main import OnStart, run_task

# Bytes from which on a function goes to each worker once.
_LEAST_ONCE: Final = 1024


class Packing:
    """What one pool pickles with.

    Parameters
    ----------
    transport : Transport or None
        What large buffers go with.
    keeping : Keeping
        Of the executor.
    is_main_known : bool
        Whether workers have the main module as this process has it.
    """

    def __init__(self, transport: Transport | None, keeping: Keeping, *, is_main_known: bool) -> None:
        self._transport = transport
        self._keeping = keeping
        self.is_main_known = is_main_known
        # What is not plain data is pickled by one thread at a time, and unpickled so, as in the stdlib: objects of the
        # user's need not be prepared for more. These locks protect nothing else.
        self._pickling, self._unpickling = threading.RLock(), threading.RLock()

    def announce(self, on_start: OnStart) -> None:
        """Let what forked workers are about to have be the same when it comes back."""
        with self.entered():
            on_start.announce()
            if not self.is_main_known:
                announce(sys.modules[naming.MAIN])

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Let the calling thread pickle for these workers, for a while."""
        return naming.pickling(is_main_known=self.is_main_known)

    def enter(self) -> None:
        """Let the calling thread, one of the pool's, pickle for these workers."""
        naming.here.is_main_known = self.is_main_known

    def pack(self, call: Any, number: int) -> Packed:
        """Return a task as it is sent, in a thread of the pool.

        Parameters
        ----------
        call : tuple
            A function, its arguments, and those with names.
        number : int
            Of the task, as `keeping` counts them.
        """
        here = naming.here
        try:
            plain = pickle_plain(call)
            if plain is not None:
                packed = Packed(plain)
            else:
                with self._pickling:
                    packed = self._pack(self._with_function_once(call, number), number)
        except BaseException:
            here.sent = []
            raise
        if here.sent:
            packed, here.sent = packed._replace(sent=here.sent), []
        return packed

    def _pack(self, call: Any, number: int) -> Packed:
        return Packed(pickle_alone(call)) if self._transport is None else self._transport.pack(call, number)

    def _with_function_once(self, call: Any, number: int) -> Any:
        """Return a call whose function, if it has no name, is pickled for itself, and for the tasks that wait."""
        fn, args, kwargs = call
        if fn is run_task:
            fn, args, kwargs = self._with_function_once((args[0], args[1:], kwargs), number)
            return run_task, (fn, *args), kwargs
        if type(fn) is not FunctionType or pickle_plain(fn) is not None:
            return call
        once = self._keeping.find(fn, number)
        if once is None:
            # What is submitted from here on may find that something has changed that the function refers to.
            latest = self._keeping.latest
            once = self.once(fn, number)
            if type(once) is not Once:
                return call
            self._keeping.keep(fn, latest, once)
        return once, args, kwargs

    def once(self, function: Any, number: int) -> Any:
        """Return what stands for a function of many tasks that goes to each worker once; or a small function."""
        with (
            contextlib.suppress(Exception),  # the tasks have that error
            self.entered(),
            self._pickling,
        ):
            if pickle_plain(function) is None:
                packed = self._pack((function,), number)
                if len(packed.data) > _LEAST_ONCE or packed.needs is not None or naming.here.sent:
                    packed = packed._replace(sent=naming.here.sent or ())
                    return Once(function, packed.data, packed)
        return function

    def load(self, data: bytes) -> Any:
        """Return what a worker has sent that may run code of the user's when it is unpickled."""
        with self._unpickling:
            answer = loads(data)
            if type(answer) is Message and self._transport is not None:
                return self._transport.take(answer)
            return answer

    def take_note(self, note: Question | Orphans) -> None:
        """Do what a worker asks for."""
        if self._transport is None:
            return
        if isinstance(note, Question):
            self._transport.answer(note)
        else:
            self._transport.drop(note)


class MapFunction:
    """What a map calls: it goes to each worker once, with all that belongs to it, if that is much.

    The first thread that needs it pickles it, and not the caller of ``map``.

    Parameters
    ----------
    function : callable
        The user's.
    wrapped : bool
        Whether workers make the calls with `run_task`.
    """

    def __init__(self, function: Any, *, wrapped: bool) -> None:
        self._function = function
        self._wrapped = wrapped
        self._claim = threading.Lock()
        self._sent: Future[Any] = Future()

    def get(self, packing: Packing, number: int) -> Any:
        """Return what to call in a worker."""
        if self._claim.acquire(blocking=False):
            sent = self._function
            try:
                sent = packing.once(self._function, number)
            finally:
                self._sent.set_result(functools.partial(run_task, sent) if self._wrapped else sent)
        return self._sent.result()
