"""A worker's end."""

import contextlib
import functools
import os
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..channel import Question
from .message import Message, load_result
from .pickling import Pickled, Pickler, find_nothing, is_plain, pickle_whole
from .unpickling import closing, load, map_buffers

if TYPE_CHECKING:
    from ..._system.protocols import Segment, Sender, SharedMemory


class WorkerEnd:
    """What a worker needs. It can be pickled while the process starts."""

    def __init__(self, sender: "Sender", memory: "SharedMemory", key: int, limit: int) -> None:
        self._sender = sender
        self._memory = memory
        self._key = key
        self._limit = limit
        self._put: Callable[[Question], None]

    def connect(self, put: Callable[[Question], None]) -> None:
        """Use it in this process from now on, and put questions to the parent with this."""
        self._put = put
        _worker.end = self

    def open(self, address: Any) -> "Segment":
        """Return a segment of the parent's."""
        try:
            return self._memory.open(address)
        except OSError:
            return self._sender.ask(address, lambda *question: self._put(Question(*question)))

    def pack(self, value: Any) -> Any:
        """Return how a result is pickled."""
        pickled = Pickled(value, self._limit, find_nothing)
        small = pickled.small()
        if small is not None:
            return pickle.loads, (small,)
        try:
            message, shared = pickled.share(self._memory)
            tickets = [self._sender.send(each.segment) for each in shared]
        except ConnectionError:  # the parent is gone, and would never empty the pipe
            return type(None), ()
        except OSError:  # no memory, too many files, or a parent that takes nothing
            return pickle.loads, (pickle_whole(value),)
        return load_result, (self._key, message._replace(segments=tickets))


class _Worker:
    end: WorkerEnd

    def forget(self) -> None:
        """Not be one: a process that a worker forks has another parent."""
        self.__dict__.pop("end", None)


_worker: Final = _Worker()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_worker.forget)


class Result:
    """A result that pickles itself."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> Any:
        return _pack(self._value)


def _pack(value: Any) -> Any:
    end: WorkerEnd | None = getattr(_worker, "end", None)
    return (pickle.loads, (pickle_whole(value),)) if end is None else end.pack(value)


def load_call(message: Message) -> Any:
    """Return a task, in a worker: what the pickle of one calls."""
    with contextlib.ExitStack() as stack:
        try:
            segments = [_worker.end.open(address) for address in message.segments]
            stack.enter_context(closing(segments))
            buffers = map_buffers(message, segments)
        except OSError as error:
            # Here an error would end the worker, and with it the pool.
            return _fail, (error,), {}
        return load(message, segments, buffers)


def _fail(error: OSError) -> None:
    error.add_note("This worker cannot use its parent's memory. Do without: share_over=None.")
    raise error


def run_call(call: Any) -> Any:
    """Run a task in a worker, where it is a tuple; what this returns or raises is what the task does."""
    fn, args, kwargs = call
    try:
        value = fn(*args, **kwargs)
    except BaseException as error:
        with contextlib.suppress(Exception):  # an exception that takes no attributes goes as it is
            if type(error) not in Pickler.dispatch_table:
                BaseException.__setattr__(error, "__reduce_ex__", functools.partial(_reduce_exception, error))
        raise
    return value if isinstance(value, Result) or is_plain(value) else Result(value)


def _reduce_exception(error: BaseException, protocol: int) -> Any:  # noqa: ARG001, as pickle calls it
    BaseException.__delattr__(error, "__reduce_ex__")
    return _pack(error)
